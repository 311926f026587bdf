"""Read motif files (MEME, JASPAR, TRANSFAC, HOMER and CIS-BP, recognised by content) and write MEME files.

Every reader takes the lines one by one and collects every problem with its line. Motifs are distinguished by identifier
and name together: a matrix for two TFs (CIS-BP) is two motifs. Duplicates with the same matrix are
one; motifs without a matrix (CIS-BP withholds those under licence) are skipped with a warning.
"""

import functools
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.motifs import motif as motifs_motif
from satori_hpc.motifs import names
from satori_hpc.motifs.motif import LETTERS, UNIFORM, Motif, probabilities
from satori_hpc.run import files

RELEASE, COLLECTION = "JASPAR2026", "CORE"  # of JASPAR

KEY = "[motifs] database"
DEFAULT_SITES = 20  # MEME's default if a file does not give it
SUM_TOLERANCE = 0.02  # rows rounded to two digits are still accepted, and then scaled to 1
# So that no file takes much memory: collections have some thousand motifs of at most a hundred positions.
MAX_LINE, MAX_LINES, MAX_TEXT = 1 << 20, 1 << 20, 1 << 26
MAX_MOTIFS, MAX_WIDTH, MAX_NAME, MAX_PROBLEMS = 100_000, 1000, 1000, 1000
HEAD = 100  # lines in which the format shows
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?i:nan|inf(?:inity)?)"
_SEPARATORS = re.compile(r"[\v\f\x1c-\x1e\x85\u2028\u2029]")  # where str.split would split, too
_ROW = re.compile(rf"\s*\[?\s*(?:{_NUMBER})(?=[\s\]]|$)")


@dataclass
class _Lines:
    """Lines of a file with a cursor; numbers start at 1."""

    source: Iterator[str]
    problems: Problems
    number: int = 0
    _last: str = ""
    _again: bool = False

    def __iter__(self) -> Iterator[str]:
        while True:
            if len(self.problems.found) > MAX_PROBLEMS:
                self.problems.raise_any()
            if not self._again:
                line = next(self.source, None)
                if line is None:
                    return
                self._last = line
            self._again = False
            self.number += 1
            yield self._last

    def back(self) -> None:
        """Step back by one line."""
        self._again = True
        self.number -= 1

    def problem(self, text: str, *, line: int | None = None) -> None:
        self.problems.add(f"line {self.number if line is None else line}: {text}")


@dataclass
class _Found:
    """Motifs of a file as they are read; skipped ones are reported at the end."""

    lines: _Lines
    motifs: list[Motif] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    twice: int = 0
    _first: dict[tuple[str, str], tuple[int, Motif]] = field(default_factory=dict)

    def add(self, motif: Motif, *, line: int) -> None:
        if len(self.motifs) >= MAX_MOTIFS:
            self.lines.problem(f"more than {MAX_MOTIFS:,} motifs", line=line)
            self.lines.problems.raise_any()
        first, other = self._first.setdefault((motif.identifier, motif.name), (line, motif))
        if other is motif:
            self.motifs.append(motif)
        elif other.ppm.shape == motif.ppm.shape and np.allclose(other.ppm, motif.ppm, atol=1e-6):
            self.twice += 1
        else:
            shown = (motif.identifier or motif.name)[:60]
            self.lines.problem(
                f"motif {shown!r} is already on line {first}, with another matrix; give each an identifier of its own",
                line=line,
            )

    def end(self, path: Path) -> list[Motif]:
        """Return the motifs.

        Raises:
            InputError: all problems.
        """
        self.lines.problems.raise_any()
        if self.without:
            logger.warning(
                "%s: %d motifs have no matrix and are left out: %s%s; CIS-BP holds back matrices under licence",
                path,
                len(self.without),
                ", ".join(repr(name[:60]) for name in self.without[:5]),
                ", ..." if len(self.without) > 5 else "",
            )
        if self.twice:
            logger.warning("%s: %d motifs occur more than once and are used once", path, self.twice)
        return self.motifs


