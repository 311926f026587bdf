"""The stores of a run open in xarray, with names for dimensions, examples, labels and motifs, and without a warning."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from satori_hpc.config import Dfim, Sites
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from satori_hpc.scoring import layout, store
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.scoring.layout import GROUPS, Plan
from satori_hpc.training import predictions
from tests.fixtures.runs import TinyRun
from tests.fixtures.tiny import change
from tests.fixtures.whole import read as read_whole

METHODS = ("attention", "dfim", "epistasis")
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def run(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = tiny_run("motifs", tmp_path_factory.mktemp("xarray") / "run")
    small = {"methods": METHODS, "split": "valid", "sites": Sites(max_sites=3), "shard_examples": 16}
    made = change(run, score={**small, "dfim": Dfim(steps=2, baselines=1, mutations=1, null=True)})
    scoring_stage.score(made, Runtime(device="cpu", threads=1))
    return made


def test_the_data_set(run: Run) -> None:
    found, expected = xr.open_zarr(run.dataset), read_whole(run.dataset)
    assert dict(found.sizes) == {"example": 600, "position": 120, "target": 1}
    assert found["tokens"].dims == ("example", "position")
    assert found["labels"].dims == ("example", "target")
    np.testing.assert_array_equal(found["tokens"], expected.tokens)
    assert found["name"].values.tolist() == expected.names
    assert found["chrom"].values.tolist() == list(expected.coordinates.chrom)
    assert found["target"].values.tolist() == expected.targets
    np.testing.assert_array_equal(found["labels"].sel(target=expected.targets[0]), expected.labels[:, 0])


def test_the_predictions(run: Run) -> None:
    found, (logits, probability) = xr.open_zarr(run.predictions), predictions.read(run.predictions)
    assert found["logits"].dims == ("example", "output")
    np.testing.assert_array_equal(found["logits"], logits)
    target = xr.open_zarr(run.dataset)["target"].values[0]
    np.testing.assert_array_equal(found["probability"].sel(target=target), probability[:, 0])


@pytest.mark.parametrize("method", METHODS)
def test_the_scores(run: Run, method: str) -> None:
    path = run.scores(method)
    opened, root = store.open_complete(path), xr.open_zarr(path)
    assert root["motif"].values.tolist() == [f"filter{number}" for number in range(12)]
    assert root["width"].sel(motif="filter3") == 9
    assert root["selected"].sizes == {"dataset_example": 600}
    for group in GROUPS:
        found = xr.open_zarr(path, group=group)
        assert found["counts"].dims == ("example", "counts_column")
        assert found["value"].dims == ("partition", "value_entry")
        assert found["site"].dims == ("partition", "site_entry", "site_column")
        assert set(found) == {"counts", "site", "strength", "place", "value", *_further(opened)}
        np.testing.assert_array_equal(found["example"], opened.examples(group))
        scores = opened.read(group, 0)
        np.testing.assert_array_equal(found["value"][0, : len(scores.value)], scores.value)
    tree = xr.open_datatree(path, engine="zarr")
    assert set(tree.children) == set(GROUPS)


def _further(opened: store.ScoreStore) -> list[str]:
    return [*opened.attributes["extras"], *opened.attributes["effects"]]


def test_scores_of_several_labels_and_of_known_motifs(tmp_path: Path) -> None:
    plan = Plan(
        method="epistasis",
        known=["JUN", "MA0001.1 X"],
        widths=np.full(2, 8),
        foreground=np.array([4, 7]),
        background=np.array([0]),
        background_source="background",
        dataset_examples=9,
        shard_examples=0,
        most=(3, 3),
        true_positive=np.array([[1, 0], [1, 1]], np.uint8),
        targets=["heart", "brain"],
        digests={},
    )
    layout.create(tmp_path / "epistasis.zarr", plan)
    assert xr.open_zarr(tmp_path / "epistasis.zarr")["motif"].values.tolist() == ["JUN", "MA0001.1 X"]
    found = xr.open_zarr(tmp_path / "epistasis.zarr", group="foreground")
    assert found["true_positive"].sel(target="brain", example=7) == 1
