"""The scripts of jobs/ on two nodes, start to end: what comes out is what one process makes of the same run."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from satori_hpc import config
from satori_hpc.config import Config
from tests.cluster.jobs import ROOT, Jobs, alone, assert_same_tables, scores_of, weights
from tests.fixtures.tiny import make_run, tiny_config
from tests.test_multilabel import write_set

pytestmark = pytest.mark.slow
STAGES = ["prepare", "train", "motifs", "score", "reduce", "report"]


def provenance(run: Path, stage: str) -> dict:
    return json.loads((run / "provenance" / f"{stage}.json").read_text())


@pytest.fixture(scope="module")
def finished(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A run made by submit_all over two nodes, and the numbers of its jobs. Its name has spaces in it."""
    run = make_run(tmp_path_factory.mktemp("chain") / "a run", tiny_config()).path
    numbers = jobs.submit_all(run)
    for number in numbers.values():
        jobs.wait(number)
    return run, numbers


def test_submit_all_makes_every_artefact(jobs, finished):
    run, numbers = finished
    assert list(numbers) == STAGES
    states = json.loads(alone(run, "status", "--json"))
    assert {state["state"] for state in states["stages"].values()} == {"complete"}
    assert {path.name for path in (run / "logs").glob("*.log")} == {
        f"{name}_{one}.log" for name, one in numbers.items()
    }
    assert "nothing to do" in jobs.call(ROOT / "jobs" / "submit_all", run)
    assert provenance(run, "score")["slurm"]["SLURM_JOB_ID"] == numbers["score"]


def test_training_by_two_nodes_is_that_of_one_process(finished, tmp_path):
    run, _ = finished
    assert provenance(run, "train")["world_size"] == 2
    other = tmp_path / "alone"
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("checkpoints", "train.json"))
    alone(other, "train")
    mine, theirs = (pd.read_csv(each / "checkpoints" / "history.tsv", sep="\t") for each in (run, other))
    for column in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(mine[column], theirs[column], rtol=1e-4)
    for name, value in weights(other).items():
        torch.testing.assert_close(weights(run)[name], value, rtol=1e-2, atol=1e-4)


def test_scores_and_tables_of_two_nodes_are_those_of_one_process(finished, tmp_path):
    run, numbers = finished
    assert provenance(run, "score")["world_size"] == 2
    log = (run / "logs" / f"reduce_{numbers['reduce']}.log").read_text()
    assert all(f"worker {node} did " in log and f"worker {node} did 0" not in log for node in ("n1", "n2")), log
    other = tmp_path / "alone"
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("scores", "interactions", "score.json", "reduce.json"))
    alone(other, "score")
    alone(other, "reduce")
    assert scores_of(run) == scores_of(other)
    assert_same_tables(run, other)


def test_job_array_on_a_set_with_several_labels(jobs, tmp_path):
    """Goes on where prepare and train are done; makes the background; scores by three tasks without MPI."""
    write_set(tmp_path)
    settings = Config(
        prepare=config.Prepare(
            source="fasta",
            test_fraction=0.3,
            fasta=config.Fasta(fasta=str(tmp_path / "set.fa"), table=str(tmp_path / "set.txt")),
        ),
        model=config.Model(num_filters=8, kernel_size=9, num_heads=2, head_dim=8, mixing_size=16),
        train=config.Train(epochs=3, batch_size=32, learning_rate=5e-3),
        score=config.Score(shard_examples=20, min_precision=0.0),
        reduce=config.Reduce(min_examples=2),
    )
    run, other = make_run(tmp_path / "run", settings).path, tmp_path / "alone"
    alone(run, "prepare")
    alone(run, "train")
    shutil.copytree(run, other)
    jobs.set_up(SATORI_VENV=sys.prefix, SCORE_ARRAY=3, REDUCE_NODES=1)
    numbers = jobs.submit_all(run)
    assert list(numbers) == ["motifs", "plan", "score_array", "finalise", "reduce", "report"]
    assert "in the queue" in jobs.call(ROOT / "jobs" / "submit_all", run, code=2)
    alone(other, "all")
    for number in numbers.values():
        jobs.wait(number)
    assert len(jobs.facts(numbers["score_array"])) == 3
    assert (run / "background.zarr").exists()
    assert scores_of(run) == scores_of(other)
    assert_same_tables(run, other)


def test_a_chain_ends_with_the_stage_that_fails_and_goes_on_from_it(jobs, tmp_path):
    run = make_run(tmp_path / "run", tiny_config()).path
    toml = (run / "run.toml").read_text()
    jobs.set_up(SATORI_VENV=sys.prefix, DEFAULT_TIME=1)
    numbers = jobs.submit_all(run, "--begin=now+5")
    (run / "run.toml").write_text(toml.replace("[train]", "[train]\nepochz = 1"))
    jobs.wait(numbers["prepare"], state="FAILED")
    jobs.wait(numbers["report"], state="CANCELLED")
    assert "epochz" in (run / "logs" / f"prepare_{numbers['prepare']}.log").read_text()
    said = jobs.call(ROOT / "jobs" / "submit_all", run, code=1)
    assert "epochz" in said
    assert "Traceback" not in said


def test_dry_run_shows_what_would_be_put_into_the_queue(jobs, tmp_path):
    run = make_run(tmp_path / "run", tiny_config()).path
    jobs.set_up(
        SATORI_VENV=sys.prefix, ACCOUNT="lab", PARTITION="all", TRAIN_PARTITION="gpu", TRAIN_GPUS=4, GPU_TYPE="a100"
    )
    lines = jobs.call(ROOT / "jobs" / "submit_all", run, "--dry-run", "--nice").splitlines()
    assert [line.split("--job-name=satori-")[1].split()[0] for line in lines] == STAGES
    assert all("--account=lab" in line and "--nice" in line and "--kill-on-invalid-dep" in line for line in lines[1:])
    train = next(line for line in lines if "satori-train" in line)
    assert "--nodes=2 --ntasks-per-node=4" in train
    assert "--gres=gpu:a100:4" in train
    assert "--partition=gpu" in train
    assert not (run / "logs").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SATORI_VENV": "/nowhere"}, "/nowhere has no satori-hpc; set SATORI_IMAGE or SATORI_VENV in"),
        ({"SATORI_IMAGE": "/nowhere.sif"}, "no such file; make it with containers/build"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_anything_is_put_in(jobs, tmp_path, settings, words):
    run = make_run(tmp_path / "run", tiny_config()).path
    jobs.set_up(**settings)
    assert words in jobs.call(ROOT / "jobs" / "submit_all", run, code=2)
    assert words in jobs.call(ROOT / "jobs" / "submit", "train", run, code=2)
    assert not (run / "logs").exists()


def test_what_is_no_run_is_refused(jobs, tmp_path):
    jobs.set_up(SATORI_VENV=sys.prefix)
    assert "no such run directory" in jobs.call(ROOT / "jobs" / "submit", "train", tmp_path / "none", code=2)
    assert "jobs/submit STAGE RUN" in jobs.call(ROOT / "jobs" / "submit", "training", tmp_path, code=2)
