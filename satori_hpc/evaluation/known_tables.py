"""Read tables of known interactions, plain or gzip, for the TFs of a run."""

import csv
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from satori_hpc.errors import ArtefactError, InputError, Problems, quoted
from satori_hpc.log import logger, progress
from satori_hpc.run import files, tsv

# Which columns of a table of known interactions hold the names: by a known layout, as given by the user, or by content.
#
# A table whose columns are none of these is refused with a list of its columns: nothing is taken for a name by its
# place.

HEADING = 200  # characters of a field that are compared as a heading
SAMPLE = 200  # rows that decide
MOST_COLUMNS = 100  # that are looked at
MITAB_COLUMNS = 15
ABSENT = ("", "-", ".", "na", "n/a", "none", "null")
ARROW = "$\\longleftrightarrow$"  # SATORI 1 writes pairs so

# Headings as normalised by `_normal`; the first one present counts.
SCORES = ("score", "confidence score", "confidence value", "combined score", "confidence", "weight")
REFERENCES = ("reference", "references", "pmid", "pmids", "pubmed", "pubmed id", "pubmed ids", "pubmedid",
              "publication source", "ncbi publication id", "interaction pubmed id", "citation")  # fmt: skip
EVIDENCE = ("evidence", "experimental system", "method", "detection method", "mode", "mor", "type", "interaction type",
            "effect", "source database", "database")  # fmt: skip
ORGANISMS = ("organism", "species", "taxon", "taxid", "tax id", "taxonomy id", "organism id", "ncbi tax id")
OTHER = ("source", "sources", "target", "id", "index", "importance", "pval", "fdr", "complexid", "complex id")
CALLED, ADJUSTED_P = "called", "adjusted pval"
PAIR_IN_A_CELL = "tf interaction"
MEMBERS = {"subunits gene name": ("CORUM", ";"), "components genesymbols": ("OmniPath complexes", "_")}

# Words of headings. Two columns of a pair have headings that differ only in the side, or name two roles.
SIDES = ({"a": 0, "b": 1}, {"1": 0, "2": 1}, {"x": 0, "y": 1}, {"first": 0, "second": 1}, {"left": 0, "right": 1})
ENTITIES = ("tf", "tfs", "factor", "gene", "protein", "interactor", "partner", "node", "entity", "participant",
            "symbol", "name", "genesymbol", "component", "subunit", "hgnc", "official", "approved",
            "preferredname", "preferred", "genename", "transcription", "regulator")  # fmt: skip
IDENTIFIERS = ("id", "ids", "identifier", "uniprot", "uniprotid", "uniprotkb", "entrez", "entrezid", "geneid",
               "ensembl", "ensg", "ensp", "accession", "ncbi", "refseq", "systematic", "locus", "orf",
               "string")  # fmt: skip
SYMBOLS = ("symbol", "name", "genesymbol", "genename", "preferredname")
# Words of headings without a side, and of columns without names.
MORE_WORDS = ("regulated", "regulating", "interacting", "binding", "upstream", "downstream", "query", "human", "mouse")
NO_NAMES = {
    "family", "class", "domain", "tissue", "cell", "species", "organism", "description", "pathway", "disease", "drug",
    "chr", "chrom", "chromosome", "start", "end", "strand", "motif", "matrix", "filter", "example", "cluster", "module",
    "term", "location", "type", "method", "database",
}  # fmt: skip
ROLES = (
    (("tf", "tfs", "regulator", "transcription factor"), ("target", "targets", "gene"), True),
    (("source",), ("target",), False),
    (("from",), ("to",), False),
    (("bait",), ("prey",), False),
    (("subject",), ("object",), False),
    (("ligand",), ("receptor",), False),
    (("enzyme", "kinase"), ("substrate",), False),
    (("tf",), ("cofactor", "tcof", "coregulator", "partner", "interactor"), False),
)

# Values that describe a type or method, never a gene.
TYPES = re.compile(
    r"(activat|repress|inhibit|stimulat|regulat|unknown|bind|interact|associat|physical|genetic|direct|indirect|"
    r"(up|down)-regulat|controls-|in-complex|consumption-|catalysis-|used-to-|reacts-|chemical-|neighbor-|"
    r"protein|gene$|complex$|chem|smallmolecule|phenotype|mrna|mirna|uniprot$|ensembl$|entrez|signor|human$|mouse$|"
    r"positive|negative|chr(?:\d+|[xymwz]|mt|un.*)$|true$|false$|yes$|no$|pp$|pd$|pr$|rc$|cr$|pm$|mp$|gl$|pprel$|gerel$|pcrel$).*",
    re.IGNORECASE,
)
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-.@/:][A-Za-z0-9]+){0,4}(?:\([^()]{1,12}\))?")
_STRONG = re.compile(r".*\d.*|[A-Z][A-Z-]+")
NAMESPACES = {
    "Ensembl proteins": re.compile(r"(?:\d+\.)?ENS[A-Z]*P\d{11}(?:\.\d+)?"),
    "Ensembl genes": re.compile(r"ENS[A-Z]*G\d{11}(?:\.\d+)?"),
    "Ensembl transcripts": re.compile(r"ENS[A-Z]*T\d{11}(?:\.\d+)?"),
    "UniProt accessions": re.compile(
        r"(?:[OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2})(?:-\d+)?(?:_[OPQA-Z0-9]+)*"
    ),
    "UniProt entry names": re.compile(r"[A-Z0-9]{1,10}_[A-Z0-9]{3,5}"),
    "RefSeq accessions": re.compile(r"[NX][MPR]_\d+(?:\.\d+)?"),
    "genes of FlyBase or WormBase": re.compile(r"(?:FBgn\d{7}|WBGene\d{8})"),
    "loci": re.compile(r"AT[1-5MC]G\d{5}|Y[A-P][LR]\d{3}[WC](?:-[A-Z])?", re.IGNORECASE),
}
_HEADING = re.compile(r"[A-Za-z][A-Za-z_ ./()%-]*\d?")
_INTEGER, _FLOAT = re.compile(r"[-+]?\d{1,18}"), re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf", re.I)
# Separators of two names in one field.
MARKS = (ARROW, "\\longleftrightarrow", "<-->", "<->", "<=>", "↔", "⟷", "-->", "->", "→", "::", "|", ";", ",", " - ",
         "--", "+", "&", "/", ":", "__", "_", "-", " ")  # fmt: skip

