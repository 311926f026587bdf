"""HDF5, MATLAB and NPZ files as named arrays, some rows of which are read at a time. Nothing in them is executed."""

import contextlib
import dataclasses
import functools
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from satori_hpc.errors import InputError

KEY = "[prepare.arrays] files"
ZIP = b"PK\x03\x04"
MATLAB_5 = b"MATLAB 5.0 MAT-file"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    MatReadError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Member:
    """An array of a file; its first axis is that of the examples.

    Attributes:
        shape, dtype: of the array.
        read: (start, stop) of rows -> array (stop - start, ...).
        together: rows that are stored together, so that reading one costs as much as reading all.
        attributes: small things that were stored with it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], np.ndarray]
    together: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[dict[str, Member], Mapping[str, Any]]]:
    """The arrays of a file by name, those in a group of HDF5 as group_name, and what was stored with the whole file.

    Raises:
        InputError: it is missing, damaged, or of none of these formats; `read` of its members raises it, too.
    """
    with contextlib.ExitStack() as stack:
        attributes: Mapping[str, Any] = {}
        with _told(path):
            with open(path, "rb") as raw:
                magic = raw.read(len(MATLAB_5))
            if magic.startswith(ZIP):
                members = _npz(path, stack)
            elif magic == MATLAB_5:
                members = _matlab(path)
            else:
                members, attributes = _hdf5(path, stack)
        careful = {name: dataclasses.replace(each, read=_careful(path, each.read)) for name, each in members.items()}
        yield careful, attributes


def _careful(path: Path, read: Callable[[int, int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
    def careful(start: int, stop: int) -> np.ndarray:
        with _told(path):
            return read(start, stop)

    return careful


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong in a file becomes an InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct {KEY} in run.toml") from None
    except _DAMAGE as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: cannot be read ({told}); expected HDF5, MATLAB or NPZ: make or copy the file again, or correct "
            f"{KEY} in run.toml"
        ) from None


def _npz(path: Path, stack: contextlib.ExitStack) -> dict[str, Member]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    found = {}
    for entry in archive.namelist():
        if not entry.endswith(".npy"):
            continue
        name = entry.removesuffix(".npy")
        stream = stack.enter_context(archive.open(entry))
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{name} is an array of NPY version {version}")
        shape, fortran, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            # Refused when it is read: another array of the file may be all that is wanted.
            found[name] = Member(shape, dtype, functools.partial(_refuse_pickle, path, name))
        elif fortran or not shape:
            with np.load(path, allow_pickle=False) as arrays:
                found[name] = _in_memory(arrays[name])
        else:
            found[name] = Member(shape, dtype, functools.partial(_stream, stream, stream.tell(), shape, dtype))
    return found


def _refuse_pickle(path: Path, name: str, start: int, stop: int) -> np.ndarray:
    raise InputError(
        f"{path}: {name} holds Python objects (a pickle), which could execute anything and are not read; save it as "
        "numbers, or as strings of a fixed width"
    )


def _stream(stream: Any, begin: int, shape: tuple[int, ...], dtype: np.dtype[Any], start: int, stop: int) -> np.ndarray:
    """Rows of an array in a zip file: what lies between is unpacked and thrown away, so rows are best read in order."""
    size = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
    stream.seek(begin + start * size)
    raw = stream.read((stop - start) * size)
    if len(raw) < (stop - start) * size:
        raise EOFError("an array ends early")
    return np.frombuffer(raw, dtype=dtype).reshape(stop - start, *shape[1:])


def _matlab(path: Path) -> dict[str, Member]:
    """Of version 5 (to 7.2): read as a whole, the format has no parts."""
    return {name: _in_memory(values) for name, values in loadmat(path).items() if isinstance(values, np.ndarray)}


def _in_memory(values: np.ndarray) -> Member:
    return Member(values.shape, values.dtype, lambda start, stop: values[start:stop])


def _hdf5(path: Path, stack: contextlib.ExitStack) -> tuple[dict[str, Member], Mapping[str, Any]]:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: not NPZ; HDF5 needs h5py: pip install 'satori-hpc[arrays]', or save the arrays as NPZ"
        ) from None
    file = stack.enter_context(h5py.File(path, "r"))
    found: dict[str, Member] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            found[name.replace("/", "_")] = _dataset(item)

    file.visititems(add)
    return found, dict(file.attrs)


def _dataset(item: Any) -> Member:
    attributes = dict(item.attrs)
    shape, chunks = tuple(item.shape), item.chunks or (1,) * len(item.shape)
    if "MATLAB_class" in attributes:  # MATLAB counts axes from the other end, so all of them stand in reverse order
        return Member(
            shape[::-1],
            item.dtype,
            lambda start, stop: item[..., start:stop].T,
            max(chunks[-1:], default=1),
            attributes,
        )
    return Member(shape, item.dtype, lambda start, stop: item[start:stop], max(chunks[:1], default=1), attributes)