def read(path: Path, *, key: str = KEY, may_be_empty: bool = False) -> list[Motif]:
    """Read a motif file, plain or gzipped, any line ends; the format is recognised by content.

    Rows that sum to 1 are probabilities, others are counts; U is read as T. `sites` are the counts of the first
    position, or MEME's value, else 20. Names: of MEME "MOTIF identifier name"; of JASPAR and HOMER the text
    after ">"; of TRANSFAC NA, else ID, with AC as identifier; of CIS-BP TF Name, with Motif as identifier, or that of
    the file.

    Args:
        path: the file.
        key: that names it, for messages.
        may_be_empty: a file whose motifs have no matrix is no error; CIS-BP has a file per motif.

    Returns:
        motifs: in the order of the file, at least one unless `may_be_empty`.

    Raises:
        InputError: every problem with its line: no such format, another alphabet, rows that are missing, of the wrong
            length, negative or of the wrong sum, a motif twice with different matrices, no motif.
    """
    source = _text(path, key)
    head = list(itertools.islice(source, HEAD))
    reader, what = _format(path, head, key)
    problems = Problems(f"{path}: cannot be used as a {what} motif file ({key}):")
    lines = _Lines(itertools.chain(head, source), problems)
    found = _Found(lines)
    reader(lines, found, path)
    motifs = found.end(path)
    if not motifs and not (may_be_empty and found.without):
        empty = f"; {len(found.without)} motifs have no matrix" if found.without else ""
        raise InputError(f"{path}: no motif in it ({what}){empty}; {files.fix(key)}")
    return motifs


def read_meme(path: Path, *, may_be_empty: bool = False) -> tuple[list[Motif], np.ndarray]:
    """Read a MEME file, including its base frequencies.

    Args:
        path: the file.
        may_be_empty: a file without motifs is no error.

    Returns:
        motifs: as of `read`.
        background: (4,) base frequencies, uniform if the file does not give them.

    Raises:
        InputError: as of `read`.
    """
    lines = _Lines(_text(path), Problems(f"{path}: cannot be used as a MEME motif file:"))
    found = _Found(lines)
    background = _meme(lines, found, path)
    motifs = found.end(path)
    if not motifs and not may_be_empty:
        raise InputError(f"{path}: no motif in it")
    return motifs, background


# Lines


def _text(path: Path, key: str = KEY) -> Iterator[str]:
    """Split lines at line feeds and carriage returns only, because names may contain other separators."""
    number = size = 0
    try:
        with open(path, "rb") as raw:
            head = raw.read(8)
            files.refuse_foreign(path, head, key=key)
            raw.seek(0)
            packed = head.startswith(files.GZIP_MAGIC)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
            with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline=None) as text:
                while line := text.readline(MAX_LINE + 1):
                    number += 1
                    size += len(line)
                    if len(line) > MAX_LINE or number > MAX_LINES or size > MAX_TEXT:
                        what = f"a line of more than {MAX_LINE:,} letters" if len(line) > MAX_LINE else "no end yet"
                        raise InputError(
                            f"{path}, line {number}: {what}: too large for a file of motifs; {files.fix(key)}"
                        )
                    yield _SEPARATORS.sub(" ", line.rstrip("\n"))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


_Reader = Callable[[_Lines, _Found, Path], object]


def _format(path: Path, head: list[str], key: str) -> tuple[_Reader, str]:
    """Choose the reader of a file and the name of its format from the first lines.

    Raises:
        InputError: it is something else.
    """
    number, first = next(
        ((number, line.strip()) for number, line in enumerate(head, start=1) if not _is_comment(line)), (1, "")
    )
    if not first.startswith("<") and any(re.match(r"\s*MEME version\s+\d", line) for line in head):
        return _meme, "MEME"
    if first.startswith(">"):
        return _fasta_like, "JASPAR or HOMER"
    if re.match(r"(?:AC|ID|NA|VV|DE|P0|PO)\s+\S|XX$|//$", first):
        return _transfac, "TRANSFAC"
    if re.match(r"Pos\s+[ACGTU]\s|(?:TF|RBP|Motif|Gene)\t|(?:TF|RBP) Name\t", first, re.IGNORECASE):
        return _cisbp, "CIS-BP"
    what = "not a MEME, JASPAR, TRANSFAC, HOMER or CIS-BP motif file"
    if first.startswith("<"):
        what += ", but HTML or XML; the programs of MEME also write a text file (meme.txt, streme.txt)"
    elif any(re.match(r"\s*(?:ALPHABET|MOTIF\s|letter-probability matrix)", line) for line in head):
        what = "not a MEME motif file: no line 'MEME version 4' (or another); write it as the first line"
    raise InputError(f"{path}, line {number}: {what}; found {first[:60]!r}; {files.fix(key)}")


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())


