"""[prepare.genome]: windows of a genome around peaks."""

from collections.abc import Iterator
from dataclasses import dataclass

from satori_hpc.options import option

CONSTRUCTIONS = ("extend_then_merge", "merge_then_extend", "as_given")
CENTRES = ("middle", "summit")
FILES = ("genome", "peaks", "peak_table", "chrom_sizes", "blacklist", "annotation")
NEGATIVES = ("none", "composition", "intergenic", "annotation")


@dataclass(frozen=True, kw_only=True)
class Genome:
    """[prepare.genome]: windows of a genome around peaks, labelled by the files they come from."""

    genome: str = option("genome.fa", "FASTA file, plain, gzip or bgzip; a relative path starts at the run directory")
    peaks: tuple[str, ...] = option(
        (), "files of peaks: BED, narrowPeak, broadPeak, gappedPeak, tables of MACS (.xls) or HOMER; gzip or not"
    )
    peak_labels: tuple[str, ...] = option((), "label of each file; default: its name without endings")
    peak_table: str | None = option(
        None, "instead of peaks: a table of two columns, file and label; files of one label are taken together"
    )
    label_column: int | None = option(
        None,
        "column, from 1, that holds the labels of each row, with commas in between; default: one label per file",
        low=4,
    )
    construction: str = option(
        "extend_then_merge",
        "extend_then_merge: peaks become windows, overlapping windows one at the weighted mean of their middles; "
        "merge_then_extend: overlapping peaks are joined, each joined region becomes a window; as_given: peaks are "
        "windows already, all of one length; labels of equal ones are put together",
        choices=CONSTRUCTIONS,
    )
    window: int = option(600, "length of a window, bp", low=10)
    overlap: int = option(200, "overlap from which windows (above which peaks) become one, bp", low=1)
    centre: str = option(
        "middle",
        "what a peak is extended about: its middle, or the summit that narrowPeak and MACS tell",
        choices=CENTRES,
    )
    stranded: bool = option(
        False, "keep strands apart: peaks of column 6 = - become windows of the other strand, read 5' to 3' there"
    )
    chromosomes: tuple[str, ...] = option((), "take only these; default: all")
    without_chromosomes: tuple[str, ...] = option((), "leave these out, such as chrM")
    chrom_sizes: str | None = option(
        None, "table of names and lengths of chromosomes: only these are taken, and the genome must have these lengths"
    )
    blacklist: str | None = option(None, "BED file: windows that touch one of its regions are left out")
    annotation: str | None = option(
        None, "GFF3 or GTF file of genes, for promoters and for negatives that are intergenic or by annotation"
    )
    promoters: int = option(
        0,
        "take only peaks that touch this many bp upstream of a transcription start, 0: all peaks; where no peaks are "
        "given, these stretches stand for them, with the label promoter",
        low=0,
    )
    allow_missing_chromosomes: bool = option(
        False,
        "go on where more than half of a file of peaks, a blacklist, an annotation or a table of sizes is on "
        "chromosomes that are not in the genome; they are left out",
    )
    unknown_max: float = option(0.1, "leave out windows with a larger share of letters other than ACGT", low=0, high=1)
    negatives: str = option(
        "none",
        "windows without a label: none; composition: as many G, C and lower-case (repeat) letters as the positives, on "
        "the same chromosomes; intergenic: these, of windows that touch no transcript either; annotation: the same mix "
        "of promoters, exons, introns, ...",
        choices=NEGATIVES,
    )
    negatives_per_positive: float = option(1.0, "how many", low=0.01, high=100)

    @property
    def has_peaks(self) -> bool:
        """Whether files of peaks are named; else promoters stand for them."""
        return bool(self.peaks) or self.peak_table is not None

    def files(self) -> dict[str, tuple[str, ...]]:
        """The files that it names, by key."""
        named = {key: getattr(self, key) for key in FILES}
        return {key: (name,) if isinstance(name, str) else tuple(name) for key, name in named.items() if name}

    def problems(self) -> Iterator[str]:
        if self.peaks and self.peak_table is not None:
            yield "give peaks or peak_table, one of them: the files of peaks"
        if not (self.has_peaks or self.promoters):
            yield "give peaks or peak_table, the files of peaks; or promoters, with an annotation, to stand for them"
        if not self.has_peaks and (self.peak_labels or self.label_column is not None or self.centre == "summit"):
            yield "peak_labels, label_column and centre = 'summit' are told of peaks: give these, or leave them away"
        if self.peak_labels and len(self.peak_labels) != len(self.peaks):
            yield f"{len(self.peaks)} files of peaks, {len(self.peak_labels)} peak_labels: give one each, or none"
        if self.label_column is not None and (self.peak_labels or self.peak_table):
            yield "label_column tells the labels: leave peak_labels and peak_table away"
        if self.overlap > self.window:
            yield f"overlap = {self.overlap} is above window = {self.window}"
        if self.annotation is None and (self.promoters or self.negatives in ("annotation", "intergenic")):
            yield "promoters and negatives = 'annotation' or 'intergenic' need an annotation file"
        both = sorted(set(self.chromosomes) & set(self.without_chromosomes))
        if both:
            yield f"in both chromosomes and without_chromosomes: {', '.join(both)}"
