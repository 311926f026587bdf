"""The command `search`."""

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from satori_hpc import cli_options
from satori_hpc.cli_options import RUN, say
from satori_hpc.errors import SatoriError
from satori_hpc.stages import execution, launch


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
    from satori_hpc.stages import search as search_stage  # here: torch and zarr are slow to load

    with launch.session(expect_ranks=expect_ranks, parts=True) as world:
        runtime = cli_options.runtime(world=world, **options)
        opened = execution.open_together(run, world)
        with contextlib.ExitStack() as kept:
            if trials is not None and trials != opened.config.search.trials:
                changing = execution.changing(opened, {"search.trials": trials})
                world.lead(lambda: kept.enter_context(changing) and None)
                opened = execution.open_together(run, world)
            board = search_stage.search(opened, runtime, most=at_most or 0)
        if board is not None:
            click.echo(json.dumps(board.as_dict(), indent=1)) if as_json else say("\n".join(board.lines()))
            if board.complete and board.best is None:
                raise SatoriError(f"{run}: no trial ended well; {board.rows[0].reason}")
