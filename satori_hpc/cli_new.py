"""The command `new`."""

from pathlib import Path

import click

from satori_hpc import options as run_options
from satori_hpc.cli_options import RUN
from satori_hpc.stages import new as new_stage


@click.command()
@RUN
@click.option("--template", type=click.Choice(["simulated", "fasta", "genome"]), help="Default: simulated.")
@click.option(
    "--preset",
    help="simulated: "
    + ", ".join(new_stage.PRESETS)
    + " (default data-40); fasta, genome: "
    + ", ".join(new_stage.FASTA_PRESETS)
    + " (default published; small suits some thousand sequences).",
)
@click.option("--fasta", default="sequences.fa", show_default=True, help="FASTA file (template fasta).")
@click.option("--table", default="labels.txt", show_default=True, help="Label table (template fasta).")
@click.option("--genome", default="genome.fa", show_default=True, help="FASTA file of the genome (template genome).")
@click.option(
    "--peaks", multiple=True, help="BED, narrowPeak or broadPeak file, a label each; repeat it (template genome)."
)
@click.option("--peak-table", help="Instead of --peaks: a table of two columns, file and label.")
@click.option("--annotation", help="GFF3 or GTF file, for promoters and negatives by annotation (template genome).")
@click.option(
    "--like",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A run.toml, or the best.toml of a search, whose settings to take; with --template, all but its [prepare].",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Default: 1, or that of --like.")
@click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Set any key; may be repeated.")
def new(
    run: Path,
    template: str | None,
    preset: str | None,
    fasta: str,
    table: str,
    genome: str,
    peaks: tuple[str, ...],
    peak_table: str | None,
    annotation: str | None,
    like: Path | None,
    seed: int | None,
    assignments: tuple[str, ...],
) -> None:
    """Make a run directory with a commented run.toml.

    \b
      satori-hpc new RUN                                                      a simulated set
      satori-hpc new RUN --template fasta --fasta X.fa --table X.txt          sequences and their labels
      satori-hpc new RUN --template genome --genome hg38.fa --peaks A.bed.gz --peaks B.narrowPeak

    File names given here are taken from the current folder; written into run.toml by hand, relative ones start at
    the run directory.
    """
    presets = new_stage.FASTA_PRESETS if template in ("fasta", "genome") else new_stage.PRESETS
    if preset is not None and preset not in presets:
        named = template or "simulated"
        raise click.BadParameter(f"{preset!r}; template {named} has {', '.join(presets)}", param_hint="--preset")
    number = 1 if seed is None else seed
    if template == "fasta":
        config = new_stage.fasta(_absolute(fasta), _absolute(table), preset=preset or "published", seed=number)
    elif template == "genome":
        if bool(peaks) == (peak_table is not None):
            raise click.UsageError("template genome needs --peaks or --peak-table, one of them")
        config = new_stage.genome(
            _absolute(genome),
            peaks=tuple(map(_absolute, peaks)),
            peak_table=None if peak_table is None else _absolute(peak_table),
            annotation=None if annotation is None else _absolute(annotation),
            preset=preset or "published",
            seed=number,
        )
    else:
        config = new_stage.simulated(preset or "data-40", seed=number)
    if like is not None:
        config = new_stage.like(like, data=config if template or preset else None, seed=seed)
    for assignment in assignments:
        config = run_options.override(config, assignment)
    made = new_stage.new(run, config=config)
    click.echo(f"wrote {made.config_file}\nedit it, then run: satori-hpc all {run}")


def _absolute(name: str) -> str:
    return str(Path(name).resolve())
