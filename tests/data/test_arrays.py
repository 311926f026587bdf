"""One-hot arrays: every layout, read in blocks, and those that cannot be used."""

import fcntl
import io
import logging
import os
import pickle
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.data.sources import arrays
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import InputError

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'satori-hpc[arrays]'")
LENGTH = 30


def one_hot(tokens: np.ndarray, order: str = "ACGT") -> np.ndarray:
    """uint8 (E, 4, L); N is all zero."""
    return (tokens[:, None, :] == np.array(["ACGT".index(letter) for letter in order])[:, None]).astype(np.uint8)


def some(count: int, targets: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (count, LENGTH)).astype(np.uint8), rng.integers(0, 2, (count, targets)).astype(np.uint8)


def h5(path: Path, **members: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in members.items():
            file[name] = values
    return path


def read(*paths: Path, letters=None, targets=None, unknown=None) -> tuple[dict, list[str]]:
    """{part: (tokens, labels)} and the names of the labels."""
    found = {}
    with arrays.opened(paths, letters=letters, targets=targets) as opened:
        for part in opened.parts:
            if part.headers is not None:
                assert len(part.texts(part.headers)) == part.examples
            made = list(arrays.read_blocks(part, unknown=unknown))
            assert [first for first, _, _ in made] == np.cumsum([0, *(len(rows) for _, rows, _ in made[:-1])]).tolist()
            found[part.name] = tuple(np.concatenate([block[side] for block in made]) for side in (1, 2))
        return found, opened.targets


LAYOUTS = {
    "(N, 4, L)": lambda x: x,
    "(N, L, 4)": lambda x: x.transpose(0, 2, 1),
    "(N, 4, 1, L)": lambda x: x[:, :, None, :],
    "(N, 1, 4, L)": lambda x: x[:, None],
    "(N, L, 1, 4)": lambda x: x.transpose(0, 2, 1)[:, :, None],
    "float32": lambda x: x.astype(np.float32),
    "N = 0.25": lambda x: np.where(x.any(axis=1, keepdims=True), x, 0.25),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["hdf5", "npz", "npz, packed", "npz, Fortran order"])
@pytest.mark.parametrize("block", [1, 2**25])
def test_every_layout_of_every_format_gives_the_same(tmp_path, monkeypatch, layout, kind, block):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block)
    tokens, labels = some(23)
    x = LAYOUTS[layout](one_hot(tokens))
    path = tmp_path / "file"
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("train_in", data=x, chunks=(5, *x.shape[1:]))
            file["train_out"] = labels
    else:
        x = np.asfortranarray(x) if "Fortran" in kind else np.ascontiguousarray(x)
        save = np.savez_compressed if "packed" in kind else np.savez
        save(tmp_path / "file.npz", train_in=x, train_out=labels)
        path = tmp_path / "file.npz"
    found, targets = read(path)
    np.testing.assert_array_equal(found["train"][0], tokens)
    np.testing.assert_array_equal(found["train"][1], labels)
    assert found["train"][0].dtype == found["train"][1].dtype == np.uint8
    assert targets == ["0", "1", "2"]


PAIRS = [
    ("{}_in", "{}_out"),
    ("{}_x", "{}_y"),
    ("x_{}", "Y_{}"),
    ("{}/one_hot", "{}/labels"),
]


@pytest.mark.parametrize("names", PAIRS)
def test_parts_are_told_by_the_names_of_arrays(tmp_path, names):
    members, expected = {}, {}
    for seed, part in enumerate(("train", "val", "test")):
        tokens, labels = some(5 + seed, seed=seed)
        members |= {names[0].format(part): one_hot(tokens), names[1].format(part): labels}
        expected["valid" if part == "val" else part] = tokens
    found, _ = read(h5(tmp_path / "a.h5", **members))
    assert list(found) == ["train", "valid", "test"]
    for part, tokens in expected.items():
        np.testing.assert_array_equal(found[part][0], tokens)


