"""Called TF pairs against tables of known interactions: the figures of evaluation.json in words."""

from dataclasses import dataclass
from typing import Any

from satori_hpc.report.data import ReportData

MOST_NAMES = 60  # TFs listed that a table does not know
READINGS = {"direct": "listed as partners", "shared": "a partner in common"}
TARGETS = {"direct": "one regulates the other", "shared": "a target in common"}


@dataclass(frozen=True)
class Line:
    """The figures of a method in one reading; known and tested are of the pairs whose two TFs are in the table."""

    method: str
    reading: str
    called: str
    known: str
    precision: str
    base_rate: str
    fold: str
    odds: str
    p: str
    p_permuted: str


@dataclass(frozen=True)
class Part:
    """What the page says of one table."""

    title: str
    note: str
    lines: list[Line]


def parts(data: ReportData) -> list[Part]:
    """One for each table of known interactions."""
    known = (data.evaluation or {}).get("known")
    return [] if not known else [_part(table) for table in known["tables"]]


def _part(table: dict[str, Any]) -> Part:
    words = TARGETS if table["directed"] else READINGS
    lines = [
        _line(method, words[reading], figures[reading])
        for method, figures in table["methods"].items()
        for reading in READINGS
    ]
    return Part(title=f"{table['table']} ({table['format']})", note=_note(table), lines=lines)


def _note(table: dict[str, Any]) -> str:
    found, missing = table["found"], table["missing"]
    left = "".join(f"; {rows:,} left out: {reason}" for reason, rows in table["left_out"].items())
    said = (
        f"{table['used']:,} of {table['rows']:,} rows used{left}. {table['genes']:,} genes, among them "
        f"{len(found):,} of the {len(found) + len(missing):,} TFs that name a filter."
    )
    if missing:
        more = f" and {len(missing) - MOST_NAMES:,} more" if len(missing) > MOST_NAMES else ""
        said += f" Not in it: {', '.join(missing[:MOST_NAMES])}{more}."
    return said


def _line(method: str, reading: str, figures: dict[str, Any]) -> Line:
    return Line(
        method=method,
        reading=reading,
        called=f"{figures['both']:,} of {figures['called']:,}",
        known=f"{figures['known']:,} of {figures['tested']:,}",
        precision=f"{figures['precision']:.3f}" if figures["called"] else "–",
        base_rate=f"{figures['base_rate']:.3f}",
        fold=_number(figures["fold"]),
        odds=_odds(figures),
        p=f"{figures['p']:.2g}",
        p_permuted=f"{figures['p_permuted']:.2g}",
    )


def _odds(figures: dict[str, Any]) -> str:
    if figures["odds_low"] is None:
        return "–"
    ratio = "∞" if figures["odds_ratio"] is None else _number(figures["odds_ratio"])
    return f"{ratio} ({_number(figures['odds_low'])} to {_number(figures['odds_high']) or '∞'})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def sentences(data: ReportData) -> list[str]:
    """For the opening: what is known of the called pairs, by table and method."""
    said = []
    for table in ((data.evaluation or {}).get("known") or {"tables": []})["tables"]:
        for method, figures in table["methods"].items():
            direct = figures["direct"]
            if direct["called"]:
                said.append(
                    f"{table['table']} lists {direct['both']:,} of the {direct['called']:,} pairs called by {method} "
                    f"whose TFs it names, and {direct['known']:,} of all {direct['tested']:,} tested ones (permuted "
                    f"names: p = {direct['p_permuted']:.2g})."
                )
    return said
