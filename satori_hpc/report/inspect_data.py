"""What the page of one sequence is made of: plain values and arrays."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Site:
    """A motif site: its first letter, bp, and the TFs (or filters) that it counts for."""

    start: int
    name: str


@dataclass(frozen=True, kw_only=True)
class SiteMap:
    """What the sites of a sequence do to each other: values float32 (M, M), NaN where there is no pair."""

    sites: list[Site]
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One sequence, seen through every method.

    Attributes:
        title: of the run.
        example: name of the sequence.
        row: its row in the data set.
        facts: (what, value) lines about it.
        tokens: uint8 (L,), A, C, G, T, other = 0..4.
        width: W, letters of a site.
        pool: bp per cell.
        attention: float32 (n, n), largest over heads; rows look at columns.
        attention_attribution: float32 (n, n), of the heads' values the largest in size, with its sign.
        letters: float32 (L,), attribution of the sequence's own letters.
        dfim: rows are mutated, columns answer.
        epistasis: symmetric.
        explained: what letters and sites are said to add to, in words.
        attributed: the same of attention.
        arrays: name of the file that holds the same as arrays.
    """

    title: str
    example: str
    row: int
    facts: list[tuple[str, str]] = field(default_factory=list)
    tokens: np.ndarray
    width: int
    pool: int
    attention: np.ndarray
    attention_attribution: np.ndarray
    letters: np.ndarray
    dfim: SiteMap
    epistasis: SiteMap
    explained: str
    attributed: str
    arrays: str
