"""Options of the command line that concern processes, memory and damage."""

import difflib
import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from satori_hpc.cli import cli, options
from satori_hpc.config import Config, toml
from satori_hpc.interactions import instances
from satori_hpc.run import lock, pipeline
from satori_hpc.run.layout import INTERACTION_ENDINGS, OUTPUT_ENDINGS, Run
from tests.fixtures.tiny import make_run


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
    assert options.Numbers().convert(text, None, None) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "1,,2", "0x3"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected numbers and ranges"):
        options.Numbers().convert(text, None, None)


def test_a_size_that_is_none_says_what_is_expected(run: Run) -> None:
    assert "such as 4G" in call("score", run.path, "--memory", "lots", code=2).output


def test_every_command_shows_only_what_it_can_use() -> None:
    assert "--batch-size" not in call("score", "--help").output
    assert "--device" not in call("reduce", "--help").output
    assert set(options.USES) >= {stage.name for stage in pipeline.STAGES if not stage.flag_of}


@pytest.mark.parametrize("command", ["reduce", "all", "status", "verify", "inspect"])
def test_commands_of_one_process_refuse_a_launcher(run: Run, command: str) -> None:
    more = ["sim0"] if command == "inspect" else []
    said = call(command, run.path, *more, code=1, PMI_SIZE="4").output
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
    files = [path for path in run.scores("attention").parent.glob("attention.*/**/*") if path.is_file()]
    assert len(files) == plan["files"]


def test_reduce_on_processes_writes_everything_and_verify_reads_it(run: Run) -> None:
    call("score", run.path)
    call("reduce", run.path, "--cluster", "local", "--threads", 1, "--memory", "2G")
    for ending in INTERACTION_ENDINGS:
        assert (run.path / "interactions" / f"attention{ending}").exists()
    assert [path.name for path in instances.paths(run, "attention")] == [
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


def test_a_method_that_is_added_to_run_toml_is_scored_and_what_is_scored_stays(run: Run, tmp_path: Path) -> None:
    call("score", run.path)
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    config = path / "run.toml"
    config.write_text("# my run\n" + config.read_text())
    before = config.read_text()
    kept = {file: file.stat().st_mtime_ns for file in path.glob("scores/attention.markers/*ground-*")}
    assert kept
    assert "now stale: score" in call("set", path, "score.methods=attention,epistasis").stdout
    told = call("score", path, "--threads", 1).stdout
    assert config.read_text() == before.replace('methods = ["attention"]', 'methods = ["attention", "epistasis"]')
    assert (path / "scores" / "epistasis.markers" / "complete.json").exists()
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert "epistasis:" in told
    assert "up to date" in call("score", path).stdout
    assert json.loads(call("status", path, "--json").stdout)["stages"]["score"]["state"] == "complete"


def test_a_statistic_is_set_in_run_toml(run: Run, tmp_path: Path) -> None:
    call("score", run.path)
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    before = (path / "run.toml").read_text()
    call("set", path, "reduce.statistic=published")
    call("reduce", path, "--threads", 1)
    assert (path / "run.toml").read_text() == before.replace('statistic = "auto"', 'statistic = "published"')
    assert "up to date" in call("reduce", path).stdout
    assert "statistic = 'guess': expected one of" in call("set", path, "reduce.statistic=guess", code=1).output
    assert (path / "run.toml").read_text() == before.replace('statistic = "auto"', 'statistic = "published"')


def test_run_toml_is_not_changed_while_somebody_works_on_the_run(run: Run) -> None:
    before = run.config_file.read_text()
    assert "expected one of attention" in call("set", run.path, "score.methods=magic", code=1).output
    with lock.hold(run.path, what="somebody else", shared=True):  # a task of a job array
        assert "somebody else" in call("set", run.path, "score.methods=epistasis", code=1).output
        assert "max_sites" in call("set", run.path).stdout
    assert run.config_file.read_text() == before


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ("reduce.statistic=published", ["reduce", "--scheduler-file", "none.json"], "no such file"),
        ("reduce.statistic=published", ["reduce", "--memory", "1M"], "reducing needs at least"),
        ("score.methods=attention,epistasis", ["score", "--memory", "1M"], "memory"),
        ("search.trials=7", ["search"], "is stale"),
        ("ensemble.seeds=7", ["ensemble"], "is stale"),
    ],
)
def test_a_refused_command_leaves_run_toml_and_what_was_made(
    run: Run, tmp_path: Path, change: str, arguments: list[str], said: str
) -> None:
    """What is made holds again once run.toml is as it was. search and ensemble need a data set that fits run.toml."""
    call("score", run.path)
    call("reduce", run.path)
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    config = path / "run.toml"
    as_it_was = config.read_text()
    call("set", path, change)
    if said == "is stale":
        config.write_text(config.read_text().replace("examples = 600", "examples = 500"))
    kept = [config, *path.glob("provenance/*"), *(file for file in path.glob("interactions/*") if file.is_file())]
    before = {file: file.read_bytes() for file in kept}
    command, *options = arguments
    assert said in call(command, path, *options, code=1).output
    assert {file: file.read_bytes() for file in kept} == before
    if said != "is stale":
        config.write_text(as_it_was)
    states = json.loads(call("status", path, "--json").stdout)["stages"]
    assert {states[name]["state"] for name in ("score", "reduce")} == {"stale" if said == "is stale" else "complete"}


def test_the_plan_counts_the_partitions_of_an_added_method(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run.path, path, ignore=shutil.ignore_patterns("scores"))
    call("set", path, "score.methods=attention,epistasis")
    plan = json.loads(call("score", path, "--plan", "--json").stdout)
    assert plan["epistasis"]["first_partition"] == sum(plan["attention"]["partitions"].values())


def test_set_changes_keys_and_says_what_becomes_stale(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    before = (path / "run.toml").read_text()
    assert "no complete stage becomes stale" in call("set", path, "ensemble.seeds=4", "search.seed=7").stdout
    told = call("set", path, 'score.methods=["epistasis"]', "score.split = all", "motifs.threshold=0.4").stdout
    assert "now stale: motifs" in told
    after = (path / "run.toml").read_text()
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    gone = [line.split()[1] for line in lines if line.startswith("-")]
    assert gone == ["methods", "split"], "comments and order stay"
    config = Run.open(path).config
    assert (config.ensemble.seeds, config.search.seed) == (4, 7)
    assert (config.score.methods, config.score.split) == (("epistasis",), "all")
    assert toml.parse(call("set", path).stdout, Config, name="all keys") == config
    for wrong, says in (
        (["score.splits=all"], "did you mean 'split'"),
        (["reduce.alpha=0.5", "score.split=most"], "expected one of train, valid, test, all"),
        (["reduce.alpha"], "expected section.key=value"),
        (["reduce={alpha = 1}"], "by hand"),
    ):
        assert says in call("set", path, *wrong, code=1).stderr
        assert (path / "run.toml").read_text() == after, "all or nothing"
