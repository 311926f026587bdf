"""Make a data set from one-hot arrays (HDF5 or NPZ)."""

import collections
import contextlib
import functools
import io
import json
import math
import multiprocessing
import os
import resource
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from satori_hpc.data import dataset, fasta, sequence, splits
from satori_hpc.data.dataset import Coded, Coordinates, Examples
from satori_hpc.data.source import EXAMPLE, MemoryBudget, RowFile, Source, check_length, digests, of_examples
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import InputError, Problems, SatoriError
from satori_hpc.log import logger, progress
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files as run_files
from satori_hpc.run.layout import Run

# HDF5 and NPZ files as named arrays, some rows of which are read at a time.
#
# Nothing in a file is executed; no link leads out of it, and virtual datasets not out of its folder. What a file says
# of
# its sizes is compared with what is there before memory is taken, and arrays that nobody asks for are not read.

KEY = "[prepare.arrays] files"
SAVEZ = "numpy.savez('set.npz', x=..., y=...)"
NPZ = (b"PK\x03\x04", b"PK\x05\x06")
HDF5 = b"\x89HDF\r\n\x1a\n"
CHUNK_BYTES = 2**28  # of HDF5 that must be unpacked together, whatever part of them is wanted
PACKED = 1100  # Deflate makes nothing smaller than by this factor
HEADER_BYTES = 2**16  # of a description in NPZ; numpy writes a hundred
MANY = 2**16  # arrays and groups of a file
LINKS = 32  # that lead to each other
APART_BYTES, APART_SECONDS = 2**28, 15.0
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PICKLE = f"a pickle of Python, which could execute anything and is not read; save its arrays with {SAVEZ}"
_TORCH = f"a PyTorch file; save its tensors with {SAVEZ}"
_MATLAB = (
    "a MATLAB file before version 7.3, which is not read; save it in MATLAB as version 7.3, which is HDF5: "
    "save('set.mat', ..., '-v7.3'); or in Python as NPZ: numpy.savez('set.npz', **{name: values for name, values in "
    "scipy.io.loadmat('set.mat').items() if name[0] != '_'})"
)
# What people take for HDF5 or NPZ, by its first bytes, and what to do.
_FOREIGN = {
    b"\x93NUMPY": f"a single array (.npy); save sequences and labels together with {SAVEZ}",
    b"MATLAB 5.0": _MATLAB,
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": _TORCH,
    **{b"\x80" + bytes([protocol]): _PICKLE for protocol in range(2, 6)},
    b"PAR1": f"a Parquet table; save one-hot sequences and labels with {SAVEZ}",
    b"ARROW1": f"a table of Arrow (Feather); save one-hot sequences and labels with {SAVEZ}",
    b"CDF": "NetCDF of version 3; save it as version 4, which is HDF5 (nccopy -k nc4)",
    b"\x0e\x03\x13\x01": "HDF4; make HDF5 of it (h4toh5)",
    b">": "FASTA; give it to satori-hpc new --template fasta",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; fetch the file (git lfs pull)",
    b"<": "a web page or XML, perhaps what a server said in place of the file; download the file again",
    run_files.GZIP_MAGIC: "packed by gzip; unpack it",
}
# Likewise by the end of the name, where the content does not say it.
_SUFFIXES = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _TORCH),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
    ".mat": _MATLAB,
    ".safetensors": f"a safetensors file; save its tensors with {SAVEZ}",
    ".tfrecord": f"TFRecords; save one-hot sequences and labels with {SAVEZ}",
    ".zarr": f"a Zarr store; save its arrays with {SAVEZ}",
}


