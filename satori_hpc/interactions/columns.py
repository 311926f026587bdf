"""Observed values of many columns, gathered from blocks of rows in bounded memory.

The blocks come as stored, rows x columns with mostly missing values. Each is compacted at once,
column by column, so only observed values are held. When the memory is full, the last half of the columns
is given up, to be gathered in another run.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TILE = 8  # columns transposed together: half a cache line of float32, and a tile that stays in the first-level cache
MISSING_DISTANCE = -(2**15)
BINS = 1024  # distances counted at first, bp; more when larger ones come
ALL_BINS = 2**15


class Columns:
    """Values of a block of columns on several sides: foreground (0), background (1), and derived ones (2, ...).

    Args:
        width: columns; fewer after the memory was full.
        rows: of all sides together, at most.
        first: where these columns begin in the blocks.
        least: smaller values are dropped as if missing; NaN drops all.
        memory: bytes for the values, at least `needed_bytes` of one column; None = no limit.
        buffer: float32, to be used again: of `buffer_size` values at least.

    Attributes:
        width: columns still held.
    """

    def __init__(
        self,
        width: int,
        *,
        rows: int,
        first: int = 0,
        least: float = -np.inf,
        memory: int | None = None,
        buffer: np.ndarray | None = None,
    ) -> None:
        self.width = width
        self._first = first
        self._least = np.float32(least)
        self._memory = needed_bytes(width, rows=rows) if memory is None else memory
        # Pages that are never written take no memory.
        size = buffer_size(width, rows=rows, memory=self._memory)
        self._values = np.empty(size, np.float32) if buffer is None else buffer
        self._used = 0
        self._blocks: list[tuple[int, int, np.ndarray]] = []  # side, start in the buffer, int64 (width,) counts
        self._histogram = np.zeros((width, BINS + 1), np.int32)  # the last bin takes values that are not counted

    def add(
        self, side: int, block: np.ndarray, distance: np.ndarray | None = None, *, least: float | None = None
    ) -> None:
        """Gather a block of rows.

        Args:
            side: its number.
            block: float32 (rows, all columns), contiguous, NaN = missing.
            distance: int16, likewise, of the values, signed; its size is counted.
            least: in place of that of all sides.

        Raises:
            ValueError: the memory cannot hold one column, there are more rows than announced, or no float32 values.
        """
        if block.dtype != np.float32:
            raise ValueError(f"expected float32, found {block.dtype}")
        bins = self._bins(distance)
        while self._bytes(len(block), bins) > self._memory:
            if self.width <= 1:
                raise ValueError(f"{self._memory} bytes cannot hold one column")
            self._halve()
        if self._used + len(block) * self.width >= len(self._values):
            raise ValueError("more rows than were announced")
        counts = np.zeros(self.width, np.int64)
        where = (
            self._first,
            self._least if least is None else np.float32(least),
            self._values,
            self._used,
            counts,
        )
        if distance is None:
            used = compiled().gather(block, *where)
        else:
            self._widen(bins)
            used = compiled().gather_with_distance(block, distance, *where, self._histogram)
        self._blocks.append((side, self._used, counts))
        self._used = used

    def counts(self, side: int) -> np.ndarray:
        """Return int64 (width,): values held of each column."""
        total = np.zeros(self.width, np.int64)
        for _, _, counts in self._of(side):
            total += counts[: self.width]
        return total

    def sorted_keys(self, side: int) -> Callable[[int], np.ndarray]:
        """Return a function from column to its values as sorted int32 keys of the same order (inverse: `values_of`).

        The function reuses one buffer, so each result is valid until the next one.
        """
        collect = self._collector(side)

        def keys_of(column: int) -> np.ndarray:
            keys = collect(column)
            keys.sort()  # numpy's vector sort, which compiled code cannot reach
            return keys

        return keys_of

    def medians_and_largest(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 (width,) twice: median and largest value of each column; NaN where there is none."""
        collect = self._collector(side)
        found = np.zeros((self.width, 3), np.int32)
        for column in range(self.width):
            keys = collect(column)
            if len(keys):
                half = len(keys) // 2
                keys.partition(half)
                under = keys[half] if len(keys) % 2 else keys[:half].max()
                found[column] = under, keys[half], keys[half:].max()
        values = values_of(found).astype(np.float64)
        values[self.counts(side) == 0] = np.nan
        return values[:, :2].mean(axis=1), values[:, 2]

    def _collector(self, side: int) -> Callable[[int], np.ndarray]:
        """Return the same function, with unsorted values."""
        blocks = self._of(side)
        starts, counts = np.zeros((2, self.width, len(blocks)), np.int64)
        for piece, (_, start, found) in enumerate(blocks):
            counts[:, piece] = found[: self.width]
            starts[:, piece] = start + np.cumsum(counts[:, piece]) - counts[:, piece]
        out = np.empty(int(self.counts(side).max(initial=0)), np.int32)
        values = self._values.view(np.int32)
        collect = compiled().collect

        return lambda column: out[: collect(values, starts[column], counts[column], out)]

    def median_distances(self) -> np.ndarray:
        """Return float64 (width,): median size of each column's distances, from their counts.

        NaN where there are none.
        """
        found = np.full(self.width, np.nan)
        for column, counts in enumerate(self._histogram[: self.width, :-1]):
            cumulative = np.cumsum(counts, dtype=np.int64)
            total = int(cumulative[-1])
            if total:
                found[column] = np.searchsorted(cumulative, [(total - 1) // 2, total // 2], side="right").mean()
        return found

    def _of(self, side: int) -> list[tuple[int, int, np.ndarray]]:
        return [entry for entry in self._blocks if entry[0] == side]

    def _bytes(self, rows: int, bins: int) -> int:
        """Return the memory after a block of so many fully observed rows.

        Histograms are held twice while they grow.
        """
        return 4 * (self._used + rows * self.width) + 8 * self.width * (bins + 1)

    def _halve(self) -> None:
        """Drop the last half of the columns and close the gaps."""
        self.width = (self.width + 1) // 2
        self._histogram = self._histogram[: self.width].copy()
        used, kept = 0, []
        for side, start, counts in self._blocks:
            counts = counts[: self.width]
            size = int(counts.sum())
            self._values[used : used + size] = self._values[start : start + size]
            kept.append((side, used, counts))
            used += size
        self._blocks, self._used = kept, used

    def _bins(self, distance: np.ndarray | None) -> int:
        """Return bins that the histograms need for these distances."""
        bins = self._histogram.shape[1] - 1
        if distance is not None:
            # The size of -32,768 (missing) stays negative in 16 bits, so it is below every other.
            columns = distance[:, self._first : self._first + self.width]
            while bins <= int(np.abs(columns).max(initial=0)):
                bins *= 2
        return bins

    def _widen(self, bins: int) -> None:
        old = self._histogram.shape[1] - 1
        if bins > old:
            wider = np.zeros((self.width, bins + 1), np.int32)
            wider[:, :old] = self._histogram[:, :old]
            self._histogram = wider


def needed_bytes(width: int, *, rows: int) -> int:
    """Return the memory with which `Columns` never drops a column, even if everything is observed."""
    return 4 * rows * width + 8 * width * (ALL_BINS + 1)


def buffer_size(width: int, *, rows: int, memory: int) -> int:
    """Return values that the buffer of `Columns` must take.

    One more than are held, because the kernel writes before it checks.
    """
    return min(rows * width, memory // 4) + 1


def values_of(keys: np.ndarray) -> np.ndarray:
    """Return the float32 values of int32 keys."""
    return np.where(keys < 0, -keys | np.int32(-(2**31)), keys).view(np.float32)


class _Compiled(NamedTuple):
    gather: Callable[..., int]
    gather_with_distance: Callable[..., int]
    collect: Callable[..., int]


@functools.cache
def compiled() -> _Compiled:
    """Return the loops below, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return _Compiled(*(jit.compile_loops(loop) for loop in (_gather, _gather_with_distance, _collect)))


def _gather(block: np.ndarray, first: int, least: np.float32, values: np.ndarray, used: int, counts: np.ndarray) -> int:
    """Append each column's values that are at least `least` (no NaN is); the new end of `values`."""
    rows, width = len(block), len(counts)
    tile = np.empty((TILE, rows), np.float32)
    for begin in range(0, width, TILE):
        if begin + TILE <= width:
            for row in range(rows):
                for column in range(TILE):  # of a length known when compiled
                    tile[column, row] = block[row, first + begin + column]
        else:
            for row in range(rows):
                for column in range(width - begin):
                    tile[column, row] = block[row, first + begin + column]
        for column in range(min(TILE, width - begin)):
            end = used
            for row in range(rows):
                # Written even when missing, to be overwritten by the next: a store is cheaper than a branch.
                values[end] = tile[column, row]
                end += tile[column, row] >= least
            counts[begin + column] = end - used
            used = end
    return used


def _gather_with_distance(
    block: np.ndarray,
    distance: np.ndarray,
    first: int,
    least: np.float32,
    values: np.ndarray,
    used: int,
    counts: np.ndarray,
    histogram: np.ndarray,
) -> int:
    """Gather as above, and count the magnitudes of the distances of kept values; missing ones go to the last bin."""
    rows, width, bins = len(block), len(counts), histogram.shape[1] - 1
    tile, apart, sizes = np.empty((TILE, rows), np.float32), np.empty((TILE, rows), np.int16), np.empty(rows, np.int32)
    for begin in range(0, width, TILE):
        if begin + TILE <= width:
            for row in range(rows):
                for column in range(TILE):
                    tile[column, row] = block[row, first + begin + column]
                    apart[column, row] = distance[row, first + begin + column]
        else:
            for row in range(rows):
                for column in range(width - begin):
                    tile[column, row] = block[row, first + begin + column]
                    apart[column, row] = distance[row, first + begin + column]
        for column in range(min(TILE, width - begin)):
            end = used
            for row in range(rows):
                values[end] = tile[column, row]
                sizes[end - used] = abs(np.int32(apart[column, row]))
                end += tile[column, row] >= least
            bin_counts = histogram[begin + column]
            for size in sizes[: end - used]:
                bin_counts[min(size, bins)] += 1
            counts[begin + column] = end - used
            used = end
    return used


def _collect(bits: np.ndarray, starts: np.ndarray, counts: np.ndarray, out: np.ndarray) -> int:
    """Join one column's pieces of `bits` in `out`, mapping float32 to int32 of the same order; how many they are."""
    end = 0
    for piece in range(len(starts)):
        size = counts[piece]
        source, target = bits[starts[piece] : starts[piece] + size], out[end : end + size]
        for place in range(size):
            value = source[place]
            sign = value >> np.int32(31)  # 0 or -1; without a branch, so that the loop is done in vectors
            target[place] = ((value & np.int32(0x7FFFFFFF)) ^ sign) - sign
        end += size
    return end
