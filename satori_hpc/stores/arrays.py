"""One-hot sequences with labels, in arrays: the layouts of Basset and DeepSEA, and plain pairs of arrays."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.core import one_hot, sequence
from satori_hpc.core.labels import UNKNOWN
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.stores import array_files, text_input
from satori_hpc.stores.array_files import Member, Members

PARTS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
LENGTH = 2**21  # bp: twice what networks of the field read
TARGETS = 100_000
TEXT = 1_000  # letters of a name
EMPTY = 0.01  # share of sequences without a letter, as in gaps of a genome, that is told and let through
MANY_EMPTY = 2**16
SHOWN = 10  # columns and labels of a block that are spelled out
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
        x, y: their arrays.
        letters: order of the letters in x.
        length: bp. targets: labels per sequence.
        headers: a name per sequence, or None; to be read by `texts`.
        split: likewise names of parts, when all parts stand in one array.
    """

    path: Path
    name: str
    x: Member
    y: Member
    letters: str
    length: int
    targets: int
    headers: Member | None
    split: Member | None

    @property
    def examples(self) -> int:
        return self.x.shape[0]

    @property
    def x_name(self) -> str:
        return self.x.name

    @property
    def y_name(self) -> str:
        return self.y.name

    def texts(self, member: Member) -> list[str]:
        """The headers or the split.

        Raises:
            InputError: it cannot be read, or a name is too long.
        """
        return _texts(self.path, member)


@dataclass(frozen=True)
class Arrays:
    """All parts, open, with the names of the labels, and all files that are read."""

    parts: list[Part]
    targets: list[str]
    files: list[Path]


