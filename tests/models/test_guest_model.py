"""A model family of a plug-in, one file, goes from `new` to the report; what it lacks is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from satori_hpc import models
from satori_hpc.config import Model, Score, toml
from satori_hpc.errors import ConfigError
from satori_hpc.models import satori as satori_network
from satori_hpc.models.base import require_filters
from satori_hpc.run.layout import Run
from satori_hpc.scoring import registry as scorers
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.training import checkpoint
from satori_hpc.training.scorable import load_model
from tests.fixtures import tiny
from tests.fixtures.guests import MODEL, satori, told
from tests.fixtures.scores import of_pairs

SETTINGS = (
    "model.architecture=small",
    "model.small.channels=10",
    'score.methods=["attention", "epistasis", "dfim"]',
    "score.dfim.rule=gauss-legendre",
    "score.dfim.steps=2",
    "score.sites.max_sites=4",
    "score.max_examples=30",
    "score.shard_examples=20",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of my_model.py and of a run that was made with it."""
    folder = tmp_path_factory.mktemp("guest")
    shutil.copy(MODEL, folder / "my_model.py")
    small = toml.replace(tiny.tiny_config(), "prepare.simulated.examples", 200)
    (folder / "tiny.toml").write_text(toml.render(small))
    settings = [part for each in SETTINGS for part in ("--set", each)]
    satori("new", "run", "--like", "tiny.toml", "--plugin", "my_model", *settings, path=folder)
    satori("all", "run", "--threads", 1, path=folder)
    return folder


def test_a_model_family_of_a_plug_in_goes_from_new_to_the_report(finished: Path) -> None:
    run = finished / "run"
    text = (run / "run.toml").read_text()
    assert 'architecture = "small"' in text
    assert "[model.small]  # a convolution with one head of attention\n" in text
    assert "channels = 10\n" in text
    report = (run / "report.html").read_text()
    assert "The network is a convolution with one head of attention: 10 filters of 9 bp" in report
    record = json.loads((run / "provenance" / "train.json").read_text())
    assert record["config"]["model"]["small"] == {"channels": 10, "dropout": 0.1}
    assert len(record["config"]["plugins"]["my_model"]) == 64
    for method in ("attention", "epistasis", "dfim"):
        assert f"Interactions: {method}" in report
        assert np.isfinite(of_pairs(ScoreStore(run / "scores" / f"{method}.zarr"))).sum() > 10


def test_the_trained_network_is_a_plain_module_for_others(
    finished: Path, tmp_path: Path, here: Callable[[], None]
) -> None:
    run = shutil.copytree(finished, tmp_path, dirs_exist_ok=True) / "run"
    model, letters = load_model(run), torch.zeros(3, 4, 120)
    assert type(model.network.module).__name__ == "Small"
    assert model(letters).shape == (3, 1)
    assert model.attention(letters).shape == (3, 1, 24, 24)
    assert model.site_activations(letters).shape == (3, 10, 120)
    assert model.fast_paths is None
    here()
    with pytest.raises(ConfigError, match="of the family 'small', known here: basic, deep, .*; import the module"):
        load_model(run / "checkpoints" / "best.pt")


def test_training_that_is_killed_goes_on_to_the_same_weights(
    finished: Path, tmp_path: Path, here: Callable[[], None]
) -> None:
    """Layers of a guest draw from torch's own generator; what they draw follows from the step all the same."""
    run = Run.open(shutil.copytree(finished, tmp_path, dirs_exist_ok=True) / "run")
    (run.path / "provenance" / "train.json").unlink()
    older, newer = sorted(run.checkpoints.glob("step_*.pt"))
    expected = newer.rename(tmp_path / "expected.pt")
    torch.manual_seed(99)
    told("train", run.path, "--threads", 1)
    assert older.exists()
    whole, resumed = (checkpoint.load_training(path)[1]["model"] for path in (expected, newer))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_a_family_does_not_offer_is_said(here: Callable[[], None]) -> None:
    @models.register("plain", sentence="one layer")
    def plain(settings: Model, *, length: int, targets: int, **unused: object) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4 * length, targets))

    shape = {"length": 20, "targets": 2, "task": "multilabel"}
    with pytest.raises(ConfigError, match="the family 'plain' give back no entropy of attention"):
        models.build(Model(architecture="plain"), entropy=0.1, **shape)
    network = models.build(Model(architecture="plain"), entropy=0, **shape)
    with pytest.raises(ConfigError, match="no first-layer activations, so it has no motifs and no sites"):
        require_filters(network)
    with pytest.raises(ConfigError, match="inspect: hand-written for SATORI networks, found a network of the kind On"):
        satori_network.require(network, what="inspect")
    given = {"threshold": torch.zeros(0), "settings": Score(), "seed": 1, "composition": np.full(4, 0.25)}
    with pytest.raises(ConfigError, match="attribution of attention: hand-written for SATORI networks"):
        scorers.build("attribution", network, **given)
    with pytest.raises(ConfigError, match="'plain' is there already"):
        models.register("plain", sentence="another")(plain)
    with pytest.raises(ConfigError, match="'num_filters': the name means something else in run.toml"):
        models.register("num_filters", sentence="another")(plain)
    with pytest.raises(ConfigError, match="settings of the model family 'other': expected a dataclass"):
        models.register("other", sentence="another", settings=int)
