"""Jobs of a real Slurm, put in by the scripts of jobs/; and what one process makes of the same run, to compare."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from satori_hpc.training import checkpoint

ROOT = Path(__file__).parents[2]
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "BOOT_FAIL")
PATIENCE = 900.0  # seconds that anything may take, on a machine with much else to do
SIZES = """
DEFAULT_CPUS=1 DEFAULT_MEM=2G DEFAULT_TIME=30
TRAIN_NODES=2 TRAIN_TIME=30 SCORE_NODES=2 SCORE_TIME=30 REDUCE_NODES=2 REDUCE_MEM=2G
WARN_SECONDS=20
export OMP_NUM_THREADS=1
"""


@dataclass
class Jobs:
    """How to put jobs of one site into the queue, and to see what becomes of them.

    Attributes:
        environment: of Slurm's commands.
        site: the site's settings.
        submitted: numbers of all jobs so far.
    """

    environment: dict[str, str]
    site: Path
    submitted: list[str] = field(default_factory=list)

    def set_up(self, **settings: object) -> None:
        """The site's settings from now on: those of tests, and these."""
        self.site.write_text(SIZES + "".join(f"{name}='{value}'\n" for name, value in settings.items()))

    def call(self, *argv: object, code: int = 0) -> str:
        """What a command prints; both streams."""
        environment = {**self.environment, "PYTHONPATH": str(ROOT), "SATORI_SITE": str(self.site)}
        done = subprocess.run(
            [str(argument) for argument in argv],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            cwd=self.site.parent,
        )
        assert done.returncode == code, f"{argv}: status {done.returncode}\n{done.stdout}"
        return done.stdout

    def submit(self, stage: str, run: Path, *options: str) -> str:
        """The number of the job."""
        number = self.call(ROOT / "jobs" / "submit", stage, run, *options).strip()
        self.submitted.append(number)
        return number

    def submit_all(self, run: Path, *options: str) -> dict[str, str]:
        """{stage: number}."""
        said = self.call(ROOT / "jobs" / "submit_all", run, *options)
        found = dict(re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE))
        self.submitted += found.values()
        assert f"scancel {' '.join(found.values())}" in said
        return found

    def facts(self, number: str) -> list[dict[str, str]]:
        """What Slurm says of a job; of each task of an array."""
        said = self.call("scontrol", "show", "job", "--oneliner", number)
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in said.splitlines() if "JobId=" in line]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}\n{self.call('squeue')}"
            time.sleep(0.1)

    def wait(self, number: str, *, state: str = "COMPLETED") -> list[dict[str, str]]:
        """Wait until a job has ended, so; returns what Slurm says of it then."""

        def ended() -> bool:
            return all(one["JobState"] in ENDED for one in self.facts(number))

        self.until(ended, f"the end of job {number}")
        found = self.facts(number)
        for one in found:
            log = Path(one["StdOut"].replace("\\", ""))
            text = log.read_text() if log.exists() else ""
            assert one["JobState"] == state, f"{one}\n{text}"
        return found

    def end(self) -> None:
        """Cancel what is left."""
        if self.submitted:
            self.call("scancel", "--quiet", *self.submitted)


def alone(run: Path, *argv: str, inside: Sequence[object] = ()) -> str:
    """satori-hpc in one process outside Slurm, on one thread; `inside` is what runs it in an image."""
    command = [*map(str, inside), "satori-hpc"] if inside else [sys.executable, "-m", "satori_hpc"]
    done = subprocess.run(
        [*command, argv[0], str(run), *argv[1:]], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def scores_of(run: Path, method: str = "attention") -> dict[str, bytes]:
    """Every file of a score store, and its markers, by its name."""
    every = (run / "scores").glob(f"{method}.*/**/*")
    found = {str(path.relative_to(run / "scores")): path.read_bytes() for path in every if path.is_file()}
    assert found
    return found


def assert_same_tables(run: Path, other: Path, *, method: str = "attention") -> None:
    """Same rows and columns, numbers within 1e-12."""
    for name in (f"{method}.parquet", f"{method}.tf.parquet"):
        mine, theirs = (pq.read_table(each / "interactions" / name).to_pandas() for each in (run, other))
        assert list(mine) == list(theirs)
        assert len(mine) == len(theirs)
        for column in mine:
            if mine[column].dtype.kind == "f":
                np.testing.assert_allclose(mine[column], theirs[column], rtol=1e-12, err_msg=column)
            else:
                assert mine[column].equals(theirs[column]), column


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Of the best network."""
    model, _ = checkpoint.load(run / "checkpoints" / "best.pt", torch.device("cpu"))
    return model.state_dict()
