"""Define the section [prepare] of run.toml: the source of the sequences and their split."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from satori_hpc.config import toml
from satori_hpc.config.toml import option, table
from satori_hpc.registry import Registry

# [prepare.genome]: windows of a genome around peaks.

CONSTRUCTIONS = ("extend_then_merge", "merge_then_extend", "as_given")
CENTRES = ("middle", "summit")
FILES = ("genome", "peaks", "peak_table", "chrom_sizes", "blacklist", "annotation")
NEGATIVES = ("none", "composition", "intergenic", "annotation")


@dataclass(frozen=True, kw_only=True)
class Genome:
    """[prepare.genome]: windows of a genome around peaks, labelled by peak file."""

    genome: str = option("genome.fa", "FASTA file, plain, gzip or bgzip; a relative path starts at the run directory")
    peaks: tuple[str, ...] = option(
        (),
        "peak files: BED, narrowPeak, broadPeak, gappedPeak, tables of MACS (.xls) or HOMER; plain or gzip; each is a "
        "label, its name without extensions",
    )
    peak_table: str | None = option(
        None, "instead of peaks: a table of two columns, file and label; files with the same label are pooled"
    )
    label_column: int | None = option(
        None,
        "column, from 1, with the labels of each row, comma-separated; default: one label per file",
        low=4,
    )
    construction: str = option(
        "extend_then_merge",
        "extend_then_merge: peaks become windows, overlapping windows are merged at the weighted mean of their "
        "centres; merge_then_extend: overlapping peaks are merged, each merged region becomes a window; as_given: "
        "peaks already are windows of one length; labels of identical ones are combined",
        choices=CONSTRUCTIONS,
    )
    window: int = option(600, "length of a window, bp", low=10)
    overlap: int = option(200, "minimal overlap at which windows (above which peaks) are merged, bp", low=1)
    centre: str = option(
        "middle",
        "centre of the window of a peak: its midpoint, or the summit given by narrowPeak and MACS",
        choices=CENTRES,
    )
    stranded: bool = option(
        False, "strand-specific: peaks with column 6 = - become windows of the minus strand, read 5' to 3'"
    )
    chromosomes: tuple[str, ...] = option((), "use only these chromosomes; default: all")
    without_chromosomes: tuple[str, ...] = option((), "exclude these chromosomes, such as chrM")
    chrom_sizes: str | None = option(
        None, "table of chromosome names and lengths: only these are used, and the genome must have these lengths"
    )
    blacklist: str | None = option(None, "BED file: windows that overlap one of its regions are excluded")
    annotation: str | None = option(
        None, "GFF3 or GTF file of genes, for promoters and for negatives = intergenic or annotation"
    )
    promoters: int = option(
        0,
        "use only peaks that overlap this many bp upstream of a transcription start site, 0: all peaks; if no "
        "peaks are given, these regions are used as peaks, with the label promoter",
        low=0,
    )
    allow_missing_chromosomes: bool = option(
        False,
        "continue if more than half of a peak file, blacklist, annotation or table of sizes is on chromosomes "
        "that are not in the genome; these are excluded",
    )
    unknown_max: float = option(0.1, "exclude windows with a larger fraction of bases other than ACGT", low=0, high=1)
    negatives: str = option(
        "none",
        "windows without a label: none; composition: matched to the positives in GC content, lower-case (repeat) "
        "fraction and chromosome; intergenic: the same, from windows that overlap no transcript; annotation: "
        "matched in the mix of promoters, exons, introns, ...",
        choices=NEGATIVES,
    )
    negatives_per_positive: float = option(1.0, "number of negatives per positive", low=0.01, high=100)

    @property
    def has_peaks(self) -> bool:
        """Whether peak files are given; otherwise promoters are used."""
        return bool(self.peaks) or self.peak_table is not None

    def problems(self) -> Iterator[str]:
        if self.peaks and self.peak_table is not None:
            yield "give peaks or peak_table, one of them: the files of peaks"
        if not (self.has_peaks or self.promoters):
            yield "give peaks or peak_table, the files of peaks; or promoters, with an annotation, to stand for them"
        if not self.has_peaks and (self.label_column is not None or self.centre == "summit"):
            yield "label_column and centre = 'summit' are told of peaks: give these, or leave them away"
        if self.label_column is not None and self.peak_table:
            yield "label_column tells the labels: leave peak_table away"
        if self.overlap > self.window:
            yield f"overlap = {self.overlap} is above window = {self.window}"
        if self.annotation is None and (self.promoters or self.negatives in ("annotation", "intergenic")):
            yield "promoters and negatives = 'annotation' or 'intergenic' need an annotation file"
        both = sorted(set(self.chromosomes) & set(self.without_chromosomes))
        if both:
            yield f"in both chromosomes and without_chromosomes: {', '.join(both)}"


SPLITS = ("random", "chromosome", "given", "human", "arabidopsis")  # the last two are data.splits.PUBLISHED


DESIGNS = ("published", "hard", "hard-matched", "grammar", "additive", "one-motif", "arrange", "one-pair")
# Keys that only the first three designs use: how many pairs, and all distances, are constants of the others.
DISTANCES = (
    "pairs_per_positive_min",
    "pairs_per_positive_max",
    "pair_gap_min",
    "pair_gap_max",
    "between_pairs_gap",
    "negative_motifs_min",
    "negative_motifs_max",
    "negative_gap",
    "shared_tfs",
)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """[prepare.simulated]: sequences with implanted pairs of JASPAR motifs."""

    REMOVED: ClassVar[dict[str, str]] = {
        "negative_tfs": 'is a design now: "uniform" is design = "hard", "matched" is design = "hard-matched"'
    }

    design: str = option(
        "published",
        "what makes a sequence positive, and the confounders: published = listed pairs, negatives hold a few "
        "single motifs; hard = negatives hold as many pairs, equally close, that are not listed; hard-matched = "
        "the same, and every TF is equally common in negatives; grammar = effects of single TFs and of close "
        "listed pairs, decoys are additive; additive = the same without pair effects; one-motif = the presence of "
        "one TF; arrange = the distance within listed pairs, which all sequences hold; one-pair = one pair at any "
        "distance, negatives hold one of its TFs",
        choices=DESIGNS,
    )
    examples: int = option(60_000, "sequences; half are positive, in grammar and additive about half", low=20)
    length: int = option(300, "length of a sequence, bp", low=20)
    tfs: int = option(20, "TFs in the panel", low=2)
    pairs: int = option(
        40,
        "interacting pairs among them; every TF is in at least one. grammar, additive, one-motif, arrange: plus "
        "as many decoys; one-pair: always one",
        low=1,
    )
    pairs_per_positive_min: int = option(3, "minimal number of listed pairs implanted in a positive", low=1)
    pairs_per_positive_max: int = option(3, "maximal number of listed pairs implanted in a positive", low=1)
    pair_gap_min: int = option(
        8, "smallest gap between the two motifs of a pair, bp (end of left to start of right)", low=0
    )
    pair_gap_max: int = option(15, "largest gap between the two motifs of a pair, bp", low=0)
    between_pairs_gap: int = option(16, "smallest gap between two pairs of one sequence, bp", low=0)
    negative_motifs_min: int = option(1, "published design: minimal number of motifs in a negative", low=0)
    negative_motifs_max: int = option(3, "published design: maximal number of motifs in a negative", low=0)
    negative_gap: int = option(40, "published design: smallest gap between any two motifs of a negative, bp", low=0)
    order: str = option(
        "random", "order of the two members of a pair; fixed = by name, left to right", choices=("random", "fixed")
    )
    strand: str = option(
        "forward", "strand of an instance: both = drawn for each instance", choices=("forward", "both")
    )
    shared_tfs: bool = option(True, "may one TF occur in several of the pairs of one sequence?")
    min_score_fraction: float = option(
        0.5, "an instance must score above this fraction of its PWM's maximum", low=0, high=0.95
    )
    base_frequencies: tuple[float, ...] = option(
        (0.295, 0.205, 0.205, 0.295), "background frequencies of A, C, G, T", low=0, high=1
    )
    instance_tries: int = option(1000, "draws of an instance before it is repaired toward the consensus", low=1)
    jaspar_groups: tuple[str, ...] = option(("vertebrates",), "taxonomic groups of JASPAR CORE")
    jaspar_similarity_max: float = option(
        1.0,
        "deduplicate the collection before the panel is drawn: of motifs more similar than this the first by "
        "identifier is kept; 1 = keep all",
        low=0.5,
        high=1,
    )
    motif_information_min: float = option(8.0, "minimal information content of a motif drawn, bits", low=0)
    motif_similarity_max: float = option(
        0.75,
        "maximal similarity of two motifs of the panel (best aligned column correlation, both strands)",
        low=0,
        high=1,
    )

    def problems(self) -> Iterator[str]:
        yield from self._pairs_problems()
        if not self.design.startswith(("published", "hard")):
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            given = [key for key in DISTANCES if getattr(self, key) != defaults[key]]
            if given:
                yield f"design = {self.design!r} has constants of its own for {', '.join(given)}: leave these out"
        for low, high in (
            ("pairs_per_positive_min", "pairs_per_positive_max"),
            ("pair_gap_min", "pair_gap_max"),
            ("negative_motifs_min", "negative_motifs_max"),
        ):
            if getattr(self, low) > getattr(self, high):
                yield f"{low} = {getattr(self, low)} is above {high} = {getattr(self, high)}"
        if self.pairs_per_positive_max > self.pairs and self.design.startswith(("published", "hard")):
            yield f"pairs_per_positive_max = {self.pairs_per_positive_max} is above pairs = {self.pairs}"
        if (
            len(self.base_frequencies) != 4
            or abs(sum(self.base_frequencies) - 1) > 1e-6
            or min(self.base_frequencies) <= 0
        ):
            yield f"base_frequencies = {list(self.base_frequencies)}: expected four positive numbers that sum to 1"

    def _pairs_problems(self) -> Iterator[str]:
        """Check whether the TFs form enough pairs of each role for the design."""
        if self.design == "one-pair":
            if self.tfs < 4:
                yield f"tfs = {self.tfs}: design = 'one-pair' needs 4, two for the pair and two for its decoy"
            return
        tfs = self.tfs - (self.design == "one-motif")  # the TF that decides is in no drawn pair
        possible = tfs * (tfs - 1) // 2
        if self.pairs > possible:
            yield f"pairs = {self.pairs}: {tfs} TFs form only {possible} pairs"
        if 2 * self.pairs < tfs:
            yield f"pairs = {self.pairs}: too few for each of {tfs} TFs to be in one"
        if self.design.startswith("hard") and 0 <= possible - self.pairs < self.pairs_per_positive_max:
            yield f"design = {self.design!r} needs as many unlisted pairs as a positive holds: lower pairs or raise tfs"
        if self.design == "arrange" and self.pairs < 2:
            yield "pairs = 1: design = 'arrange' implants two true pairs in every sequence"
        if not self.design.startswith(("published", "hard")) and self.pairs <= possible <= 2 * self.pairs:
            yield (
                f"pairs = {self.pairs}: design = {self.design!r} has as many decoys, and other pairs beside; {tfs} TFs "
                f"form only {possible} pairs: lower pairs or raise tfs"
            )


@dataclass(frozen=True, kw_only=True)
class Fasta:
    """[prepare.fasta]: sequences from a FASTA file and labels from a table, joined by headers."""

    fasta: str = option("sequences.fa", "FASTA file, plain or gzip; a relative path starts at the run directory")
    table: str = option(
        "labels.txt", "label table: tab-separated, no header line, name (or chrom), start, end, ..., label last"
    )
    join: str = option(
        "auto",
        "how records are matched to rows: auto = by coordinates or name; name = by name, in the first column or "
        "another text column; order = record k to row k, refused if headers contradict it",
        choices=("auto", "name", "order"),
    )
    unlabelled: str = option(
        "refuse", "records without a row: refuse = an error; drop = excluded and counted", choices=("refuse", "drop")
    )
    task: str = option(
        "auto",
        "binary: labels are 0 and 1; multilabel: a comma-separated list of label ids per row; auto: binary if "
        "every row has a single 0 or 1",
        choices=("auto", "binary", "multilabel"),
    )
    labels: int | None = option(None, "multilabel: number of labels; default: the largest id + 1", low=1)


@dataclass(frozen=True, kw_only=True)
class Folds:
    """[prepare.folds]: ChIP-seq folds, a training and a test file per TF."""

    labels: tuple[str, ...] = option((), "names of the TFs; one makes a binary set")
    train: tuple[str, ...] = option(
        (), "training file of each TF, in their order (columns EventID, seq, Bound; plain or gzip)"
    )
    test: tuple[str, ...] = option((), "test file of each TF, likewise")
    negatives: str = option(
        "dinucleotide",
        "negatives added to the bound training sequences: dinucleotide = a dinucleotide-preserving shuffle of "
        "each; blocks = a shuffle of its blocks of two bases, as published; none = no negatives",
        choices=("dinucleotide", "blocks", "none"),
    )
    missing_label: str = option(
        "unknown",
        "label of a training sequence for TFs whose training files do not contain it: unknown = ignored in loss "
        "and metrics; absent = 0. In the test part it is always unknown",
        choices=("unknown", "absent"),
    )

    def problems(self) -> Iterator[str]:
        if not self.labels:
            yield "labels is empty: name a TF, and its files in train and test"
        if not len(self.labels) == len(self.train) == len(self.test):
            yield (
                f"{len(self.labels)} labels, {len(self.train)} files in train, {len(self.test)} in test: expected one "
                "of each per TF"
            )
        if len(set(self.labels)) < len(self.labels) or not all(label.strip() for label in self.labels):
            yield "labels are empty or repeated: give each TF a name of its own"


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """[prepare.arrays]: one-hot sequences and labels in HDF5 or NPZ files."""

    files: tuple[str, ...] = option(
        ("arrays.h5",),
        "HDF5 (also MATLAB 7.3) or NPZ files; several if train, valid and test are in separate files",
    )
    letters: str | None = option(
        None, "order of the bases on the one-hot axis; default: ACGT, for DeepSEA's arrays (trainxdata, ...) AGCT"
    )
    targets: str | None = option(
        None, "text file with one label name per line; default: names in the array file, else numbers"
    )
    unknown: int | None = option(None, "value that marks an unknown label, such as -1; multi-label sets only")

    def problems(self) -> Iterator[str]:
        if not self.files:
            yield "files is empty: name at least one"
        if self.letters is not None and sorted(self.letters.replace("U", "T")) != list("ACGT"):
            yield f"letters = {self.letters!r}: expected A, C, G and T once each, in the order of the arrays"
        if self.unknown in (0, 1):
            yield f"unknown = {self.unknown} is a label"


PARTS = ("never", "maybe", "always")


@dataclass(frozen=True, kw_only=True)
class Template:
    """How `new` makes a run of a data source.

    Attributes:
        make: "package.module:name" of what makes its configuration, called with `options`, preset and seed by name.
        options: parameters of the command that go with this source alone.
        needs: one of them, without which there is nothing to make a run of; empty: none.
        presets: "package.module:name" of its presets, by name.
        preset: the one by default.
    """

    make: str
    options: tuple[str, ...] = ()
    needs: str = ""
    presets: str = "satori_hpc.run.new:FILE_PRESETS"
    preset: str = "motifs"


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A source of sequences.

    Attributes:
        make: called as make(run, runtime), gives a data.source.Source; or "package.module:name" of that, imported on
            first use.
        sentence: description of its table [prepare.<name>].
        settings: dataclass of that table; None: it has none.
        files: its keys that name files of the user.
        noun: the report's word for one of its examples.
        parts: of PARTS, whether it defines a training, a validation and a test part; with "always" [prepare]
            split must be "given", with "never" not.
        together: all processes of a world call `make`, which returns the source on the root and None elsewhere,
            and its files in run.dataset_parts stay until the data set is complete, so that a killed command resumes.
            Otherwise only the root calls it, and starts from scratch.
        template: how `new` makes a run of it; None: with its default settings (run.new.guest).
    """

    make: Callable[..., Any] | str
    sentence: str
    settings: type | None = None
    files: tuple[str, ...] = ()
    noun: str = "sequence"
    parts: str = "never"
    together: bool = False
    template: Template | None = None


