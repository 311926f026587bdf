"""left_out.tsv.gz: every row of the user's files that was dropped or changed, and why."""

import gzip
import io
from pathlib import Path

import numpy as np

from satori_hpc.stores import atomic, tsv

COLUMNS: dict[str, str] = {
    "file": "file of the row; empty: a window made of several rows",
    "line": "its line, from 1; empty for windows",
    "chrom": "as the file has it",
    "start": "0-based",
    "end": "half-open",
    "done": "dropped or changed",
    "reason": "why",
}
DROPPED, CHANGED = "dropped", "changed"


class LeftOut:
    """Collects rows on disk, in a folder of its own; `counts` tells how many of each reason.

    Rows are added as they are met, a piece of a file at a time. In the table they stand by `place`, so that it does
    not depend on the pieces.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._counts: dict[tuple[int, ...], tuple[str, int]] = {}

    def add(
        self,
        chrom: np.ndarray,
        start: np.ndarray,
        end: np.ndarray,
        *,
        place: tuple[int, ...],
        reason: str,
        file: str = "",
        line: np.ndarray | None = None,
        done: str = DROPPED,
    ) -> None:
        """Rows that share a reason, str and int64 (n,); those of one place share all but the three columns."""
        if not len(start):
            return
        lines = [""] * len(start) if line is None else line.tolist()
        name, path = tsv.escape(file), self._path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", newline="\n") as out:
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
                    with open(self._path(place), encoding="utf-8", newline="\n") as lines:
                        text.writelines(lines)

    def _path(self, place: tuple[int, ...]) -> Path:
        return self.folder / "-".join(map(str, place))