Named = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Column layout of a table; columns are numbered from 0.

    Attributes:
        format: its name, for people.
        separator: between fields; "" = white space.
        skip: lines above the first row, without blank ones.
        first, second: columns with identifiers of the two interactors; those of the first column are shown.
        holds: "pair" of names in a row, "rest": every field from the second column on is a partner, "members" of a
            complex in one field, a "cell" with two names, "targets" as pySCENIC writes them.
        mark: between the names of a field.
        score, evidence, reference: columns; None = there is none. HIPPIE has all but the score in one.
        scale: the score equivalent to 1.
        organisms: columns with taxon numbers or names of species.
        kind: column that says "genetic" where the interaction is not physical.
        called: column of the pairs' verdict; adjusted_p: of their p-value. Only significant pairs are known.
        confidence: a larger score is a better row.
        directed: the first regulates the second.
        needed: columns that a row must have.
        ends: a row that begins so begins another table.
    """

    format: str
    separator: str
    skip: int = 0
    first: tuple[int, ...]
    second: tuple[int, ...]
    holds: str = "pair"
    mark: str = ""
    score: int | None = None
    evidence: int | None = None
    reference: int | None = None
    scale: float = 1.0
    organisms: tuple[int, ...] = ()
    kind: int | None = None
    called: int | None = None
    adjusted_p: int | None = None
    confidence: bool = False
    directed: bool = False
    needed: int
    ends: str = ""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Parsed first lines of a table: `cells` are its headings unchanged, `heads` normalised."""

    where: str
    separator: str
    skip: int
    cells: list[str]
    heads: list[str]
    rows: list[list[str]]
    named: Named

    @property
    def width(self) -> int:
        return max(len(row) for row in (self.cells, *self.rows))

    def column(self, place: int) -> list[str]:
        """Return the values of a column, without missing ones."""
        found = (row[place] for row in self.rows if place < len(row))
        return [value for value in found if value.lower() not in ABSENT]


def cells_of(line: str, separator: str) -> list[str]:
    """Return the fields of a line, stripped of blanks and quotes."""
    if separator == "":
        return _quoted(line, " ") if '"' in line else line.split() or [""]
    if separator != "\t" and '"' in line:
        return _quoted(line, separator)
    return [_unquoted(cell.strip()) for cell in line.split(separator)]


def _quoted(line: str, separator: str) -> list[str]:
    csv.field_size_limit(files.LONGEST_LINE)
    cells = next(csv.reader([line.strip() if separator == " " else line], delimiter=separator, skipinitialspace=True))
    return [_unquoted(cell.strip()) for cell in cells if cell or separator != " "] or [""]


def _unquoted(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) >= 2 and cell[0] == cell[-1] and cell[0] in "\"'" else cell


def _normal(cell: str) -> str:
    """Normalise a heading: "subunits(Gene name)" is "subunits gene name"; no heading is longer than HEADING."""
    return re.sub(r"[^a-z0-9]+", " ", cell[:HEADING].lower()).strip()


def recognise(lines: list[str], *, columns: str, where: str, named: Named = lambda name: False) -> Layout:
    """Return the layout of a table.

    Args:
        lines: its first lines that are not blank, as many as there are up to SAMPLE.
        columns: its columns with names: "A,B", or "A" if one column holds pairs, by heading or by number from 1;
            "" = find them.
        where: its path, as messages call it.
        named: whether a text is a name of a TF of the run.

    Raises:
        InputError: its columns with names are not those asked for, or it is not clear which they are.
    """
    table = _taken_apart(lines, where, named)
    if columns:
        return _asked(table, columns)
    if table.width < 2:
        raise InputError(
            f"{where}: the first line, {lines[0][:60]!r}, is a single column; expected two columns of names or more, "
            "separated by tabs, commas or blanks; or say that its cells hold pairs: evaluate.known_columns = ['1']"
        )
    for known in (_mitab, _biogrid, _regulons, _trrust, _hippie, _members, _gene_sets, _sif, _regnetwork, _headed):
        found = known(table)
        if found is not None:
            return found
    pair = _proven(table)
    if pair is None:
        raise _unclear(table)
    return _plain(table, (pair[0],), (pair[1],))


# ---- lines and headings


