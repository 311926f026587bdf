"""Compare motifs with known motifs by Tomtom (Gupta et al. 2007) through memelite, with q-values.

Euclidean distance of columns, complete scores, each orientation of a known motif is a separate test.
"""

from dataclasses import dataclass

import numpy as np

from satori_hpc.log import logger
from satori_hpc.motifs import motif
from satori_hpc.motifs.motif import Motif

FEW_TARGETS = 50
SHUFFLED = int.from_bytes(b"cols", "big")
COPIES = 59  # with columns in random orders
REDRAWN = 20
SAME = 0.5  # largest summed difference of base probabilities in any column
AT_ONCE = 1000  # queries, to limit the memory of memelite


@dataclass(frozen=True)
class Matches:
    """The better orientation of every known motif for every query.

    Attributes:
        p: (Q, N) float64, the smaller of the two orientations' p-values.
        reverse: (Q, N) bool, the reverse complement of the known motif matched better; a draw is forward.
        offset: (Q, N) int32, the column of the known motif, in that orientation, aligned with column 0 of the
            query; negative when the query begins before it.
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
        bits: information of the known motif's columns aligned with the query.
        chance: fraction of the query's column-shuffled copies whose best match is as good.
    """

    target: int
    p: float
    q: float
    strand: str
    offset: int
    ties: int
    bits: float
    chance: float


def compare(queries: list[np.ndarray], targets: list[np.ndarray], *, threads: int = 1) -> Matches:
    """Run Tomtom of every query against every known motif in both orientations.

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
    begins = range(0, len(queries), AT_ONCE)
    parts = [_memelite(queries[begin : begin + AT_ONCE], both, threads)[:3] for begin in begins]
    p, score, offset = (np.concatenate(each) for each in zip(*parts, strict=True))
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


def best(
    queries: list[np.ndarray], known: list[Motif], *, trim_bits: float = 0.0, min_bits: float = 0.0, threads: int = 1
) -> list[Best]:
    """Find the known motif that every query is most like; of several, the first by name, then by identifier.

    Flat columns match flat columns: a query with uninformative flanks finds the flat middle of wide motifs such as
    CTCF with p below 1e-9. So flanks are cut off (`trim_bits`), and known motifs of which little information lies under
    the query are passed over (`min_bits`), unless there is no other.

    Columns of motifs are not as independent as p-values take them to be, and some known motifs have small ones by
    chance more often than others. So all queries are compared again with their columns in random orders: known motifs
    are ranked by how many of these copies match them as well, then by p; and `chance` says how many copies of its own
    have as good a best match as the query.

    Args:
        queries: Q arrays (w, 4).
        known: N motifs, N > 0.
        trim_bits: flanking columns of a query with less information are trimmed before the comparison; offsets still
            refer to the whole query.
        min_bits: information of the known motif's columns under the query that a match needs.
        threads: of numba.
    """
    cores = [motif.core(query, trim_bits) for query in queries]
    cut = [query[core] for query, core in zip(queries, cores, strict=True)]
    copies = [copy for row, query in enumerate(cut) for copy in _copies(query, np.random.default_rng([SHUFFLED, row]))]
    every = [*cut, *copies]
    matches = compare(every, [item.ppm for item in known], threads=threads)
    bits = _bits_under([item.ppm for item in known], matches, np.array([len(query) for query in every], dtype=np.int64))
    q = q_values(matches.p[: len(cut)])
    p = np.where((bits >= min_bits) | (bits < min_bits).all(axis=1, keepdims=True), matches.p, np.inf)
    rank = _calibrated(p, queries=len(cut))
    smallest = rank.min(axis=1)
    own = smallest[len(cut) :].reshape(len(cut), COPIES)
    alphabetical = sorted(range(len(known)), key=lambda i: (known[i].name, known[i].identifier))
    chosen = []
    for row, core in enumerate(cores):
        tied = rank[row] == smallest[row]
        target = next(i for i in alphabetical if tied[i])
        chosen.append(
            Best(
                target=target,
                p=float(p[row, target]),
                q=float(q[row, target]),
                strand="-" if matches.reverse[row, target] else "+",
                offset=int(matches.offset[row, target]) - core.start,
                ties=int(tied.sum()) - 1,
                bits=float(bits[row, target]),
                chance=float(np.mean(own[row] <= smallest[row])),
            )
        )
    return chosen


def _copies(query: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle columns of copies; a copy equal to the query, on either strand, is drawn again."""
    itself = np.stack([query, motif.reverse_complement(query)])
    found = []
    for _ in range(COPIES):
        for _ in range(REDRAWN):
            copy = query[rng.permutation(len(query))]
            if np.abs(copy - itself).sum(axis=2).max(axis=1).min() > SAME:
                break
        found.append(copy)
    return found


def _calibrated(p: np.ndarray, *, queries: int) -> np.ndarray:
    """Rank p-values (Q + copies, N), inf = none: by the copies that match the known motif as well, then by p."""
    of_copies = np.sort(p[queries:], axis=0)
    beaten = np.empty_like(p)
    for target in range(p.shape[1]):
        beaten[:, target] = np.searchsorted(of_copies[:, target], p[:, target], side="right")
    beaten[:queries] += 1  # as a copy counts itself
    found: np.ndarray = np.where(np.isinf(p), np.inf, 2 * beaten + np.minimum(p, 1))
    return found


def _bits_under(targets: list[np.ndarray], matches: Matches, widths: np.ndarray) -> np.ndarray:
    """Return the information of the columns of every known motif aligned with every query, bits, (Q, N).

    Args:
        targets: N arrays (w, 4).
        matches: Q queries against them.
        widths: (Q,) of the queries.
    """
    longest = max(len(target) for target in targets)
    up_to = np.zeros((2, len(targets), longest + 1))  # information of the first columns, of either orientation
    for number, target in enumerate(targets):
        information = motif.information(target)
        for side, columns in enumerate((information, information[::-1])):
            up_to[side, number, 1 : len(target) + 1] = columns.cumsum()
            up_to[side, number, len(target) + 1 :] = columns.sum()
    orientation, column = matches.reverse.astype(np.intp), np.arange(len(targets))
    begin = np.clip(matches.offset, 0, longest)
    end = np.clip(matches.offset + widths[:, None], 0, longest)
    found: np.ndarray = up_to[orientation, column, end] - up_to[orientation, column, begin]
    return found
