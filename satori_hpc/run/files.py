"""Write files and folders atomically: to a temporary name, flush, rename."""

import contextlib
import errno
import functools
import glob
import gzip
import io
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from satori_hpc.errors import InputError, SatoriError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sibling(path: Path) -> Path:
    """Return a unique temporary name next to `path`, recognised by `sweep_partials`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def room(path: Path, needs: str = "") -> Iterator[None]:
    """Report which file met a full disk, and the cure; `needs` is the space it takes.

    Raises:
        SatoriError: the disk or a quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise SatoriError(
            f"{path}: {os.strerror(error.errno)}{needs}; make room and run the same command again, it goes on with "
            "what is missing"
        ) from None


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds it is renamed to `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = sibling(path)
    try:
        with room(path):
            yield partial
            publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Sync a file at a temporary name to disk and rename it to `path`."""
    with open(partial, "rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; when the block succeeds it replaces `path`, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = sibling(path)
    partial.mkdir()
    try:
        with room(path):
            yield partial
            publish_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish_folder(partial: Path, path: Path) -> None:
    """Replace `path` by a folder at a temporary name."""
    remove_folder(path)
    os.replace(partial, path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_folder(path: Path) -> None:
    """Remove a folder so that no moment shows it half empty under its own name; of a link to one, the link alone."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
        return
    if not path.exists():
        return
    doomed = sibling(path)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def sweep_partials(folder: Path, *, of: str = "") -> int:
    """Remove files left by killed writers in `folder` (not below it), with names that begin with `of`.

    Return how many.
    """
    pattern = f".{glob.escape(of)}*.partial*"  # then the suffix that the bigWig writer requires
    left = list(folder.glob(pattern)) if folder.exists() else []
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


# Lines of text input: plain or gzip, any line ends, with an explicit error for every unreadable file.

GZIP_MAGIC = b"\x1f\x8b"
HEAD = 512  # bytes that identify the format of a file
# Formats mistaken for text, by their first bytes (gzipped or not), with the cure.
FOREIGN = {
    b"PK\x03\x04": "a spreadsheet (.xlsx) or another zip archive; save it as text with tabs, or unpack it",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls); save it as text with tabs",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"BZh": "packed by bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed by xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it, or pack it with gzip",
    b"\x04\x22\x4d\x18": "packed by lz4; unpack it, or pack it with gzip",
    b"\x1f\x9d": "packed by compress (.Z); unpack it, or pack it with gzip",
    b"LZIP\1": "packed by lzip; unpack it, or pack it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it",
    b"Rar!\x1a": "a RAR archive; unpack it",
    **dict.fromkeys((b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43"), "a .2bit genome; make FASTA of it with twoBitToFa"),
    **dict.fromkeys((b"\xeb\xf2\x89\x87", b"\x87\x89\xf2\xeb"), "a bigBed file; make BED of it with bigBedToBed"),
    **dict.fromkeys(
        (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26"),
        "a bigWig file, which holds a signal along the genome; give peaks (BED, narrowPeak) that were called on it",
    ),
    b"BAM\1": "a BAM file of aligned reads; call peaks on them and give those",
    **dict.fromkeys((b"CRAM\2", b"CRAM\3"), "a CRAM file of aligned reads; call peaks on them and give those"),
    **dict.fromkeys((b"@HD\tVN:", b"@SQ\tSN:"), "a SAM file of aligned reads; call peaks on them and give those"),
    b"##fileformat=VCF": "a VCF file of variants; give sequences, peaks (BED) or genes (GFF3, GTF), as the key asks",
    b"BCF\2": "a BCF file of variants; give sequences, peaks (BED) or genes (GFF3, GTF), as the key asks",
    b"LOCUS   ": "a GenBank file; make FASTA of its sequences, GFF3 of its features",
    **dict.fromkeys((b"TBI\1", b"CSI\1", b"BAI\1"), "an index (.tbi, .csi, .bai); give the file that it is of"),
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; give text (one-hot arrays go with: new --template arrays)",
    b"\x93NUMPY": "a NumPy file (.npy); give text (one-hot arrays go with: new --template arrays)",
    b"PAR1\x15": "a Parquet file; save it as text with tabs",
    b"SQLite format 3\0": "an SQLite database; export text with tabs",
    b"%PDF-": "a PDF file; give text",
}
TAR_AT, TAR = 257, b"ustar"
LONGEST_LINE = 2**24  # characters: more are neither a row of a table nor a sequence that a network reads
# Sequences pack 4 times, annotations and tables 10 to 40; larger ratios are refused once the file is large.
MOST_PACKED = 100
LARGE = 2**22  # bytes
_SURROGATE = re.compile("[\ud800-\udfff]")


def lines(path: Path, *, key: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file; gzip is recognised by content.

    Args:
        path: the file.
        key: where the user named it, for the message, such as "[prepare.fasta] table" or "--chrom-sizes".

    Raises:
        InputError: it is missing, unreadable, truncated or not text; a line is longer than LONGEST_LINE; or it unpacks
            to far more than text does.
    """
    number = size = 0
    look_at = LARGE
    try:
        with open(path, "rb") as raw:
            stream: BinaryIO = raw
            head = raw.peek(HEAD)
            refuse_foreign(path, head, key=key)
            if head.startswith(GZIP_MAGIC):
                packed = gzip.GzipFile(fileobj=raw)
                refuse_foreign(path, packed.peek(HEAD), key=key, unpacked=True)
                stream = cast(BinaryIO, packed)
            # Text is decoded in blocks: invalid UTF-8 is passed through, to be reported with its line.
            with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=None) as text:
                # One character more than allowed: the line's end, or too long a line.
                for line in iter(functools.partial(text.readline, LONGEST_LINE + 1), ""):
                    number += 1
                    size += len(line)
                    if len(line) > LONGEST_LINE and not line.endswith("\n"):
                        raise InputError(
                            f"{path}, line {number}: longer than {LONGEST_LINE:,} characters; expected lines of text; "
                            f"wrap it, or {fix(key)}"
                        )
                    if stream is not raw and size > look_at:
                        check_packing(path, packed=raw.tell(), unpacked=size)
                        look_at = size + LARGE
                    if "\0" in line:
                        raise InputError(
                            f"{path}, line {number}: binary data; expected text, plain or gzip; {fix(key)}"
                        )
                    if not line.isascii() and _SURROGATE.search(line):
                        raise InputError(
                            f"{path}, line {number}: not UTF-8 text; save the file as UTF-8, or {fix(key)}"
                        )
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {fix(key)}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: damaged or truncated gzip ({error}); compress or copy the file again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {fix(key)}") from None


def check_packing(path: Path, *, packed: int, unpacked: int) -> None:
    """Refuse files that unpack to more than MOST_PACKED times their size: gzip bombs fill memory or disks.

    Raises:
        InputError: it does.
    """
    if unpacked > MOST_PACKED * packed:
        raise InputError(
            f"{path}: unpacks to more than {MOST_PACKED} times its size ({unpacked:,} bytes of the first {packed:,}); "
            "text does not. If that is right, unpack it first (gunzip)"
        )


def refuse_foreign(path: Path, head: bytes, *, key: str, unpacked: bool = False) -> None:
    """Recognise files of other formats by their first bytes (HEAD); `unpacked`: the content of gzip.

    Raises:
        InputError: it is one of FOREIGN, a tar archive, or compressed twice.
    """
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{path}: {what}, or {fix(key)}")
    if head[TAR_AT:].startswith(TAR):
        raise InputError(f"{path}: a tar archive; unpack it (tar -xf), or {fix(key)}")
    if unpacked and head.startswith(GZIP_MAGIC):
        raise InputError(f"{path}: packed twice by gzip; unpack it once, or {fix(key)}")


def fix(key: str) -> str:
    """Return the cure of a wrong input: correct an option (--like-this), an argument (FILES) or a key of run.toml."""
    return f"correct {key}" + ("" if key.startswith("--") or key.isupper() else " in run.toml")
