"""A genome in a FASTA file, read by place through pyfaidx: plain, gzip or bgzip, of any size.

Indexes are kept in a folder of ours, never beside the user's file, which may lie where nobody may write; one that is
there and newer than the file is copied. Plain gzip cannot be read by place, so it is unpacked into that folder.
"""

import gzip
import shutil
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyfaidx

from satori_hpc.core import sequence
from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.stores import atomic

KEY = "[prepare.genome] genome"
PLAIN, GZIP, BGZIP = "plain", "gzip", "bgzip"
FIX = f"correct the file, or {KEY} in run.toml"


class Genome:
    """An open genome; a context manager.

    Args:
        path: the FASTA file.
        folder: for indexes; made if needed. Several processes may use one that has been made by `index`.

    Attributes:
        names: of the chromosomes (first words of headers), in the order of the file.
        lengths: int64 (chromosomes,), bp.

    Raises:
        InputError: the file is missing, damaged, or not a FASTA file that can be read by place.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self._faidx = _opened(path, folder)
        self.names: list[str] = list(self._faidx.index)
        self.lengths = np.array([self._faidx.index[name].rlen for name in self.names], dtype=np.int64)
        empty = [name for name, length in zip(self.names, self.lengths.tolist(), strict=True) if not length]
        if empty:
            raise InputError(f"{path}: {', '.join(empty[:20])}: no sequence below the header; {FIX}")

    def text(self, chrom: int, start: int, end: int) -> bytes:
        """Letters of an interval, in the case of the file: lower case marks repeats.

        Raises:
            InputError: the file ends too soon, or has changed since it was indexed.
        """
        name = self.names[chrom]
        try:
            found: str = self._faidx.from_file(name, start + 1, end)
        except (OSError, ValueError, zlib.error, pyfaidx.FetchError) as error:
            raise InputError(f"{self.path}: {name}:{start}-{end} cannot be read ({_line(error)}); {FIX}") from None
        if len(found) != end - start:
            raise InputError(
                f"{self.path}: {name}:{start}-{end} gave {len(found)} letters; the file is cut short, or has changed "
                f"since it was indexed; {FIX}"
            )
        return found.encode("utf-8", "surrogateescape")

    def tokens(self, chrom: int, start: int, end: int) -> np.ndarray:
        """uint8 (end - start,). Raises: as `text`; also for a character that is no letter."""
        try:
            return sequence.encode(self.text(chrom, start, end))
        except ValueError as error:
            raise InputError(f"{self.path}: {self.names[chrom]}, from position {start + 1}: {error}; {FIX}") from None

    def close(self) -> None:
        self._faidx.close()

    def __enter__(self) -> "Genome":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def index(path: Path, folder: Path) -> None:
    """Make what `Genome` needs in `folder`, once, before several processes open it. Raises: as Genome."""
    Genome(path, folder).close()


def kind(path: Path) -> str:
    """PLAIN, GZIP or BGZIP, by content.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            head = handle.read(18)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct {KEY} in run.toml") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct {KEY} in run.toml") from None
    if head[:2] != b"\x1f\x8b":
        return PLAIN
    # A block of bgzip is a gzip member with an extra field whose first subfield is "BC".
    return BGZIP if len(head) == 18 and head[3] & 4 and head[12:14] == b"BC" else GZIP


def _opened(path: Path, folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    found = kind(path)
    # pyfaidx tells bgzip by the name, and puts indexes beside it: give it a name of ours.
    place = folder / ("genome.fa.gz" if found == BGZIP else "genome.fa")
    if found == GZIP:
        _unpack(path, place)
    elif not place.is_symlink() or place.resolve() != path.resolve():
        atomic.remove(place)
        place.symlink_to(path.resolve())
    for ending in (".fai", ".gzi"):
        theirs, ours = path.with_name(path.name + ending), place.with_name(place.name + ending)
        if found != GZIP and not ours.exists() and theirs.exists() and theirs.stat().st_mtime >= path.stat().st_mtime:
            shutil.copy2(theirs, ours)
    try:
        if not place.with_name(place.name + ".fai").exists():
            logger.info("indexing %s", path)
        return pyfaidx.Faidx(str(place))
    except pyfaidx.FastaIndexingError as error:
        said = _line(error).replace(str(place), str(path))
        raise InputError(
            f"{path}: cannot be read by place: {said} Expected records of lines of one length, the last one excepted, "
            f"and no blank lines in between; wrap it anew (samtools faidx, seqkit seq -w 60), or {FIX}"
        ) from None
    except (ValueError, OSError, zlib.error, IndexError, EOFError) as error:
        said = _line(error).replace(str(place), str(path))
        fix = "keep one record of each name" if "uplicate" in said else "compress or copy the file again"
        raise InputError(f"{path}: not a FASTA file that can be used ({said}); {fix}, or {FIX}") from None


def _unpack(path: Path, place: Path) -> None:
    if place.exists() and place.stat().st_mtime >= path.stat().st_mtime:
        return
    logger.info("unpacking %s, for plain gzip cannot be read by place (bgzip can)", path)
    try:
        with atomic.atomic_file(place) as partial, gzip.open(path, "rb") as source, open(partial, "wb") as target:
            shutil.copyfileobj(source, target, 2**22)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated gzip ({error}); compress or copy the file again") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
