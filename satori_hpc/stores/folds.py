"""ChIP-seq folds as DeepBind's supplement has them: tab-separated `FoldID EventID seq Bound`, plain or gzip."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.core.sequence import Letters
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.stores import text_input

COLUMNS = ("EventID", "seq", "Bound")
ROW = 1000  # bytes for what is kept of a row besides its sequence
COPIES = 4  # of a sequence, while all are joined
CHECKED = 2**12  # rows between two looks at the memory


@dataclass(frozen=True)
class Rows:
    """The rows of a file, in its order.

    Attributes:
        events: their EventIDs, unique. They number the peaks of the file and hold no place in a genome.
        tokens: uint8 (rows, length).
        bound: uint8 (rows,), 0 or 1; the same for equal sequences.
        lines: int64 (rows,), from 1.
    """

    events: list[str]
    tokens: np.ndarray
    bound: np.ndarray
    lines: np.ndarray


def read(path: Path, *, key: str, alphabet: str = "dna", check: Callable[[int], None] | None = None) -> Rows:
    """Read a file; columns are found by their names, others (FoldID) are not read.

    Args:
        path: of the file.
        key: where the user named it, for messages.
        alphabet: "dna", or "rna": U is read as T.
        check: told from time to time how many bytes are taken; raises when these are too many.

    Raises:
        InputError: it is missing, unreadable, empty or has no such columns, or rows cannot be used, or hold letters of
            another alphabet: all of them, with their lines.
    """
    numbered = ((number, line) for number, line in text_input.lines(path, key=key) if line.strip())
    number, header = next(numbered, (0, ""))
    names = [cell.strip() for cell in header.split("\t")]
    missing = [name for name in COLUMNS if names.count(name) != 1]
    if missing:
        raise InputError(
            f"{path}: not a fold file: its first line is {header[:60]!r}; expected tab-separated names, among them "
            f"{', '.join(COLUMNS)}, once each (missing or repeated: {', '.join(missing)}); correct the file or "
            f"{key} in run.toml"
        )
    problems = Problems(f"{path}: not a fold file that can be used:")
    places = [names.index(name) for name in COLUMNS]
    events: dict[str, int] = {}
    seen: dict[bytes, tuple[str, int]] = {}
    tokens: list[np.ndarray] = []
    bound: list[int] = []
    alphabet_letters, taken = Letters(alphabet), 0
    for number, line in numbered:
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != len(names):
            problems.add(f"line {number}: {len(cells)} columns; expected {len(names)}, as in the first line")
            continue
        event, letters, label = (cells[place] for place in places)
        complaint = _complaint(event, letters, label, len(tokens[0]) if tokens else len(letters))
        if not complaint and events.setdefault(event, number) != number:
            complaint = f"EventID {event} stands in line {events[event]}, too; give each row its own"
        try:
            row = alphabet_letters.encode(letters)
        except ValueError as error:
            complaint = f"{error}; expected A, C, G, T, N or another IUPAC letter; correct it"
        if not complaint:
            before, at = seen.setdefault(row.tobytes(), (label, number))
            if before != label:
                complaint = f"the sequence of line {at} again, there Bound is {before}, here {label}; keep one of them"
        if complaint:
            problems.add(f"line {number}: {complaint}")
            continue
        tokens.append(row)
        bound.append(int(label))
        taken += ROW + COPIES * len(row)
        if check is not None and len(tokens) % CHECKED == 0:
            check(taken)
    if not tokens and not problems:
        problems.add(f"no rows behind the first line; correct the file, or {key} in run.toml")
    told, grave = alphabet_letters.complaint()
    if grave:
        problems.add(told)
    elif told:
        logger.warning("%s: %s", path, told)
    problems.raise_any()
    lines = np.array(list(events.values()), dtype=np.int64)
    return Rows(list(events), np.stack(tokens), np.array(bound, dtype=np.uint8), lines)


def _complaint(event: str, letters: str, label: str, length: int) -> str:
    if not event:
        return "no EventID; give each row its own"
    if not letters:
        return "no sequence; add it or remove the row"
    if len(letters) != length:
        return f"the sequence is {len(letters)} bp long; expected {length} bp, as in the rows before; cut all to one"
    return "" if label in ("0", "1") else f"Bound is {label[:20]!r}; expected 0 or 1"
