"""Where tables of known interactions keep what: HIPPIE, BioGRID (tab2, tab3), MITAB, TRRUST, or any two columns."""

import csv
import re
from dataclasses import dataclass

from satori_hpc.errors import InputError

# What a column may be headed, in lower case, with blanks for underscores and dots; the first that is there counts.
SCORES = ("score", "confidence", "confidence score", "confidence value", "combined score", "weight")
REFERENCES = ("reference", "references", "pmid", "pmids", "pubmed", "pubmed id", "pubmed ids", "publication source",
              "ncbi publication id", "citation")  # fmt: skip
EVIDENCE = ("evidence", "experimental system", "method", "mode", "type", "effect", "source database")
NAMES = re.compile(r"(gene|protein|tf|symbol|interactor|partner|node|source|target|regulator|factor|name|id|from|to)"
                   r"( ?(gene|protein|symbol|name|id|interactor|[ab12xy]))*")  # fmt: skip
REGULATORS, TARGETS = ("tf", "regulator", "transcription factor"), ("target", "gene", "target gene")
MODES = ("activation", "repression", "unknown")
MITAB_COLUMNS = 15


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What stands where in a row; columns are numbered from 0.

    Attributes:
        format: its name, for people.
        separator: between cells; "" = white space.
        header: the first line is no row.
        first, second: columns with identifiers of the two interactors; those of the first column are shown.
        score, evidence, reference: columns; None = there is none. HIPPIE has all but the score in one.
        organisms: columns with taxon numbers.
        kind: column that says "genetic" where the interaction is not physical.
        confidence: a larger score is a better row.
        directed: the first regulates the second.
        needed: columns that a row must have.
    """

    format: str
    separator: str
    header: bool
    first: tuple[int, ...]
    second: tuple[int, ...]
    score: int | None = None
    evidence: int | None = None
    reference: int | None = None
    organisms: tuple[int, ...] = ()
    kind: int | None = None
    confidence: bool = False
    directed: bool = False
    needed: int


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of a line, without blanks and quotes around them."""
    if separator == "":
        return line.split()
    if separator == "\t":
        return [_unquoted(cell.strip()) for cell in line.split("\t")]
    return [_unquoted(cell.strip()) for cell in next(csv.reader([line], delimiter=separator))]


def _unquoted(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) >= 2 and cell[0] == cell[-1] and cell[0] in "\"'" else cell


def recognise(lines: list[str], *, columns: str, where: str) -> Layout:
    """The layout of a table.

    Args:
        lines: its first two lines that are not blank, or one.
        columns: the two columns with names, "A,B", by heading or by number from 1; "" = as the table looks.
        where: what messages call the table.

    Raises:
        InputError: it has one column, or not those asked for.
    """
    separator = next((mark for mark in "\t,;" if mark in lines[0]), "")
    rows = [cells_of(line, separator) for line in lines]
    if len(rows[0]) < 2:
        raise InputError(
            f"{where}: the first line, {lines[0][:60]!r}, is a single column; expected two columns of names or more, "
            "separated by tabs, commas or blanks"
        )
    heads = [re.sub(r"[_. ]+", " ", cell.lower().lstrip("#")).strip() for cell in rows[0]]
    if columns:
        return _asked(rows[0], heads, separator, columns, where)
    for known in (_mitab, _biogrid, _trrust, _hippie):
        found = known(rows, heads, separator)
        if found is not None:
            return found
    header = lines[0].startswith("#") or bool(NAMES.fullmatch(heads[0]) and NAMES.fullmatch(heads[1]))
    return _plain(heads if header else [], separator, (0, 1), header=header)


def _plain(heads: list[str], separator: str, pair: tuple[int, int], *, header: bool) -> Layout:
    named = [heads[column] if heads else "" for column in pair]
    return Layout(
        format="two columns",
        separator=separator,
        header=header,
        first=(pair[0],),
        second=(pair[1],),
        score=_column(heads, SCORES),
        evidence=_column(heads, EVIDENCE),
        reference=_column(heads, REFERENCES),
        confidence=True,
        directed=named[0] in REGULATORS and named[1] in TARGETS,
        needed=max(pair) + 1,
    )


