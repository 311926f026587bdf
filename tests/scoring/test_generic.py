"""Scores of any network against the hand-written ones of SATORI, and against loops of their own definitions."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients
from torch import nn

from satori_hpc.config import Dfim, Epistasis, Score
from satori_hpc.config import Sites as SiteSettings
from satori_hpc.errors import ConfigError, InputError, SatoriError
from satori_hpc.models import Scorable
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import attention, draws, generic
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.dfim import DfimScorer
from satori_hpc.scoring.epistasis import EpistasisScorer
from satori_hpc.scoring.generic_scorers import GenericAttention, GenericDfim, GenericEpistasis
from satori_hpc.scoring.sites import Sites
from tests.scoring.test_attribution import batch_of, threshold_of
from tests.scoring.test_paths import MODELS, network

SOME = ["basic", "exp", "two", "multilabel", "positions", "lstm", "deep", "deep residual", "legacy"]
SOME += ["preloaded", "preloaded deep", "preloaded lstm"]
COMPOSITION = np.array([0.3, 0.2, 0.2, 0.3])
SEED = 3


def lively(name: str) -> Satori:
    """A network of that name whose outputs differ by more than rounding: signals do not fade on their way."""
    model = network(**MODELS[name])
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.dim() > 1 and not key.startswith("stem"):
                weight.mul_(3)
    return model


def given_sites(model: Satori) -> tuple[Sites, list[np.ndarray]]:
    """Sites of `batch_of`: on the activation track, as the hand-written scorers take them, and as letters.

    The first sequence has overlapping ones, the last a single one.
    """
    position = torch.tensor([[5, 8, 20, 33], [4, 18, 30, 41], [9, 0, 0, 0]]) + model.padding
    used = torch.tensor([[True] * 4, [True] * 4, [True, False, False, False]])
    sites = Sites(position.masked_fill(~used, 0), used, torch.zeros(3, 4, model.filters, dtype=torch.bool))
    starts = [row[there].numpy() - model.padding for row, there in zip(position, used, strict=True)]
    return sites, [np.stack((each, each + model.width), axis=1) for each in starts]


def agree(found: np.ndarray, fast: torch.Tensor) -> None:
    """To 1e-4 of the largest."""
    count = len(found)
    expected = fast[:count, :count].double().numpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    if count > 1:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.nanmax(abs(expected)))
        assert np.nanmax(abs(expected)) > 1e-3


@pytest.mark.parametrize("distance", [0, 15])
@pytest.mark.parametrize("name", SOME)
def test_epistasis_is_that_of_the_fast_path(name, distance):
    model = lively(name)
    batch, (fast_sites, sites) = batch_of(model), given_sites(model)
    settings = Score(epistasis=Epistasis(mutations=2), sites=SiteSettings(max_distance=distance))
    fast = EpistasisScorer(model, threshold_of(model, batch), settings=settings, seed=SEED, composition=COMPOSITION)
    expected = fast.map_sites(batch, fast_sites)
    found = generic.epistasis(Scorable(model), batch, sites, seed=SEED, mutations=2, max_distance=distance)
    assert len(found) == len(batch)
    for row, each in enumerate(found):
        agree(each.value, expected[row])


@pytest.mark.parametrize(
    "settings",
    [
        {"rule": "midpoint", "steps": 3, "baselines": 2},
        {"rule": "gauss-legendre", "steps": 2, "baseline": "frequencies", "mutation": "frequencies"},
        {"attribution": "gradient", "mutation": "zero"},
        {"attribution": "gradient", "feature": "base", "response": "max"},
    ],
    ids=["midpoint", "gauss-legendre", "gradient", "bases"],
)
@pytest.mark.parametrize("name", SOME)
def test_dfim_is_that_of_the_fast_path(name, settings):
    model = lively(name)
    batch, (fast_sites, sites) = batch_of(model), given_sites(model)
    dfim = Dfim(**settings)
    fast = DfimScorer(model, threshold_of(model, batch), settings=Score(dfim=dfim), seed=SEED, composition=COMPOSITION)
    expected, letters = fast.map_sites(batch, fast_sites), fast.attributions(batch)
    found = generic.dfim(Scorable(model), batch, sites, settings=dfim, seed=SEED, composition=COMPOSITION)
    for row, each in enumerate(found):
        agree(each.value, expected[row])
        scale = float(letters[row].abs().max())
        np.testing.assert_allclose(each.attribution, letters[row].numpy(), rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["basic", "multilabel", "deep", "preloaded", "preloaded deep", "preloaded lstm"])
@pytest.mark.parametrize(
    ("fast", "slow", "settings"),
    [
        (attention.build, GenericAttention, {}),
        (EpistasisScorer, GenericEpistasis, {"epistasis": Epistasis(mutations=2)}),
        (DfimScorer, GenericDfim, {"dfim": Dfim(rule="gauss-legendre", steps=2, null=True)}),
    ],
    ids=["attention", "epistasis", "dfim"],
)
def test_pair_scores_are_those_of_the_fast_path(name, fast, slow, settings):
    model = lively(name)
    batch, score = batch_of(model), Score(sites=SiteSettings(max_sites=6, max_distance=40, filters="all"), **settings)
    shared = {"settings": score, "seed": SEED, "composition": COMPOSITION}
    expected = fast(model, threshold_of(model, batch), **shared)
    made = slow(model, threshold_of(model, batch), **shared)
    for part in ("extras", "effects", "directed", "choose", "pool"):
        assert getattr(expected, part) == getattr(made, part), part
    np.testing.assert_array_equal(expected.widths, made.widths)
    found, expected = made(batch).arrays(), expected(batch).arrays()
    assert np.sum(~np.isnan(found["value"])) > 10
    assert found.keys() == expected.keys()
    for part, one in found.items():
        other = expected[part]
        if one.dtype == np.float32:
            scale = np.nanmax(np.abs(other))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * scale, err_msg=part)
        else:
            np.testing.assert_array_equal(one, other, err_msg=part)


class Pairs(nn.Module):
    """A guest with one output that is known in full: 2 a + 3 b + 5 a b, of A at 3 and C at 10."""

    length, targets = 20, 1

    def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
        a, b = one_hot[:, 0, 3], one_hot[:, 1, 10]
        return (2 * a + 3 * b + 5 * a * b)[:, None]


def pair_batch() -> Batch:
    """The sequence has both letters; those that replace them are T, as all others of it."""
    tokens = torch.full((1, 20), 3, dtype=torch.uint8)
    tokens[0, 3], tokens[0, 10] = 0, 1
    return Batch(tokens, torch.tensor([[0, 2]]))


SITES = [np.array([[3, 4], [10, 12], [15, 20]])]


def test_epistasis_of_a_known_function(monkeypatch):
    monkeypatch.setattr(draws, "replacements", lambda tokens, keys, seed, number: tokens.new_full((1, number, 20), 3))
    (found,) = generic.epistasis(Pairs(), pair_batch(), SITES, seed=1)
    assert found.output == 10
    np.testing.assert_allclose(found.single, [7, 8, 0])
    expected = np.array([[np.nan, 5, 0], [5, np.nan, 0], [0, 0, np.nan]])
    np.testing.assert_allclose(found.value, expected)


def test_dfim_of_a_known_function():
    """Gradient x input: dF/da = 2 + 5 b falls by 5 without b; integrated from nothing, half of the product."""
    made = {}
    for attribution in ("gradient", "integrated"):
        settings = Dfim(attribution=attribution, baseline="zero", mutation="zero", rule="midpoint", steps=4)
        (made[attribution],) = generic.dfim(
            Pairs(), pair_batch(), SITES, settings=settings, seed=1, composition=COMPOSITION
        )
    for found, product in ((made["gradient"], 5), (made["integrated"], 2.5)):
        np.testing.assert_allclose(found.attribution[[3, 10]], [2 + product, 3 + product], rtol=1e-6)
        np.testing.assert_allclose(found.value, [[np.nan, product, 0], [product, np.nan, 0], [0, 0, np.nan]], atol=1e-6)


def test_attributions_are_those_of_captum():
    model = network(**MODELS["deep"])
    scorable, batch = Scorable(model).eval(), batch_of(model)
    letters = nn.functional.one_hot(batch.tokens.long(), 5)[:, :, :4].transpose(1, 2).float()
    shared = {"seed": SEED, "composition": COMPOSITION}
    found = generic.attributions(scorable, batch, settings=Dfim(attribution="gradient"), **shared)
    expected = InputXGradient(scorable).attribute(letters.clone().requires_grad_()).sum(dim=1).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    settings = Dfim(rule="gauss-legendre", steps=20, baseline="zero")
    found = generic.attributions(scorable, batch, settings=settings, **shared)
    expected = IntegratedGradients(scorable).attribute(letters, n_steps=20).sum(dim=1).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_memory_bounds_the_rows_of_a_pass_and_changes_nothing():
    class Counted(Scorable):
        most = 0

        def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
            self.most = max(self.most, len(one_hot))
            return super().forward(one_hot)

    satori = network()
    batch, (_, sites) = batch_of(satori), given_sites(satori)
    every, few = Counted(satori), Counted(satori)
    settings = Dfim(rule="midpoint", steps=3)
    for model, memory in ((every, 1 << 30), (few, 1 << 17)):
        model.found = generic.epistasis(model, batch, sites, seed=SEED, memory=memory)
        model.maps = generic.dfim(
            model, batch, sites, settings=settings, seed=SEED, composition=COMPOSITION, memory=memory
        )
    assert few.most < 10 < every.most
    for one, other in zip(every.found, few.found, strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(one.single, other.single, rtol=1e-4, atol=1e-5)
    for one, other in zip(every.maps, few.maps, strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-3, atol=1e-5)


def test_the_network_is_scored_in_evaluation_mode_and_left_in_its_own():
    model = network(**MODELS["lstm"])
    batch, (_, sites) = batch_of(model), given_sites(model)
    scorable = Scorable(model).train()
    with torch.inference_mode():
        found = generic.epistasis(scorable, batch, sites, seed=SEED)
        generic.attributions(scorable, batch, settings=Dfim(attribution="gradient"), seed=SEED, composition=COMPOSITION)
    assert scorable.training
    assert model.training
    expected = generic.epistasis(scorable.eval(), batch, sites, seed=SEED)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.value, other.value)
    assert not math.isnan(found[0].output)


def test_an_example_does_not_depend_on_those_beside_it():
    model = network(**MODELS["multilabel"])
    batch, (_, sites) = batch_of(model), given_sites(model)
    together = generic.epistasis(Scorable(model), batch, sites, seed=SEED)
    alone = generic.epistasis(
        Scorable(model), Batch(batch.tokens[1:2], batch.keys[1:2], batch.targets[1:2]), sites[1:2], seed=SEED
    )
    np.testing.assert_allclose(alone[0].value, together[1].value, rtol=1e-3, atol=1e-5)


def test_tokens_of_one_hot_letters():
    tokens = torch.tensor([[0, 1, 2, 3, 4, 0]], dtype=torch.uint8)
    letters = nn.functional.one_hot(tokens.long(), 5)[:, :, :4].transpose(1, 2).float()
    assert torch.equal(generic.tokens_of(letters), tokens)
    letters[0, :, 2] = torch.tensor([0.5, 0.5, 0, 0])
    with pytest.raises(InputError, match="sequence 0, position 2"):
        generic.tokens_of(letters)
    with pytest.raises(InputError, match="shape"):
        generic.tokens_of(letters[:, :3])


def test_what_cannot_be_scored_is_refused():
    model, batch = Pairs(), pair_batch()
    with pytest.raises(InputError, match=r"sequence 0: 18\.\.21: expected 0 <= start < end <= 20"):
        generic.epistasis(model, batch, [np.array([[3, 4], [18, 21]])], seed=1)
    with pytest.raises(InputError, match="as many of each"):
        generic.epistasis(model, batch, [], seed=1)
    with pytest.raises(ConfigError, match="gauss-legendre"):
        generic.dfim(model, batch, SITES, settings=Dfim(rule="secant"), seed=1, composition=COMPOSITION)
    rounded = type("Rounded", (Pairs,), {"forward": lambda self, letters: Pairs.forward(self, letters.detach())})()
    with pytest.raises(SatoriError, match="no gradient of the network's outputs reaches the letters"):
        generic.dfim(rounded, batch, SITES, settings=Dfim(attribution="gradient"), seed=1, composition=COMPOSITION)
    longer = dataclasses.replace(batch, tokens=torch.zeros(1, 21, dtype=torch.uint8))
    with pytest.raises(InputError, match="takes 20 bp"):
        generic.epistasis(model, longer, SITES, seed=1)
    model.targets = 2
    with pytest.raises(SatoriError, match="which outputs are explained"):
        generic.epistasis(model, batch, SITES, seed=1)
