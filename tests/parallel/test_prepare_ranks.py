"""prepare of a genome under real mpiexec: the same bytes from two ranks as from one process."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from satori_hpc.config import Config, Genome, Prepare
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, new
from satori_hpc.run.layout import Run
from tests.data.test_prepare import bytes_of

pytestmark = pytest.mark.mpi


WINDOWS = 20_000  # more than a block


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is not prepared, over two blocks of windows."""
    folder = tmp_path_factory.mktemp("genome")
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGTN", dtype=np.uint8), 20 * WINDOWS).tobytes().decode()
    (folder / "genome.fa").write_text("".join(f">chr{number}\n{letters}\n" for number in (1, 2)))
    for label in range(2):
        rows = [f"chr{1 + at % 2}\t{20 * at}\t{20 * at + 20}\n" for at in range(label, WINDOWS, 3 - label)]
        (folder / f"{label}.bed").write_text("".join(rows))
    section = Genome(
        genome="../genome.fa", peaks=("../0.bed", "../1.bed"), construction="as_given", window=20, overlap=5
    )
    config = Config(prepare=Prepare(source="genome", genome=section))
    return new.new(folder / "run", config=config).path


def test_two_ranks_write_the_bytes_of_one(mpi: Any, fresh: Path) -> None:
    alone, run = (fresh.with_name(f"{mpi.name}-{name}") for name in ("alone", "ranks"))
    for path in (alone, run):
        shutil.copytree(fresh, path)
    execute.execute(Run.open(alone), "prepare", Runtime(device="cpu", threads=1))
    done = mpi.run(2, ["prepare", run, "--expect-ranks", 2, "--memory", "1GiB"], timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("windows of peaks") == 1
    assert bytes_of(run / "dataset.zarr") == bytes_of(alone / "dataset.zarr")
    assert (run / "excluded_records.tsv.gz").read_bytes() == (alone / "excluded_records.tsv.gz").read_bytes()


def test_simulated_sets_are_made_by_one_process(mpi: Any, tmp_path: Path) -> None:
    made = new.new(tmp_path / "run", config=new.simulated("data-40", seed=1))
    done = mpi.run(2, ["prepare", made.path], timeout=60)
    assert done.returncode != 0
    assert "works in one process, 2 were started" in done.stderr
