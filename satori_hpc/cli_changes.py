"""Options of stages that change run.toml, so that whatever runs later keeps to them."""

from pathlib import Path

import click

from satori_hpc.run import Run
from satori_hpc.stages import execution

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
KNOWN = click.option(
    "--known",
    multiple=True,
    type=_FILE,
    metavar="TABLE",
    help="Compare with these known interactions, too (HIPPIE, BioGRID, MITAB, TRRUST, or two columns of names): adds "
    "the table to evaluate.known of run.toml. May be repeated.",
)
KNOWN_COLUMNS = click.option(
    "--known-columns",
    multiple=True,
    metavar="A,B",
    help="The columns with the names, by heading or number from 1: of every --known, or repeated for each.",
)
KNOWN_NAMES = click.option(
    "--known-names",
    type=_FILE,
    metavar="FILE",
    help="Two columns, identifier and name, for tables that name genes otherwise: sets evaluate.known_names.",
)


NAMES = {"statistic", "known", "known_columns", "known_names"}  # as click hands them on


def apply(
    run: Run,
    *,
    statistic: str | None = None,
    known: tuple[Path, ...] = (),
    known_columns: tuple[str, ...] = (),
    known_names: Path | None = None,
) -> Run:
    """The run with what such options ask for.

    Raises: as `execution.change`.
    """
    if statistic is not None and statistic != run.config.reduce.statistic:
        run = execution.change(run, "reduce.statistic", statistic)
    if known_columns and (not known or len(known_columns) not in (1, len(known))):
        raise click.UsageError("--known-columns goes with --known: once, or once for each")
    if known or known_names:
        tables = tuple(str(table.resolve()) for table in known)
        names = None if known_names is None else str(known_names.resolve())
        run = execution.add_known(run, tables, known_columns, names)
    return run
