"""Sites pooled by unit the slow way: every pair of sites of every pair of units, in one example after the other."""

import numpy as np

from satori_hpc.scoring.site_scores import SiteScores


def winners(sites: list[list[int]], strength: list[float], unit: list[int], widths: list[int]) -> list[int]:
    """Numbers of the sites (motif, start, strand, place) that keep their place among those of any unit."""
    kept: list[int] = []
    order = sorted(range(len(sites)), key=lambda k: (-strength[k], sites[k][1], sites[k][0]))
    for k in order:
        motif, start = sites[k][:2]
        if unit[motif] < 0:
            continue
        shared = [min(start + widths[motif], sites[w][1] + widths[sites[w][0]]) - max(start, sites[w][1]) for w in kept]
        shorter = [min(widths[motif], widths[sites[w][0]]) for w in kept]
        if all(4 * common <= least for common, least in zip(shared, shorter, strict=True)):
            kept.append(k)
    return kept


def pooled(
    scores: SiteScores,
    unit: list[int],
    units: int,
    *,
    combine: str,
    widths: list[int] | None = None,
    max_distance: int = 0,
) -> np.ndarray:
    """float32 (examples, pairs of units): the largest of the values between sites of both, or their sum; NaN = none.

    Args:
        scores: undirected.
        unit: of each motif, -1 = of none.
        units: how many there are.
        combine: "largest" or "sum".
        widths: of the sites of each motif, where overlapping sites compete.
        max_distance: of two sites, bp; 0 = any.
    """
    out, first_site, first_value, first_place = [], 0, 0, 0
    for sites, places in scores.counts.tolist():
        value = np.full((places, places), np.nan)
        start = scores.place[first_place : first_place + places].astype(int)
        for i in range(places):
            for u in range(i + 1, places):
                if not max_distance or abs(start[i] - start[u]) <= max_distance:
                    value[i, u] = value[u, i] = scores.value[first_value]
                first_value += 1
        here = scores.site[first_site : first_site + sites].tolist()
        there = list(range(sites))
        if widths is not None:
            there = winners(here, scores.strength[first_site : first_site + sites].tolist(), unit, widths)
        mine = [(unit[here[k][0]], here[k][3]) for k in there]
        first_site, first_place = first_site + sites, first_place + places
        row = []
        for a in range(units):
            for b in range(a + 1, units):
                found = [value[i, u] for of_i, i in mine if of_i == a for of_u, u in mine if of_u == b]
                found = [each for each in found if not np.isnan(each)]
                row.append(np.nan if not found else max(found) if combine == "largest" else sum(found))
        out.append(row)
    return np.array(out, np.float32).reshape(len(scores), units * (units - 1) // 2)
