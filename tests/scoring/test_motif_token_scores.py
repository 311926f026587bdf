"""Scores of sites of known motifs, against the plain network on hits that are taken away one by one."""

import dataclasses

import captum.attr
import numpy as np
import pytest
import torch

from satori_hpc.config import Attribution, Dfim, Epistasis, Score, Sites
from satori_hpc.models.base import Scorable
from satori_hpc.scoring import draws
from satori_hpc.scoring.base import Batch, SiteScores
from satori_hpc.scoring.motif_tokens import TokenAttention, TokenAttribution, TokenDfim, TokenEpistasis
from tests.models.test_motif_tokens import network, one_hot, sequences
from tests.oracles import motif_oracle, plain_motif_tokens

MOST = 5


def settings(*, max_distance: int = 0, mutations: int = 2) -> Score:
    return Score(sites=Sites(max_sites=MOST, max_distance=max_distance), epistasis=Epistasis(mutations=mutations))


def batch_of(tokens: torch.Tensor, targets: torch.Tensor | None = None) -> Batch:
    rows = torch.arange(len(tokens))
    return Batch(tokens, torch.stack([torch.zeros_like(rows), rows], dim=1), targets)


def scorer(kind, model, score: Score, learned: torch.Tensor | None = None):
    """Only known motifs have sites, unless thresholds (F,) of the learned filters are given."""
    none = torch.full((model.settings.num_filters,), torch.inf)
    thresholds = torch.cat((torch.zeros(len(model.bank)), none if learned is None else learned))
    return kind(model, thresholds, settings=score, seed=3, composition=np.full(4, 0.25))


def hits_of(model, tokens: np.ndarray) -> tuple[list, list[int]]:
    bank, wanted = model.known.bank, model.settings
    hits = motif_oracle.hits(tokens, list(bank.scores), bank.background, share=wanted.gate_share, p=wanted.gate_p)
    return hits, motif_oracle.compete(hits, 0.25)


def sites_of(hits: list, owner: list[int], example: int) -> list[int]:
    """Rows of the most significant winners of an example, by start."""
    mine = [row for row, hit in enumerate(hits) if hit[0] == example and owner[row] == row]
    mine.sort(key=lambda row: (-round(hits[row][6], 6), hits[row][1], hits[row][3]))
    return sorted(mine[:MOST], key=lambda row: (hits[row][1], hits[row][3]))


def weights_of(model) -> dict[str, np.ndarray]:
    return {name: value.detach().double().numpy() for name, value in model.named_parameters()}


def bins_without(model, hits: list, seen: list[int], tokens: np.ndarray) -> np.ndarray:
    """(n, M + F) bins of a sequence that has these hits only, and these letters for the learned filters."""
    bank, pool = model.known.bank, model.settings.pool
    values = np.zeros((model.known.bins, len(bank)))
    for row in seen:
        _, start, end, number, _, score, _ = hits[row]
        threshold, best = model.known._threshold[number], bank.maxima[number]
        bin = (start + end) // 2 // pool
        values[bin, number] = max(values[bin, number], 8 * (score - threshold) / (best - threshold))
    if model.learned is None:
        return values
    weights = weights_of(model)
    learned = weights["learned.conv.weight"], weights["learned.conv.bias"]
    return np.concatenate([values, plain_motif_tokens.filter_values(tokens[None], *learned, pool)[0]], axis=1)


def unpacked(found: SiteScores) -> list[tuple[np.ndarray, np.ndarray]]:
    """(sites, values (m, m)) of each example, sites by place."""
    out, site, value = [], 0, 0
    for sites, places in found.counts.tolist():
        table = found.site[site : site + sites]
        square = np.full((places, places), np.nan, np.float32)
        upper = np.triu_indices(places, 1)
        square[upper] = found.value[value : value + len(upper[0])]
        square.T[upper] = square[upper]
        out.append((table[np.argsort(table[:, 3])], square))
        site, value = site + sites, value + len(upper[0])
    return out