def _name(text: str, lines: _Lines) -> str:
    """Strip control characters from a name; add a problem if it is too long."""
    found = _printable(text).strip()
    if len(found) > MAX_NAME:
        lines.problem(f"a name of {len(found):,} letters, found {found[:60]!r} ...")
    return found[:MAX_NAME]


# Numbers


def _numbers(words: Sequence[str], lines: _Lines) -> list[float] | None:
    """Parse the numbers, or return None after a problem: not numbers, not finite, or negative."""
    if not all(re.fullmatch(_NUMBER, word) for word in words):
        lines.problem(f"not numbers: {' '.join(words)[:60]!r}")
        return None
    values = [float(word) for word in words]
    if not np.isfinite(values).all():
        lines.problem(f"numbers that are not finite: {' '.join(words)[:60]!r}")
        return None
    if min(values, default=0.0) < 0:
        lines.problem(
            f"negative numbers: {' '.join(words)[:60]!r}; these are log-odds scores: give the counts or "
            "probabilities of the same motifs"
        )
        return None
    return values


def _add_matrix(
    found: _Found,
    name: str,
    identifier: str,
    rows: np.ndarray,
    *,
    line: int,
    at: Sequence[int],
    families: Sequence[str] = (),
) -> None:
    """Add a motif of counts or probabilities.

    Args:
        found: to which it is added.
        name, identifier, families: of the motif; families may be empty.
        rows: (w, 4), finite and not negative.
        line: of its heading.
        at: line of each position, (w,).
    """
    sums = rows.sum(axis=1)
    problems = len(found.lines.problems.found)
    for position in np.flatnonzero(sums <= 0)[:5]:
        found.lines.problem(f"position {position + 1} of {name[:60]!r} sums to 0", line=at[position])
    # One wrong row among rows that sum to 1 is wrong, not a count.
    told = abs(float(np.median(sums)) - 1) <= SUM_TOLERANCE
    for position in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE + 1e-9)[:5] if told else ():
        found.lines.problem(
            f"position {position + 1} of {name[:60]!r} sums to {sums[position]:.4g}, expected 1 as of the others",
            line=at[position],
        )
    if len(found.lines.problems.found) > problems:
        return
    ppm = probabilities(rows, 0.0)
    sites = DEFAULT_SITES if told else int(min(max(1, round(float(sums[0]))), 1e15))
    counts, family = None if told else rows, names.family(families)
    found.add(Motif(name, ppm, sites=sites, identifier=identifier, counts=counts, family=family), line=line)


def _columns_of(letters: Iterable[str], lines: _Lines) -> list[int] | None:
    """Return the columns of A, C, G and T (or U), or None after a problem."""
    given = [letter.upper().replace("U", "T") for letter in letters]
    if sorted(given) != sorted(LETTERS):
        lines.problem(f"letters {' '.join(given)[:60]!r}, expected A, C, G and T (or U)")
        return None
    return [given.index(letter) for letter in LETTERS]


# MEME


def _meme(lines: _Lines, found: _Found, path: Path) -> np.ndarray:
    """Parse MEME, minimal and full, versions 3 to 5, and STREME and DREME output; return the base frequencies.

    Lines that are not needed (strands, URLs, log-odds matrices, text) are passed over, and so are blanks before a
    line. "MOTIF identifier name" gives identifier and name; with one word it is the name.
    """
    background = UNIFORM
    heading: tuple[str, str] | None = None
    begin = 0
    version = False

    def end_motif() -> None:
        if heading is not None:
            found.without.append(" ".join(heading).strip())

    for raw in lines:
        line = raw.strip()
        if match := re.match(r"MEME version\s+(\d+)", line):
            version = True
            if int(match[1]) < 3:
                lines.problem(f"MEME version {match[1][:20]}; 3 or later is read")
        elif re.match(r"ALPHABET\b", line):
            _check_alphabet(line, lines)
        elif line.startswith("Background letter frequencies"):
            background = _background(lines)
        elif re.match(r"MOTIF(?:\s|$)", line):
            end_motif()
            heading, begin = _heading(line, lines), lines.number
            if not heading[1]:
                lines.problem("MOTIF without a name")
        elif line.startswith("letter-probability matrix"):
            if heading is None:
                lines.problem("a matrix without a MOTIF line before it")
            matrix = _meme_matrix(line, lines)
            if heading is not None and matrix is not None:
                ppm, sites = matrix
                if len(ppm):
                    found.add(Motif(name=heading[1], ppm=ppm, sites=sites, identifier=heading[0]), line=begin)
                else:
                    end_motif()
            heading = None
    end_motif()
    if not version:
        lines.problems.found[:] = ["no line 'MEME version 4' (or another): not a MEME motif file"]
    return background


