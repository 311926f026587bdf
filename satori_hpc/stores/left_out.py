"""left_out.tsv.gz: every row of the user's files that was dropped or changed, and why."""

import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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


class LeftOut:
    """Collects rows; `counts` tells how many of each reason.

    Rows are added as they are met, a piece of a file at a time. In the table they stand by `place`, so that it does
    not depend on the pieces.

    Args:
        folder: of its own, for rows that may be too many for memory; None: they are held there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._texts: dict[tuple[int, ...], io.StringIO] = {}
        self._counts: dict[tuple[int, ...], tuple[str, int]] = {}

    def add(
        self,
        chrom: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
        *,
        place: tuple[int, ...] = (),
        reason: str,
        file: str = "",
        line: np.ndarray | None = None,
        done: str = DROPPED,
    ) -> None:
        """Rows that share a reason, str and int64 (n,); those of one place share all but the three columns."""
        if not len(start):
            return
        lines = [""] * len(start) if line is None else line.tolist()
        name = tsv.escape(file)
        with self._opened(place, "a") as out:
            for row in zip(lines, chrom.tolist(), start.tolist(), end.tolist(), strict=True):
                out.write(f"{name}\t{row[0]}\t{tsv.escape(str(row[1]))}\t{row[2]}\t{row[3]}\t{done}\t{reason}\n")
        before = self._counts.get(place, ("", 0))[1]
        self._counts[place] = (f"{done}, {reason}", before + len(start))

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, (key, count) in sorted(self._counts.items()):
            found[key] = found.get(key, 0) + count
        return found

    def write(self, path: Path) -> None:
        """Write the table, gzip without a time, so that the same rows give the same bytes; atomically."""
        with atomic.atomic_file(path) as partial, open(partial, "wb") as raw:
            zipped = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0)
            with zipped, io.TextIOWrapper(zipped, encoding="utf-8", newline="\n") as text:
                text.write("#" + "\t".join(COLUMNS) + "\n")
                for place in sorted(self._counts):
                    with self._opened(place, "r") as lines:
                        text.writelines(lines)

    @contextlib.contextmanager
    def _opened(self, place: tuple[int, ...], mode: str) -> Iterator[IO[str]]:
        """The rows of a place, to be read or added to."""
        if self.folder is None:
            text = self._texts.setdefault(place, io.StringIO(newline="\n"))
            text.seek(0, io.SEEK_END if mode == "a" else io.SEEK_SET)
            yield text
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "-".join(map(str, place)), mode, encoding="utf-8", newline="\n") as file:
            yield file