def admissible(hits: list, first: int, second: int, max_distance: int = 0) -> bool:
    left, right = sorted([hits[first], hits[second]], key=lambda hit: hit[1])
    return right[1] >= left[2] and (not max_distance or right[1] - left[1] <= max_distance)


@pytest.mark.parametrize(
    ("targets", "wanted", "max_distance"),
    [(1, {"num_filters": 0}, 0), (1, {}, 12), (3, {"num_heads": 2}, 0), (1, {"compete": False}, 0)],
)
def test_epistasis_is_that_of_the_plain_network_without_the_hits(targets, wanted, max_distance):
    model, tokens = network(targets=targets, **wanted), sequences(5)
    explained = None if targets == 1 else torch.tensor([[1, 0, 1]] * 5, dtype=torch.uint8)
    batch, score = batch_of(tokens, explained), settings(max_distance=max_distance)
    found = scorer(TokenEpistasis, model, score)(batch)
    hits, owner = hits_of(model, tokens.numpy())
    weights, compared = weights_of(model), 0
    letters = draws.replacements(tokens, batch.keys, seed=3, number=2).numpy()
    single_at = 0
    for example, (table, value) in enumerate(unpacked(found)):
        mine = sites_of(hits, owner, example)
        assert table[:, :3].tolist() == [[hits[row][3], hits[row][1], hits[row][4]] for row in mine]
        seen = [
            row for row, hit in enumerate(hits) if hit[0] == example and (not model.known.compete or owner[row] == row)
        ]

        def output(*gone: int, example=example, seen=seen) -> float:
            left = [row for row in seen if owner[row] not in gone]
            each = []
            for draw in range(2):
                variant = tokens[example].numpy().copy()
                for row in gone:
                    variant[hits[row][1] : hits[row][2]] = letters[example, draw, hits[row][1] : hits[row][2]]
                bins = bins_without(model, hits, left, variant)
                logits = plain_motif_tokens.read(bins[None], weights, model.settings.num_heads)[0][0]
                each.append(logits[0] if targets == 1 else logits[0] + logits[2])
            return float(np.mean(each))

        for i, row in enumerate(mine):
            assert found.effects["single"][single_at + i] == pytest.approx(output() - output(row), rel=1e-4, abs=2e-5)
            for u in range(i + 1, len(mine)):
                other = mine[u]
                if not admissible(hits, row, other, max_distance):
                    assert np.isnan(value[i, u])
                    continue
                expected = output() - output(row) - output(other) + output(row, other)
                assert value[i, u] == pytest.approx(expected, rel=1e-3, abs=5e-5)
                compared += 1
        single_at += len(mine)
    assert compared > 10