def _check_alphabet(line: str, lines: _Lines) -> None:
    begin = lines.number
    short = re.match(r"ALPHABET\s*=\s*(\S*)", line)
    if short:
        found = short[1].upper()
    else:
        # A definition, one base per line, complements joined by "~"; a line with "=" defines a base by others. It
        # goes up to END ALPHABET, or between rules of asterisks in the full format.
        defined: list[str] = []
        for inner in lines:
            if inner.strip().startswith("END ALPHABET") or (defined and inner.startswith("***")):
                break
            plain = re.sub(r'"[^"]*"', " ", inner)
            if "=" not in plain and not plain.startswith(("*", "#")):
                defined += [part.split()[0] for part in plain.split("~") if part.strip()]
        found = "".join(sorted(set(defined))).upper()
    if found.replace("U", "T") != LETTERS:
        lines.problem(f"alphabet {found[:60]!r}, expected {LETTERS} (or ACGU)", line=begin)


def _background(lines: _Lines) -> np.ndarray:
    """Parse frequencies such as 'A 0.3 C 0.2 G 0.2 T 0.3', on one line or several."""
    begin = lines.number
    words: list[str] = []
    for inner in lines:
        if len(words) >= 8 or not re.match(r"\s*[ACGTUacgtu]\s+[\d.]", inner):
            lines.back()
            break
        words.extend(inner.split())
    try:
        found = {words[i].upper().replace("U", "T"): float(words[i + 1]) for i in range(0, 8, 2)}
        values = np.array([found[letter] for letter in LETTERS])
    except (KeyError, ValueError, IndexError):
        lines.problem("background frequencies of A, C, G and T expected below", line=begin)
        return UNIFORM
    if not (values > 0).all() or not abs(values.sum() - 1) <= SUM_TOLERANCE:
        lines.problem(f"background frequencies {values.tolist()} are not positive numbers that sum to 1", line=begin)
        return UNIFORM
    return values / values.sum()


def _heading(line: str, lines: _Lines) -> tuple[str, str]:
    """Return (identifier or '', name) of a MOTIF line; the full format continues with 'width = 12 sites = 9'."""
    text = re.split(r"\s+width\s*=\s*\d+\s+sites\s*=", line[len("MOTIF") :], maxsplit=1)[0]
    words = [_name(word, lines) for word in text.split(maxsplit=2)[:2]]
    if len(words) < 2:
        return "", words[0] if words else ""
    return words[0], words[1] or words[0]


def _meme_matrix(line: str, lines: _Lines) -> tuple[np.ndarray, int] | None:
    """Return (ppm, sites) of the matrix under `line`, (0, 4) where it is empty, or None when it has a problem."""
    begin, before = lines.number, len(lines.problems.found)
    known = dict(re.findall(r"(\w+)\s*=\s*(\S+)", line))
    columns, width, sites = (_count(known.get(key), key, lines) for key in ("alength", "w", "nsites"))
    if columns is not None and columns != 4:
        lines.problem(f"alength= {columns:g}, expected 4 (A, C, G, T)")
    rows: list[list[float]] = []
    for inner in lines:
        if width is not None and len(rows) == width:
            lines.back()
            break
        if not inner.strip() and not rows:
            continue
        if not _ROW.match(inner):
            lines.back()
            break
        rows.append(_probabilities(inner, lines))
        if len(rows) > MAX_WIDTH:
            lines.problem(f"more than {MAX_WIDTH} rows", line=begin)
            lines.problems.raise_any()
    more = _rows_beyond(lines)
    if more:
        told = f"w= {width:g}" if width is not None else "blank lines"
        lines.problem(f"a row beyond the matrix of line {begin} ({told}); all rows of it must count", line=more)
    if (not rows and width != 0) or (width is not None and len(rows) != width):
        expected = f"{width:g}" if width is not None else "some"
        lines.problem(f"{expected} rows of probabilities expected, {len(rows)} found", line=begin)
    if len(lines.problems.found) > before:
        return None
    ppm = np.array(rows).reshape(-1, 4)
    return ppm / ppm.sum(axis=1, keepdims=True), max(1, round(sites)) if sites else DEFAULT_SITES


