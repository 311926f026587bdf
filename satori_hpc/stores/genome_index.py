"""The index of a FASTA file: where its records and their lines begin, from one pass that looks at every letter.

A `.fai` beside the file may be of another one, and the indexers that exist let longer last lines and mixed line ends
pass, from which other letters would be read later: so it is always made anew.
"""

import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from satori_hpc.core import sequence
from satori_hpc.errors import InputError, Problems

REWRAP = "wrap it anew: seqkit seq -w 60"
_LETTERS = string.ascii_letters.encode()
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Record:
    """A record, as a line of a `.fai` file has it.

    Attributes:
        name: first word of the header.
        letters: of the sequence.
        first: byte of its first letter in the (unpacked) file.
        per_line: letters of every line but the last.
        width: bytes of these lines.
    """

    name: str
    letters: int
    first: int
    per_line: int
    width: int

    def byte(self, at: int) -> int:
        """Where the letter at this position, from 0, lies in the file."""
        return self.first + at // self.per_line * self.width + at % self.per_line


def scan(path: Path, lines: Iterable[bytes], *, fix: str) -> list[Record]:
    """The records of a FASTA file.

    Args:
        path: what to call it.
        lines: of the file, with their ends.
        fix: what else the user may correct, for messages.

    Raises:
        InputError: there is no record, or records have no name, no sequence, a name that was there, characters that
            are no letters, or lines of several lengths; all of these at once, with their lines.
    """
    found = _Scan(path, fix)
    for number, line in enumerate(lines, start=1):
        rest = line.translate(None, _LETTERS)
        found.offset += len(line)
        if len(line) == found.width and rest == found.ending:
            found.full += 1
        else:
            found.other(number, line.removeprefix(_BOM) if number == 1 else line)
    found.close()
    if not found.records and not found.problems:
        raise InputError(f"{path}: empty; expected records that start with '>'; {fix}")
    found.problems.raise_any()
    return found.records


class _Scan:
    """What is known of a file as far as it has been read.

    Attributes:
        offset: bytes so far.
        width, ending: bytes and end of a full line of the record at hand; 0 = no full line may come.
        full: full lines of it.
        tail: letters of a shorter line behind them.
        told: a line of it is wrong; one is enough.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path, self.fix = path, fix
        self.problems = Problems(f"{path}: not a FASTA file that can be used; {fix}:")
        self.records: list[Record] = []
        self.places: dict[str, int] = {}
        self.offset = self.width = self.full = self.tail = self.at = 0
        self.ending = b"\n"
        self.told = False

    def other(self, number: int, line: bytes) -> None:
        """A line that is not another full one."""
        text = line.rstrip(b"\r\n")
        if text.startswith(b">"):
            self.close()
            self._open(number, text)
        elif not text.strip():  # blank lines are fine before and behind a sequence
            self.width = 0 if self.records and self.records[-1].per_line else self.width
        elif self.records:
            self._sequence(number, text, line[len(text) :])
        elif not text.startswith(b";"):
            shown = text[:40].decode("utf-8", "backslashreplace")
            raise InputError(
                f"{self.path}, line {number}: text before the first header; expected a line that starts with '>', "
                f"found {shown!r}; {self.fix}"
            )

    def close(self) -> None:
        """The record at hand is at its end."""
        if not self.records:
            return
        record = self.records[-1]
        record.letters = self.full * record.per_line + self.tail
        if not record.letters:
            self.problems.add(f"line {self.at}: {record.name} has no sequence; remove the header")

    def _open(self, number: int, text: bytes) -> None:
        if b"\r" in text:
            raise InputError(f"{self.path}: its lines end as on old Macs, with CR alone; convert it (dos2unix -c mac)")
        name = b"".join(text[1:].split(maxsplit=1)[:1]).decode("utf-8", "replace")
        if not name:
            self.problems.add(f"line {number}: a header without a name; write >NAME")
        elif "\ufffd" in name or not name.isprintable():
            self.problems.add(f"line {number}: the name {name!r} is not UTF-8 text, or not printable; change it")
        elif name in self.places:
            self.problems.add(f"line {number}: {name} stands in line {self.places[name]}, too; keep one of them")
        self.places.setdefault(name, number)
        self.records.append(Record(name, 0, self.offset, 0, 0))
        self.width = self.full = self.tail = 0
        self.told, self.at = False, number

    def _sequence(self, number: int, text: bytes, ending: bytes) -> None:
        """The first or the last line of a record, or one that should not be there."""
        record = self.records[-1]
        if record.per_line:
            complaint = self._complaint(record, text, ending)
            self.tail, self.width = len(text), 0
        else:
            complaint = _no_letters(text)
            record.first = self.offset - len(text) - len(ending)
            record.per_line, record.width = len(text), len(text) + len(ending)
            self.width, self.ending, self.full = record.width, ending, 1
        if complaint and not self.told:
            self.problems.add(f"line {number}, {record.name}: {complaint}")
            self.told = True

    def _complaint(self, record: Record, text: bytes, ending: bytes) -> str:
        """What is wrong with a line as the last of a record, or nothing."""
        if _no_letters(text):
            return _no_letters(text)
        if not self.width:
            return f"the sequence goes on behind a shorter or blank line; {REWRAP}"
        if len(text) > record.per_line:
            return (
                f"{len(text)} letters; expected {record.per_line} as in its first line, or fewer in its last; {REWRAP}"
            )
        return "" if ending in (self.ending, b"") else f"LF and CR LF as line ends in one record; {REWRAP}"


def _no_letters(text: bytes) -> str:
    """What is wrong with the characters of a line, or nothing."""
    try:
        sequence.encode(text)
    except ValueError as error:
        return f"{error}; expected A, C, G, T, N or another IUPAC letter; correct it"
    return ""


def write(path: Path, records: list[Record]) -> None:
    """Write them as a `.fai` file."""
    rows = ((record.name, record.letters, record.first, record.per_line, record.width) for record in records)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8", newline="\n")


def read(path: Path) -> list[Record]:
    """What `write` wrote."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [Record(name, *map(int, numbers)) for name, *numbers in rows]
