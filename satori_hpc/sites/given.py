"""Sites from a source other than the network: hits of any known motifs, or a list of sites.

Sites that overlap compete as hits do (motifs.hits): the strongest keeps the place.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs.hits import Hits
from satori_hpc.motifs.scan import Gate, MotifBank, Scanner


@dataclass(frozen=True, eq=False)
class SiteTable:
    """Sites of some sequences, arrays of equal length, by example, start, motif.

    Attributes:
        example, start, end: int64, bp, half open.
        motif: int64, number.
        strand: int64, 1 or -1.
        strength: float64; of two sites that overlap the stronger one is kept.
    """

    example: np.ndarray
    start: np.ndarray
    end: np.ndarray
    motif: np.ndarray
    strand: np.ndarray
    strength: np.ndarray

    def __len__(self) -> int:
        return len(self.example)

    def take(self, rows: np.ndarray) -> Self:
        return type(self)(**{name: column[rows] for name, column in vars(self).items()})

    @staticmethod
    def joined(tables: "Sequence[Table]") -> "Table":
        """Concatenate tables, at least one."""
        return type(tables[0])(
            **{name: np.concatenate([vars(each)[name] for each in tables]) for name in vars(tables[0])}
        )

    def strongest(self, most: int) -> Self:
        """Return the strongest sites of a single example, `most` of them at most, by start and motif."""
        kept = self.take(np.lexsort((self.motif, self.start, -np.round(self.strength, 6)))[:most])
        return kept.take(np.lexsort((kept.motif, kept.start)))


Table = TypeVar("Table", bound=SiteTable)


class GivenSites(Protocol):
    """A source of sites.

    Attributes:
        names: of the motifs. widths: int64 (motifs,), bp.
        digest: of everything that the sites of a sequence follow from.
    """

    names: Sequence[str]
    widths: np.ndarray
    digest: str

    def find(self, tokens: np.ndarray, rows: np.ndarray) -> SiteTable:
        """Return the sites of sequences that have kept their places, example = place among `rows`.

        Args:
            tokens: uint8 (B, L).
            rows: int64 (B,), of the sequences in their data set.
        """


class ScannedSites:
    """Hits of known motifs on either strand; strength: -log10 p.

    Args:
        bank: the motifs. max_p: largest p-value of a hit; the best word of a motif is a hit even if it is not as rare.
    """

    def __init__(self, bank: MotifBank, *, max_p: float) -> None:
        self.bank, self.gate = bank, Gate(share=0, p=max_p)
        self.names: Sequence[str] = bank.names
        self.widths = bank.widths
        self.digest = hashlib.sha256(json.dumps(self.to_plain(), sort_keys=True).encode()).hexdigest()
        self._scanner = Scanner(bank, self.gate)

    def to_plain(self) -> dict[str, Any]:
        """Export for JSON; `from_plain` reads it."""
        return {"bank": self.bank.to_plain(), "max_p": self.gate.p}

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> "ScannedSites":
        return ScannedSites(MotifBank.from_plain(plain["bank"]), max_p=plain["max_p"])

    def find(self, tokens: np.ndarray, rows: np.ndarray) -> SiteTable:
        found = motif_hits.winners(self._scanner.scan(tokens))
        return SiteTable(
            found.example, found.start, found.end, found.motif, found.strand.astype(np.int64), found.neg_log10_p
        )


class ListedSites:
    """Sites from a list.

    Args:
        table: of all examples, those that have kept their places. names: of the motifs, each of a single width.
        digest: of the list.
    """

    def __init__(self, table: SiteTable, names: Sequence[str], *, digest: str) -> None:
        self.names, self.digest = names, digest
        self.widths = np.ones(len(names), dtype=np.int64)
        self.widths[table.motif] = table.end - table.start
        self._table = table

    def find(self, tokens: np.ndarray, rows: np.ndarray) -> SiteTable:
        first, last = (np.searchsorted(self._table.example, rows, side=side) for side in ("left", "right"))
        example = np.repeat(np.arange(len(rows)), last - first)
        before = np.cumsum(last - first) - (last - first)
        found = self._table.take(np.arange(len(example)) - before[example] + first[example])
        return SiteTable(**{**vars(found), "example": example})


def winners(table: SiteTable) -> SiteTable:
    """Return the sites that keep their places, by example, start, motif: of those that overlap the strongest."""
    table = table.take(np.lexsort((table.motif, table.start, table.example)))
    none = np.zeros(len(table), dtype=np.int32)
    strand = table.strand.astype(np.int8)
    hits = Hits(table.example, table.start, table.end, table.motif, strand, none, table.strength)
    return table.take(np.flatnonzero(motif_hits.compete(hits) == np.arange(len(hits))))