@dataclass(frozen=True)
class Member:
    """An array of a file; its first axis is that of the examples.

    Attributes:
        shape, dtype: of the array; a scalar has the shape (1,).
        read: (start, stop) of rows -> array (stop - start, ...).
        together: rows that are stored together, so that reading one costs as much as reading all.
        attribute: name -> a small array that was stored with it, or None.
        name: in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], np.ndarray]
    together: int = 1
    attribute: Callable[[str], "Member | None"] = lambda name: None
    name: str = ""


@dataclass(frozen=True)
class Members:
    """The arrays of a file, looked at when they are asked for.

    Attributes:
        path: of the file.
        found: (name, how to look at the array); of those in a group of HDF5 group_name.
        attribute: name -> a small array that was stored with the whole file, or None.
        files: others that arrays looked at so far are put together from.
    """

    path: Path
    found: list[tuple[str, Callable[[], Member]]]
    attribute: Callable[[str], "Member | None"] = lambda name: None
    files: list[Path] = field(default_factory=list)

    def get(self, name: str) -> Member | None:
        """The array of a name (in small letters; any case in the file); None: there is none.

        Raises:
            InputError: it cannot be used, or several have the name; also when rows of it are read.
        """
        found = [(stored, look) for stored, look in self.found if stored.lower() == name]
        if len(found) > 1:
            raise InputError(
                f"{self.path}: {len(found)} arrays are called {name}: {', '.join(stored for stored, _ in found)} "
                "(capital letters do not count, a group stands before its arrays with _); rename all but one"
            )
        for stored, look in found:
            with told(self.path, stored):
                member = look()
            return replace(
                member,
                name=stored,
                read=_careful(self.path, stored, member.read),
                attribute=_careful(self.path, stored, member.attribute),
            )
        return None

    def __str__(self) -> str:
        """Names and shapes of the first, for messages."""
        shown = []
        for name, look in self.found[:20]:
            try:
                shown.append(f"{name[:80]} {look().shape}")
            except Exception:  # of whatever kind: get() tells it when the array is needed
                shown.append(f"{name[:80]} (cannot be read)")
        more = len(self.found) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "") or "nothing"


@contextlib.contextmanager
def opened_file(path: Path) -> Iterator[Members]:
    """The arrays of a file.

    Raises:
        InputError: it is missing, damaged, locked, or of another format.
    """
    with contextlib.ExitStack() as stack:
        with told(path):
            kind = _kind(path)
            members = _npz(path, stack) if kind == "NPZ" else _hdf5(path, stack)
        yield replace(members, attribute=_careful(path, "", members.attribute))


def _careful(path: Path, name: str, read: Callable[..., Any]) -> Callable[..., Any]:
    def careful(*args: Any) -> Any:
        with told(path, name):
            return read(*args)

    return careful


@contextlib.contextmanager
def told(path: Path, name: str = "") -> Iterator[None]:
    """Turn errors in a file, or in an array of it, into an InputError."""
    where = f"{path}: {name[:80]}" if name else str(path)
    try:
        yield
    except SatoriError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct {KEY} in run.toml") from None
    except Exception as error:  # the libraries raise what their own code runs into
        told = " ".join(str(error).split())[:200] or type(error).__name__
        if "lock file" in told:
            fix = (
                "it is locked: wait until the process that has it open for writing ends; where none has, or the file "
                "system cannot lock, set HDF5_USE_FILE_LOCKING=FALSE in the environment"
            )
        elif "h5clear" in told:
            fix = (
                "its writer is at work still, or was killed: wait, or write it again; h5clear -s clears the mark if "
                "all was written"
            )
        else:
            fix = "expected HDF5 or NPZ, whole: make or copy the file again"
        raise InputError(f"{where}: cannot be read ({told}); {fix}, or correct {KEY} in run.toml") from error


def _kind(path: Path) -> str:
    """ "NPZ" or "HDF5", by content.

    Raises:
        InputError: neither.
    """
    if path.is_dir():
        zarr = any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))
        what = _SUFFIXES[".zarr"] if zarr or path.suffix == ".zarr" else "a folder; expected a file"
        raise InputError(f"{path}: {what}, or correct {KEY} in run.toml")
    if path.exists() and not path.is_file():  # reading a pipe could wait for ever
        raise InputError(f"{path}: not a regular file; correct {KEY} in run.toml")
    with open(path, "rb") as raw:
        head = raw.read(64)
        if head.startswith(NPZ):
            return "NPZ"
        at, size = 0, os.fstat(raw.fileno()).st_size
        while at < size:
            raw.seek(at)
            if raw.read(len(HDF5)) == HDF5:
                return "HDF5"
            at = max(512, 2 * at)  # where HDF5 looks behind what programs such as MATLAB put before it
    for magic, what in (*_FOREIGN.items(), *run_files.FOREIGN.items()):
        if head.startswith(magic):
            raise InputError(f"{path}: {what}, or correct {KEY} in run.toml")
    what = _SUFFIXES.get(path.suffix.lower(), f"begins with {head[:16]!r}" if head else "empty")
    raise InputError(f"{path}: {what}; expected HDF5 (MATLAB 7.3, too) or NPZ, or correct {KEY} in run.toml")


def _npz(path: Path, stack: contextlib.ExitStack) -> Members:
    archive = stack.enter_context(zipfile.ZipFile(path))
    names = archive.namelist()
    found: list[tuple[str, Callable[[], Member]]] = [
        (name.removesuffix(".npy"), functools.partial(_npy, path, archive.getinfo(name), archive, stack))
        for name in dict.fromkeys(names)
        if name.endswith(".npy")
    ]
    if not found:
        ends = {name.rpartition("/")[2] for name in names}
        if "data.pkl" in ends:
            what = _TORCH
        elif "[Content_Types].xml" in ends:
            what = f"a spreadsheet (.xlsx) or another document; save one-hot sequences and labels with {SAVEZ}"
        elif ends & {"zarr.json", ".zgroup", ".zarray"}:
            what = _SUFFIXES[".zarr"]
        else:
            what = f"a zip archive without an array (.npy); save sequences and labels with {SAVEZ}"
        raise InputError(f"{path}: {what}, or correct {KEY} in run.toml")
    return Members(path, found)


def _npy(path: Path, entry: zipfile.ZipInfo, archive: zipfile.ZipFile, stack: contextlib.ExitStack) -> Member:
    name = entry.filename.removesuffix(".npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("an array packed in a way that numpy does not use")
    packed = 1 if entry.compress_type == zipfile.ZIP_STORED else PACKED
    if entry.header_offset + entry.compress_size > path.stat().st_size or entry.file_size > packed * (
        entry.compress_size + 1
    ):
        raise ValueError(f"an array of {entry.file_size} bytes, by the archive, in a file too small for it")
    stream = stack.enter_context(archive.open(entry))
    shape, fortran, dtype = _npy_header(stream)
    if dtype.hasobject:
        raise InputError(
            f"{path}: {name} holds Python objects (a pickle), which could execute anything and are not read; save it "
            "as numbers, or as strings of a fixed width"
        )
    begin, size = stream.tell(), dtype.itemsize * math.prod(shape)
    if min(shape, default=0) < 0 or begin + size != entry.file_size:
        raise ValueError(f"shape {shape} of {dtype} takes {size} bytes, there are {entry.file_size - begin}")
    shape = shape or (1,)
    if fortran and len(shape) > 1:  # every row is all over the array
        return Member(shape, dtype, functools.partial(_fortran_rows, stream, begin, shape, dtype), together=shape[0])
    return Member(shape, dtype, functools.partial(_rows, stream, begin, shape, dtype))


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"an array of NPY version {version}")
    raw = stream.read(2 if version == (1, 0) else 4)
    size = int.from_bytes(raw, "little")
    if size > HEADER_BYTES:
        raise ValueError(f"a description of {size} bytes")
    shape, fortran, dtype = _HEADERS[version](io.BytesIO(raw + stream.read(size)))
    return shape, fortran, dtype


def _rows(stream: Any, begin: int, shape: tuple[int, ...], dtype: np.dtype[Any], start: int, stop: int) -> np.ndarray:
    """Rows of an array in a zip file: what lies between is unpacked and thrown away, so rows are best read in order."""
    size = dtype.itemsize * math.prod(shape[1:])
    stream.seek(begin + start * size)
    raw = stream.read((stop - start) * size)
    if len(raw) < (stop - start) * size:
        raise EOFError("an array ends early")
    return np.ndarray((stop - start, *shape[1:]), dtype, raw)


def _fortran_rows(
    stream: Any, begin: int, shape: tuple[int, ...], dtype: np.dtype[Any], start: int, stop: int
) -> np.ndarray:
    """Likewise where the first axis is the fastest: the array is passed over once, whatever rows are wanted."""
    columns = [
        _rows(stream, begin + column * shape[0] * dtype.itemsize, shape[:1], dtype, start, stop)
        for column in range(math.prod(shape[1:]))
    ]
    return np.array(columns, dtype).T.reshape(stop - start, *shape[1:], order="F")


def _hdf5(path: Path, stack: contextlib.ExitStack) -> Members:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: HDF5 needs h5py: pip install 'satori-hpc[arrays]', or save the arrays as NPZ"
        ) from None
    file = stack.enter_context(h5py.File(path, "r"))
    found: list[tuple[str, Callable[[], Member]]] = []
    files: list[Path] = []
    groups: list[tuple[str, Any, set[int]]] = [("", file, set())]
    for above, group, around in groups:
        address = h5py.h5o.get_info(group.id).addr
        for name in group if address not in around else ():
            if len(found) + len(groups) > MANY:
                raise InputError(f"{path}: more than {MANY} arrays and groups; keep those that are needed in a file")
            try:
                item = _follow(path, group, name, LINKS)
            except Exception as error:  # told if it is asked for
                found.append((above + name, functools.partial(_raise, error)))
                continue
            if isinstance(item, h5py.Group):
                groups.append((f"{above}{name}_", item, around | {address}))
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                found.append((above + name, functools.partial(_dataset, path, item, stack, files)))
    return Members(path, found, functools.partial(_attribute, file), files)


def _raise(error: Exception) -> Member:
    raise error


def _follow(path: Path, group: Any, name: str, links: int) -> Any:
    """What a name in a group of HDF5 stands for, soft links followed within the file."""
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise InputError(
            f"{path}: {name} is a link to another file ({link.filename[:80]}), which is not followed; give that file "
            f"in {KEY}, or copy the array (h5copy)"
        )
    if not isinstance(link, h5py.SoftLink):
        return group[name]
    item = None if not links else _reach(path, group, link.path, links - 1)
    if item is None:
        raise InputError(f"{path}: {name} is a link to {link.path[:80]}, which is not there; correct it")
    return item


def _reach(path: Path, group: Any, place: str, links: int) -> Any:
    """Return the item at a path such as /a/b or b; None: there is none."""
    import h5py

    item = group.file if place.startswith("/") else group
    for step in place.split("/"):
        if step not in ("", "."):
            if not isinstance(item, h5py.Group) or item.get(step, getlink=True) is None:
                return None
            item = _follow(path, item, step, links)
    return item


def _attribute(item: Any, name: str) -> Member | None:
    if name not in item.attrs:
        return None
    kind = item.attrs.get_id(name)
    values = _numbers_or_texts(kind.dtype, lambda: item.attrs[name])
    return Member(tuple(kind.shape) or (1,), kind.dtype, lambda start, stop: values()[start:stop], name=name)


def _dataset(path: Path, item: Any, stack: contextlib.ExitStack, files: list[Path]) -> Member:
    shape, chunks = tuple(item.shape), item.chunks or (1,) * len(item.shape)
    attribute = functools.partial(_attribute, item)
    turned = "MATLAB_class" in item.attrs  # MATLAB counts axes from the other end: all of them stand in reverse order
    if item.is_virtual:
        files += _check_virtual(path, item, stack)
    else:
        _check_stored(path, item, axis=-1 if turned else 0)

    def rows(start: int, stop: int) -> np.ndarray:
        if not shape:
            return _numbers_or_texts(item.dtype, lambda: item[()])()
        if turned:
            return _numbers_or_texts(item.dtype, lambda: item[..., start:stop].T)()
        return _numbers_or_texts(item.dtype, lambda: item[start:stop])()

    whole, together = (shape[::-1], chunks[-1]) if turned and shape else (shape or (1,), max(chunks[:1], default=1))
    return Member(whole, item.dtype, rows, together, attribute)


def _numbers_or_texts(dtype: np.dtype[Any], read: Callable[[], Any]) -> Callable[[], np.ndarray]:
    """What reads an array of HDF5: strings of variable length in a process of their own.

    HDF5 keeps those in heaps, and where one is damaged, its library goes round in it for ever.
    """
    import h5py

    if not dtype.hasobject:
        return lambda: np.atleast_1d(read())
    if h5py.check_string_dtype(dtype) is None:
        raise ValueError(f"it holds {h5py.check_dtype(vlen=dtype) or 'references'}, not numbers or names")
    return lambda: np.array(_apart(lambda: [_text(each) for each in np.ravel(read()).tolist()]), dtype=object)


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _apart(read: Callable[[], list[str]]) -> list[str]:
    """Run a function in a process of its own, which may take APART_BYTES and APART_SECONDS."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(read, sender), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(APART_SECONDS):
            raise ValueError("strings of variable length that are damaged: reading them does not come to an end")
        told, texts = json.loads(receiver.recv_bytes(APART_BYTES))
    except EOFError:
        raise ValueError("strings of variable length that are damaged: reading them ended the process") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if told:
        raise ValueError(told)
    return list(texts)


