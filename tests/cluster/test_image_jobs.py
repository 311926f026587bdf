"""The scripts of jobs/ with the image: two nodes and one process of it make the same."""

import shutil
from pathlib import Path

import pytest

from tests.cluster.jobs import Jobs, alone, assert_same_tables, scores_of
from tests.fixtures.tiny import make_run, tiny_config

pytestmark = pytest.mark.slow


def test_submit_all_with_the_image(slurm: dict[str, str], image: Path, tmp_path: Path) -> None:
    """Prepare to report: training over two nodes, scoring by MPI over two, reduction by workers on both."""
    run, other = make_run(tmp_path / "a run", tiny_config()).path, tmp_path / "alone"
    jobs = Jobs(slurm, tmp_path / "site.env")
    jobs.set_up(SATORI_IMAGE=image, BIND=tmp_path)
    try:
        numbers = jobs.submit_all(run)
        assert list(numbers) == ["prepare", "train", "motifs", "score", "reduce", "report"]
        for number in numbers.values():
            jobs.wait(number)
    finally:
        jobs.end()
    log = (run / "logs" / f"reduce_{numbers['reduce']}.log").read_text()
    assert all(f"worker {node} did " in log and f"worker {node} did 0" not in log for node in ("n1", "n2")), log
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("scores", "interactions", "score.json", "reduce.json"))
    inside = ["apptainer", "exec", "--bind", tmp_path, image]
    alone(other, "score", inside=inside)
    alone(other, "reduce", inside=inside)
    assert scores_of(run) == scores_of(other)
    assert_same_tables(run, other)
