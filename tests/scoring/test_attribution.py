"""Attention attribution against its definition by autograd, in float64."""

import numpy as np
import pytest
import torch

from satori_hpc.config import Attribution, Score
from satori_hpc.models.satori import Satori
from satori_hpc.scoring.attribution import AttributionScorer
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.fast import Rule
from tests.fixtures.scores import laid_out, starts_of, take
from tests.oracles.pair_scores import MISSING, brute_force, largest_attention
from tests.oracles.soft_satori import SoftSatori, one_hot
from tests.scoring.test_paths import MODELS, network

COMPOSITION = torch.full((4,), 0.25).numpy()


def batch_of(model: Satori, count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(0, 5, (count, model.length), generator=generator, dtype=torch.uint8)
    targets = None
    if model.targets > 1:
        targets = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 1]], dtype=torch.uint8)[:count]
    return Batch(tokens, torch.stack((torch.zeros(count), torch.arange(count)), 1).long(), targets)


def threshold_of(model: Satori, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        return model.stem.activations(batch.tokens).permute(1, 0, 2).flatten(1).quantile(0.9, dim=1)


def scorer(model: Satori, **settings: object) -> AttributionScorer:
    score = Score(attribution=Attribution(**settings))
    return AttributionScorer(
        model, threshold_of(model, batch_of(model)), settings=score, seed=1, composition=COMPOSITION
    )


def definition(model: Satori, batch: Batch, rule: Rule, *, target: str = "logit") -> tuple[torch.Tensor, torch.Tensor]:
    """Attributions (B, h, n, n), and F at all of the attention less F at none of it."""
    soft, letters = SoftSatori(model), one_hot(batch.tokens)
    attention = soft.attention_of(letters).detach()

    def explained(scaled: torch.Tensor) -> torch.Tensor:
        logits = soft(letters, attention=scaled)
        margin = logits[:, 1:] - logits[:, :1] if model.config.output == "two" else logits
        weights = torch.ones_like(margin) if batch.targets is None else batch.targets.double()
        return ((torch.sigmoid(margin) if target == "probability" else margin) * weights).sum(1)

    total = torch.zeros_like(attention)
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        at = (node * attention).requires_grad_(True)
        (gradient,) = torch.autograd.grad(explained(at).sum(), at)
        total += weight * gradient
    with torch.no_grad():
        return total * attention, explained(attention) - explained(0 * attention)


@pytest.mark.parametrize("name", MODELS)
def test_follows_the_definition(name):
    model = network(**MODELS[name])
    batch = batch_of(model)
    found = scorer(model, steps=4).maps(batch)
    expected, _ = definition(model, batch, Rule.of("right", 4))
    assert float((found - expected).norm() / expected.norm()) < 2e-5


@pytest.mark.parametrize("rule", ["right", "midpoint", "gauss-legendre"])
@pytest.mark.parametrize("name", ["basic", "two", "multilabel"])
def test_probabilities_and_rules(name, rule):
    model = network(**MODELS[name])
    batch = batch_of(model)
    found = scorer(model, steps=5, rule=rule, target="probability").maps(batch)
    expected, _ = definition(model, batch, Rule.of(rule, 5), target="probability")
    assert float((found - expected).norm() / expected.norm()) < 2e-5


@pytest.mark.parametrize("target", ["logit", "probability"])
@pytest.mark.parametrize("name", ["basic", "two", "multilabel", "deep residual", "max", "lstm"])
def test_completeness(name, target):
    model = network(**MODELS[name])
    batch = batch_of(model)
    _, rise = definition(model, batch, Rule.of("right", 1), target=target)

    def gap(**settings: object) -> float:
        found = scorer(model, target=target, **settings).maps(batch).double()
        return float(((found.sum(dim=(1, 2, 3)) - rise).abs() / found.abs().sum(dim=(1, 2, 3))).max())

    assert gap(rule="secant", steps=1) < 1e-5
    assert gap(rule="secant", steps=6) < 1e-5
    coarse, fine = gap(steps=20), gap(steps=640)
    assert fine < max(coarse / 8, 1e-4)  # as 1 / steps


def test_scores_are_the_largest_of_a_pair():
    model = network()
    batch = batch_of(model)
    for absolute in (False, True):
        scores = scorer(model, steps=3, absolute=absolute)
        result = scores(batch)
        found = laid_out(result, scores, model.filters)
        distances, starts = found.distance(), starts_of(found)
        maps = scores.maps(batch)
        pooled = model.pooled(batch.tokens)
        active = pooled > scores.threshold[:, None]
        np.testing.assert_array_equal(result.counts[:, 0], active.sum(dim=(1, 2)))
        assert (result.counts <= np.array(scores.most)).all()
        for row in range(len(batch)):
            each = maps[row].abs() if absolute else maps[row]
            score, distance, position = brute_force(
                largest_attention(each.numpy()), active[row].numpy(), pool=model.pool
            )
            np.testing.assert_allclose(found.score[row], score, rtol=1e-6)
            np.testing.assert_array_equal(distances[row], distance)
            np.testing.assert_array_equal(starts[row], np.where(position == MISSING, MISSING, position - model.padding))


def test_estimate_tells_completeness_and_steps():
    model = network()
    batch = batch_of(model)
    coarse, fine = scorer(model, steps=4).estimate(batch), scorer(model, steps=64).estimate(batch)
    assert coarse.keys() == fine.keys() == {"completeness", "steps"}
    assert all(fine[name] < coarse[name] / 4 for name in coarse)


def test_a_sequence_is_scored_alone():
    model = network(**MODELS["deep residual"])
    batch = batch_of(model)
    scores = scorer(model)
    alone = scores(Batch(batch.tokens[1:2], batch.keys[1:2]))
    expected = take(scores(batch), [1])
    assert len(expected.value) > 5
    np.testing.assert_allclose(alone.value, expected.value, rtol=1e-5, atol=1e-7)
    for name in ("counts", "site", "place"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(expected, name))
