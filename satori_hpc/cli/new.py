"""Define the command `new`."""

import dataclasses
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from satori_hpc.cli.options import RUN, say
from satori_hpc.config import Config, plugins, toml
from satori_hpc.config.prepare import SOURCES
from satori_hpc.errors import quoted
from satori_hpc.registry import load
from satori_hpc.run import new as stage

HERE = click.Path(resolve_path=True)  # names of files are taken from the current folder


def _folds(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Label, training file and test file of each LABEL=TRAIN,TEST."""
    found = []
    for text in texts:
        label, _, files = text.partition("=")
        train, _, test = files.partition(",")
        if not label or not train or not test:
            raise click.BadParameter(f"{text!r}; expected LABEL=TRAIN,TEST")
        found.append((label, str(Path(train).resolve()), str(Path(test).resolve())))
    return found


@click.command()
@RUN
@click.option("--template", metavar="SOURCE", help=f"{', '.join(SOURCES)}, or one of a plug-in. Default: simulated.")
@click.option(
    "--preset",
    help="Simulated sets: "
    + ", ".join(stage.PRESETS)
    + " (default data-40). Network for sequences from files (default motifs): "
    + " ".join(f"{name}: {entry.when}." for name, entry in stage.FILE_PRESETS.items()),
)
@click.option(
    "--fasta", "fasta_file", type=HERE, default="sequences.fa", show_default=True, help="FASTA file (template fasta)."
)
@click.option("--table", type=HERE, default="labels.txt", show_default=True, help="Label table (template fasta).")
@click.option(
    "--join",
    type=click.Choice(["auto", "name", "order"]),
    default="auto",
    show_default=True,
    help="How records are matched to rows: auto: by coordinates, else by name; name: by name; order: record k to "
    "row k (template fasta).",
)
@click.option("--drop-unlabelled", is_flag=True, help="Exclude records without a row (template fasta).")
@click.option(
    "--genome",
    "genome_file",
    type=HERE,
    default="genome.fa",
    show_default=True,
    help="FASTA file of the genome (template genome).",
)
@click.option(
    "--peaks",
    type=HERE,
    multiple=True,
    help="BED, narrowPeak or broadPeak file, one label per file; may be repeated (template genome).",
)
@click.option("--peak-table", type=HERE, help="Instead of --peaks: a table of two columns, file and label.")
@click.option(
    "--chrom-sizes", type=HERE, help="Table of chromosome names and lengths: only these are used (template genome)."
)
@click.option(
    "--annotation", type=HERE, help="GFF3 or GTF file, for promoters and negatives by annotation (template genome)."
)
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
    callback=_folds,
    multiple=True,
    metavar="LABEL=TRAIN,TEST",
    help="Name, training file and test file of a TF (template folds); may be repeated.",
)
@click.option(
    "--arrays",
    "array_files",
    type=HERE,
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
    like: Path | None,
    plugin_names: tuple[str, ...],
    seed: int | None,
    assignments: tuple[str, ...],
    **options: Any,
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
    config = _configuration(template or "simulated", preset, 1 if seed is None else seed, options)
    if like is not None:
        config = stage.like(like, data=config if template or preset else None, seed=seed)
    config = dataclasses.replace(config, plugins=tuple(dict.fromkeys((*config.plugins, *plugin_names))))
    for assignment in assignments:
        config = toml.override(config, assignment)
    made = stage.new(run, config=config)
    say(f"wrote {made.config_file}\nedit it, then run: satori-hpc all {quoted(run)}")


def _configuration(source: str, preset: str | None, seed: int, options: dict[str, Any]) -> Config:
    """The configuration of a source, by what `new` was told."""
    if source not in SOURCES:
        raise click.BadParameter(f"{source!r} is not one of {', '.join(SOURCES)}", param_hint="--template")
    context = click.get_current_context()
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name, entry in SOURCES.items():
        for option in entry.template.options if entry.template and name != source else ():
            if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"{flags[option]} goes with --template {name}")
    template = SOURCES[source].template
    if template and template.needs and not options[template.needs]:
        raise click.UsageError(f"{flags[template.needs]} goes with --template {source}, which needs it")
    presets = load(template.presets) if template else stage.FILE_PRESETS
    if preset is not None and preset not in presets:
        raise click.BadParameter(f"{preset!r}; template {source} has {', '.join(presets)}", param_hint="--preset")
    if template is None:
        return stage.guest(source, preset=preset or "motifs", seed=seed)
    own = {option: options[option] for option in template.options}
    config: Config = load(template.make)(**own, preset=preset or template.preset, seed=seed)
    return config
