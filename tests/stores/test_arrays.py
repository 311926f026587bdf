"""One-hot arrays: every layout, read in blocks, and those that cannot be used."""

import pickle
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from satori_hpc.core.labels import UNKNOWN
from satori_hpc.errors import InputError
from satori_hpc.stores import array_files, arrays

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
            made = list(arrays.blocks(part, unknown=unknown))
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
@pytest.mark.parametrize("kind", ["hdf5", "npz", "npz, packed", "npz, Fortran order", "matlab 5"])
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
    elif kind == "matlab 5":
        savemat(tmp_path / "file.mat", {"train_in": x, "train_out": labels})
        path = tmp_path / "file.mat"
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
        savemat(tmp_path / f"{part}.mat", {f"{part}xdata": one_hot(tokens, "AGCT"), f"{part}data": labels})
    paths = [tmp_path / f"{part}.mat" for part in sets]
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
    with pytest.raises(InputError, match=r"text: cannot be read .*expected HDF5, MATLAB or NPZ"):
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
        for first, some_tokens, _ in arrays.blocks(opened.parts[0], unknown=None):
            np.testing.assert_array_equal(some_tokens, tokens[first : first + len(some_tokens)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_members_say_what_is_stored_together(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((20, 4, 8)), chunks=(7, 4, 8))
    with array_files.opened(tmp_path / "a.h5") as (members, _):
        assert members["x"].together == 7
