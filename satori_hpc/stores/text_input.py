"""Lines of the text files users give: plain or gzip, any line ends, every way of being unreadable told in words."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from satori_hpc.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"


def lines(path: Path, *, key: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file; gzip is told by content, not by name.

    Args:
        path: the file.
        key: where the user named it, for the message, such as "[prepare.fasta] table".

    Raises:
        InputError: it is missing, unreadable, truncated or not text.
    """
    number = 0
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline=None) as text:
                for line in text:
                    number += 1
                    if "\0" in line:
                        raise InputError(
                            f"{path}, line {number}: binary data; expected text, plain or gzip; {_fix(key)}"
                        )
                    yield number, line.rstrip("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_fix(key)}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, after line {number}: not UTF-8 text ({error.reason}); save the file as UTF-8, or {_fix(key)}"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}, after line {number}: damaged or truncated gzip ({error}); compress or copy the file again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {_fix(key)}") from None


def _fix(key: str) -> str:
    return f"correct {key}" + ("" if key.startswith("--") else " in run.toml")
