"""Options of stages that change run.toml, so that whatever runs later keeps to them."""

from pathlib import Path

import click

from satori_hpc.config_change import Value
from satori_hpc.config_evaluate import Evaluate
from satori_hpc.run import Run

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
KNOWN = click.option(
    "--known",
    multiple=True,
    type=_FILE,
    metavar="TABLE",
    help="Compare with these known interactions, too (HIPPIE, BioGRID, STRING, TRRUST, DoRothEA, CORUM, SIF, ...; see "
    "docs/evaluation.md): adds the table to evaluate.known of run.toml. May be repeated.",
)
KNOWN_COLUMNS = click.option(
    "--known-columns",
    multiple=True,
    metavar="A,B",
    help="The columns with the names, by heading or number from 1, or the one whose cells hold pairs: of every "
    "--known, or repeated for each.",
)
KNOWN_NAMES = click.option(
    "--known-names",
    type=_FILE,
    metavar="FILE",
    help="Two columns, identifier and name, for tables that name genes otherwise: sets evaluate.known_names.",
)


NAMES = {"statistic", "known", "known_columns", "known_names"}  # as click hands them on


def wanted(
    run: Run,
    *,
    statistic: str | None = None,
    known: tuple[Path, ...] = (),
    known_columns: tuple[str, ...] = (),
    known_names: Path | None = None,
) -> dict[str, Value]:
    """What such options ask for: {key of run.toml: value}."""
    changes: dict[str, Value] = {}
    if statistic is not None and statistic != run.config.reduce.statistic:
        changes["reduce.statistic"] = statistic
    if known_columns and (not known or len(known_columns) not in (1, len(known))):
        raise click.UsageError("--known-columns goes with --known: once, or once for each")
    if known or known_names:
        tables = tuple(str(table.resolve()) for table in known)
        names = None if known_names is None else str(known_names.resolve())
        changes |= with_known(run.config.evaluate, tables, known_columns, names)
    return changes


def with_methods(run: Run, methods: tuple[str, ...]) -> dict[str, Value]:
    """These methods among score.methods of run.toml, behind those that are there."""
    asked = tuple(dict.fromkeys((*run.config.score.methods, *methods)))
    return {} if asked == run.config.score.methods else {"score.methods": asked}


def with_known(
    settings: Evaluate, new: tuple[str, ...], columns: tuple[str, ...], names: str | None
) -> dict[str, Value]:
    """These tables among evaluate.known of run.toml, behind those that are there.

    Args:
        settings: as they are.
        new: files.
        columns: of all of them, or of each; empty = as run.toml has it.
        names: evaluate.known_names; None = as run.toml has it.
    """
    known = tuple(dict.fromkeys((*settings.known, *new)))
    asked = dict(zip(known, settings.columns + ("",) * len(new), strict=False))
    if columns:
        asked |= dict(zip(new, columns * len(new) if len(columns) == 1 else columns, strict=True))
    changes: dict[str, Value] = {"known": known}
    if columns:
        changes["known_columns"] = tuple(asked[table] for table in known)
    if names is not None:
        changes["known_names"] = names
    return {f"evaluate.{key}": value for key, value in changes.items() if value != getattr(settings, key)}
