"""Define the commands `search` and `ensemble`: runs inside a run, processed by any number of processes."""

import json
from pathlib import Path
from typing import Any

import click

from satori_hpc.cli import options as cli_options
from satori_hpc.cli.options import RUN, say
from satori_hpc.errors import SatoriError
from satori_hpc.parallel import mpi
from satori_hpc.run import execute, pipeline

COUNT = click.IntRange(min=1)
AT_MOST = click.option("--at-most", type=COUNT, help="Maximal number for this process; default: no limit.")
EXPECT_RANKS = click.option("--expect-ranks", type=COUNT, help="Fail unless MPI has this many ranks.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def _work(
    name: str,
    run: Path,
    *,
    at_most: int | None,
    expect_ranks: int | None,
    as_json: bool,
    **options: Any,
) -> Any:
    """Run the command `name` on all processes of the world; print its result and return it, None except on the root."""
    with mpi.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execute.open_together(run, world)
        found: Any = pipeline.BY_NAME[name].function()(opened, runtime, most=at_most or 0)
        if found is not None:
            click.echo(json.dumps(found.as_dict(), indent=1)) if as_json else say("\n".join(found.lines()))
        return found


@click.command()
@RUN
@cli_options.runtime_options("search")
@AT_MOST
@EXPECT_RANKS
@AS_JSON
def search(run: Path, **options: Any) -> None:
    """Search hyper-parameters; rank the trials by validation AUROC. Resumes when killed.

    [search] in run.toml sets the search space, the number of trials (satori-hpc set RUN search.trials=40) and the
    ranking criterion. Trial 0 is the run's own configuration. Each trial is a separate run, such as
    RUN/search/trial_0007, which shares the data of RUN.

    Every process takes the next trial that is unfinished and not locked; start any number of processes at any time:

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
    board = _work("search", run, **options)
    if board is not None and board.complete and board.best is None:
        raise SatoriError(f"{run}: no trial ended well; {board.rows[0].reason}")


@click.command()
@RUN
@cli_options.runtime_options("ensemble")
@AT_MOST
@EXPECT_RANKS
@AS_JSON
def ensemble(run: Path, **options: Any) -> None:
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
    _work("ensemble", run, **options)