def test_deepsea(tmp_path):
    """Three files; the largest by MATLAB 7.3, which turns all axes; letters stand in the order A, G, C, T."""
    sets = {part: some(6 + seed, seed=seed) for seed, part in enumerate(("train", "valid", "test"))}
    with h5py.File(tmp_path / "train.mat", "w", userblock_size=512) as file:
        for name, values in (("trainxdata", one_hot(sets["train"][0], "AGCT")), ("traindata", sets["train"][1])):
            made = file.create_dataset(name, data=values.T, chunks=values.T.shape[:-1] + (4,))
            made.attrs["MATLAB_class"] = np.bytes_(b"uint8")
    for part in ("valid", "test"):
        tokens, labels = sets[part]
        np.savez(tmp_path / f"{part}.npz", **{f"{part}xdata": one_hot(tokens, "AGCT"), f"{part}data": labels})
    paths = [tmp_path / "train.mat", tmp_path / "valid.npz", tmp_path / "test.npz"]
    found, _ = read(*paths)
    for part, (tokens, labels) in sets.items():
        np.testing.assert_array_equal(found[part][0], tokens)
        np.testing.assert_array_equal(found[part][1], labels)
    otherwise, _ = read(*paths, letters="ACGT")
    np.testing.assert_array_equal(otherwise["test"][0], np.array([0, 2, 1, 3, 4])[sets["test"][0]])


def test_names_of_labels(tmp_path):
    tokens, labels = some(5)
    members = {"x": one_hot(tokens), "y": labels}
    path = h5(tmp_path / "a.h5", **members, target_labels=np.array([b"liver", b"brain", "Zellk\u00f6rper".encode()]))
    assert read(path)[1] == ["liver", "brain", "Zellkörper"]
    (tmp_path / "names.txt").write_text("a\nb\n\nc c\n")
    assert read(path, targets=tmp_path / "names.txt")[1] == ["a", "b", "c c"]
    with h5py.File(h5(tmp_path / "b.h5", **members), "a") as file:
        file["y"].attrs["target_names"] = ["k", "l", "m"]
    assert read(tmp_path / "b.h5")[1] == ["k", "l", "m"]
    np.savez(tmp_path / "c.npz", **members, targets=np.array(["u", "v", "w"]))
    assert read(tmp_path / "c.npz")[1] == ["u", "v", "w"]
    np.savez(tmp_path / "d.npz", x=members["x"], y=labels[:, 0])
    assert read(tmp_path / "d.npz")[1] == ["label"]
    (tmp_path / "names.txt").write_text("a\na\nb\n")
    with pytest.raises(InputError, match=r"names.txt: 3 names of labels \(2 different\) for the 3"):
        read(path, targets=tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"1 names of labels.*for the 3 labels of y"):
        read(path, targets=tmp_path / "names.txt")


def test_unknown_labels_are_read_when_their_number_is_named(tmp_path):
    tokens, labels = some(5)
    values = labels.astype(np.int8)
    values[3, 1] = -1
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=values)
    found, _ = read(tmp_path / "a.npz", unknown=-1)
    assert found[""][1][3, 1] == UNKNOWN
    with pytest.raises(InputError, match=r"y, row 3, label 1: -1; expected 0 or 1.*unknown"):
        read(tmp_path / "a.npz")


def test_columns_that_are_not_letters_are_told_with_row_and_position(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 4 * 4 * LENGTH * 4)
    tokens, labels = some(10)
    x = one_hot(tokens).astype(np.float32)
    x[6, :, 11] = [0.9, 0.1, 0, 0]
    x[6, :, 12] = [1, 1, 0, 0]
    with pytest.raises(InputError, match=r"row 6, position 11: \[0.89.*\n.*row 6, position 12: \[1.0, 1.0"):
        read(h5(tmp_path / "a.h5", x=x, y=labels))


