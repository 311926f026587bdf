"""Read sites from a file: BED with six columns, or hits.tsv of Fi-NeMo; place them in the examples of a data set."""

import csv
import gzip
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.sites.given import SiteTable, winners

BED = ("chrom", "start", "end", "name", "score", "strand")
FINEMO = ("chr", "start", "end", "motif_name", "hit_coefficient_global", "strand")  # the primary score of a hit
STRANDS = {"+": 1, "-": -1, ".": 1}


@dataclass(frozen=True)
class Line:
    """A line of the file: its number, and the site; start, end: bp, 0-based, half open."""

    number: int
    chrom: str
    start: int
    end: int
    name: str
    score: float
    strand: int


@dataclass(frozen=True)
class Listed:
    """Sites of a data set.

    Attributes:
        table: by example, start and motif; those that have lost their place are left out.
        names: of the motifs; one with sites of several widths is several motifs.
        lines: sites of the file. outside: those in no example. lost: sites that overlap a stronger one.
        sources: {file: its SHA-256}.
    """

    table: SiteTable
    names: list[str]
    lines: int
    outside: int
    lost: int
    sources: dict[str, str]


def read(path: Path, data: Dataset, *, key: str) -> Listed:
    """Read sites and place them in examples: by genomic coordinates, or within a sequence by its name.

    A site in several examples counts in each. One that lies in none, or not as a whole, is counted and left out.

    Args:
        path: of the file.
        data: the examples.
        key: of run.toml that names the file, for messages.

    Raises:
        InputError: there is no such file, or it cannot be used: file, line, what is expected, and the cure.
    """
    if not path.is_file():
        raise InputError(f"{key}: no file {path}")
    lines = list(_lines(path))
    if not lines:
        raise InputError(f"{path}: empty; expected a site per line: BED with the columns {', '.join(BED)}, or Fi-NeMo")
    example, line, begin = _placed(path, lines, data)
    if not len(example):
        raise InputError(
            f"{path}: none of its {len(lines)} sites lies in a sequence of {data.path}; its sequences are "
            f"{_some({line.chrom for line in lines})}, those of the data {_some(set(data.coordinates().chrom[:]))}; "
            "expected the same names and the same assembly"
        )
    named = [(lines[row].name, lines[row].end - lines[row].start) for row in line.tolist()]
    motifs = sorted(set(named))
    number = {motif: place for place, motif in enumerate(motifs)}
    every = SiteTable(
        example=example,
        start=begin,
        end=begin + np.array([width for _, width in named]),
        motif=np.array([number[each] for each in named]),
        strand=np.array([lines[row].strand for row in line.tolist()]) * _backward(data, example),
        strength=np.array([lines[row].score for row in line.tolist()]),
    )
    table = winners(every)
    present, table_motif = np.unique(table.motif, return_inverse=True)
    outside = len(lines) - len(np.unique(line))
    if outside:
        logger.info("%s: %d of %d sites lie in no example and are left out", path, outside, len(lines))
    if len(table) < len(every):
        logger.info("%s: %d sites overlap a stronger one and are left out", path, len(every) - len(table))
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return Listed(
        table=SiteTable(**{**vars(table), "motif": table_motif}),
        names=[motifs[each][0] for each in present.tolist()],
        lines=len(lines),
        outside=outside,
        lost=len(every) - len(table),
        sources={str(path): digest},
    )