def _asked(cells: list[str], heads: list[str], separator: str, columns: str, where: str) -> Layout:
    """The layout of a table whose two columns of names the user tells."""
    asked = [name.strip() for name in columns.split(",")]
    plain = [cell.lower().lstrip("#") for cell in cells]
    if all(name.isdigit() for name in asked) and not all(name in plain for name in asked):
        places, header = [int(name) - 1 for name in asked], False
        if len(asked) == 2 and all(0 <= place < len(cells) for place in places):
            header = cells[0].startswith("#") or all(NAMES.fullmatch(heads[place]) for place in places)
    else:
        places, header = [plain.index(name.lower()) if name.lower() in plain else -1 for name in asked], True
    if len(asked) != 2 or places[0] == places[1] or not all(0 <= place < len(cells) for place in places):
        shown = ", ".join(f"{number} {cell[:30]!r}" for number, cell in enumerate(cells[:40], start=1))
        raise InputError(
            f"{where}: known_columns = {columns!r} names no two columns of this table; expected 'A,B', two headings or "
            f"two numbers from 1; its first line: {shown}"
        )
    return _plain(heads if header else [], separator, (places[0], places[1]), header=header)


def _column(heads: list[str], names: tuple[str, ...]) -> int | None:
    return next((heads.index(name) for name in names if name in heads), None)


def _hippie(rows: list[list[str]], heads: list[str], separator: str) -> Layout | None:
    cells = rows[0]
    if len(cells) < 5 or separator != "\t" or not re.fullmatch(r"[01](\.\d+)?", cells[4]):
        return None
    if not all(cell == "" or cell.isdigit() for cell in (cells[1], cells[3])) or not (cells[1] or "_" in cells[0]):
        return None
    return Layout(
        format="HIPPIE", separator=separator, header=False, first=(0, 1), second=(2, 3), score=4,
        evidence=5, confidence=True, needed=5,
    )  # fmt: skip


def _trrust(rows: list[list[str]], heads: list[str], separator: str) -> Layout | None:
    if not any(len(cells) == 4 and cells[2].lower() in MODES for cells in rows):
        return None
    return Layout(
        format="TRRUST", separator=separator, header=rows[0][2].lower() not in MODES, first=(0,), second=(1,),
        evidence=2, reference=3, directed=True, needed=2,
    )  # fmt: skip


def _mitab(rows: list[list[str]], heads: list[str], separator: str) -> Layout | None:
    header = heads[0] in ("id interactor a", "id(s) interactor a", "unique identifier for interactor a")
    if len(rows[0]) < MITAB_COLUMNS or not (header or rows[0][9].startswith("taxid:")):
        return None
    # HIPPIE adds columns with the names of the genes; elsewhere they are among the alternatives or aliases.
    extra = [_column(heads, (f"gene name interactor {side}",)) for side in "ab"]
    return Layout(
        format="MITAB", separator=separator, header=header,
        first=(*(column for column in extra[:1] if column is not None), 4, 2, 0),
        second=(*(column for column in extra[1:] if column is not None), 5, 3, 1),
        score=14, evidence=6, reference=8, organisms=(9, 10), confidence=True, needed=MITAB_COLUMNS,
    )  # fmt: skip


def _biogrid(rows: list[list[str]], heads: list[str], separator: str) -> Layout | None:
    kinds = ("official symbol", "gene name", "entrez gene", "systematic name")
    sides = [[heads.index(name) for kind in kinds if (name := f"{kind} interactor {side}") in heads] for side in "ab"]
    if not sides[0] or len(sides[0]) != len(sides[1]):
        return None
    organisms = [
        _column(heads, (f"organism id interactor {side}", f"organism interactor {side}")) for side in "ab"
    ]  # fmt: skip
    kind = _column(heads, ("experimental system type",))
    return Layout(
        format="BioGRID", separator=separator, header=True, first=tuple(sides[0]), second=tuple(sides[1]),
        score=_column(heads, SCORES), evidence=_column(heads, EVIDENCE), reference=_column(heads, REFERENCES),
        organisms=tuple(column for column in organisms if column is not None), kind=kind,
        needed=max(*sides[0], *sides[1]) + 1,
    )  # fmt: skip
