"""Define the commands `tracks`, `differential`, `cluster-motifs` and `doctor`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from satori_hpc.cli import options as cli_options
from satori_hpc.cli.options import RUN, FilePath, say
from satori_hpc.errors import quoted
from satori_hpc.run.layout import Run
from satori_hpc.tools import doctor as doctor_stage

FILE = FilePath(exists=True, dir_okay=False)


@click.command()
@RUN
@click.option("--label", default="", help="Multi-label sets: restrict examples and attributions to this label.")
@click.option(
    "--attribute",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Number of examples with attributions: those with the most confident predictions.",
)
@click.option(
    "--chrom-sizes", type=FILE, help="Table of chromosome names and lengths; default: up to the last example."
)
@click.option("--genome", default="", help="Assembly name, such as hg19, for IGV and a UCSC track hub.")
@click.option("--out", type=FilePath(file_okay=False), help="Output folder; default: RUN/tracks.")
@cli_options.runtime_options("tracks")
def tracks(
    run: Path,
    label: str,
    attribute: int,
    chrom_sizes: Path | None,
    genome: str,
    out: Path | None,
    **options: Any,
) -> None:
    """Write genome tracks and TF-MoDISco arrays. Tracks are sites, interactions and attributions.

    Shows the foreground examples (those that were scored). RUN/tracks/igv.xml loads all tracks into IGV. A killed
    command resumes; tracks that are up to date are kept.
    """
    from satori_hpc.interactions.tracks import stage as tracks_stage  # here: torch and zarr are slow to load

    found = tracks_stage.make(
        Run.open(run),
        cli_options.runtime(**options),
        label=label,
        attribute=attribute,
        sizes_file=chrom_sizes,
        genome=genome,
        out=out,
    )
    cli_options.show("tracks", found)


class Names(click.ParamType):
    """Parse comma-separated names."""

    name = "labels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(name.strip() for name in value.split(",") if name.strip())


@click.command()
@RUN
@click.option(
    "--labels", type=Names(), default=(), help="Test examples with any of these labels; default: each label in turn."
)
@click.option(
    "--against", type=Names(), default=(), help="Compare with examples with any of these labels; default: all others."
)
@cli_options.runtime_options("differential")
def differential(run: Path, labels: tuple[str, ...], against: tuple[str, ...], **options: Any) -> None:
    """Test which labels carry an interaction. For multi-label sets; uses the existing scores.

    For every called pair of filters, compares the foreground scores of examples with a label with those without.
    """
    from satori_hpc.interactions import differential as differential_stage  # here: zarr is slow to load

    cli_options.runtime(**options)
    opened = Run.open(run)
    cli_options.show("differential", differential_stage.compare(opened, labels=labels, against=against))
    if opened.report.exists():
        say(f"next, for a report that shows it: satori-hpc report {quoted(run)}")


@click.command("cluster-motifs")
@click.argument("out", type=FilePath(file_okay=False))
@click.argument("paths", nargs=-1, type=FILE, metavar="[FILES]...")
@click.option("--jaspar-release", help="Release of JASPAR, without FILES; default: JASPAR2026.")
@click.option(
    "--jaspar-groups",
    type=Names(),
    metavar="GROUPS",
    help="Taxonomic groups of JASPAR CORE, such as vertebrates,plants, or all; default: vertebrates.",
)
@click.option(
    "--similarity",
    type=click.FloatRange(0, 1),
    help="Merge clusters whose motifs are at least this similar on average; default: 0.8.",
)
@click.option("--clusters", type=click.IntRange(min=1), help="Number of clusters, instead of --similarity.")
@click.option(
    "--representative",
    type=click.Choice(["medoid", "mean"]),
    default="medoid",
    show_default=True,
    help="medoid: the motif most similar to the others of its cluster; mean: of its aligned motifs.",
)
@cli_options.runtime_options("cluster-motifs")
def cluster_motifs(
    out: Path,
    paths: tuple[Path, ...],
    jaspar_release: str | None,
    jaspar_groups: tuple[str, ...] | None,
    similarity: float | None,
    clusters: int | None,
    representative: str,
    **options: Any,
) -> None:
    """Cluster known motifs. Writes one representative per cluster, for [motifs] database or a first layer.

    Reads JASPAR, or FILES (MEME, JASPAR, TRANSFAC, HOMER, CIS-BP or HOCOMOCO, plain or gzip). Motifs are aligned on
    both strands and clustered by average linkage. OUT gets clusters.meme (representatives), clusters.tsv (every motif,
    its TF and family, and its alignment), clusters.svg (aligned logos) and clusters.json (settings and versions).

    \b
      satori-hpc cluster-motifs known                                     JASPAR's vertebrates
      satori-hpc cluster-motifs known --jaspar-groups plants --clusters 343
      satori-hpc cluster-motifs known H12CORE_meme_format.meme --similarity 0.9
      satori-hpc cluster-motifs known pwms/M*.txt                         CIS-BP: a file per motif
      satori-hpc set RUN motifs.database=$PWD/known/clusters.meme         name filters after representatives
    """
    from satori_hpc.motifs import readers  # here: scipy and matplotlib are slow to load
    from satori_hpc.tools import cluster_motifs as tool

    if similarity is not None and clusters is not None:
        raise click.UsageError("--similarity and --clusters exclude each other")
    if paths and (jaspar_release is not None or jaspar_groups is not None):
        raise click.UsageError("--jaspar-release and --jaspar-groups go without FILES")
    cli_options.runtime(**options)
    groups = jaspar_groups if jaspar_groups is not None else ("vertebrates",)
    found = tool.make(
        out,
        paths,
        release=jaspar_release or readers.RELEASE,
        groups=() if groups == ("all",) else groups,
        similarity=0.8 if similarity is None and clusters is None else similarity,
        count=clusters,
        merged=representative == "mean",
    )
    cli_options.show("cluster-motifs", found)


# The command `doctor`.


@click.command()
@click.argument("run", required=False, type=FilePath())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if there is any warning.")
def doctor(run: Path | None, as_json: bool, strict: bool) -> None:
    """Check this machine; warn of known problems. Prints versions, devices, the MPI library, memory and folders.

    With RUN, a run directory or the folder that is to hold one, check that it can be used from here. Start it in the
    same way as the work itself, because the result holds only for that environment:

    \b
      srun --mpi=pmi2 satori-hpc doctor RUN
      srun --mpi=pmi2 apptainer run IMAGE.sif doctor RUN
    """
    told = (lambda name, value: None) if as_json else (lambda name, value: say(f"{name:<23}  {value}"))
    report = doctor_stage.doctor(doctor_stage.Report(told), run)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=1))
    else:
        for warning in report.warnings:
            say(f"warning: {warning}")
        told("verdict", report.verdict())
    if strict and report.warnings:
        sys.exit(1)
