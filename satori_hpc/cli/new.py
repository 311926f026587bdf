"""Define the command `new`."""

import dataclasses
from pathlib import Path

import click

from satori_hpc.cli.options import RUN, say
from satori_hpc.config import plugins, toml
from satori_hpc.config.prepare import SOURCES
from satori_hpc.errors import quoted
from satori_hpc.run import new as stage

DEFAULT_PRESETS = {"simulated": "data-40", "folds": "short"}  # published of the others


@click.command()
@RUN
@click.option("--template", metavar="SOURCE", help=f"{', '.join(SOURCES)}, or one of a plug-in. Default: simulated.")
@click.option(
    "--preset",
    help="simulated: "
    + ", ".join(stage.PRESETS)
    + " (default data-40); others: "
    + ", ".join(stage.FILE_PRESETS)
    + " (default published, for folds short; small for a few thousand sequences, short for many sequences of "
    "about 100 bp).",
)
@click.option("--fasta", default="sequences.fa", show_default=True, help="FASTA file (template fasta).")
@click.option("--table", default="labels.txt", show_default=True, help="Label table (template fasta).")
@click.option(
    "--join",
    type=click.Choice(["auto", "name", "order"]),
    default="auto",
    show_default=True,
    help="How records are matched to rows: auto: by coordinates, else by name; name: by name; order: record k to "
    "row k (template fasta).",
)
@click.option("--drop-unlabelled", is_flag=True, help="Exclude records without a row (template fasta).")
@click.option("--genome", default="genome.fa", show_default=True, help="FASTA file of the genome (template genome).")
@click.option(
    "--peaks",
    multiple=True,
    help="BED, narrowPeak or broadPeak file, one label per file; may be repeated (template genome).",
)
@click.option("--peak-table", help="Instead of --peaks: a table of two columns, file and label.")
@click.option("--chrom-sizes", help="Table of chromosome names and lengths: only these are used (template genome).")
@click.option("--annotation", help="GFF3 or GTF file, for promoters and negatives by annotation (template genome).")
@click.option(
    "--promoters",
    type=click.IntRange(min=1),
    metavar="BP",
    help="With --annotation: use only peaks that overlap this many bp upstream of a transcription start site; "
    "without peaks, use these regions, against intergenic windows (template genome).",
)
@click.option(
    "--allow-missing-chromosomes",
    is_flag=True,
    help="Continue if more than half of a file is on chromosomes missing from the genome (template genome).",
)
@click.option(
    "--fold",
    "fold_files",
    multiple=True,
    metavar="LABEL=TRAIN,TEST",
    help="Name, training file and test file of a TF (template folds); may be repeated.",
)
@click.option(
    "--arrays",
    "array_files",
    multiple=True,
    metavar="FILE",
    help="HDF5 (also MATLAB 7.3) or NPZ file of one-hot sequences and labels (template arrays); may be repeated.",
)
@click.option(
    "--like",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Copy the settings of this run.toml, or best.toml of a search; with --template, all except [prepare].",
)
@click.option(
    "--plugin",
    "plugin_names",
    multiple=True,
    metavar="MODULE",
    help="Your own Python module with methods, statistics, models or sources: adds it to plugins. May be repeated.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed; default: 1, or that of --like.")
