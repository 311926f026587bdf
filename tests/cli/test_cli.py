"""The whole path on one machine: commands, resuming, staleness and refusals, on a real small run."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from satori_hpc.cli import cli
from satori_hpc.interactions import tables
from satori_hpc.run import pipeline, provenance
from satori_hpc.run.layout import Run
from tests.fixtures.tiny import change, make_run

STAGES = [stage.name for stage in pipeline.STAGES if not stage.flag_of]  # background: for several labels only


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by `all`; copy it before changing it."""
    run = make_run(tmp_path_factory.mktemp("finished") / "run")
    call("all", run.path, "--threads", 1)
    return run.path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    shutil.copytree(finished, tmp_path / "run")
    return Run.open(tmp_path / "run")


def test_all_makes_every_artefact_with_its_provenance(finished: Path) -> None:
    run = Run.open(finished)
    assert list(pipeline.states(run)) == STAGES
    for stage in map(pipeline.BY_NAME.__getitem__, STAGES):
        record = provenance.read(run.record(stage.name))
        assert record is not None
        assert set(record.inputs) == set(stage.needs) - {"background"}
        assert record.elapsed_s > 0
        assert record.peak_rss_bytes > 2**20
        assert record.versions["torch"]
        for path in stage.outputs(run):
            assert path.exists(), path
    table = tables.read(run.interactions("attention"))
    assert len(table)
    assert "<html" in run.report.read_text()