def test_attention_is_the_larger_direction_between_the_bins_of_hits():
    model, tokens = network(num_filters=0, num_heads=2), sequences(5)
    found = scorer(TokenAttention, model, settings())(batch_of(tokens))
    with torch.no_grad():
        attention = model(tokens, attention=True).attention.numpy()
    hits, owner = hits_of(model, tokens.numpy())
    compared = 0
    for example, (table, value) in enumerate(unpacked(found)):
        mine = sites_of(hits, owner, example)
        assert table[:, :3].tolist() == [[hits[row][3], hits[row][1], hits[row][4]] for row in mine]
        for i, row in enumerate(mine):
            for u in range(i + 1, len(mine)):
                here, there = ((hits[k][1] + hits[k][2]) // 2 // model.settings.pool for k in (row, mine[u]))
                if here == there or not admissible(hits, row, mine[u]):
                    assert np.isnan(value[i, u])
                    continue
                largest = max(attention[example, :, here, there].max(), attention[example, :, there, here].max())
                assert value[i, u] == pytest.approx(largest, rel=1e-5)
                compared += 1
    assert compared > 10


def map_by_gradients(model, tokens: torch.Tensor, targets: torch.Tensor, *, probability: bool) -> torch.Tensor:
    """Attention times the mean gradient at 1/4, 2/4, 3/4 and all of it, from the network's own layers."""
    with torch.no_grad():
        attention = model(tokens, attention=True).attention
        query, key, value, around = model.project(model.known(tokens), model.learned(tokens)).chunk(4, dim=2)
        heads = value.unflatten(2, (model.settings.num_heads, -1)).transpose(1, 2)
    total = torch.zeros_like(attention)
    for step in (0.25, 0.5, 0.75, 1.0):
        scaled = (step * attention).requires_grad_()
        read = torch.relu(scaled @ heads).transpose(1, 2).flatten(2)
        logits = model.output(torch.relu(model.attention.mix(read) + around + model.bias).sum(dim=1))
        (gradient,) = torch.autograd.grad(((torch.sigmoid(logits) if probability else logits) * targets).sum(), scaled)
        total += gradient / 4
    return total * attention


@pytest.mark.parametrize(("targets", "target"), [(1, "logit"), (3, "probability")])
def test_attribution_of_attention_is_that_of_gradients_and_complete_by_secants(targets, target):
    model, tokens = network(targets=targets, num_heads=2), sequences(5)
    explained = torch.ones(5, 1) if targets == 1 else torch.tensor([[1, 0, 1]] * 5)
    batch, score = batch_of(tokens, None if targets == 1 else explained.to(torch.uint8)), settings()
    score = dataclasses.replace(score, attribution=Attribution(steps=4, target=target))
    maps = scorer(TokenAttribution, model, score).maps(batch)
    expected = map_by_gradients(model, tokens, explained, probability=target == "probability")
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)
    assert maps.abs().max() > 1e-3
    found, compared = scorer(TokenAttribution, model, score)(batch), 0
    for example, (table, value) in enumerate(unpacked(found)):
        middle = table[:, 1] + scorer(TokenAttribution, model, score).widths[table[:, 0]]
        bin = (table[:, 1] + middle) // 2 // model.settings.pool
        for i, u in np.argwhere(np.triu(~np.isnan(value), 1)):
            both = torch.maximum(expected[example, :, bin[i], bin[u]], expected[example, :, bin[u], bin[i]])
            assert value[i, u] == pytest.approx(float(both.max()), rel=1e-3, abs=1e-6)
            compared += 1
    assert compared > 10
    whole = dataclasses.replace(score, attribution=Attribution(steps=2, rule="secant", target=target))
    assert scorer(TokenAttribution, model, whole).estimate(batch)["completeness"] < 1e-4


@pytest.mark.parametrize("wanted", [{"num_filters": 0}, {}])
def test_dfim_is_the_change_of_attributions_that_captum_computes(wanted):
    model, tokens = network(gate_p=0.02, **wanted), sequences(3, unknown=False)
    score = dataclasses.replace(settings(), dfim=Dfim(steps=4, baselines=2, mutations=1))
    batch, dfim = batch_of(tokens), scorer(TokenDfim, model, score, torch.full((model.settings.num_filters,), 0.1))
    found, compared, at = dfim(batch), 0, 0
    drawn = draws.replacements(tokens, batch.keys, seed=3, number=1)
    starts = draws.baselines(batch.keys, seed=3, number=2, length=tokens.shape[1], composition=np.full(4, 0.25))
    integrated = captum.attr.IntegratedGradients(Scorable(model))

    def attributed(sequence: torch.Tensor, example: int) -> np.ndarray:
        each = [
            integrated.attribute(one_hot(sequence[None]), one_hot(start[None]), n_steps=4, method="riemann_middle")
            for start in starts[example]
        ]
        return (sum(each) / 2 * one_hot(tokens[example : example + 1])).sum(dim=1)[0].detach().numpy()

    directed = iter(np.split(found.value, np.cumsum(found.counts[:, 1] ** 2)[:-1]))
    for example, (sites, places) in enumerate(found.counts.tolist()):
        table = found.site[at : at + sites][np.argsort(found.site[at : at + sites, 3])]
        value, own = next(directed).reshape(places, places), attributed(tokens[example], example)
        for i, (motif, start, _, _) in enumerate(table.tolist()):
            window = slice(start, start + int(dfim.widths[motif]))
            mutant = tokens[example].clone()
            mutant[window] = drawn[example, 0, window]
            changed = own - attributed(mutant, example)
            for u, (other, first, _, _) in enumerate(table.tolist()):
                if not np.isnan(value[i, u]):
                    expected = changed[first : first + int(dfim.widths[other])].sum()
                    assert value[i, u] == pytest.approx(expected, rel=1e-3, abs=1e-5)
                    compared += 1
            assert found.effects["single"][at + i] == pytest.approx(own[window].sum(), rel=1e-3, abs=1e-5)
        at += sites
    assert compared > 10


