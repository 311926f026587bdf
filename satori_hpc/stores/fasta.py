"""FASTA files, plain or gzip, as tokens.

A streaming reader: every record is wanted once and in order, so there is no need of an index.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from satori_hpc.core import sequence
from satori_hpc.errors import InputError, Problems
from satori_hpc.stores import text_input

KEY = "[prepare.fasta] fasta"
_INTERVAL = re.compile(r"(?P<chrom>.+):(?P<start>\d{1,18})-(?P<end>\d{1,18})(?:\((?P<strand>[-+.])\))?")
_STRANDS = {"+": 1, "-": -1}


@dataclass(frozen=True)
class Interval:
    """What a header `CHROM:START-END(STRAND)` says; strand is 1, -1, or 0 when it is left out or a dot."""

    chrom: str
    start: int
    end: int
    strand: int


@dataclass
class Records:
    """The records of a FASTA file, in its order.

    Attributes:
        names: first word of each header, without ">".
        lines: line number of each header.
        tokens: uint8 (length,) each; lengths may differ.
    """

    names: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    tokens: list[np.ndarray] = field(default_factory=list)


def interval(name: str) -> Interval | None:
    """The interval in a header, or None when it does not hold one."""
    match = _INTERVAL.fullmatch(name)
    if match is None:
        return None
    return Interval(match["chrom"], int(match["start"]), int(match["end"]), _STRANDS.get(match["strand"] or ".", 0))


def read(path: Path) -> Records:
    """Read all records; sequences may be wrapped over lines, in any case, with IUPAC letters (which become N).

    Raises:
        InputError: the file is missing, not text or holds no record, or records are empty or hold other characters
            than letters; all of these at once, with their lines.
    """
    problems = Problems(f"{path}: not a FASTA file that can be used:")
    records = Records()
    parts: list[np.ndarray] = []
    for number, line in text_input.lines(path, key=KEY):
        text = line.strip()
        if text.startswith(">"):
            _finish(records, parts, problems)
            parts = []
            name = text[1:].split(maxsplit=1)[0] if text[1:].strip() else ""
            if not name:
                problems.add(f"line {number}: a header without a name; write >CHROM:START-END(STRAND)")
            records.names.append(name)
            records.lines.append(number)
        elif text and not records.names:
            raise InputError(
                f"{path}, line {number}: text before the first header; "
                f"expected a line that starts with '>', found {text[:40]!r}; remove it, or correct {KEY} in run.toml"
            )
        elif text:
            try:
                parts.append(sequence.encode(text))
            except ValueError as error:
                problems.add(f"line {number}: {error}; expected A, C, G, T, N or another IUPAC letter; correct it")
                parts.append(np.zeros(len(text), dtype=np.uint8))
    if not records.names:
        raise InputError(f"{path}: empty; expected records that start with '>'; correct {KEY} in run.toml")
    _finish(records, parts, problems)
    problems.raise_any()
    return records


def _finish(records: Records, parts: list[np.ndarray], problems: Problems) -> None:
    """Close the record whose header was read last."""
    if not records.names:
        return
    if not parts:
        problems.add(f"line {records.lines[-1]}: {records.names[-1]} has no sequence; add it or remove the header")
    records.tokens.append(np.concatenate([np.zeros(0, dtype=np.uint8), *parts]))
