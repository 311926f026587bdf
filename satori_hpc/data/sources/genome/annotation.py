"""Read genes from a GFF3 or GTF file: transcripts, exons and untranslated regions."""

import re
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.data.sources.genome import windows
from satori_hpc.data.sources.genome.genome import Genome
from satori_hpc.errors import InputError, Problems
from satori_hpc.run import files

KEY = "[prepare.genome] annotation"
GENE, TRANSCRIPT, EXON, CDS, UTR = range(5)
# Feature types of lines (Sequence Ontology, GTF), in lower case. Transcripts come in many: mRNA, lncRNA, tRNA,
# antisense_RNA, pseudogenic_transcript, primary_transcript, V_gene_segment, ...
_KINDS = {
    GENE: re.compile(r"(.*_)?(pseudo)?gene"),
    TRANSCRIPT: re.compile(r".*(rna|transcript|gene_segment|transcript_variant|ribozyme)"),
    EXON: re.compile(r"(.*_)?exon"),
    CDS: re.compile(r"cds|start_codon|stop_codon"),
    UTR: re.compile(r"([53]'?[_-]?|(five|three)_prime_)?utr"),
}
_ID, _PARENT, _GENE_ID, _TRANSCRIPT_ID = (
    re.compile(rf"""(?:^|[;\s]){name}(?:\s*=\s*|\s+)("[^"]*"|[^;]*)""")
    for name in ("ID", "Parent", "gene_id", "transcript_id")
)
_BARE = re.compile(r"[^\s;=\"]+")  # column 9 of AUGUSTUS and GFF2: a name alone
STRANDS = {"+": 1, "-": -1}
CLASSES = (
    "promoter",
    "utr",
    "exon",
    "intron",
    "downstream",
    "distal",
)  # a position belongs to the first class that contains it
BEYOND_MAX = 0.01  # share of transcripts beyond chromosome ends that indicates another genome
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
FLANK = 1000  # bp of the promoter before, and of the downstream region after, a transcript

Intervals = tuple[np.ndarray, np.ndarray, np.ndarray]  # chrom, start, end


