"""Read and write motifs/: filters.meme, filters.parquet (every filter), tf.parquet (best known) and known.meme;
where sites are listed or scanned for, sites.parquet or scan.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.readers import read_meme, write_meme
from satori_hpc.run import files, provenance, sealed
from satori_hpc.sites.given import GivenSites, ListedSites, ScannedSites, SiteTable

__all__ = [
    "Motif",
    "MotifTables",
    "read_filters",
    "read_known",
    "read_meme",
    "read_motifs",
    "read_tf",
    "write",
    "write_meme",
]

FORMAT_VERSION = 3
_VERSION_KEY = b"satori_hpc_format_version"

FILTERS = pa.schema(
    [
        ("filter", pa.int32()),
        ("threshold", pa.float32()),
        ("maximum", pa.float32()),
        ("sites", pa.int64()),
        ("sequences", pa.int64()),
        ("information", pa.float64()),
        ("consensus", pa.string()),
        ("written", pa.bool_()),
    ]
)
TF = pa.schema(
    [
        ("filter", pa.int32()),
        ("tf", pa.string()),
        ("motif_id", pa.string()),
        ("p", pa.float64()),
        ("q", pa.float64()),
        ("strand", pa.string()),
        ("offset", pa.int32()),
        ("ties", pa.int32()),
        ("bits", pa.float64()),
        ("chance", pa.float64()),
        ("named", pa.bool_()),
    ]
)
# Sites that a file lists, of the examples of the data set.
SITES = pa.schema(
    [
        ("example", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("motif", pa.int64()),
        ("strand", pa.int64()),
        ("strength", pa.float64()),
    ]
)


@dataclass(frozen=True)
class MotifTables:
    """Motifs of a first layer, or of a part of it.

    Attributes:
        motifs: of the filters that have one, named filter<f>.
        letters: int64 (5,), letters of the sequences they come from.
        filters: a column per field of FILTERS: number; activation above which a position is a site (+inf: none is);
            largest activation; sites counted; sequences with one; information of the motif, bits (NaN without a
            motif); consensus; whether it has a motif.
        tf: a column per field of TF, a row per filter with a motif: best known motif, its p and q, strand and offset
            (column of the known motif on which column 0 of the filter lies), other known motifs with the same p,
            information under the match, share of copies of the filter with shuffled columns that match as well, and
            whether the filter may bear the name.
        known: the known motif of each row of tf.
        summary: numbers for the stage's summary.
    """

    motifs: list[Motif]
    letters: np.ndarray
    filters: dict[str, Any]
    tf: dict[str, Any]
    known: list[Motif]
    summary: dict[str, Any]

    def then(self, others: "MotifTables") -> "MotifTables":
        """Append others, whose filters are numbered after these."""
        first = len(self.filters["filter"])
        moved = [replace(item, name=f"filter{int(item.name.removeprefix('filter')) + first}") for item in others.motifs]
        filters, tf = ({**each, "filter": np.asarray(each["filter"]) + first} for each in (others.filters, others.tf))
        return MotifTables(
            motifs=[*self.motifs, *moved],
            letters=self.letters,
            filters={name: np.concatenate([self.filters[name], filters[name]]) for name in FILTERS.names},
            tf={name: [*self.tf[name], *tf[name]] for name in TF.names},
            known=[*self.known, *others.known],
            summary={**others.summary, **self.summary},
        )


def write(
    folder: Path,
    *,
    motifs: Sequence[Motif],
    background: np.ndarray,
    filters: Mapping[str, Any],
    tf: Mapping[str, Any],
    known: Sequence[Motif],
    sites: Mapping[str, Any] | None = None,
    scan: Mapping[str, Any] | None = None,
) -> None:
    """Write motifs/ in one step.

    Args:
        folder: motifs/ of a run.
        motifs, filters, tf, known: as of MotifTables.
        background: (4,) letter frequencies of the sequences they come from.
        sites: those listed in a file, a column per field of SITES; None: the source is another.
        scan: the motifs that are scanned for, plain values; None: the source is another.
    """
    with files.atomic_folder(folder) as partial:
        write_meme(partial / "filters.meme", motifs, background)
        _write_table(partial / "filters.parquet", FILTERS, filters)
        _write_table(partial / "tf.parquet", TF, tf)
        matched = [
            replace(item, identifier=f"filter{number}", name=name)
            for number, name, item in zip(tf["filter"], tf["motif_id"], known, strict=True)
        ]
        write_meme(partial / "known.meme", matched, background)
        if sites is not None:
            _write_table(partial / "sites.parquet", SITES, sites)
        if scan is not None:
            sealed.write_json(partial / "scan.json", {"format_version": FORMAT_VERSION, **scan}, indent=None)


def read_filters(folder: Path) -> pd.DataFrame:
    """Return filters.parquet: one row per filter of the network.

    Raises:
        ArtefactError: missing, unreadable, or of another format version.
    """
    return _read_table(folder / "filters.parquet", FILTERS)


def read_tf(folder: Path) -> pd.DataFrame:
    """Return tf.parquet: the best known motif of every filter that has a motif.

    Raises:
        ArtefactError: missing, unreadable, or of another format version.
    """
    return _read_table(folder / "tf.parquet", TF)


def read_given(folder: Path, source: str) -> GivenSites | None:
    """Return the source of sites that [sites] source names; None: the network.

    Raises:
        ArtefactError: what it needs is missing, damaged, or of another format version.
    """
    if source == "network":
        return None
    if source == "scan":
        path = folder / "scan.json"
        try:
            return ScannedSites.from_plain(sealed.read_json(path, version=FORMAT_VERSION, mend=_mend(path)))
        except FileNotFoundError:
            raise _unusable(path, "does not exist") from None
    listed = _read_table(folder / "sites.parquet", SITES)
    table = SiteTable(**{name: listed[name].to_numpy() for name in SITES.names})
    digest = provenance.file_digest(folder / "sites.parquet")
    return ListedSites(table, read_tf(folder)["motif_id"].tolist(), digest=digest)


def read_motifs(folder: Path) -> dict[int, Motif]:
    """Return {filter: its motif} of the filters that have one.

    Raises:
        ArtefactError: missing, or not written by this program.
    """
    path = folder / "filters.meme"
    if not path.exists():
        raise _unusable(path, "does not exist")
    numbers = read_filters(folder).query("written")["filter"].tolist()
    motifs = read_meme(path, may_be_empty=True)[0]
    if [motif.name for motif in motifs] != [f"filter{number}" for number in numbers]:
        raise _unusable(path, "does not hold the filters that filters.parquet lists")
    return dict(zip(numbers, motifs, strict=True))


def read_known(folder: Path) -> dict[int, Motif]:
    """Return {filter: its best known motif} of the filters that have a motif.

    Raises:
        ArtefactError: missing, or not written by this program.
    """
    path = folder / "known.meme"
    if not path.exists():
        raise _unusable(path, "does not exist")
    numbers = read_tf(folder)["filter"].tolist()
    motifs = read_meme(path, may_be_empty=True)[0]
    if [motif.identifier for motif in motifs] != [f"filter{number}" for number in numbers]:
        raise _unusable(path, "does not hold the motifs that tf.parquet lists")
    return dict(zip(numbers, motifs, strict=True))


def _write_table(path: Path, schema: pa.Schema, columns: Mapping[str, Any]) -> None:
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    table = table.replace_schema_metadata({_VERSION_KEY: str(FORMAT_VERSION).encode()})
    with files.atomic_file(path) as partial:
        pq.write_table(table, partial)


def _read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    if not path.exists():
        raise _unusable(path, "does not exist")
    try:
        table = pq.read_table(path)
    except Exception as error:  # Arrow, OSError, or Python's error for a damaged schema
        raise _unusable(path, f"cannot be read ({error})") from None
    found = (table.schema.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace")
    if found != str(FORMAT_VERSION):
        raise _unusable(path, f"has format version {found}, this program reads {FORMAT_VERSION}")
    if not table.schema.equals(schema):
        raise _unusable(path, f"has columns {table.schema.names}, expected {schema.names}")
    return table.to_pandas()


def _unusable(path: Path, what: str) -> ArtefactError:
    return ArtefactError(f"{path} {what}; {_mend(path)}")


def _mend(path: Path) -> str:
    return f"run: satori-hpc motifs {quoted(path.parent.parent)}"
