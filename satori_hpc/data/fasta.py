"""Read FASTA files, plain or gzip, as tokens; parse coordinates, strands and names from headers.

A streaming reader: every record is wanted once and in order, so there is no need of an index.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from satori_hpc.data.sequence import Letters
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.run import files

KEY = "[prepare.fasta] fasta"
LONGEST = 2**24  # bp of a record: a longer one is a chromosome
RECORD = 1000  # bytes for a record's name, place and keys
COPIES = 2  # of a sequence, while all are put together
CHECKED = 2**12  # records between two looks at the memory
WORDS = 20  # of a header that are looked at
LONGEST_WORD = 1000

# CHROM:START-END as written by bedtools, samtools, twoBitToFa, HOMER, R and browsers, with their suffixes.
_MARK = r"(?:\((?P<a>[-+.])\)|[-,:;_|/](?P<b>[-+.])|:(?P<c>-?1)|(?P<d>/rc))?"
_NUMBER = r"[\d,]{1,24}"
_COLON = re.compile(rf"(?:\w+=)?(?P<chrom>[^=]+):(?P<start>{_NUMBER})(?:-|\.\.)(?P<end>{_NUMBER}){_MARK}", re.ASCII)
# The same with other signs in between: chr1-100-160, chrUn_KI270742v1_100_160, chr1|100|160|+, chr1_101-160:+ (seqkit).
_LOOSE = re.compile(rf"(?P<chrom>.+)[-_|.:](?P<start>\d{{1,18}})[-_|.:](?P<end>\d{{1,18}}){_MARK}", re.ASCII)
# 1-based formats: UCSC's range=, Ensembl's locations, NCBI's complement.
_UCSC = re.compile(r"range=(?P<chrom>.+):(?P<start>\d{1,18})-(?P<end>\d{1,18})", re.ASCII)
_ENSEMBL = re.compile(
    r"(?:.*\|)?[a-z_]+:[^:|]+:(?P<chrom>[^:|]+):(?P<start>\d{1,18}):(?P<end>\d{1,18}):(?P<c>-?1)", re.ASCII
)
_NCBI = re.compile(r"(?P<chrom>.+):(?P<d>c)(?P<end>\d{1,18})-(?P<start>\d{1,18})", re.ASCII)
_PIECES = re.compile(r"::|[|;@]")
_STRAND_MARK = re.compile(r"\(([-+.])\)$|/rc$")
_STRANDS = {"+": 1, "1": 1, "-": -1, "-1": -1, "/rc": -1, "c": -1}


@dataclass(frozen=True)
class Interval:
    """Coordinates in a header.

    Attributes:
        start: from 0 where `sure`, by the form of the header; else as the header has it.
        strand: 1, -1, or 0 if it is missing or a dot.
    """

    chrom: str
    start: int
    end: int
    strand: int
    sure: bool = field(default=False, compare=False)


@dataclass
class Records:
    """The records of a FASTA file, in its order.

    Attributes:
        names: first word of each header, without ">".
        places: genome coordinates in each header, or None.
        strands: 1, -1 or 0 in each header, with or without coordinates.
        lines: line number of each header.
        tokens: uint8 (length,) each; lengths may differ.
        letters: number of occurrences of each letter in the file.
    """

    names: list[str] = field(default_factory=list)
    places: list[Interval | None] = field(default_factory=list)
    strands: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    tokens: list[np.ndarray] = field(default_factory=list)
    letters: dict[str, int] = field(default_factory=dict)


def interval(header: str) -> Interval | None:
    """Parse the coordinates in a header, preferably its first word; None if there are none.

    Understood: CHROM:START-END of bedtools and samtools, alone, after a name (`peak0::`, `peak0|`) or as a later word,
    with `(+)`, `,+`, `:+` or `/rc`; CHROM-START-END and CHROM_START_END, also of chromosomes whose names hold such
    signs; `range=CHROM:START-END strand=+` of UCSC; `chromosome:GRCh38:1:101:160:1` of Ensembl; CHROM START END as
    words, with a name before them or not.
    """
    words = [word for word in header.split(maxsplit=WORDS)[:WORDS] if len(word) <= LONGEST_WORD]
    for form, sign in ((_UCSC, "range="), (_ENSEMBL, ":"), (_NCBI, ":c")):
        for word in words:
            if sign in word and (match := form.fullmatch(word)) and (found := _interval(match, counts_from=1)):
                return _stranded(found, words)
    for word in words:
        pieces = _PIECES.split(word)
        for place, piece in enumerate(pieces):
            if (match := _COLON.fullmatch(piece)) and (found := _interval(match)):
                return _stranded(found, [*pieces[place + 1 :], *words])
    if words and (match := _LOOSE.fullmatch(words[0].rpartition("::")[2])) and (found := _interval(match)):
        return _stranded(found, words)
    for first in (0, 1):
        chrom, *rest = [*words[first : first + 4], ""][:4] if len(words) >= first + 3 else [""]
        if rest and all(re.fullmatch(r"\d{1,18}", number, re.ASCII) for number in rest[:2]):
            start, end = int(rest[0]), int(rest[1])
            if start <= end:
                return Interval(chrom, start, end, _STRANDS.get(rest[2], 0) if rest[2] in ("+", "-") else 0)
    return None


def _interval(match: re.Match[str], *, counts_from: int = 0) -> Interval | None:
    found = match.groupdict()
    numbers = [found[key].replace(",", "") for key in ("start", "end")]
    if not all(number and len(number) <= 18 for number in numbers):
        return None
    start, end = int(numbers[0]) - counts_from, int(numbers[1])
    mark = next((found[key] for key in "abcd" if found.get(key)), "")
    at = Interval(found["chrom"], start, end, _STRANDS.get(mark, 0), sure=bool(counts_from))
    return at if 0 <= start <= end else None


def _stranded(found: Interval, words: Sequence[str]) -> Interval:
    """Parse the strand in the words after the coordinates: `strand=-`, `(- strand)` or a sign alone."""
    if not found.strand:
        for word in words:
            if mark := re.fullmatch(r"(?:strand=|\()?([-+])\)?", word):
                return replace(found, strand=_STRANDS[mark[1]])
    return found


def strand(name: str) -> int:
    """Return the strand that a name ends in: 1 of peak0(+), -1 of peak0(-) and peak0/rc, else 0."""
    match = _STRAND_MARK.search(name)
    return _STRANDS.get(match[1] or "/rc", 0) if match else 0


def aliases(name: str) -> list[str]:
    """Return the names by which a table may refer to a record: peak0::chr1:1-9(+) and peak0(+) are also peak0."""
    before = name.rpartition("::")[0]
    found = [name, _STRAND_MARK.sub("", name), before, name.partition("|")[0]]
    return list(dict.fromkeys(each for each in found if each))


def read(path: Path, *, alphabet: str = "dna", check: Callable[[int], None] | None = None) -> Records:
    """Read all records; sequences may be wrapped over lines, in any case, with IUPAC codes (which become N).

    Args:
        path: of the file.
        alphabet: "dna", or "rna": U is read as T.
        check: called repeatedly with the bytes in use; raises if these are too many.

    Raises:
        InputError: the file is missing, not text or holds no record, or records are empty or hold other characters
            than letters, or letters of another alphabet; all of these at once, with their lines. Or a record is longer
            than LONGEST.
    """
    problems = Problems(f"{path}: not a FASTA file that can be used:")
    records, letters = Records(), Letters(alphabet)
    parts: list[np.ndarray] = []
    length = taken = 0
    for number, line in files.lines(path, key=KEY):
        text = line.strip()
        if text.startswith(">"):
            _finish(records, parts, problems)
            taken += RECORD + COPIES * length
            if check is not None and len(records.names) % CHECKED == 0:
                check(taken)
            parts, length = [], 0
            _begin(records, text[1:], number, problems)
        elif text and not records.names:
            raise InputError(
                f"{path}, line {number}: text before the first header; "
                f"expected a line that starts with '>', found {text[:40]!r}; remove it, or correct {KEY} in run.toml"
            )
        elif text:
            try:
                parts.append(letters.encode(text))
            except ValueError as error:
                problems.add(f"line {number}: {error}; expected A, C, G, T, N or another IUPAC letter; correct it")
                parts.append(np.zeros(len(text), dtype=np.uint8))
            length += len(text)
            if length > LONGEST:
                raise InputError(
                    f"{path}, line {number}: {records.names[-1][:80]} is longer than {LONGEST:,} bp; expected "
                    "sequences of one length, as a network reads them; windows of a genome: satori-hpc new --template "
                    "genome"
                )
    if not records.names:
        raise InputError(f"{path}: empty; expected records that start with '>'; correct {KEY} in run.toml")
    _finish(records, parts, problems)
    if check is not None:
        check(taken + RECORD + COPIES * length)
    records.letters = letters.counts()
    told, grave = letters.complaint()
    if grave:
        problems.add(told)
    elif told:
        logger.warning("%s: %s", path, told)
    problems.raise_any()
    return records


def _begin(records: Records, header: str, number: int, problems: Problems) -> None:
    name = next(iter(header.split(maxsplit=1)), "")
    if not name:
        problems.add(f"line {number}: a header without a name; write >CHROM:START-END(STRAND)")
    place = interval(header)
    records.names.append(name)
    records.places.append(place)
    records.strands.append(place.strand if place and place.strand else strand(name))
    records.lines.append(number)


def _finish(records: Records, parts: list[np.ndarray], problems: Problems) -> None:
    """Close the record whose header was read last."""
    if not records.names:
        return
    if not parts:
        problems.add(f"line {records.lines[-1]}: {records.names[-1]} has no sequence; add it or remove the header")
    records.tokens.append(np.concatenate([np.zeros(0, dtype=np.uint8), *parts]))


def from_zero(
    start: np.ndarray, end: np.ndarray, *, length: int, shown: Callable[[int], str]
) -> tuple[np.ndarray, int]:
    """Return 0-based starts, and a warning if intervals and sequences disagree.

    Where each interval is one shorter than its sequence, starts count from 1 (samtools faidx, GFF, R).

    Args:
        start, end: int64 (n,).
        length: of all sequences, bp.
        shown: interval k in words, for messages.

    Returns:
        (start, int64 (n,); how many intervals are not as long as their sequences).
    """
    if len(start) and (end - start + 1 == length).all() and (start > 0).all():
        logger.warning(
            "all %d intervals are one shorter than their sequences of %d bp (%s): their starts count from 1, as those "
            "of samtools faidx do, and are lowered by one",
            len(start), length, shown(0),
        )  # fmt: skip
        return start - 1, 0
    other = np.flatnonzero(end - start != length)
    if len(other):
        logger.warning(
            "%d of %d intervals are not as long as their sequences of %d bp (%s): where in them the letters lie is not "
            "known, so these sequences have no place in the genome; tables, BEDPE and tracks tell their sites within "
            "the sequence, under its own name",
            len(other), len(start), length, shown(int(other[0])),
        )  # fmt: skip
    return start, len(other)
