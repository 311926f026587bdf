"""Read a genome in a FASTA file by random access: plain, gzip or bgzip, of any size.

The index is in our own folder, never next to the user's file, whose folder may be read-only. Plain gzip
does not allow random access, so it is unpacked into that folder. pyfaidx reads uncompressed files; in bgzip it cannot
read from the end of a full block (0.9.2), so blocks are looked up here, and read by Biopython.
"""

import contextlib
import dataclasses
import functools
import gzip
import io
import re
import string
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
import pyfaidx
from Bio import bgzf

from satori_hpc.config import Genome as Settings
from satori_hpc.data import chromosomes, sequence
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.run import files
from satori_hpc.run.layout import Run

# The index of a FASTA file: where its records and their lines begin, from one pass that checks every base.
#
# A `.fai` next to the file may belong to another one, and existing indexers accept longer last lines and mixed line
# ends, which would later return wrong bases: so it is always rebuilt.

REWRAP = "rewrap it: seqkit seq -w 60"
PIECE = 2**24  # bytes of a line in memory; a chromosome may be one line
_LETTERS = string.ascii_letters.encode()
_NUCLEOTIDES = b"ACGTRYSWKMBDHVNXacgtryswkmbdhvnx"  # other letters may be those of RNA or proteins, and are counted
_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Record:
    """A record, as a line of a `.fai` file has it.

    Attributes:
        name: first word of the header.
        letters: of the sequence.
        first: byte of its first base in the (unpacked) file.
        per_line: bases of every line but the last.
        width: bytes of these lines.
    """

    name: str
    letters: int
    first: int
    per_line: int
    width: int

    def byte(self, at: int) -> int:
        """Return the byte offset of the base at this position, from 0."""
        return self.first + at // self.per_line * self.width + at % self.per_line


def scan(path: Path, file: BinaryIO, *, fix: str, alphabet: str = "dna") -> list[Record]:
    """Return the records of a FASTA file.

    Args:
        path: its name for messages.
        file: the file, open and unpacked.
        fix: an alternative cure, for messages.
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
    """Return lines with their ends; those that are too long in several pieces, none of which parts CR from LF."""
    for piece in iter(functools.partial(file.readline, PIECE), b""):
        yield piece + file.read(1) if len(piece) == PIECE and piece.endswith(b"\r") else piece


class _Scan:
    """State of a scan of a file.

    Attributes:
        offset: bytes so far.
        width, ending: bytes and end of a full line of the record at hand; 0 = no full line may come.
        full: full lines of it.
        tail: bases of a shorter line after them.
        told: a bad line was already reported; one is enough.
        wrong: the problem at the beginning of a line that is read in pieces.
        others: number of bytes in sequences that are no nucleotide codes.
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
        """Process the start of a line that continues, after `before` bytes of it."""
        if not before and piece.startswith(b">") and b"\r" in piece:
            self._open(number, piece)  # an old Mac's file, which is one line
        if not self.records or (not before and piece.startswith(b">")):
            raise InputError(
                f"{self.path}, line {number}: longer than {PIECE:,} bytes, and no sequence; expected a header; "
                f"{self.fix}"
            )
        self.wrong = self.wrong or _no_letters(piece)

    def check_letters(self, alphabet: str) -> None:
        """Refuse, or if there are few warn of, letters of RNA or proteins."""
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
        """Process a line that is not another full one, or the end of one after `before` letters."""
        text = line.rstrip(b"\r\n")
        if before:
            self._sequence(number, text, line[len(text) :], before)
        elif text.startswith(b">"):
            self.close()
            self._open(number, text)
        elif not text.strip():  # blank lines are accepted before and after a sequence
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
        """Finish the current record."""
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
        """Return the first or the last line of a record, or one that should not be there."""
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
        """Describe what is wrong with a last line of so many letters, if anything."""
        if not self.width:
            return f"the sequence continues after a shorter or blank line; {REWRAP}"
        if letters > record.per_line:
            return f"{letters} letters; expected {record.per_line} as in its first line, or fewer in its last; {REWRAP}"
        return "" if ending in (self.ending, b"") else f"LF and CR LF as line ends in one record; {REWRAP}"


def _no_letters(text: bytes) -> str:
    """Describe invalid characters of a line, if any."""
    try:
        sequence.encode(text)
    except ValueError as error:
        return f"{error}; expected A, C, G, T, N or another IUPAC letter; correct it"
    return ""


def write_index(path: Path, records: list[Record]) -> None:
    """Write them as a `.fai` file."""
    rows = ((record.name, record.letters, record.first, record.per_line, record.width) for record in records)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8", newline="\n")


