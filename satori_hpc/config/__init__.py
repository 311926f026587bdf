"""Define run.toml: the scientific settings of a run, one section per stage, without machine settings.

Defaults follow the published protocol where it is stated (SATORI 2.0, NAR Genomics and Bioinformatics 2026, lqaf209)
and the choices documented in docs/methods.md where it is not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satori_hpc.config import plugins as plugin_modules
from satori_hpc.config import search, toml
from satori_hpc.config.evaluate import Evaluate
from satori_hpc.config.families import FAMILIES
from satori_hpc.config.motif_tokens import KnownMotifs, Preloaded
from satori_hpc.config.prepare import SOURCES, Arrays, Fasta, Folds, Genome, Prepare, Simulated
from satori_hpc.config.score import METHODS, Attribution, Dfim, Epistasis, Score, Sites
from satori_hpc.config.search import Search
from satori_hpc.config.sites import SiteSource
from satori_hpc.config.statistics import STATISTICS
from satori_hpc.config.toml import option, table
from satori_hpc.errors import ConfigError
from satori_hpc.registry import module_of

FORMAT_VERSION = 1
__all__ = [
    "Arrays",
    "Attribution",
    "Config",
    "Dfim",
    "Ensemble",
    "Epistasis",
    "Evaluate",
    "Fasta",
    "Folds",
    "Genome",
    "Model",
    "Motifs",
    "Prepare",
    "Reduce",
    "Report",
    "Score",
    "Search",
    "Simulated",
    "SiteSource",
    "Sites",
    "Train",
    "load",
    "option",
    "rooted",
    "sections",
]


@dataclass(frozen=True, kw_only=True)
class Model:
    """[model]: the network."""

    architecture: str = option(
        "basic",
        "model family; basic: attention, then one layer; deep: convolution blocks after attention; or one of a plug-in",
        choices=FAMILIES,
    )
    first_layer: str = option(
        "learned",
        "basic, deep: learned filters; or motifs: known motifs, those of [model.preloaded], as filters "
        "(num_filters, kernel_size and padding are then theirs)",
        choices=("learned", "motifs"),
    )
    num_filters: int = option(200, "first-layer filters", low=2)
    kernel_size: int = option(13, "width of a filter, bp", low=1)
    padding: int | None = option(
        None,
        "zero columns left of the sequence; default: kernel_size // 2 (the right side gets kernel_size - 1 - padding)",
        low=0,
    )
    activation: str = option("relu", "after batch norm of the first layer", choices=("relu", "exp"))
    pool: int = option(4, "max-pool size and stride, bp; attention sees length // pool positions", low=1)
    dropout: float = option(0.2, "dropout after pooling", low=0, high=0.95)
    recurrent: bool = option(False, "a bidirectional LSTM of two layers between convolution and attention")
    recurrent_size: int = option(100, "hidden units per direction", low=1)
    positions: bool = option(False, "add sinusoidal position encodings to the input of attention")
    num_heads: int = option(8, "attention heads", low=1)
    head_dim: int = option(32, "size of a query, key or value", low=1)
    attention_dropout: float = option(0.2, "dropout on attention values in training", low=0, high=0.95)
    mixing_size: int = option(100, "size of the layer that mixes the heads", low=1)
    readout: str = option(
        "sum",
        "basic: pooling over positions (sum is followed by LayerNorm)",
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
    preloaded: Preloaded = table(Preloaded, 'Known motifs as the filters of first_layer = "motifs".')
    guests: dict[str, Any] = toml.guests(FAMILIES, used=lambda model: (model.architecture,))

    @property
    def known_motifs(self) -> tuple[str, KnownMotifs] | None:
        """Table of [model] with the motifs that the network starts from, and its content; None: it learns filters."""
        if FAMILIES[self.architecture].known_motifs:
            return self.architecture, toml.child(self, self.architecture)
        return ("preloaded", self.preloaded) if self.first_layer == "motifs" else None

    def problems(self) -> Iterator[str]:
        if self.first_layer == "motifs" and FAMILIES[self.architecture].settings is not None:
            yield (
                f"first_layer = 'motifs' is for the architectures basic and deep, found {self.architecture!r}: set "
                "architecture, or first_layer = 'learned'"
            )
        if self.first_layer == "motifs" and self.activation != "relu":
            yield "first_layer = 'motifs' has a gate of its own: set activation = 'relu'"
        if self.block_kernel % 2 == 0:
            yield f"block_kernel = {self.block_kernel}: expected an odd number"
        if self.padding is not None and self.padding >= self.kernel_size:
            yield f"padding = {self.padding}: expected less than kernel_size = {self.kernel_size}"
        if self.architecture == "deep" and not self.block_widths:
            yield "architecture = 'deep' needs at least one block width"


FAMILIES.reserve(toml.fields(Model))


@dataclass(frozen=True, kw_only=True)
class Train:
    """[train]: loss, optimiser and stopping."""

    entropy: float = option(0.0, "weight of the attention entropy in the loss (1e-5 .. 1e-2); 0 = none", low=0)
    entropy_warmup: float = option(0.0, "fraction of all steps over which that weight ramps up from 0", low=0, high=1)
    epochs: int = option(30, "maximal number of passes over the training examples", low=1)
    patience: int = option(
        6, "stop after this many epochs without improvement of the validation metric; 0 = never", low=0
    )
    select: str = option("auroc", "validation metric that chooses the model", choices=("auroc", "aupr"))
    batch_size: int = option(256, "examples per step", low=2)
    reverse_complement: str = option(
        "none",
        "reverse complements in training: none: examples as they are; random: each example, in each epoch, as it "
        "is or reverse-complemented with probability 1/2; both: each example in both orientations in every epoch, "
        "which then takes twice as long",
        choices=("none", "random", "both"),
    )
    optimiser: str = option("adam", "optimiser; sgd has momentum 0.9", choices=("adam", "adamw", "sgd"))
    learning_rate: float = option(1e-3, "largest learning rate", low=1e-8)
    schedule: str = option(
        "constant",
        "learning rate over the steps: constant; cosine or linear: down to 0; onecycle: up and down",
        choices=("constant", "cosine", "linear", "onecycle"),
    )
    warmup: float = option(
        0.0,
        "fraction of all steps over which the learning rate ramps up from 0; onecycle has its own warm-up",
        low=0,
        high=1,
    )
    weight_decay: float = option(0.0, "weight decay", low=0)
    max_grad_norm: float = option(1.0, "largest gradient norm; 0 = no clipping", low=0)
    precision: str = option(
        "float32", "bfloat16 = autocast; losses, softmax and entropy stay in float32", choices=("float32", "bfloat16")
    )
    checkpoint_every: int = option(0, "steps between checkpoints within an epoch; 0 = at epoch ends only", low=0)
    seed: int | None = option(
        None,
        "seed of initial weights, order of the examples and dropout, but not of the data; default: the seed of "
        "this file",
        low=0,
        high=2**31 - 1,
    )

    def problems(self) -> Iterator[str]:
        if self.warmup > 0 and self.schedule == "onecycle":
            yield f"warmup = {self.warmup:g}: onecycle has a rise of its own; set warmup = 0"


@dataclass(frozen=True, kw_only=True)
class Motifs:
    """[motifs]: from filters to motifs and names."""

    split: str = option("test", "examples whose sites define the motifs", choices=("train", "valid", "test", "all"))
    min_probability: float = option(0.65, "binary: use positives predicted above this", low=0, high=1)
    threshold: float = option(
        0.65, "a site is an activation above this fraction of the filter's maximum", low=0, high=0.999
    )
    threshold_rule: str = option(
        "maximum", "legacy = mean + threshold * (maximum - mean), as SATORI 1", choices=("maximum", "legacy")
    )
    min_sites: int = option(10, "a filter with fewer sites has no motif", low=1)
    trim_bits: float = option(
        0.2,
        "flanking columns of a filter with less information, bits, are trimmed before the comparison with known "
        "motifs; 0 = compare whole filters, whose flat flanks then match flat columns of wide motifs",
        low=0,
        high=2,
    )
    min_match_bits: float = option(
        6.0,
        "a filter is named only after a known motif whose aligned columns hold at least this much information, "
        "bits; if the best match does not, after the next best",
        low=0,
    )
    database: str = option(
        "jaspar",
        "jaspar, or a file of known motifs: MEME, JASPAR, TRANSFAC, HOMER or CIS-BP (relative paths start at the run "
        "directory)",
    )
    jaspar_release: str = option("JASPAR2026", "release of JASPAR, as pyjaspar names it")
    jaspar_groups: tuple[str, ...] = option(("vertebrates",), "taxonomic groups of JASPAR CORE")
    database_similarity_max: float = option(
        1.0,
        "deduplicate the known motifs: of those more similar than this the first is kept and represents its "
        "family; 1 = keep all",
        low=0.5,
        high=1,
    )
    max_match_q: float = option(
        0.05,
        "a filter is named after its best match if the q-value, and the fraction of column-shuffled copies of the "
        "filter with an equally good match, are at most this; 1 = name every filter",
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class Reduce:
    """[reduce]: the tests."""

    cutoff: str = option(
        "mean",
        "cut-off of the scores, a number in quotes; mean = mean foreground score for the statistic published, "
        "none for others",
    )
    cutoff_rule: str = option(
        "pair",
        "pair: a pair is tested when its largest score reaches the cut-off; value: smaller scores are dropped",
        choices=("pair", "value"),
    )
    min_examples: int = option(10, "a pair is tested when each side has this many scores", low=1)
    level: str = option(
        "tf",
        "units whose pairs are tested beside pairs of filters or motifs: TFs, or families of TFs as in JASPAR "
        "(TFClass); a TF without a family is one of its own, so is one of a family that only counts zinc fingers. "
        "Sites of all motifs of a unit are pooled, and of overlapping sites the strongest counts",
        choices=("tf", "family"),
    )
    combine: str = option(
        "largest",
        "how to combine several site pairs of the same two motifs or TFs in a sequence: the largest (in magnitude "
        "for signed scores), or their sum",
        choices=("largest", "sum"),
    )
    statistic: str = option(
        "auto",
        "test of a pair: published = against its scores in the background (Mann-Whitney, SATORI 2.0); "
        "within-sequence = against the other pairs of the same sequence (signed-rank); minimum-effect = against a "
        "fraction of the effects of its single sites (epistasis; signed-rank); contrasts-two-way = foreground "
        "against background, without the main effects of both motifs; permuted = against the same sequences with "
        "permuted bases (dfim with score.dfim.null only); auto = minimum-effect for epistasis and dfim; "
        "contrasts-two-way for attention and attribution, published for attention between known motifs of the "
        "network and for all that is legacy",
        choices=STATISTICS.after("auto"),
    )
    calibration: str = option(
        "empirical",
        "within-sequence: empirical = a pair must exceed the side effects of pairs further apart than "
        "max_distance (or of most tested pairs, if that is 0; needs 30 of them); theoretical = any effect above "
        "zero, which with thousands of sequences calls the smallest side effect",
        choices=("empirical", "theoretical"),
    )
    max_distance: int = option(
        60,
        "all statistics except published and permuted: only scores of sites at most this many bp apart are "
        "tested; within-sequence uses the others as controls; 0 = any distance",
        low=0,
    )
    alpha: float = option(0.05, "an interaction is called at or below this q-value", low=0, high=1)
    instances: str = option(
        "called",
        "called: the strongest instances of called interactions, as BEDPE; all: in addition the site pair of every "
        "foreground example of every tested pair, as Parquet and BEDPE (large)",
        choices=("called", "all"),
    )
    bedpe_interactions: int = option(1000, "strongest called interactions whose instances are written as BEDPE", low=0)
    bedpe_instances: int = option(10, "strongest instances of each of them", low=1)
    spacing_distance: int = option(150, "spacings beyond this many bp are ignored", low=1, high=32767)
    spacing_draws: int = option(
        10000,
        "maximal number of random draws for the p-value of a preferred spacing; with few, no q-value can be small",
        low=19,
    )
    legacy: bool = option(
        False, "SATORI 1: two scores suffice, and a background of at most one becomes zeros (gives false positives)"
    )

    def problems(self) -> Iterator[str]:
        if self.cutoff != "mean":
            try:
                float(self.cutoff)
            except ValueError:
                yield f"cutoff = {self.cutoff!r}: expected 'mean' or a number in quotes, such as '0.12'"
        if self.legacy and self.statistic not in ("auto", "published"):
            yield f"legacy = true compares with the background, statistic = {self.statistic!r} does not"


@dataclass(frozen=True, kw_only=True)
class Report:
    """[report]: the HTML page."""

    title: str = option("", "title of the page; default: the run's name")


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """[ensemble]: several networks on the same data."""

    seeds: int = option(
        3, "total number of networks: this run's own, and others that differ only in train.seed, by 1, 2, ...", low=1
    )
    min_seeds: int | None = option(
        None, "a TF pair is called if at least this many networks call it; default: more than half of them", low=1
    )

    @property
    def needed(self) -> int:
        """How many networks must call a pair."""
        return self.seeds // 2 + 1 if self.min_seeds is None else self.min_seeds

    def problems(self) -> Iterator[str]:
        if self.min_seeds is not None and self.min_seeds > self.seeds:
            yield f"min_seeds = {self.min_seeds}: expected at most seeds = {self.seeds}"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of run.toml."""

    format_version: int = option(FORMAT_VERSION, "format version of this file; do not change")
    seed: int = option(1, "seed of all random choices", low=0, high=2**31 - 1)
    plugins: tuple[str, ...] = option(
        (),
        "your own Python modules, as package.module, imported whenever this file is read; they add scoring "
        "methods, statistics, model families and data sources by name (docs/architecture.md)",
    )
    prepare: Prepare = table(
        lambda: Prepare(simulated=Simulated()), "Where the sequences come from and how they are split."
    )
    model: Model = table(Model, "The network.")
    train: Train = table(Train, "Loss, optimiser and stopping.")
    motifs: Motifs = table(Motifs, "From filters to motifs and TF names.")
    sites: SiteSource = table(SiteSource, "Where the sites come from whose pairs are scored.")
    score: Score = table(Score, "Which examples are scored, and how.")
    reduce: Reduce = table(Reduce, "The tests.")
    evaluate: Evaluate = table(Evaluate, "Comparison with known pairs.")
    report: Report = table(Report, "The HTML page.")
    search: Search = table(Search, "Hyper-parameter search: satori-hpc search.")
    ensemble: Ensemble = table(Ensemble, "Networks with other seeds: satori-hpc ensemble.")

    @property
    def network_seed(self) -> int:
        """Seed of the network's random choices."""
        return self.seed if self.train.seed is None else self.train.seed

    @staticmethod
    def begin(content: dict[str, Any], name: str) -> None:
        """Import the plug-ins, before their entries are looked up. Raises: as `plugins.load`."""
        plugin_modules.load(content.get("plugins", []), where=name)

    def guest_digests(self, sections: tuple[str, ...]) -> dict[str, str]:
        """Return {module: digest of its file} of the plug-in code that these sections use."""
        used = {
            "model": [FAMILIES[self.model.architecture].network],
            "prepare": [SOURCES[self.prepare.source].make],
            "score": [METHODS[method].scorer for method in self.score.methods],
            "reduce": [METHODS[method].scorer for method in self.score.methods]  # they name their statistic
            + [STATISTICS[name].test for name in (self.reduce.statistic,) if name in STATISTICS],
        }
        return plugin_modules.digests(tuple(module_of(each) for name in sections for each in used.get(name, ())))

    def problems(self) -> Iterator[str]:
        simulated = self.prepare.simulated
        if simulated is not None and simulated.length < self.model.kernel_size:
            yield (
                f"[prepare.simulated] length = {simulated.length} is shorter than "
                f"[model] kernel_size = {self.model.kernel_size}"
            )
        if self.reduce.level == "family" and self.evaluate.known:
            yield "[evaluate] known lists pairs of TFs, [reduce] level = 'family' tests pairs of families: set one"
        yield from search.problems(self.search, Config)