def _taken_apart(lines: list[str], where: str, named: Named) -> _Table:
    comments = 0
    while comments < len(lines) and lines[comments].startswith("#"):
        comments += 1
    body = lines[comments:]
    separator = _separator(body or lines[-1:])
    rows = [cells_of(line, separator) for line in body]
    if comments:  # the last one may be the header
        cells = cells_of(lines[comments - 1].lstrip("#"), separator)
        if len(cells) > 1 and (not rows or len(cells) == len(rows[0])) or (not rows and comments == 1):
            return _Table(
                where=where, separator=separator, skip=comments, cells=cells, heads=[_normal(cell) for cell in cells],
                rows=rows, named=named,
            )  # fmt: skip
    if not rows:
        raise InputError(f"{where}: comments and no row; correct [evaluate] known in run.toml")
    first, rest = rows[0], rows[1:]
    if not _is_header(first, rest, named):
        return _Table(where=where, separator=separator, skip=comments, cells=[], heads=[], rows=rows, named=named)
    # R writes no heading above its row names.
    shifted = bool(rest) and all(len(row) == len(first) + 1 and row[-1] for row in rest)
    cells = ["", *first] if shifted else first
    return _Table(
        where=where, separator=separator, skip=comments + 1, cells=cells, heads=[_normal(cell) for cell in cells],
        rows=rest, named=named,
    )  # fmt: skip


def _separator(lines: list[str]) -> str:
    """Return the separator: tab, or else the character that splits the lines into equally many fields.

    "" = white space.
    """
    if "\t" in lines[0] or 2 * sum("\t" in line for line in lines) > len(lines):
        return "\t"
    best = ("", 1)
    for mark in ",;|":
        cut = [cells_of(line, mark) for line in lines]
        widths = [len(cells) for cells in cut]
        width = max(widths, key=widths.count)
        if all(" " in cells[0] and '"' not in line for cells, line in zip(cut, lines, strict=True)):
            continue  # a comma in blank-separated fields
        if widths.count(width) >= 0.9 * len(lines) and width > best[1]:
            best = (mark, width)
    return best[0] or next((mark for mark in ",;" if mark in lines[0] and " " not in lines[0].strip()), "")


def _is_header(first: list[str], rest: list[list[str]], named: Named) -> bool:
    """Return whether the first line holds headings, by its words or because it differs in type from the rows."""
    if any(named(cell) for cell in first):
        return False
    heads = [_normal(cell) for cell in first]
    below = [[row[place] for row in rest if place < len(row)] for place in range(len(first))]
    known = (*SCORES, *REFERENCES, *EVIDENCE, *ORGANISMS, *MEMBERS, CALLED, ADJUSTED_P, PAIR_IN_A_CELL)
    if any(head in known and cell not in values for head, cell, values in zip(heads, first, below, strict=True)):
        return True
    words = {*ENTITIES, *IDENTIFIERS, *OTHER, *MORE_WORDS, "target", "of"}
    told_by_words = [len(head.split()) for head in heads if head and words.issuperset(head.split())]
    if _pairs(first) or sum(told_by_words) > 1:
        return True
    if not rest:
        return False
    if first[0] == "" and any(first) and all(row[0] for row in rest):
        return True
    told = [[value for value in values if value.lower() not in ABSENT] for values in below]
    for cell, values in zip(first, told, strict=True):
        if _HEADING.fullmatch(cell) and cell.lower() not in ABSENT and values and all(map(_FLOAT.fullmatch, values)):
            return True
    # Words above symbols: "Bait", "Prey" above GATA1, TAL1.
    words_above = len(rest) >= 3 and all(re.fullmatch(r"[A-Za-z][a-z_ ]+[12ABab]?", cell) for cell in first)
    return words_above and all(values and all(map(_STRONG.fullmatch, values)) for values in told)


def _pairs(cells: list[str]) -> list[tuple[int, int, int, bool]]:
    """Return pairs of columns headed as two interactors, best first: (rank, first, second, directed).

    Rank: 0 for symbols, 1 for genes, proteins or TFs, 2 for identifiers.
    """
    heads = [_normal(cell) for cell in cells]
    return sorted([*_alike(heads), *_roles(heads)], key=lambda pair: pair[0])


def _alike(heads: list[str]) -> Iterator[tuple[int, int, int, bool]]:
    """Return columns whose headings differ only in the side: "gene_a" and "gene_b", "TF1" and "TF2"."""
    stems: dict[tuple[str, int], dict[int, int]] = {}
    for place, head in enumerate(heads):
        words = head.split()
        for at, word in enumerate(words):
            short = re.fullmatch(r"([a-z]{2,})([ab12])", word)
            mark, left = (short[2], [short[1]]) if short and word not in ENTITIES else (word, [])
            if short and short[1] not in (*ENTITIES, *IDENTIFIERS):
                continue
            stem = " ".join([*words[:at], *left, "*", *words[at + 1 :]])
            for kind, sides in enumerate(SIDES):
                if mark in sides:
                    stems.setdefault((stem, kind), {}).setdefault(sides[mark], place)
    for (stem, _), places in stems.items():
        words = [word for word in stem.split() if word != "*"]
        if len(places) == 2 and words and all(word in (*ENTITIES, *IDENTIFIERS, "of", "the") for word in words):
            rank = 2 if any(word in IDENTIFIERS for word in words) else not any(word in SYMBOLS for word in words)
            yield int(rank), places[0], places[1], False


