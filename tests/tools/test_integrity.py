"""A byte that flips in any file of a run, its size and time as they were: `verify` names it, and no stage reads it."""

import json
import os
import random
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.interactions.tracks import stage as tracks_stage
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import inspect
from satori_hpc.run import execute, pipeline, provenance
from satori_hpc.run.layout import Run
from satori_hpc.tools.verify import Report, verify
from satori_hpc.tuning import ensemble, search
from tests.fixtures.runs import TinyRun
from tests.fixtures.tiny import change
from tests.fixtures.whole import read as read_whole

RUNTIME = Runtime(device="cpu", threads=1)
STAGES = ("prepare", "train", "motifs", "score", "reduce", "evaluate")
BOOKS = re.compile(r"provenance/[a-z]+\.json$|tracks/tracks\.json$|inspect/\d+\.json$|scores/\w+\.zarr/zarr\.json$")


@pytest.fixture(scope="module")
def whole(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with all that is made on request, never changed."""
    run = tiny_run("evaluate", tmp_path_factory.mktemp("integrity") / "a run")
    run = change(run, ensemble={"seeds": 2}, search={"trials": 2})
    ensemble.ensemble(run, RUNTIME)
    search.search(run, RUNTIME)
    inspect.inspect(run, RUNTIME, "3")
    tracks_stage.make(run, RUNTIME, attribute=2)
    execute.execute(run, "report", RUNTIME)
    return run


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    """A copy to damage, times as they were."""
    shutil.copytree(whole.path, tmp_path / "a run", symlinks=True)
    return Run.open(tmp_path / "a run")


def flip(path: Path, at: float = 0.5, *, by: int = 1) -> None:
    """Change bits of the byte at a share of the file; size and time stay as they were."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[min(len(content) - 1, int(len(content) * at))] ^= by
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def artefacts(run: Run) -> list[str]:
    """All files, links aside, but those of the user."""
    found = [Path(folder) / name for folder, _, names in os.walk(run.path) for name in names]
    names = sorted(path.relative_to(run.path).as_posix() for path in found)
    return [name for name in names if not name.endswith(("run.toml", ".lock"))]


def named(report: Report, name: str) -> bool:
    """Whether a report names a file, or the partition that it belongs to."""
    shard = re.fullmatch(
        r"(.*/scores/|scores/)(\w+)\.(?:zarr|markers)/(\w+ground)[/-](?:\w+/c/)?(\d+)(?:(?:/0)+|\.json)", name
    )
    wanted = f"{shard[1]}{shard[2]}.zarr, {shard[3]} partition {shard[4]}" if shard else name
    return any(found.artefact == wanted and found.command for found in report.findings)


@pytest.mark.parametrize("at", [0, 0.37, 1.0])
def test_verify_names_every_file_in_which_a_byte_is_flipped(whole: Run, run: Run, at: float) -> None:
    assert verify(whole, RUNTIME).findings == ()
    names = [name for name in artefacts(run) if not BOOKS.search(name)]
    assert {
        "search/trial_0001/outcome.json",
        "search/best.toml",
        "ensemble/ensemble.json",
        "tracks/igv.xml",
        "inspect/3.html",
    } <= {*names}
    assert sum("step_" in name for name in names) >= 4
    for name in names:
        flip(run.path / name, at)
    assert pipeline.remaining(run) == [], "size and time are as recorded"
    report = verify(run, RUNTIME)
    assert [name for name in names if not named(report, name)] == []


@pytest.mark.parametrize("at", [0, 0.37, 1.0])
def test_verify_names_every_record_in_which_a_byte_is_flipped(run: Run, at: float) -> None:
    books = [name for name in artefacts(run) if BOOKS.search(name) and not name.endswith("zarr.json")]
    assert len(books) >= 20
    for name in books:
        flip(run.path / name, at)
    report = verify(run, RUNTIME)
    assert [name for name in books if not named(report, name)] == []


def test_verify_names_a_plan_of_scores_that_has_changed(run: Run) -> None:
    plan = run.scores("attention") / "zarr.json"
    for at in range(0, plan.stat().st_size, 97):
        flip(plan, at / plan.stat().st_size)
        assert named(verify(run, RUNTIME), "scores/attention.zarr/zarr.json"), at
        flip(plan, at / plan.stat().st_size)


# What a stage reads, and the stage. A chunk of an array is found as it is read, all else before the stage begins.
READ = [
    ("dataset.zarr/tokens/c/0/0", "train"),
    ("dataset.zarr/labels/c/0/0", "train"),
    ("dataset.zarr/split/c/0", "motifs"),
    ("dataset.zarr/tokens/zarr.json", "train"),
    ("checkpoints/best.pt", "motifs"),
    ("checkpoints/best.pt", "score"),
    ("predictions.zarr/probability/c/0/0", "score"),
    ("motifs/filters.parquet", "score"),
    ("motifs/filters.meme", "score"),
    ("motifs/tf.parquet", "reduce"),
    ("scores/attention.zarr/foreground/value/c/1/0", "reduce"),
    ("scores/attention.zarr/background/value/c/0/0", "reduce"),
    ("scores/attention.markers/foreground-1.json", "reduce"),
    ("scores/attention.zarr/zarr.json", "reduce"),
    ("interactions/attention.tf.parquet", "evaluate"),
    ("truth/pairs.tsv", "evaluate"),
    ("evaluation.json", "report"),
    ("checkpoints/history.tsv", "report"),
    ("interactions/attention.spacing.parquet", "report"),
    ("ensemble/attention_tf.parquet", "report"),
    ("ensemble/ensemble.json", "report"),
]


@pytest.mark.parametrize(("name", "stage"), READ)
def test_no_stage_reads_a_file_in_which_a_byte_is_flipped(run: Run, name: str, stage: str) -> None:
    flip(run.path / name, 0.6)
    assert pipeline.remaining(run) == [], "size and time are as recorded"
    with pytest.raises(ArtefactError) as refused:
        execute.execute(run, stage, RUNTIME, force=True)
    message = str(refused.value)
    store = re.match(r"(.*?\.zarr)/(.*)/(?:c/|zarr\.json)", name)
    assert (store[1] if store else name) in message
    assert not provenance.is_chunk(name) or (store and store[2].rpartition("/")[2] in message)
    assert "satori-hpc" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("motifs/filters.parquet", lambda run: inspect.inspect(run, RUNTIME, "3")),
        ("interactions/attention.bedpe", lambda run: tracks_stage.make(run, RUNTIME)),
        ("interactions/attention.tf.parquet", lambda run: ensemble.ensemble(run, RUNTIME)),
        ("ensemble/seed_2/interactions/attention.tf.parquet", lambda run: ensemble.ensemble(run, RUNTIME)),
        ("dataset.zarr/zarr.json", lambda run: search.search(run, RUNTIME)),
    ],
)
def test_no_command_on_request_reads_one_either(run: Run, name: str, work) -> None:
    flip(run.path / name, 0.6)
    with pytest.raises(
        ArtefactError, match=f"{re.escape(name)}.*which has other content than was written; run: satori-hpc"
    ):
        work(run)


