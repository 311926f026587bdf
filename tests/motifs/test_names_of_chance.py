"""Filters that mean nothing are not named, and those that are known motifs are."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.motifs import collection, motif, tomtom
from satori_hpc.motifs.motif import Motif

WIDTH, FILTERS = 15, 64
TRIM, BITS, MOST = 0.2, 6.0, 0.05  # the defaults of [motifs]


@pytest.fixture(scope="module")
def known() -> list[Motif]:
    source = {"release": "JASPAR2026", "groups": ("vertebrates",), "key": "database"}
    return list(collection.read("jaspar", Path("jaspar"), **source).motifs)


def named(match: tomtom.Best) -> bool:
    return max(match.q, match.chance) <= MOST and match.bits >= BITS


def motifs_of_random_filters(rng: np.random.Generator, *, sites: int) -> list[np.ndarray]:
    """Letters under the windows of random sequences that filters of normal weights score highest."""
    letters = rng.integers(0, 4, 100_000)
    windows = np.lib.stride_tricks.sliding_window_view(letters, WIDTH)
    found = []
    for weights in rng.normal(size=(FILTERS, WIDTH, 4)):
        score = sum(weights[k][windows[:, k]] for k in range(WIDTH))
        best = windows[np.argpartition(-score, sites)[:sites]]
        found.append(motif.probabilities((best[:, :, None] == np.arange(4)).sum(axis=0).astype(float), 1.0))
    return found


def test_random_filters_are_not_named(known: list[Motif]) -> None:
    queries = [
        query
        for seed, sites in ((2, 200), (4, 50))
        for query in motifs_of_random_filters(np.random.default_rng(seed), sites=sites)
    ]
    found = tomtom.best(queries, known, trim_bits=TRIM, min_bits=BITS, threads=2)
    assert np.mean([named(match) for match in found]) <= 0.05
    nearest = Counter(match.target for match in found)
    assert nearest.most_common(1)[0][1] <= 0.1 * len(queries), "no known motif is the nearest of nearly all"


def test_filters_that_look_like_known_motifs_are_named_after_them(known: list[Motif]) -> None:
    rng = np.random.default_rng(3)
    chosen = [known[k] for k in rng.choice(len(known), 60, replace=False)]
    chosen = [item for item in chosen if motif.information(item.ppm).sum() >= 8]
    queries = []
    for item in chosen:
        around = np.concatenate([np.full((2, 4), 0.25), item.ppm, np.full((2, 4), 0.25)])
        counts = np.array([rng.multinomial(200, column / column.sum()) for column in around])
        queries.append(motif.probabilities(counts.astype(float), 1.0))
    found = tomtom.best(queries, known, trim_bits=TRIM, min_bits=BITS, threads=2)
    alike = [
        named(match) and tomtom.compare([item.ppm], [known[match.target].ppm]).p[0, 0] < 1e-5
        for match, item in zip(found, chosen, strict=True)
    ]
    assert len(chosen) > 40
    assert np.mean(alike) >= 0.95
