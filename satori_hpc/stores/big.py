"""bigWig and bigBed files through pybigtools, which only prints its errors: what is written is read again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from satori_hpc.errors import SatoriError
from satori_hpc.stores import atomic


def library() -> Any:
    """pybigtools, imported late: the rest of the program works without it.

    Raises:
        SatoriError: it is not installed.
    """
    try:
        import pybigtools
    except ModuleNotFoundError:
        raise SatoriError("tracks need pybigtools, which is not installed: pip install 'satori-hpc[tracks]'") from None
    return pybigtools


def write_wig(path: Path, sizes: Mapping[str, int], values: Iterable[tuple[str, int, int, float]]) -> int:
    """Write a bigWig; the number of letters that have a value.

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

    _write(path, ".bw", sizes, counted(), lambda reader: reader.info()["summary"]["basesCovered"] == count)
    return count


def write_bed(path: Path, sizes: Mapping[str, int], lines: Iterable[str], autosql: str) -> int:
    """Write a bigBed; the number of its rows.

    Args:
        path: of the file.
        sizes: length of every chromosome, bp.
        lines: of a BED file without header, by chromosome and start; at least one.
        autosql: what its columns are.

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

    _write(path, ".bb", sizes, entries(), all_there, autosql)
    return count


def _write(
    path: Path, ending: str, sizes: Mapping[str, int], entries: Iterable[Any], right: Callable[[Any], bool], *more: str
) -> None:
    """Write one or the other (the library goes by the ending), and hold what can be read against what was given."""
    partial = atomic.sibling(path)
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
        atomic.publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)