@pytest.mark.parametrize(
    ("name", "stage", "also"),
    [
        ("dataset.zarr/tokens/c/0/0", "train", []),
        ("checkpoints/best.pt", "motifs", ["train"]),
        ("motifs/filters.parquet", "score", []),
        ("interactions/attention.tf.parquet", "evaluate", []),
    ],
)
def test_the_command_that_is_named_mends_it(whole: Run, run: Run, name: str, stage: str, also: list[str]) -> None:
    flip(run.path / name, 0.6)
    with pytest.raises(ArtefactError) as refused:
        execute.execute(run, stage, RUNTIME, force=True)
    command = re.search(r"(?:run|make it with): (.*)$", str(refused.value).splitlines()[0])
    assert command is not None
    for part in command[1].split(" && "):
        program, *arguments = shlex.split(
            part.replace(str(run.path), shlex.quote(str(run.path))) if "'" not in part else part
        )
        if program == "rm":
            Path(arguments[0]).unlink()
            continue
        extra = ["--device", "cpu", "--threads", "1"] if arguments[0] in ("train", "motifs", "score") else []
        result = CliRunner().invoke(cli, [*arguments, *extra], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert pipeline.states(run)[stage].state in ("complete", "stale", "missing", "unfinished")
    execute.execute(run, stage, RUNTIME)


def positions(run: Run, *, each: int) -> Iterator[tuple[Path, int, int]]:
    """Places in the JSON artefacts of a run, those of the inner runs aside, and what to change there."""
    draw = random.Random(14)
    for path in sorted(run.path.rglob("*.json")):
        if "seed_" not in str(path) and "trial_" not in str(path):
            for _ in range(each):
                yield path, draw.randrange(path.stat().st_size), draw.randrange(1, 256)


def test_changed_json_ends_in_one_error_or_does_no_harm(run: Run) -> None:
    refused, messages = set(), []
    for path, at, by in positions(run, each=2):
        before = path.read_bytes()
        flip(path, at / len(before), by=by)
        name = path.relative_to(run.path).as_posix()
        for work in (
            lambda: pipeline.states(run),
            lambda: pipeline.require(run, pipeline.BY_NAME["report"]),
            lambda: read_whole(run.dataset),
        ):
            try:
                work()
            except SatoriError as error:
                messages.append(str(error))
                refused.add(name)
        path.write_bytes(before)
    assert all("satori-hpc" in message for message in messages)
    record_of_all = set()
    for stage in ("prepare", "train", "motifs", "score", "reduce", "evaluate", "ensemble"):
        record = provenance.read(run.record(stage))
        assert record is not None
        record_of_all |= {f"provenance/{stage}.json", *(name for name in record.files if name.endswith(".json"))}
    assert record_of_all - refused == set(), "each change of each of these was refused"


def test_the_outcome_of_a_trial_tells_nothing_else_than_was_noted(run: Run) -> None:
    path, leaderboard = run.outcome(1), run.leaderboard.read_bytes()
    content = path.read_bytes()
    draw = random.Random(14)
    for damaged in [content.replace(b"0.", b"0.9"), *(flipped(content, draw) for _ in range(30))]:
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match=r"rm .*outcome.json' && satori-hpc search"):
            search.search(run, RUNTIME)
        assert run.leaderboard.read_bytes() == leaderboard
    path.unlink()
    board = search.search(run, RUNTIME)
    assert board is not None
    assert board.complete
    assert path.read_bytes() == content
    assert run.leaderboard.read_bytes() == leaderboard