def read_index(path: Path) -> list[Record]:
    """Read the output of `write`."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [Record(name, *map(int, numbers)) for name, *numbers in rows]


KEY = "[prepare.genome] genome"
PLAIN, GZIP, BGZIP = "plain", "gzip", "bgzip"
FIX = f"correct the file, or {KEY} in run.toml"
UNPACKED_UNSEEN = 2**30  # bytes
INDEX, BLOCKS, UNPACKED = "genome.fa.fai", "blocks.npy", "genome.fa"
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, ValueError, RuntimeError, struct.error)  # all that bgzf may raise
_TO_DNA = bytes.maketrans(b"Uu", b"Tt")
UNREADABLE = (OSError, pyfaidx.FetchError, *DAMAGED)


class Genome:
    """An open genome; a context manager.

    Args:
        path: the FASTA file.
        folder: with the output of `index`; built now if there is none.
        alphabet: "dna", or "rna": U is read as T.

    Attributes:
        names: of the chromosomes (first words of headers), in the order of the file.
        lengths: int64 (chromosomes,), bp.

    Raises:
        InputError: as `index`.
    """

    def __init__(self, path: Path, folder: Path, alphabet: str = "dna") -> None:
        if not (folder / INDEX).exists():
            index(path, folder, alphabet)
        self.path = path
        self._alphabet = alphabet
        self._records = read_index(folder / INDEX)
        self.names = [record.name for record in self._records]
        self.lengths = np.array([record.letters for record in self._records], dtype=np.int64)
        self._file: Any
        if (folder / BLOCKS).exists():
            self._blocks = np.load(folder / BLOCKS)
            self._file = bgzf.BgzfReader(path, "rb")
            self._read = self._by_block
        else:
            # We choose the name, because pyfaidx detects compression by it; the index exists and is not rebuilt.
            self._file = pyfaidx.Faidx(str(folder / UNPACKED), build_index=False)
            self._read = self._by_index

    def text(self, chrom: int, start: int, end: int) -> bytes:
        """Return the bases of an interval, in the case of the file: lower case marks repeats. U is read as T.

        Raises:
            InputError: the file ends too soon, or has changed since it was indexed.
        """
        where = f"{self.path}: {self.names[chrom]}:{start}-{end}"
        try:
            found = self._read(self._records[chrom], start, end)
        except UNREADABLE as error:
            raise InputError(f"{where} cannot be read ({_line(error)}); {FIX}") from None
        if len(found) != end - start:
            raise InputError(
                f"{where} gave {len(found)} letters; the file has changed since it was indexed: run the command again"
            )
        return found.translate(_TO_DNA) if self._alphabet == "rna" else found

    def tokens(self, chrom: int, start: int, end: int) -> np.ndarray:
        """Return uint8 (end - start,). Raises: as `text`; also for a character that is no letter."""
        try:
            return sequence.encode(self.text(chrom, start, end))
        except ValueError as error:
            raise InputError(f"{self.path}: {self.names[chrom]}, from position {start + 1}: {error}; {FIX}") from None

    def _by_index(self, record: Record, start: int, end: int) -> bytes:
        text: str = self._file.from_file(record.name, start + 1, end)
        return text.encode()

    def _by_block(self, record: Record, start: int, end: int) -> bytes:
        first, last = record.byte(start), record.byte(end - 1)
        block = int(np.searchsorted(self._blocks[1], first, side="right")) - 1
        self._file.seek(bgzf.make_virtual_offset(int(self._blocks[0, block]), first - int(self._blocks[1, block])))
        found: bytes = self._file.read(last + 1 - first)
        return found.translate(None, b"\r\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Genome":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def index(path: Path, folder: Path, alphabet: str = "dna") -> None:
    """Build the index of `Genome` in `folder`, before several processes open it; replaces an existing one.

    Raises:
        InputError: the file is missing, damaged, or not a FASTA file that can be read by place.
    """
    found = kind(path)
    logger.info("indexing %s", path)
    with files.atomic_folder(folder) as partial:
        source = path
        if found == GZIP:
            logger.info("unpacking %s, for plain gzip cannot be read by place (bgzip can)", path)
            source = partial / UNPACKED
        elif found == PLAIN:
            (partial / UNPACKED).symlink_to(path.resolve())
        try:
            if found == GZIP:
                _unpack(path, source)
            if found == BGZIP:
                np.save(partial / BLOCKS, _blocks(path))
            with open(source, "rb") as raw:
                # gzip hands out lines slowly, one call each; a buffer around it does not.
                file = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))) if found == BGZIP else raw
                records = scan(path, file, fix=FIX, alphabet=alphabet)
        except DAMAGED as error:
            if found == PLAIN:
                raise
            raise InputError(
                f"{path}: damaged or truncated gzip ({_line(error)}); compress or copy the file again"
            ) from None
        write_index(partial / INDEX, records)


def _unpack(path: Path, target: Path) -> None:
    """Unpack gzip, unless it is a gzip bomb.

    Since long runs of N compress well, a small part of a file is no evidence.
    """
    with open(path, "rb") as raw, gzip.open(raw, "rb") as packed, open(target, "wb") as file:
        while block := packed.read(2**22):
            file.write(block)
            if file.tell() > UNPACKED_UNSEEN:
                files.check_packing(path, packed=raw.tell(), unpacked=file.tell())


def kind(path: Path) -> str:
    """Return PLAIN, GZIP or BGZIP, by content.

    Raises:
        InputError: there is no such file, or it cannot be read, or is no text (text_input.FOREIGN).
    """
    try:
        with open(path, "rb") as handle:
            head = handle.read(files.HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct {KEY} in run.toml") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct {KEY} in run.toml") from None
    files.refuse_foreign(path, head, key=KEY)
    if head[:2] != files.GZIP_MAGIC:
        return PLAIN
    # Damage is reported by the pass over the whole file.
    with contextlib.suppress(*DAMAGED, OSError), gzip.open(path, "rb") as packed:
        files.refuse_foreign(path, packed.read(files.HEAD), key=KEY, unpacked=True)
    # A block of bgzip is a gzip member with an extra field whose first subfield is "BC".
    return BGZIP if len(head) >= 18 and head[3] & 4 and head[12:14] == b"BC" else GZIP


def _blocks(path: Path) -> np.ndarray:
    """Return the starts of blocks in a bgzip file and in its text, int64 (2, blocks).

    Raises:
        ValueError: the empty block that ends such files is missing.
    """
    with open(path, "rb") as handle:
        found = np.array([(at, text, size) for at, _, text, size in bgzf.BgzfBlocks(handle)], dtype=np.int64)
    if not found.size or found[-1, 2]:
        raise ValueError("the last block is missing")
    return found[found[:, 2] > 0, :2].T


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


# Chromosome sizes: the table of name and length that genome tools share (chrom.sizes; the index of a FASTA file).

_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


def read_sizes(path: Path, *, needed: Mapping[str, int] | None = None, key: str = "--chrom-sizes") -> dict[str, int]:
    """Return sizes of the chromosomes, bp, by name.

    Args:
        path: of a table without header whose first two columns are name and length, split by tabs.
        needed: largest end on each chromosome that must be in it.
        key: where the user named the file, for messages.

    Raises:
        InputError: the file cannot be read, lines are no such rows, chromosomes come twice or are missing, or examples
            end beyond the end.
    """
    problems = Problems(f"{path}: not usable as chromosome sizes")
    sizes: dict[str, int] = {}
    for number, line in files.lines(path, key=key):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) < 2 or not _LENGTH.fullmatch(cells[1].strip()):
            problems.add(f"line {number}: expected name, tab, length in bp; found {line[:80]!r}")
        elif cells[0] in sizes:
            problems.add(f"line {number}: {cells[0]!r} comes twice")
        else:
            sizes[cells[0]] = int(cells[1].strip())
    for chrom, end in (needed or {}).items():
        if chrom not in sizes:
            problems.add(f"no chromosome {chrom!r}, on which examples lie; is it the genome they come from?")
        elif end > sizes[chrom]:
            problems.add(f"{chrom!r} has {sizes[chrom]} bp, but an example ends at {end}; is it another assembly?")
    if not sizes and not problems:
        problems.add(f"empty; expected rows of name, tab, length in bp; correct {key}")
    problems.raise_any()
    return sizes


def write_sizes(path: Path, sizes: Mapping[str, int]) -> None:
    """Write names and lengths, in their order."""
    files.write_text(path, "".join(f"{chrom}\t{size}\n" for chrom, size in sizes.items()))


# Chromosomes of the user's files: their names in the genome, and the share of a file on missing ones.

TOLD, REFUSED = 0.01, 0.5  # shares of a file on chromosomes that are not there
SHOWN, LONGEST = 10, 60  # names in a message, and characters of each
ALLOW = "allow_missing_chromosomes = true in [prepare.genome] (new: --allow-missing-chromosomes)"


def places(
    path: Path, rows: Mapping[str, int], genome: Genome, *, allow_missing: bool, unit: str = "rows", told: float = TOLD
) -> tuple[np.ndarray, bool]:
    """Find the chromosomes of a file in the genome, each name for itself.

    Args:
        path: of the file.
        rows: how much of it is on each of its chromosomes.
        genome: open.
        allow_missing: whether more than half of it may be on chromosomes that are not there.
        unit: name of the counted items.
        told: share above which missing chromosomes are named in a warning.

    Returns:
        int64 (chromosomes,), their numbers in the genome, -1 = not there; and whether some are called otherwise there.

    Raises:
        InputError: none of it is on a chromosome of the genome, or less than half.
    """
    names = list(rows)
    found = list(chromosomes.candidates(names, genome.names))
    place = np.array([each[0] if len(each) == 1 else -1 for each in found], dtype=np.int64)
    others = [
        f"{short(name)} = {short(genome.names[at])}"
        for name, at in zip(names, place.tolist(), strict=True)
        if at >= 0 and genome.names[at] != name
    ]
    if others:
        logger.warning("%s: chromosomes are called otherwise in the genome: %s", path, _listed(others))
    missing = {
        name + (f" ({' or '.join(short(genome.names[at]) for at in each)}?)" if each else ""): rows[name]
        for name, each in zip(names, found, strict=True)
        if len(each) != 1
    }
    count, total = sum(missing.values()), sum(rows.values())
    if total and count == total:
        raise InputError(
            f"{path}: none of its chromosomes ({shown(names)}) is in {genome.path} ({shown(genome.names)}); "
            "use files of one genome"
        )
    if count > told * total:
        lies = f"{count:,} of {total:,} {unit} are on chromosomes that are not in {genome.path} ({shown(genome.names)})"
        each = _listed(
            [f"{short(name)}: {size:,}" for name, size in sorted(missing.items(), key=lambda item: -item[1])]
        )
        too_many(f"{path}: {lies}: {each}", count > REFUSED * total, allow=allow_missing)
    return place, bool(others)


def too_many(message: str, refused: bool, *, allow: bool) -> None:
    """Warn that much of a file is not used.

    Raises:
        InputError: so much that it is `refused`, unless that is allowed.
    """
    if refused and not allow:
        raise InputError(f"{message}; use files of one genome, or set {ALLOW}")
    logger.warning("%s", message)


def among(names: Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the genome's names of the chromosomes of a setting; and the names that are missing or ambiguous."""
    found = list(chromosomes.candidates(names, known))
    return [known[each[0]] for each in found if len(each) == 1], [
        name for name, each in zip(names, found, strict=True) if len(each) != 1
    ]


