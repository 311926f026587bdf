"""DFIM against captum, against autograd in float64 on plain loops, and against itself."""

import dataclasses

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from satori_hpc.config import Dfim, Score, Sites
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import dfim, draws
from satori_hpc.scoring.base import FIRST, LARGEST_SIZE, Batch
from satori_hpc.scoring.dfim import DfimScorer, rule_of
from satori_hpc.scoring.fast.letters import LetterAttributions
from tests.fixtures.scores import laid_out, starts_of, take
from tests.oracles.soft_satori import SoftSatori, integrated, one_hot
from tests.scoring.test_attribution import batch_of, threshold_of
from tests.scoring.test_paths import MODELS, network

COMPOSITION = np.array([0.3, 0.2, 0.2, 0.3])
SITES = 4
SOME = ["basic", "two", "multilabel", "lstm", "deep residual", "positions"]


def scorer(
    model: Satori, *, dtype: torch.dtype = torch.float32, filters: str = "strongest", **dfim: object
) -> DfimScorer:
    settings = Score(dfim=Dfim(**dfim), sites=Sites(max_sites=SITES, max_distance=0, filters=filters))
    threshold = threshold_of(model, batch_of(model))
    return DfimScorer(model, threshold, settings=settings, seed=3, composition=COMPOSITION, dtype=dtype)


def weights_of(model: Satori, batch: Batch, row: int) -> torch.Tensor:
    if model.config.output == "two":
        return torch.tensor([[-1.0, 1.0]]).double()
    return torch.ones(1, 1).double() if batch.targets is None else batch.targets[row : row + 1].double()


