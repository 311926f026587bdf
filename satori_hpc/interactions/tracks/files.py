"""tracks/: files that genome browsers load. Intervals are 0-based and half-open; every header that can says so.

Sites are BED6 with further columns, interactions UCSC's `interact` (BED5 with thirteen further ones); both also as
bigBed, which track hubs ask for. Rows are sorted by chromosome and start.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from satori_hpc.errors import ArtefactError, InputError, SatoriError, quoted
from satori_hpc.run import files, provenance, sealed, tsv

COORDINATES = "# intervals are 0-based and half-open: start is the first letter, end is one past the last\n"

# column -> (type in autoSql, meaning)
SITES: dict[str, tuple[str, str]] = {
    "chrom": ("string", "chromosome; the example's name where its interval is not as long as its sequence"),
    "start": ("uint", "first letter under the filter"),
    "end": ("uint", "one past the last letter under the filter"),
    "name": ("string", "the TF that the filter is named after, or filter<f>"),
    "score": ("uint", "activation as a share of the filter's largest, 0 to 1000"),
    "strand": ("char[1]", "strand on which the motif of `name` reads forward; . = the example's is unknown"),
    "filter": ("int", "number of the filter"),
    "filter_strand": ("char[1]", "strand that the filter read; of unnamed filters the same as strand"),
    "activation": ("float", "activation of the filter there"),
    "examples": ("int", "examples that hold this site; overlapping ones hold the same"),
    "example": ("lstring", "one of them, the first where it is strongest"),
}
INTERACT: dict[str, tuple[str, str]] = {
    "chrom": ("string", "chromosome; the example's name where its interval is not as long as its sequence"),
    "start": ("uint", "start of the left site"),
    "end": ("uint", "end of the right site"),
    "name": ("string", "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named"),
    "score": ("uint", "score of the instance as a share of the largest, 0 to 1000"),
    "value": ("double", "score of the instance"),
    "exp": ("string", "scoring method"),
    "color": ("string", "red,green,blue: the strongest interactions have their own, all others are grey"),
    "sourceChrom": ("string", "chromosome of site 1"),
    "sourceStart": ("uint", "start of site 1"),
    "sourceEnd": ("uint", "end of site 1"),
    "sourceName": ("string", "TF of site 1, or its filter"),
    "sourceStrand": ("string", "strand of the example: + or -, . = unknown"),
    "targetChrom": ("string", "chromosome of site 2"),
    "targetStart": ("uint", "start of site 2"),
    "targetEnd": ("uint", "end of site 2"),
    "targetName": ("string", "TF of site 2, or its filter"),
    "targetStrand": ("string", "strand of the example"),
}
ATTRIBUTED: dict[str, str] = {
    "chrom": "chromosome; the example's name where its interval is not as long as its sequence",
    "start": "first letter of the example",
    "end": "one past its last letter",
    "name": "its name",
    "score": "probability that the network gives it, 0 to 1000; of several labels the largest of those explained",
    "strand": "strand of the example: + or -, . = unknown",
    "row": "its row in dataset.zarr",
}


class Rows:
    """Write a BED-like file row by row.

    Args:
        handle: open for writing.
        names: its columns.
    """

    def __init__(self, handle: IO[str], names: list[str]) -> None:
        handle.write(COORDINATES + "#" + "\t".join(names) + "\n")
        self._handle, self._names = handle, names
        self.count = 0

    def add(self, columns: Mapping[str, Any]) -> None:
        """Append rows; strings are escaped."""
        table = pd.DataFrame({name: columns[name] for name in self._names})
        for name in table.columns:
            if not pd.api.types.is_numeric_dtype(table[name]):
                table[name] = [tsv.escape(str(value)) for value in table[name]]
        for row in table.itertuples(index=False, name=None):
            self._handle.write(
                "\t".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row) + "\n"
            )
        self.count += len(table)


def lines(path: Path) -> Iterator[str]:
    """Read the rows of such a file, without its header."""
    with open(path, encoding="utf-8", newline="\n") as handle:
        header = 2
        for number, line in enumerate(handle):
            if number >= header:
                yield line


def write_big(path: Path, source: Path, sizes: Mapping[str, int], columns: Mapping[str, tuple[str, str]]) -> None:
    """Write a file of `Rows` as bigBed.

    Args:
        path: of the bigBed.
        source: of the rows; at least one.
        sizes: length of every chromosome, bp.
        columns: SITES or INTERACT.
    """
    names = {"start": "chromStart", "end": "chromEnd"}
    fields = "\n".join(f'    {kind} {names.get(name, name)}; "{what}"' for name, (kind, what) in columns.items())
    table = "sites" if columns is SITES else "interact"
    write_bed(path, sizes, lines(source), f'table {table}\n"0-based, half-open"\n(\n{fields}\n)\n')


def write_arrays(path: Path, array: np.ndarray) -> None:
    """Write an array as arr_0 of a compressed .npz; the memory does not grow with a memory-mapped array."""
    with files.atomic_file(path) as partial, open(partial, "wb") as handle:
        np.savez_compressed(handle, array)


def mapped(path: Path, shape: tuple[int, ...], dtype: Any = np.float32, *, goes_on: bool = False) -> np.memmap:
    """Return an array in a file, mapped into memory: it may be larger than that.

    Args:
        path: of the file.
        shape: of the array.
        dtype: of the array.
        goes_on: keep the content of the file; else all zeros.
    """
    return np.lib.format.open_memmap(path, mode="r+" if goes_on else "w+", dtype=dtype, shape=shape)


# tracks/ as a whole: a killed command is resumed, and a complete set records its inputs.
#
# The files are made in the folder `<name>.parts`, each of them atomically, and stay there if the
# command is killed; `tracks.json` records inputs and settings. When all are complete it lists them with their
# digests, and the folder takes the place of the set.

FORMAT_VERSION = 3
RECORD, SCRATCH = "tracks.json", "scratch"


def whole(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the summary of an up-to-date, undamaged track set; None if there is none.

    Args:
        folder: of the set.
        key: everything that affects the bytes, as JSON values: inputs, settings, versions.
    """
    content = _read(folder, key)
    if content is None or "files" not in content:
        return None
    for name, entry in content["files"].items():
        if provenance.compare(folder / name, entry)[1]:
            return None
    summary: dict[str, Any] = content["summary"]
    return summary