def bad(name: str, folder: Path) -> Path:
    tokens, labels = some(6)
    x = one_hot(tokens)
    members = {
        "names": {"sequences": x, "labels": labels},
        "letters": {"x": np.zeros((6, 5, LENGTH)), "y": labels},
        "two axes of 4": {"x": np.zeros((6, 4, 4)), "y": labels},
        "flat": {"x": tokens, "y": labels},
        "counts": {"x": x, "y": labels[:5]},
        "labels of three axes": {"x": x, "y": np.zeros((6, 2, 2))},
        "text": {"x": x, "y": np.array([b"1"] * 6)},
        "nan": {"x": x, "y": np.full((6, 3), np.nan)},
        "lengths": {"train_in": x, "train_out": labels, "test_in": x[:, :, :20], "test_out": labels},
        "both": {"train_in": x, "train_out": labels, "x": x, "y": labels},
        "twice": {"train_in": x, "train_out": labels, "x_train": x, "y_train": labels},
        "headers": {"x": x, "y": labels, "headers": np.array([b"a"] * 4)},
        "empty": {"x": x[:0], "y": labels[:0]},
    }
    return h5(folder / "bad.h5", **members[name])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("names", r"no arrays of sequences and labels.*it holds labels \(6, 3\), sequences \(6, 4, 30\)"),
        ("letters", r"x has shape \(6, 5, 30\); expected \(sequences, 4, length\)"),
        ("two axes of 4", r"x has shape \(6, 4, 4\)"),
        ("flat", r"x has shape \(6, 30\)"),
        ("counts", r"y \(5, 3\); expected as many sequences as rows of labels"),
        ("labels of three axes", r"y has shape \(6, 2, 2\); expected \(sequences, labels\)"),
        ("text", "y holds .S1; expected numbers"),
        ("nan", "y, row 0, label 0: nan; expected 0 or 1"),
        ("lengths", "test_in has 20 bp and 3 labels, train_in 30 bp and 3"),
        ("both", "x beside train_in: give parts, or all in one"),
        ("twice", "x_train: there is a train set in another array"),
        ("headers", "4 headers for the 6 sequences of x"),
        ("empty", "expected as many sequences as rows"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(tmp_path, name, what):
    path = bad(name, tmp_path)
    with pytest.raises(InputError, match=what) as error:
        read(path)
    assert str(path) in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"no such file; correct \[prepare.arrays\] files"):
        read(tmp_path / "nothing.h5")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match=r"text: begins with b'hello'; expected HDF5 .*or NPZ"):
        read(tmp_path / "text")
    tokens, labels = some(3000)
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=labels)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "cut.npz")
    (tmp_path / "changed.npz").write_bytes(whole[:5000] + b"\x01\x02" + whole[5002:])
    with pytest.raises(InputError, match=r"cannot be read \(Bad CRC-32"):
        read(tmp_path / "changed.npz")
    whole = h5(tmp_path / "a.h5", x=one_hot(tokens), y=labels).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "cut.h5")


def test_without_h5py_hdf5_is_refused_and_npz_is_read(tmp_path, monkeypatch):
    tokens, labels = some(4)
    path = h5(tmp_path / "a.h5", x=one_hot(tokens), y=labels)
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=labels)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"needs h5py: pip install 'satori-hpc\[arrays\]'"):
        read(path)
    assert read(tmp_path / "a.npz")[0][""][0].shape == (4, LENGTH)


