"""Cluster a motif collection: average linkage of aligned motifs, and a representative of each cluster.

The similarity of two motifs is the correlation of their matrices in the best alignment without gaps, over all offsets
and both strands. Columns beyond the other motif correlate with nothing, so a short motif is like a longer one that
contains it only as far as it covers the longer one's information: half of a dimer is a cluster of its own, where
`motif.similarity`, the mean over the overlap alone, would call it the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc.errors import InputError
from satori_hpc.log import progress
from satori_hpc.motifs.motif import Motif

MOST = 20_000  # motifs; their distances are 1.6 GB, and linkage copies them
QUERIES, TARGETS = 64, 1024  # aligned at once, to limit memory
CLEAR = 1e-9  # by which the reverse complement must be more similar: palindromes are "+"
TIE = 9  # decimals to which similarities are compared
SITES = 100  # a motif of more sites weighs no more in a mean: its probabilities are then known to .05
COVERED = 0.5  # a mean extends from the first to the last column that so much of the weight of its cluster covers


@dataclass(frozen=True)
class Alignments:
    """The best alignment of each of Q motifs with each of N targets.

    Attributes:
        similarity: (Q, N) float64, between -1 and 1.
        reverse: (Q, N) bool, whether the query is reverse-complemented in it.
        offset: (Q, N) int64, column of the target at which the query, in that orientation, begins; may be negative.
    """

    similarity: np.ndarray
    reverse: np.ndarray
    offset: np.ndarray


def align(queries: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> Alignments:
    """Align every query, on either strand, with every target.

    Args:
        queries, targets: base probabilities, each (its width, 4).
    """
    shape = (len(queries), len(targets))
    found = Alignments(np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.int64))
    widths = np.array([len(query) for query in queries], dtype=np.int64)
    for first in range(0, len(targets), TARGETS):
        stacked = _stack(targets[first : first + TARGETS])
        some = slice(first, first + len(stacked))
        for width in np.unique(widths).tolist():
            # windows[n, p] are the columns of target n from p - (width - 1) on; columns beyond its ends are zero.
            padded = np.pad(stacked, ((0, 0), (width - 1, width - 1), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).swapaxes(2, 3)
            windows = windows.reshape(*windows.shape[:2], 4 * width)
            rows = np.flatnonzero(widths == width)
            for begin in range(0, len(rows), QUERIES):
                block = rows[begin : begin + QUERIES]
                part = _align(_stack([queries[row] for row in block]), windows)
                found.similarity[block, some], found.reverse[block, some], found.offset[block, some] = part
    return found


def _stack(ppms: Sequence[np.ndarray]) -> np.ndarray:
    """Return centred matrices of length 1, (N, W, 4), zero beyond each motif's width; flat motifs are zero."""
    stacked = np.zeros((len(ppms), max((len(ppm) for ppm in ppms), default=0), 4))
    for row, ppm in zip(stacked, ppms, strict=True):
        centred = ppm - np.mean(ppm, axis=1, keepdims=True)
        row[: len(ppm)] = centred / max(float(np.linalg.norm(centred)), 1e-12)
    return stacked


