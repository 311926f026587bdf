"""A scoring method of a plug-in, one file, goes from `new` to the report; what is wrong with plug-ins is said once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from satori_hpc import config
from satori_hpc.config import edit, toml
from satori_hpc.config.score import METHODS
from satori_hpc.interactions import block
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.run import pipeline
from satori_hpc.run.layout import Run
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures import tiny
from tests.fixtures.guests import METHOD, satori, told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of my_method.py and of a run that was made with it."""
    folder = tmp_path_factory.mktemp("guest")
    shutil.copy(METHOD, folder / "my_method.py")
    (folder / "tiny.toml").write_text(toml.render(tiny.tiny_config()))
    settings = ("--set", 'score.methods=["attention", "closeness"]', "--set", "score.closeness.scale=25")
    satori("new", "run", "--like", "tiny.toml", "--plugin", "my_method", *settings, path=folder)
    satori("all", "run", "--threads", 1, path=folder)
    return folder


def test_a_method_of_a_plug_in_goes_from_new_to_the_report(finished: Path) -> None:
    run = finished / "run"
    text = (run / "run.toml").read_text()
    assert 'plugins = ["my_method"]' in text
    assert "# attention | attribution | dfim | epistasis | closeness\n" in text
    assert "[score.closeness]  # how close together their sites are, at most 1\n# distance, bp, at which" in text
    assert "scale = 25.0\n" in text
    report = (run / "report.html").read_text()
    assert "The score of two filters in a sequence is how close together their sites are, at most 1." in report
    assert "Interactions: closeness" in report
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert list(evaluation["methods"]) == ["attention", "closeness"]
    store = ScoreStore(run / "scores" / "closeness.zarr")
    units = Units.motifs(store.motifs)
    score, distance = block.read_scores(store, units, "foreground", 0, units.pairs)
    seen = ~np.isnan(score)
    assert seen.any()
    np.testing.assert_allclose(score[seen], np.exp(-np.abs(distance[seen]) / 25), rtol=1e-6)
    record = json.loads((run / "provenance" / "score.json").read_text())
    assert record["config"]["score"]["closeness"] == {"scale": 25.0}
    assert len(record["versions"]["my_method"]) == len(record["config"]["plugins"]["my_method"]) == 64


def test_only_what_a_plug_in_shapes_is_stale_when_its_file_or_its_key_changes(
    finished: Path, tmp_path: Path, here: Callable[[], None]
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)

    def states() -> dict[str, pipeline.State]:
        here()
        return pipeline.states(Run.open(tmp_path / "run"))

    assert {state.state for state in states().values()} == {"complete"}
    file = tmp_path / "run" / "run.toml"
    text = file.read_text()
    file.write_text(text.replace("scale = 25.0", "scale = 26.0"))
    assert states()["score"].reason == "run.toml changed: score.closeness.scale"
    file.write_text(text.replace('["attention", "closeness"]', '["attention"]'))  # the table is there still
    assert states()["score"].reason == "run.toml changed: score.methods"
    file.write_text(text)
    with open(tmp_path / "my_method.py", "a") as plugin:
        plugin.write("\n# changed\n")
    found = states()
    assert [name for name, state in found.items() if state.usable] == ["prepare", "train", "motifs"]
    assert found["score"].reason == "plug-in my_method has changed"


