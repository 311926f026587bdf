"""Define the commands `search` and `ensemble`."""

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
@click.option("--trials", type=click.IntRange(min=1), help="Total number of trials: sets search.trials in run.toml.")
@click.option(
    "--at-most", type=click.IntRange(min=1), help="Maximal number of trials of this process; default: no limit."
)
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Fail unless MPI has this many ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print the leaderboard as JSON.")
def search(
    run: Path, trials: int | None, at_most: int | None, expect_ranks: int | None, as_json: bool, **options: Any
) -> None:
    """Search hyper-parameters. Ranks the trials by validation AUROC; resumes when killed.

    [search] in run.toml sets the search space, the number of trials and the ranking criterion. Trial 0 is the run's
    own configuration. Each trial is a separate run, such as RUN/search/trial_0007, which shares the data of RUN.

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
@click.option("--seeds", type=click.IntRange(min=1), help="Total number of networks: sets ensemble.seeds in run.toml.")
@click.option(
    "--at-most", type=click.IntRange(min=1), help="Maximal number of networks of this process; default: no limit."
)
@click.option("--expect-ranks", type=click.IntRange(min=1), help="Fail unless MPI has this many ranks.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def ensemble(
    run: Path, seeds: int | None, at_most: int | None, expect_ranks: int | None, as_json: bool, **options: Any
) -> None:
    """Train several seeds and combine their calls. A TF pair is called if most networks call it; resumes when killed.

    Networks that differ only in their random initial weights call different pairs. RUN itself is the first network; the
    others, RUN/ensemble/seed_<seed>, are separate runs that share its data and differ only in train.seed. Each runs
    from train to reduce; stages that are up to date are skipped.

    Every process takes the next network that is unfinished and not locked; start any number of processes:

    \b
      satori-hpc prepare RUN                    once
      satori-hpc ensemble RUN --seeds 5         one process
      mpiexec -n 5 satori-hpc ensemble RUN      five processes in one job (or srun)
      satori-hpc ensemble RUN --at-most 1       in every task of a job array

    The last process writes RUN/ensemble/<method>_tf.tsv and .parquet: the number of networks that tested and called
    each TF pair, and the medians of their values. [ensemble] in run.toml sets how many must call a pair.
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
