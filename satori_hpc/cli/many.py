"""The command `search`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from satori_hpc.cli import options as cli_options
from satori_hpc.cli.options import RUN, say
from satori_hpc.errors import SatoriError
from satori_hpc.parallel import mpi
from satori_hpc.run import execute


@click.command()
@RUN
@cli_options.runtime_options("search")
@click.option("--trials", type=click.IntRange(min=1), help="How many in all: sets search.trials of run.toml.")
@click.option("--at-most", type=click.IntRange(min=1), help="Trials for this process; default: any number.")
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Refuse to work with another number of MPI ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print the leaderboard for programs.")
def search(
    run: Path, trials: int | None, at_most: int | None, expect_ranks: int | None, as_json: bool, **options: Any
) -> None:
    """Try other configurations of a run; rank them by the validation AUROC. Resumes when killed.

    [search] in run.toml says what is varied, how many configurations are tried and what ranks them. Trial 0 is the
    run's own configuration. Each trial is a run of its own, RUN/search/trial_0007, which shares the data of RUN.

    Every process takes the next trial that nobody has begun, or that a process which is gone left behind; start as
    many as you like, when you like:

    \b
      satori-hpc prepare RUN                    once
      satori-hpc search RUN                     one process
      mpiexec -n 4 satori-hpc search RUN        four processes of one job (srun does it, too)
      satori-hpc search RUN --at-most 1         in every task of a job array

    The trials follow from search.seed alone, so the leaderboard does not depend on who worked on them. It is in
    RUN/search/leaderboard.tsv; the best trial's settings are in RUN/search/best.toml, for a new run:

    \b
      satori-hpc new RUN2 --like RUN/search/best.toml
    """
    from satori_hpc.tuning import search as search_stage  # here: torch and zarr are slow to load

    with mpi.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        with contextlib.ExitStack() as kept:
            if trials is not None and trials != opened.config.search.trials:
                changing = execute.changing(opened, {"search.trials": trials})
                world.lead(lambda: kept.enter_context(changing) and None)
                opened = execute.open_together(run, world)
            board = search_stage.search(opened, runtime, most=at_most or 0)
        if board is not None:
            click.echo(json.dumps(board.as_dict(), indent=1)) if as_json else say("\n".join(board.lines()))
            if board.complete and board.best is None:
                raise SatoriError(f"{run}: no trial ended well; {board.rows[0].reason}")


# The command `ensemble`.


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
    from satori_hpc.tuning import ensemble as ensemble_stage  # here: torch and zarr are slow to load

    with mpi.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        with contextlib.ExitStack() as kept:
            if seeds is not None and seeds != opened.config.ensemble.seeds:
                changing = execute.changing(opened, {"ensemble.seeds": seeds})
                world.lead(lambda: kept.enter_context(changing) and None)
                opened = execute.open_together(run, world)
            found = ensemble_stage.ensemble(opened, runtime, most=at_most or 0)
        if found is not None:
            click.echo(json.dumps(found.as_dict(), indent=1)) if as_json else say("\n".join(found.lines()))
