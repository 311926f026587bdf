"""The Snakemake workflow: same results as `satori-hpc all`, goes on where it was killed, redoes what is stale only."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, new, provenance
from satori_hpc.run.layout import Run
from tests.fixtures import tiny

ROOT = Path(__file__).parents[2]
STAGES = ("prepare", "train", "motifs", "score", "reduce", "evaluate", "report")
RUNTIME = Runtime(device="cpu", threads=1)
VENV = f"venv: {sys.prefix}\n"
LIMIT = 600.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("snakemake") is None, reason="no Snakemake: pip install 'satori-hpc[workflow]'"
    ),
]


def start(
    runs: list[Run], *options: str, settings: str = VENV, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """The workflow on these runs, in a session of its own; all it prints is one stream."""
    folder = runs[0].path.parent
    file = folder / "workflow.yaml"
    threads = "threads: {train: 1, motifs: 1, score: 1, reduce: 1}\n"
    file.write_text(f"runs: [{', '.join(str(run.path) for run in runs)}]\n{threads}{settings}")
    snakefile = ROOT / "jobs" / "workflow" / "Snakefile"
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-s", snakefile, "--configfile", file, *options],
        cwd=folder,
        env={name: value for name, value in (env or os.environ).items() if not name.startswith("SATORI_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def workflow(
    runs: list[Run], *options: str, settings: str = VENV, env: dict[str, str] | None = None, code: int = 0
) -> str:
    """What the workflow prints."""
    process = start(runs, *(options or ("--cores", "2")), settings=settings, env=env)
    try:
        said, _ = process.communicate(timeout=LIMIT)
    finally:
        end(process)
    assert process.returncode == code, said
    return said


def end(process: subprocess.Popen[str]) -> None:
    """Kill the workflow and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def made(run: Run) -> dict[str, str]:
    """The records of the stages that are done; each says when that was."""
    return {stage: run.record(stage).read_text() for stage in STAGES if run.record(stage).exists()}


def digests(run: Run, *stages: str) -> dict[str, str]:
    found = {stage: provenance.read(run.record(stage)) for stage in stages}
    return {stage: record.digest for stage, record in found.items() if record is not None}


def copy(run: Run, path: Path) -> Run:
    """A copy, other in nothing but its partitions of the score store, so that it has score and what follows to do."""
    shutil.copytree(run.path, path)
    return tiny.change(Run(path=path, config=run.config), score={"shard_examples": 100})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.make_run(tmp_path_factory.mktemp("workflow") / "run")


def test_the_plan_names_every_stage_and_makes_nothing(run: Run) -> None:
    said = workflow([run], "--dry-run")
    assert all(f"satori-hpc {stage} {run.path}" in said for stage in STAGES)
    assert made(run) == {}


def test_killed_it_goes_on_and_ends_as_all_does(run: Run, tmp_path: Path) -> None:
    process = start([run], "--cores", "1")
    deadline = time.monotonic() + LIMIT
    while not run.record("train").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    end(process)
    before = made(run)
    assert list(before) == ["prepare", "train"]

    workflow([run], "--cores", "1", str(run.path / ".workflow" / "motifs"))
    execute.score_part(run, RUNTIME, mode="plan", numbers=[], force=False)
    execute.score_part(run, RUNTIME, mode="partition", numbers=[1], force=False)
    times = {file: file.stat().st_mtime_ns for file in run.scores("attention").rglob("c/*/*") if file.is_file()}
    assert times
    workflow([run])
    assert {file: file.stat().st_mtime_ns for file in times} == times, "the partition that was there was done again"
    after = made(run)
    assert {stage: after[stage] for stage in before} == before
    assert list(after) == list(STAGES)

    other = tiny.make_run(tmp_path / "other")
    subprocess.run(
        [sys.executable, "-m", "satori_hpc", "all", str(other.path), "--threads", "1"], check=True, timeout=LIMIT
    )
    same = ("prepare", "motifs", "score", "reduce", "evaluate")  # the history of training and the report hold times
    assert digests(run, *same) == digests(other, *same)


def test_again_there_is_nothing_to_do(run: Run) -> None:
    before = made(run)
    run.config_file.touch()
    run.best.parent.touch()
    assert "Nothing to be done" in workflow([run])
    assert made(run) == before


def test_a_changed_section_redoes_what_follows_from_it_in_all_runs(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "other")
    paths = (run.path, tmp_path / "other")
    runs = [tiny.change(Run(path=path, config=run.config), reduce={"alpha": 0.2}) for path in paths]
    before = [made(one) for one in runs]
    workflow(runs)
    for one, old in zip(runs, before, strict=True):
        new = made(one)
        assert [stage for stage in STAGES if new[stage] != old[stage]] == ["reduce", "evaluate", "report"]
    assert digests(runs[0], "reduce") == digests(runs[1], "reduce")


def test_what_a_failed_stage_says_is_shown_and_the_other_run_ends(run: Run, tmp_path: Path) -> None:
    lost = tmp_path / "lost.fa"
    bad = tiny.make_run(tmp_path / "bad", new.fasta(str(lost), str(lost), preset="small", seed=1))
    run.record("report").unlink()
    said = workflow([bad, run], code=1)
    assert f"{lost}" in said.replace(str(bad.config_file), "")
    assert run.record("report").exists()
    assert not list(bad.path.glob(".workflow/*"))


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    said = workflow([Run(path=tmp_path / "none", config=tiny.tiny_config())], code=1)
    assert str(tmp_path / "none" / "run.toml") in said


def test_by_an_image(run: Run, image: Path, tmp_path: Path) -> None:
    other = copy(run, tmp_path / "other")
    said = workflow([other], settings=f"image: {image}\n")
    assert "apptainer exec" in said
    assert digests(other, "reduce") == digests(run, "reduce")


def test_by_slurm_over_two_nodes(run: Run, slurm: dict[str, str], tmp_path: Path) -> None:
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no Slurm executor: pip install 'satori-hpc[workflow]'")
    other = copy(run, tmp_path / "other")
    # The executor takes SLURM_CONF from the jobs' environment; clusters that have it in its usual place do not mind.
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={slurm["SLURM_CONF"]} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    settings = (
        f"{VENV}launcher: {{score: 'srun --mpi=pmi2 -n {{tasks}} --cpus-per-task={{threads}} --kill-on-bad-exit=1'}}\n"
        "resources: {score: {nodes: 2, tasks: 2, mem_mb: 1000}, reduce: {mem_mb: 1000}}\n"
    )
    said = workflow(
        [other],
        *("--executor", "slurm", "--jobs", "2", "--slurm-no-account", "--slurm-status-command", "squeue"),
        *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
        str(other.path / ".workflow" / "reduce"),
        settings=settings,
        env={**slurm, "PATH": f"{srun.parent}:{slurm['PATH']}"},
    )
    assert said.count("has been submitted with SLURM jobid") == 2
    record = provenance.read(other.record("score"))
    assert record is not None
    assert record.world_size == 2
    assert digests(other, "reduce") == digests(run, "reduce")
