"""What run.toml may say: the science of a run, one section per stage. Machines are not its business.

Defaults follow the published protocol where it is stated (SATORI 2.0, NAR Genomics and Bioinformatics 2026, lqaf209)
and the choices documented in docs/methods.md where it is not.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satori_hpc import options
from satori_hpc.errors import ConfigError
from satori_hpc.options import option, table

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """[prepare.simulated]: sequences with implanted pairs of JASPAR motifs."""

    design: str = option(
        "published",
        "what a negative holds: published = a few lone motifs; hard = as many motifs as a positive, as close together, "
        "in pairs that are not listed",
        choices=("published", "hard"),
    )
    examples: int = option(60_000, "sequences; half are positive", low=20)
    length: int = option(300, "length of a sequence, bp", low=20)
    tfs: int = option(20, "TFs in the pool", low=2)
    pairs: int = option(40, "interacting pairs among them; every TF is in at least one", low=1)
    pairs_per_positive_min: int = option(3, "fewest listed pairs implanted in a positive", low=1)
    pairs_per_positive_max: int = option(3, "most listed pairs implanted in a positive", low=1)
    pair_gap_min: int = option(
        8, "smallest gap between the two motifs of a pair, bp (end of left to start of right)", low=0
    )
    pair_gap_max: int = option(15, "largest gap between the two motifs of a pair, bp", low=0)
    between_pairs_gap: int = option(16, "smallest gap between two pairs of one sequence, bp", low=0)
    negative_motifs_min: int = option(1, "published design: fewest motifs in a negative", low=0)
    negative_motifs_max: int = option(3, "published design: most motifs in a negative", low=0)
    negative_gap: int = option(40, "published design: smallest gap between any two motifs of a negative, bp", low=0)
    negative_repeats: bool = option(False, "published design: may a TF occur twice in one negative?")
    negative_tfs: str = option(
        "uniform",
        "hard design: how unlisted pairs are drawn: uniform = each alike, so TFs with many listed pairs are rarer in "
        "negatives and their bare presence tells much of the class; matched = every TF is as common as in positives",
        choices=("uniform", "matched"),
    )
    order: str = option(
        "random", "order of the two members of a pair; fixed = by name, left to right", choices=("random", "fixed")
    )
    strand: str = option("forward", "strand of an instance: both = each on its own", choices=("forward", "both"))
    shared_tfs: bool = option(True, "may one TF occur in several of the pairs of one sequence?")
    min_score_fraction: float = option(
        0.5, "an instance must score above this share of its PWM's maximum", low=0, high=0.95
    )
    base_frequencies: tuple[float, ...] = option(
        (0.295, 0.205, 0.205, 0.295), "background letters A, C, G, T", low=0, high=1
    )
    pseudocount: float = option(
        0.8, "pseudo-count added to a column of counts, shared by background frequency", low=1e-6
    )
    placement_tries: int = option(
        200,
        "draws of the motifs and gaps of a sequence until they fit and obey the rules; then the run is refused",
        low=1,
    )
    instance_tries: int = option(1000, "draws of an instance before it is mended toward the consensus", low=1)
    jaspar_release: str = option("JASPAR2026", "release of JASPAR, as pyjaspar names it")
    jaspar_collection: str = option("CORE", "collection of JASPAR")
    jaspar_groups: tuple[str, ...] = option(("vertebrates",), "taxonomic groups of JASPAR")
    jaspar_similarity_max: float = option(
        1.0,
        "thin the collection before the pool is drawn: of motifs more alike than this the first by identifier stays; "
        "1 = keep all",
        low=0.5,
        high=1,
    )
    motif_width_min: int = option(6, "narrowest motif drawn, bp", low=1)
    motif_width_max: int = option(20, "widest motif drawn, bp", low=1)
    motif_information_min: float = option(8.0, "least information of a motif drawn, bits", low=0)
    motif_similarity_max: float = option(
        0.75,
        "no two motifs of the pool may be more alike (best aligned column correlation, both strands)",
        low=0,
        high=1,
    )

    def problems(self) -> Iterator[str]:
        possible = self.tfs * (self.tfs - 1) // 2
        if self.pairs > possible:
            yield f"pairs = {self.pairs}: {self.tfs} TFs form only {possible} pairs"
        if 2 * self.pairs < self.tfs:
            yield f"pairs = {self.pairs}: too few for each of {self.tfs} TFs to be in one"
        if self.design == "hard" and 0 <= possible - self.pairs < self.pairs_per_positive_max:
            yield "design = 'hard' needs as many unlisted pairs as a positive holds: lower pairs or raise tfs"
        for low, high in (
            ("pairs_per_positive_min", "pairs_per_positive_max"),
            ("pair_gap_min", "pair_gap_max"),
            ("negative_motifs_min", "negative_motifs_max"),
            ("motif_width_min", "motif_width_max"),
        ):
            if getattr(self, low) > getattr(self, high):
                yield f"{low} = {getattr(self, low)} is above {high} = {getattr(self, high)}"
        if self.pairs_per_positive_max > self.pairs:
            yield f"pairs_per_positive_max = {self.pairs_per_positive_max} is above pairs = {self.pairs}"
        if (
            len(self.base_frequencies) != 4
            or abs(sum(self.base_frequencies) - 1) > 1e-6
            or min(self.base_frequencies) <= 0
        ):
            yield f"base_frequencies = {list(self.base_frequencies)}: expected four positive numbers that sum to 1"


@dataclass(frozen=True, kw_only=True)
class Fasta:
    """[prepare.fasta]: sequences from a FASTA file and labels from a table, joined by header."""

    fasta: str = option("sequences.fa", "FASTA file, plain or gzip; a relative path starts at the run directory")
    table: str = option(
        "labels.txt", "label table: tab-separated, no header line, name (or chrom), start, end, ..., label last"
    )
    task: str = option(
        "auto",
        "binary: labels are 0 and 1; multilabel: a comma-separated list of label ids per row; auto: binary when only "
        "0 and 1 occur, alone",
        choices=("auto", "binary", "multilabel"),
    )
    labels: int | None = option(None, "multilabel: number of labels; default: the largest id + 1", low=1)


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """[prepare]: where the sequences come from and how they are split."""

    source: str = option("simulated", "where the sequences come from", choices=("simulated", "fasta"))
    split: str = option(
        "random",
        "random: seeded, equal sequences stay together; chromosome: by the lists below",
        choices=("random", "chromosome"),
    )
    valid_fraction: float = option(0.1, "random split: share of examples that choose the model", low=0.001, high=0.9)
    test_fraction: float = option(
        0.1, "random split: share of examples that are interpreted and evaluated", low=0.001, high=0.9
    )
    valid_chromosomes: tuple[str, ...] = option((), "chromosome split: names for validation")
    test_chromosomes: tuple[str, ...] = option((), "chromosome split: names for test; all others train")
    simulated: Simulated | None = table(None, "The simulated set.")
    fasta: Fasta | None = table(None, "Sequences and labels from files.")

    def problems(self) -> Iterator[str]:
        for source in ("simulated", "fasta"):
            present = getattr(self, source) is not None
            if present and source != self.source:
                yield f"source = {self.source!r}, yet there is a section [prepare.{source}]: remove one of them"
            if not present and source == self.source:
                yield f"source = {self.source!r} needs a section [prepare.{source}]"
        if self.split == "random" and self.valid_fraction + self.test_fraction >= 1:
            yield "valid_fraction + test_fraction leave nothing to train on"
        if self.split == "chromosome":
            if not self.valid_chromosomes or not self.test_chromosomes:
                yield "split = 'chromosome' needs valid_chromosomes and test_chromosomes"
            both = sorted(set(self.valid_chromosomes) & set(self.test_chromosomes))
            if both:
                yield f"in both valid_chromosomes and test_chromosomes: {', '.join(both)}"


@dataclass(frozen=True, kw_only=True)
class Model:
    """[model]: the network."""

    architecture: str = option(
        "basic", "basic: attention, then one layer; deep: convolution blocks after attention", choices=("basic", "deep")
    )
    filters: int = option(200, "first-layer filters", low=2)
    width: int = option(13, "width of a filter, bp", low=1)
    padding: int | None = option(
        None, "zero columns left of the sequence; default: width // 2 (the right side gets width - 1 - padding)", low=0
    )
    activation: str = option("relu", "after batch norm of the first layer", choices=("relu", "exp"))
    pool: int = option(4, "max-pool size and stride, bp; attention sees length // pool positions", low=1)
    dropout: float = option(0.2, "dropout after pooling", low=0, high=0.95)
    recurrent: bool = option(False, "a bidirectional LSTM between convolution and attention")
    recurrent_size: int = option(100, "hidden units per direction", low=1)
    recurrent_layers: int = option(2, "LSTM layers", low=1)
    recurrent_dropout: float = option(0.4, "dropout after the LSTM", low=0, high=0.95)
    positions: bool = option(False, "add sinusoidal positions to the tokens that attention sees")
    heads: int = option(8, "attention heads", low=1)
    head_size: int = option(32, "size of a query, key or value", low=1)
    attention_dropout: float = option(0.2, "dropout on attention values in training", low=0, high=0.95)
    mixing_size: int = option(100, "size of the layer that mixes the heads", low=1)
    readout: str = option(
        "sum",
        "basic: how positions become one vector (sum is followed by LayerNorm)",
        choices=("sum", "mean", "max", "flatten", "legacy_batchnorm"),
    )
    output: str = option("one", "binary: one logit (BCE) or two (cross entropy)", choices=("one", "two"))
    block_widths: tuple[int, ...] = option((128, 160, 192), "deep: channels of each block", low=1)
    block_kernel: int = option(9, "deep: kernel of the blocks, odd", low=1)
    block_dropout: float = option(0.2, "deep: dropout in front of blocks and output", low=0, high=0.95)
    dilations: tuple[int, ...] = option(
        (2, 4, 8, 16), "deep: dilations of the last block; too large ones are dropped", low=1
    )
    hidden: int = option(128, "deep: size of the last hidden layer", low=1)
    conv_residual: bool | None = option(
        None, "deep: add the convolution to the attention output; default: when train.entropy > 0"
    )

    def problems(self) -> Iterator[str]:
        if self.block_kernel % 2 == 0:
            yield f"block_kernel = {self.block_kernel}: expected an odd number"
        if self.padding is not None and self.padding >= self.width:
            yield f"padding = {self.padding}: expected less than width = {self.width}"
        if self.architecture == "deep" and not self.block_widths:
            yield "architecture = 'deep' needs at least one block width"


@dataclass(frozen=True, kw_only=True)
class Train:
    """[train]: loss, optimiser and stopping."""

    entropy: float = option(0.0, "weight of the attention entropy in the loss (1e-5 .. 1e-2); 0 = none", low=0)
    entropy_warmup: float = option(0.0, "share of all steps over which that weight rises from 0", low=0, high=1)
    epochs: int = option(30, "most passes over the training examples", low=1)
    patience: int = option(6, "stop after so many epochs without a better validation metric; 0 = never", low=0)
    select: str = option("auroc", "validation metric that chooses the model", choices=("auroc", "aupr"))
    batch_size: int = option(256, "examples per step", low=2)
    optimiser: str = option("adam", "optimiser", choices=("adam", "adamw", "sgd"))
    learning_rate: float = option(1e-3, "largest learning rate", low=1e-8)
    schedule: str = option(
        "constant", "learning rate over the steps: constant, or one cycle up and down", choices=("constant", "onecycle")
    )
    weight_decay: float = option(0.0, "weight decay", low=0)
    momentum: float = option(0.9, "momentum of sgd", low=0, high=0.999)
    gradient_clip: float = option(1.0, "largest gradient norm; 0 = no clipping", low=0)
    precision: str = option(
        "float32", "bfloat16 = autocast; losses, softmax and entropy stay in float32", choices=("float32", "bfloat16")
    )
    checkpoint_every: int = option(0, "steps between checkpoints within an epoch; 0 = at epoch ends only", low=0)


@dataclass(frozen=True, kw_only=True)
class Motifs:
    """[motifs]: from filters to motifs and names."""

    split: str = option("test", "examples whose sites make the motifs", choices=("train", "valid", "test", "all"))
    min_probability: float = option(0.65, "binary: positives predicted above this count", low=0, high=1)
    threshold: float = option(
        0.65, "a site is an activation above this share of the filter's maximum", low=0, high=0.999
    )
    threshold_rule: str = option(
        "maximum", "legacy = mean + threshold * (maximum - mean), as SATORI 1", choices=("maximum", "legacy")
    )
    min_sites: int = option(10, "a filter with fewer sites has no motif", low=1)
    pseudocount: float = option(1.0, "added to every count of a column", low=0)
    trim_bits: float = option(
        0.2,
        "flanking columns of a filter with less information, bits, are left out of the comparison with known motifs; "
        "0 = compare whole filters, whose flat flanks then match the flat stretches of wide motifs",
        low=0,
        high=2,
    )
    min_match_bits: float = option(
        6.0, "a filter is named only if the known motif's columns under it hold so much information, bits", low=0
    )
    database: str = option(
        "jaspar", "jaspar, or a MEME file of known motifs (relative paths start at the run directory)"
    )
    jaspar_release: str = option("JASPAR2026", "release of JASPAR, as pyjaspar names it")
    jaspar_collection: str = option("CORE", "collection of JASPAR")
    jaspar_groups: tuple[str, ...] = option(("vertebrates",), "taxonomic groups of JASPAR")
    database_similarity_max: float = option(
        1.0,
        "thin the known motifs: of those more alike than this the first stays and stands for its family; 1 = keep all",
        low=0.5,
        high=1,
    )
    max_q: float = option(0.05, "a filter is named after its best match at or below this q-value", low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class Score:
    """[score]: which examples are scored, how, and the geometry of the stores."""

    methods: tuple[str, ...] = option(("attention",), "what is scored, in this order", choices=("attention",))
    split: str = option("test", "examples to score", choices=("train", "valid", "test", "all"))
    positive_probability: float = option(0.65, "binary: foreground = positives predicted above this", low=0, high=1)
    negative_probability: float = option(0.35, "binary: background = negatives predicted below this", low=0, high=1)
    label_probability: float = option(0.5, "multilabel: a label is predicted at or above this", low=0, high=1)
    min_precision: float = option(
        0.5, "multilabel: foreground = examples whose predicted labels are right to this share", low=0, high=1
    )
    use_all: bool = option(False, "use every example of the split, however it is predicted")
    max_examples: int = option(5000, "at most so many on each side, drawn by the seed; 0 = all", low=0)
    shard_examples: int = option(2048, "examples per shard (one file of the store)", low=1)
    chunk_pairs: int = option(256, "pairs per inner chunk (what the reduction reads)", low=1)


@dataclass(frozen=True, kw_only=True)
class Reduce:
    """[reduce]: the tests."""

    cutoff: str = option("mean", "attention cut-off: mean = mean of the foreground's scores, or a number in quotes")
    cutoff_rule: str = option(
        "pair",
        "pair: a pair is tested when its largest score reaches the cut-off; value: smaller scores are dropped",
        choices=("pair", "value"),
    )
    min_examples: int = option(10, "a pair is tested when each side has this many scores", low=1)
    alpha: float = option(0.05, "an interaction is called at or below this q-value", low=0, high=1)
    legacy: bool = option(
        False, "SATORI 1: two scores suffice, and a background of at most one becomes zeros (finds what is not there)"
    )

    def problems(self) -> Iterator[str]:
        if self.cutoff != "mean":
            try:
                float(self.cutoff)
            except ValueError:
                yield f"cutoff = {self.cutoff!r}: expected 'mean' or a number in quotes, such as '0.12'"


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """[evaluate]: comparison with known pairs (simulated sets have them)."""

    cooccurrence_range: int = option(45, "baseline: two motif hits co-occur within this many bp", low=1)
    cooccurrence_p: float = option(
        1e-4, "baseline: p-value of a motif hit; of a motif too short for it, the best word", low=1e-9, high=0.1
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """[report]: the HTML page."""

    title: str = option("", "title of the page; default: the run's name")
    max_rows: int = option(2000, "strongest interactions that the page's table holds", low=1)
    max_logos: int = option(60, "filter logos shown", low=0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of run.toml."""

    format_version: int = option(FORMAT_VERSION, "version of this file's form; do not change")
    seed: int = option(1, "every random choice follows from this", low=0, high=2**31 - 1)
    prepare: Prepare = table(
        lambda: Prepare(simulated=Simulated()), "Where the sequences come from and how they are split."
    )
    model: Model = table(Model, "The network.")
    train: Train = table(Train, "Loss, optimiser and stopping.")
    motifs: Motifs = table(Motifs, "From filters to motifs and TF names.")
    score: Score = table(Score, "Which examples are scored, and how.")
    reduce: Reduce = table(Reduce, "The tests.")
    evaluate: Evaluate = table(Evaluate, "Comparison with known pairs.")
    report: Report = table(Report, "The HTML page.")

    def problems(self) -> Iterator[str]:
        simulated = self.prepare.simulated
        if simulated is not None and simulated.length < self.model.width:
            yield f"[prepare.simulated] length = {simulated.length} is shorter than [model] width = {self.model.width}"


def load(path: Path) -> Config:
    """Read run.toml.

    Raises:
        ConfigError: everything that is wrong with it, or that it has another format version.
    """
    config = options.read(path, Config)
    if config.format_version != FORMAT_VERSION:
        raise ConfigError(
            f"{path}: format_version = {config.format_version}, this program reads {FORMAT_VERSION}; "
            "use the version of satori-hpc that made the run, or make a new run and copy your settings"
        )
    return config


def sections(config: Config, names: tuple[str, ...]) -> dict[str, Any]:
    """The named sections, or keys of sections ("score.split"), and the seed as plain values.

    They are what an artefact depends on.
    """
    return {"seed": config.seed, **{name: options.to_plain(operator.attrgetter(name)(config)) for name in names}}