@click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Set any key; may be repeated.")
def new(
    run: Path,
    template: str | None,
    preset: str | None,
    fasta: str,
    table: str,
    join: str,
    drop_unlabelled: bool,
    genome: str,
    peaks: tuple[str, ...],
    peak_table: str | None,
    chrom_sizes: str | None,
    annotation: str | None,
    promoters: int | None,
    allow_missing_chromosomes: bool,
    fold_files: tuple[str, ...],
    array_files: tuple[str, ...],
    like: Path | None,
    plugin_names: tuple[str, ...],
    seed: int | None,
    assignments: tuple[str, ...],
) -> None:
    """Create a run directory with a short run.toml: what differs from the defaults, and what a user decides.

    \b
      satori-hpc new RUN                                                      a simulated set
      satori-hpc new RUN --template fasta --fasta X.fa --table X.txt          sequences and their labels
      satori-hpc new RUN --template genome --genome hg38.fa --peaks A.bed.gz --peaks B.narrowPeak
      satori-hpc new RUN --template genome --genome tair10.fa --annotation genes.gff3 --promoters 500
      satori-hpc new RUN --template folds --fold GATA3=train.seq.gz,test.seq.gz
      satori-hpc new RUN --template arrays --arrays train.h5 --arrays test.h5

    File names given here are relative to the current folder; relative names written into run.toml by hand start at the
    run directory.
    """
    plugins.load(plugin_names, where="--plugin")
    named = template or "simulated"
    if named not in SOURCES:
        raise click.BadParameter(f"{named!r} is not one of {', '.join(SOURCES)}", param_hint="--template")
    if named != "fasta" and (join != "auto" or drop_unlabelled):
        raise click.UsageError("--join and --drop-unlabelled go with --template fasta")
    for option, given, wanted in (("--fold", fold_files, "folds"), ("--arrays", array_files, "arrays")):
        if bool(given) != (named == wanted):
            raise click.UsageError(f"{option} goes with --template {wanted}, which needs it")
    presets = stage.PRESETS if named == "simulated" else stage.FILE_PRESETS
    if preset is not None and preset not in presets:
        raise click.BadParameter(f"{preset!r}; template {named} has {', '.join(presets)}", param_hint="--preset")
    name, number = preset or DEFAULT_PRESETS.get(named, "published"), 1 if seed is None else seed
    if named == "fasta":
        config = stage.fasta(
            _here(fasta), _here(table), join=join, drop_unlabelled=drop_unlabelled, preset=name, seed=number
        )
    elif named == "genome":
        if (bool(peaks) + (peak_table is not None) or bool(annotation and promoters)) != 1:
            raise click.UsageError(
                "template genome needs --peaks or --peak-table, one of them, or --annotation with --promoters"
            )
        if promoters and annotation is None:
            raise click.UsageError("--promoters needs --annotation, for the transcription start sites")
        config = stage.genome(
            _here(genome),
            peaks=tuple(map(_here, peaks)),
            peak_table=None if peak_table is None else _here(peak_table),
            chrom_sizes=None if chrom_sizes is None else _here(chrom_sizes),
            annotation=None if annotation is None else _here(annotation),
            promoters=promoters or 0,
            allow_missing_chromosomes=allow_missing_chromosomes,
            preset=name,
            seed=number,
        )
    elif named == "folds":
        config = stage.folds([_fold(text) for text in fold_files], preset=name, seed=number)
    elif named == "arrays":
        config = stage.arrays([_here(file) for file in array_files], preset=name, seed=number)
    elif named == "simulated":
        config = stage.simulated(name, seed=number)
    else:
        config = stage.guest(named, preset=name, seed=number)
    if like is not None:
        config = stage.like(like, data=config if template or preset else None, seed=seed)
    config = dataclasses.replace(config, plugins=tuple(dict.fromkeys((*config.plugins, *plugin_names))))
    for assignment in assignments:
        config = toml.override(config, assignment)
    made = stage.new(run, config=config)
    say(f"wrote {made.config_file}\nedit it, then run: satori-hpc all {quoted(run)}")


def _fold(text: str) -> tuple[str, str, str]:
    """Split LABEL=TRAIN,TEST into label, training file and test file."""
    label, _, files = text.partition("=")
    train, _, test = files.partition(",")
    if not label or not train or not test:
        raise click.BadParameter(f"{text!r}; expected LABEL=TRAIN,TEST", param_hint="--fold")
    return label, _here(train), _here(test)


def _here(name: str) -> str:
    return str(Path(name).resolve())