def _align(queries: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return similarity, reverse and offset, each (queries, targets), of queries (Q, width, 4)."""
    best, place = [], []
    for strand in (queries, queries[:, ::-1, ::-1]):
        products = np.tensordot(strand.reshape(len(queries), -1), windows, axes=(1, 2))  # (queries, targets, places)
        place.append(products.argmax(axis=2))
        best.append(products.max(axis=2))
    reverse = best[1] > best[0] + CLEAR
    return np.where(reverse, *best[::-1]), reverse, np.where(reverse, *place[::-1]) - (queries.shape[1] - 1)


@dataclass(frozen=True)
class Member:
    """A motif of a cluster, aligned with the representative.

    Attributes:
        number: of the motif in the collection.
        strand: "+" or "-", its orientation in the alignment.
        offset: column of the representative at which it begins, in that orientation; may be negative.
        similarity: to the representative.
    """

    number: int
    strand: str
    offset: int
    similarity: float


@dataclass(frozen=True)
class Cluster:
    """Similar motifs.

    Attributes:
        representative: the motif that stands for them.
        medoid: number of the motif in the collection whose mean similarity to the others is the largest.
        members: from the most similar to the representative to the least; the medoid comes first.
    """

    representative: Motif
    medoid: int
    members: list[Member]


def distances(motifs: Sequence[Motif]) -> np.ndarray:
    """Return 1 - similarity of all pairs, float64 (N (N - 1) / 2,), in the order of scipy's condensed matrices.

    Raises:
        InputError: more motifs than `MOST`.
    """
    if len(motifs) > MOST:
        raise InputError(
            f"{len(motifs):,} motifs, expected at most {MOST:,}: cluster those of fewer files or taxonomic groups, and "
            "then their representatives together"
        )
    ppms = [item.ppm for item in motifs]
    found = np.empty(len(ppms) * (len(ppms) - 1) // 2)
    for first in progress(range(0, len(ppms), TARGETS), what="comparing", unit="block"):
        similarity = align(ppms[first : first + TARGETS], ppms[first:]).similarity
        for row in range(len(similarity)):
            begin = _condensed(len(ppms), first + row)
            values = similarity[row, row + 1 :]
            found[begin : begin + len(values)] = values
    np.round(found, TIE, out=found)
    return np.subtract(1, found, out=found)


def _condensed(count: int, row: int) -> int:
    """Return the place of the first pair of a row in a condensed matrix."""
    return row * (2 * count - row - 1) // 2


def linkage(distance: np.ndarray) -> np.ndarray:
    """Return the tree of average linkage, as scipy's, (N - 1, 4), of condensed distances."""
    from scipy.cluster import hierarchy

    if not len(distance):
        return np.empty((0, 4))
    tree: np.ndarray = hierarchy.linkage(distance, method="average")
    return tree


def count_at(tree: np.ndarray, similarity: float) -> int:
    """Return the number of clusters whose mean similarity is at least this where they were merged."""
    return len(tree) + 1 - int((np.round(tree[:, 2], TIE) <= round(1 - similarity, TIE)).sum())


def cut(tree: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the motifs of each of `count` clusters, int64, those of the first motif first."""
    groups: dict[int, list[int]] = {number: [number] for number in range(len(tree) + 1)}
    for step, (left, right) in enumerate(tree[: len(tree) + 1 - count, :2].astype(int).tolist()):
        groups[len(tree) + 1 + step] = groups.pop(left) + groups.pop(right)
    return sorted((np.sort(group) for group in groups.values()), key=lambda group: int(group[0]))


def cluster(
    motifs: Sequence[Motif], distance: np.ndarray, groups: Sequence[np.ndarray], *, merged: bool
) -> list[Cluster]:
    """Find the representative of each group of motifs and align its members with it.

    Args:
        motifs: N, the collection.
        distance: of `distances`.
        groups: of `cut`.
        merged: representatives are means of aligned motifs, not medoids. A mean has the name of the medoid and a number
            of its own ("cluster7") as identifier.

    Returns:
        the clusters, the largest first, then in the order of the collection.
    """
    found = []
    for rank, group in enumerate(sorted(groups, key=lambda group: (-len(group), int(group[0]))), start=1):
        medoid = _medoid(distance, group, len(motifs))
        representative = motifs[medoid]
        if merged and len(group) > 1:
            representative = _mean([motifs[number] for number in group], representative, identifier=f"cluster{rank}")
        aligned = align([motifs[number].ppm for number in group], [representative.ppm])
        members = [
            Member(int(number), "-" if reverse else "+", int(offset), round(float(similarity), TIE))
            for number, reverse, offset, similarity in zip(
                group, aligned.reverse[:, 0], aligned.offset[:, 0], aligned.similarity[:, 0], strict=True
            )
        ]
        members.sort(key=lambda member: (member.number != medoid, -member.similarity, member.number))
        found.append(Cluster(representative, medoid, members))
    return found


def _medoid(distance: np.ndarray, group: np.ndarray, count: int) -> int:
    """Return the motif with the smallest sum of distances to the others of its group; of several the first."""
    sums = np.zeros(len(group))
    for i, number in enumerate(group[:-1].tolist()):
        others = group[i + 1 :]
        values = distance[_condensed(count, number) + others - number - 1]
        sums[i] += values.sum()
        sums[i + 1 :] += values
    return int(group[np.round(sums, TIE).argmin()])


def _mean(motifs: Sequence[Motif], centre: Motif, *, identifier: str) -> Motif:
    """Return the mean of motifs aligned with one of them, each weighted by its sites, at most `SITES`."""
    aligned = align([item.ppm for item in motifs], [centre.ppm])
    begins = aligned.offset[:, 0]
    first, last = int(begins.min()), max(int(begin) + item.width for begin, item in zip(begins, motifs, strict=True))
    total, weights = np.zeros((last - first, 4)), np.zeros(last - first)
    for item, begin, reverse in zip(motifs, begins - first, aligned.reverse[:, 0], strict=True):
        weight = min(item.sites, SITES)
        total[begin : begin + item.width] += weight * (item.ppm[::-1, ::-1] if reverse else item.ppm)
        weights[begin : begin + item.width] += weight
    covered = np.flatnonzero(weights >= COVERED * sum(min(item.sites, SITES) for item in motifs))
    kept = slice(int(covered[0]), int(covered[-1]) + 1)
    return Motif(
        name=centre.name,
        ppm=total[kept] / weights[kept, None],
        sites=sum(item.sites for item in motifs),
        identifier=identifier,
        family=centre.family,
    )