def _rows_beyond(lines: _Lines) -> int:
    """Pass over blank lines and rows of numbers below a matrix; the line of the first such row, 0 = none."""
    first = 0
    for inner in lines:
        if _ROW.match(inner):
            first = first or lines.number
        elif inner.strip():
            lines.back()
            break
    return first


def _count(text: str | None, key: str, lines: _Lines) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
        if not 0 <= value < 1e15:
            raise ValueError
    except ValueError:
        lines.problem(f"{key}= {text[:60]} is not a count")
        return None
    return value


def _probabilities(line: str, lines: _Lines) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        lines.problem(f"not numbers: {line.strip()[:60]!r}")
        return []
    if len(values) != 4:
        lines.problem(f"{len(values)} numbers, expected 4 (A, C, G, T)")
    elif not all(0 <= value <= 1 + SUM_TOLERANCE for value in values):
        lines.problem(f"probabilities between 0 and 1 expected, found {values}")
    elif abs(sum(values) - 1) > SUM_TOLERANCE:
        lines.problem(f"the row sums to {sum(values):.4g}, expected 1")
    return values


# JASPAR and HOMER: records after ">"


@dataclass
class _Record:
    """A raw record: the text after ">", and rows of numbers, by bases or by positions."""

    line: int
    name: str
    identifier: str
    homer: bool
    sound: bool = True
    rows: list[np.ndarray] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    at: list[int] = field(default_factory=list)


def _fasta_like(lines: _Lines, found: _Found, path: Path) -> None:
    """Parse JASPAR (one row per base, with or without the base and brackets), HOMER, and other formats with one row per
    position after ">": HOCOMOCO's counts, gimmemotifs. Comments begin with "#".

    Four rows of four numbers may be either: HOMER's header, the other motifs of the file or the sums decide, or none.
    """
    records = list(_records(lines))
    shapes = {_orientation(record) for record in records if not record.letters}
    for record in records:
        if not record.rows:
            found.without.append(record.name)
            continue
        rows, at = np.stack(record.rows), record.at
        if record.letters:
            order = [record.letters.index(letter) for letter in LETTERS]
            rows, at = rows[order].T, [record.line] * rows.shape[1]
        elif _lies(record, rows, shapes, lines):
            rows, at = rows.T, [record.line] * rows.shape[1]
        elif rows.shape[1] != 4:
            lines.problem(f"{rows.shape[1]} numbers, expected 4 (A, C, G, T)", line=at[0])
            continue
        _add_matrix(found, record.name, record.identifier, rows, line=record.line, at=at)


def _records(lines: _Lines) -> Iterator[_Record]:
    """Return records whose rows have equal lengths and which have all four bases."""
    record: _Record | None = None
    for line in lines:
        if _is_comment(line):
            continue
        if record is None or line.lstrip().startswith(">"):
            if record is not None and _whole(record, lines):
                yield record
            record = _header(line.strip()[1:], lines)
            continue
        row = re.match(r"\s*(?:([ACGTUacgtu])(?![A-Za-z])\s*[:|]?)?\s*\[?([^\[\]]*)\]?\s*$", line)
        words = row[2].split() if row else []
        if re.fullmatch(r"\s*[A-Za-z*-]+\s*", line) or row is None or not words:
            lines.problem(f"no row of numbers, but {line.strip()[:60]!r}; of sequences (FASTA) no motif is made")
            lines.problems.raise_any()
            continue
        values = _numbers(words, lines)
        record.sound &= values is not None
        record.letters += [row[1].upper().replace("U", "T")] if row[1] else []
        record.rows.append(np.array(values or []))
        record.at.append(lines.number)
        if max(len(words), len(record.rows)) > MAX_WIDTH:
            lines.problem(f"more than {MAX_WIDTH} positions")
            lines.problems.raise_any()
    if record is not None and _whole(record, lines):
        yield record


def _header(text: str, lines: _Lines) -> _Record:
    """Name and identifier. HOMER: the third field is a number, the second the name; JASPAR: identifier, name."""
    fields = [_name(part, lines) for part in text.split("\t")]
    homer = len(fields) >= 3 and re.fullmatch(_NUMBER, fields[2]) is not None
    if homer:
        identifier, name = "", fields[1] or fields[0]
    else:
        words = fields[:2] if len(fields) > 1 else fields[0].split(maxsplit=1)
        identifier, name = ("", words[0]) if len(words) == 1 else (words[0], words[1]) if len(words) > 1 else ("", "")
        identifier, name = (identifier, name) if name else ("", identifier)
    if not name:
        lines.problem("'>' without a name")
    return _Record(line=lines.number, name=name, identifier=identifier, homer=homer)


