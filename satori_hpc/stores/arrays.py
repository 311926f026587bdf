"""One-hot sequences with labels, in arrays: the layouts of Basset and DeepSEA, and plain pairs of arrays."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.core import one_hot
from satori_hpc.core.labels import UNKNOWN
from satori_hpc.errors import InputError, Problems
from satori_hpc.stores import array_files, text_input
from satori_hpc.stores.array_files import Member

PARTS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
DEEPSEA = "{}xdata", "{}data"
PAIRS = (("{}_in", "{}_out"), DEEPSEA, ("{}_x", "{}_y"), ("x_{}", "y_{}"), ("{}_one_hot", "{}_labels"))
UNSPLIT = (("x", "y"), ("one_hot", "labels"))
TARGET_NAMES = ("target_labels", "target_names", "label_names", "targets")
BLOCK_BYTES = 2**25  # of one-hot numbers that are read at a time


@dataclass(frozen=True)
class Part:
    """Sequences and labels of a part of the set, or of all of it.

    Attributes:
        path: of the file.
        name: "train", "valid", "test", or "" for all.
        x, y: their arrays. x_name, y_name: what these are called there.
        letters: order of the letters in x.
        length: bp. targets: labels per sequence.
        headers: a name per sequence, or None.
        split: names of parts per sequence, when all parts stand in one array.
    """

    path: Path
    name: str
    x: Member
    y: Member
    x_name: str
    y_name: str
    letters: str
    length: int
    targets: int
    headers: list[str] | None
    split: list[str] | None

    @property
    def examples(self) -> int:
        return self.x.shape[0]


@dataclass(frozen=True)
class Arrays:
    """All parts, open, with the names of the labels."""

    parts: list[Part]
    targets: list[str]


@contextlib.contextmanager
def opened(paths: Sequence[Path], *, letters: str | None, targets: Path | None) -> Iterator[Arrays]:
    """Find the parts in the files; nothing but names is read yet.

    Args:
        paths: HDF5, MATLAB or NPZ files.
        letters: order of the letters in the one-hot axis; None: ACGT, and AGCT of DeepSEA's arrays.
        targets: file with a name of a label per line; None: names in the files, else numbers.

    Raises:
        InputError: a file cannot be read, or holds no arrays of sequences and labels that go together; also while
            blocks are read.
    """
    with contextlib.ExitStack() as stack:
        parts: list[Part] = []
        names: list[str] = []
        for path in paths:
            members, attributes = stack.enter_context(array_files.opened(path))
            found = _parts(path, members, letters)
            parts += found
            names = names or _target_names(members, [attributes, *(part.y.attributes for part in found)])
        _check_together(parts)
        if targets is not None:
            names = [line.strip() for _, line in text_input.lines(targets, key="[prepare.arrays] targets")]
            names = [name for name in names if name]
        count = parts[0].targets
        if not names:
            names = ["label"] if count == 1 else [str(label) for label in range(count)]
        if len(names) != count or len(set(names)) < count:
            raise InputError(
                f"{targets or parts[0].path}: {len(names)} names of labels ({len(set(names))} different) for the "
                f"{count} labels of {parts[0].y_name}; give a file with a name per line in [prepare.arrays] targets"
            )
        yield Arrays(parts, names)


def blocks(part: Part, *, unknown: int | None, room: int = BLOCK_BYTES) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read a part in order, some sequences at a time.

    Args:
        part: of an open set.
        unknown: the label that stands for not known.
        room: bytes that a block of one-hot numbers may take if BLOCK_BYTES are too many; chunks may take more.

    Yields:
        (first row, tokens uint8 (rows, length), labels uint8 (rows, targets)).

    Raises:
        InputError: a column is not one-hot, or a label is not 0 or 1: all of the block, with rows and positions.
    """
    size = max(1, 4 * part.length * part.x.dtype.itemsize)
    rows = max(1, min(BLOCK_BYTES, room) // size)
    # Whole stored chunks, so that none is unpacked twice, unless one of them is much larger than a block should be.
    if part.x.together * size <= 8 * BLOCK_BYTES:
        rows = max(part.x.together, rows // part.x.together * part.x.together)
    for first in range(0, part.examples, rows):
        last = min(first + rows, part.examples)
        problems = Problems(f"{part.path}: arrays that cannot be used:")
        columns = _squeezed(part.x.read(first, last))
        columns = columns if columns.shape[1] == 4 else columns.transpose(0, 2, 1)
        tokens, wrong = one_hot.decode(columns, letters=part.letters)
        for row, position in wrong.tolist():
            problems.add(
                f"{part.x_name}, row {first + row}, position {position}: {columns[row, :, position].tolist()}; "
                "expected one 1 and three 0, or four 0 or four 0.25 for an unknown letter"
            )
        values = part.y.read(first, last).reshape(last - first, part.targets)
        labels = np.full(values.shape, UNKNOWN, dtype=np.uint8)
        for value in (0, 1):
            labels[values == value] = value
        left = labels == UNKNOWN
        if unknown is not None:
            left &= values != unknown
        for row, target in np.argwhere(left).tolist():
            problems.add(
                f"{part.y_name}, row {first + row}, label {target}: {values[row, target].item()!r}; expected 0 or 1"
                + ("" if unknown is not None else ", or a number that [prepare.arrays] unknown names")
            )
        problems.raise_any()
        yield first, tokens, labels


def _parts(path: Path, members: Mapping[str, Member], letters: str | None) -> list[Part]:
    lower = {name.lower(): name for name in members}
    found = []
    wanted = [(part, alias, pair) for part, aliases in PARTS.items() for alias in aliases for pair in PAIRS]
    for part, alias, pair in [*wanted, *(("", "", pair) for pair in UNSPLIT)]:
        x_name, y_name = (lower.get(name.format(alias)) for name in pair)
        if x_name is None or y_name is None:
            continue
        x, y = members[x_name], members[y_name]
        length = _check_shapes(path, x_name, x, y_name, y)
        read = functools.partial(_texts, members, lower)
        found.append(
            Part(
                path=path,
                name=part,
                x=x,
                y=y,
                x_name=x_name,
                y_name=y_name,
                letters=letters or ("AGCT" if pair == DEEPSEA else "ACGT"),
                length=length,
                targets=int(np.prod(y.shape[1:], dtype=np.int64)),
                headers=read(f"{alias}_headers" if alias else "headers"),
                split=None if part else read("split"),
            )
        )
    if not found:
        shown = ", ".join(f"{name} {member.shape}" for name, member in list(members.items())[:20]) or "nothing"
        raise InputError(
            f"{path}: no arrays of sequences and labels that go together; expected train_in and train_out (or "
            "trainxdata and traindata, train_x and train_y, x_train and y_train; valid and test likewise), or x and "
            f"y, or one_hot and labels; it holds {shown}; rename the arrays, or correct {array_files.KEY} in run.toml"
        )
    for each in found:
        for what, texts in (("headers", each.headers), ("split", each.split)):
            if texts is not None and len(texts) != each.examples:
                raise InputError(
                    f"{path}: {len(texts)} {what} for the {each.examples} sequences of {each.x_name}; give one of each"
                )
    return found


def _check_shapes(path: Path, x_name: str, x: Member, y_name: str, y: Member) -> int:
    """The length of the sequences."""
    problems = Problems(f"{path}: {x_name} and {y_name} do not make sequences and labels:")
    for name, member in ((x_name, x), (y_name, y)):
        if member.dtype.kind not in "buif" and not member.dtype.hasobject:
            problems.add(f"{name} holds {member.dtype}; expected numbers")
    axes = [size for size in x.shape[1:] if size != 1]
    if len(axes) != 2 or axes.count(4) != 1:
        problems.add(
            f"{x_name} has shape {x.shape}; expected (sequences, 4, length) or (sequences, length, 4), of another "
            "length than 4, axes of size 1 left aside"
        )
    if len(y.shape) == 0 or len([size for size in y.shape[1:] if size != 1]) > 1:
        problems.add(f"{y_name} has shape {y.shape}; expected (sequences, labels) or (sequences,)")
    elif x.shape[:1] != y.shape[:1] or not x.shape[0]:
        problems.add(f"{x_name} has shape {x.shape}, {y_name} {y.shape}; expected as many sequences as rows of labels")
    elif 0 in y.shape:
        problems.add(f"{y_name} has shape {y.shape}; expected at least one label")
    problems.raise_any()
    return next(size for size in axes if size != 4)


def _squeezed(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), *(size for size in values.shape[1:] if size != 1))


def _check_together(parts: list[Part]) -> None:
    problems = Problems("the parts of [prepare.arrays] files do not go together:")
    first = parts[0]
    for place, part in enumerate(parts[1:], start=1):
        if part.name in [each.name for each in parts[:place]]:
            problems.add(
                f"{part.path}: {part.x_name}: there is a {part.name or 'whole'} set in another array; keep one"
            )
        if "" in (part.name, first.name) and part.name != first.name:
            problems.add(f"{part.path}: {part.x_name} beside {first.x_name}: give parts, or all in one, not both")
        if (part.length, part.targets) != (first.length, first.targets):
            problems.add(
                f"{part.path}: {part.x_name} has {part.length} bp and {part.targets} labels, {first.x_name} "
                f"{first.length} bp and {first.targets}; expected the same of all parts"
            )
    problems.raise_any()


def _target_names(members: Mapping[str, Member], attributes: list[Mapping[str, Any]]) -> list[str]:
    """Names of the labels that are stored with the arrays; none: empty."""
    lower = {name.lower(): name for name in members}
    for name in TARGET_NAMES:
        if texts := _texts(members, lower, name):
            return texts
        for stored in attributes:
            if name in stored:
                return _decoded(np.atleast_1d(stored[name]))
    return []


def _texts(members: Mapping[str, Member], lower: Mapping[str, str], name: str) -> list[str] | None:
    """A small array as texts; None when there is none of this name."""
    member = members.get(lower.get(name, ""))
    return None if member is None else _decoded(member.read(0, member.shape[0] if member.shape else 1))


def _decoded(values: np.ndarray) -> list[str]:
    return [
        each.decode("utf-8", errors="replace") if isinstance(each, bytes) else str(each)
        for each in np.ravel(values).tolist()
    ]
