"""Scores of sites of known motifs, against the plain network on hits that are taken away one by one."""

import numpy as np
import pytest
import torch

from satori_hpc.config import Epistasis, Score, Sites
from satori_hpc.scoring import draws
from satori_hpc.scoring.base import Batch, SiteScores
from satori_hpc.scoring.motif_tokens import TokenAttention, TokenEpistasis
from tests.models.test_motif_tokens import network, sequences
from tests.oracles import motif_oracle, plain_motif_tokens

MOST = 5


def settings(*, max_distance: int = 0, mutations: int = 2) -> Score:
    return Score(sites=Sites(max_sites=MOST, max_distance=max_distance), epistasis=Epistasis(mutations=mutations))


def batch_of(tokens: torch.Tensor, targets: torch.Tensor | None = None) -> Batch:
    rows = torch.arange(len(tokens))
    return Batch(tokens, torch.stack([torch.zeros_like(rows), rows], dim=1), targets)


def scorer(kind, model, score: Score):
    return kind(model, torch.zeros(1), settings=score, seed=3, composition=np.full(4, 0.25))


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


def cells_without(model, hits: list, seen: list[int], tokens: np.ndarray) -> np.ndarray:
    """(n, M + F) cells of a sequence that has these hits only, and these letters for the learned filters."""
    bank, pool = model.known.bank, model.settings.pool
    values = np.zeros((model.known.cells, len(bank)))
    for row in seen:
        _, start, end, number, _, score, _ = hits[row]
        threshold, best = model.known._threshold[number], bank.maxima[number]
        cell = (start + end) // 2 // pool
        values[cell, number] = max(values[cell, number], 8 * (score - threshold) / (best - threshold))
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
    [(1, {"filters": 0}, 0), (1, {}, 12), (3, {"heads": 2}, 0), (1, {"compete": False}, 0)],
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
                cells = cells_without(model, hits, left, variant)
                logits = plain_motif_tokens.read(cells[None], weights, model.settings.heads)[0][0]
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


def test_attention_is_the_larger_direction_between_the_cells_of_hits():
    model, tokens = network(filters=0, heads=2), sequences(5)
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


@pytest.mark.parametrize("kind", [TokenAttention, TokenEpistasis])
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
