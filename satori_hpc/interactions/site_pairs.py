"""Form pairs of sites: the only place that decides which sites of an example are a pair of two units.

Pairs of units are tested. A unit is a motif (learned filter or known motif), or a TF or family with all its motifs. Its
sites are pooled in every example before any test. The rules:

- Overlap: of the sites of TFs or families, learned filters' or known motifs', those that overlap compete, and the
  strongest keeps the place (`compete`); related motifs on one place make no pair. Pairs of motifs are as published.
- Distance: site pairs further apart than a statistic looks at (reduce.max_distance) are left out before one is chosen.
- Strand and order: any. Tests of spacing ask for preferences (`interactions.spacing`).
- Of the site pairs that are left the largest represents the two units, or their sum (reduce.combine). A unit makes no
  pair with itself.

Dask's workers import this module; it loads neither torch nor anything else of the network.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from satori_hpc import pairs
from satori_hpc.errors import SatoriError
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.scoring.site_scores import FIRST, LARGEST, LARGEST_SIZE, SiteScores

ROWS = 256  # examples whose pairs are laid out at a time
MISSING_DISTANCE = -(2**15)
NONE = -1  # unit of motifs that are of no unit; number of a site that is not there
LOW_BITS = 2**32 - 1
NOTHING = -(2**63) + 2**33  # below the key of every number, and not a number too small when sites are taken off
MOST_SITES = 2**16  # of an example
_COMPILING = threading.Lock()
CHOICES = {LARGEST_SIZE: 1, FIRST: 2}  # every other: the largest


@dataclass(frozen=True)
class Units:
    """Assign motifs to units, and combine the scores of site pairs into the score of two units in an example.

    Attributes:
        of_motif: the unit of each motif, NONE = of none; units are 0, 1, ...
        count: how many units there are.
        combine: "largest" pair of sites, or the "sum" over all of them (position and distance are the largest's).
        widths: bp of the sites of each motif, where sites that overlap compete; empty: they do not.
    """

    of_motif: tuple[int, ...]
    count: int
    combine: str = "largest"
    widths: tuple[int, ...] = ()

    @staticmethod
    def motifs(count: int, combine: str = "largest") -> "Units":
        """Make every motif its own unit."""
        return Units(tuple(range(count)), count, combine)

    @property
    def pairs(self) -> int:
        """How many pairs of different units there are, numbered as in satori_hpc.pairs."""
        return pairs.count(self.count)


@dataclass(frozen=True)
class PairBlock:
    """Scores of some pairs of units in some examples.

    Attributes:
        score: float32 (rows, n), NaN = the pair was not observed.
        first, second: int32 (rows, n), the two sites that represent the pair, of the smaller and the larger unit, by
            their numbers in `scores`; NONE where the pair was not observed.
        scores: the partition that the examples are of.
        entry: int64 (examples, 2), number of the first place and of the first value of each example in `scores`.
        rows: which examples of the partition these are.
        directed: whether values have a direction.
        everywhere: the same scores with sites at any distance, (rows, n); as `score` where none is too far.
    """

    score: np.ndarray
    first: np.ndarray
    second: np.ndarray
    scores: SiteScores
    entry: np.ndarray
    rows: slice
    directed: bool
    everywhere: Callable[[], np.ndarray]

    def far(self) -> np.ndarray:
        """Return float32 (rows, n): scores of pairs that have sites in an example, but only too far apart."""
        return np.where(np.isnan(self.score), self.everywhere(), np.float32(np.nan))

    def distance(self) -> np.ndarray:
        """Return int16 (rows, n): start of the larger unit's site minus that of the smaller's, bp.

        MISSING_DISTANCE = none.
        """
        start = self.scores.site[:, 1].astype(np.int32)
        if not len(start):
            return np.full(self.score.shape, MISSING_DISTANCE, np.int16)
        apart = start[self.second] - start[self.first]
        return np.where(self.first == NONE, MISSING_DISTANCE, apart).astype(np.int16)

    def effects(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 (rows, n) twice: an array over places at the places of the two sites; NaN = missing."""
        values = self.scores.effects[name]
        return self._of_place(values, self.first), self._of_place(values, self.second)

    def between(self, name: str) -> np.ndarray:
        """Return float32 (rows, n): a further array between the places of the two sites.

        Directed: the larger magnitude.
        """
        values = self.scores.extras[name]
        there = self.first != NONE
        row, column = np.nonzero(there)
        places = self.scores.counts[self.rows, 1].astype(np.int64)[row]
        offset = self.entry[self.rows, 1][row]
        i, u = (self.scores.site[side[there], 3].astype(np.int64) for side in (self.first, self.second))
        out = np.full(self.score.shape, np.nan, np.float32)
        if self.directed:
            found = np.maximum(np.abs(values[offset + i * places + u]), np.abs(values[offset + u * places + i]))
        else:
            low, high = np.minimum(i, u), np.maximum(i, u)
            found = values[offset + low * (2 * places - low - 1) // 2 + high - low - 1]
        out[row, column] = found
        return out

    def _of_place(self, values: np.ndarray, site: np.ndarray) -> np.ndarray:
        there = site != NONE
        out = np.full(site.shape, np.nan, np.float32)
        first = self.entry[self.rows, 0][np.nonzero(there)[0]]
        out[there] = values[first + self.scores.site[site[there], 3]]
        return out


class Space:
    """Memory in which pairs are laid out, used again and again: fresh pages cost more than the work.

    Args:
        rows, width: examples and pairs at a time, at most.
    """

    def __init__(self, rows: int, width: int) -> None:
        self._score = np.empty(rows * width, np.float32)
        self._sites = np.empty(2 * rows * width, np.int32)

    def cleared(self, rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (rows, width), all NaN, and sites (2, rows, width), all NONE."""
        score = self._score[: rows * width].reshape(rows, width)
        sites = self._sites[: 2 * rows * width].reshape(2, rows, width)
        score.fill(np.nan)
        sites.fill(NONE)
        return score, sites


class Partition:
    """The examples of a partition, their sites sorted by unit, to be laid out as pairs.

    Args:
        scores: of the partition.
        units: which sites are pooled.
        choose: which site pair represents two units; of the store.
        directed: whether values have a direction; of the store.
        max_distance: sites further apart, bp (start to start), are no pair; 0 = any distance.

    Raises:
        SatoriError: an example has more sites than can be numbered.
    """

    def __init__(self, scores: SiteScores, units: Units, *, choose: str, directed: bool, max_distance: int = 0) -> None:
        self.scores, self.units, self._max_distance = scores, units, max_distance
        self._choice, self._directed = CHOICES.get(choose, 0), directed
        counts = scores.counts.astype(np.int64)
        between = counts[:, 1] ** 2 if directed else counts[:, 1] * (counts[:, 1] - 1) // 2
        self._entry = np.cumsum(np.stack([counts[:, 1], between], axis=1), axis=0)
        self._entry -= np.stack([counts[:, 1], between], axis=1)
        # Always contiguous and read-only: arrays of another type would make the loop below recompile.
        self._places, self._values_at = (each[:, 1].copy() for each in (scores.counts, self._entry))
        self._place_at, self._place_start = self._entry[:, 0].copy(), scores.place.astype(np.int32)
        self._value = scores.value.view()
        self._value.flags.writeable = False
        of_motif = np.array(units.of_motif, dtype=np.int32)
        example = np.repeat(np.arange(len(counts)), counts[:, 0])
        unit = of_motif[scores.site[:, 0]] if len(scores.site) else np.zeros(0, np.int32)
        order = np.lexsort((scores.site[:, 0], scores.site[:, 3], unit, example))
        order = order[unit[order] != NONE]
        if units.widths:
            order = order[compete(scores, order, example, np.array(units.widths, np.int64))]
        self._site = order.astype(np.int32)
        self._unit, self._place = unit[order], scores.site[order, 3].astype(np.int32)
        self._start = np.searchsorted(example[order], np.arange(len(counts) + 1))
        most = int(np.diff(self._start).max(initial=0))
        if most > MOST_SITES:
            raise SatoriError(
                f"a sequence has {most:,} sites, pairs of at most {MOST_SITES:,} can be laid out; raise "
                "motifs.threshold in run.toml, or score shorter sequences"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def block(
        self, first: int, last: int, rows: slice, space: "Space | None" = None, *, any_distance: bool = False
    ) -> PairBlock:
        """Return the pairs [first, last) of some examples.

        The block is valid until the next one is written to the same space. With `any_distance` sites may be further
        apart than max_distance.
        """
        size = (rows.stop - rows.start, last - first)
        add = self.units.combine == "sum"
        score, sites = (space or Space(*size)).cleared(*size)
        total = np.full(size if add else (0, 0), np.nan)
        compiled()(
            self._start,
            self._unit,
            self._place,
            self._site,
            self._places,
            self._values_at,
            self._value,
            self._place_at,
            self._place_start,
            0 if any_distance else self._max_distance,
            self.units.count,
            self._choice,
            self._directed,
            first,
            last,
            rows.start,
            score,
            sites[0],
            sites[1],
            total,
        )
        if add:
            score = total.astype(np.float32)
        return PairBlock(
            score,
            sites[0],
            sites[1],
            self.scores,
            self._entry,
            rows,
            self._directed,
            lambda: self.block(first, last, rows, any_distance=True).score,
        )

    def blocks(self, first: int, last: int, *, rows: int = ROWS, space: "Space | None" = None) -> Iterator[PairBlock]:
        """Return the pairs [first, last) of all examples, some examples at a time, each block good until the next."""
        space = space or Space(min(rows, len(self)), last - first)
        for begin in range(0, len(self), rows):
            yield self.block(first, last, slice(begin, min(begin + rows, len(self))), space)


def compete(scores: SiteScores, chosen: np.ndarray, example: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Resolve overlapping sites: bool (chosen,), whether a site keeps its place.

    In each example sites are taken by strength, then start, then motif. One that overlaps a site that has its place by
    more than a quarter of the shorter of the two has none.

    Args:
        scores: with the sites.
        chosen: int64, numbers of those that compete.
        example: int64 (sites,), of every site, rising.
        widths: int64 (motifs,), bp.
    """
    motif, start = (scores.site[chosen, column].astype(np.int64) for column in (0, 1))
    order = np.lexsort((motif, start, -scores.strength[chosen], example[chosen]))
    owner = motif_hits.owners(example[chosen], start, start + widths[motif], order)
    kept: np.ndarray = owner == np.arange(len(chosen))
    return kept


def compiled() -> Callable[..., None]:
    """Return the loop below, compiled when first needed."""
    with _COMPILING:  # several threads may come here at once
        return _compiled()


@functools.cache
def _compiled() -> Callable[..., None]:
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_lay_out)


def warm_up() -> None:
    """Compile now, for instance before threads start that would all wait for it."""
    empty = SiteScores(
        np.zeros((1, 2), np.int32),
        np.zeros((0, 4), np.int16),
        np.zeros(0, np.float32),
        np.zeros(0, np.int16),
        np.zeros(0, np.float32),
    )
    for directed in (False, True):
        Partition(empty, Units((0, 1), 2, widths=(1, 1)), choose=LARGEST, directed=directed).block(0, 1, slice(0, 1))


def _lay_out(
    start: np.ndarray,
    unit: np.ndarray,
    place: np.ndarray,
    site: np.ndarray,
    places: np.ndarray,
    entry: np.ndarray,
    value: np.ndarray,
    place_at: np.ndarray,
    place_start: np.ndarray,
    max_distance: int,
    units: int,
    choice: int,
    directed: bool,
    first: int,
    last: int,
    begin: int,
    score: np.ndarray,
    site_a: np.ndarray,
    site_b: np.ndarray,
    total: np.ndarray,
) -> None:
    """Visit every pair of sites of two different units once.

    Of equal values the first counts, by place, then motif.

    The ranking value and the two sites are packed into one 64-bit key, so that the largest is found without branching:
    the order-preserving image of a float32 (the value, its size, or the order in which a loop over the places meets
    it) above, 2^32 - 1 - (first site << 16 | second site), as numbers within the example, below.
    """
    most = np.int64(places.max()) if len(places) else 0
    held = np.empty((most, most), np.float32)
    keys = np.empty((most, most), np.int64)
    to_run = np.empty((most, units), np.int64)
    unit_at, run_start, best = np.empty(units, np.int64), np.empty(units + 1, np.int64), np.empty(units, np.int64)
    for row in range(len(score)):
        example = begin + row
        size, offset = np.int64(places[example]), entry[example]
        begin_site, sites = start[example], start[example + 1] - start[example]
        mine, at = unit[begin_site : begin_site + sites], place[begin_site : begin_site + sites]
        for i in range(size):
            keys[i, i] = NOTHING
            for u in range(i + 1, size):
                if not directed:
                    found = value[offset + i * (2 * size - i - 1) // 2 + u - i - 1]
                elif choice == 2:
                    found = abs(value[offset + i * size + u])
                else:
                    found = max(abs(value[offset + i * size + u]), abs(value[offset + u * size + i]))
                found += np.float32(0)  # minus zero equals zero
                held[i, u] = held[u, i] = found
                rank = found
                if choice == 1:
                    rank = abs(found)
                elif choice == 2:
                    rank = np.float32(-(i * size + u))
                key = np.int64(NOTHING)
                away = abs(place_start[place_at[example] + u] - place_start[place_at[example] + i])
                if not np.isnan(found) and (max_distance == 0 or away <= max_distance):
                    bits = np.int64(np.float32(rank).view(np.int32))
                    key = ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) << 32) + LOW_BITS
                keys[i, u] = keys[u, i] = key
        # First, for every place, over the sites of each unit; runs are the units present.
        runs = 0
        for y in range(sites):
            if y == 0 or mine[y] != mine[y - 1]:
                unit_at[runs], run_start[runs] = mine[y], y
                for i in range(size):
                    to_run[i, runs] = NOTHING
                runs += 1
            for i in range(size):
                to_run[i, runs - 1] = max(to_run[i, runs - 1], keys[i, at[y]] - y)
        run_start[runs] = sites
        # Then over the sites of the smaller unit, and out.
        for run in range(runs - 1):
            a = np.int64(unit_at[run])
            base = a * (2 * units - a - 1) // 2 - a - 1 - first
            low: Any = max(a + 1, -base)
            high: Any = min(units, last - first - base)
            if low >= high:
                continue
            left = run + 1 + np.searchsorted(unit_at[run + 1 : runs], low)
            right = run + 1 + np.searchsorted(unit_at[run + 1 : runs], high)
            for g in range(left, right):
                best[g] = NOTHING
            for z in range(run_start[run], run_start[run + 1]):
                of_place, number = to_run[at[z]], z << 16
                for g in range(left, right):
                    best[g] = max(best[g], of_place[g] - number)
            for g in range(left, right):
                key, column = best[g], base + unit_at[g]
                if key > NOTHING:
                    chosen = LOW_BITS - (key & LOW_BITS)
                    one, other = chosen >> 16, chosen & 0xFFFF
                    score[row, column] = held[at[one], at[other]]
                    site_a[row, column] = site[begin_site + one]
                    site_b[row, column] = site[begin_site + other]
                    if total.size:
                        total[row, column] = 0.0
                        for z in range(run_start[run], run_start[run + 1]):
                            for y in range(run_start[g], run_start[g + 1]):
                                if keys[at[z], at[y]] != NOTHING:
                                    total[row, column] += held[at[z], at[y]]
