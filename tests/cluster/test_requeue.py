"""Jobs that are put back into the queue, told to stop, or run out of time end like an undisturbed one."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cluster.jobs import ENDED, Jobs, alone, assert_same_tables, scores_of, weights
from tests.fixtures.tiny import change, make_run, tiny_config

pytestmark = pytest.mark.slow
# What comes in the middle of a job, as an administrator, a preemption and a time limit do it.
DISTURBANCES = (
    ("scontrol", "requeue"),
    ("scancel", "--batch", "--signal=USR1"),
    ("scancel", "--signal=TERM"),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training and scoring take some seconds, in many small parts."""
    run = change(
        make_run(tmp_path_factory.mktemp("prepared") / "a run", tiny_config()),
        train={"epochs": 40, "patience": 0},
        score={"split": "all", "shard_examples": 2, "methods": ("epistasis",)},
    )
    alone(run.path, "prepare")
    return run.path


@pytest.fixture(scope="module")
def trained(jobs: Jobs, prepared: Path) -> tuple[Path, str]:
    """The same, and the job that trains it on two nodes without any disturbance; it runs beside the first tests."""
    run = prepared.with_name("undisturbed")
    shutil.copytree(prepared, run)
    return run, jobs.submit("train", run)


@pytest.fixture(scope="module")
def scored(jobs: Jobs, trained: tuple[Path, str]) -> Path:
    """A copy of the trained run that one process has scored; the trained one has motifs then."""
    run, trains = trained
    jobs.wait(trains)
    alone(run, "motifs")
    other = run.with_name("alone")
    shutil.copytree(run, other)
    alone(other, "score")
    return other


def assert_same_weights(run: Path, other: Path) -> None:
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def restarted(jobs: Jobs, number: str, log: Path) -> int:
    """How often; the job must not have ended."""
    found = jobs.facts(number)[0]
    assert found["JobState"] not in ENDED, f"{found}\n{log.read_text()}"
    return int(found["Restarts"])


def disturb(jobs: Jobs, log: Path, number: str, done: Callable[[], object]) -> None:
    """Do all of it to a job, each time when something was `done` since it was started; the job ends well."""
    for restarts, disturbance in enumerate(DISTURBANCES):
        started = f"restart {restarts},"
        jobs.until(lambda word=started: log.exists() and word in log.read_text(), f"{started} of job {number}")
        before = done()
        jobs.until(lambda before=before: done() != before, f"work of job {number}")
        jobs.call(*disturbance, number)
        jobs.until(lambda n=restarts: restarted(jobs, number, log) > n, f"{disturbance} of job {number}")
    assert int(jobs.wait(number)[0]["Restarts"]) == len(DISTURBANCES)


def checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step_*.pt"))


def test_training_that_runs_out_of_time_goes_on_and_ends_with_the_same_weights(jobs, prepared, trained):
    """Its processes are held up when they have begun, so that two minutes are too short on any machine."""
    run = prepared.with_name("timed")
    shutil.copytree(prepared, run)
    number = jobs.submit("train", run, "--time=2", "--signal=B:USR1@70")
    jobs.until(lambda: checkpoints(run), "a checkpoint")
    jobs.call("scancel", "--signal=STOP", number)
    log = run / "logs" / f"train_{number}.log"
    heard = log.read_text().count("is to stop")
    jobs.until(lambda: log.read_text().count("is to stop") > heard, "the warning before the time limit")
    jobs.call("scancel", "--signal=CONT", number)
    assert int(jobs.wait(number)[0]["Restarts"]) > 0
    assert "DUE TO TIME LIMIT" not in log.read_text()
    jobs.wait(trained[1])
    assert_same_weights(run, trained[0])


def test_training_that_is_disturbed_ends_with_the_same_weights(jobs, prepared, trained):
    run = prepared.with_name("disturbed")
    shutil.copytree(prepared, run)
    number = jobs.submit("train", run)
    disturb(jobs, run / "logs" / f"train_{number}.log", number, lambda: checkpoints(run))
    assert not (run / "STOP").exists()
    jobs.wait(trained[1])
    assert_same_weights(run, trained[0])


def test_scoring_that_is_disturbed_writes_the_same_bytes(jobs, trained, scored):
    run = scored.with_name("scored")
    shutil.copytree(trained[0], run)
    number = jobs.submit("score", run)
    markers = run / "scores" / "epistasis.markers"
    disturb(jobs, run / "logs" / f"score_{number}.log", number, lambda: sorted(markers.glob("*-*.json")))
    assert scores_of(run, "epistasis") == scores_of(scored, "epistasis")


def test_a_reduction_by_two_nodes_that_is_put_back_makes_the_same_tables(jobs, scored):
    """Scheduler and workers of the first start are gone; the second one has its own. Workers are held up until then."""
    run, other = scored.with_name("reduced"), scored.with_name("reduced-alone")
    shutil.copytree(scored, run)
    shutil.copytree(scored, other)
    number = jobs.submit("reduce", run)
    log = run / "logs" / f"reduce_{number}.log"
    for restarts, disturbance in enumerate(DISTURBANCES[:2]):
        scheduler = run / "logs" / f"dask_{number}_{restarts}" / "scheduler.json"
        jobs.until(scheduler.exists, f"the scheduler of start {restarts}")
        jobs.until(
            lambda: jobs.call("squeue", "--steps", "--noheader", "--jobs", number), f"workers of start {restarts}"
        )
        jobs.call("scancel", "--signal=STOP", number)
        # Slurm itself loses a job that is put back in the second in which it starts.
        jobs.until(lambda: jobs.facts(number)[0]["RunTime"] >= "00:00:05", "the first seconds")
        jobs.call(*disturbance, number)
        if disturbance[0] == "scancel":
            jobs.call("scancel", "--signal=CONT", number)
        jobs.until(lambda n=restarts: restarted(jobs, number, log) > n, f"{disturbance} of job {number}")
    assert int(jobs.wait(number)[0]["Restarts"]) == 2
    alone(other, "reduce")
    assert_same_tables(run, other, method="epistasis")


def test_a_job_that_is_cancelled_does_not_come_back(jobs, prepared):
    """Its processes find each other by a port of the first node."""
    run = prepared.with_name("cancelled")
    shutil.copytree(prepared, run)
    jobs.set_up(SATORI_VENV=sys.prefix, TRAIN_RENDEZVOUS="tcp")
    number = jobs.submit("train", run)
    jobs.until(lambda: checkpoints(run), "a checkpoint")
    jobs.call("scancel", number)
    assert jobs.wait(number, state="CANCELLED")[0]["Restarts"] == "0"


def test_a_job_is_not_started_more_often_than_allowed(jobs, prepared):
    run = prepared.with_name("often")
    shutil.copytree(prepared, run)
    jobs.set_up(SATORI_VENV=sys.prefix, MAX_RESTARTS=0)
    number = jobs.submit("train", run)
    jobs.until(lambda: checkpoints(run), "a checkpoint")
    jobs.call("scancel", "--batch", "--signal=USR1", number)
    found = jobs.wait(number, state="FAILED")[0]
    assert found["ExitCode"] == "75:0"
    assert "MAX_RESTARTS" in (run / "logs" / f"train_{number}.log").read_text()