@pytest.mark.parametrize("kind", [TokenAttention, TokenAttribution, TokenDfim, TokenEpistasis])
def test_a_sequence_scores_the_same_alone_and_among_others(kind):
    model, tokens = network(), sequences(6)
    score = scorer(kind, model, settings())
    together = score(batch_of(tokens))
    batch = batch_of(tokens)
    alone = SiteScores.join(
        [score(Batch(batch.tokens[row : row + 1], batch.keys[row : row + 1])) for row in range(len(tokens))]
    )
    for name, values in together.arrays().items():
        np.testing.assert_allclose(values, alone.arrays()[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert together.value.size > 10


def strands_of(model, tokens: np.ndarray) -> np.ndarray:
    """(2, F, L) activations of the learned filters, window by window."""
    weight, bias = (weights_of(model)[f"learned.conv.{name}"] for name in ("weight", "bias"))
    filters, _, width = weight.shape
    found = np.zeros((2, filters, len(tokens)))
    for number, middle in np.ndindex(filters, len(tokens)):
        for k in range(width):
            place = middle - width // 2 + k
            if 0 <= place < len(tokens) and tokens[place] < 4:
                found[0, number, middle] += weight[number, tokens[place], k]
                found[1, number, middle] += weight[number, 3 - tokens[place], width - 1 - k]
    return np.maximum(found + bias[:, None], 0)


def learned_sites(model, tokens: np.ndarray, threshold: np.ndarray, hits: list, winners: list[int]) -> list[tuple]:
    """(motif, start, strand) of windows above the threshold, best first, that overlap nothing better."""
    width, first = model.settings.kernel_size, len(model.bank)
    strands = strands_of(model, tokens)
    better = strands.max(axis=0)
    ranked = sorted(
        (-better[number, middle] / threshold[number], middle, number)
        for number, middle in np.ndindex(*better.shape)
        if better[number, middle] > threshold[number] and width // 2 <= middle < len(tokens) - width // 2
    )
    found: list[tuple[int, int, int]] = []
    for _, middle, number in ranked:
        start = middle - width // 2
        known = [(hits[row][1], hits[row][2]) for row in winners]
        if any(min(end, start + width) - max(begin, start) > 0.25 * min(end - begin, width) for begin, end in known):
            continue
        if all(abs(start - other) >= width for _, other, _ in found):
            found.append((first + number, start, 1 if strands[0, number, middle] >= strands[1, number, middle] else -1))
    return found


def both_kinds(model, tokens: np.ndarray, threshold: np.ndarray, hits: list, owner: list[int], example: int) -> list:
    """(motif, start, strand, row of the hit or None) of the sites of an example: the best of both kinds in turn."""
    winners = [row for row, hit in enumerate(hits) if hit[0] == example and owner[row] == row]
    winners.sort(key=lambda row: (-round(hits[row][6], 6), hits[row][1], hits[row][3]))
    known = [(hits[row][3], hits[row][1], hits[row][4], row) for row in winners]
    learned = [(*site, None) for site in learned_sites(model, tokens, threshold, hits, winners)[:MOST]]
    turns: list = []
    for turn in range(max(len(known), len(learned))):
        turns += [*known[turn : turn + 1], *learned[turn : turn + 1]]
    return sorted(turns[:MOST], key=lambda site: (site[1], site[0]))


def learned_setting():
    model, tokens = network(gate_p=0.004), sequences(40)
    largest = np.max([strands_of(model, row).max(axis=(0, 2)) for row in tokens.numpy()], axis=0)
    threshold = (0.2 * largest).astype(np.float32)
    threshold[2] = np.inf  # a dead filter
    return model, tokens, threshold


def test_windows_of_learned_filters_are_sites_where_no_known_motif_is():
    model, tokens, threshold = learned_setting()
    found = scorer(TokenAttention, model, settings(), torch.from_numpy(threshold))(batch_of(tokens))
    with torch.no_grad():
        attention = model(tokens, attention=True).attention.numpy()
    hits, owner = hits_of(model, tokens.numpy())
    learned = compared = 0
    for example, (table, value) in enumerate(unpacked(found)):
        mine = both_kinds(model, tokens[example].numpy(), threshold, hits, owner, example)
        assert table[:, :3].tolist() == [list(site[:3]) for site in mine]
        learned += sum(site[3] is None for site in mine)
        ends = [start + int(model.bank.widths[m]) if m < len(model.bank) else start + 5 for m, start, _, _ in mine]
        bins = [(site[1] + end) // 2 // model.settings.pool for site, end in zip(mine, ends, strict=True)]
        for i, u in zip(*np.triu_indices(len(mine), 1), strict=True):
            if bins[i] == bins[u] or mine[u][1] < ends[i]:
                assert np.isnan(value[i, u])
                continue
            largest = max(attention[example, :, bins[i], bins[u]].max(), attention[example, :, bins[u], bins[i]].max())
            assert value[i, u] == pytest.approx(largest, rel=1e-5)
            compared += 1
    assert learned > 8
    assert compared > 20


def test_epistasis_of_learned_filters_puts_random_letters_in_their_place():
    model, tokens, threshold = learned_setting()
    batch = batch_of(tokens)
    found = scorer(TokenEpistasis, model, settings(), torch.from_numpy(threshold))(batch)
    hits, owner = hits_of(model, tokens.numpy())
    weights, letters = weights_of(model), draws.replacements(tokens, batch.keys, seed=3, number=2).numpy()
    place = with_learned = 0
    for example, (_, value) in enumerate(unpacked(found)):
        mine = both_kinds(model, tokens[example].numpy(), threshold, hits, owner, example)
        seen = [row for row, hit in enumerate(hits) if hit[0] == example and owner[row] == row]

        def output(*gone: int, example=example, mine=mine, seen=seen) -> float:
            rows = {mine[k][3] for k in gone}
            each = []
            for draw in range(2):
                variant = tokens[example].numpy().copy()
                for k in gone:
                    motif, start = mine[k][:2]
                    end = start + (int(model.bank.widths[motif]) if motif < len(model.bank) else 5)
                    variant[start:end] = letters[example, draw, start:end]
                bins = bins_without(model, hits, [row for row in seen if owner[row] not in rows], variant)
                each.append(plain_motif_tokens.read(bins[None], weights, model.settings.num_heads)[0][0, 0])
            return float(np.mean(each))

        for i in range(len(mine)):
            assert found.effects["single"][place + i] == pytest.approx(output() - output(i), rel=1e-4, abs=2e-5)
            for u in range(i + 1, len(mine)):
                if not np.isnan(value[i, u]):
                    expected = output() - output(i) - output(u) + output(i, u)
                    assert value[i, u] == pytest.approx(expected, rel=1e-3, abs=5e-5)
                    with_learned += mine[i][3] is None or mine[u][3] is None
        place += len(mine)
    assert with_learned > 20
