"""Write and read plain tables with names from the user's files."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from satori_hpc.run import files

_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
# Characters that XML 1.0 cannot represent, and white space that it or a table would not keep.
_UNSAFE = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    r"""Escape `text` to one line without tabs and characters that XML cannot hold: \t, \n, \r, \x00, \uffff."""
    return _UNSAFE.sub(_escaped, text)


def write(path: Path, columns: Mapping[str, Any] | pd.DataFrame, *, names: Iterable[str], mark: str = "") -> None:
    """Write a table atomically, with its header; strings are escaped.

    Args:
        path: of the file.
        columns: all of one length.
        names: the columns to write, in order.
        mark: prefix of the header.
    """
    with files.atomic_file(path) as partial:
        append(partial, columns, names=names, mark=mark)


def append(path: Path, columns: Mapping[str, Any] | pd.DataFrame, *, names: Iterable[str], mark: str = "") -> None:
    """Append rows to a file, with the header if there is no such file; arguments as of `write`."""
    table = pd.DataFrame({name: columns[name] for name in names})
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map({value: escape(str(value)) for value in table[name].unique()})
    header = [mark + name if not place else name for place, name in enumerate(table.columns)]
    new = not path.exists()
    table.to_csv(path, mode="a", sep="\t", index=False, header=header if new else False, lineterminator="\n")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
