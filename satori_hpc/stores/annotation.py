"""Genes of a GFF3 or GTF file: where transcripts, exons and untranslated regions lie."""

import re
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.core import intervals
from satori_hpc.errors import InputError, Problems
from satori_hpc.stores import text_input

KEY = "[prepare.genome] annotation"
TRANSCRIPTS = (
    "mrna",
    "transcript",
    "lnc_rna",
    "ncrna",
    "rrna",
    "trna",
    "snrna",
    "snorna",
    "mirna",
    "primary_transcript",
)
GENES = ("gene", "protein_coding_gene", "ncrna_gene")
UTRS = ("utr", "five_prime_utr", "three_prime_utr", "5utr", "3utr")
EXONS = ("exon",)
STRANDS = {"+": 1, "-": -1}
CLASSES = ("promoter", "utr", "exon", "intron", "downstream", "distal")  # a place is of the first that holds it
BEYOND_MAX = 0.01  # share of transcripts behind the ends of chromosomes above which they are of another genome
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
FLANK = 1000  # bp that count as promoter before and as downstream behind a transcript

Intervals = tuple[np.ndarray, np.ndarray, np.ndarray]  # chrom, start, end


@dataclass(frozen=True)
class Genes:
    """Intervals on numbered chromosomes, 0-based, half-open.

    Attributes:
        transcripts, exons, utrs: in the order of the file.
        strand: of the transcripts, 1 or -1 (0 counts as 1).
        line: int64, of the transcripts: the lines that tell them, from 1.
    """

    transcripts: Intervals
    strand: np.ndarray
    line: np.ndarray
    exons: Intervals
    utrs: Intervals

    def promoters(self, size: int, lengths: np.ndarray) -> Intervals:
        """The `size` bp upstream of every transcription start, cut at the chromosomes' ends."""
        chrom, start, end = self.transcripts
        forward = self.strand >= 0
        return _cut(chrom, np.where(forward, start - size, end), np.where(forward, start, end + size), lengths)

    def downstream(self, size: int, lengths: np.ndarray) -> Intervals:
        """The `size` bp behind every transcript."""
        chrom, start, end = self.transcripts
        forward = self.strand >= 0
        return _cut(chrom, np.where(forward, end, start - size), np.where(forward, end + size, start), lengths)

    def parts(self, lengths: np.ndarray) -> dict[str, Intervals]:
        """Intervals of every class of CLASSES; those of different classes may overlap."""
        promoters, downstream = self.promoters(FLANK, lengths), self.downstream(FLANK, lengths)
        outside_exons = intervals.gaps(*_joined(self.exons, self.utrs), lengths)
        all_genes = intervals.union(*self.transcripts)
        introns = _within(outside_exons, all_genes, lengths)
        distal = intervals.gaps(*_joined(promoters, downstream, self.transcripts), lengths)
        return {
            "promoter": promoters,
            "utr": self.utrs,
            "exon": self.exons,
            "intron": introns,
            "downstream": downstream,
            "distal": distal,
        }

    def classes(self, chrom: np.ndarray, at: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Class of each place, a number of CLASSES, int64 (n,)."""
        found = np.full(len(at), CLASSES.index("distal"), dtype=np.int64)
        parts = self.parts(lengths)
        for number in reversed(range(len(CLASSES) - 1)):
            found[intervals.overlaps_any(chrom, at, at + 1, parts[CLASSES[number]])] = number
        return found


def read(path: Path, names: list[str], lengths: np.ndarray) -> Genes:
    """Read the genes on chromosomes of these names; features elsewhere are passed over.

    Args:
        path: of the file.
        names: of the chromosomes.
        lengths: int64 (chromosomes,), bp.

    Raises:
        InputError: the file cannot be read, rows are not features, none lies on a named chromosome, or too many behind
            the ends of these.
    """
    problems = Problems(f"{path}: not a GFF3 or GTF file that can be used:")
    numbers = {name: number for number, name in enumerate(names)}
    found: dict[str, array[int]] = {kind: array("q") for kind in ("transcripts", "genes", "exons", "utrs")}
    kinds = {
        **dict.fromkeys(TRANSCRIPTS, "transcripts"),
        **dict.fromkeys(GENES, "genes"),
        **dict.fromkeys(EXONS, "exons"),
        **dict.fromkeys(UTRS, "utrs"),
    }
    elsewhere: set[str] = set()
    for number, line in text_input.lines(path, key=KEY):
        if line.startswith(("##FASTA", ">")):
            break
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        complaint = _complaint(cells)
        if complaint:
            problems.add(f"line {number}: {complaint}")
            continue
        chrom = numbers.get(cells[0])
        if chrom is None:
            elsewhere.add(cells[0])
            continue
        kind = kinds.get(cells[2].lower())
        if kind is not None:
            found[kind].extend((chrom, int(cells[3]) - 1, int(cells[4]), STRANDS.get(cells[6], 0), number))
    problems.raise_any()
    columns = {kind: np.frombuffer(values, dtype=np.int64).reshape(-1, 5).T for kind, values in found.items()}
    transcripts = columns["transcripts"] if columns["transcripts"].size else columns["genes"]
    if not transcripts.size:
        there = f"; it has features on {', '.join(sorted(elsewhere)[:5])}" if elsewhere else ""
        raise InputError(
            f"{path}: no transcript or gene on a chromosome of the genome ({', '.join(names[:5])}){there}; "
            f"correct {KEY} in run.toml"
        )
    beyond = transcripts[1] >= lengths[transcripts[0]]
    if beyond.sum() > max(1, BEYOND_MAX * beyond.size):
        chrom, start, end, *_ = transcripts[:, beyond.argmax()]
        raise InputError(
            f"{path}: {int(beyond.sum())} of {beyond.size} transcripts lie behind the ends of chromosomes, the first "
            f"at {names[chrom]}:{start + 1}-{end} ({lengths[chrom]} bp): they are of another assembly; correct {KEY} "
            "in run.toml"
        )
    return Genes(_three(transcripts), transcripts[3], transcripts[4], _three(columns["exons"]), _three(columns["utrs"]))


def _complaint(cells: list[str]) -> str:
    if len(cells) < 8:
        return f"{len(cells)} columns; expected nine, with tabs in between"
    if not (_NUMBER.fullmatch(cells[3]) and _NUMBER.fullmatch(cells[4])):
        return f"start {cells[3][:30]!r} and end {cells[4][:30]!r}; expected whole numbers from 1"
    if int(cells[3]) < 1 or int(cells[3]) > int(cells[4]):
        return f"{cells[0]}:{cells[3]}-{cells[4]}; expected 1 <= start <= end"
    return ""


def _three(columns: np.ndarray) -> Intervals:
    return columns[0], columns[1], columns[2]


def _cut(chrom: np.ndarray, start: np.ndarray, end: np.ndarray, lengths: np.ndarray) -> Intervals:
    start, end = np.maximum(start, 0), np.minimum(end, lengths[chrom])
    full = end > start
    return chrom[full], start[full], end[full]


def _joined(*parts: Intervals) -> Intervals:
    chrom, start, end = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return chrom, start, end


def _within(one: Intervals, other: Intervals, lengths: np.ndarray) -> Intervals:
    """Letters in both: those outside of what lies outside of either."""
    return intervals.gaps(*_joined(intervals.gaps(*one, lengths), intervals.gaps(*other, lengths)), lengths)