def _send(read: Callable[[], list[str]], sender: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is told to the parent, too
    most = psutil.Process().memory_info().vms + APART_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        answer = ["", read()]
    except Exception as error:
        answer = [str(error) or type(error).__name__, []]
    sender.send_bytes(json.dumps(answer).encode())


def _check_stored(path: Path, item: Any, *, axis: int = 0) -> None:
    """Refuse a dataset whose numbers are elsewhere, incomplete, or fewer than it says; `axis`: that of the examples."""
    import h5py

    where, shape = f"{path}: {item.name[:80]}", tuple(item.shape)
    properties = item.id.get_create_plist()
    if properties.get_external_count():
        raise InputError(
            f"{where} keeps its numbers in another file ({os.fsdecode(properties.get_external(0)[0])[:80]}), which is "
            "not read; copy it into the file (h5repack)"
        )
    for number in range(properties.get_nfilters()):
        code, _, _, label = properties.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                f"{where} is packed by filter {code} ({os.fsdecode(label)[:40]}), which this HDF5 does not have; pack "
                "it with gzip (h5repack -f GZIP=4), or install the filter (pip install hdf5plugin) and set "
                "HDF5_PLUGIN_PATH"
            )
    count, stored = math.prod(shape), item.id.get_storage_size()
    if not count:
        return
    if properties.get_layout() == h5py.h5d.CHUNKED:
        _check_chunks(where, item, axis)
    elif not stored:
        raise InputError(f"{where} was never written (by a writer that was killed?); write the file again")
    elif stored < count * item.id.get_type().get_size():
        raise ValueError(f"shape {shape} of {item.dtype} takes more than the {stored} bytes that are there")


