"""The command `ensemble`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from satori_hpc import cli_options
from satori_hpc.cli_options import RUN, say
from satori_hpc.stages import execution, launch


@click.command()
@RUN
@cli_options.runtime_options("ensemble")
@click.option("--seeds", type=click.IntRange(min=1), help="Networks in all: sets ensemble.seeds of run.toml.")
@click.option("--at-most", type=click.IntRange(min=1), help="Networks for this process; default: any number.")
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Refuse to work with another number of MPI ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome for programs.")
def ensemble(
    run: Path, seeds: int | None, at_most: int | None, expect_ranks: int | None, as_json: bool, **options: Any
) -> None:
    """Train networks of several seeds on a run's data; call the TF pairs that most of them call. Resumes when killed.

    One network calls pairs that another one, trained the same way from other random weights, does not. RUN itself is
    the first network; the others, RUN/ensemble/seed_<seed>, are runs of their own that share its data and differ in
    train.seed alone. Each goes from train to reduce; what is complete and fresh is left alone.

    Every process takes the next network that is not done and that nobody holds; start as many as you like:

    \b
      satori-hpc prepare RUN                    once
      satori-hpc ensemble RUN --seeds 5         one process
      mpiexec -n 5 satori-hpc ensemble RUN      five processes of one job (srun does it, too)
      satori-hpc ensemble RUN --at-most 1       in every task of a job array

    Whoever ends last writes RUN/ensemble/<method>_tf.tsv and .parquet: how many networks tested and called each pair
    of TFs, and the medians of their values. [ensemble] in run.toml says how many must call a pair.
    """
    from satori_hpc.stages import ensemble as ensemble_stage  # here: torch and zarr are slow to load

    with launch.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execution.open_together(run, world)
        with contextlib.ExitStack() as kept:
            if seeds is not None and seeds != opened.config.ensemble.seeds:
                changing = execution.changing(opened, {"ensemble.seeds": seeds})
                world.lead(lambda: kept.enter_context(changing) and None)
                opened = execution.open_together(run, world)
            found = ensemble_stage.ensemble(opened, runtime, most=at_most or 0)
        if found is not None:
            click.echo(json.dumps(found.as_dict(), indent=1)) if as_json else say("\n".join(found.lines()))
