"""Tables of known interactions, plain or gzip: what they say of the TFs of a run."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from satori_hpc.errors import ArtefactError, InputError, Problems
from satori_hpc.log import progress
from satori_hpc.stores import known_layout, text_input, tsv
from satori_hpc.stores.known_layout import Layout

KEY, NAMES_KEY = "[evaluate] known", "[evaluate] known_names"
COLUMNS = (
    "table", "reading", "tf_a", "tf_b", "q", "line", "name_a", "name_b", "score", "evidence", "reference",
)  # fmt: skip
ABSENT = ("", "-", ".", "na", "n/a", "none", "null")
EXAMPLES = 5
Who = Callable[[tuple[str, ...]], frozenset[str]]

_MITAB = re.compile(r'(?P<base>[^:"|]+):(?:"(?P<quoted>[^"]*)"|(?P<value>[^("|]*))(?:\((?P<text>[^|]*)\))?')
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?$")


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the table: line number, the two names, and what supports it."""

    line: int
    name_a: str
    name_b: str
    score: str
    evidence: str
    reference: str


@dataclass(kw_only=True)
class KnownTable:
    """What a table says of some names.

    Attributes:
        format: HIPPIE, BioGRID, MITAB, TRRUST or two columns.
        rows: of the table. used: those that count. left_out: {reason: rows} of the others.
        genes: different ones in the rows used. examples: some of their names.
        found: the names asked for that occur.
        links: {(a, b) of these, a < b: rows that list them together}.
        partners: {name: genes listed with it, by the name asked for if it is one of these; where the table is directed,
            those that it regulates}.
        labels: {gene: name to show}.
    """

    format: str
    directed: bool
    rows: int = 0
    used: int = 0
    genes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    links: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    partners: dict[str, set[str]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


def read(
    path: Path, who: Who, wanted: set[str], *, columns: str = "", organism: str = "", min_score: float = 0.0
) -> KnownTable:
    """Read a table; CRLF, blank lines, quotes, a header or none and a missing final newline are fine.

    Args:
        path: of the table.
        who: every name, as compared, of a gene with these identifiers; the empty set = none.
        wanted: names, as compared, of which the links and partners are kept.
        columns: as of `known_layout.recognise`.
        organism: taxon number that both sides must have where the table tells it; "" = any.
        min_score: rows of a lower confidence are left out, where the table has one.

    Raises:
        InputError: it is missing, empty or not text, or rows have too few columns; all of these with their lines.
    """
    problems = Problems(f"{path}: not a table of interactions that can be used ({KEY}):")
    lines = ((number, line) for number, line in text_input.lines(path, key=KEY) if line.strip())
    first = [entry for _, entry in zip(range(2), lines, strict=False)]
    if not first:
        raise InputError(f"{path}: empty; expected rows with the names of two interactors; correct {KEY} in run.toml")
    layout = known_layout.recognise([line for _, line in first], columns=columns, where=str(path))
    table = KnownTable(format=layout.format, directed=layout.directed)
    genes: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {}
    seen: set[str] = set()

    def gene(identifiers: tuple[str, ...]) -> tuple[str, frozenset[str]]:
        """(one key, names) of a gene; looked up once."""
        if identifiers not in genes:
            names = who(identifiers)
            genes[identifiers] = (min(names, default=""), names)
        return genes[identifiers]

    rows = (entry for part in (first[layout.header :], lines) for entry in part)
    for number, line in progress(rows, what=path.name, unit="rows"):
        cells = known_layout.cells_of(line, layout.separator)
        table.rows += 1
        if len(cells) < layout.needed:
            problems.add(f"line {number}: {len(cells)} columns; expected {layout.needed} or more ({layout.format})")
            continue
        first_ids, second_ids = identifiers(cells, layout, layout.first), identifiers(cells, layout, layout.second)
        (key_a, names_a), (key_b, names_b) = gene(first_ids), gene(second_ids)
        reason = _reason(cells, layout, organism, min_score) or ("no name" if not (key_a and key_b) else "")
        if not reason and names_a & names_b:
            reason = "a gene with itself"
        if reason:
            table.left_out[reason] = table.left_out.get(reason, 0) + 1
            continue
        table.used += 1
        seen |= {key_a, key_b}
        if len(table.examples) < EXAMPLES:
            new = (first_ids[0], second_ids[0])
            table.examples = list(dict.fromkeys([*table.examples, *new]))[:EXAMPLES]
        here, there = names_a & wanted, names_b & wanted
        table.found |= here | there
        _partners(table, here, min(there, default=key_b), second_ids[0])
        if not layout.directed:
            _partners(table, there, min(here, default=key_a), first_ids[0])
        if here and there:
            row = _row(number, cells, layout, first_ids[0], second_ids[0])
            for a in here:
                for b in there:
                    table.links.setdefault((min(a, b), max(a, b)), []).append(row)
    problems.raise_any()
    if not table.rows:
        raise InputError(f"{path}: a header and no row; correct {KEY} in run.toml")
    table.genes = len(seen)
    return table


def _partners(table: KnownTable, names: frozenset[str], partner: str, label: str) -> None:
    for name in names:
        table.partners.setdefault(name, set()).add(partner)
        table.labels.setdefault(partner, label)


def identifiers(cells: list[str], layout: Layout, columns: tuple[int, ...]) -> tuple[str, ...]:
    """The identifiers of one interactor, the one to show first."""
    found: list[str] = []
    for column in columns:
        cell = cells[column] if column < len(cells) else ""
        if layout.format == "MITAB" and column < known_layout.MITAB_COLUMNS:
            found += _from_mitab(cell, aliases=column in (4, 5))
        elif cell.lower() not in ABSENT:
            found.append(cell)
    return tuple(dict.fromkeys(found))


def _from_mitab(cell: str, *, aliases: bool) -> Iterator[str]:
    """Identifiers of a MITAB cell such as "entrez gene/locuslink:MAP2K4|biogrid:112315".

    Numbers count where they are those of Entrez genes; of aliases, names of genes count and synonyms do not.
    """
    for part in cell.split("|"):
        entry = _MITAB.fullmatch(part.strip())
        if entry is None:
            continue
        value = (entry["quoted"] or entry["value"] or "").strip()
        if aliases and entry["text"] != "gene name":
            continue
        if value and (entry["base"].startswith("entrez") or not value.isdigit()):
            yield value


def _reason(cells: list[str], layout: Layout, organism: str, min_score: float) -> str:
    """Why a row does not count, or nothing."""

    def cell(column: int | None) -> str:
        return cells[column] if column is not None and column < len(cells) else ""

    if cell(layout.kind).lower() == "genetic":
        return "genetic, not physical"
    told = [re.findall(r"\d+", cell(column)) for column in layout.organisms]
    if organism and any(numbers and organism not in numbers for numbers in told):
        return "another organism"
    score = _NUMBER.search(cell(layout.score)) if layout.confidence and min_score > 0 else None
    return "low score" if score is not None and float(score[0]) < min_score else ""


def _row(number: int, cells: list[str], layout: Layout, name_a: str, name_b: str) -> Row:
    def cell(column: int | None) -> str:
        text = cells[column] if column is not None and column < len(cells) else ""
        return "" if text.lower() in ABSENT else text

    evidence, reference = cell(layout.evidence), cell(layout.reference)
    if layout.format == "HIPPIE":  # experiments:...;pmids:...;sources:...
        told = dict(part.partition(":")[::2] for part in evidence.split(";"))
        evidence, reference = told.get("experiments", ""), told.get("pmids", "")
    return Row(number, name_a, name_b, cell(layout.score), evidence, reference)


def read_names(path: Path, normalise: Callable[[str], str]) -> dict[str, frozenset[str]]:
    """{identifier: its names} from the first two columns of a file, both normalised; an identifier may stand twice.

    Raises:
        InputError: it is missing, empty or not text, or lines have a single column; all of these at once.
    """
    problems = Problems(f"{path}: not a file of identifiers and names ({NAMES_KEY}):")
    found: dict[str, set[str]] = {}
    separator: str | None = None
    for number, line in text_input.lines(path, key=NAMES_KEY):
        if not line.strip():
            continue
        if separator is None:
            separator = next((mark for mark in "\t,;" if mark in line), "")
        cells = known_layout.cells_of(line, separator)
        if len(cells) < 2:
            problems.add(f"line {number}: a single column; expected an identifier and a name")
        elif cells[0].lower() not in ABSENT and cells[1].lower() not in ABSENT:
            found.setdefault(normalise(cells[0]), set()).add(normalise(cells[1]))
    problems.raise_any()
    if not found:
        raise InputError(f"{path}: empty; expected rows of an identifier and a name; correct {NAMES_KEY} in run.toml")
    return {identifier: frozenset(names) for identifier, names in found.items()}


def write_pairs(path: Path, rows: list[dict[str, object]]) -> None:
    """Write interactions/<method>.known.tsv atomically; strings are escaped."""
    tsv.write(path, {name: [row[name] for row in rows] for name in COLUMNS}, names=COLUMNS)


def read_pairs(path: Path) -> pd.DataFrame:
    """interactions/<method>.known.tsv: q float64, line NaN where no single row is meant, all else text.

    Raises:
        ArtefactError: it is missing or has other columns.
    """
    mend = f"make it: satori-hpc evaluate {path.parent.parent} --force"
    if not path.exists():
        raise ArtefactError(f"{path}: not there; {mend}")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if tuple(table.columns) != COLUMNS:
        raise ArtefactError(f"{path}: expected the columns {', '.join(COLUMNS)}; {mend}")
    return table.astype({"q": float}).assign(line=pd.to_numeric(table["line"], errors="coerce"))
