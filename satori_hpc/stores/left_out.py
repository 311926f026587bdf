"""left_out.tsv.gz: every row of the user's files that was dropped or changed, and why."""

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from satori_hpc.stores import atomic, tsv

COLUMNS: dict[str, str] = {
    "file": "file of the row; empty: a window made of several rows",
    "line": "its line, from 1, of a FASTA record that of its header; empty for windows",
    "chrom": "as the file has it; the name of a row whose file tells no place",
    "start": "0-based",
    "end": "half-open",
    "done": "dropped or changed",
    "reason": "why",
}
DROPPED, CHANGED = "dropped", "changed"


@dataclass
class LeftOut:
    """Collects rows by reason; `counts` tells how many of each."""

    rows: list[tuple[str, np.ndarray | None, np.ndarray, np.ndarray, np.ndarray, str, str]] = field(
        default_factory=list
    )

    def add(
        self,
        chrom: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
        *,
        reason: str,
        file: str = "",
        line: np.ndarray | None = None,
        done: str = DROPPED,
    ) -> None:
        """Rows that share a reason: str and int64 (n,)."""
        if len(start):
            self.rows.append((file, line, chrom, start, end, done, reason))

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, _, _, start, _, done, reason in self.rows:
            key = f"{done}, {reason}"
            found[key] = found.get(key, 0) + len(start)
        return found

    def write(self, path: Path) -> None:
        """Write the table, gzip without a time, so that the same rows give the same bytes; atomically."""
        with atomic.atomic_file(path) as partial, open(partial, "wb") as raw:
            zipped = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
            with zipped, io.TextIOWrapper(zipped, encoding="utf-8", newline="\n") as text:
                text.write("#" + "\t".join(COLUMNS) + "\n")
                text.writelines(self._lines())

    def _lines(self) -> Iterator[str]:
        for file, line, chrom, start, end, done, reason in self.rows:
            lines = [""] * len(start) if line is None else line.tolist()
            name = tsv.escape(file)
            for row in zip(lines, chrom.tolist(), start.tolist(), end.tolist(), strict=True):
                yield f"{name}\t{row[0]}\t{tsv.escape(str(row[1]))}\t{row[2]}\t{row[3]}\t{done}\t{reason}\n"