def _roles(heads: list[str]) -> Iterator[tuple[int, int, int, bool]]:
    """Return columns headed by two roles: "TF" and "target", "source_genesymbol" and "target_genesymbol"."""
    for regulators, targets, directed in ROLES:
        first, second = _in_role(heads, regulators), _in_role(heads, targets)
        kinds = [(kind, kind) for kind in first if kind in second]
        if not any(kind in ("", "symbol") for kind, _ in kinds):  # "TF", "target_symbol"
            kinds += [(a, b) for a in ("symbol", "") for b in ("symbol", "") if a in first and b in second][:1]
        found = [(a, first[a], second[b]) for a, b in kinds if first[a] != second[b]]
        for kind, a, b in found:
            yield 0 if kind == "symbol" else 1 if kind == "" else 2, a, b, directed
        if found:
            return


def _in_role(heads: list[str], roles: tuple[str, ...]) -> dict[str, int]:
    """Return {"symbol", "" or a kind of identifier: the column headed by one of these roles}; the first role counts."""
    found: dict[str, int] = {}
    for role in roles:
        for place, head in enumerate(heads):
            words = re.sub(rf"\b{role}\b", "", head).split()
            if re.search(rf"\b{role}\b", head) and all(word in (*ENTITIES, *IDENTIFIERS) for word in words):
                identifiers = [word for word in words if word in IDENTIFIERS]
                kind = " ".join(identifiers) or ("symbol" if set(words) & set(SYMBOLS) else "")
                found.setdefault(kind, place)
    return found


def _column(heads: list[str], names: tuple[str, ...]) -> int | None:
    return next((heads.index(name) for name in names if name in heads), None)


# ---- layouts by heading


def _plain(table: _Table, first: tuple[int, ...], second: tuple[int, ...], **more: object) -> Layout:
    """Return a layout of two columns; headings identify further columns."""
    heads = table.heads
    score = _column(heads, SCORES)
    organisms = (re.sub(r" (source|target|a|b|1|2|interactor [ab])$", "", head) for head in heads)
    layout = Layout(
        format="two columns",
        separator=table.separator,
        skip=table.skip,
        first=first,
        second=second,
        score=score,
        scale=1000.0 if score is not None and heads[score] == "combined score" and _largest(table, score) > 1 else 1.0,
        evidence=_column(heads, EVIDENCE),
        reference=_column(heads, REFERENCES),
        organisms=tuple(place for place, head in enumerate(organisms) if head in ORGANISMS),
        called=_column(heads, (CALLED,)),
        adjusted_p=_column(heads, (ADJUSTED_P,)),
        confidence=score is not None and any(map(_FLOAT.fullmatch, table.column(score))),
        needed=max(*first, *second) + 1,
    )
    return replace(layout, **more)  # type: ignore[arg-type]


def _largest(table: _Table, place: int) -> float:
    return max((float(value) for value in table.column(place) if _FLOAT.fullmatch(value)), default=0.0)


def _headed(table: _Table) -> Layout | None:
    """Return two columns headed as names of two interactors, and holding names."""
    if PAIR_IN_A_CELL in table.heads and not any(rank < 2 for rank, *_ in _pairs(table.cells)):
        place = table.heads.index(PAIR_IN_A_CELL)
        return _plain(table, (place,), (place,), format="SATORI 1", holds="cell", mark=ARROW)
    found = [pair for pair in _pairs(table.cells) if _of_one_kind(table, pair[1], pair[2])]
    if not found:
        return None
    _, first, second, directed = min(found, key=lambda pair: (not _as_the_run(table, pair[1]), pair[0]))
    return _labelled(table, _plain(table, (first,), (second,), directed=directed))


def _as_the_run(table: _Table, place: int) -> bool:
    """Return whether a column has names like those of motifs: names of the run, or symbols."""
    profile = _profile(table, place)
    return profile is None or profile.named >= 0.5 or profile.kind in ("symbols", "text")


def _of_one_kind(table: _Table, first: int, second: int) -> bool:
    """Return whether two columns may hold names of the same kind; True if there is no row."""
    a, b = _profile(table, first), _profile(table, second)
    if a is None or b is None:
        return True
    if any(one.kind == "numbers" or (one.types and one.named < 0.5) for one in (a, b)):
        return False
    return (a.kind == "integers") == (b.kind == "integers")


def _labelled(table: _Table, layout: Layout) -> Layout:
    """Return the layout of a format by its name, with its specifics."""
    heads = set(table.heads)
    if {"tf a", "tf b", CALLED} <= heads:
        return replace(layout, format="satori_hpc", score=None, confidence=False, scale=1.0)
    if ADJUSTED_P in heads and {"tf1", "tf2"} <= heads:
        return replace(layout, format="SATORI 1")
    if "combined score" in heads:
        return replace(layout, format="STRING")
    if {"participant a", "participant b", "interaction type"} <= heads:
        return replace(layout, format="Pathway Commons", ends="PARTICIPANT")
    if {"entitya", "entityb"} <= heads:
        return replace(layout, format="SIGNOR")
    if {"source genesymbol", "target genesymbol"} <= heads:
        regulatory = "type" in heads and set(table.column(table.heads.index("type"))) == {"transcriptional"}
        return replace(layout, format="OmniPath", directed=regulatory)
    if {"tf", "target", "importance"} <= heads:
        return replace(layout, format="SCENIC", score=table.heads.index("importance"), confidence=False)
    if {"tf", "target"} <= heads and heads & {"mor", "confidence"}:
        return replace(layout, format="DoRothEA")
    # A network for decoupler: the weight is the sign of the regulation, no confidence.
    if {"source", "target"} <= heads and heads & {"weight", "mor"} and "type" not in heads:
        sign = _column(table.heads, ("weight", "mor"))
        return replace(layout, format="CollecTRI", directed=True, score=None, confidence=False, evidence=sign)
    if {"regulator symbol", "target symbol"} <= heads:
        return replace(layout, format="RegNetwork")
    if {"name tf", "name target"} <= heads:
        return replace(layout, format="TFLink")
    return layout


