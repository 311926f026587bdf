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
    words = np.array(list(itertools.product(range(4), repeat=len(table))))
    scores = table[np.arange(len(table)), words].sum(axis=1)
    return float(background[words].prod(axis=1)[scores >= score].sum())


def hits(
    tokens: np.ndarray, tables: list[np.ndarray], background: np.ndarray, *, share: float, p: float
) -> list[tuple[int, int, int, int, int, int, float]]:
    """(example, start, end, motif, strand, score, -log10 p) of every hit, window by window."""
    found = []
    for example, row in enumerate(tokens):
        for start, (number, table) in itertools.product(range(len(row)), enumerate(tables)):
            width, best = len(table), int(table.max(axis=1).sum())
            if start + width > len(row):
                continue
            by_strand = {}
            for strand, oriented in ((1, table), (-1, table[::-1, ::-1])):
                letters = row[start : start + width]
                by_strand[strand] = sum(int(oriented[k, letter]) for k, letter in enumerate(letters) if letter < 4)
            strand = 1 if by_strand[1] >= by_strand[-1] else -1
            score = by_strand[strand]
            if score <= share * best:
                continue
            chance = tail(table, background, score)
            if score == best or chance <= p * (1 + 1e-9):
                found.append((example, start, start + width, number, strand, score, -np.log10(chance)))
    return found


def compete(hits: list[tuple[int, int, int, int, int, int, float]], overlap: float) -> list[int]:
    """For each hit the row of the winner it belongs to: the best hit left takes all that it overlaps, and so on."""
    owner = [-1] * len(hits)
    while -1 in owner:
        free = [row for row in range(len(hits)) if owner[row] == -1]
        best = min(free, key=lambda row: (hits[row][0], -round(hits[row][6], 6), hits[row][1], hits[row][3]))
        example, start, end = hits[best][:3]
        owner[best] = best
        for row in free:
            shared = min(end, hits[row][2]) - max(start, hits[row][1])
            if hits[row][0] == example and shared > overlap * min(end - start, hits[row][2] - hits[row][1]):
                owner[row] = best
    return owner


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
