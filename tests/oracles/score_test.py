"""The score test of motif pairs by dense matrices and loops over hits."""

from itertools import combinations, groupby

import numpy as np

Hit = tuple[int, int, int, int]  # example, motif, start, end


def counts(hits: list[Hit], examples: int, motifs: int) -> np.ndarray:
    table = np.zeros((examples, motifs))
    for example, motif, _, _ in hits:
        table[example, motif] = min(table[example, motif] + 1, 3)
    return table


def in_range(hits: list[Hit], examples: int, first: int, second: int, max_gap: int) -> np.ndarray:
    seen = np.zeros(examples)
    for example, group in groupby(sorted(hits), key=lambda hit: hit[0]):
        for (_, a, start, end), (_, b, begin, stop) in combinations(list(group), 2):
            if {a, b} == {first, second} and 0 <= max(start, begin) - min(end, stop) <= max_gap:
                seen[example] = 1
    return seen


def fit(design: np.ndarray, labels: np.ndarray, *, logistic: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(coefficients, means, weights) with a ridge of 1e-6."""
    ridge = 1e-6 * np.eye(design.shape[1])
    if not logistic:
        beta = np.linalg.solve(design.T @ design + ridge, design.T @ labels)
        return beta, design @ beta, np.ones(len(labels))
    beta = np.zeros(design.shape[1])
    for _ in range(200):
        mean = 1 / (1 + np.exp(-design @ beta))
        weight = mean * (1 - mean)
        beta = beta + 0.5 * np.linalg.solve(
            design.T @ (design * weight[:, None]) + ridge, design.T @ (labels - mean) - ridge @ beta
        )
    mean = 1 / (1 + np.exp(-design @ beta))
    return beta, mean, mean * (1 - mean)


def slope_and_variance(
    design: np.ndarray, seen: np.ndarray, labels: np.ndarray, mean: np.ndarray, weight: np.ndarray
) -> tuple[float, float]:
    """U, and V as the inverse of an entry of the inverse of the whole information, pair included."""
    whole = np.column_stack([design, seen])
    information = whole.T @ (whole * weight[:, None])
    information[:-1, :-1] += 1e-6 * np.eye(design.shape[1])
    return float(seen @ (labels - mean)), float(1 / np.linalg.inv(information)[-1, -1])