@contextlib.contextmanager
def opened(paths: Sequence[Path], *, letters: str | None, targets: Path | None) -> Iterator[Arrays]:
    """Find the parts in the files; nothing but names is read yet.

    Args:
        paths: HDF5 or NPZ files.
        letters: order of the letters in the one-hot axis; None: ACGT, and AGCT of DeepSEA's arrays.
        targets: file with a name of a label per line; None: names in the files, else numbers.

    Raises:
        InputError: a file cannot be read, or holds no arrays of sequences and labels that go together; also while
            blocks are read.
    """
    with contextlib.ExitStack() as stack:
        parts: list[Part] = []
        names: list[str] = []
        files = [*paths, *([] if targets is None else [targets])]
        for path in paths:
            members = stack.enter_context(array_files.opened(path))
            found = _parts(path, members, letters)
            parts += found
            names = names or _target_names(members, found)
            files += members.files
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
        yield Arrays(parts, names, files)


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
    size = 4 * part.length * part.x.dtype.itemsize
    rows = max(1, min(BLOCK_BYTES, room) // size)
    # Whole stored chunks, so that none is unpacked twice, unless one of them is much larger than a block should be.
    together = part.x.together if part.x.together * size <= 8 * min(BLOCK_BYTES, room) else 1
    together = max(together, rows // together * together)
    empty = np.zeros(0, dtype=np.int64)
    for begin in range(0, part.examples, together):
        some = _squeezed(part.x.read(begin, min(begin + together, part.examples)))
        some = some if some.shape[1] == 4 else some.transpose(0, 2, 1)
        for first in range(begin, begin + len(some), rows):
            columns = some[first - begin : first - begin + rows]
            problems = Problems(f"{part.path}: arrays that cannot be used:", shown=2 * SHOWN + 2)
            tokens = _tokens(part, first, columns, problems)
            labels = _labels(part, first, first + len(columns), unknown, problems)
            problems.raise_any()
            empty = np.append(empty, first + np.flatnonzero((tokens == sequence.N).all(axis=1)))
            if len(empty) > max(MANY_EMPTY, EMPTY * part.examples):
                _check_empty(part, empty, first + len(columns))  # before the rest is unpacked
            yield first, tokens, labels
    _check_empty(part, empty, part.examples)


def _tokens(part: Part, first: int, columns: np.ndarray, problems: Problems) -> np.ndarray:
    tokens, wrong = one_hot.decode(columns, letters=part.letters)
    for row, position in wrong[:SHOWN].tolist():
        problems.add(
            f"{part.x_name}, row {first + row}, position {position}: {columns[row, :, position].tolist()}; "
            "expected one 1 and three 0, or four 0 or four 0.25 for an unknown letter"
        )
    if len(wrong) > SHOWN:
        problems.add(f"{part.x_name}: {len(wrong) - SHOWN} more columns to row {first + wrong[-1, 0]}")
    return tokens


def _labels(part: Part, first: int, last: int, unknown: int | None, problems: Problems) -> np.ndarray:
    values = part.y.read(first, last).reshape(last - first, part.targets)
    labels = np.full(values.shape, UNKNOWN, dtype=np.uint8)
    for value in (0, 1):
        labels[values == value] = value
    left = labels == UNKNOWN
    if unknown is not None:
        left &= values != unknown
    wrong = np.argwhere(left)
    for row, target in wrong[:SHOWN].tolist():
        problems.add(
            f"{part.y_name}, row {first + row}, label {target}: {values[row, target].item()!r}; expected 0 or 1"
            + ("" if unknown is not None else ", or a number that [prepare.arrays] unknown names")
        )
    if len(wrong) > SHOWN:
        problems.add(f"{part.y_name}: {len(wrong) - SHOWN} more labels to row {first + wrong[-1, 0]}")
    return labels


def _check_empty(part: Part, rows: np.ndarray, count: int) -> None:
    """Tell sequences without any letter; refuse them where they are more than the gaps of a genome."""
    if not len(rows):
        return
    if len(rows) == part.examples:
        raise InputError(
            f"{part.path}: {part.x_name}: no letter in any sequence; expected one-hot columns, with one 1 and three 0"
        )
    first = np.flatnonzero(np.diff(rows, prepend=-2) > 1)
    last = np.append(first[1:], len(rows)) - 1
    shown = [f"{a}-{b}" if a < b else str(a) for a, b in zip(rows[first[:SHOWN]], rows[last[:SHOWN]], strict=True)]
    told = (
        f"{part.path}: {part.x_name}: {len(rows)} of {count} sequences hold no letter at all: rows "
        + ", ".join(shown)
        + (", ..." if len(first) > SHOWN else "")
    )
    if len(rows) > EMPTY * part.examples:
        raise InputError(f"{told} (by a writer that was killed?); write them again, or leave them out")
    logger.warning("%s", told)


def _parts(path: Path, members: Members, letters: str | None) -> list[Part]:
    names = {name.lower() for name, _ in members.found}
    found = []
    wanted = [(part, alias, pair) for part, aliases in PARTS.items() for alias in aliases for pair in PAIRS]
    for part, alias, pair in [*wanted, *(("", "", pair) for pair in UNSPLIT)]:
        if not names >= {name.format(alias) for name in pair}:
            continue
        x, y = (members.get(name.format(alias)) for name in pair)
        assert x is not None
        assert y is not None
        length = _check_shapes(path, x, y)
        headers = members.get(f"{alias}_headers" if alias else "headers")
        split = None if part else members.get("split")
        for texts in (headers, split):
            if texts is not None:
                _check_texts(path, texts, x.shape[0], f"sequences of {x.name}")
        found.append(
            Part(
                path=path,
                name=part,
                x=x,
                y=y,
                letters=letters or ("AGCT" if pair == DEEPSEA else "ACGT"),
                length=length,
                targets=math.prod(y.shape[1:]),
                headers=headers,
                split=split,
            )
        )
    if not found:
        raise InputError(
            f"{path}: no arrays of sequences and labels that go together; expected train_in and train_out (or "
            "trainxdata and traindata, train_x and train_y, x_train and y_train; valid and test likewise), or x and "
            f"y, or one_hot and labels; it holds {members}; rename the arrays, or correct {array_files.KEY} in run.toml"
        )
    return found


def _check_shapes(path: Path, x: Member, y: Member) -> int:
    """The length of the sequences."""
    problems = Problems(f"{path}: {x.name} and {y.name} do not make sequences and labels:")
    for member in (x, y):
        if member.dtype.kind not in "buif":
            problems.add(f"{member.name} holds {str(member.dtype)[:80]}; expected numbers")
    axes = [size for size in x.shape[1:] if size != 1]
    if len(axes) != 2 or axes.count(4) != 1 or 0 in axes:
        problems.add(
            f"{x.name} has shape {x.shape}; expected (sequences, 4, length) or (sequences, length, 4), of another "
            "length than 4, axes of size 1 left aside"
        )
    elif sum(axes) - 4 > LENGTH:
        problems.add(f"{x.name} has shape {x.shape}; expected sequences of at most {LENGTH} bp")
    if len([size for size in y.shape[1:] if size != 1]) > 1:
        problems.add(f"{y.name} has shape {y.shape}; expected (sequences, labels) or (sequences,)")
    elif x.shape[0] != y.shape[0] or not x.shape[0]:
        problems.add(f"{x.name} has shape {x.shape}, {y.name} {y.shape}; expected as many sequences as rows of labels")
    elif not 0 < math.prod(y.shape[1:]) <= TARGETS:
        problems.add(f"{y.name} has shape {y.shape}; expected at least one label, at most {TARGETS}")
    problems.raise_any()
    return sum(axes) - 4


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


def _target_names(members: Members, parts: list[Part]) -> list[str]:
    """Names of the labels that are stored with the arrays; none: empty."""
    for name in TARGET_NAMES:
        for look in (members.get, members.attribute, *(part.y.attribute for part in parts)):
            if (member := look(name)) is not None:
                _check_texts(members.path, member, parts[0].targets, f"labels of {parts[0].y_name}")
                return _texts(members.path, member)
    return []


def _check_texts(path: Path, member: Member, count: int, what: str) -> None:
    if math.prod(member.shape) != count:
        raise InputError(f"{path}: {math.prod(member.shape)} {member.name} for the {count} {what}; give one of each")
    if member.dtype.itemsize > BLOCK_BYTES or member.dtype.kind not in "SUObuif":
        raise InputError(f"{path}: {member.name} holds {str(member.dtype)[:80]}; expected names")


def _texts(path: Path, member: Member) -> list[str]:
    """A small array as texts."""
    rows = max(1, min(2**16, BLOCK_BYTES // max(1, member.dtype.itemsize)))
    texts: list[str] = []
    for first in range(0, member.shape[0], rows):
        with array_files.told(path, member.name):
            some = np.ravel(member.read(first, min(first + rows, member.shape[0]))).tolist()
        for each in some:
            text = each.decode("utf-8", errors="replace") if isinstance(each, bytes) else str(each)
            if len(text) > TEXT:
                raise InputError(
                    f"{path}: {member.name} holds a name of {len(text)} letters ({text[:40]!r}...); expected at "
                    f"most {TEXT}"
                )
            texts.append(text.encode("utf-8", errors="replace").decode())  # without halves of surrogate pairs
    return texts
