"""Slow, obvious versions of what sites.activations, motifs.tomtom and motifs.scan compute."""

import itertools

import numpy as np


def activations(tokens: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: int) -> np.ndarray:
    """ReLU of a convolution, window by window. tokens (B, L), weight (F, 4, W), bias (F,) -> (B, F, L)."""
    filters, _, width = weight.shape
    examples, length = tokens.shape
    out = np.zeros((examples, filters, length))
    for b, f, j in itertools.product(range(examples), range(filters), range(length)):
        total = bias[f]
        for k in range(width):
            place = j - padding + k
            if 0 <= place < length and tokens[b, place] < 4:
                total += weight[f, tokens[b, place], k]
        out[b, f, j] = max(total, 0.0)
    return out


def site_counts(
    tokens: np.ndarray, tracks: np.ndarray, threshold: np.ndarray, padding: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """letters (F, W, 4), sites (F,), sequences (F,) by loops over every position."""
    examples, filters, positions = tracks.shape
    letters = np.zeros((filters, width, 4), dtype=np.int64)
    sites = np.zeros(filters, dtype=np.int64)
    sequences = [set() for _ in range(filters)]
    for b, f, j in itertools.product(range(examples), range(filters), range(positions)):
        if not tracks[b, f, j] > threshold[f]:
            continue
        start = j - padding
        if start < 0 or start + width > tokens.shape[1]:
            continue
        word = tokens[b, start : start + width]
        if (word > 3).any():
            continue
        for k, letter in enumerate(word):
            letters[f, k, letter] += 1
        sites[f] += 1
        sequences[f].add(b)
    return letters, sites, np.array([len(one) for one in sequences])


def tail(table: np.ndarray, background: np.ndarray, score: int) -> float:
    """Probability that a random window scores at least `score`, by listing every window."""
    total = 0.0
    for word in itertools.product(range(4), repeat=len(table)):
        if sum(int(table[k, letter]) for k, letter in enumerate(word)) >= score:
            total += float(np.prod([background[letter] for letter in word]))
    return total


def similarity(a: np.ndarray, b: np.ndarray, least: int) -> float:
    """Best mean Pearson correlation of aligned columns over offsets and strands."""
    best = -1.0
    for other in (b, b[::-1, ::-1]):
        for offset in range(-len(a) - len(b), len(a) + len(b)):
            pairs = [(i, i + offset) for i in range(len(a)) if 0 <= i + offset < len(other)]
            if len(pairs) >= least:
                values = [np.corrcoef(a[i], other[j])[0, 1] for i, j in pairs]
                best = max(best, float(np.mean(values)))
    return best