def _members(table: _Table) -> Layout | None:
    """Parse complexes: one field holds all members."""
    for head, (name, mark) in MEMBERS.items():
        if head in table.heads:
            place = table.heads.index(head)
            return _plain(
                table, (place,), (place,), format=name, holds="members", mark=mark, score=None, confidence=False
            )
    return None


def _regulons(table: _Table) -> Layout | None:
    """Parse the output of `pyscenic ctx`: three heading lines, a row for each motif of a TF, targets in one field."""
    lines = [table.cells, *table.rows[:2]]
    for at, cells in enumerate(lines):
        if "TargetGenes" in cells:
            follows = at + 1 < len(lines) and lines[at + 1][:1] == ["TF"]
            place = next((row.index("TF") for row in lines if "TF" in row), 0)
            above = table.skip - bool(table.cells)
            return Layout(
                format="SCENIC regulons", separator=table.separator, skip=above + at + 1 + follows, first=(place,),
                second=(cells.index("TargetGenes"),), holds="targets", directed=True,
                needed=max(place, cells.index("TargetGenes")) + 1,
            )  # fmt: skip
    return None


def _mitab(table: _Table) -> Layout | None:
    heads = ("id interactor a", "id s interactor a", "unique identifier for interactor a")
    header = bool(table.heads) and table.heads[0] in heads
    rows = table.rows or [table.cells]
    if len(rows[0]) < MITAB_COLUMNS or not (header or rows[0][9].startswith("taxid:")):
        return None
    # HIPPIE adds columns with the names of the genes; elsewhere they are among the alternatives or aliases.
    extra = [_column(table.heads, (f"gene name interactor {side}",)) for side in "ab"]
    return Layout(
        format="MITAB", separator=table.separator, skip=table.skip,
        first=(*(column for column in extra[:1] if column is not None), 4, 2, 0),
        second=(*(column for column in extra[1:] if column is not None), 5, 3, 1),
        score=14, evidence=6, reference=8, organisms=(9, 10), confidence=True, needed=MITAB_COLUMNS,
    )  # fmt: skip


def _biogrid(table: _Table) -> Layout | None:
    heads = table.heads
    kinds = ("official symbol", "gene name", "entrez gene", "systematic name")
    sides = [[heads.index(name) for kind in kinds if (name := f"{kind} interactor {side}") in heads] for side in "ab"]
    if not sides[0] or len(sides[0]) != len(sides[1]):
        return None
    organisms = [_column(heads, (f"organism id interactor {side}", f"organism interactor {side}")) for side in "ab"]
    return Layout(
        format="BioGRID", separator=table.separator, skip=table.skip, first=tuple(sides[0]), second=tuple(sides[1]),
        score=_column(heads, SCORES), evidence=_column(heads, EVIDENCE), reference=_column(heads, REFERENCES),
        organisms=tuple(column for column in organisms if column is not None),
        kind=_column(heads, ("experimental system type",)), needed=max(*sides[0], *sides[1]) + 1,
    )  # fmt: skip


# ---- layouts by content


def _hippie(table: _Table) -> Layout | None:
    cells = table.rows[0] if table.rows and not table.cells else []
    if len(cells) < 5 or table.separator != "\t" or not re.fullmatch(r"[01](\.\d+)?", cells[4]):
        return None
    if not all(cell == "" or cell.isdigit() for cell in (cells[1], cells[3])) or not (cells[1] or "_" in cells[0]):
        return None
    return Layout(
        format="HIPPIE", separator=table.separator, skip=table.skip, first=(0, 1), second=(2, 3), score=4, evidence=5,
        confidence=True, needed=5,
    )  # fmt: skip


def _trrust(table: _Table) -> Layout | None:
    modes = ("activation", "repression", "unknown")
    if sum(len(cells) == 4 and cells[2].lower() in modes for cells in table.rows) < max(1, 0.9 * len(table.rows)):
        return None
    return Layout(
        format="TRRUST", separator=table.separator, skip=table.skip, first=(0,), second=(1,), evidence=2, reference=3,
        directed=True, needed=2,
    )  # fmt: skip


def _regnetwork(table: _Table) -> Layout | None:
    """Parse symbol, number, symbol, number; no header."""
    if table.cells or not table.rows or any(len(row) != 4 for row in table.rows):
        return None
    kinds = [profile.kind if (profile := _profile(table, place)) else "" for place in range(4)]
    if kinds != ["symbols", "integers"] * 2 or any(_is_counter(table.column(place)) for place in (1, 3)):
        return None
    return _plain(table, (0,), (2,), format="RegNetwork", directed=True)


def _sif(table: _Table) -> Layout | None:
    """Parse Cytoscape's simple interaction format: a name, the type of the interaction, one partner or more."""
    if table.cells or table.separator not in ("\t", "") or not table.rows:
        return None
    widths = {len(row) for row in table.rows}
    told = _ends_in(table.where, ".sif")
    first, second, third = (_profile(table, place) for place in range(3))
    if not (first and second and third) or second.named >= 0.5 or not (first.may_be_name and third.may_be_name):
        return None
    if not (told or all(TYPES.fullmatch(value) for value in table.column(1)) and _together(first, third)):
        return None
    partners = (
        widths <= {1, 3}
        or (told or len(widths) > 1)
        and all(
            (profile := _profile(table, place)) and profile.may_be_name and profile.kind == third.kind
            for place in range(3, min(max(widths), MOST_COLUMNS))
        )
    )
    return _plain(
        table, (0,), (2,), format="SIF", holds="rest" if partners else "pair", evidence=1, needed=1 if partners else 3
    )