def test_all_again_does_nothing(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    assert "nothing to do" in call("all", run.path).output
    assert before == {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}


def test_a_finished_stage_is_left_alone_and_force_makes_it_anew_with_the_same_content(run: Run) -> None:
    assert "up to date" in call("reduce", run.path).output
    before = provenance.read(run.record("reduce"))
    call("reduce", run.path, "--force")
    after = provenance.read(run.record("reduce"))
    assert before is not None
    assert after is not None
    assert before.finished != after.finished or before.elapsed_s != after.elapsed_s
    assert before.digest == after.digest


def test_status_tells_states_and_the_next_command(run: Run) -> None:
    assert "nothing to do" in call("status", run.path).output
    change(run, reduce={"alpha": 0.01})
    told = json.loads(call("status", run.path, "--json").output)
    states = {name: stage["state"] for name, stage in told["stages"].items()}
    assert states == {**dict.fromkeys(STAGES[:4], "complete"), **dict.fromkeys(STAGES[4:], "stale")}
    assert told["stages"]["reduce"]["reason"] == "run.toml changed: reduce.alpha"
    assert told["next"] == f"satori-hpc reduce {run.path}"
    shown = call("status", run.path).output
    assert f"next: satori-hpc reduce {run.path}" in shown


def test_all_redoes_only_what_is_stale(run: Run) -> None:
    change(run, evaluate={"cooccurrence_range": 30})
    output = call("all", run.path).output
    assert "evaluate:" in output
    assert "report:" in output
    for untouched in STAGES[:5]:
        assert f"{untouched}:" not in output


def test_a_stale_input_is_refused_with_the_mending_command(run: Run) -> None:
    change(run, train={"epochs": 3})
    output = call("score", run.path, code=1).output
    assert "score needs train" in output
    assert "stale (run.toml changed: train.epochs)" in output
    assert f"satori-hpc train {run.path}" in output


def test_a_foreign_checkpoint_is_refused(run: Run) -> None:
    run.best.write_bytes(run.best.read_bytes() + b"\0")
    output = call("motifs", run.path, code=1).output
    assert "train" in output
    assert "modified (checkpoints/best.pt has other content)" in output
    assert f"satori-hpc train {run.path}" in output


def test_an_input_made_anew_makes_what_follows_stale(run: Run, tmp_path: Path) -> None:
    changed = change(run, prepare={"valid_fraction": 0.2})
    call("prepare", changed.path)
    states = pipeline.states(changed)
    assert states["prepare"].usable
    assert states["train"].state == "stale"
    assert states["train"].reason == "made from another prepare"
    assert states["report"].state == "stale"


def test_a_killed_stage_is_unfinished(run: Run) -> None:
    run.record("motifs").unlink()
    assert pipeline.states(run)["motifs"].state == "unfinished"
    assert "unfinished" in call("score", run.path, code=1).output
    call("all", run.path)
    assert pipeline.remaining(run) == []


def test_a_missing_input_names_the_command(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    output = call("train", run.path, code=1).output
    assert "train needs prepare" in output
    assert f"run: satori-hpc prepare {run.path}" in output
    assert sorted(path.name for path in run.path.iterdir()) == ["run.toml"]


def test_records_of_another_version_are_refused(run: Run) -> None:
    path = run.record("prepare")
    path.write_text(path.read_text().replace('"format_version": 4', '"format_version": 99'))
    assert "format version 99, this program reads 4" in call("status", run.path, code=1).output


def test_a_run_of_another_format_version_is_refused(run: Run) -> None:
    run.config_file.write_text(run.config_file.read_text().replace("format_version = 1", "format_version = 99"))
    assert "format_version = 99, this program reads 1" in call("all", run.path, code=1).output


def test_new_refuses_to_overwrite(run: Run) -> None:
    assert "exists" in call("new", run.path, code=1).output


def test_a_path_that_is_no_run(tmp_path: Path) -> None:
    assert "satori-hpc new" in call("status", tmp_path / "nothing", code=1).output


def test_cuda_is_not_replaced_in_silence(run: Run) -> None:
    command = [sys.executable, "-m", "satori_hpc", "train", str(run.path), "--force", "--device", "cuda"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=hidden)
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    assert pipeline.remaining(run) == []  # nothing was removed on the way to the refusal


def test_doctor_names_versions_devices_mpi_and_memory() -> None:
    output = call("doctor").output
    for name in ("torch", "zarr", "devices", "MPI", "memory", "processors"):
        assert name in output


def test_help_teaches() -> None:
    output = call("--help").output
    for name in ("new", *STAGES, "all", "demo", "status", "doctor"):
        assert name in output
        assert call(name, "--help").output.startswith("Usage")


def test_new_sets_keys_and_checks_them_before_writing(tmp_path: Path) -> None:
    call("new", tmp_path / "run", "--set", "train.epochs=3", "--set", 'motifs.jaspar_groups=["insects"]')
    made = Run.open(tmp_path / "run").config
    assert (made.train.epochs, made.motifs.jaspar_groups) == (3, ("insects",))
    output = call("new", tmp_path / "other", "--set", "train.epochs=many", code=1).output
    assert "[train] epochs = 'many': expected a whole number" in output
    assert not (tmp_path / "other").exists()


def test_new_knows_the_presets_of_each_template(tmp_path: Path) -> None:
    call("new", tmp_path / "run", "--template", "fasta", "--preset", "small", "--fasta", "a.fa", "--table", "a.txt")
    made = Run.open(tmp_path / "run").config
    assert made.model.num_filters == 64
    assert made.prepare.fasta is not None
    assert made.prepare.fasta.fasta == str(Path("a.fa").resolve())
    call("new", tmp_path / "other", "--template", "fasta", "--fasta", "a.fa", "--table", "a.txt")
    assert Run.open(tmp_path / "other").config.model.architecture == "motif-tokens"
    assert (
        "motifs, published, published-preloaded, small"
        in call("new", tmp_path / "x", "--template", "fasta", "--preset", "demo", code=2).output
    )


@pytest.mark.mpi
def test_mpiexec_starts_one_world() -> None:
    launcher = Path(sys.executable).parent / "mpiexec"
    if not launcher.exists():
        pytest.skip("no mpiexec in this environment; pip install mpich")
    command = [str(launcher), "-n", "2", sys.executable, "-m", "satori_hpc", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "0 of 2" in done.stdout
    assert "1 of 2" in done.stdout
    assert "warning" not in done.stdout


def test_demo_goes_on_where_it_stopped(run: Run) -> None:
    run.report.unlink()
    run.record("report").unlink()
    output = call("demo", run.path, "--no-open").output
    assert "report:" in output
    assert "train:" not in output
    assert run.report.exists()


@pytest.mark.parametrize("name", ["run-10:30", "~", "-f $(touch planted) it's"])
def test_a_run_may_be_called_anything(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)
    run.evaluation.unlink()
    run.path.rename(run.path.parent / name)
    call("reduce", "--force", "--threads", 1, "--", name)
    told = call("status", "--", name).output
    assert "next: satori-hpc evaluate " in told
    words = shlex.split(told[told.index("next: ") + 6 : told.index("   (or")])
    assert words[1:] == ["evaluate", str(run.path.parent / name)]
    call("all", "--threads", 1, "--", name)
    call("tracks", "--attribute", 1, "--threads", 1, "--", name)
    assert (run.path.parent / name / "tracks" / "attribution.bw").stat().st_size
    assert [path.name for path in run.path.parent.iterdir()] == [name]
