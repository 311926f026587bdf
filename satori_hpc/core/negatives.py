"""Which windows serve as negatives: as many as asked for, alike to the positives in what must not tell them apart."""

import numpy as np

# Bins of the shares of G and C, and of lower-case letters, finer first; each fine bin lies in one coarse bin.
GC_STEPS = (48, 16, 1)
REPEAT_STEPS = (12, 4, 1)


def bins(chrom: np.ndarray, gc: np.ndarray, repeats: np.ndarray, *, level: int) -> np.ndarray:
    """Number of the bin of each window, int64 (n,), at a level of coarseness 0, 1 or 2.

    Args:
        chrom: int64 (n,).
        gc, repeats: float (n,), shares of letters, 0 to 1.
    """
    gc_bin = np.minimum((gc * GC_STEPS[level]).astype(np.int64), GC_STEPS[level] - 1)
    repeat_bin = np.minimum((repeats * REPEAT_STEPS[level]).astype(np.int64), REPEAT_STEPS[level] - 1)
    return (chrom * GC_STEPS[0] + gc_bin) * REPEAT_STEPS[0] + repeat_bin


def quotas(wanted: np.ndarray, ratio: float) -> dict[int, int]:
    """How many of each kind there are to be, by largest remainder: together round(ratio * n)."""
    kinds, counts = np.unique(wanted, return_counts=True)
    exact = counts * ratio
    floor = np.floor(exact).astype(np.int64)
    left = round(float(exact.sum())) - int(floor.sum())
    floor[np.argsort(floor - exact, kind="stable")[:left]] += 1
    return dict(zip(kinds.tolist(), floor.tolist(), strict=True))


def draw(kinds: np.ndarray, quota: dict[int, int], *, free: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Candidates drawn at random without putting back, at most `quota` of each kind; sorted places, int64.

    Args:
        kinds: int64 (m,), of every candidate.
        quota: how many of each kind.
        free: bool (m,), those that may be drawn.
        rng: spends m numbers.
    """
    order = np.lexsort((rng.random(len(kinds)), kinds))
    order = order[free[order]]
    sorted_kinds = kinds[order]
    first = np.searchsorted(sorted_kinds, sorted_kinds, side="left")
    limits = np.array([quota.get(int(kind), 0) for kind in np.unique(sorted_kinds)], dtype=np.int64)
    limit = limits[np.unique(sorted_kinds, return_inverse=True)[1]] if len(order) else np.zeros(0, dtype=np.int64)
    return np.sort(order[np.arange(len(order)) - first < limit])


def apart(chrom: np.ndarray, start: np.ndarray, *, size: int, rng: np.random.Generator) -> np.ndarray:
    """Windows of which no two share more than half, chosen in random order; bool (m,)."""
    chosen = np.zeros(len(start), dtype=bool)
    taken: dict[tuple[int, int], list[int]] = {}
    for place in rng.permutation(len(start)).tolist():
        at, number = int(start[place]), int(chrom[place])
        near = [other for cell in (-1, 0, 1) for other in taken.get((number, at // size + cell), ())]
        if all(2 * (size - abs(at - other)) <= size for other in near):
            chosen[place] = True
            taken.setdefault((number, at // size), []).append(at)
    return chosen