def _gene_sets(table: _Table) -> Layout | None:
    """Parse GMT: the name of a set, a description, its members.

    TFs and their targets where the names are those of TFs.
    """
    if table.cells or table.separator != "\t" or not table.rows:
        return None
    links = [row[1] for row in table.rows if len(row) > 2]
    url = bool(links) and all(link.lower().startswith(("http:", "https:")) for link in links)
    if not (url or _ends_in(table.where, ".gmt")):
        return None
    profile = _profile(table, 0)
    if profile is None or profile.tier < 2 or profile.kind == "integers":
        shown = ", ".join(repr(row[0][:40]) for row in table.rows[:3])
        raise InputError(
            f"{table.where}: gene sets (GMT) whose names are not those of TFs ({shown}): no table of interactions; "
            "write one of two columns, such as TF and target"
        )
    return _plain(table, (0,), (2,), format="GMT", holds="rest", directed=True, needed=1)


def _ends_in(where: str, suffix: str) -> bool:
    return suffix in [part.lower() for part in Path(where).suffixes]


# ---- proof by content


@dataclass(frozen=True, kw_only=True)
class _Profile:
    """Statistics of the values of a column.

    Attributes:
        kind: "symbols", a key of NAMESPACES, "integers", "numbers" or "text".
        named: share that are names of the run's TFs.
        strong: share of those that no common word looks like: with digits, or in capitals.
        varied: most values are different.
        types: all describe types or methods.
    """

    kind: str
    named: float
    strong: float
    varied: bool
    types: bool

    @property
    def tier(self) -> int:
        """3: names of the run's TFs, 2: of genes, 1: may be, 0: no names."""
        if self.named >= 0.5:
            return 3
        if self.types or self.kind in ("numbers", "text", "integers"):
            return 0
        return 1 + self.varied if self.strong >= 0.3 else int(self.varied)

    @property
    def repeated(self) -> bool:
        """A few values again and again, which may be categories."""
        return self.tier < 3 and not self.varied

    @property
    def may_be_name(self) -> bool:
        return self.tier > 0 or self.kind == "integers" or (self.kind == "symbols" and not self.types)


def _profile(table: _Table, place: int) -> _Profile | None:
    """Measure the values of a column; None if it is empty."""
    values = table.column(place)
    if not values:
        return None
    total = len(values)
    counts: dict[str, int] = {}
    for value in values:
        kind = _kind(value)
        counts[kind] = counts.get(kind, 0) + 1
    numbers = counts.get("integers", 0) + counts.get("numbers", 0)
    if numbers == total and counts.get("numbers"):
        counts = {"numbers": numbers}
    kind = max(counts, key=counts.__getitem__)
    different = len(set(values))
    return _Profile(
        kind=kind if counts[kind] > total / 2 else "text",
        named=sum(map(table.named, values)) / total,
        strong=sum(bool(_STRONG.fullmatch(value)) for value in values) / total,
        varied=total == 1 or different > total / 2,
        types=all(TYPES.fullmatch(value) for value in values),
    )


def _kind(value: str) -> str:
    if _INTEGER.fullmatch(value):
        return "integers"
    if _FLOAT.fullmatch(value):
        return "numbers"
    for name, pattern in NAMESPACES.items():
        if pattern.fullmatch(value):
            return name
    return "symbols" if len(value) <= 30 and _SYMBOL.fullmatch(value) else "text"


def kind_of(names: list[str]) -> str:
    """Return the kind of these names, for messages: "Ensembl proteins", "integers"; "" if unclear or symbols."""
    kinds = {_kind(name) for name in names}
    return kinds.pop() if len(kinds) == 1 and not kinds & {"symbols", "text", "numbers"} else ""


def _is_counter(values: list[str]) -> bool:
    """Return whether a column numbers the rows."""
    if not values or not all(_INTEGER.fullmatch(value) for value in values):
        return False
    numbers = [int(value) for value in values]
    return numbers[0] in (0, 1) and (len(numbers) == 1 or numbers == list(range(numbers[0], numbers[0] + len(numbers))))


def _together(a: _Profile, b: _Profile) -> bool:
    """Return whether two columns hold names of one namespace.

    A TF repeats before its targets; a value that repeats after names is a category.
    """
    if b.repeated or (a.repeated and b.tier == 3):
        return False
    if a.kind != b.kind and not (a.tier == 3 and a.kind == "text") and not (b.tier == 3 and b.kind == "text"):
        return False
    return a.kind != "symbols" or a.tier == b.tier == 3 or abs(a.strong - b.strong) <= 0.5


