"""A data source of a plug-in, one file, goes from `new` to the report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.config.prepare import SOURCES
from satori_hpc.run import pipeline
from satori_hpc.run.layout import Run
from tests.fixtures import tiny
from tests.fixtures.guests import SOURCE, satori, told
from tests.fixtures.whole import read as read_whole


def write_lines(path: Path) -> list[str]:
    """240 sequences of 60 bp; positives hold TGACTCA."""
    rng = np.random.default_rng(1)
    lines = []
    for label in [0, 1] * 120:
        letters = "".join(rng.choice(list("ACGT"), size=60))
        lines.append(f"{letters[:20] + 'TGACTCA' + letters[27:] if label else letters}\t{label}")
    path.write_text("\n".join(lines) + "\n")
    return lines


def test_a_source_of_a_plug_in_goes_from_new_to_the_report(tmp_path: Path, here: Callable[[], None]) -> None:
    shutil.copy(SOURCE, tmp_path / "my_source.py")
    lines = write_lines(tmp_path / "lines.txt")
    (tmp_path / "tiny.toml").write_text(toml.render(tiny.tiny_config()))
    told_of = ("--plugin", "my_source", "--template", "lines", "--set", "prepare.lines.file=../lines.txt")
    satori("new", "run", *told_of, "--like", "tiny.toml", "--set", "prepare.test_fraction=0.3", path=tmp_path)
    said = satori("all", "run", "--threads", 1, path=tmp_path)
    assert "lines" in said
    run = Run.open(tmp_path / "run")
    text = run.config_file.read_text()
    assert "[prepare.lines]  # A sequence and its label per line.\n# sequence, tab, 0 or 1 per line;" in text
    made = read_whole(run.dataset)
    assert made.names[:2] == ["line1", "line2"]
    assert made.labels[:, 0].tolist() == [0, 1] * 120
    assert "240 lines of 60 bp, 120 of them positive" in run.report.read_text()
    record = json.loads(run.record("prepare").read_text())
    assert list(record["sources"]) == [str(tmp_path / "lines.txt")]
    assert list(record["config"]["plugins"]) == ["my_source"]
    assert {state.state for state in pipeline.states(run).values()} == {"complete"}

    # What changes it: its file, its key, the plug-in.
    (tmp_path / "lines.txt").write_text("\n".join(lines[2:]) + "\n")
    assert pipeline.states(run)["prepare"].reason == f"{tmp_path / 'lines.txt'} has changed"
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    changed = Run(path=run.path, config=toml.replace(run.config, "prepare.lines.file", "x"))
    assert pipeline.states(changed)["prepare"].reason == "run.toml changed: prepare.lines.file"
    with open(tmp_path / "my_source.py", "a") as plugin:
        plugin.write("\n# changed\n")
    here()
    assert pipeline.states(Run.open(run.path))["prepare"].reason == "plug-in my_source has changed"


@pytest.fixture
def run(tmp_path: Path, here: Callable[[], None]) -> Path:
    """A run of such a source, not begun."""
    shutil.copy(SOURCE, tmp_path / "mine.py")
    told("new", tmp_path / "run", "--plugin", "mine", "--template", "lines", "--preset", "small")
    return tmp_path / "run"


def test_files_that_the_source_names_are_files_of_the_user(run: Path) -> None:
    opened = config.load(run / "run.toml")
    assert config.rooted(opened, Path("/data")).prepare.settings.file == "/data/lines.txt"
    said = told("prepare", run, code=1)
    assert f"{run / 'lines.txt'}: no such file; correct [prepare.lines] file in run.toml" in said


def test_sequences_that_are_too_short_are_refused(run: Path) -> None:
    (run / "lines.txt").write_text("ACGT\t0\nACGA\t1\n")
    assert "the sequences are 4 bp long; expected at least 15 bp" in told("prepare", run, code=1)


HEAD = "from satori_hpc import data\n"


@pytest.mark.parametrize(
    ("plugin", "key", "expected"),
    [
        (
            "",
            "[prepare]\nsource = 'lines'",
            "source = 'lines': expected one of simulated, fasta, genome, folds, arrays",
        ),
        (HEAD + "data.register('fasta', sentence='x')(print)\n", "", "data source 'fasta' is there already"),
        (HEAD + "data.register('split', sentence='x')(print)\n", "", "'split': the name means something else"),
        (HEAD + "data.register('x', sentence='x', files=('y',))(print)\n", "", "files y; expected keys of its"),
        (
            HEAD + "data.register('x', sentence='x', parts='no')(print)\n",
            "",
            "parts = 'no'; expected one of never",
        ),
        (None, "[prepare.lines]\nfiel = 'x'", "line 3: [prepare.lines] fiel: unknown key; did you mean 'file'?"),
        (None, "[prepare.lines]\nfile = 3", "line 3: [prepare.lines] file = 3: expected a string, found int"),
        (None, "[prepare.lines]", "source = 'simulated', yet there is a section [prepare.lines]: remove one of them"),
        (None, "[prepare]\nlines = 3", "line 3: [prepare] lines: expected a table [lines], found 3"),
        (None, "[prepare]\nsource = 'lines'\nsplit = 'given'", "source = 'lines' has no parts of its own: set split"),
    ],
)
def test_what_is_wrong_with_a_source_is_one_clear_error(
    plugin: str | None, key: str, expected: str, tmp_path: Path, here: Callable[[], None]
) -> None:
    (tmp_path / "mine.py").write_text(SOURCE.read_text() if plugin is None else plugin)
    (tmp_path / "run.toml").write_text(f"plugins = ['mine']\n{key}\n")
    said = told("status", tmp_path, code=1)
    assert expected in said
    assert "Traceback" not in said


def test_an_unknown_template_is_refused(tmp_path: Path) -> None:
    said = told("new", tmp_path / "run", "--template", "lines", code=2)
    assert f"'lines' is not one of {', '.join(SOURCES)}" in said
    assert not (tmp_path / "run").exists()