def begin(folder: Path, key: Mapping[str, Any]) -> Path:
    """Return the folder in which to make a track set, keeping complete files if they come from the same inputs.

    Args:
        folder: of the set; it stays as it is.
        key: as of `whole`.

    Raises:
        InputError: `folder` contains something other than a track set.
    """
    if folder.exists() and not (folder / RECORD).exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds other things than tracks, and would be replaced; choose another with --out")
    parts = folder.with_name(f"{folder.name}.parts")
    files.sweep_partials(folder.parent, of=f"{folder.name}.")
    if _read(parts, key) is None:
        files.remove_folder(parts)
        parts.mkdir(parents=True)
        _write(parts, key)
    files.sweep_partials(parts)
    return parts


def publish(parts: Path, folder: Path, key: Mapping[str, Any], *, summary: Mapping[str, Any]) -> None:
    """Replace `folder` by the finished `parts`.

    Args:
        parts: from `begin`, with all files.
        folder: of the set.
        key: as of `whole`.
        summary: numbers, for people.
    """
    files.remove(parts / SCRATCH)
    files.sweep_partials(parts)
    names = sorted(path.name for path in parts.iterdir() if path.name != RECORD)
    _write(parts, key, summary=dict(summary), files={name: provenance.entry(parts / name) for name in names})
    files.remove_folder(folder)
    os.replace(parts, folder)
    files.sync_folder(folder.parent)


def _write(folder: Path, key: Mapping[str, Any], **more: Any) -> None:
    content = {"format_version": FORMAT_VERSION, "coordinates": "0-based, half-open", **key, **more}
    sealed.write_json(folder / RECORD, content)


