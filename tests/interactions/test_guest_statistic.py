"""A statistic of a plug-in, one file, goes from `new` to the report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from satori_hpc.config import toml
from satori_hpc.interactions import tables
from satori_hpc.run import pipeline
from satori_hpc.run.layout import Run
from satori_hpc.scoring.store import ScoreStore
from tests.fixtures import tiny
from tests.fixtures.guests import STATISTIC, satori
from tests.fixtures.scores import of_pairs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of my_statistic.py and of a run that was made with it."""
    folder = tmp_path_factory.mktemp("guest")
    shutil.copy(STATISTIC, folder / "my_statistic.py")
    (folder / "tiny.toml").write_text(toml.render(tiny.tiny_config()))
    settings = ("--plugin", "my_statistic", "--set", "reduce.statistic=above-median")
    satori("new", "run", "--like", "tiny.toml", *settings, path=folder)
    satori("all", "run", "--threads", 1, path=folder)
    return folder


def test_a_statistic_of_a_plug_in_goes_from_new_to_the_report(finished: Path) -> None:
    run = finished / "run"
    text = (run / "run.toml").read_text()
    assert 'plugins = ["my_statistic"]' in text
    assert 'statistic = "above-median"' in text
    assert "| permuted | above-median\n" in text
    report = (run / "report.html").read_text()
    assert "above the background" in report
    assert "more than half of its scores are above the background" in report
    summary = json.loads((run / "provenance" / "reduce.json").read_text())["summary"]["attention"]
    assert summary["statistic"] == "above-median"
    assert summary["above_median"] > 0
    table = tables.read(run / "interactions" / "attention")
    store = ScoreStore(run / "scores" / "attention.zarr")
    first, second = np.triu_indices(store.motifs, k=1)
    foreground, background = of_pairs(store), of_pairs(store, "background")
    tested = 0
    for pair, names in enumerate(zip(first, second, strict=True)):
        row = table[(table["filter_a"] == names[0]) & (table["filter_b"] == names[1])]
        x, y = (side[~np.isnan(side[:, pair]), pair].astype(float) for side in (foreground, background))
        if not len(row) or not row["tested"].item():
            assert min(len(x), len(y)) < 10
            continue
        above = int(np.sum(x > np.median(y)))
        assert row["auc"].item() == above / len(x)
        expected = stats.binomtest(above, len(x), 0.5, alternative="greater").pvalue
        assert row["p"].item() == pytest.approx(expected, rel=1e-9)
        tested += 1
    assert tested > 10
    assert table["published_q"].notna().any()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["methods"]["attention"]["statistic"] == "above-median"


def test_only_the_reduction_is_stale_when_the_file_of_a_statistic_changes(
    finished: Path, tmp_path: Path, here: Callable[[], None]
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)

    def states() -> dict[str, pipeline.State]:
        here()
        return pipeline.states(Run.open(tmp_path / "run"))

    assert {state.state for state in states().values()} == {"complete"}
    with open(tmp_path / "my_statistic.py", "a") as plugin:
        plugin.write("\n# changed\n")
    found = states()
    assert found["score"].usable
    assert not found["reduce"].usable
    assert found["reduce"].reason == "plug-in my_statistic has changed"
