"""Options of the command line that concern processes, memory and damage."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from satori_hpc import cli_options
from satori_hpc.cli import cli
from satori_hpc.run import INTERACTION_ENDINGS, OUTPUT_ENDINGS, Run
from satori_hpc.stages import outputs, pipeline
from tests.tiny import make_run


def call(*arguments: object, code: int = 0, **environment: str) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], env=environment)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with motifs."""
    made = make_run(tmp_path_factory.mktemp("options") / "run")
    for stage in ("prepare", "train", "motifs"):
        call(stage, made.path)
    return made


@pytest.mark.parametrize(("text", "numbers"), [("7", [7]), ("0-3", [0, 1, 2, 3]), ("5,1-2,2", [1, 2, 5]), ("4-4", [4])])
def test_numbers(text: str, numbers: list[int]) -> None:
    assert cli_options.Numbers().convert(text, None, None) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "1,,2", "0x3"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected numbers and ranges"):
        cli_options.Numbers().convert(text, None, None)


def test_a_size_that_is_none_says_what_is_expected(run: Run) -> None:
    assert "such as 4G" in call("score", run.path, "--memory", "lots", code=2).output


def test_every_command_shows_only_what_it_can_use() -> None:
    assert "--batch-size" not in call("score", "--help").output
    assert "--device" not in call("reduce", "--help").output
    assert set(cli_options.USES) >= {stage.name for stage in pipeline.STAGES if not stage.flag_of}


@pytest.mark.parametrize("command", ["prepare", "reduce", "all", "status", "verify"])
def test_commands_of_one_process_refuse_a_launcher(run: Run, command: str) -> None:
    said = call(command, run.path, code=1, PMI_SIZE="4").output
    assert "started 4 processes" in said
    assert f"satori-hpc {command}" in said


def test_the_modes_of_score_exclude_each_other(run: Run) -> None:
    assert "exclude" in call("score", run.path, "--plan", "--partition", 1, code=2).output
    assert "--json goes with" in call("score", run.path, "--json", code=2).output


def test_the_way_of_a_job_array(run: Run) -> None:
    plan = json.loads(call("score", run.path, "--plan", "--json", "--no-progress").stdout)["attention"]
    assert plan["memory_per_rank"]["total"] > 100 * 2**20
    total = sum(plan["partitions"].values())
    text = call("score", run.path, "--plan").stdout
    assert "GiB" in text or "MiB" in text, "sizes are for people"
    assert "not done" in call("score", run.path, "--finalise", code=1).output
    call("score", run.path, "--partition", f"0-{total - 1}", "--threads", 1)
    assert json.loads(call("status", run.path, "--json").stdout)["stages"]["score"]["state"] == "unfinished"
    call("score", run.path, "--finalise")
    assert json.loads(call("status", run.path, "--json").stdout)["stages"]["score"]["state"] == "complete"
    files = [path for path in run.scores("attention").rglob("*") if path.is_file()]
    assert len(files) == plan["files"]


def test_reduce_on_processes_writes_everything_and_verify_reads_it(run: Run) -> None:
    call("score", run.path)
    call("reduce", run.path, "--cluster", "local", "--threads", 1, "--memory", "2G")
    for ending in INTERACTION_ENDINGS:
        assert (run.path / "interactions" / f"attention{ending}").exists()
    assert [path.name for path in outputs.paths(run, "attention")] == [
        f"attention{ending}" for ending in OUTPUT_ENDINGS
    ]
    call("verify", run.path)
    damaged = run.path / "interactions" / "attention.bedpe"
    damaged.write_text(damaged.read_text() + "x")
    found = json.loads(call("verify", run.path, "--json", code=1).stdout)
    assert "attention.bedpe" in json.dumps(found)
    call("reduce", run.path, "--force")


def test_a_scheduler_that_is_not_there(run: Run, tmp_path: Path) -> None:
    call("score", run.path)
    said = call("reduce", run.path, "--force", "--scheduler-file", tmp_path / "none.json", code=1).output
    assert "no such file" in said