def flipped(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ draw.randrange(1, 256)]) + content[at + 1 :]


def test_a_step_file_with_a_flipped_byte_is_not_gone_on_from(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    newest, older = sorted(run.checkpoints.glob("step_*.pt"), reverse=True)
    flip(newest)
    caplog.clear()
    run.record("train").unlink()
    execute.execute(run, "train", RUNTIME)
    assert f"{newest}: damaged" in caplog.text
    assert "trying an older one" in caplog.text
    assert older.exists()


def test_the_report_is_stale_while_it_lacks_the_tables_of_an_ensemble(run: Run) -> None:
    assert pipeline.states(run)["report"].usable
    assert "ensemble" in run.report.read_text()
    ensemble.ensemble(run, RUNTIME)
    assert pipeline.states(run)["report"].usable, "the same tables were made again"
    run.record("ensemble").unlink()
    assert pipeline.states(run)["report"].reason == "made with other tables of ensemble"
    execute.execute(run, "report", RUNTIME)
    assert pipeline.remaining(run) == []
    ensemble.ensemble(run, RUNTIME)
    state = pipeline.states(run)["report"]
    assert (state.state, state.reason) == ("stale", "made without the tables of ensemble")
    output = CliRunner().invoke(cli, ["status", str(run.path)]).output
    assert f"next: satori-hpc report {run.path}" in output or "next: satori-hpc report" in output
    assert "nothing to do" not in output
    execute.execute(run, "report", RUNTIME)
    assert pipeline.remaining(run) == []
    changed = change(run, ensemble={"min_seeds": 1})
    assert pipeline.states(changed)["report"].reason == "made with other tables of ensemble"


def test_digests_cost_little(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest = provenance.file_digest
    monkeypatch.setattr(provenance, "file_digest", lambda path: read.append(str(path)) or digest(path))
    pipeline.require(run, pipeline.BY_NAME["report"])
    assert read
    assert not [name for name in read if provenance.is_chunk(name)], "chunks carry checksums of their own"


def test_what_a_command_on_request_was_asked_for_is_asked_for_again(run: Run) -> None:
    flip(run.tracks / "igv.xml")
    found = verify(run, RUNTIME).findings
    assert [one.artefact for one in found] == ["tracks/igv.xml"]
    assert found[0].command == f"satori-hpc tracks {shlex.quote(str(run.path))} --attribute=2"
    assert json.loads((run.tracks / "tracks.json").read_text())["attribute"] == 2
