"""Lines of the text files users give: plain or gzip, any line ends, every way of being unreadable told in words."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from satori_hpc.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
# What people take for text, by its first bytes, and what to do.
FOREIGN = {
    b"PK\x03\x04": "a spreadsheet (.xlsx) or another zip archive; save it as text with tabs, or unpack it",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls); save it as text with tabs",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"BZh": "packed by bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed by xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it, or pack it with gzip",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


def lines(path: Path, *, key: str, longest: int = -1) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file; gzip is told by content, not by name.

    Args:
        path: the file.
        key: where the user named it, for the message, such as "[prepare.fasta] table" or "--chrom-sizes".
        longest: characters of a line, at most; -1 = any number.

    Raises:
        InputError: it is missing, unreadable, truncated or not text, or a line is too long.
    """
    number = 0
    try:
        with open(path, "rb") as raw:
            head = raw.read(8)
            refuse_foreign(path, head, key=key)
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if head.startswith(GZIP_MAGIC) else raw
            # Text is decoded in blocks: what is no UTF-8 is let through, to be told with its line.
            with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=None) as text:
                while line := text.readline(longest):
                    number += 1
                    if len(line) == longest and not line.endswith("\n"):
                        raise InputError(
                            f"{path}, line {number}: longer than {longest:,} characters; expected a row on each line; "
                            f"{_fix(key)}"
                        )
                    if "\0" in line:
                        raise InputError(
                            f"{path}, line {number}: binary data; expected text, plain or gzip; {_fix(key)}"
                        )
                    if not line.isascii() and _SURROGATE.search(line):
                        raise InputError(
                            f"{path}, line {number}: not UTF-8 text; save the file as UTF-8, or {_fix(key)}"
                        )
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_fix(key)}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: damaged or truncated gzip ({error}); compress or copy the file again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {_fix(key)}") from None


def refuse_foreign(path: Path, head: bytes, *, key: str) -> None:
    """Tell files of other kinds by their first bytes.

    Raises:
        InputError: it is one of FOREIGN.
    """
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{path}: {what}, or {_fix(key)}")


def _fix(key: str) -> str:
    return f"correct {key}" + ("" if key.startswith("--") else " in run.toml")
