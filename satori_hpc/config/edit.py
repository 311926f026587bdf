"""Change values of run.toml, preserving everything else in the file."""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, Table

from satori_hpc import config
from satori_hpc.config import Config, toml
from satori_hpc.errors import ConfigError

Value = str | float | bool | Sequence[str]


def change(path: Path, key: str, value: Value) -> bool:
    """Set a key of run.toml; preserve comments, order and all other values. Write nothing if the value is unchanged.

    Args:
        path: of run.toml, one that `config.load` reads.
        key: with its sections: "reduce.statistic".
        value: the new value.

    Returns:
        whether the file was changed.

    Raises:
        ConfigError: the file cannot be used, or could not with this value; lists all problems. The file is unchanged.
    """
    before = path.read_bytes()
    text, _ = edited(path, {key: value})
    if text.encode() != before:
        write(path, text)
    return text.encode() != before


def edited(path: Path, changes: Mapping[str, Value]) -> tuple[str, Config]:
    """Return the text of run.toml with some keys set, and its configuration; write nothing.

    Args:
        path: of run.toml, one that `config.load` reads.
        changes: {key with its sections, such as "reduce.statistic": new value}.

    Raises:
        ConfigError: the file cannot be used, or could not with these values; lists all problems.
    """
    wanted = config.load(path)
    text = path.read_bytes().decode("utf-8")  # line ends as they are
    said = []
    for key, value in changes.items():
        plain = tuple(value) if isinstance(value, list | tuple) else value
        names = key.split(".")
        if toml.get(wanted, key) == plain:
            continue
        said.append(f"{key} = {toml.to_toml(plain)}")
        try:
            text = _edited(text, names, plain, toml.meaning(Config, key))
        except (TOMLKitError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be changed ({error}); write {said[-1]} by hand") from None
        wanted = _with(wanted, names, plain)
    if not said:
        return text, wanted
    together = ", ".join(said)
    if toml.parse(text, Config, name=f"{path}, with {together}") != wanted:
        raise ConfigError(f"{path}: cannot be changed without harm to the rest; write {together} by hand")
    return text, wanted


def _edited(text: str, names: list[str], value: Any, meaning: str) -> str:
    document = tomlkit.parse(text)
    table: Any = document
    made = False
    for name in names[:-1]:
        if name not in table:
            table[name], made = tomlkit.table(), True
        table = table[name]
    old = table.get(names[-1])
    if isinstance(old, Array) and list(value[: len(old)]) == list(old):
        for item in value[len(old) :]:  # so that comments between items stay
            old.append(item)
    elif old is None and isinstance(table, Table | TOMLDocument):  # an inline table has no place for a comment
        item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
        table[names[-1]] = item.comment(meaning)
        item.trivia.comment_ws = "  "
        if made:
            table.add(tomlkit.nl())  # a blank line in front of the next section
    else:
        table[names[-1]] = list(value) if isinstance(value, tuple) else value
    edited = tomlkit.dumps(document)
    return edited.rstrip("\n") + "\n" if made else edited


def _with(value: Any, names: list[str], item: Any) -> Any:
    if len(names) > 1:
        item = _with(toml.child(value, names[0]), names[1:], item)
    return toml.with_child(value, names[0], item)


def write(path: Path, text: str) -> None:
    """Replace the file in one step; where it is a link, the file that it points to."""
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with open(partial, "wb") as handle:
            handle.write(text.encode("utf-8"))
            handle.flush()
            os.fsync(handle.fileno())
        shutil.copymode(path, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