def _read(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the record in a folder, if its inputs are the same."""
    try:
        content = read(folder)
    except (FileNotFoundError, ArtefactError):
        return None
    return content if all(name in content and content[name] == key[name] for name in key) else None


def read(folder: Path) -> dict[str, Any]:
    """Read the record of a track set.

    Raises:
        FileNotFoundError: there is no set.
        ArtefactError: tracks.json is damaged or of another format version.
    """
    return sealed.read_json(
        folder / RECORD, version=FORMAT_VERSION, mend=f"make it again: satori-hpc tracks {quoted(folder.parent)}"
    )


# Files that load a track set into a genome browser: an IGV session, and a UCSC track hub.

HINT = "intervals of all files are 0-based and half-open"


@dataclass(frozen=True)
class Track:
    """A track file of the session.

    Attributes:
        name: of letters, digits and underscores.
        file: its name.
        kind: type in a track hub: bigBed 6 + 5, bigInteract, bigWig.
        label: for people.
        settings: further lines of a track hub.
    """

    name: str
    file: str
    kind: str
    label: str
    settings: tuple[str, ...] = ()


def write_igv(path: Path, tracks: list[Track], *, genome: str, locus: str) -> None:
    """Write an IGV session; files are named relative to it.

    Args:
        path: of the session.
        tracks: to load.
        genome: IGV's name of the assembly, or a file next to the session.
        locus: initial region, such as chr1:100-200 (1-based).
    """
    session = ElementTree.Element("Session", {"genome": genome, "locus": locus, "version": "8"})
    session.append(ElementTree.Comment(f" {HINT} "))
    resources = ElementTree.SubElement(session, "Resources")
    for track in tracks:
        ElementTree.SubElement(
            resources, "Resource", {"name": track.label, "path": track.file, "type": track.kind.split()[0].lower()}
        )
    ElementTree.indent(session)
    text = ElementTree.tostring(session, encoding="unicode")
    files.write_text(path, '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n' + text + "\n")


def write_hub(path: Path, tracks: list[Track], *, genome: str, title: str) -> None:
    """Write a track hub as one file, to be put on a web server with the track files.

    Args:
        path: of the hub.
        tracks: to load.
        genome: name of the assembly at UCSC, such as hg19, or of an assembly hub.
        title: of the hub.
    """
    name = tsv.escape(title)
    blocks = [
        ["hub satori_hpc", f"shortLabel {name[:17]}", f"longLabel {name[:80]}", "useOneFile on", "email none"],
        [f"genome {tsv.escape(genome)}"],
        *(
            [
                f"track {track.name}",
                f"bigDataUrl {track.file}",
                f"shortLabel {track.label[:17]}",
                f"longLabel {track.label[:80]}",
                f"type {track.kind}",
                *track.settings,
            ]
            for track in tracks
        ),
    ]
    files.write_text(path, f"# {HINT}\n" + "\n\n".join("\n".join(block) for block in blocks) + "\n")


# bigWig and bigBed files through pybigtools, which only prints its errors: the output is therefore read again.


def library() -> Any:
    """Return pybigtools, imported late: the rest of the program works without it.

    Raises:
        SatoriError: it is not installed.
    """
    try:
        import pybigtools
    except ModuleNotFoundError:
        raise SatoriError("tracks need pybigtools, which is not installed: pip install 'satori-hpc[tracks]'") from None
    return pybigtools


def write_wig(path: Path, sizes: Mapping[str, int], values: Iterable[tuple[str, int, int, float]]) -> int:
    """Write a bigWig; return the number of bases with a value.

    Args:
        path: of the file.
        sizes: length of every chromosome, bp.
        values: (chromosome, start, end, value), 0-based, half-open, by chromosome and start, none overlapping another;
            at least one.

    Raises:
        SatoriError: they are not in this order, or leave their chromosome; or the disk is full.
    """
    count = 0

    def counted() -> Iterator[tuple[str, int, int, float]]:
        nonlocal count
        for entry in values:
            count += entry[2] - entry[1]
            yield entry

    _write_big(path, ".bw", sizes, counted(), lambda reader: reader.info()["summary"]["basesCovered"] == count)
    return count


def write_bed(path: Path, sizes: Mapping[str, int], lines: Iterable[str], autosql: str) -> int:
    """Write a bigBed; the number of its rows.

    Args:
        path: of the file.
        sizes: length of every chromosome, bp.
        lines: of a BED file without header, by chromosome and start; at least one.
        autosql: description of its columns.

    Raises: as `write_wig`.
    """
    count = 0

    def entries() -> Iterator[tuple[str, int, int, str]]:
        nonlocal count
        for line in lines:
            chrom, start, end, rest = line.rstrip("\n").split("\t", 3)
            count += 1
            yield chrom, int(start), int(end), rest

    def all_there(reader: Any) -> bool:
        return sum(1 for chrom in reader.chroms() for _ in reader.records(chrom)) == count

    _write_big(path, ".bb", sizes, entries(), all_there, autosql)
    return count


def _write_big(
    path: Path, ending: str, sizes: Mapping[str, int], entries: Iterable[Any], right: Callable[[Any], bool], *more: str
) -> None:
    """Write a big file (the suffix selects the format), and check what can be read back against the input."""
    partial = files.sibling(path)
    partial = partial.with_name(partial.name + ending)
    try:
        library().open(str(partial), "w").write(dict(sizes), iter(entries), *more)
        try:
            with library().open(str(partial)) as reader:
                whole = right(reader)
        except Exception as error:
            raise SatoriError(f"{path}: what was written cannot be read ({error}); is the disk full?") from None
        if not whole:
            raise SatoriError(f"{path}: not all of it was written; is the disk full?")
        files.publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)