def test_a_method_of_a_plug_in_can_be_added_to_a_run(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "run" / "run.toml"
    text = file.read_text()
    file.write_text(text.replace('["attention", "closeness"]', '["attention"]'))
    with open(tmp_path / "my_method.py", "a") as plugin:
        plugin.write("\n# changed\n")
    satori("set", "run", "score.methods=attention,closeness", path=tmp_path)
    said = satori("score", "run", "--threads", 1, path=tmp_path)
    assert file.read_text() == text
    assert "closeness.zarr: scores of another plan or another model; recomputing them" in said
    assert "attention.zarr: scores of another" not in said


HEAD = "import dataclasses\nfrom satori_hpc import scoring\nfrom satori_hpc.config import option\n"


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (None, "plugins: 'mine': no such module; expected package.module"),
        ("x = 1\nraise ValueError('not today')\n", "mine.py, line 2: ValueError: not today; mend it"),
        ("def x(:\n", "importing it fails: SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import nowhere\n", "mine.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("import sys\nsys.exit(3)\n", "mine.py, line 2: SystemExit: 3"),
        (HEAD + "scoring.register('dfim', sentence='x')(print)\n", "'dfim' is there already; choose another name"),
        (HEAD + "scoring.register('split', sentence='x')(print)\n", "'split': the name means something else"),
        (HEAD + "scoring.register('My Own', sentence='x')(print)\n", "expected a name of small letters"),
        (HEAD + "scoring.register('own', sentence='x', settings=int)(print)\n", "expected a dataclass, found"),
        (
            HEAD + "@dataclasses.dataclass\nclass S:\n    k: int = 3\n"
            "scoring.register('own', sentence='x', settings=S)(print)\n",
            "settings of the scoring method 'own': k: expected config.option(default, \"what it means\")",
        ),
        (HEAD + "scoring.register('own', sentence='x', follows=('no',))(print)\n", "follows no; expected keys of"),
        (
            HEAD + "scoring.register('own', sentence='x', statistic='t')(print)\n",
            "'t'; expected one of auto",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_one_clear_error(
    plugin: str | None, expected: str, tmp_path: Path, here: Callable[[], None]
) -> None:
    run = tiny.make_run(tmp_path / "run")
    text = run.config_file.read_text()
    run.config_file.write_text(text.replace("seed = 1", 'plugins = ["mine"]\nseed = 1'))
    if plugin is not None:
        (tmp_path / "mine.py").write_text(plugin)
    known = list(METHODS)
    for _ in range(2):  # what failed is forgotten
        said = told("status", run.path, code=1)
        assert expected in said
        assert list(METHODS) == known
    assert "run.toml: plug-ins that cannot be imported:\n  - plugins: 'mine': " in said
    assert "Traceback" not in said
    assert said.count("\n") == 2


def test_keys_in_the_table_of_a_plug_in_are_checked_like_all_others(tmp_path: Path, here: Callable[[], None]) -> None:
    shutil.copy(METHOD, tmp_path / "mine.py")
    run = tiny.make_run(tmp_path / "run")
    text = run.config_file.read_text().replace("seed = 1", 'plugins = ["mine"]\nseed = 1')
    run.config_file.write_text(text + "\n[score.closeness]\nscale = 0\nscala = 2\n[score.closenes]\n")
    said = told("status", run.path, code=1)
    line = text.count("\n") + 3
    assert f"line {line}: [score.closeness] scale = 0: expected at least 0.1" in said
    assert f"line {line + 1}: [score.closeness] scala: unknown key; did you mean 'scale'?" in said
    assert "[score] closenes: unknown key; did you mean 'closeness'?" in said
    assert said.count("\n") == 4
    run.config_file.write_text(text + "\n[score.closeness]\n")
    assert "expected one of attention, attribution" in told("set", run.path, "score.methods=magic", code=1)
    opened = config.load(run.config_file)
    assert opened.score.settings_of("closeness").scale == 10
    assert toml.get(toml.replace(opened, "score.closeness.scale", 3.0), "score.closeness.scale") == 3
    assert toml.complaint(config.Config, "score.closeness.scale", "x") == "expected a number, found str"
    assert edit.change(run.config_file, "score.closeness.scale", 4.0)
    assert run.config_file.read_text().endswith(
        "\n[score.closeness]\nscale = 4.0  # distance, bp, at which the score has fallen to 1/e\n"
    )
    run.config_file.write_text(text.replace('["mine"]', "[3]"))
    assert "plugins = [3]: expected a string, found int" in told("status", run.path, code=1)
