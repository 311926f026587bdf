"""Tables of known interactions, plain or gzip: what they say of the TFs of a run."""

import csv
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from satori_hpc.errors import ArtefactError, InputError, Problems, quoted
from satori_hpc.log import logger, progress
from satori_hpc.stores import known_layout, text_input, tsv
from satori_hpc.stores.known_layout import ABSENT, Layout

KEY, NAMES_KEY = "[evaluate] known", "[evaluate] known_names"
COLUMNS = (
    "table", "reading", "tf_a", "tf_b", "q", "line", "name_a", "name_b", "score", "evidence", "reference",
)  # fmt: skip
EXAMPLES = 5
MOST_GENES = 500_000  # no organism has as many: these are ids of rows
MOST_MEMBERS = 1_000  # of a complex
MOST_ROWS = 1_000  # of a pair, that are kept
MOST_PROBLEMS = 1_000
SAMPLE_CHARACTERS = 2**22
ALPHA = 0.05  # of SATORI 1's adjusted p-values
# NCBI taxa by what tables call them instead.
TAXA = {
    name: taxon
    for taxon, names in {
        "9606": ("human", "homo sapiens", "h. sapiens", "hsapiens", "hsa"),
        "10090": ("mouse", "mus musculus", "m. musculus", "mmusculus", "mmu"),
        "10116": ("rat", "rattus norvegicus", "rno"),
        "7227": ("fly", "fruit fly", "drosophila", "drosophila melanogaster", "dme"),
        "6239": ("worm", "caenorhabditis elegans", "cel"),
        "7955": ("zebrafish", "danio rerio", "dre"),
        "4932": ("yeast", "saccharomyces cerevisiae", "sce"),
        "3702": ("arabidopsis", "arabidopsis thaliana", "ath"),
        "9913": ("bovine", "bos taurus"),
        "9823": ("pig", "sus scrofa"),
        "9986": ("rabbit", "oryctolagus cuniculus"),
        "9031": ("chicken", "gallus gallus"),
        "8355": ("frog", "xenopus laevis"),
    }.items()
    for name in names
}
Who = Callable[[tuple[str, ...]], frozenset[str]]

_MITAB = re.compile(r'(?P<base>[^:"|]+):(?:"(?P<quoted>[^"]*)"|(?P<value>[^("|]*))(?:\((?P<text>[^|]*)\))?')
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?$")
_TARGET = re.compile(r"\(\s*(?:'([^']*)'|\"([^\"]*)\")\s*,")  # [('MYC', 1.2), ('TP53', 0.3)]
_REGULON = re.compile(r"(?:_extended)?\s*\((?:\d+g|[-+])\)$")  # SCENIC: "GATA1(+)", "GATA1_extended (12g)"


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
        format: as of `known_layout.Layout`.
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
        min_score: rows of a lower confidence, from 0 to 1, are left out, where the table has one.

    Raises:
        InputError: it is missing, empty or not text, its columns with names are not clear, its scores are on another
            scale than `min_score`, or rows have too few columns; all of these with their lines.
    """
    problems = Problems(f"{path}: not a table of interactions that can be used ({KEY}):")
    lines = ((number, line) for number, line in text_input.lines(path, key=KEY) if line.strip())
    first = _sample(lines)
    if not first:
        raise InputError(f"{path}: empty; expected rows with the names of two interactors; correct {KEY} in run.toml")

    def named(text: str) -> bool:
        return not wanted.isdisjoint(who((text,)))

    layout = known_layout.recognise([line for _, line in first], columns=columns, where=str(path), named=named)
    if min_score > 0 and not layout.confidence:
        said = "%s (%s): has no confidence, so known_min_score = %g leaves out no row"
        logger.warning(said, path, layout.format, min_score)
    table = KnownTable(format=layout.format, directed=layout.directed)
    genes: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {}
    seen: set[str] = set()

    def gene(identifiers: tuple[str, ...]) -> tuple[str, frozenset[str]]:
        """(one key, names) of a gene; looked up once."""
        if identifiers not in genes:
            if len(genes) == MOST_GENES:
                raise InputError(
                    f"{path}: more than {MOST_GENES:,} different names, such as {identifiers[0]!r}: these columns hold "
                    "no names of genes; name those that do: --known-columns A,B (known_columns in run.toml)"
                )
            names = who(identifiers)
            genes[identifiers] = (min(names, default=""), names)
        return genes[identifiers]

    rows = itertools.chain(first[layout.skip :], lines)
    for number, line in progress(rows, what=path.name, unit="rows"):
        if line.startswith("#"):
            continue
        cells = _cells(path, number, line, layout)
        if layout.ends and cells[0] == layout.ends:
            break
        table.rows += 1
        if len(cells) < layout.needed:
            problems.add(f"line {number}: {len(cells)} columns; expected {layout.needed} or more ({layout.format})")
            if len(problems.found) == MOST_PROBLEMS:
                break
            continue
        reason = _reason(path, number, cells, layout, organism, min_score)
        used = False
        for first_ids, second_ids in () if reason else _interactors(path, number, cells, layout, named):
            (key_a, names_a), (key_b, names_b) = gene(first_ids), gene(second_ids)
            if not (key_a and key_b):
                reason = reason or "no name"
                continue
            if names_a & names_b:
                reason = reason or "a gene with itself"
                continue
            used = True
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
                _link(table, here, there, _row(number, cells, layout, first_ids[0], second_ids[0]))
        if used:
            table.used += 1
        else:
            reason = reason or "no partner"
            table.left_out[reason] = table.left_out.get(reason, 0) + 1
    problems.raise_any()
    if not table.rows:
        raise InputError(f"{path}: a header and no row; correct {KEY} in run.toml")
    table.genes = len(seen)
    return table


def _sample(lines: Iterator[tuple[int, str]]) -> list[tuple[int, str]]:
    """The lines that decide what the columns are; as many as fit in memory."""
    found: list[tuple[int, str]] = []
    size = rows = 0
    for number, line in lines:
        found.append((number, line))
        size += len(line)
        rows += not line.startswith("#")
        if rows == known_layout.SAMPLE or size > SAMPLE_CHARACTERS:
            break
    return found


def _cells(path: Path, number: int, line: str, layout: Layout) -> list[str]:
    try:
        return known_layout.cells_of(line, layout.separator)
    except csv.Error as error:
        raise InputError(f"{path}, line {number}: not a row of a table ({error}); correct {KEY} in run.toml") from None


def _interactors(
    path: Path, number: int, cells: list[str], layout: Layout, named: known_layout.Named
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The pairs of interactors that a row lists, each by its identifiers."""
    if layout.holds == "pair":
        yield identifiers(cells, layout, layout.first), identifiers(cells, layout, layout.second)
        return
    cell, place = cells[layout.first[0]], layout.second[0]
    if layout.holds == "cell":
        pair = known_layout.split_pair(cell, layout.mark, named)
        if pair is not None:
            yield (pair[0],), (pair[1],)
    elif layout.holds == "members":
        members = list(dict.fromkeys(name for part in cell.split(layout.mark) if (name := _name(part))))
        if len(members) > MOST_MEMBERS:
            raise InputError(
                f"{path}, line {number}: {len(members):,} names in a cell; a complex has {MOST_MEMBERS:,} at most; "
                "name two columns with names: --known-columns A,B (known_columns in run.toml)"
            )
        yield from (((a,), (b,)) for a, b in itertools.combinations(members, 2))
    else:
        listed = cells[place:] if layout.holds == "rest" else map("".join, _TARGET.findall(cells[place]))
        regulator = _name(cell)
        yield from (((regulator,), (name,)) for partner in listed if regulator and (name := _name(partner)))