def _proven(table: _Table) -> tuple[int, int] | None:
    """Return the only two columns that can be the names of the interactors; None if ambiguous.

    Names of the run's TFs prove more than names like those of genes; words alone, or numbers of genes, prove enough
    where no other column could be meant.
    """
    skipped = {*SCORES, *REFERENCES, *EVIDENCE, *ORGANISMS}
    profiles = {
        place: profile
        for place in range(min(table.width, MOST_COLUMNS))
        if (profile := _profile(table, place)) is not None
        and not _is_counter(table.column(place))
        and (place >= len(table.heads) or not (skipped | NO_NAMES) & {table.heads[place], *table.heads[place].split()})
    }
    text = [place for place, profile in profiles.items() if profile.kind not in ("integers", "numbers")]
    integers = [place for place, profile in profiles.items() if profile.kind == "integers"]
    if not text and len(integers) == 2:
        return integers[0], integers[1]
    pairs = [
        (min(profiles[a].tier, profiles[b].tier), max(profiles[a].tier, profiles[b].tier), a, b)
        for at, a in enumerate(profiles)
        for b in list(profiles)[at + 1 :]
        if profiles[a].tier and profiles[b].tier and _together(profiles[a], profiles[b])
    ]
    best = [pair for pair in pairs if pair[:2] == max(pairs)[:2]] if table.width <= MOST_COLUMNS else []
    symbols = [pair for pair in best if profiles[pair[2]].kind == "symbols"]
    best = symbols if len(best) > 1 else best  # accessions next to the symbols of the same genes
    if len(best) != 1 or (best[0][1] < 2 and len(text) > 2):
        return None
    return best[0][2], best[0][3]


def _unclear(table: _Table) -> InputError:
    """Return the error that shows the columns and how to select those of the names."""
    lines = []
    for place in range(min(table.width, 40)):
        values = list(dict.fromkeys(row[place][:30] for row in table.rows if place < len(row)))[:3]
        head = f" {table.cells[place][:40]!r}" if place < len(table.cells) else ""
        lines.append(f"  {place + 1}{head}: {', '.join(map(repr, values))}")
    more = [f"  ... and {table.width - 40} more"] if table.width > 40 else []
    return InputError(
        "\n".join([
            f"{table.where}: no layout that is known, and its values do not say which two columns hold the names of "
            "the interactors; say it by heading or number from 1: evaluate.known_columns = ['A,B'], or ['A'] where "
            "each cell of a column holds a pair. Its columns:",
            *lines,
            *more,
        ])
    )  # fmt: skip


# ---- columns given by the user


def _asked(table: _Table, columns: str) -> Layout:
    """Return the layout of a table whose name columns the user selects."""
    ways = ([columns], columns.split(","), columns.split())
    found = [[place for name in names if (place := _place(table, name.strip())) is not None] for names in ways]
    fits = (way for way, names in zip(found, ways, strict=True) if len(set(way)) == len(names) in (1, 2))
    places = next(fits, [])
    if not places:
        first = table.cells or table.rows[0]
        shown = ", ".join(f"{number} {cell[:30]!r}" for number, cell in enumerate(first[:40], start=1))
        raise InputError(
            f"{table.where}: known_columns = {columns!r} names no two columns of this table; expected 'A,B', two "
            f"headings or two numbers from 1, or 'A' where each cell of a column holds a pair; its first line: {shown}"
        )
    if len(places) == 1:
        return _in_a_cell(table, places[0], columns)
    layout = _plain(table, (places[0],), (places[1],))
    return replace(layout, directed=any(pair[1:] == (*places, True) for pair in _pairs(table.cells)))


def _place(table: _Table, name: str) -> int | None:
    """Return the column of this heading or number from 1."""
    plain = [cell.lower().strip() for cell in table.cells]
    if name.lower() in plain:
        return plain.index(name.lower())
    if name.isdecimal():
        return int(name) - 1 if 1 <= int(name) <= table.width else None
    return table.heads.index(_normal(name)) if _normal(name) and _normal(name) in table.heads else None


def _in_a_cell(table: _Table, place: int, columns: str) -> Layout:
    """Return the layout of a table with the names of a row in one field: two of them, or all members of a complex."""
    values = [value for value in table.column(place) if value]
    shares = {mark: sum(split_pair(value, mark, table.named) is not None for value in values) for mark in MARKS}
    mark = max(shares, key=shares.__getitem__)
    if values and 2 * shares[mark] > len(values):
        return _plain(table, (place,), (place,), holds="cell", mark=mark)
    for mark in ";,|":
        if 2 * sum(mark in value for value in values) > len(values):
            return _plain(table, (place,), (place,), holds="members", mark=mark)
    shown = ", ".join(repr(value[:40]) for value in values[:3])
    raise InputError(
        f"{table.where}: known_columns = {columns!r} names one column, so each cell of it should hold two names with a "
        f"mark between, such as GATA1::TAL1, GATA1-TAL1 or GATA1_TAL1; found {shown}; name two columns: 'A,B'"
    )


def split_pair(cell: str, mark: str, named: Named) -> tuple[str, str] | None:
    """Split a field into two names; None if there are not two, or more than one way to read it.

    NKX2-5-GATA4 can be read in two ways; it is read so that both names are those of TFs of the run.
    """
    parts = [part.strip() for part in cell.split(mark)]
    ways = [(mark.join(parts[:at]), mark.join(parts[at:])) for at in range(1, len(parts))]
    if len(ways) > 1:
        ways = [way for way in ways if named(way[0]) and named(way[1])]
    return ways[0] if len(ways) == 1 and all(ways[0]) else None


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
# NCBI taxa by their names in tables.
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
    """A row of a table: line number, the two names, and the supporting evidence."""

    line: int
    name_a: str
    name_b: str
    score: str
    evidence: str
    reference: str


