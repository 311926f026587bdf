"""Sites pooled by unit the slow way: every pair of sites of every pair of units, in one example after the other."""

import numpy as np

from satori_hpc.scoring.site_scores import SiteScores


def pooled(scores: SiteScores, unit: list[int], units: int, *, combine: str) -> np.ndarray:
    """float32 (examples, pairs of units): the largest of the values between sites of both, or their sum; NaN = none.

    Args:
        scores: undirected.
        unit: of each motif, -1 = of none.
        units: how many there are.
        combine: "largest" or "sum".
    """
    out, first_site, first_value = [], 0, 0
    for sites, places in scores.counts.tolist():
        value = np.full((places, places), np.nan)
        for i in range(places):
            for u in range(i + 1, places):
                value[i, u] = value[u, i] = scores.value[first_value]
                first_value += 1
        mine = [(unit[motif], place) for motif, _, _, place in scores.site[first_site : first_site + sites].tolist()]
        first_site += sites
        row = []
        for a in range(units):
            for b in range(a + 1, units):
                found = [value[i, u] for of_i, i in mine if of_i == a for of_u, u in mine if of_u == b]
                found = [each for each in found if not np.isnan(each)]
                row.append(np.nan if not found else max(found) if combine == "largest" else sum(found))
        out.append(row)
    return np.array(out, np.float32).reshape(len(scores), units * (units - 1) // 2)
