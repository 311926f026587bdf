"""Hits of known motifs in sequences: log-odds scores on both strands with exact p-values (the idea of FIMO)."""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from satori_hpc.motifs import motif
from satori_hpc.motifs.hits import Hits, stacked
from satori_hpc.motifs.motif import Motif

UNKNOWN = 4
STEPS_PER_BIT = 100
MOST_BITS = 100  # per base; tables of p-values grow with it
PSEUDOCOUNT = 0.8  # per column, shared out by the background
EXAMPLES_AT_ONCE = 256
MOTIFS_AT_ONCE = 128  # their tables of words stay in a processor's cache
WORD = 3  # bases scored by one table look-up
_SHIFTS = 5 ** np.arange(WORD)[::-1]
_COMPILING = threading.Lock()


@dataclass(frozen=True)
class Gate:
    """Thresholds of a hit: a minimal fraction of the motif's maximal score, and a maximal p-value.

    Attributes:
        share: of the largest score of the motif (SATORI 2.0, lqaf209: half); 0 = any positive score.
        p: largest p-value of a window on one strand, one for all motifs. The best word of a motif is a hit even where
            it is not as rare.
    """

    share: float = 0.5
    p: float = 1e-3


@dataclass(frozen=True, eq=False)
class MotifBank:
    """Scoring matrices (PSSMs) of a collection of motifs.

    Attributes:
        names: of the motifs.
        scores: one (w, 4) int32 array per motif, log-odds of bases in hundredths of a bit.
        background: (4,) base probabilities of a random window, the same on both strands.
    """

    names: tuple[str, ...]
    scores: tuple[np.ndarray, ...]
    background: np.ndarray

    @classmethod
    def from_motifs(cls, motifs: Sequence[Motif], *, background: np.ndarray = motif.UNIFORM) -> "MotifBank":
        """Convert motifs into log-odds against the background, averaged over its two strands."""
        both = (np.asarray(background, dtype=np.float64) + np.asarray(background)[::-1]) / 2
        return cls(tuple(item.name for item in motifs), tuple(log_odds(item, both) for item in motifs), both)

    def __len__(self) -> int:
        return len(self.names)

    def to_plain(self) -> dict[str, Any]:
        """Export as lists and numbers for JSON, exactly; `from_plain` reads them."""
        scores = [table.tolist() for table in self.scores]
        return {"names": list(self.names), "scores": scores, "background": self.background.tolist()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "MotifBank":
        """Import the output of `to_plain`.

        Raises:
            ValueError, KeyError, TypeError: it is nothing of the kind.
        """
        scores = tuple(np.array(table, dtype=np.int32) for table in plain["scores"])
        names, background = tuple(str(name) for name in plain["names"]), np.array(plain["background"], dtype=np.float64)
        if len(names) != len(scores) or any(table.ndim != 2 or table.shape[1] != 4 for table in scores):
            raise ValueError("motifs whose names and scores do not match")
        if any((np.abs(table) > MOST_BITS * STEPS_PER_BIT).any() for table in scores):
            raise ValueError(f"motifs with scores beyond {MOST_BITS} bits per letter")
        if background.shape != (4,) or not (background > 0).all():
            raise ValueError("motifs with an unusable background")
        return cls(names, scores, background)

    @functools.cached_property
    def widths(self) -> np.ndarray:
        """int64 (motifs,), bp."""
        return np.array([len(table) for table in self.scores], dtype=np.int64)

    @functools.cached_property
    def maxima(self) -> np.ndarray:
        """int64 (motifs,), the largest score of each motif."""
        return np.array([table.max(axis=1).sum() for table in self.scores], dtype=np.int64)

    @functools.cached_property
    def tails(self) -> tuple[np.ndarray, ...]:
        """-log10 P(score of a random window >= minimum + k) at entry k, one float64 array per motif."""
        with np.errstate(divide="ignore"):
            return tuple(-np.log10(tail(table, self.background)) for table in self.scores)

    def neg_log10_p(self, number: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Return -log10 p, float64, of scores of the motifs with these numbers."""
        return self._stacked_tails[self._tail_begin[number] + score]

    def least(self, gate: Gate) -> np.ndarray:
        """Return the smallest score of a hit, int64 (motifs,); above the maximum of motifs without any information."""
        rare = np.array(
            [
                table.min(axis=1).sum() + np.searchsorted(found, -np.log10(gate.p) - 1e-9)
                for table, found in zip(self.scores, self.tails, strict=True)
            ],
            dtype=np.int64,
        )
        share = np.floor(gate.share * self.maxima).astype(np.int64) + 1
        return np.maximum(np.minimum(np.maximum(share, rare), self.maxima), 1)  # flat motifs never score more than 0

    def scan(self, tokens: np.ndarray, gate: Gate = Gate(), *, threads: int = 1) -> Hits:
        """Find all hits; a motif has at most one per start, on its better strand (forward where they are equal).

        Every window within the sequence is scored; an unknown base scores 0. The same result for any
        number of threads.

        Args:
            tokens: (E, L) uint8, A, C, G, T, other = 0..4; anything that gives such arrays for slices of rows.
            gate: thresholds of a hit.
            threads: blocks of examples that are scanned at a time.
        """
        return Scanner(self, gate).scan(tokens, threads=threads)

    @functools.cached_property
    def _stacked_tails(self) -> np.ndarray:
        return np.concatenate(self.tails or (np.zeros(0),))

    @functools.cached_property
    def _tail_begin(self) -> np.ndarray:
        """Where in the stacked tails the score 0 of each motif would be."""
        lengths = np.array([len(found) for found in self.tails], dtype=np.int64)
        lowest = np.array([table.min(axis=1).sum() for table in self.scores], dtype=np.int64)
        return np.cumsum(lengths) - lengths - lowest


class Scanner:
    """Finds the hits of motifs that pass a gate, ready to scan many times.

    Args:
        bank: the motifs. gate: thresholds of a hit.

    Attributes:
        least: int64 (motifs,), the smallest score of a hit.
    """

    def __init__(self, bank: MotifBank, gate: Gate) -> None:
        self.bank = bank
        self.least = bank.least(gate)
        order = np.argsort(-bank.widths, kind="stable")  # wide motifs first
        cuts = range(0, len(order), MOTIFS_AT_ONCE)
        self._groups = [self._group(order[cut : cut + MOTIFS_AT_ONCE]) for cut in cuts]

    def scan(self, tokens: np.ndarray, *, threads: int = 1) -> Hits:
        """Return all hits in tokens (E, L) uint8; see MotifBank.scan."""
        begins = range(0, len(tokens), EXAMPLES_AT_ONCE)

        def block(begin: int) -> Hits:
            return self._block(np.ascontiguousarray(tokens[begin : begin + EXAMPLES_AT_ONCE]), begin)

        if threads <= 1 or len(begins) == 1:
            return stacked(map(block, begins))
        with ThreadPoolExecutor(max_workers=threads) as pool:
            return stacked(pool.map(block, begins))

    def _group(self, numbers: np.ndarray) -> "_Group":
        widths = self.bank.widths[numbers]
        chunks = -(-int(widths.max()) // WORD)
        letters = np.zeros((2, chunks * WORD, 5, len(numbers)), dtype=np.int32)  # base N stays 0
        for column, number in enumerate(numbers):
            table = self.bank.scores[number]
            for strand, oriented in enumerate((table, motif.reverse_complement(table))):
                letters[strand, : len(table), :4, column] = oriented
        words = np.zeros((chunks, 5**WORD, 2, len(numbers)), dtype=np.int32)
        for place in range(WORD):
            letter = np.arange(5**WORD) // _SHIFTS[place] % 5
            words += letters[:, place::WORD][:, :, letter].transpose(1, 2, 0, 3)
        reaching = np.array([np.count_nonzero(widths > chunk * WORD) for chunk in range(chunks)], dtype=np.int64)
        return _Group(numbers, widths, self.least[numbers].astype(np.int32), words, reaching)

    def _block(self, tokens: np.ndarray, first: int) -> Hits:
        """Find hits in some examples, the first of which has this number."""
        parts = [_scan(tokens, group) for group in self._groups]
        if not parts:
            return stacked([])
        example, start, number, strand, score = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.lexsort((number, start, example))
        number, score = number[order], score[order]
        return Hits(
            example=example[order] + first,
            start=start[order],
            end=start[order] + self.bank.widths[number],
            motif=number,
            strand=strand[order].astype(np.int8),
            score=score.astype(np.int32),
            neg_log10_p=self.bank.neg_log10_p(number, score),
        )


def log_odds(item: Motif, background: np.ndarray) -> np.ndarray:
    """Return log-odds of bases against the background, (w, 4) int32, in hundredths of a bit.

    q' = (n + c b) / (N + c) with base counts n, their sum N, background b and c = .8; probabilities without counts
    count as many sites as the motif says to have.
    """
    counts = item.ppm * item.sites if item.counts is None else np.asarray(item.counts, dtype=np.float64)
    smoothed = (counts + PSEUDOCOUNT * background) / (counts.sum(axis=1, keepdims=True) + PSEUDOCOUNT)
    return np.rint(STEPS_PER_BIT * np.log2(smoothed / background)).astype(np.int32)


def tail(table: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return p(score of a random window >= minimum + k) at entry k, float64 (maximum - minimum + 1,).

    Exact for integer scores and independent bases: the distribution of the sum is the convolution of the
    distributions of its columns.

    Args:
        table: (w, 4) integer scores of bases.
        background: (4,) base probabilities.
    """
    distribution = np.ones(1)
    for column in table - table.min(axis=1, keepdims=True):
        longer = np.zeros(len(distribution) + int(column.max()))
        for letter, step in enumerate(column.tolist()):
            longer[step : step + len(distribution)] += background[letter] * distribution
        distribution = longer
    return np.cumsum(distribution[::-1])[::-1]


@dataclass(frozen=True, eq=False)
class _Group:
    """A group of motifs as lookup tables of 3-mers.

    Attributes:
        numbers: (m,) of the motifs, wide ones first. widths: (m,). least: (m,) int32, smallest score of a hit.
        words: (chunks, 125, 2, m) int32, score of a word at positions 3 c .. 3 c + 2 of a window, by strand.
        reaching: (chunks,), how many of the motifs, from the first, extend there.
    """

    numbers: np.ndarray
    widths: np.ndarray
    least: np.ndarray
    words: np.ndarray
    reaching: np.ndarray


def _scan(tokens: np.ndarray, group: _Group) -> tuple[np.ndarray, ...]:
    """Return (example, start, motif, strand, score), int64, of the hits of some motifs."""
    padding = WORD * len(group.words)
    padded = np.pad(np.minimum(tokens, UNKNOWN), ((0, 0), (0, padding)), constant_values=UNKNOWN)
    codes = np.lib.stride_tricks.sliding_window_view(padded, WORD, axis=1) @ _SHIFTS.astype(np.uint8)
    with _COMPILING:  # several threads may come here at once
        find = _compiled()
    found = np.empty((5, 64 * len(tokens) + 1), dtype=np.int64)
    while True:
        count = find(codes, tokens.shape[1], group.words, group.reaching, group.widths, group.least, found)
        if count <= found.shape[1]:
            break
        found = np.empty((5, count), dtype=np.int64)
    example, start, column, strand, score = found[:, :count]
    return example, start, group.numbers[column], strand, score


@functools.cache
def _compiled() -> Callable[..., int]:
    """Return the loop below, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(_find)


def _find(
    codes: np.ndarray,
    length: int,
    words: np.ndarray,
    reaching: np.ndarray,
    widths: np.ndarray,
    least: np.ndarray,
    found: np.ndarray,
) -> int:
    """Fill `found` with hits, as far as it reaches; return the number of all hits."""
    motifs, room = len(widths), found.shape[1]
    forward, backward = np.empty(motifs, dtype=np.int32), np.empty(motifs, dtype=np.int32)
    count = 0
    for example in range(len(codes)):
        for start in range(length - widths[-1] + 1):
            forward[:] = 0
            backward[:] = 0
            for chunk in range(len(words)):
                word = words[chunk, codes[example, start + WORD * chunk]]
                for column in range(reaching[chunk]):
                    forward[column] += word[0, column]
                    backward[column] += word[1, column]
            passed = 0
            for column in range(motifs):
                passed += max(forward[column], backward[column]) >= least[column]
            if passed == 0:
                continue
            for column in range(motifs):
                score = max(forward[column], backward[column])
                if score >= least[column] and start + widths[column] <= length:
                    if count < room:
                        found[0, count] = example
                        found[1, count] = start
                        found[2, count] = column
                        found[3, count] = 1 if forward[column] == score else -1
                        found[4, count] = score
                    count += 1
    return count