def _whole(record: _Record, lines: _Lines) -> bool:
    """Check whether rows form a matrix; add a problem if not."""
    if not record.sound:
        return False
    if record.letters and (len(record.letters) != len(record.rows) or sorted(record.letters) != sorted(LETTERS)):
        lines.problem(
            f"{record.name[:60]!r} has rows of {', '.join(record.letters)[:60]}, expected one each of A, C, G and T",
            line=record.line,
        )
        return False
    lengths = [len(row) for row in record.rows]
    if len(set(lengths)) > 1:
        usual = lengths[0]
        place = next(place for place, length in enumerate(lengths) if length != usual)
        lines.problem(f"{lengths[place]} numbers, expected {usual} as in the row before", line=record.at[place])
        return False
    return True


def _orientation(record: _Record) -> str:
    """Return "letters" or "positions": the meaning of a row, "" if ambiguous."""
    shape = (len(record.rows), len(record.rows[0]) if record.rows else 0)
    if record.homer:
        return "positions"
    if shape == (4, 4) or not record.rows:
        return ""
    return "letters" if shape[0] == 4 else "positions"


def _lies(record: _Record, rows: np.ndarray, shapes: set[str], lines: _Lines) -> bool:
    """Return whether the rows of a record without base labels are those of A, C, G and T."""
    told = {_orientation(record)} - {""} or shapes - {""}
    if len(told) == 1:
        return told == {"letters"}
    equal = [bool(np.ptp(rows.sum(axis=axis)) <= SUM_TOLERANCE * max(1.0, rows.sum() / 4)) for axis in (0, 1)]
    if equal[0] == equal[1]:
        lines.problem(
            f"{record.name[:60]!r}: four rows of four numbers may be letters or positions; write the letters before "
            "them (A [ ... ])",
            line=record.line,
        )
    return equal[0]


# TRANSFAC


def _transfac(lines: _Lines, found: _Found, path: Path) -> None:
    """Parse TRANSFAC, also as written by JASPAR, HOCOMOCO, MEME and RSAT.

    P0 or PO names the bases, numbered rows below are the positions, // ends a motif.
    """
    fields: dict[str, str] = {}
    begin, matrix, told = 0, False, False
    families: list[str] = []
    rows: np.ndarray | None = None  # of the matrix of this motif
    at: list[int] = []

    def end_motif() -> None:
        nonlocal matrix, rows
        name, accession = _transfac_name(fields), fields.get("AC", "")
        if name and rows is not None:
            identifier = "" if accession == name else accession
            _add_matrix(found, name, identifier, rows, line=begin, at=at, families=families)
        elif name and not matrix:
            found.without.append(name)
        fields.clear()
        families.clear()
        matrix, rows = False, None

    for raw in lines:
        line = raw.strip()
        tag, text = line[:2], line[2:] if line[2:3].isspace() else ""
        if line.startswith("//") or (tag in ("AC", "ID") and (tag in fields or matrix)):
            end_motif()
        if tag in ("AC", "ID", "NA"):
            begin = begin if fields else lines.number
            fields[tag] = _name(text, lines)
        elif tag == "CC" and text.strip().startswith("tf_family:"):  # JASPAR
            families += _name(text.partition(":")[2], lines).split(";")
        elif tag in ("P0", "PO"):
            if matrix:
                lines.problem("a second matrix in one motif; // must end the first")
            begin = begin if fields else lines.number
            matrix = told = True
            rows, at = _positions(text, lines, behind=1)
            if not _transfac_name(fields):
                lines.problem("a matrix without AC, ID or NA before it", line=begin)
            elif rows is not None and not len(rows):
                matrix, rows = False, None
        elif told and re.match(r"\d{1,3}\s+[\d.]", line):
            lines.problem(f"a row outside a matrix: {line[:60]!r}")
    end_motif()


def _transfac_name(fields: Mapping[str, str]) -> str:
    return fields.get("NA") or fields.get("ID") or fields.get("AC") or ""


