"""Changing one value of run.toml: that value alone changes, comments stay, and a bad value changes nothing."""

import dataclasses
import difflib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc import config
from satori_hpc.config import Config, edit, toml
from satori_hpc.config.score import METHODS
from satori_hpc.errors import ConfigError
from tests.fixtures.tiny import make_run

SHORT = """\
# notes of mine
format_version = 1
seed = 7 # lucky

[prepare.simulated]
examples = 600
"""


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(True), after.splitlines(True)) if line[0] in "+-"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run.toml with everything in it and a remark."""
    file = make_run(tmp_path / "run").config_file
    file.write_text(
        toml.render(config.load(file)).replace('statistic = "auto"', 'statistic = "auto"  # as the paper of last year')
    )
    return file


def test_one_line_changes(path: Path) -> None:
    before = path.read_text()
    assert edit.change(path, "reduce.statistic", "published")
    assert changed_lines(before, path.read_text()) == [
        '- statistic = "auto"  # as the paper of last year\n',
        '+ statistic = "published"  # as the paper of last year\n',
    ]
    assert config.load(path).reduce.statistic == "published"
    assert [file.name for file in path.parent.iterdir()] == ["run.toml"]


def test_what_is_there_already_is_not_written(path: Path) -> None:
    os.utime(path, ns=(1, 1))
    assert not edit.change(path, "score.methods", ["attention"])
    assert not edit.change(path, "reduce.statistic", "auto")
    path.write_text(SHORT)
    os.utime(path, ns=(1, 1))
    assert not edit.change(path, "reduce.statistic", "auto"), "the default counts"
    assert path.stat().st_mtime_ns == 1


def test_comments_between_the_methods_stay(path: Path) -> None:
    several = 'methods = [\n    "attention",  # the old way\n    # "attribution",\n]  # more to come\n'
    before = path.read_text().replace('methods = ["attention"]\n', several)
    path.write_text(before)
    assert edit.change(path, "score.methods", ("attention", "epistasis"))
    added = changed_lines(before, path.read_text())
    assert len(added) == 1, added
    assert '"epistasis"' in added[0]
    assert config.load(path).score.methods == ("attention", "epistasis")
    assert edit.change(path, "score.methods", ["epistasis"])
    assert config.load(path).score.methods == ("epistasis",)


@pytest.mark.parametrize(
    "text",
    [
        SHORT,
        SHORT.rstrip("\n"),
        SHORT + "\n[score]\n",
        SHORT + "\n[score]\n# none yet\n\n[score.sites]\nmax_sites = 5\n\n[reduce]\nalpha = 0.01\n",
        SHORT + "\n[score.sites]\nmax_sites = 5\n\n[reduce]\nalpha = 0.01\n",
        SHORT.replace("seed", 'score.methods = ["attention"]\nseed'),
        SHORT.replace("seed", 'score = {methods = ["attention"], split = "all"}\nseed'),
        SHORT + "\n[ score ]\n  'methods' = ['attention'] # mine\n",
        SHORT.replace("\n", "\r\n") + "[score]\r\nsplit = 'all'\r\n",
    ],
)
def test_a_file_of_any_style_keeps_what_it_says(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
    before = config.load(path)
    assert edit.change(path, "score.methods", ["attention", "epistasis"])
    wanted = dataclasses.replace(before.score, methods=("attention", "epistasis"))
    assert config.load(path) == dataclasses.replace(before, score=wanted)
    after = path.read_bytes().decode()
    for remark in ("# notes of mine", "# lucky", *(["# mine"] if "# mine" in text else [])):
        assert remark in after
    if "\r" in text:
        assert "seed = 7 # lucky\r\n" in after


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("score.methods", ["attention", "magic"], r"with score.methods = \[.*expected one of attention"),
        ("reduce.statistic", "guess", "statistic = 'guess': expected one of"),
        ("score.sites.max_sites", 1, "at least 2"),
    ],
)
def test_a_value_that_is_not_allowed_changes_nothing(path: Path, key: str, value: object, words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        edit.change(path, key, value)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["run.toml"]


def test_values_that_do_not_go_together_change_nothing(path: Path) -> None:
    path.write_text(path.read_text().replace("legacy = false", "legacy = true"))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="legacy = true compares with the background"):
        edit.change(path, "reduce.statistic", "within-sequence")
    assert path.read_bytes() == before


def test_a_key_that_was_left_out_comes_with_what_it_means_in_its_section(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run").config_file
    before = path.read_text()
    assert edit.change(path, "train.patience", 0)
    assert edit.change(path, "score.sites.filters", "all")
    assert changed_lines(before, path.read_text()) == [
        "+ patience = 0  # stop after this many epochs without improvement of the validation metric; 0 ...\n",
        "+ [score.sites]\n",
        '+ filters = "all"  # strongest | all\n',
        "+ \n",
    ]
    text = path.read_text()
    assert text.index("[train]") < text.index("patience = 0") < text.index("[motifs]")
    assert edit.change(path, "plugins", []) is False
    assert (config.load(path).train.patience, config.load(path).score.sites.filters) == (0, "all")


def test_links_and_permissions_stay(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "shared.toml"
    path.rename(real)
    real.chmod(0o640)
    path.symlink_to(real)
    assert edit.change(path, "reduce.statistic", "published")
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert config.load(real).reduce.statistic == "published"


@settings(max_examples=25, deadline=None)
@given(
    methods=st.lists(st.sampled_from(list(METHODS)), min_size=1, max_size=4, unique=True),
    more=st.sampled_from([("reduce.statistic", "published"), ("score.sites.max_sites", 7), ("seed", 3)]),
)
def test_any_methods_can_be_asked_for(
    methods: list[str], more: tuple[str, str | int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "run.toml"
    path.write_text(SHORT)
    edit.change(path, "score.methods", methods)
    edit.change(path, *more)
    found = config.load(path)
    assert found.score.methods == tuple(methods)
    assert toml.get(found, more[0]) == more[1]
    assert isinstance(found, Config)
