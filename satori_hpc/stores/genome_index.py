"""The index of a FASTA file: where its records and their lines begin, from one pass that looks at every letter.

A `.fai` beside the file may be of another one, and the indexers that exist let longer last lines and mixed line ends
pass, from which other letters would be read later: so it is always made anew.
"""

import functools
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from satori_hpc.core import sequence
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger

REWRAP = "wrap it anew: seqkit seq -w 60"
PIECE = 2**24  # bytes of a line that are held; a chromosome may stand in one line
_LETTERS = string.ascii_letters.encode()
_NUCLEOTIDES = b"ACGTRYSWKMBDHVNXacgtryswkmbdhvnx"  # other letters are those of RNA or proteins, and are counted
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


def scan(path: Path, file: BinaryIO, *, fix: str, alphabet: str = "dna") -> list[Record]:
    """The records of a FASTA file.

    Args:
        path: what to call it.
        file: the file, open and unpacked.
        fix: what else the user may correct, for messages.
        alphabet: "dna" or "rna".

    Raises:
        InputError: there is no record, or records have no name, no sequence, a name that was there, characters that
            are no letters, letters of another alphabet, or lines of several lengths; all of these at once, with their
            lines.
    """
    found = _Scan(path, fix)
    expected = _NUCLEOTIDES + (b"Uu" if alphabet == "rna" else b"")
    number, before = 1, 0  # of the line, and bytes of it that have been read
    for piece in _pieces(file):
        rest = piece.translate(None, expected)
        found.offset += len(piece)
        if len(rest) > len(found.ending) and (before or not piece.startswith(b">")):
            found.others.update(rest.translate(None, b"\r\n"))
            rest = rest.translate(None, _LETTERS)
        if len(piece) >= PIECE and not piece.endswith(b"\n"):
            found.begin_of_line(number, piece, before)
            before += len(piece)
            continue
        if before + len(piece) == found.width and rest == found.ending and not found.wrong:
            found.full += 1
        else:
            found.other(number, piece.removeprefix(_BOM) if found.offset == len(piece) else piece, before)
        number, before, found.wrong = number + 1, 0, ""
    found.close()
    if not found.records and not found.problems:
        raise InputError(f"{path}: empty; expected records that start with '>'; {fix}")
    found.check_letters(alphabet)
    found.problems.raise_any()
    return found.records


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends; those that are too long in several pieces, none of which parts CR from LF."""
    for piece in iter(functools.partial(file.readline, PIECE), b""):
        yield piece + file.read(1) if len(piece) == PIECE and piece.endswith(b"\r") else piece


class _Scan:
    """What is known of a file as far as it has been read.

    Attributes:
        offset: bytes so far.
        width, ending: bytes and end of a full line of the record at hand; 0 = no full line may come.
        full: full lines of it.
        tail: letters of a shorter line behind them.
        told: a line of it is wrong; one is enough.
        wrong: what is wrong with the beginning of a line that comes in pieces.
        others: how often bytes occur in sequences that are no letters of nucleotides.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path, self.fix = path, fix
        self.problems = Problems(f"{path}: not a FASTA file that can be used; {fix}:")
        self.records: list[Record] = []
        self.places: dict[str, int] = {}
        self.offset = self.width = self.full = self.tail = self.at = 0
        self.ending = b"\n"
        self.told = False
        self.wrong = ""
        self.others: Counter[int] = Counter()

    def begin_of_line(self, number: int, piece: bytes, before: int) -> None:
        """A piece of a line, behind `before` bytes of it, which goes on."""
        if not before and piece.startswith(b">") and b"\r" in piece:
            self._open(number, piece)  # an old Mac's file, which is one line
        if not self.records or (not before and piece.startswith(b">")):
            raise InputError(
                f"{self.path}, line {number}: longer than {PIECE:,} bytes, and no sequence; expected a header; "
                f"{self.fix}"
            )
        self.wrong = self.wrong or _no_letters(piece)

    def check_letters(self, alphabet: str) -> None:
        """Refuse, or for a few of them warn of, letters of RNA or proteins."""
        counts: Counter[str] = Counter()
        for code, count in self.others.items():
            counts[chr(code).upper()] += count
        letters = sum(record.letters for record in self.records)
        told, grave = sequence.complaint(counts, letters=letters, alphabet=alphabet)
        if grave:
            self.problems.add(told)
        elif told:
            logger.warning("%s: %s", self.path, told)

    def other(self, number: int, line: bytes, before: int) -> None:
        """A line that is not another full one, or the end of one behind `before` letters."""
        text = line.rstrip(b"\r\n")
        if before:
            self._sequence(number, text, line[len(text) :], before)
        elif text.startswith(b">"):
            self.close()
            self._open(number, text)
        elif not text.strip():  # blank lines are fine before and behind a sequence
            self.width = 0 if self.records and self.records[-1].per_line else self.width
        elif self.records:
            self._sequence(number, text, line[len(text) :], 0)
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

    def _sequence(self, number: int, text: bytes, ending: bytes, before: int) -> None:
        """The first or the last line of a record, or one that should not be there."""
        record = self.records[-1]
        letters, complaint = before + len(text), self.wrong or _no_letters(text)
        if record.per_line:
            complaint = complaint or self._complaint(record, letters, ending)
            self.tail, self.width = letters, 0
        else:
            record.first = self.offset - letters - len(ending)
            record.per_line, record.width = letters, letters + len(ending)
            self.width, self.ending, self.full = record.width, ending, 1
        if complaint and not self.told:
            self.problems.add(f"line {number}, {record.name}: {complaint}")
            self.told = True

    def _complaint(self, record: Record, letters: int, ending: bytes) -> str:
        """What is wrong with a line of so many letters as the last of a record, or nothing."""
        if not self.width:
            return f"the sequence goes on behind a shorter or blank line; {REWRAP}"
        if letters > record.per_line:
            return f"{letters} letters; expected {record.per_line} as in its first line, or fewer in its last; {REWRAP}"
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
