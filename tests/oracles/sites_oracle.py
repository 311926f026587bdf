"""Sites, scores of site pairs and changed bins by looking at every position, pair and letter."""

import math

import numpy as np

MISSING = -32768


def sites(
    activations: np.ndarray, threshold: np.ndarray, *, padding: int, width: int, most: int, all_filters: bool
) -> list[tuple[int, set[int]]]:
    """[(position, filters)] of one sequence (F,L), rising."""
    filters, length = activations.shape
    candidates = []
    for j in range(length):
        for f in range(filters):
            inside = j - padding >= 0 and j - padding + width <= length
            if inside and activations[f, j] > threshold[f]:
                candidates.append((-(activations[f, j] / threshold[f]), j, f))
    chosen: list[tuple[int, set[int]]] = []
    for _, j, f in sorted(candidates):
        if len(chosen) < most and all(abs(j - other) >= width for other, _ in chosen):
            near = range(max(0, j - width // 2), min(length, j + width // 2 + 1))
            every = {g for g in range(filters) if any(activations[g, t] > threshold[g] for t in near)}
            chosen.append((j, every if all_filters else {f}))
    return sorted(chosen, key=lambda site: site[0])


def pair_scores(
    value: np.ndarray, places: list[tuple[int, set[int]]], *, filters: int, max_distance: int, combine: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int] | None]]:
    """Score, distance and position (P,) of one sequence, and the sites that gave them."""
    score, distance, position, which = [], [], [], []
    for a in range(filters):
        for b in range(a + 1, filters):
            best, total, entry = -1.0, 0.0, None
            for i, (start, at_start) in enumerate(places):
                for u, (end, at_end) in enumerate(places):
                    near = not max_distance or abs(end - start) <= max_distance
                    if i == u or a not in at_start or b not in at_end or not near or math.isnan(value[i, u]):
                        continue
                    total += float(value[i, u])
                    if abs(value[i, u]) > best:
                        best, entry = abs(value[i, u]), (i, u)
            which.append(entry)
            if entry is None:
                score.append(math.nan)
                distance.append(MISSING)
                position.append(MISSING)
            else:
                score.append(total if combine == "sum" else float(value[entry]))
                distance.append(places[entry[1]][0] - places[entry[0]][0])
                position.append(places[entry[0]][0])
    return np.array(score, np.float32), np.array(distance, np.int16), np.array(position, np.int16), which


def changed_bins(position: int, *, width: int, padding: int, pool: int, length: int) -> set[int]:
    """Bins any of whose activations sees a letter of the window at `position`."""
    letters = set(range(position - padding, position - padding + width))
    seen = {t: set(range(t - padding, t - padding + width)) for t in range(length // pool * pool)}
    return {t // pool for t, there in seen.items() if there & letters}