SOURCES: Registry[DataSource] = Registry("data source")
SOURCES.add(
    "simulated",
    DataSource(
        make="satori_hpc.data.sources.simulate.stage:make",
        sentence="The simulated set.",
        settings=Simulated,
        noun="simulated sequence",
        template=Template(make="satori_hpc.run.new:simulated", presets="satori_hpc.run.new:PRESETS", preset="data-40"),
    ),
)
SOURCES.add(
    "fasta",
    DataSource(
        make="satori_hpc.data.sources.fasta_table:make",
        sentence="Sequences and labels from files.",
        settings=Fasta,
        files=("fasta", "table"),
        template=Template(make="satori_hpc.run.new:fasta", options=("fasta_file", "table", "join", "drop_unlabelled")),
    ),
)
SOURCES.add(
    "genome",
    DataSource(
        make="satori_hpc.data.sources.genome.stage:make",
        sentence="Windows of a genome around peaks.",
        settings=Genome,
        files=FILES,
        together=True,
        template=Template(
            make="satori_hpc.run.new:genome",
            options=(
                *("genome_file", "peaks", "peak_table", "chrom_sizes", "annotation", "promoters"),
                "allow_missing_chromosomes",
            ),
        ),
    ),
)
SOURCES.add(
    "folds",
    DataSource(
        make="satori_hpc.data.sources.chipseq_folds:make",
        sentence="Training and test folds of ChIP-seq experiments.",
        settings=Folds,
        files=("train", "test"),
        parts="always",
        template=Template(make="satori_hpc.run.new:folds", options=("fold_files",), needs="fold_files"),
    ),
)
SOURCES.add(
    "arrays",
    DataSource(
        make="satori_hpc.data.sources.arrays:make",
        sentence="One-hot sequences and labels.",
        settings=Arrays,
        files=("files", "targets"),
        parts="maybe",
        template=Template(make="satori_hpc.run.new:arrays", options=("array_files",), needs="array_files"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """[prepare]: the source of the sequences and their split."""

    source: str = option("simulated", "where the sequences come from", choices=SOURCES)
    alphabet: str = option(
        "dna", "alphabet of all sequence files: rna = U is read as T; dna = U is refused", choices=("dna", "rna")
    )
    split: str = option(
        "random",
        "random: seeded, identical and overlapping sequences stay together; chromosome: by the lists below; "
        "without them, the published chromosomes of human and Arabidopsis, for other genomes whole chromosomes "
        "sampled by the fractions; given: the parts of folds or arrays, with valid_fraction of the training part "
        "for validation if they have none; human, arabidopsis: the chromosomes of SATORI 2.0",
        choices=SPLITS,
    )
    valid_fraction: float = option(0.1, "fraction of examples for validation (model selection)", low=0.001, high=0.9)
    test_fraction: float = option(0.1, "fraction of examples for testing and interpretation", low=0.001, high=0.9)
    valid_chromosomes: tuple[str, ...] = option((), "chromosome split: names for validation")
    test_chromosomes: tuple[str, ...] = option((), "chromosome split: names for test; all others train")
    simulated: Simulated | None = table(None, SOURCES["simulated"].sentence)
    fasta: Fasta | None = table(None, SOURCES["fasta"].sentence)
    genome: Genome | None = table(None, SOURCES["genome"].sentence)
    folds: Folds | None = table(None, SOURCES["folds"].sentence)
    arrays: Arrays | None = table(None, SOURCES["arrays"].sentence)

    guests: dict[str, Any] = toml.guests(SOURCES, used=lambda prepare: (prepare.source,))

    @property
    def settings(self) -> Any:
        """The settings of the source, of the dataclass that it was registered with."""
        return toml.child(self, self.source)

    def files(self) -> dict[str, tuple[str, ...]]:
        """Return the files named by the source, by key."""
        named = {key: getattr(self.settings, key) for key in SOURCES[self.source].files}
        return {key: (name,) if isinstance(name, str) else tuple(name) for key, name in named.items() if name}

    def problems(self) -> Iterator[str]:
        own = toml.fields(self)
        for name in SOURCES:
            present = name in self.guests or (name in own and getattr(self, name) is not None)
            if present and name != self.source:
                yield f"source = {self.source!r}, yet there is a section [prepare.{name}]: remove one of them"
            if not present and name == self.source and name in own:
                yield f"source = {self.source!r} needs a section [prepare.{self.source}]"
        if self.alphabet == "dna" and self.arrays is not None and "U" in (self.arrays.letters or ""):
            yield f"letters = {self.arrays.letters!r} hold U, which is RNA: set alphabet = 'rna', or write T"
        parts = SOURCES[self.source].parts
        if parts == "always" and self.split != "given":
            yield f"source = {self.source!r} needs split = 'given', found {self.split!r}"
        if parts == "never" and self.split == "given":
            yield f"source = {self.source!r} has no parts of its own: set split = 'random' or 'chromosome'"
        if self.split in ("random", "chromosome") and self.valid_fraction + self.test_fraction >= 1:
            yield "valid_fraction + test_fraction leave nothing to train on"
        if self.split == "chromosome":
            if bool(self.valid_chromosomes) != bool(self.test_chromosomes):
                yield "split = 'chromosome' needs valid_chromosomes and test_chromosomes, both or neither"
            both = sorted(set(self.valid_chromosomes) & set(self.test_chromosomes))
            if both:
                yield f"in both valid_chromosomes and test_chromosomes: {', '.join(both)}"


SOURCES.reserve(toml.fields(Prepare))
