"""Things that tests run in other processes: tasks for workers, and whole reductions."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil

from satori_hpc.config import Reduce
from satori_hpc.core import rank_test
from satori_hpc.run import Run
from satori_hpc.stages import cluster, ending, reduce_block
from satori_hpc.stages import reduce as reduce_stage
from satori_hpc.stages.statistic import cutoff_of
from satori_hpc.stores import parts, scores
from satori_hpc.world import Runtime


def note_process(folder: str, name: str) -> None:
    """Leave what this process has loaded, and how much memory it takes before any work."""
    rank_test.warm_up()
    content = {
        "modules": sorted(sys.modules),
        "rss": psutil.Process().memory_info().rss,
        "pid": os.getpid(),
        "cwd": os.getcwd(),
    }
    Path(folder, f"{name}.json").write_text(json.dumps(content))


def die(folder: str) -> None:
    """End this worker the hard way, leaving a trace of the attempt."""
    Path(folder, f"{os.getpid()}").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int) -> None:
    raise ZeroDivisionError(f"number {number}")


def peak_rss_bytes() -> int:
    """Largest resident memory of this process; ru_maxrss would count that of the process which started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def peak_of_reduction(path: str, memory: int, statistic: str = "background") -> None:
    """Print how far a reduction on one thread with so many bytes takes this process above what it held before."""
    store = scores.open_complete(Path(path))
    reduce_block.warm_up()
    before = peak_rss_bytes()
    resident = psutil.Process().memory_info().rss
    runtime = Runtime(threads=1, memory=resident + memory if memory else 0)
    reduce_stage.reduce_store(
        store,
        Path(f"{path}.{memory}.parts"),
        settings=Reduce(max_distance=0),
        cutoff=cutoff_of(Reduce(), statistic, store),
        runtime=runtime,
        statistic=statistic,
    )
    print(peak_rss_bytes() - before)


def slow_reduction(path: str, seconds: float) -> None:
    """A reduction that takes its time after each part."""
    honest = parts.write

    def write(*arguments: object, **more: object) -> None:
        honest(*arguments, **more)  # type: ignore[arg-type]
        time.sleep(seconds)

    parts.write = write  # type: ignore[assignment]
    reduce_stage.reduce(Run.open(path), Runtime(threads=2))


def note_and_sleep(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(60)


def sleep_on_processes(folder: str) -> None:
    """Keep a pool of two processes at work until a signal comes."""
    runtime = Runtime(threads=2, cluster="local", memory=3 * 2**30)
    with ending.serial(), cluster.pool(runtime, tasks=2, least_bytes=2**20) as pool:
        pool.run(note_and_sleep, {f"task {number}": (f"{folder}/{number}",) for number in range(2)}, "sleeping")