def slow_map(model: Satori, batch: Batch, row: int, scores: DfimScorer) -> np.ndarray:
    """The directed map of one sequence, (m, m): a loop over sites, mutations, baselines, nodes and targets."""
    settings, soft = scores.settings, SoftSatori(model)
    weights, rule = weights_of(model, batch, row), rule_of(scores.settings)
    only = slice(row, row + 1)
    sites, _ = scores.maps(Batch(batch.tokens[only], batch.keys[only]))
    starts = (sites.position[0][sites.used[0]] - model.padding).tolist()
    x = one_hot(batch.tokens[only])
    drawn = one_hot(draws.replacements(batch.tokens[only], batch.keys[only], seed=3, number=settings.mutations)[0])
    bases = one_hot(
        draws.baselines(
            batch.keys[only], seed=3, number=settings.baselines, length=model.length, composition=COMPOSITION
        )[0]
    )

    def importance(base: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        gradient = integrated(soft, base, end, weights, nodes=rule.nodes, shares=rule.weights)
        return (gradient * (end - base) * x).sum(dim=1)[0]

    out = np.full((len(starts), len(starts)), np.nan)
    for i, source in enumerate(starts):
        for j, target in enumerate(starts):
            if i == j:
                continue
            changes = []
            for base in bases:
                for letters in drawn:
                    mutant = x.clone()
                    mutant[0, :, source : source + model.width] = letters[:, source : source + model.width]
                    change = importance(base[None], x) - importance(base[None], mutant)
                    changes.append(change[target : target + model.width].sum())
            out[i, j] = float(torch.stack(changes).mean())
    return out


@pytest.mark.parametrize("name", SOME)
def test_follows_its_definition(name):
    model = network(**MODELS[name])
    batch = batch_of(model)
    scores = scorer(model, rule="midpoint", steps=3, baselines=2, mutations=2)
    found = scores.maps(batch)[1][1].numpy()
    expected = slow_map(model, batch, 1, scores)
    m = len(expected)
    assert m > 2
    np.testing.assert_allclose(found[:m, :m], expected, rtol=1e-4, atol=1e-5 * np.nanmax(abs(expected)))
    assert np.isnan(found[m:]).all()


@pytest.mark.parametrize("name", SOME)
def test_mutants_reuse_of_the_original_is_exact(name):
    """What mutants share with the original is not computed again; nobody can tell."""
    model = network(**MODELS[name])
    batch = batch_of(model)
    scores = scorer(model, dtype=torch.float64, steps=4, baselines=1, mutations=1)
    only = Batch(batch.tokens[:1], batch.keys[:1], None if batch.targets is None else batch.targets[:1])
    sites, found = scores.maps(only)
    original = one_hot(only.tokens)
    position = sites.position[0][sites.used[0]]
    drawn = one_hot(draws.replacements(only.tokens, only.keys, seed=3, number=1)[0])
    widths = torch.full_like(position, model.width)
    windows = dfim.window_mask(position - model.padding, length=model.length, width=widths)
    made = dfim.make(original[0], windows, drawn, settings=scores.settings)
    base = one_hot(draws.baselines(only.keys, seed=3, number=1, length=model.length, composition=COMPOSITION)[0])
    letters = LetterAttributions(scores._net, rule_of(scores.settings))
    weights = scores._weights(only)
    with torch.inference_mode():
        own = letters.of(base, original, weights, original)
        others = letters.of(base.expand_as(made.letters), made.letters, weights, original)
        change = own - others
        expected = dfim.site_map(change, made, windows, settings=scores.settings).fill_diagonal_(torch.nan)
    m = len(position)
    torch.testing.assert_close(found[0, :m, :m].double(), expected, rtol=1e-6, atol=1e-8, equal_nan=True)


class _Margin(torch.nn.Module):
    """What captum explains: a weighted sum of the logits of a float32 network over letters."""

    def __init__(self, model: Satori, weights: torch.Tensor) -> None:
        super().__init__()
        self.soft, self.weights = SoftSatori(model, dtype=torch.float32), weights.float()

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        return (self.soft(letters) * self.weights).sum(1)


@pytest.mark.parametrize("name", ["basic", "two", "multilabel", "lstm", "deep residual", "deep lstm"])
def test_legacy_is_captum_with_the_same_baselines_and_mutations(name):
    model = network(**MODELS[name])
    batch = batch_of(model)
    scores = scorer(model, legacy=True, filters="all")
    row, only = 2, slice(2, 3)
    weights = torch.tensor([[0.0, 1.0]]) if model.config.output == "two" else weights_of(model, batch, row)
    captum = IntegratedGradients(_Margin(model, weights))
    sites, directed = scores.maps(batch)
    starts = (sites.position[row][sites.used[row]] - model.padding).tolist()
    assert len(starts) > 2
    x = one_hot(batch.tokens[only], torch.float32)
    drawn = one_hot(draws.replacements(batch.tokens[only], batch.keys[only], seed=3, number=1)[0], torch.float32)
    bases = one_hot(
        draws.baselines(batch.keys[only], seed=3, number=1 + len(starts), length=model.length, composition=COMPOSITION)[
            0
        ],
        torch.float32,
    )
    own = captum.attribute(x, baselines=bases[:1], n_steps=50)
    expected = np.full((len(starts), len(starts)), np.nan)
    for i, source in enumerate(starts):
        mutant = x.clone()
        mutant[0, :, source : source + model.width] = drawn[0, :, source : source + model.width]
        other = captum.attribute(mutant, baselines=bases[1 + i : 2 + i], n_steps=50)
        for j, target in enumerate(starts):
            if i != j:
                window = slice(target, target + model.width)
                expected[i, j] = float(((own - other) * x)[0, :, window].sum())
    m = len(starts)
    scale = np.nanmax(abs(expected))
    np.testing.assert_allclose(directed[row, :m, :m], expected, rtol=1e-4, atol=1e-4 * scale)

    # A pair's score is that of the site that lies first, as source.
    assert scores.choose == FIRST
    found = laid_out(scores(batch), scores, model.filters)
    first, distance = starts_of(found), found.distance()
    observed = np.flatnonzero(~np.isnan(found.score[row]))
    assert len(observed)
    for pair in observed:
        i = starts.index(int(first[row, pair]))
        j = starts.index(int(first[row, pair] + distance[row, pair]))
        assert float(found.score[row, pair]) == pytest.approx(
            abs(expected[min(i, j), max(i, j)]), rel=1e-3, abs=1e-4 * scale
        )


def test_the_error_falls_with_the_steps():
    model = network()
    batch = batch_of(model)

    def maps(**settings: object) -> torch.Tensor:
        made = scorer(model, dtype=torch.float64, baselines=1, mutations=1, **settings)
        return made.maps(batch)[1].double()

    truth = maps(rule="midpoint", steps=1024)
    there = ~truth.isnan()

    def error(**settings: object) -> float:
        return float((maps(**settings)[there] - truth[there]).norm() / truth[there].norm())

    found = [error(steps=steps) for steps in (2, 4, 8, 16, 32)]
    assert found[-1] < 0.02
    assert found[-1] < found[0] / 16**1.2  # steeper than the first order
    assert all(later < earlier for earlier, later in zip(found, found[1:], strict=False))


def test_estimate_is_near_the_error():
    model = network()
    batch = batch_of(model)
    told = scorer(model, steps=4, baselines=1, mutations=1).estimate(batch)["steps"]
    coarse = scorer(model, steps=4, baselines=1, mutations=1).maps(batch)[1]
    fine = scorer(model, steps=512, baselines=1, mutations=1).maps(batch)[1]
    there = ~coarse.isnan()
    true = float((coarse[there] - fine[there]).norm() / fine[there].norm())
    assert true / 2 < told < 2 * true
    assert scorer(model, attribution="gradient").estimate(batch) == {}


def test_a_mutation_that_changes_nothing_scores_exactly_zero():
    model = network()
    batch = batch_of(model)
    same = torch.zeros_like(batch.tokens)  # of one letter, so that every draw is that letter
    scores = scorer(model)
    scores.threshold = torch.full_like(scores.threshold, -1.0)
    sites, found = scores.maps(Batch(same, batch.keys))
    assert int(sites.used.sum()) > 3
    there = ~found.isnan()
    assert bool((found[there] == 0).all())


def test_results_follow_from_key_and_sequence_alone():
    model = network(**MODELS["deep residual"])
    batch = batch_of(model)
    scores = scorer(model, steps=3, null=True)
    together = scores(batch)
    alone = scores(Batch(batch.tokens[1:2], batch.keys[1:2]))
    expected = take(together, [1], directed=True)
    for name, values in alone.arrays().items():
        if name != "strength":  # of the convolution, whose last bit may follow from the company
            np.testing.assert_array_equal(values, expected.arrays()[name], err_msg=name)
    np.testing.assert_allclose(alone.strength, expected.strength, rtol=1e-6)
    assert together.extras.keys() == set(scores.extras) == {"null"}
    assert together.effects.keys() == set(scores.effects) == {"single"}
    assert (scores.directed, scores.choose) == (True, LARGEST_SIZE)
    assert np.isfinite(alone.value).any()
    other = scores(Batch(batch.tokens[1:2], batch.keys[1:2] + 1))
    assert not np.array_equal(other.value, alone.value, equal_nan=True)


@pytest.mark.parametrize("settings", [{"rule": "midpoint"}, {"rule": "secant"}])
def test_micro_batches_do_not_matter(settings):
    model = network()
    batch = batch_of(model)
    scores = scorer(model, steps=6, **settings)
    expected = scores.maps(batch)[1]
    for nodes in (2, 3, 60):
        scores._letters._nodes = nodes
        scores._letters._parts = rule_of(scores.settings).parts(nodes)
        found = scores.maps(batch)[1]
        torch.testing.assert_close(
            found, expected, rtol=1e-4, atol=1e-5 * float(expected.nan_to_num().abs().max()), equal_nan=True
        )


def test_scores_are_the_larger_direction_and_keep_both():
    model = network()
    batch = batch_of(model)
    scores = scorer(model, steps=3, filters="all")
    result, (sites, directed) = scores(batch), scores.maps(batch)
    places = sites.used.sum(dim=1).tolist()
    assert result.counts[:, 1].tolist() == places
    assert (result.counts <= np.array(scores.most)).all()
    values = np.split(result.value, np.cumsum([many**2 for many in places])[:-1])
    for row, many in enumerate(places):  # every direction as it is, with its sign
        np.testing.assert_array_equal(values[row].reshape(many, many), directed[row, :many, :many])
    assert bool((result.value < 0).any())
    found = laid_out(result, scores, model.filters)
    distance, starts = found.distance(), starts_of(found)
    observed = np.argwhere(~np.isnan(found.score))
    assert len(observed) > 5
    for row, pair in observed:
        place = {
            int(start) - model.padding: number for number, start in enumerate(sites.position[row][sites.used[row]])
        }
        i = place[int(starts[row, pair])]
        j = place[int(starts[row, pair]) + int(distance[row, pair])]
        assert float(found.score[row, pair]) == max(abs(float(directed[row, i, j])), abs(float(directed[row, j, i])))


def test_the_null_is_kept_where_the_scores_are():
    """The larger direction in the permuted sequence, at the places of the pair of sites that speaks."""
    model = network()
    batch = batch_of(model)
    scores = scorer(model, steps=3, filters="all", null=True)
    sites, null = scores.maps(batch)[0], scores.permuted_maps(batch)
    found = laid_out(scores(batch), scores, model.filters)
    distance, starts, between = found.distance(), starts_of(found), found.between("null")
    np.testing.assert_array_equal(np.isnan(between), np.isnan(found.score))
    for row, pair in np.argwhere(~np.isnan(found.score)):
        place = {
            int(start) - model.padding: number for number, start in enumerate(sites.position[row][sites.used[row]])
        }
        i = place[int(starts[row, pair])]
        j = place[int(starts[row, pair]) + int(distance[row, pair])]
        assert float(between[row, pair]) == max(abs(float(null[row, i, j])), abs(float(null[row, j, i])))


def test_gradient_and_deeplift():
    model = network()
    batch = batch_of(model)
    x, weights = one_hot(batch.tokens), torch.ones(1, 1).double()
    found = scorer(model, attribution="gradient").attributions(batch)
    at = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(SoftSatori(model)(at).sum(), at)
    torch.testing.assert_close(found.double(), (gradient * x).sum(1), rtol=1e-4, atol=1e-6)

    lift = scorer(model, attribution="deeplift", baseline="zero", dtype=torch.float64)
    complete = lift.attributions(batch).double().sum(1)
    with torch.no_grad():
        rise = ((SoftSatori(model)(x) - SoftSatori(model)(0 * x)) * weights).sum(1)
    torch.testing.assert_close(complete, rise, rtol=1e-5, atol=1e-6)


def test_single_bases_by_plain_loops():
    model = network()
    batch = batch_of(model)
    scores = scorer(model, attribution="gradient", feature="base", response="max", dtype=torch.float64)
    sites, found = scores.maps(batch)
    soft, row = SoftSatori(model), 0
    starts = (sites.position[row][sites.used[row]] - model.padding).tolist()
    x = one_hot(batch.tokens[row : row + 1])

    def importance(letters: torch.Tensor) -> torch.Tensor:
        at = letters.clone().requires_grad_(True)
        return (torch.autograd.grad(soft(at).sum(), at)[0] * letters * x).sum(1)[0]

    own = importance(x)
    for i, source in enumerate(starts):
        changes = []
        for place in range(source, source + model.width):
            for letter in range(4):
                if x[0, letter, place] == 0:
                    mutant = x.clone()
                    mutant[0, :, place] = 0
                    mutant[0, letter, place] = 1
                    changes.append(own - importance(mutant))
        for j, target in enumerate(starts):
            if i != j:
                largest = max(abs(float(c[k])) for c in changes for k in range(target, target + model.width))
                assert abs(float(found[row, i, j])) == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize("mutation", ["frequencies", "zero"])
def test_sites_replaced_by_frequencies_or_nothing(mutation):
    original = one_hot(batch_of(network()).tokens)[0]
    settings = Dfim(mutation=mutation)
    windows = dfim.window_mask(torch.tensor([3, 30]), length=original.shape[1], width=torch.tensor([7, 7]))
    made = dfim.make(original, windows, original[None], settings=settings)
    assert made.letters.shape == (2, 4, original.shape[1])
    column = torch.tensor([0.27, 0.23, 0.23, 0.27]).double() * (mutation == "frequencies")
    torch.testing.assert_close(made.letters[1, :, 30:37], column[:, None].expand(4, 7))
    assert torch.equal(made.letters[1, :, :30], original[:, :30])
    assert torch.equal(made.letters[1, :, 37:], original[:, 37:])


def test_the_null_permutes_letters_and_keeps_sites():
    model = network()
    batch = batch_of(model)
    scores = scorer(model, null=True, steps=2)
    null = scores.permuted_maps(batch)
    assert torch.equal(null.isnan(), scores.maps(batch)[1].isnan())
    permuted = dfim.permuted(batch, seed=3)
    assert torch.equal(permuted.tokens.sort(1).values, batch.tokens.sort(1).values)
    assert not torch.equal(permuted.tokens, batch.tokens)
    order = [tuple(row) for row in draws.permutations(permuted.keys, seed=3, length=model.length).tolist()]
    assert len(set(order)) == len(order)  # not one order for all


def test_settings_are_checked_for_length():
    model = network()
    model.length = 2**15
    with pytest.raises(Exception, match="32,767"):
        scorer(model)


def test_legacy_uses_its_own_rule():
    assert len(rule_of(dataclasses.replace(Dfim(), legacy=True, steps=3)).nodes) == 50


@pytest.mark.parametrize("name", SOME)
def test_contributions_are_those_of_plain_loops_and_complete(name):
    model = network(**MODELS[name])
    soft, batch = SoftSatori(model), batch_of(model)
    batch = Batch(batch.tokens % 4, batch.keys, batch.targets)  # an unknown letter has no contribution of its own
    plain = scorer(model, dtype=torch.float64, rule="midpoint", steps=3, baselines=2)
    complete = scorer(model, dtype=torch.float64, steps=3, baselines=2)
    letters, hypothetical = plain.contributions(batch)
    torch.testing.assert_close(letters, plain.attributions(batch), rtol=1e-5, atol=1e-7)
    whole = complete.contributions(batch)[1].double()
    rule = rule_of(plain.settings)
    for row in range(2):
        only, weights = slice(row, row + 1), weights_of(model, batch, row)
        x = one_hot(batch.tokens[only])
        drawn = draws.baselines(batch.keys[only], seed=3, number=2, length=model.length, composition=COMPOSITION)
        slow, rise = torch.zeros(4, model.length, dtype=torch.float64), 0.0
        for base in one_hot(drawn[0]):
            m = integrated(soft, base[None], x, weights, nodes=rule.nodes, shares=rule.weights)[0]
            for letter in range(4):
                instead = torch.zeros(4, 1, dtype=torch.float64)
                instead[letter] = 1
                slow[letter] += (m * (instead - base)).sum(dim=0) / 2
            with torch.no_grad():
                rise += float(((soft(x) - soft(base[None])) * weights).sum()) / 2
        scale = float(slow.abs().max())
        torch.testing.assert_close(hypothetical[row].double(), slow, rtol=1e-4, atol=1e-5 * scale)
        assert float((whole[row] * x[0]).sum()) == pytest.approx(rise, rel=1e-4, abs=1e-5)
