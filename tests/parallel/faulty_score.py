"""`satori-hpc`, with one of its ranks failing at a chosen moment: python faulty_score.py FAULT RANK ARGUMENTS...

Faults: `kill` in the middle of a shard, `between` a partition's shards and its marker, `raise` an exception, `slow`
(every rank stays in its third partition, for signals from outside). The rest of the program is the real one.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from satori_hpc.run import files
from satori_hpc.scoring import shard
from satori_hpc.scoring import store as score_store


def rank() -> int:
    return int(os.environ.get("PMI_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK") or 0)


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def install(fault: str) -> None:
    """Let this rank fail in its third partition."""
    done = 0
    encode, write_text, stage_partition = shard._encode, files.write_text, score_store.ScoreStore.stage_partition

    def counted(self: score_store.ScoreStore, *arguments: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        if done == 3 and fault == "raise":
            raise RuntimeError("the planted fault")
        if done == 3 and fault == "slow":
            print("in the third partition", flush=True)
            time.sleep(300)
        return stage_partition(self, *arguments, **named)

    def in_the_middle(chunk: Any) -> bytes:
        if done == 3 and fault == "kill":
            die()
        return encode(chunk)

    def before_the_marker(path: Path, text: str) -> None:
        if done >= 3 and fault == "between" and path.parent.suffix == ".markers":
            die()
        write_text(path, text)

    score_store.ScoreStore.stage_partition = counted  # type: ignore[method-assign]
    shard._encode = in_the_middle
    files.write_text = before_the_marker


if __name__ == "__main__":
    chosen, where = sys.argv[1], int(sys.argv[2])
    if chosen == "slow" or rank() == where:
        install(chosen)
    sys.argv[1:] = sys.argv[3:]
    from satori_hpc.cli import main

    main()
