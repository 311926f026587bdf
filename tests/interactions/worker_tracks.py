"""Make a track set by processes that die at a rename, before or behind it, later and later, until it is whole.

    python -m tests.interactions.worker_tracks RUN OUT LOG

LOG gets a line "begin" per process and one per example that is attributed. Nothing is computed before the processes
part, so that they can be forked.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from satori_hpc.interactions.tracks import stage as tracks_stage
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from satori_hpc.scoring.dfim import DfimScorer

AT_ONCE = 4
DEAD = 9


def dies_at(call: int, rename: Callable[..., None], *, before: bool) -> Callable[..., None]:
    """os.replace that ends the process, as a kill does, at this call, from 1."""
    calls = 0

    def replace(*paths: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call and before:
            os._exit(DEAD)
        rename(*paths)
        if calls == call:
            os._exit(DEAD)

    return replace


def make(run: Path, out: Path, log: Path, *, turn: int) -> None:
    os.replace = dies_at(1 + turn // 2, os.replace, before=turn % 2 == 0)
    compute = DfimScorer.contributions

    def told(scorer: DfimScorer, batch: Any) -> Any:
        found = compute(scorer, batch)
        with open(log, "a", encoding="utf-8") as handle:
            handle.writelines(f"{row}\n" for row in batch.keys[:, 1].tolist())
        return found

    DfimScorer.contributions = told  # type: ignore[method-assign]
    with open(log, "a", encoding="utf-8") as handle:
        handle.write("begin\n")
    tracks_stage.make(
        Run.open(run), Runtime(device="cpu", threads=1, batch_size=16), attribute=12, genome="hg19", out=out
    )
    os._exit(0)


def main() -> None:
    run, out, log = map(Path, sys.argv[1:])
    tracks_stage.AT_ONCE = AT_ONCE
    for turn in range(100):
        child = os.fork()
        if not child:
            try:
                make(run, out, log, turn=turn)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != DEAD:
            raise SystemExit(code)
    raise SystemExit("a hundred processes were not enough")


if __name__ == "__main__":
    main()
