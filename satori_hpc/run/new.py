"""Create a run directory with a short run.toml: what differs from the defaults, and what a user decides."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from satori_hpc import config as config_module
from satori_hpc.config import (
    Arrays,
    Config,
    Evaluate,
    Fasta,
    Folds,
    Genome,
    Model,
    Prepare,
    Reduce,
    Score,
    Simulated,
    Train,
    toml,
)
from satori_hpc.config.motif_tokens import MotifTokens
from satori_hpc.config.prepare import SOURCES
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import files
from satori_hpc.run.layout import Run

HEADER = """\
# A run of satori-hpc. This file holds the scientific settings; devices, threads and memory are command-line options.
# A key that is left out has its default: "satori-hpc set {path}" prints all keys with comments
# (docs/options.md), "satori-hpc set {path} reduce.alpha=0.01" sets one here. Run: satori-hpc all {path}

"""
# What a user decides, and so is in run.toml even by default.
DECIDED = (
    "format_version",
    "seed",
    "prepare.source",
    "prepare.split",
    *(f"prepare.simulated.{key}" for key in ("design", "examples", "length", "tfs", "pairs")),
    *(f"prepare.{source}.{key}" for source, entry in SOURCES.items() for key in entry.files),
    "prepare.genome.window",
    "prepare.genome.negatives",
    "model.architecture",
    "model.motif-tokens.motifs",
    "model.motif-tokens.jaspar_groups",
    "train.epochs",
    "motifs.database",
    "motifs.jaspar_groups",
    "score.methods",
    "score.split",
    "reduce.statistic",
)


def _simulated(**changes: object) -> Config:
    return Config(prepare=Prepare(source="simulated", simulated=Simulated(**changes)))  # type: ignore[arg-type]


def _demo() -> Config:
    """Return the demo: positives differ from negatives only in the distance within two true pairs.

    Counting which motifs occur together also finds the decoys. Takes some minutes on two cores.
    """
    return dataclasses.replace(
        _motifs(filters=0, kmers=False),
        prepare=Prepare(
            source="simulated",
            simulated=Simulated(
                design="arrange", examples=12_000, length=240, tfs=12, pairs=12, jaspar_similarity_max=0.8
            ),
        ),
    )


# Sets of the publication (40, 60, 80 pairs among 20, 25, 30 TFs), its long sequences, and ours for a first look.
PRESETS = {
    "data-40": lambda: _simulated(tfs=20, pairs=40),
    "data-60": lambda: _simulated(tfs=25, pairs=60),
    "data-80": lambda: _simulated(tfs=30, pairs=80),
    "data-1500": lambda: _simulated(
        length=1500,
        tfs=40,
        pairs=80,
        pairs_per_positive_min=3,
        pairs_per_positive_max=5,
        pair_gap_min=8,
        pair_gap_max=80,
        between_pairs_gap=81,
        negative_gap=100,
    ),
    "demo": _demo,
}


def _motifs(filters: int = 32, *, kmers: bool = True) -> Config:
    """Return a preset with known motifs as the first layer, and attention and epistasis between their sites."""
    tokens = MotifTokens(num_filters=filters, kmers=kmers)
    return Config(
        model=Model(architecture="motif-tokens", guests={"motif-tokens": tokens}),
        train=Train(epochs=12, patience=0, learning_rate=3e-3, schedule="onecycle", batch_size=64, weight_decay=1e-5),
        score=Score(methods=("attention", "epistasis"), max_examples=0),
    )


def _small() -> Config:
    """Return a preset for a few thousand sequences: smaller network, smaller batches, one-cycle learning rate."""
    return Config(
        model=Model(num_filters=64, kernel_size=15, num_heads=4, head_dim=16, mixing_size=64),
        train=Train(epochs=20, patience=0, learning_rate=3e-3, schedule="onecycle", batch_size=64),
    )


@dataclass(frozen=True)
class Preset:
    """A network and its training. when: in words, when to take it."""

    make: Callable[[], Config]
    when: str


# Network and training for sequences from files.
FILE_PRESETS = {
    "motifs": Preset(
        _motifs,
        "known motifs and 32 learned filters under one attention layer, beside a regression on 6-mers; finds pairs of "
        "TFs by name, by attention and epistasis. The one to begin with. Motifs are those of JASPAR vertebrates: for "
        'others, set model.motif-tokens.jaspar_groups, such as ["plants"], or your own file, model.motif-tokens.motifs',
    ),
    "published": Preset(
        Config, "SATORI-basic of the publication: 200 learned filters, for tens of thousands of sequences"
    ),
    "published-preloaded": Preset(
        lambda: Config(
            model=Model(first_layer="motifs"),
            reduce=Reduce(max_distance=80),
            evaluate=Evaluate(cooccurrence_range=80),
        ),
        "the same with known motifs in place of learned filters, for sequences of about 1,500 bp and pairs up to 80 bp "
        "apart (other motifs than JASPAR vertebrates: model.preloaded.jaspar_groups)",
    ),
    "small": Preset(
        _small, "SATORI-basic with 64 learned filters, for a few thousand sequences, or where no motifs are known"
    ),
}


def new(path: Path, *, config: Config) -> Run:
    """Write `path`/run.toml.

    Raises:
        ArtefactError: there is a run.toml already, or `path` is a file.
        ConfigError: the configuration is invalid; nothing is written.
    """
    run = Run(path=path, config=config)
    if run.config_file.exists():
        raise ArtefactError(f"{run.config_file} exists; edit it, or choose another directory")
    if path.exists() and not path.is_dir():
        raise ArtefactError(f"{path} is not a directory; choose another name for the run")
    checked = toml.parse(toml.render(config), Config, name=str(run.config_file))
    text = HEADER.format(path=quoted(run.path)) + toml.render(checked, always=DECIDED)
    path.mkdir(parents=True, exist_ok=True)
    files.write_text(run.config_file, text)
    return Run(path=path, config=checked)


def simulated(preset: str, *, seed: int) -> Config:
    """Return the configuration of a named simulated set."""
    return dataclasses.replace(PRESETS[preset](), seed=seed)


def fasta(
    fasta_file: str,
    table: str,
    *,
    join: str = "auto",
    drop_unlabelled: bool = False,
    preset: str = "motifs",
    seed: int,
) -> Config:
    """Return the configuration for sequences and labels in files, with a network of a named size."""
    section = Fasta(fasta=fasta_file, table=table, join=join, unlabelled="drop" if drop_unlabelled else "refuse")
    return dataclasses.replace(FILE_PRESETS[preset].make(), seed=seed, prepare=Prepare(source="fasta", fasta=section))


def folds(fold_files: Sequence[tuple[str, str, str]], *, preset: str = "motifs", seed: int) -> Config:
    """Return the configuration for ChIP-seq folds; a label, its training file and its test file each.

    Motifs and scores use the validation part: it holds far more bound sequences than the test files.
    """
    labels, train, test = (tuple(column) for column in zip(*fold_files, strict=True))
    section = Folds(labels=labels, train=train, test=test)
    config = FILE_PRESETS[preset].make()
    return dataclasses.replace(
        config,
        seed=seed,
        prepare=Prepare(source="folds", split="given", folds=section),
        motifs=dataclasses.replace(config.motifs, split="valid"),
        score=dataclasses.replace(config.score, split="valid"),
    )


def arrays(array_files: Sequence[str], *, preset: str = "motifs", seed: int) -> Config:
    """Return the configuration for one-hot sequences and labels in HDF5 or NPZ files with training and test parts."""
    section = Arrays(files=tuple(array_files))
    return dataclasses.replace(
        FILE_PRESETS[preset].make(), seed=seed, prepare=Prepare(source="arrays", split="given", arrays=section)
    )


def genome(
    genome_file: str,
    *,
    peaks: tuple[str, ...] = (),
    peak_table: str | None = None,
    chrom_sizes: str | None = None,
    annotation: str | None = None,
    promoters: int | None = None,
    allow_missing_chromosomes: bool = False,
    preset: str = "motifs",
    seed: int,
) -> Config:
    """Return the configuration for windows of a genome: around peaks, multi-label or with one label against negatives.

    Or,.
    without peaks, around the promoters of an annotation, in their direction, against intergenic windows.
    """
    annotated = not peaks and peak_table is None
    alone = "composition" if peak_table is None and len(peaks) == 1 else "none"
    section = Genome(
        genome=genome_file,
        peaks=peaks,
        peak_table=peak_table,
        chrom_sizes=chrom_sizes,
        annotation=annotation,
        promoters=promoters or 0,
        allow_missing_chromosomes=allow_missing_chromosomes,
        stranded=annotated,
        negatives="intergenic" if annotated else alone,
    )
    prepare = Prepare(source="genome", split="chromosome", genome=section)
    return dataclasses.replace(FILE_PRESETS[preset].make(), seed=seed, prepare=prepare)


def guest(source: str, *, preset: str = "motifs", seed: int) -> Config:
    """Return the configuration for a source of a plug-in, with its settings by default."""
    split = "given" if SOURCES[source].parts == "always" else "random"
    return dataclasses.replace(FILE_PRESETS[preset].make(), seed=seed, prepare=Prepare(source=source, split=split))


def like(path: Path, *, data: Config | None = None, seed: int | None = None) -> Config:
    """Return the configuration in a run.toml, or in the best.toml of a search.

    Args:
        path: of the file; relative names in it start at its folder.
        data: whose [prepare] to take instead.
        seed: to take instead.

    Raises:
        ConfigError: the file cannot be used.
    """
    config = config_module.rooted(config_module.load(path), path.resolve().parent)
    if data is not None:
        config = dataclasses.replace(config, prepare=data.prepare)
    return config if seed is None else dataclasses.replace(config, seed=seed)