@dataclass(kw_only=True)
class KnownTable:
    """Rows of a table that concern the given names.

    Attributes:
        format: as of `Layout`.
        rows: of the table. used: those that count. excluded_records: {reason: rows} of the others.
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
    excluded_records: dict[str, int] = field(default_factory=dict)
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
        columns: as of `recognise`.
        organism: taxon number that both partners must have if the table gives it; "" = any.
        min_score: rows of a lower confidence, from 0 to 1, are excluded, if the table has one.

    Raises:
        InputError: it is missing, empty or not text, its columns with names are not clear, its scores are on another
            scale than `min_score`, or rows have too few columns; all of these with their lines.
    """
    problems = Problems(f"{path}: not a table of interactions that can be used ({KEY}):")
    lines = ((number, line) for number, line in files.lines(path, key=KEY) if line.strip())
    first = _sample(lines)
    if not first:
        raise InputError(f"{path}: empty; expected rows with the names of two interactors; correct {KEY} in run.toml")

    def named(text: str) -> bool:
        return not wanted.isdisjoint(who((text,)))

    layout = recognise([line for _, line in first], columns=columns, where=str(path), named=named)
    if min_score > 0 and not layout.confidence:
        said = "%s (%s): has no confidence, so known_min_score = %g leaves out no row"
        logger.warning(said, path, layout.format, min_score)
    table = KnownTable(format=layout.format, directed=layout.directed)
    genes: dict[tuple[str, ...], tuple[str, frozenset[str]]] = {}
    seen: set[str] = set()

    def gene(identifiers: tuple[str, ...]) -> tuple[str, frozenset[str]]:
        """Return (one key, names) of a gene; looked up once."""
        if identifiers not in genes:
            if len(genes) == MOST_GENES:
                raise InputError(
                    f"{path}: more than {MOST_GENES:,} different names, such as {identifiers[0]!r}: these columns hold "
                    "no names of genes; name those that do: evaluate.known_columns = ['A,B']"
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
            table.excluded_records[reason] = table.excluded_records.get(reason, 0) + 1
    problems.raise_any()
    if not table.rows:
        raise InputError(f"{path}: a header and no row; correct {KEY} in run.toml")
    table.genes = len(seen)
    return table


def _sample(lines: Iterator[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the lines from which the columns are recognised; as many as fit in memory."""
    found: list[tuple[int, str]] = []
    size = rows = 0
    for number, line in lines:
        found.append((number, line))
        size += len(line)
        rows += not line.startswith("#")
        if rows == SAMPLE or size > SAMPLE_CHARACTERS:
            break
    return found


def _cells(path: Path, number: int, line: str, layout: Layout) -> list[str]:
    try:
        return cells_of(line, layout.separator)
    except csv.Error as error:
        raise InputError(f"{path}, line {number}: not a row of a table ({error}); correct {KEY} in run.toml") from None


def _interactors(
    path: Path, number: int, cells: list[str], layout: Layout, named: Named
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the pairs of interactors that a row lists, each by its identifiers."""
    if layout.holds == "pair":
        yield identifiers(cells, layout, layout.first), identifiers(cells, layout, layout.second)
        return
    cell, place = cells[layout.first[0]], layout.second[0]
    if layout.holds == "cell":
        pair = split_pair(cell, layout.mark, named)
        if pair is not None:
            yield (pair[0],), (pair[1],)
    elif layout.holds == "members":
        members = list(dict.fromkeys(name for part in cell.split(layout.mark) if (name := _name(part))))
        if len(members) > MOST_MEMBERS:
            raise InputError(
                f"{path}, line {number}: {len(members):,} names in a cell; a complex has {MOST_MEMBERS:,} at most; "
                "name two columns with names: evaluate.known_columns = ['A,B']"
            )
        yield from (((a,), (b,)) for a, b in itertools.combinations(members, 2))
    else:
        listed = cells[place:] if layout.holds == "rest" else map("".join, _TARGET.findall(cells[place]))
        regulator = _name(cell)
        yield from (((regulator,), (name,)) for partner in listed if regulator and (name := _name(partner)))


def _name(text: str) -> str:
    """Strip SCENIC's suffix from a name; "" if there is no name."""
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
    """Return the identifiers of one interactor, the one to show first."""
    found: list[str] = []
    for column in columns:
        cell = cells[column] if column < len(cells) else ""
        if layout.format == "MITAB" and column < MITAB_COLUMNS:
            found += _from_mitab(cell, aliases=column in (4, 5))
        elif cell.lower() not in ABSENT:
            found.append(cell)
    return tuple(dict.fromkeys(found))


def _from_mitab(cell: str, *, aliases: bool) -> Iterator[str]:
    """Return the identifiers of a MITAB field such as "entrez gene/locuslink:MAP2K4|biogrid:112315".

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
    """Return the reason for excluding a row, or nothing.

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
    """Return the taxon numbers of a field; text without a number never matches."""
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
    """Read {identifier: its names} from the first two columns of a file, normalised; identifiers may repeat.

    Raises:
        InputError: it is missing, empty or not text, or lines have a single column; all of these at once.
    """
    problems = Problems(f"{path}: not a file of identifiers and names ({NAMES_KEY}):")
    found: dict[str, set[str]] = {}
    separator: str | None = None
    for number, line in files.lines(path, key=NAMES_KEY):
        if not line.strip():
            continue
        if separator is None:
            separator = next((mark for mark in "\t,;" if mark in line), "")
        cells = cells_of(line, separator)
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
    """Read interactions/<method>.known.tsv: q float64, line NaN for common partners, the rest text.

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
