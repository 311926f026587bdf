"""A run to search, small enough for tests, and its leaderboard as it is compared."""

import dataclasses
import signal
import subprocess
import time
from pathlib import Path

from satori_hpc.config_search import Choice, Range, Search, Space
from satori_hpc.run import Run
from satori_hpc.stages import execution, preemption
from satori_hpc.world import Runtime
from tests.tiny import make_run, tiny_config

RUNTIME = Runtime(device="cpu", threads=1)
SPACE = Space(
    (
        Choice("model.filters", (8, 12)),
        Choice("model.heads", (2, 4)),
        Range("train.learning_rate", 1e-3, 1e-2, log=True),
    )
)

# A program of satori-hpc in which trial 1 kills whoever works on it.
DEADLY = (
    "import os, signal; from satori_hpc import cli; from satori_hpc.stages import search_trial as made;"
    "work = made.work;"
    "made.work = lambda run, trial, runtime: work(run, trial, runtime) if trial.path.name != 'trial_0001' "
    "else os.kill(os.getpid(), signal.SIGKILL); cli.main()"
)


def searchable(path: Path, *, trials: int = 5, epochs: int = 2, **search: object) -> Run:
    """A tiny run whose data are made."""
    config = tiny_config()
    settings = Search(**{"trials": trials, "space": SPACE, **search})  # type: ignore[arg-type]
    train = dataclasses.replace(config.train, epochs=epochs)
    run = make_run(path, dataclasses.replace(config, train=train, search=settings))
    execution.execute(run, "prepare", RUNTIME)
    return run


def table(run: Path) -> list[dict[str, str]]:
    """The rows of leaderboard.tsv, without the seconds."""
    header, *lines = (run / "search" / "leaderboard.tsv").read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    for row in rows:
        del row["seconds"]
    return rows


def touch_unseen(stop: Path, process: subprocess.Popen[str]) -> None:
    """Touch RUN/STOP while a process stands still, for so long that its next look is at once.

    It looks once a second, in which a tiny training may end.
    """
    process.send_signal(signal.SIGSTOP)
    stop.touch()
    time.sleep(preemption.SECONDS_BETWEEN_LOOKS)
    process.send_signal(signal.SIGCONT)
