"""A tiny run ready to be scored, shared by the tests of score."""

import shutil
from pathlib import Path

import pytest

from satori_hpc.run import Run
from satori_hpc.stages import motifs, prepare, score, train
from satori_hpc.stores import atomic
from satori_hpc.world import Runtime
from tests import tiny
from tests.helpers_genome import write_genome, write_peaks
from tests.helpers_scores import store_digest

RUNTIME = Runtime(device="cpu", threads=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run up to its motifs."""
    run = tiny.make_run(tmp_path_factory.mktemp("trained") / "run")
    for stage in (prepare.prepare, train.train, motifs.motifs):
        stage(run, RUNTIME)
    return run


@pytest.fixture(scope="module")
def expected(base: Run) -> str:
    """Digest of the undisturbed store."""
    score.score(base, RUNTIME)
    digest = store_digest(base)
    atomic.remove(base.scores("attention").parent)
    return digest


@pytest.fixture
def trained(base: Run, tmp_path: Path) -> Run:
    """A copy of that run, without scores."""
    shutil.copytree(base.path, tmp_path / "run", ignore=shutil.ignore_patterns("scores"))
    return Run(path=tmp_path / "run", config=base.config)


@pytest.fixture
def two(tmp_path):
    """A genome and two files of peaks, a.bed and b.bed."""
    letters = write_genome(tmp_path / "genome.fa")
    rows = {label: write_peaks(tmp_path / f"{label}.bed", seed=seed) for seed, label in enumerate("ab")}
    return tmp_path, letters, rows