@dataclass(frozen=True)
class Genes:
    """Intervals on numbered chromosomes, 0-based, half-open.

    Attributes:
        transcripts: in the order of the file; genes without transcripts count as such.
        exons, utrs: in the order of the file; for transcripts without exons, their coding parts.
        spans: everything that belongs to a gene, in any order.
        strand: of the transcripts, 1 or -1 (0 counts as 1).
        line: int64, of the transcripts: their lines, from 1.
    """

    transcripts: Intervals
    strand: np.ndarray
    line: np.ndarray
    exons: Intervals
    utrs: Intervals
    spans: Intervals

    def promoters(self, size: int, lengths: np.ndarray) -> Intervals:
        """Return the `size` bp upstream of every transcription start, cut at the chromosomes' ends."""
        chrom, start, end = self.transcripts
        forward = self.strand >= 0
        return _cut(chrom, np.where(forward, start - size, end), np.where(forward, start, end + size), lengths)

    def downstream(self, size: int, lengths: np.ndarray) -> Intervals:
        """Return the `size` bp downstream of every transcript."""
        chrom, start, end = self.transcripts
        forward = self.strand >= 0
        return _cut(chrom, np.where(forward, end, start - size), np.where(forward, end + size, start), lengths)

    def parts(self, lengths: np.ndarray) -> dict[str, Intervals]:
        """Return intervals of every class of CLASSES; those of different classes may overlap."""
        promoters, downstream = self.promoters(FLANK, lengths), self.downstream(FLANK, lengths)
        outside_exons = windows.gaps(*_joined(self.exons, self.utrs), lengths)
        introns = _within(outside_exons, windows.union(*self.spans), lengths)
        distal = windows.gaps(*_joined(promoters, downstream, self.spans), lengths)
        return {
            "promoter": promoters,
            "utr": self.utrs,
            "exon": self.exons,
            "intron": introns,
            "downstream": downstream,
            "distal": distal,
        }

    def classes(self, chrom: np.ndarray, at: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the class of each position, an index into CLASSES, int64 (n,)."""
        found = np.full(len(at), CLASSES.index("distal"), dtype=np.int64)
        parts = self.parts(lengths)
        for number in reversed(range(len(CLASSES) - 1)):
            found[windows.overlaps_any(chrom, at, at + 1, parts[CLASSES[number]])] = number
        return found


def read(path: Path, genome: Genome, *, allow_missing: bool = False) -> Genes:
    """Read the genes on the chromosomes of a genome.

    Transcripts are lines of any such type; those that have none, as in GTF of exons and GFF of coding parts alone, are
    the span of their exons, by transcript_id or Parent.

    Args:
        path: of the file.
        genome: open.
        allow_missing: as genome_names.places.

    Raises:
        InputError: the file cannot be read, rows are not features, too many of them are on chromosomes that the genome
            does not have, there is no transcript, or too many of these lie beyond the ends of chromosomes.
    """
    problems = Problems(f"{path}: not a GFF3 or GTF file that can be used:")
    features = _Features()
    for number, line in files.lines(path, key=KEY):
        if line.startswith(("##FASTA", ">")):
            break
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        complaint = _complaint(cells)
        if complaint:
            problems.add(f"line {number}: {complaint}")
        else:
            features.add(cells, number)
    problems.raise_any()
    if not features.kind:
        types = ", ".join(sorted(map(genomes.short, features.kinds))[:10])
        raise InputError(
            f"{path}: no transcript or gene, and no exon or CDS to make them of"
            + (f": its lines are of the types {types}" if types else "")
            + f"; correct {KEY} in run.toml"
        )
    place, _ = genomes.places(path, features.counts(), genome, allow_missing=allow_missing, unit="features")
    genes = features.genes(place)
    if genes is None:
        raise InputError(
            f"{path}: no transcript or gene on the chromosomes of the genome, and its exons and CDS have neither "
            f"transcript_id nor Parent, which would tell what is one transcript; correct {KEY} in run.toml"
        )
    chrom, start, end = genes.transcripts
    beyond = start >= genome.lengths[chrom]
    if beyond.sum() > max(1, BEYOND_MAX * beyond.size):
        first = int(beyond.argmax())
        name, size = genome.names[chrom[first]], genome.lengths[chrom[first]]
        raise InputError(
            f"{path}: {int(beyond.sum())} of {beyond.size} transcripts lie beyond the ends of chromosomes, the first "
            f"at {name}:{start[first] + 1}-{end[first]} ({size} bp): they are of another assembly; correct {KEY} "
            "in run.toml"
        )
    return genes


class _Features:
    """Features as read, with their parents.

    Attributes:
        kinds: of every type of the file, -1: none of ours.
        names: numbers of the chromosomes.
        ids: numbers of the names of genes and transcripts.
        gene_of: in GTF, the gene of a transcript, both by number.
        kind, chrom, start, end, strand, line, own: of every feature; own: number of its name, -1: none.
        child, parent: rows and the numbers of the names that they are part of.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.ids: dict[str, int] = {}
        self.gene_of: dict[int, int] = {}
        self.kind, self.strand = array("b"), array("b")
        self.start, self.end, self.line = (array("q") for _ in range(3))
        self.chrom, self.own, self.child, self.parent = (array("q") for _ in range(4))

    def add(self, cells: list[str], number: int) -> None:
        """Add a well-formed line."""
        kind = self.kinds.get(cells[2])
        if kind is None:
            kinds = (kind for kind, rule in _KINDS.items() if rule.fullmatch(cells[2].lower()))
            kind = self.kinds[cells[2]] = next(kinds, -1)
        if kind < 0:
            return
        text = cells[8].strip() if len(cells) > 8 else ""
        own, part_of = _attribute(_ID, text) if kind <= TRANSCRIPT or kind == CDS else "", _attribute(_PARENT, text)
        if own or part_of:  # GFF3
            if kind == GENE and part_of:
                kind = TRANSCRIPT  # such as a processed_pseudogene of a gene
            elif kind == CDS:
                part_of = part_of or own  # of bacteria: lines of one ID are one coding part
            parents = part_of.split(",")
        else:
            bare = text if _BARE.fullmatch(text) else ""
            gene, transcript = _attribute(_GENE_ID, text), _attribute(_TRANSCRIPT_ID, text) or bare
            own, parents = (gene or bare, []) if kind == GENE else (transcript, [transcript])
            if kind == TRANSCRIPT:
                parents = [gene]
            elif kind > TRANSCRIPT and gene and transcript:
                self.gene_of.setdefault(self._id(transcript), self._id(gene))
        for name in filter(None, map(str.strip, parents)):
            self.child.append(len(self.kind))
            self.parent.append(self._id(name))
        self.kind.append(kind)
        self.chrom.append(self.names.setdefault(cells[0], len(self.names)))
        self.start.append(int(cells[3]) - 1)
        self.end.append(int(cells[4]))
        self.strand.append(STRANDS.get(cells[6], 0))
        self.line.append(number)
        self.own.append(self._id(own) if own and kind in (GENE, TRANSCRIPT) else -1)

    def _id(self, name: str) -> int:
        return self.ids.setdefault(name, len(self.ids))

    def counts(self) -> dict[str, int]:
        """Return features on each chromosome."""
        found = np.bincount(np.asarray(self.chrom), minlength=len(self.names)).tolist()
        return dict(zip(self.names, found, strict=True))

    def genes(self, place: np.ndarray) -> Genes | None:
        """Build the genes, on chromosomes of these numbers (-1: missing); None: no transcript can be found."""
        kind, chrom, start, end, strand, line, own, child, parent = (
            np.asarray(values, dtype=np.int64)
            for values in (self.kind, self.chrom, self.start, self.end, self.strand, self.line, self.own)
            + (self.child, self.parent)
        )
        chrom = place[chrom]
        part = kind[child] > TRANSCRIPT
        known = np.unique(own[own >= 0])
        orphan = part & ~_in(child, child[part & np.isin(parent, known)], len(kind))
        made = _spans(
            np.stack([parent, chrom[child], strand[child]])[:, orphan],
            *(values[child[orphan]] for values in (start, end, line)),
        )
        with_transcripts = np.unique(
            np.concatenate(
                [parent[~part], [self.gene_of[name] for name in made[0].tolist() if name in self.gene_of]]
            ).astype(np.int64)
        )
        lone = (kind == GENE) & ~np.isin(own, with_transcripts)
        rows = np.stack([chrom, start, end, strand, line])
        transcripts = np.concatenate([rows[:, (kind == TRANSCRIPT) | lone], made[1:]], axis=1)
        transcripts = transcripts[:, transcripts[0] >= 0]
        if not transcripts.size:
            return None
        transcripts = transcripts[:, np.argsort(transcripts[4], kind="stable")]
        with_exons = np.unique(parent[part & (kind[child] == EXON)])
        told = _in(child, child[part & np.isin(parent, with_exons)], len(kind))
        coding = kind == CDS
        coding[child[told]] = False
        there = chrom >= 0

        def three(chosen: np.ndarray) -> Intervals:
            chosen = chosen & there
            return chrom[chosen], start[chosen], end[chosen]

        chrom_of, begin, stop, side, at = transcripts
        return Genes(
            transcripts=(chrom_of, begin, stop),
            strand=side,
            line=at,
            exons=three((kind == EXON) | coding),
            utrs=three(kind == UTR),
            spans=windows.union(*_joined(three(kind >= 0), (chrom_of, begin, stop))),
        )


def _attribute(rule: re.Pattern[str], text: str) -> str:
    """Return the value of an attribute in column 9, empty where there is none."""
    found = rule.search(text)
    return found[1].strip().strip('"') if found else ""


def _in(rows: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """Return whether each of `rows` is among the `chosen`; both are below `size`."""
    among = np.zeros(size, dtype=bool)
    among[chosen] = True
    found: np.ndarray = among[rows]
    return found


def _spans(keys: np.ndarray, start: np.ndarray, end: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Return the spans, from the first start to the last end, of rows that share their keys.

    Args:
        keys: int64 (3, n): name, chromosome, strand.
        start, end, line: int64 (n,).

    Returns:
        int64 (6, spans): name, chromosome, start, end, strand, first line.
    """
    if not keys.size:
        return np.zeros((6, 0), dtype=np.int64)
    found, group = np.unique(keys, axis=1, return_inverse=True)
    group = group.ravel()
    first, last, at = start.max(), end.min(), line.max()
    begin, stop, told = (np.full(found.shape[1], value) for value in (first, last, at))
    np.minimum.at(begin, group, start)
    np.maximum.at(stop, group, end)
    np.minimum.at(told, group, line)
    return np.stack([found[0], found[1], begin, stop, found[2], told])


def _complaint(cells: list[str]) -> str:
    if len(cells) < 8:
        return f"{len(cells)} columns; expected nine, with tabs in between"
    if not (_NUMBER.fullmatch(cells[3]) and _NUMBER.fullmatch(cells[4])):
        return f"start {cells[3][:30]!r} and end {cells[4][:30]!r}; expected whole numbers from 1"
    if int(cells[3]) < 1 or int(cells[3]) > int(cells[4]):
        return f"{cells[0]}:{cells[3]}-{cells[4]}; expected 1 <= start <= end"
    return ""


def _cut(chrom: np.ndarray, start: np.ndarray, end: np.ndarray, lengths: np.ndarray) -> Intervals:
    start, end = np.maximum(start, 0), np.minimum(end, lengths[chrom])
    full = end > start
    return chrom[full], start[full], end[full]


def _joined(*parts: Intervals) -> Intervals:
    chrom, start, end = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return chrom, start, end


def _within(one: Intervals, other: Intervals, lengths: np.ndarray) -> Intervals:
    """Return the intersection of intervals: the complement of the union of both complements."""
    return windows.gaps(*_joined(windows.gaps(*one, lengths), windows.gaps(*other, lengths)), lengths)