def shown(names: Sequence[str]) -> str:
    """Return the first names of many."""
    return _listed([short(name) for name in names])


def short(name: str) -> str:
    """Return a name of bearable length."""
    return name if len(name) <= LONGEST else name[:LONGEST] + "..."


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (f", ... ({len(texts)} in all)" if len(texts) > SHOWN else "")


# The user's table of chromosome sizes: which chromosomes are taken, and whether the genome is the one it is for.

SIZES_KEY = "[prepare.genome] chrom_sizes"


def narrowed(run: Run, settings: Settings, genome: Genome) -> Settings:
    """Return `settings` with only those chromosomes that the table names, where there is one.

    Raises:
        InputError: the table cannot be read, is of another genome, or leaves no chromosome.
    """
    if settings.chrom_sizes is None:
        return settings
    path = run.resolve(settings.chrom_sizes)
    sizes = read_sizes(path, key=SIZES_KEY)
    problems = Problems(
        f"{path}: not the sizes of {genome.path}; use tables of one assembly, or leave {SIZES_KEY} away:"
    )
    # Counted by length: most names of such a table are of small scaffolds, which many genomes omit.
    place, _ = places(path, sizes, genome, allow_missing=settings.allow_missing_chromosomes, unit="bp", told=0)
    for (name, size), number in zip(sizes.items(), place.tolist(), strict=True):
        if number >= 0 and size != genome.lengths[number]:
            problems.add(f"{name} has {size:,} bp in the table, {genome.lengths[number]:,} in the genome")
    problems.raise_any()
    named = {genome.names[number] for number in place.tolist() if number >= 0}
    kept = tuple(
        name
        for name in genome.names
        if name in named
        and name not in settings.without_chromosomes
        and (not settings.chromosomes or name in settings.chromosomes)
    )
    if not kept:
        raise InputError(
            f"{path}: none of its chromosomes ({', '.join(list(sizes)[:5])}) is taken of {genome.path} "
            f"({', '.join(genome.names[:5])}); use files of one genome, and names of one style"
        )
    return dataclasses.replace(settings, chromosomes=kept, without_chromosomes=())