def _lines(path: Path) -> Iterator[Line]:
    """Yield the sites of a file; raises InputError with all its problems."""
    problems = Problems(f"{path}: lines that are no site:", InputError)
    columns = BED
    place = list(range(len(BED)))
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as handle:
        for number, row in enumerate(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            if not row or row[0].startswith(("#", "track ", "browser ")):
                continue
            if row[0] == "chr" and "start" in row:
                columns = FINEMO
                missing = [name for name in FINEMO if name not in row]
                if missing:
                    raise InputError(
                        f"{path}, line {number}: no column {', '.join(missing)}; expected those of hits.tsv of "
                        f"Fi-NeMo, {', '.join(FINEMO)} among them"
                    )
                place = [row.index(name) for name in FINEMO]
                continue
            found = _line(number, [row[each] for each in place if each < len(row)], columns)
            if isinstance(found, Line):
                yield found
            else:
                problems.add(f"line {number}: {found}")
    problems.raise_any()


def _line(number: int, values: list[str], columns: tuple[str, ...]) -> Line | str:
    """Return a site, or what is wrong with it."""
    if len(values) < len(columns):
        return f"{len(values)} columns; expected {len(columns)} or more, separated by tabs: {', '.join(columns)}"
    chrom, start, end, name, score, strand = values[: len(columns)]
    if not (start.isdecimal() and end.isdecimal() and int(start) < int(end)):
        return f"{start}..{end}; expected whole numbers, 0 <= start < end (0-based, half open)"
    if strand not in STRANDS:
        return f"strand {strand!r}; expected +, - or ."
    if not name or name == ".":
        return "no name; expected the motif or TF of the site in column 4"
    if chrom in ("", "NA"):
        return f"sequence {chrom!r}; expected its name; give Fi-NeMo the coordinates of the peaks"
    try:
        value = 0.0 if score == "." else float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        return f"{columns[4]} {score!r}; expected a number (of overlapping sites the largest is kept), or ."
    return Line(number, chrom, int(start), int(end), name, value, STRANDS[strand])


def _placed(path: Path, lines: list[Line], data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return example, line and start within the example, int64, of every site that lies in an example.

    Raises:
        InputError: a site is of no sequence, or not within it.
    """
    at, length = data.coordinates(), data.length
    chrom = at.chrom[:].astype(str)
    names = np.array(list(data.names()), dtype=str)
    own = at.end - at.start != length  # then it cannot be placed in the genome
    chrom = np.where(own, names, chrom)
    origin, strand = np.where(own, 0, at.start), np.where(own, 1, at.strand)
    by_name = {name: row for row, name in enumerate(names.tolist())}
    of_chrom = {each: rows[np.argsort(origin[rows], kind="stable")] for each, rows in _groups(chrom).items()}
    genome = bool((chrom != names).any())
    problems = Problems(f"{path}: sites that lie in no sequence of {data.path}:", InputError)
    example, line, begin = [], [], []
    for row, site in enumerate(lines):
        rows = of_chrom.get(site.chrom)
        if rows is None and site.chrom in by_name:
            within, rows = True, np.array([by_name[site.chrom]])
            starts = np.zeros(1, dtype=np.int64)
        elif rows is not None:
            within, starts = not genome, origin[rows]
        elif genome:
            continue  # a chromosome without examples
        else:
            problems.add(
                f"line {site.number}: no sequence is named {site.chrom!r}; expected one of {len(names)}: {_some(names)}"
            )
            continue
        if within and site.end > length:
            problems.add(f"line {site.number}: {site.start}..{site.end} of {site.chrom!r}; expected end <= {length}")
            continue
        first = np.searchsorted(starts, site.end - length, side="left")
        last = np.searchsorted(starts, site.start, side="right")
        for there in range(first, last):
            number = int(rows[there])
            local = site.start - int(starts[there])
            reversed_ = not within and strand[number] < 0
            example.append(number)
            line.append(row)
            begin.append(length - local - (site.end - site.start) if reversed_ else local)
    problems.raise_any()
    return tuple(np.array(each, dtype=np.int64) for each in (example, line, begin))  # type: ignore[return-value]


def _groups(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return {value: int64 rows that have it}."""
    kinds, which = np.unique(values, return_inverse=True)
    order = np.argsort(which, kind="stable")
    cuts = np.searchsorted(which[order], np.arange(1, len(kinds)))
    return dict(zip(kinds.tolist(), np.split(order, cuts), strict=True))


def _backward(data: Dataset, example: np.ndarray) -> np.ndarray:
    """Return -1 for examples that are reverse complements of their place in the genome, else 1."""
    at = data.coordinates()
    return np.where((at.strand < 0) & (at.end - at.start == data.length), -1, 1)[example]


def _some(names: "set[str] | np.ndarray") -> str:
    listed = sorted(names.tolist() if isinstance(names, np.ndarray) else names)
    return ", ".join(map(repr, listed[:3])) + (", ..." if len(listed) > 3 else "")