def _check_chunks(where: str, item: Any, axis: int) -> None:
    shape, chunks = tuple(item.shape), tuple(item.chunks)
    size = math.prod(chunks) * item.id.get_type().get_size()
    if size > CHUNK_BYTES:
        raise InputError(
            f"{where} is stored in chunks of {chunks}, {memory.show(size)} that must be unpacked together; expected at "
            f"most {memory.show(CHUNK_BYTES)}: store it in smaller ones, such as h5repack -l "
            f"{item.name.strip('/')}:CHUNK={'x'.join(str(min(n, 1000)) for n in chunks)}"
        )
    along = [-(-length // chunk) for length, chunk in zip(shape, chunks, strict=True)]
    expected, there = math.prod(along), item.id.get_num_chunks()
    if there >= expected:
        packed = item.id.get_chunk_info(0).size
        if size > packed * (PACKED if item.id.get_create_plist().get_nfilters() else 1):
            raise ValueError(f"chunks of {size} bytes in {packed}")
        return
    written: Counter[int] = Counter()
    item.id.chunk_iter(lambda chunk: written.update([chunk.chunk_offset[axis] // chunks[axis]]))
    first = next(row for row in range(there + 1) if written[row] < expected // along[axis])
    raise InputError(
        f"{where}: {expected - there} of its {expected} chunks were never written (by a writer that was killed?), the "
        f"first at row {first * chunks[axis]}; write the file again"
    )


def _check_virtual(path: Path, item: Any, stack: contextlib.ExitStack) -> list[Path]:
    """Open the files that a virtual dataset is put together from; HDF5 reads zeros where one is missing.

    Raises:
        InputError: one is missing, incomplete or not in the folder of the file, or parts of the dataset have none.
    """
    import h5py

    where, files, mapped = f"{path}: the virtual dataset {item.name[:80]}", set(), 0
    for source in item.virtual_sources():
        shown, other = source.file_name[:80], path.parent / source.file_name
        if source.file_name in (".", path.name):
            file = item.file
        elif path.parent.resolve() not in other.resolve().parents:
            raise InputError(
                f"{where} has sources outside of its folder ({shown}), which are not read; copy them there"
            )
        elif not other.is_file():
            raise InputError(f"{where} has sources that are not there ({shown}); copy them into {path.parent}")
        else:
            with told(other):
                file = stack.enter_context(h5py.File(other, "r"))
            files.add(other)
        name, found = source.dset_name, _reach(other, file, f"/{source.dset_name}", LINKS)
        count = source.vspace.get_select_npoints()
        mapped += count
        if not isinstance(found, h5py.Dataset) or found.is_virtual or found.shape is None:
            raise InputError(f"{where} has a source that is no dataset of its own ({name[:80]} of {shown}); correct it")
        _check_stored(other, found)
        if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
            inside = math.prod(found.shape) == count
        else:
            last = source.src_space.get_select_bounds()[1]
            inside = len(last) == len(found.shape) and all(a < b for a, b in zip(last, found.shape, strict=True))
        if not inside:
            raise InputError(f"{where} is larger than its source {name[:80]} of {shown}; correct it")
    if mapped < math.prod(item.shape):
        raise InputError(f"{where} has parts without a source; correct it")
    return sorted(files)


# One-hot sequences with labels, in arrays: the layouts of Basset and DeepSEA, and plain pairs of arrays.

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
            members = stack.enter_context(opened_file(path))
            found = _parts(path, members, letters)
            parts += found
            names = names or _target_names(members, found)
            files += members.files
        _check_together(parts)
        if targets is not None:
            names = [line.strip() for _, line in run_files.lines(targets, key="[prepare.arrays] targets")]
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


def read_blocks(
    part: Part, *, unknown: int | None, budget: int = BLOCK_BYTES
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read a part in order, some sequences at a time.

    Args:
        part: of an open set.
        unknown: the label that stands for not known.
        budget: bytes that a block of one-hot numbers may take if BLOCK_BYTES are too many; chunks may take more.

    Yields:
        (first row, tokens uint8 (rows, length), labels uint8 (rows, targets)).

    Raises:
        InputError: a column is not one-hot, or a label is not 0 or 1: all of the block, with rows and positions.
    """
    size = 4 * part.length * part.x.dtype.itemsize
    rows = max(1, min(BLOCK_BYTES, budget) // size)
    # Whole stored chunks, so that none is unpacked twice, unless one of them is much larger than a block should be.
    together = part.x.together if part.x.together * size <= 8 * min(BLOCK_BYTES, budget) else 1
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
    tokens, wrong = sequence.decode_one_hot(columns, letters=part.letters)
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
            f"y, or one_hot and labels; it holds {members}; rename the arrays, or correct {KEY} in run.toml"
        )
    return found


def _check_shapes(path: Path, x: Member, y: Member) -> int:
    """Check shapes; return the length of the sequences."""
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
        with told(path, member.name):
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


NAME = 256  # bytes of a sequence's name and of what it is looked up by
BLOCK_COPIES = 8  # of a block of one-hot numbers while it is read
SPLIT_NAMES = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "val": 1, "test": 2}


def make(run: Run, runtime: Runtime) -> Source:
    """Read all parts, block by block, to disk; in their own split, or all in one.

    Raises:
        InputError: the files cannot be used, or have no parts where [prepare] split = "given".
        SatoriError: what is kept of every sequence does not fit into memory.
    """
    config, budget = run.config.prepare.arrays, MemoryBudget.of(runtime)
    assert config is not None
    paths = [run.resolve(name) for name in config.files]
    targets = None if config.targets is None else run.resolve(config.targets)
    letters = config.letters and config.letters.replace("U", "T")  # of RNA
    with opened(paths, letters=letters, targets=targets) as found:
        first = found.parts[0]
        check_length(run, first.length, path=first.path)
        if first.targets == 1 and config.unknown is not None:
            raise InputError(f"{first.path}: one label, so none can be unknown; remove [prepare.arrays] unknown")
        count = sum(part.examples for part in found.parts)
        budget.check(of_examples(count, length=first.length, each=EXAMPLE + NAME))
        split = _given(run, found)
        names = _names(found)
        tokens = RowFile(run.dataset_parts / "tokens", (np.uint8, (first.length,)))
        labels = RowFile(run.dataset_parts / "labels", (np.uint8, (first.targets,)))
        digest, no_letters, unknown = [], 0, 0
        for part in found.parts:
            blocks = read_blocks(part, unknown=config.unknown, budget=budget.max_rows(1) // BLOCK_COPIES)
            for _, some_tokens, some_labels in progress(blocks, what=part.name or "arrays", unit="block"):
                tokens.append(some_tokens)
                labels.append(some_labels)
                digest.append(splits.digests(some_tokens))
                no_letters += int((some_tokens == sequence.N).sum())
                unknown += int((some_labels == UNKNOWN).sum())
        orders = {part.x_name: part.letters for part in found.parts}
    digests_of = np.concatenate(digest)
    places = _places(names, first.length)
    if split is None:
        split = np.zeros(len(names), dtype=np.uint8)
    elif not (split == splits.VALID).any() and (learns := split == splits.TRAIN).any():
        equal = splits.by_appearance(splits.group_digests(digests_of[learns]))
        overlapping = splits.group_overlapping(
            *(each[learns] for each in (places.chrom.codes, places.start, places.end))
        )
        for groups in (splits.join_groups(equal, overlapping), equal):  # where nearly all overlap, equal ones alone
            split[learns] = splits.hold_out(
                groups, valid_fraction=run.config.prepare.valid_fraction, seed=run.config.seed
            )
            if (split == splits.VALID).any():
                break
    whole = Examples(
        tokens=tokens,
        labels=labels,
        names=names,
        targets=found.targets,
        split=split,
        coordinates=places,
    )
    summary: dict[str, Any] = {
        "letters": orders,
        "letters_not_ACGT": no_letters,
        "labels_unknown": unknown,
        "sources": digests(found.files),
    }
    return Source(whole, summary, groups=splits.by_appearance(splits.group_digests(digests_of)))


def _given(run: Run, found: Arrays) -> np.ndarray | None:
    """uint8 (examples,): the part that each is in; None when [prepare] splits them otherwise."""
    if run.config.prepare.split != "given":
        return None
    split = np.empty(sum(part.examples for part in found.parts), dtype=np.uint8)
    done = 0
    for part in found.parts:
        rows = slice(done, done + part.examples)
        split[rows] = dataset.SPLITS.index(part.name) if part.name else _named(run, part)
        done = rows.stop
    return split


def _named(run: Run, part: Part) -> list[int]:
    if part.split is None:
        raise InputError(
            f"{part.path}: {part.x_name} is one set, and there is no array split (0, 1, 2 or train, valid, test per "
            f"sequence); add it, or set split = 'random' in [prepare] of {run.config_file}"
        )
    problems = Problems(f"{part.path}: the array split cannot be used:")
    names = part.texts(part.split)
    for row, name in enumerate(names):
        if name.lower() not in SPLIT_NAMES:
            problems.add(f"row {row}: {name[:40]!r}; expected 0, 1, 2 or train, valid, test")
    problems.raise_any()
    return [SPLIT_NAMES[name.lower()] for name in names]


def _names(found: Arrays) -> list[str]:
    """Headers where the files have them, else part and row."""
    names: list[str] = []
    for part in found.parts:
        if part.headers is not None:
            names += part.texts(part.headers)
        else:
            names += [f"{part.name or 'row'}_{row}" for row in range(part.examples)]
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    problems = Problems(f"{found.parts[0].path}: headers name several sequences each; give every one its own:")
    for name in repeated:
        problems.add(name[:80])
    problems.raise_any()
    return names


def _places(names: list[str], length: int) -> Coordinates:
    """Coordinates told by headers CHROM:START-END(STRAND); other sequences lie on a chromosome of their own name."""
    numbers: dict[str, int] = {}
    chrom, start, end = (np.empty(len(names), dtype=np.int64) for _ in range(3))
    strand, told = np.empty(len(names), dtype=np.int8), np.empty(len(names), dtype=bool)
    for row, name in enumerate(names):
        found = fasta.interval(name)
        place = found or fasta.Interval(name, 0, length, 1)
        told[row] = found is not None
        chrom[row] = numbers.setdefault(place.chrom, len(numbers))
        start[row], end[row], strand[row] = place.start, place.end, place.strand
    rows = np.flatnonzero(told)
    start[rows], _ = fasta.from_zero(start[rows], end[rows], length=length, shown=lambda place: names[rows[place]][:80])
    return Coordinates(Coded(list(numbers), chrom), start, end, strand)
