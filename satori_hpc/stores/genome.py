"""A genome in a FASTA file, read by place: plain, gzip or bgzip, of any size.

The index lies in a folder of ours, never beside the user's file, which may lie where nobody may write. Plain gzip
cannot be read by place, so it is unpacked into that folder. pyfaidx reads what is not compressed; of bgzip it cannot
read what begins where a full block ends (0.9.2), so blocks are looked up here, and read by Biopython as it does.
"""

import contextlib
import gzip
import io
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import pyfaidx
from Bio import bgzf

from satori_hpc.core import sequence
from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.stores import atomic, genome_index, text_input
from satori_hpc.stores.genome_index import Record

KEY = "[prepare.genome] genome"
PLAIN, GZIP, BGZIP = "plain", "gzip", "bgzip"
FIX = f"correct the file, or {KEY} in run.toml"
UNPACKED_UNSEEN = 2**30  # bytes
INDEX, BLOCKS, UNPACKED = "genome.fa.fai", "blocks.npy", "genome.fa"
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, ValueError, RuntimeError, struct.error)  # all that bgzf may raise
_TO_DNA = bytes.maketrans(b"Uu", b"Tt")
UNREADABLE = (OSError, pyfaidx.FetchError, *DAMAGED)


class Genome:
    """An open genome; a context manager.

    Args:
        path: the FASTA file.
        folder: with what `index` made of it; made now where there is none.
        alphabet: "dna", or "rna": U is read as T.

    Attributes:
        names: of the chromosomes (first words of headers), in the order of the file.
        lengths: int64 (chromosomes,), bp.

    Raises:
        InputError: as `index`.
    """

    def __init__(self, path: Path, folder: Path, alphabet: str = "dna") -> None:
        if not (folder / INDEX).exists():
            index(path, folder, alphabet)
        self.path = path
        self._alphabet = alphabet
        self._records = genome_index.read(folder / INDEX)
        self.names = [record.name for record in self._records]
        self.lengths = np.array([record.letters for record in self._records], dtype=np.int64)
        self._file: Any
        if (folder / BLOCKS).exists():
            self._blocks = np.load(folder / BLOCKS)
            self._file = bgzf.BgzfReader(path, "rb")
            self._read = self._by_block
        else:
            # The name is ours, for pyfaidx tells by it what is compressed; the index is there, and is not made anew.
            self._file = pyfaidx.Faidx(str(folder / UNPACKED), build_index=False)
            self._read = self._by_index

    def text(self, chrom: int, start: int, end: int) -> bytes:
        """Letters of an interval, in the case of the file: lower case marks repeats. Those of RNA are made DNA.

        Raises:
            InputError: the file ends too soon, or has changed since it was indexed.
        """
        where = f"{self.path}: {self.names[chrom]}:{start}-{end}"
        try:
            found = self._read(self._records[chrom], start, end)
        except UNREADABLE as error:
            raise InputError(f"{where} cannot be read ({_line(error)}); {FIX}") from None
        if len(found) != end - start:
            raise InputError(
                f"{where} gave {len(found)} letters; the file has changed since it was indexed: run the command again"
            )
        return found.translate(_TO_DNA) if self._alphabet == "rna" else found

    def tokens(self, chrom: int, start: int, end: int) -> np.ndarray:
        """uint8 (end - start,). Raises: as `text`; also for a character that is no letter."""
        try:
            return sequence.encode(self.text(chrom, start, end))
        except ValueError as error:
            raise InputError(f"{self.path}: {self.names[chrom]}, from position {start + 1}: {error}; {FIX}") from None

    def _by_index(self, record: Record, start: int, end: int) -> bytes:
        text: str = self._file.from_file(record.name, start + 1, end)
        return text.encode()

    def _by_block(self, record: Record, start: int, end: int) -> bytes:
        first, last = record.byte(start), record.byte(end - 1)
        block = int(np.searchsorted(self._blocks[1], first, side="right")) - 1
        self._file.seek(bgzf.make_virtual_offset(int(self._blocks[0, block]), first - int(self._blocks[1, block])))
        found: bytes = self._file.read(last + 1 - first)
        return found.translate(None, b"\r\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Genome":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def index(path: Path, folder: Path, alphabet: str = "dna") -> None:
    """Make what `Genome` needs in `folder`, before several processes open it; what is there may be of another file.

    Raises:
        InputError: the file is missing, damaged, or not a FASTA file that can be read by place.
    """
    found = kind(path)
    logger.info("indexing %s", path)
    with atomic.atomic_folder(folder) as partial:
        source = path
        if found == GZIP:
            logger.info("unpacking %s, for plain gzip cannot be read by place (bgzip can)", path)
            source = partial / UNPACKED
        elif found == PLAIN:
            (partial / UNPACKED).symlink_to(path.resolve())
        try:
            if found == GZIP:
                _unpack(path, source)
            if found == BGZIP:
                np.save(partial / BLOCKS, _blocks(path))
            with open(source, "rb") as raw:
                # gzip hands out lines slowly, one call each; a buffer around it does not.
                file = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw))) if found == BGZIP else raw
                records = genome_index.scan(path, file, fix=FIX, alphabet=alphabet)
        except DAMAGED as error:
            if found == PLAIN:
                raise
            raise InputError(
                f"{path}: damaged or truncated gzip ({_line(error)}); compress or copy the file again"
            ) from None
        genome_index.write(partial / INDEX, records)


def _unpack(path: Path, target: Path) -> None:
    """Unpack gzip, unless it is a bomb; long stretches of N pack well, so that little of a file says nothing."""
    with open(path, "rb") as raw, gzip.open(raw, "rb") as packed, open(target, "wb") as file:
        while block := packed.read(2**22):
            file.write(block)
            if file.tell() > UNPACKED_UNSEEN:
                text_input.check_packing(path, packed=raw.tell(), unpacked=file.tell())


def kind(path: Path) -> str:
    """PLAIN, GZIP or BGZIP, by content.

    Raises:
        InputError: there is no such file, or it cannot be read, or is no text (text_input.FOREIGN).
    """
    try:
        with open(path, "rb") as handle:
            head = handle.read(text_input.HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct {KEY} in run.toml") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct {KEY} in run.toml") from None
    text_input.refuse_foreign(path, head, key=KEY)
    if head[:2] != text_input.GZIP_MAGIC:
        return PLAIN
    # What is damaged is told by the pass over the whole file.
    with contextlib.suppress(*DAMAGED, OSError), gzip.open(path, "rb") as packed:
        text_input.refuse_foreign(path, packed.read(text_input.HEAD), key=KEY, unpacked=True)
    # A block of bgzip is a gzip member with an extra field whose first subfield is "BC".
    return BGZIP if len(head) >= 18 and head[3] & 4 and head[12:14] == b"BC" else GZIP


def _blocks(path: Path) -> np.ndarray:
    """Where blocks begin in a bgzip file and in its text, int64 (2, blocks).

    Raises:
        ValueError: the empty block that ends such files is missing.
    """
    with open(path, "rb") as handle:
        found = np.array([(at, text, size) for at, _, text, size in bgzf.BgzfBlocks(handle)], dtype=np.int64)
    if not found.size or found[-1, 2]:
        raise ValueError("the last block is missing")
    return found[found[:, 2] > 0, :2].T


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