class Trap:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("at", ["x", "y", "target_names"])
def test_a_pickle_is_never_executed(tmp_path, at):
    tokens, labels = some(4)
    members = {"x": one_hot(tokens), "y": labels, at: np.array([Trap(tmp_path / "sprung")] * 4, dtype=object)}
    if at == "x":
        members["x"] = np.broadcast_to(members["x"][:, None, None], (4, 4, LENGTH))
    np.savez(tmp_path / "a.npz", **members)
    assert pickle.dumps(Trap(tmp_path / "x"))
    with pytest.raises(InputError, match=f"{at} holds Python objects"):
        read(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_names_with_paths_in_a_zip_file_do_nothing(tmp_path):
    tokens, labels = some(4)
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=labels)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("../../evil.txt", "x")
    assert read(tmp_path / "a.npz")[0][""][0].shape == (4, LENGTH)


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_memory_is_that_of_a_block(tmp_path, monkeypatch, kind):
    """16 MB of one-hot numbers in blocks of 256 kB."""
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2**18)
    tokens = np.random.default_rng(0).integers(0, 4, (4_000, 250)).astype(np.uint8)
    members = {"x": one_hot(tokens).astype(np.float32), "y": tokens[:, 0] % 2}
    if kind == "npz":
        path = tmp_path / "a.npz"
        np.savez_compressed(path, **members)
    else:
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=members["x"], chunks=(50, 4, 250), compression="gzip", compression_opts=1)
            file["y"] = members["y"]
    del members
    tracemalloc.start()
    with arrays.opened([path], letters=None, targets=None) as opened:
        for first, some_tokens, _ in arrays.read_blocks(opened.parts[0], unknown=None):
            np.testing.assert_array_equal(some_tokens, tokens[first : first + len(some_tokens)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_members_say_what_is_stored_together(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((20, 4, 8)), chunks=(7, 4, 8))
    with arrays.opened_file(tmp_path / "a.h5") as members:
        assert members.get("x").together == 7


def npz(path: Path, **members: bytes) -> Path:
    """A zip file of members as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(shape: tuple[int, ...], descr: str = "|u1", content: bytes = b"", version=(1, 0)) -> bytes:
    """What numpy writes of an array, with any content behind."""
    made = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(made, {"descr": descr, "fortran_order": False, "shape": shape})
    return made.getvalue() + content


KINDS = {
    "set.npy": (npy((2, 4, 30)), r"a single array \(.npy\); save .* numpy.savez\('set.npz', x=..., y=...\)"),
    "set.mat": (
        b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
        r"a MATLAB file before version 7.3.*'-v7.3'.*scipy.io.loadmat",
    ),
    "four.mat": (b"\0\0\0\0\x0a\0\0\0", r"a MATLAB file before version 7.3"),
    "old.pt": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M", "a PyTorch file; save its tensors"),
    "set.h5": (pickle.dumps({"x": 1}), "a pickle of Python, which could execute anything"),
    "set.joblib": (b"x\x9c\x01\x02", "a pickle of Python"),
    "set.parquet": (b"PAR1\x15", "a Parquet table"),
    "set.xls": (b"\xd0\xcf\x11\xe0", r"a spreadsheet \(.xls\)"),
    "set.h5.gz": (b"\x1f\x8b\x08\0", "packed by gzip; unpack it"),
    "set.fa": (b">a\nACGT\n", "FASTA; give it to satori-hpc new --template fasta"),
    "page.h5": (b"<!DOCTYPE html>", "a web page"),
    "lfs.h5": (b"version https://git-lfs.github.com/spec/v1", r"git lfs pull"),
    "empty.npz": (b"", r"empty; expected HDF5 \(MATLAB 7.3, too\) or NPZ"),
    "set.csv": (b"x,y\n1,2\n", r"begins with b'x,y.*; expected HDF5"),
}


@pytest.mark.parametrize("name", KINDS)
def test_files_of_other_kinds_are_called_what_they_are(tmp_path, name):
    content, what = KINDS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=what) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("members", "what"),
    [
        (["set/data.pkl", "set/data/0", "set/version"], "a PyTorch file; save its tensors"),
        (["[Content_Types].xml", "xl/workbook.xml"], r"a spreadsheet \(.xlsx\)"),
        (["x/.zarray", "x/0.0"], "a Zarr store"),
        (["notes.txt"], r"a zip archive without an array \(.npy\)"),
        ([], r"a zip archive without an array \(.npy\)"),
    ],
)
def test_zip_files_of_other_kinds_are_called_what_they_are(tmp_path, members, what):
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        for name in members:
            archive.writestr(name, "x")
    with pytest.raises(InputError, match=what):
        read(tmp_path / "set.npz")


def test_what_is_no_file_is_called_what_it_is(tmp_path):
    (tmp_path / "set.zarr").mkdir()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("set.zarr", "a Zarr store"), ("folder", "a folder"), ("pipe", "not a regular file")):
        with pytest.raises(InputError, match=what):
            read(tmp_path / name)


def test_a_locked_file_is_told_as_locked(tmp_path):
    tokens, labels = some(4)
    path = h5(tmp_path / "a.h5", x=one_hot(tokens), y=labels)
    with open(path, "r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"it is locked: .*HDF5_USE_FILE_LOCKING=FALSE"):
            read(path)
    assert read(path)[0][""][0].shape == (4, LENGTH)


@pytest.mark.parametrize("value", [0, 0.25])
@pytest.mark.parametrize("order", ["(N, 4, L)", "(N, L, 4)"])
def test_sequences_without_any_letter_are_refused(tmp_path, value, order):
    tokens, labels = some(60)
    tokens[:, 0] = 1
    x = LAYOUTS[order](one_hot(tokens).astype(np.float32))
    x[:] = value
    np.savez(tmp_path / "a.npz", x=x, y=labels)
    with pytest.raises(InputError, match="x: no letter in any sequence"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("block", [1, 1000, 2**25])
def test_rows_that_a_killed_writer_left_are_named(tmp_path, monkeypatch, block):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block)
    tokens, labels = some(60)
    tokens[:, 0] = 1
    tokens[[7, 8, 9, 20]] = 4
    tokens[30:] = 4
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=labels)
    with pytest.raises(InputError, match=r"x: 34 of 60 sequences hold no letter at all: rows 7-9, 20, 30-59 "):
        read(tmp_path / "a.npz")


def test_a_gap_of_the_genome_is_told_and_kept(tmp_path, caplog):
    tokens, labels = some(200)
    tokens[:, 0] = 1
    tokens[120:122] = 4
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=labels)
    with caplog.at_level(logging.WARNING, logger="satori_hpc"):
        found, _ = read(tmp_path / "a.npz")
    assert found[""][0][120:122].tolist() == [[4] * LENGTH] * 2
    assert "2 of 200 sequences hold no letter at all: rows 120-121" in caplog.text


def test_zeros_by_the_gigabyte_are_refused_after_some_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MANY_EMPTY", 100)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 4 * LENGTH * 50)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((30_000, 4, LENGTH), np.uint8), y=np.zeros(30_000))
    with pytest.raises(InputError, match="350 of 350 sequences hold no letter at all: rows 0-349"):
        read(tmp_path / "a.npz")


VALUES = {
    "float16": lambda x: x.astype(np.float16),
    "float64, big-endian": lambda x: x.astype(">f8"),
    "int64, big-endian": lambda x: x.astype(">i8"),
    "bool": lambda x: x.astype(bool),
}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_numbers_of_every_kind_are_read(tmp_path, values, kind):
    tokens, labels = some(7)
    members = {"x": VALUES[values](one_hot(tokens)), "y": VALUES[values](labels)}
    path = tmp_path / "a.npz"
    np.savez(path, **members)
    found, _ = read(h5(tmp_path / "a.h5", **members) if kind == "hdf5" else path)
    np.testing.assert_array_equal(found[""][0], tokens)
    np.testing.assert_array_equal(found[""][1], labels)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"x": np.zeros(6, dtype=[("a", "f4"), ("b", "f4")])}, r"x holds .*'a'.*; expected numbers"),
        ({"x": np.zeros((6, 4, LENGTH), complex)}, "x holds complex128; expected numbers"),
        ({"x": np.zeros((6, 0, 4))}, r"x has shape \(6, 0, 4\)"),
        ({"x": np.zeros((6, 4, 0))}, r"x has shape \(6, 4, 0\)"),
        ({"x": np.array(1.0)}, r"x has shape \(1,\)"),
        ({"y": np.array(1.0)}, r"y \(1,\); expected as many"),
        ({"y": np.zeros((6, 0))}, "expected at least one label"),
        ({"y": np.zeros((6, 100_001), bool)}, "at most 100000"),
        ({"y": np.array([0, 1, 0, np.nan, 1, 1])}, "y, row 3, label 0: nan; expected 0 or 1"),
        ({"headers": np.array(["a" * 1001] * 6)}, "headers holds a name of 1001 letters"),
        ({"headers": np.zeros((6, 2))}, "12 headers for the 6 sequences of x"),
        ({"target_names": np.array(["a"] * 5)}, "5 target_names for the 3 labels of y"),
        ({"X": np.zeros(3)}, r"2 arrays are called x: (x, X|X, x) "),
    ],
)
@pytest.mark.parametrize("kind", ["hdf5", "npz"])
def test_arrays_of_other_shapes_and_kinds_are_refused(tmp_path, change, what, kind):
    tokens, labels = some(6)
    members = {"x": one_hot(tokens), "y": labels, **change}
    if kind == "hdf5":
        members = {name: values.astype("S") if values.dtype.kind == "U" else values for name, values in members.items()}
        path = h5(tmp_path / "a.h5", **members)
    else:
        np.savez(path := tmp_path / "a.npz", **members)
    with pytest.raises(InputError, match=what):
        read(path)


def test_many_wrong_columns_are_counted_not_listed(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((500, 4, LENGTH), 0.5), y=np.full(500, 7))
    with pytest.raises(
        InputError, match=r"x: 14990 more columns to row 499\n(.*\n)*.*y: 490 more labels to row 499"
    ) as error:
        read(tmp_path / "a.npz")
    assert len(str(error.value).splitlines()) == 1 + 10 + 1 + 10 + 1


@pytest.mark.parametrize(
    "x",
    [
        npy((30_000_000, 4, 1000)),
        npy((6, 4, LENGTH), content=b"\0" * 719),
        npy((6, 4, LENGTH), content=b"\0" * 721),
        npy((-6, -4, LENGTH), content=b"\0" * 720),
        npy((2**40, 4, 2**40, 0)),
        npy((6, 4, LENGTH), descr="<U300000000"),
        b"\x93NUMPY\x02\0" + (2**32 - 1).to_bytes(4, "little") + b" " * 1000,
        b"\x93NUMPY\x01\0" + (9000).to_bytes(2, "little") + b"(" * 9000,
        b"\x93NUMPY\x03\0v\0",
        b"",
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path, x):
    path = npz(tmp_path / "a.npz", x=x, y=npy((6,), content=b"\0\1\0\1\0\1"))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a.npz: x( and y do not|: cannot be read| has shape)"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_sizes_told_by_the_archive_are_compared_with_the_file(tmp_path):
    path = npz(tmp_path / "a.npz", x=npy((2**27,)), y=npy((2**27,)))
    whole = path.read_bytes()
    for old, claimed in ((len(npy((2**27,))), len(npy((2**27,))) + 2**27),):
        whole = whole.replace(old.to_bytes(4, "little") * 2, claimed.to_bytes(4, "little") * 2)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="in a file too small for it"):
        read(path)


def test_members_that_nobody_asks_for_are_not_read(tmp_path):
    """A bomb, a pickle and damage beside what is wanted."""
    tokens, labels = some(6)
    np.savez(tmp_path / "a.npz", x=one_hot(tokens), y=labels)
    with zipfile.ZipFile(tmp_path / "a.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", b"\0" * 2**25)
        archive.writestr("lie.npy", npy((2**40,)))
        archive.writestr("other.npy", npy((1,), descr="|O", content=pickle.dumps(Trap(tmp_path / "sprung"))))
    tracemalloc.start()
    found, _ = read(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    np.testing.assert_array_equal(found[""][0], tokens)


def test_links_within_the_file_are_followed_and_no_others(tmp_path):
    tokens, labels = some(6)
    h5(tmp_path / "other.h5", x=one_hot(tokens))
    with h5py.File(h5(tmp_path / "a.h5", data=one_hot(tokens)), "a") as file:
        file["deep/er/labels"] = labels
        file["deep/back"] = h5py.SoftLink("/")
        file["deep/self"] = file["deep"]
        file["loop"] = h5py.SoftLink("loop")
        file["x"] = h5py.SoftLink("/deep/back/data")
        file["y"] = h5py.SoftLink("deep/er/labels")
    found, _ = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(found[""][0], tokens)
    for link, what in (
        (h5py.ExternalLink("other.h5", "/x"), r"x is a link to another file \(other.h5\)"),
        (h5py.SoftLink("/out/x"), r"is a link to another file \(other.h5\)"),
        (h5py.SoftLink("/nothing"), "x is a link to /nothing, which is not there"),
        (h5py.SoftLink("/x"), "x is a link"),
    ):
        with h5py.File(tmp_path / "a.h5", "a") as file:
            del file["x"]
            file["x"] = link
            file.pop("out", None)
            file["out"] = h5py.ExternalLink("other.h5", "/")
        with pytest.raises(InputError, match=what):
            read(tmp_path / "a.h5")


def virtual(path: Path, source: str, shape=(6, 4, LENGTH), rows: int = 6) -> Path:
    """x is put together from a dataset of another file."""
    layout = h5py.VirtualLayout(shape, dtype=np.uint8)
    layout[:rows] = h5py.VirtualSource(source, "x", shape=(rows, *shape[1:]))
    with h5py.File(h5(path, y=some(shape[0])[1]), "a") as file:
        file.create_virtual_dataset("x", layout)
    return path


def test_virtual_datasets_are_read_when_their_sources_are_there(tmp_path):
    tokens, _ = some(6)
    (tmp_path / "parts").mkdir()
    h5(tmp_path / "parts" / "a.h5", x=one_hot(tokens))
    h5(tmp_path / "out.h5", x=one_hot(tokens))
    path = virtual(tmp_path / "v.h5", "parts/a.h5")
    np.testing.assert_array_equal(read(path)[0][""][0], tokens)
    with arrays.opened([path], letters=None, targets=None) as opened:
        assert opened.files == [path, tmp_path / "parts" / "a.h5"]
    for made, what in (
        (
            virtual(tmp_path / "gone.h5", "missing.h5"),
            r"virtual dataset /x has sources that are not there \(missing.h5\)",
        ),
        (virtual(tmp_path / "parts" / "v.h5", "../out.h5"), r"sources outside of its folder \(../out.h5\)"),
        (virtual(tmp_path / "parts" / "w.h5", str(tmp_path / "out.h5")), "sources outside of its folder"),
        (virtual(tmp_path / "few.h5", "parts/a.h5", (9, 4, LENGTH)), "has parts without a source"),
        (virtual(tmp_path / "more.h5", "parts/a.h5", (9, 4, LENGTH), 9), "is larger than its source x of parts/a.h5"),
        (virtual(tmp_path / "twice.h5", "v.h5"), "a source that is no dataset of its own"),
    ):
        with pytest.raises(InputError, match=what):
            read(made)
    with h5py.File(tmp_path / "parts" / "a.h5", "w") as file:
        file.create_dataset("x", (6, 4, LENGTH), np.uint8)
    with pytest.raises(InputError, match=r"parts/a.h5: /x was never written"):
        read(path)


def test_numbers_in_another_file_are_not_read(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(6 * 4 * LENGTH))
    with h5py.File(h5(tmp_path / "a.h5", y=some(6)[1]), "a") as file:
        file.create_dataset("x", (6, 4, LENGTH), np.uint8, external=[(str(tmp_path / "raw"), 0, 6 * 4 * LENGTH)])
    with pytest.raises(InputError, match=r"x keeps its numbers in another file \(.*raw\), which is not read"):
        read(tmp_path / "a.h5")


def test_what_was_never_written_is_noticed(tmp_path):
    tokens, labels = some(60)
    for name, chunks in (("x", (10, 4, LENGTH)), ("x", (10, 2, LENGTH)), ("x", None), ("y", (20, 3))):
        members = {"x": one_hot(tokens), "y": labels}
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for each, values in members.items():
                made = file.create_dataset(each, values.shape, np.uint8, chunks=chunks if each == name else None)
                if each != name:
                    made[...] = values
                elif chunks:
                    made[: 2 * chunks[0]] = values[: 2 * chunks[0]]
        what = "was never written"
        if chunks:
            what = rf"{name}: .* chunks were never written .*the first at row {2 * chunks[0]};"
        with pytest.raises(InputError, match=what):
            read(tmp_path / "a.h5")


def test_hdf5_that_lies_of_its_sizes_is_refused(tmp_path):
    with h5py.File(h5(tmp_path / "a.h5", y=some(6)[1]), "a") as file:
        file.create_dataset("x", (10**9, 4, 1000), np.uint8, chunks=(10**3, 4, 1000), compression="gzip")
        file.create_dataset("big", (10**5, 4, 1000), np.uint8, chunks=(10**5, 4, 1000), compression="gzip")
    with pytest.raises(InputError, match="1000000 of its 1000000 chunks were never written"):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.move("big", "x") if "x" not in file else (file.pop("x"), file.move("big", "x"))
    with pytest.raises(InputError, match=r"381.5 MiB that must be unpacked together.*h5repack -l x:CHUNK=1000x4x1000"):
        read(tmp_path / "a.h5")


def test_strings_of_any_length_are_read_apart_from_this_process(tmp_path, monkeypatch):
    """Where HDF5's heap of strings is damaged, its library never comes to an end."""
    tokens, labels = some(6)
    names = ["liver", "brain", "Zellkörper"]
    path = h5(tmp_path / "a.h5", x=one_hot(tokens), y=labels)
    with h5py.File(path, "a") as file:
        file["headers"] = [f"s{row}" for row in range(6)]
        file["y"].attrs["target_names"] = names
    assert read(path)[1] == names
    with arrays.opened([path], letters=None, targets=None) as opened:
        assert opened.parts[0].texts(opened.parts[0].headers) == ["s0", "s1", "s2", "s3", "s4", "s5"]
    with h5py.File(h5(path, x=one_hot(tokens), y=labels[:, :2]), "a") as file:
        file["y"].attrs["target_names"] = ["k", "l"]
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"GCOL") + 48] = 199  # the number of the second string
    path.write_bytes(whole)
    monkeypatch.setattr(arrays, "APART_SECONDS", 1.0)
    with pytest.raises(InputError, match="target_names: cannot be read .*strings of variable length"):
        read(path)
