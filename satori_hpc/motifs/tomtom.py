"""Which known motif a motif resembles: Tomtom (Gupta et al. 2007) through memelite, with q-values.

Euclidean distance of columns, complete scores, each orientation of a known motif is a separate test.
"""

from dataclasses import dataclass

import numpy as np

from satori_hpc.log import logger
from satori_hpc.motifs import motif
from satori_hpc.motifs.motif import Motif

FEW_TARGETS = 50


@dataclass(frozen=True)
class Matches:
    """The better orientation of every known motif for every query.

    Attributes:
        p: (Q, N) float64, the smaller of the two orientations' p-values.
        reverse: (Q, N) bool, the reverse complement of the known motif matched better; a draw is forward.
        offset: (Q, N) int32, the column of the known motif, in that orientation, on which column 0 of the query
            lies; negative when the query begins before it.
    """

    p: np.ndarray
    reverse: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Best:
    """The best match of one query.

    Attributes:
        target: its number in the list of known motifs.
        p, q: of this match; q over both orientations of all known motifs.
        strand: "+" or "-", the orientation of the known motif.
        offset: as in Matches.
        ties: other known motifs with the same p.
        bits: information of the known motif's columns under the query.
    """

    target: int
    p: float
    q: float
    strand: str
    offset: int
    ties: int
    bits: float


def compare(queries: list[np.ndarray], targets: list[np.ndarray], *, threads: int = 1) -> Matches:
    """Return tomtom of every query against every known motif in both orientations.

    The null of a query column is its distances to all columns of all known motifs and of their reverse complements.
    memelite itself reports 1 - (1 - p)^2 for the better of two orientations; here each orientation keeps its own p,
    since `q_values` counts both as tests.

    Args:
        queries: Q arrays (w, 4) of base probabilities.
        targets: N arrays (w, 4).
        threads: of numba.
    """
    shape = (len(queries), len(targets))
    if not queries or not targets:
        return Matches(np.ones(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.int32))
    if len(targets) < FEW_TARGETS:
        logger.warning(
            "only %d known motifs: Tomtom draws its null from their columns, so p-values mean little below %d",
            len(targets),
            FEW_TARGETS,
        )
    logger.info(
        "Tomtom: %d motifs against %d known ones (the first time on a machine it compiles for a minute or two)", *shape
    )
    both = [*targets, *(motif.reverse_complement(target) for target in targets)]
    p, score, offset = _memelite(queries, both, threads)[:3]
    n = len(targets)
    reverse = score[:, n:] > score[:, :n]
    return Matches(
        p=np.clip(np.where(reverse, p[:, n:], p[:, :n]), 0.0, 1.0),
        reverse=reverse,
        offset=np.where(reverse, offset[:, n:], offset[:, :n]).astype(np.int32),
    )


def _memelite(queries: list[np.ndarray], targets: list[np.ndarray], threads: int) -> np.ndarray:
    """Return (5, Q, targets): p, score, offset, overlap, strand of the targets, unchanged."""
    # Imported here: numba takes seconds to load, which every other command would pay.
    import warnings

    import numba
    from memelite import tomtom

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="tomtom was given")  # said above, in our words
        result: np.ndarray = tomtom(
            [np.ascontiguousarray(query.T, dtype=np.float64) for query in queries],
            [np.ascontiguousarray(target.T, dtype=np.float64) for target in targets],
            reverse_complement=False,
            # No merging of similar columns: it is no faster here and moves small p-values by orders of magnitude.
            n_target_bins=None,
            n_jobs=max(1, min(threads, numba.config.NUMBA_NUM_THREADS)),  # type: ignore[attr-defined]
        )
    return result


def q_values(p: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg per query over both orientations of every known motif, with pi0 = 1.

    m = 2 N tests, of which the better orientation of each known motif is in the list and the other counts as p = 1:
    with p_(1) <= ... <= p_(N), q_(i) = min over j >= i of min(1, p_(j) * 2 N / j). Tomtom's own q-values are pi0
    times these.

    Args:
        p: (Q, N) p-values of the better orientations.

    Returns:
        (Q, N) float64.
    """
    p = np.asarray(p, dtype=np.float64)
    targets = p.shape[1]
    order = np.argsort(p, axis=1, kind="stable")
    scaled = np.take_along_axis(p, order, axis=1) * (2 * targets) / np.arange(1, targets + 1)
    monotone = np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
    q = np.empty_like(p)
    np.put_along_axis(q, order, np.minimum(monotone, 1.0), axis=1)
    return q


def best(queries: list[np.ndarray], known: list[Motif], *, trim_bits: float = 0.0, threads: int = 1) -> list[Best]:
    """Return the known motif with the smallest p for every query; of several, the first by name, then by identifier.

    Flat columns match flat columns: a query with uninformative flanks finds flat centres of wide motifs such as
    CTCF with p below 1e-9. Cutting the flanks off for the comparison (`trim_bits`) and asking for information under
    the match (`bits`) keep such a match from giving a name.

    Args:
        queries: Q arrays (w, 4).
        known: N motifs, N > 0.
        trim_bits: flanking columns of a query with less information are trimmed before the comparison; offsets still
            refer to the whole query.
        threads: of numba.
    """
    cores = [motif.core(query, trim_bits) for query in queries]
    cut = [query[core] for query, core in zip(queries, cores, strict=True)]
    matches = compare(cut, [item.ppm for item in known], threads=threads)
    q = q_values(matches.p)
    alphabetical = sorted(range(len(known)), key=lambda i: (known[i].name, known[i].identifier))
    chosen = []
    for row, core in enumerate(cores):
        p = matches.p[row]
        tied = p == p.min()
        target = next(i for i in alphabetical if tied[i])
        offset, reverse = int(matches.offset[row, target]), bool(matches.reverse[row, target])
        chosen.append(
            Best(
                target=target,
                p=float(p[target]),
                q=float(q[row, target]),
                strand="-" if reverse else "+",
                offset=offset - core.start,
                ties=int(tied.sum()) - 1,
                bits=_bits_under(known[target].ppm, reverse=reverse, begin=offset, width=len(cut[row])),
            )
        )
    return chosen


def _bits_under(ppm: np.ndarray, *, reverse: bool, begin: int, width: int) -> float:
    """Return the information of the columns of a known motif that are aligned with a query, bits."""
    oriented = motif.reverse_complement(ppm) if reverse else ppm
    return float(motif.information(oriented[max(0, begin) : max(0, begin + width)]).sum())