def _positions(letters: str, lines: _Lines, *, behind: int) -> tuple[np.ndarray | None, list[int]]:
    """Parse numbered rows below a line of bases, as (w, 4) in the order A, C, G, T and their lines.

    None after a problem.

    Args:
        letters: such as "A C G T".
        behind: words that may follow the numbers, such as a base of the consensus.
    """
    before = len(lines.problems.found)
    order = _columns_of(letters.split(), lines)
    rows: list[list[float]] = []
    at: list[int] = []
    last: int | None = None
    for line in lines:
        words = line.split()
        if not words:
            continue
        if not words[0].isdecimal():
            lines.back()
            break
        number = int(words[0][:9])
        if last is not None and number != last + 1:
            lines.problem(f"position {number}, expected {last + 1}: rows are missing or twice")
        last = number
        if not 5 <= len(words) <= 5 + behind:
            lines.problem(f"{len(words) - 1} numbers behind the position, expected 4")
        elif (values := _numbers(words[1:5], lines)) is not None:
            rows.append(values)
            at.append(lines.number)
        if len(rows) > MAX_WIDTH:
            lines.problem(f"more than {MAX_WIDTH} positions")
            lines.problems.raise_any()
    if order is None or len(lines.problems.found) > before:
        return None, at
    return np.array(rows).reshape(-1, 4)[:, order], at


# CIS-BP


def _cisbp(lines: _Lines, found: _Found, path: Path) -> None:
    """Parse CIS-BP and CISBP-RNA: a matrix below "Pos A C G T".

    It is alone in its file, whose name is its own, or has lines such as TF, TF Name and Motif before it.
    """
    fields: dict[str, str] = {}
    begin, matrices = 0, 0
    stem = re.sub(r"\.gz$", "", path.name)
    for raw in lines:
        line = raw.strip()
        if not line:
            continue
        key, _, text = (part.strip() for part in line.partition("\t"))
        if re.match(r"Pos\s", line, re.IGNORECASE):
            begin = begin if fields else lines.number
            rows, at = _positions(line[3:], lines, behind=0)
            identifier = fields.get("Motif", "")
            name = next((fields[key] for key in ("TF Name", "RBP Name", "TF", "RBP", "Motif") if fields.get(key)), "")
            if not name:
                if matrices:
                    lines.problem("a second matrix without lines TF Name and Motif before it", line=begin)
                name = _printable(stem.rsplit(".", 1)[0] if re.search(r"\.(?:txt|pwm|pfm)$", stem) else stem)
            matrices += 1
            if rows is not None and len(rows):
                family = fields.get("Family", "").split(",")
                identifier = "" if identifier == name else identifier
                _add_matrix(found, name, identifier, rows, line=begin, at=at, families=family)
            elif rows is not None:
                found.without.append(identifier or name)
            fields = {}
        elif re.match(r"\d", line):
            lines.problem(f"a row outside a matrix: {line[:60]!r}")
        else:
            if key in fields:  # the last motif had not even an empty matrix
                found.without.append(fields.get("Motif") or fields.get("TF Name") or key)
                fields = {}
            begin = begin if fields else lines.number
            fields[key[:60]] = _name(text, lines)
    if fields:
        found.without.append(fields.get("Motif") or fields.get("TF Name") or next(iter(fields)))


# MEME files of our own


def write_meme(path: Path, motifs: Sequence[Motif], background: np.ndarray) -> None:
    """Write motifs in MEME's minimal format, atomically.

    White space in names becomes "_": the format ends a name there.

    Args:
        path: the file.
        motifs: A, C, G, T probabilities; may be empty.
        background: (4,) base frequencies.
    """
    frequencies = " ".join(f"{letter} {value:.6f}" for letter, value in zip(LETTERS, background, strict=True))
    lines = [
        "MEME version 4",
        "",
        f"ALPHABET= {LETTERS}",
        "",
        "strands: + -",
        "",
        "Background letter frequencies:",
        frequencies,
    ]
    for motif in motifs:
        words = [_word(text) for text in (motif.identifier, motif.name) if text]
        lines += ["", "MOTIF " + " ".join(words)]
        lines.append(f"letter-probability matrix: alength= 4 w= {motif.width} nsites= {motif.sites} E= 0")
        lines += [" " + " ".join(f"{value:.8f}" for value in row) for row in motif.ppm]
    files.write_text(path, "\n".join(lines) + "\n")


def _word(text: str) -> str:
    return _printable(re.sub(r"\s+", "_", text.strip())) or "_"


# Known motifs from JASPAR. The releases come inside the pyjaspar package: no network.


