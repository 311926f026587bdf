"""verify: every kind of damage is found and named, and the command that is named repairs it and nothing else."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.errors import SatoriError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import lock, pipeline, provenance, sealed
from satori_hpc.run.layout import Run
from satori_hpc.run.provenance import compare
from satori_hpc.scoring.layout import ARRAYS
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.tools.verify import Report, verify
from tests.fixtures.runs import TinyRun

RUNTIME = Runtime(device="cpu", threads=1)
STAGES = ("prepare", "train", "motifs", "score", "reduce", "evaluate")
STORE = "scores/attention.zarr"


@pytest.fixture(scope="module")
def whole(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run, never changed."""
    return tiny_run("evaluate", tmp_path_factory.mktemp("verify") / "whole")


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Run:
    """A copy to damage, times as they were."""
    shutil.copytree(whole.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def flip(path: Path, at: int = -1, *, silently: bool = False) -> None:
    """Change one bit of one byte; `silently` leaves the time as it was."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[at if at >= 0 else len(content) // 2] ^= 1
    path.write_bytes(content)
    if silently:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def repair(report: Report) -> None:
    """Do what the report says, as a person at a shell would."""
    for command in report.commands():
        for part in command.split(" && "):
            program, *arguments = shlex.split(part)
            if program == "rm":
                Path(arguments[0]).unlink()
                continue
            assert program == "satori-hpc"
            # As the run was made: another number of threads may change the last bits of predictions.
            extra = ["--device", "cpu", "--threads", "1"] if arguments[0] in ("train", "motifs", "score") else []
            result = CliRunner().invoke(cli, [*arguments, *extra], catch_exceptions=False)
            assert result.exit_code == 0, f"{command}: {result.output}"


def content(run: Run) -> dict[str, bytes]:
    found = provenance.files_of([run.path])
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in found}


def times(run: Run) -> dict[str, int]:
    found = provenance.files_of([run.path])
    return {path.relative_to(run.path).as_posix(): path.stat().st_mtime_ns for path in found}


def test_a_run_as_it_was_written_has_no_findings(run: Run) -> None:
    before = times(run)
    report = verify(run, RUNTIME)
    assert report.findings == ()
    assert report.stages == STAGES
    outputs = [name for name in before if not name.startswith(("provenance", "run.toml"))]
    assert report.files == len(outputs)
    assert report.bytes == sum((run.path / name).stat().st_size for name in outputs)
    assert report.lines() == [line for line in report.lines() if line.startswith("all as it was written: ")]
    assert times(run) == before, "verify changes nothing"
    assert not (run.path / ".lock").exists()


# Damage -> words of the finding; "{0}" is partition 1 of the foreground, "{1}" partition 0 of the background.
def _shard(run: Run, group: str = "foreground", partition: int = 1, array: str = "value") -> Path:
    return ScoreStore(run.scores("attention")).shard_path(group, array, partition)


def _marker(run: Run, partition: int = 1) -> Path:
    return run.score_markers("attention") / f"foreground-{partition}.json"


SHARD_DAMAGE: dict[str, tuple[Callable[[Run], None], list[str]]] = {
    "emptied": (lambda run: truncate(_shard(run), 0), ["value/c/1/0 has 0 bytes, expected"]),
    "one byte left": (lambda run: truncate(_shard(run), 1), ["value/c/1/0 has 1 bytes, expected"]),
    "half left": (lambda run: truncate(_shard(run), _shard(run).stat().st_size // 2), ["value/c/1/0 has"]),
    "last byte lost": (lambda run: truncate(_shard(run), _shard(run).stat().st_size - 1), ["value/c/1/0 has"]),
    "a byte too many": (lambda run: _shard(run).write_bytes(_shard(run).read_bytes() + b"x"), ["value/c/1/0 has"]),
    "flipped": (lambda run: flip(_shard(run, array="place")), ["place/c/1/0 has other content"]),
    "first byte flipped": (lambda run: flip(_shard(run), 0), ["value/c/1/0 has other content"]),
    "flipped in silence": (
        lambda run: flip(_shard(run, array="strength"), silently=True),
        ["strength/c/1/0 has other content"],
    ),
    "deleted": (lambda run: _shard(run).unlink(), ["value/c/1/0 is missing"]),
    "marker deleted": (lambda run: _marker(run).unlink(), ["attention.markers/foreground-1.json is missing"]),
    "marker emptied": (lambda run: truncate(_marker(run), 0), ["attention.markers/foreground-1.json is damaged"]),
    "marker no text": (
        lambda run: _marker(run).write_bytes(b"\xff"),
        ["attention.markers/foreground-1.json is damaged"],
    ),
    "marker without shards": (
        lambda run: _marker(run).write_text("{}"),
        ["attention.markers/foreground-1.json is damaged"],
    ),
    "swapped": (
        lambda run: swap(_shard(run), _shard(run, partition=0)),
        ["value/c/0/0 has", "value/c/1/0 has"],
    ),
    "markers swapped": (
        lambda run: swap(_marker(run), _marker(run, 0)),
        ["attention.markers/foreground-0.json is damaged", "attention.markers/foreground-1.json is damaged"],
    ),
}


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_a_damaged_partition_is_named_and_scored_again_alone(whole: Run, run: Run, damage: str) -> None:
    harm, words = SHARD_DAMAGE[damage]
    harm(run)
    if "in silence" in damage:
        assert pipeline.states(run)["score"].usable, "size and time are as recorded"
    before = times(run)
    report = verify(run, RUNTIME)
    assert len(report.findings) == len(words), report.lines()
    partitions = range(2 - len(words), 2)
    for found, word, partition in zip(report.findings, words, partitions, strict=True):
        assert found.artefact == f"{STORE}, foreground partition {partition}"
        assert word in found.problem
        assert found.command == f"satori-hpc score {run.path} --partition {partition}"
    numbers = ",".join(str(partition) for partition in partitions)
    assert report.commands() == [f"satori-hpc score {run.path} --partition {numbers}"]
    repair(report)
    assert verify(run, RUNTIME).findings == ()
    assert pipeline.remaining(run) == pipeline.remaining(whole)
    assert content(run) == content(whole)
    touched = {name for name, time in times(run).items() if before.get(name) != time}
    mine = [[_shard(run, "foreground", k, array) for array in ARRAYS] for k in partitions]
    allowed = {path.relative_to(run.path).as_posix() for paths in mine for path in paths}
    allowed |= {_marker(run, k).relative_to(run.path).as_posix() for k in partitions}
    assert touched <= allowed


def test_the_numbers_of_the_background_go_on_after_the_foreground(whole: Run, run: Run) -> None:
    store = ScoreStore(run.scores("attention"))
    number = len(store.partitions("foreground"))
    flip(_shard(run, "background", 0))
    flip(_shard(run, "foreground", 0))
    report = verify(run, RUNTIME)
    assert report.commands() == [f"satori-hpc score {run.path} --partition 0,{number}"]
    repair(report)
    assert content(run) == content(whole)


def test_shards_and_a_marker_that_agree_but_are_not_those_of_the_record_are_found(whole: Run, run: Run) -> None:
    marker = sealed.parse(_marker(run).read_text())
    entries = {**marker["entries"], "value": marker["entries"]["value"] + 1}
    _marker(run).write_text(sealed.text({**marker, "entries": entries}, sort_keys=True))
    shard = _shard(run, partition=0)
    flip(shard)
    told = sealed.parse(_marker(run, 0).read_text())
    told["files"]["value"]["sha256"] = provenance.file_digest(shard)
    _marker(run, 0).write_text(sealed.text(told, sort_keys=True))
    report = verify(run, RUNTIME)
    assert [found.artefact for found in report.findings] == [f"{STORE}, foreground partition {k}" for k in (0, 1)]
    assert all(f"attention.markers/foreground-{k}.json" in found.problem for k, found in enumerate(report.findings))
    repair(report)
    assert verify(run, RUNTIME).findings == ()
    assert content(run) == content(whole)


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("dataset.zarr/zarr.json", "prepare"),
        ("dataset.zarr/tokens/c/0/0", "prepare"),
        ("truth/truth.tsv", "prepare"),
        ("checkpoints/best.pt", "train"),
        ("checkpoints/history.tsv", "train"),
        ("predictions.zarr/logits/zarr.json", "train"),
        ("motifs/filters.parquet", "motifs"),
        ("motifs/filters.meme", "motifs"),
        (f"{STORE}/zarr.json", "score"),
        (f"{STORE}/foreground/value/zarr.json", "score"),
        (f"{STORE}/foreground/example/c/0", "score"),
        ("scores/attention.markers/complete.json", "score"),
        ("interactions/attention.parquet", "reduce"),
        ("interactions/attention.tsv", "reduce"),
        ("interactions/attention.tf.tsv", "reduce"),
        ("evaluation.json", "evaluate"),
    ],
)
def test_any_other_file_is_found_and_made_again(whole: Run, run: Run, name: str, stage: str, silently: bool) -> None:
    flip(run.path / name, silently=silently)
    report = verify(run, RUNTIME)
    assert [found.artefact for found in report.findings] == [name]
    assert "other content" in report.findings[0].problem
    assert f"satori-hpc {stage} {run.path}" in report.findings[0].command
    before = times(run)
    repair(report)
    assert verify(run, RUNTIME).findings == ()
    assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert pipeline.remaining(run) == pipeline.remaining(whole), "what was made from it is as fresh as before"
    kept = {"train": "checkpoints/step", "score": f"{STORE}/foreground/value/c/"}.get(stage, "run.toml")
    if not name.startswith(STORE) or name.endswith("complete.json"):
        assert all(times(run)[other] == time for other, time in before.items() if other.startswith(kept))


def test_missing_short_and_strange_files_are_told_apart(run: Run) -> None:
    (run.path / "truth" / "pairs.tsv").unlink()
    size = (run.path / "truth" / "truth.tsv").stat().st_size
    truncate(run.path / "truth" / "truth.tsv", 7)
    (run.path / "motifs" / "more notes.txt").write_text("mine")
    report = verify(run, RUNTIME)
    assert [(found.artefact, found.problem) for found in report.findings] == [
        ("truth/pairs.tsv", "is missing"),
        ("truth/truth.tsv", f"is truncated to 7 bytes of {size}"),
        ("motifs/more notes.txt", "was not there when the stage ended"),
    ]
    assert len(report.commands()) == 2
    repair(report)
    assert verify(run, RUNTIME).findings == ()
    assert not (run.path / "motifs" / "more notes.txt").exists()


@pytest.mark.parametrize("stage", ["train", "score"])
@pytest.mark.parametrize("how", ["not JSON", "another digest"])
def test_a_damaged_record_is_found_and_nothing_is_computed_again(whole: Run, run: Run, stage: str, how: str) -> None:
    path = run.record(stage)
    record = json.loads(path.read_text())
    name = sorted(record["files"])[0]
    record["files"][name]["sha256"] = "0" * 64
    path.write_text("{" if how == "not JSON" else json.dumps(record))
    before = times(run)
    report = verify(run, RUNTIME)
    assert [found.artefact for found in report.findings] == [f"provenance/{stage}.json"]
    assert stage not in report.stages
    repair(report)
    assert verify(run, RUNTIME).findings == ()
    assert pipeline.remaining(run) == pipeline.remaining(whole)
    kept = "checkpoints/step" if stage == "train" else f"{STORE}/foreground"
    assert all(times(run)[other] == time for other, time in before.items() if other.startswith(kept))


def test_an_unfinished_store_is_no_damage_but_damage_in_it_is(run: Run) -> None:
    run.record("score").unlink()
    (run.score_markers("attention") / "complete.json").unlink()
    _marker(run, 0).unlink()
    report = verify(run, RUNTIME)
    assert report.findings == ()
    assert report.notes == (f"{STORE}: 1 partitions are not scored yet; go on: satori-hpc score {run.path}",)
    flip(_shard(run))
    report = verify(run, RUNTIME)
    assert [found.partition for found in report.findings] == [1]
    flip(run.scores("attention") / "zarr.json", 0)
    report = verify(run, RUNTIME)
    assert [found.artefact for found in report.findings] == [STORE]
    assert report.commands() == [f"satori-hpc score {run.path} --force"]


def test_leftovers_of_killed_writers_are_no_findings(run: Run) -> None:
    (run.path / "motifs" / ".filters.meme.0123abcd.partial").write_text("half")
    (run.scores("attention") / "foreground" / "value" / "c" / "1" / ".0.0123abcd.partial").write_text("half")
    assert verify(run, RUNTIME).findings == ()


def test_the_report_serves_people_and_programs(run: Run) -> None:
    flip(_shard(run))
    (run.path / "truth" / "pairs.tsv").unlink()
    report = verify(run, RUNTIME)
    told = json.loads(json.dumps(report.as_dict()))
    assert [found["artefact"] for found in told["findings"]] == [found.artefact for found in report.findings]
    assert told["commands"] == report.commands()
    text = "\n".join(report.lines())
    assert "truth/pairs.tsv: is missing; repair: satori-hpc prepare" in text
    assert text.endswith(f"  satori-hpc score {run.path} --partition 1")
    assert "2 damaged of" in text


def test_a_run_that_is_being_worked_on_is_not_judged(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    with lock.hold(run.path, what="satori-hpc score"), pytest.raises(SatoriError, match="satori-hpc score"):
        verify(run, RUNTIME)


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    size = (tmp_path / "folder").stat().st_size
    assert compare(tmp_path / "folder", {"bytes": size, "sha256": ""})[1] == "cannot be read (Is a directory)"