def load(path: Path, text: str | None = None) -> Config:
    """Read run.toml.

    Args:
        path: of the file.
        text: its content, if already read.

    Raises:
        ConfigError: everything that is wrong with it, or that it has another format version.
    """
    config = toml.read(path, Config) if text is None else toml.parse(text, Config, name=str(path))
    if config.format_version != FORMAT_VERSION:
        raise ConfigError(
            f"{path}: format_version = {config.format_version}, this program reads {FORMAT_VERSION}; "
            "use the version of satori-hpc that made the run, or make a new run and copy your settings"
        )
    return config


def rooted(config: Config, folder: Path) -> Config:
    """Return `config` with absolute file names; relative ones start at `folder`."""
    return renamed(config, lambda name: str((folder / Path(name).expanduser()).resolve()))


def renamed(config: Config, rename: Callable[[str], str]) -> Config:
    """Return `config` with its files renamed."""
    for key, names in config.prepare.files().items():
        one = isinstance(getattr(config.prepare.settings, key), str)
        found = rename(names[0]) if one else tuple(map(rename, names))
        config = toml.replace(config, f"prepare.{config.prepare.source}.{key}", found)
    known = config.model.known_motifs
    if known is not None and known[1].motifs != "jaspar":
        config = toml.replace(config, f"model.{known[0]}.motifs", rename(known[1].motifs))
    if config.motifs.database != "jaspar":
        config = toml.replace(config, "motifs.database", rename(config.motifs.database))
    if config.sites.file:
        config = toml.replace(config, "sites.file", rename(config.sites.file))
    config = toml.replace(config, "evaluate.known", tuple(rename(name) for name in config.evaluate.known))
    if config.evaluate.known_names:
        config = toml.replace(config, "evaluate.known_names", rename(config.evaluate.known_names))
    return config


def sections(config: Config, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named sections, or keys of sections ("score.split"), and the seed as plain values.

    An artefact depends on them; with "plugins", digests of the files of plug-ins that whole sections use.
    """
    guests = config.guest_digests(names)
    return {
        "seed": config.seed,
        **{name: toml.to_plain(toml.get(config, name)) for name in names},
        **({"plugins": guests} if guests else {}),
    }
