"""Define the commands `search` and `ensemble`."""

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
@click.option(
    "--at-most", type=click.IntRange(min=1), help="Maximal number of trials of this process; default: no limit."
)
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Fail unless MPI has this many ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print the leaderboard as JSON.")
def search(run: Path, at_most: int | None, expect_ranks: int | None, as_json: bool, **options: Any) -> None:
    """Search hyper-parameters; rank the trials by validation AUROC. Resumes when killed.

    [search] in run.toml sets the search space, the number of trials (satori-hpc set RUN search.trials=40) and the
    ranking criterion. Trial 0 is the run's own configuration. Each trial is a separate run, such as
    RUN/search/trial_0007, which shares the data of RUN.

    Every process takes the next trial that has not been started, or that a dead process left unfinished; start any
    number of processes at any time:

    \b
      satori-hpc prepare RUN                    once
      satori-hpc search RUN                     one process
      mpiexec -n 4 satori-hpc search RUN        four processes in one job (or srun)
      satori-hpc search RUN --at-most 1         in every task of a job array

    The trials depend only on search.seed, so the leaderboard does not depend on the processes. It is written to
    RUN/search/leaderboard.tsv, and the best trial's settings to RUN/search/best.toml, for a new run:

    \b
      satori-hpc new RUN2 --like RUN/search/best.toml
    """
    from satori_hpc.tuning import search as search_stage  # here: torch and zarr are slow to load

    with mpi.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
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
@click.option(
    "--at-most", type=click.IntRange(min=1), help="Maximal number of networks of this process; default: no limit."
)
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Fail unless MPI has this many ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def ensemble(run: Path, at_most: int | None, expect_ranks: int | None, as_json: bool, **options: Any) -> None:
    """Train networks with several seeds; call the TF pairs that most of them call. Resumes when killed.

    Networks that differ only in their random initial weights call different pairs. RUN itself is the first network; the
    others, RUN/ensemble/seed_<seed>, are separate runs that share its data and differ only in train.seed. Each runs
    from train to reduce; stages that are up to date are skipped.

    Every process takes the next network that is unfinished and not locked; start any number of processes:

    \b
      satori-hpc prepare RUN                    once
      satori-hpc ensemble RUN                   one process
      mpiexec -n 5 satori-hpc ensemble RUN      five processes in one job (or srun)
      satori-hpc ensemble RUN --at-most 1       in every task of a job array

    The last process writes RUN/ensemble/<method>_tf.tsv and .parquet: the number of networks that tested and called
    each TF pair, and the medians of their values. [ensemble] in run.toml sets how many networks there are and how many
    must call a pair: satori-hpc set RUN ensemble.seeds=5.
    """
    from satori_hpc.tuning import ensemble as ensemble_stage  # here: torch and zarr are slow to load

    with mpi.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        found = ensemble_stage.ensemble(opened, runtime, most=at_most or 0)
        if found is not None:
            click.echo(json.dumps(found.as_dict(), indent=1)) if as_json else say("\n".join(found.lines()))
