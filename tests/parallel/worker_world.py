"""A rank of test_mpi_world: does what its first argument says, and writes what it saw to the folder in the second."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.parallel import mpi
from satori_hpc.parallel.world import World


def work(world: World, folder: Path) -> None:
    """Everything a world does when all goes well."""
    led: list[int] = []
    seen = {
        "world": [world.rank, world.size, world.local_rank, world.ranks_per_cpuset],
        "led": world.run_on_root(lambda: led.append(os.getpid()) or "from the leader"),
        "leader": bool(led),
        "large": sum(world.run_on_root(lambda: bytes(range(256)) * 20_000)),
        "gathered": world.all_gather({"rank": world.rank, "text": "x" * 1000 * world.rank}) == expected_gather(world),
    }
    for schedule in ("static", "dynamic"):
        for count in (0, 1, 23):
            mine = []
            for item in world.my_items([f"item {k}" for k in range(count)], schedule=schedule):
                mine.append(item)
                if schedule == "dynamic":
                    time.sleep(0.01 * (1 + 3 * world.rank))  # uneven ranks
                world.progress()
            seen[f"{schedule} {count}"] = mine
    world.barrier()
    (folder / f"rank-{world.rank}.json").write_text(json.dumps(seen))


def expected_gather(world: World) -> list[dict[str, object]]:
    return [{"rank": rank, "text": "x" * 1000 * rank} for rank in range(world.size)]


def fail_on_root(world: World, folder: Path) -> None:
    def refuse() -> None:
        raise ArtefactError("scores: unfinished; run: satori-hpc score")

    try:
        world.run_on_root(refuse)
    except ArtefactError as error:
        (folder / f"rank-{world.rank}.txt").write_text(f"{error.shared}: {error}")
        raise


def fail_on_rank_1(world: World, folder: Path) -> None:
    if world.rank == 1:
        raise ValueError("rank 1 cannot")
    sum(range(10**12))  # deaf: no signal handler of Python's runs before this ends


def fail_plainly_on_rank_1(world: World, folder: Path) -> None:
    if world.rank == 1:
        raise SatoriError("partition 3: no memory; give --memory")
    world.barrier()


def fail_in_thread_on_rank_1(world: World, folder: Path) -> None:
    if world.rank == 1:
        threading.Thread(target=time.sleep, args=(300,)).start()  # lives on, and is no daemon
        threading.Thread(target=lambda: 1 / 0).start()
        time.sleep(300)
    world.barrier()


def exit_on_rank_0(world: World, folder: Path) -> None:
    if world.rank == 0:
        raise SystemExit(3)
    list(world.my_items(range(4), schedule="dynamic"))


def die_on_rank_1(world: World, folder: Path) -> None:
    world.barrier()
    if world.rank == 1:
        time.sleep(1)  # the launcher has forwarded what all said at the start: it drops what it holds when one dies
        os.kill(os.getpid(), signal.SIGKILL)
    world.barrier()


def sleep(world: World, folder: Path) -> None:
    """Until a signal comes; says who is there first."""
    (folder / f"pid-{world.rank}.part").write_text(str(os.getpid()))
    (folder / f"pid-{world.rank}.part").rename(folder / f"pid-{world.rank}")
    try:
        time.sleep(300)
    finally:
        (folder / f"tidy-{world.rank}").touch()


ACTIONS: dict[str, Callable[[World, Path], None]] = {
    action.__name__: action
    for action in (
        work,
        fail_on_root,
        fail_on_rank_1,
        fail_plainly_on_rank_1,
        fail_in_thread_on_rank_1,
        exit_on_rank_0,
        die_on_rank_1,
        sleep,
    )
}

if __name__ == "__main__":
    name, place, *expect = sys.argv[1:]
    try:
        with mpi.session(expect_ranks=int(expect[0]) if expect else None) as joined:
            joined.set_status(f"scoring, foreground partition {joined.rank + 5}")
            ACTIONS[name](joined, Path(place))
    except SatoriError as problem:
        sys.exit(f"Error: {problem}")