def _name(text: str) -> str:
    """A name without what SCENIC writes behind it; "" where none is told."""
    name = _REGULON.sub("", text.strip())
    return "" if name.lower() in ABSENT else name


def _link(table: KnownTable, here: frozenset[str], there: frozenset[str], row: Row) -> None:
    for a in here:
        for b in there:
            rows = table.links.setdefault((min(a, b), max(a, b)), [])
            if len(rows) < MOST_ROWS:
                rows.append(row)


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


def _reason(path: Path, number: int, cells: list[str], layout: Layout, organism: str, min_score: float) -> str:
    """Why a row does not count, or nothing.

    Raises:
        InputError: its score is on another scale than `min_score`.
    """

    def cell(column: int | None) -> str:
        return cells[column] if column is not None and column < len(cells) else ""

    if cell(layout.kind).lower() == "genetic":
        return "genetic, not physical"
    if cell(layout.called).lower() in ("false", "no", "0"):
        return "not called"
    p = _NUMBER.search(cell(layout.adjusted_p))
    if p is not None and float(p[0]) > ALPHA:
        return f"adjusted p-value over {ALPHA}"
    if organism and any(taxa and organism not in taxa for taxa in map(_taxa, map(cell, layout.organisms))):
        return "another organism"
    score = _NUMBER.search(cell(layout.score)) if layout.confidence and min_score > 0 else None
    if score is None:
        return ""
    value = float(score[0])
    if value > 1 >= min_score and layout.scale == 1:
        raise InputError(
            f"{path}, line {number}: a score of {score[0]} in column {(layout.score or 0) + 1}, but known_min_score = "
            f"{min_score:g} is for scores from 0 to 1 (and STRING's combined_score, up to 1000); give known_min_score "
            "on the scale of the table, or 0 to keep every row"
        )
    return "low score" if value < (min_score * layout.scale if min_score <= 1 else min_score) else ""


def _taxa(cell: str) -> list[str]:
    """The taxon numbers that a cell tells; what it tells in other words is none that was asked for."""
    if cell.lower() in ABSENT or cell.startswith("-"):
        return []
    known = TAXA.get(cell.lower().replace("_", " "))
    return [known] if known else re.findall(r"\d+", cell) or [cell]


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
    mend = f"make it: satori-hpc evaluate {quoted(path.parent.parent)} --force"
    if not path.exists():
        raise ArtefactError(f"{path}: not there; {mend}")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if tuple(table.columns) != COLUMNS:
        raise ArtefactError(f"{path}: expected the columns {', '.join(COLUMNS)}; {mend}")
    return table.astype({"q": float}).assign(line=pd.to_numeric(table["line"], errors="coerce"))