def jaspar(*, release: str, collection: str, groups: tuple[str, ...]) -> list[Motif]:
    """Return the newest version of every motif of a JASPAR release, collection and set of taxonomic groups.

    Args:
        release: as pyjaspar names it, such as "JASPAR2026".
        collection: such as "CORE"; any case.
        groups: taxonomic groups such as "vertebrates", any case; empty = all of them.

    Returns:
        motifs sorted by identifier, with their counts. A TF with several profiles occurs several times.

    Raises:
        InputError: the release, the collection or a group does not exist (the message lists those that do), or
            no motif in this release, collection and groups.
    """
    return list(_fetch(release, collection.upper(), tuple(sorted({group.lower() for group in groups}))))


@functools.lru_cache(maxsize=4)
def _fetch(release: str, collection: str, groups: tuple[str, ...]) -> tuple[Motif, ...]:
    # Imported here: pyjaspar brings Biopython, which only the two stages that read a database need.
    import pyjaspar

    releases = list(pyjaspar.jaspar_releases)
    if release not in releases:
        raise InputError(f"JASPAR release {release!r} does not exist here; known: " + ", ".join(sorted(releases)))
    database = pyjaspar.jaspardb(release=release)
    try:
        _must_exist(collection, _values(database, "SELECT DISTINCT COLLECTION FROM MATRIX"), f"{release}: collection")
        known = _values(database, "SELECT DISTINCT VAL FROM MATRIX_ANNOTATION WHERE TAG = 'tax_group'")
        for group in groups:
            _must_exist(group, known, f"{release}: taxonomic group")
        found = _read(database, collection, groups)
    finally:
        database.conn.close()
    if not found:
        raise InputError(f"{release}: no motif in collection {collection} of {', '.join(groups) or 'any group'}")
    return tuple(found)


def _values(database: Any, query: str) -> list[str]:
    return sorted(str(row[0]) for row in database.conn.execute(query) if row[0])


def _must_exist(name: str, known: list[str], what: str) -> None:
    if name not in known:
        raise InputError(f"{what} {name!r} does not exist; known: " + ", ".join(known))


def _read(database: Any, collection: str, groups: tuple[str, ...]) -> list[Motif]:
    """Read what `jaspardb.fetch_motifs` selects, in three queries instead of ten per motif (.5 s instead of 10 s)."""
    chosen = """
        SELECT m.ID, m.BASE_ID, m.VERSION, m.NAME FROM MATRIX m
        JOIN (SELECT BASE_ID, MAX(VERSION) AS VERSION FROM MATRIX GROUP BY BASE_ID) newest
          ON newest.BASE_ID = m.BASE_ID AND newest.VERSION = m.VERSION
        WHERE m.COLLECTION = ?"""
    if groups:
        marks = ",".join("?" * len(groups))
        chosen += f" AND m.ID IN (SELECT ID FROM MATRIX_ANNOTATION WHERE TAG = 'tax_group' AND VAL IN ({marks}))"
    rows = database.conn.execute(chosen, (collection, *groups)).fetchall()
    columns: dict[int, list[tuple[int, int, float]]] = {number: [] for number, *_ in rows}
    for number, letter, column, value in database.conn.execute("SELECT ID, row, col, val FROM MATRIX_DATA"):
        if number in columns:
            columns[number].append((int(column), motifs_motif.LETTERS.index(letter), float(value)))
    families: dict[int, list[str]] = {}
    query = "SELECT ID, VAL FROM MATRIX_ANNOTATION WHERE TAG = 'family' ORDER BY ID, VAL"
    for number, family in database.conn.execute(query):
        families.setdefault(number, []).append(family)
    found = [
        _motif(name, f"{base}.{version}", names.family(families.get(number, ())), np.array(columns[number]))
        for number, base, version, name in rows
    ]
    return sorted(found, key=lambda item: item.identifier)


def _motif(name: str, identifier: str, family: str, entries: np.ndarray) -> Motif:
    """Build a motif from (column, base, count) entries; columns are counted from 0 or 1, as in the release."""
    column, letter = entries[:, 0].astype(int), entries[:, 1].astype(int)
    counts = np.zeros((column.max() - column.min() + 1, 4))
    counts[column - column.min(), letter] = entries[:, 2]
    ppm = motifs_motif.probabilities(counts, 0.0)
    for array in (counts, ppm):
        array.setflags(write=False)  # the cache hands the same arrays to everyone
    # Columns of one JASPAR profile may hold different numbers of sites; the first one is what JASPAR itself reports.
    return Motif(
        name=name,
        ppm=ppm,
        sites=max(1, round(float(counts[0].sum()))),
        identifier=identifier,
        counts=counts,
        family=family,
    )
