"""prepare from one-hot arrays: parts, names, coordinates, and what leaves nothing behind."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from satori_hpc import log
from satori_hpc.config import Arrays, Config, Model, Prepare
from satori_hpc.data import prepare, source
from satori_hpc.data.source import RowFile
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import ConfigError, InputError, SatoriError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import new
from satori_hpc.run.layout import Run
from tests.data.test_prepare import bytes_of
from tests.fixtures.whole import read as read_whole

LENGTH = 24


def some(count: int, targets: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens, labels = rng.integers(0, 4, (count, LENGTH)), rng.integers(0, 2, (count, targets))
    return (tokens[:, None, :] == np.arange(4)[:, None]).astype(np.uint8), labels


def run_of(path: Path, *, split: str = "given", **options) -> Run:
    section = Arrays(files=("set.npz",), **options)
    config = Config(prepare=Prepare(source="arrays", split=split, arrays=section), model=Model(kernel_size=9))
    return Run(path, config)


def save(folder: Path, **members: np.ndarray) -> None:
    np.savez(folder / "set.npz", **members)


def test_parts_names_and_coordinates(tmp_path):
    members = {}
    for seed, part in enumerate(("train", "valid", "test")):
        members[f"{part}_in"], members[f"{part}_out"] = some(20, seed=seed)
    headers = np.array([f"chr2:{k}-{k + LENGTH}({'+-.'[k % 3]})" for k in range(20)])
    save(tmp_path, **members, test_headers=headers, targets=np.array(["liver", "brain"]))
    run = run_of(tmp_path)
    summary = prepare.prepare(run, Runtime())
    assert summary["letters"] == {"train_in": "ACGT", "valid_in": "ACGT", "test_in": "ACGT"}
    assert set(summary["sources"]) == {str(tmp_path / "set.npz")}
    whole = read_whole(run.dataset)
    assert whole.targets == ["liver", "brain"]
    for number, part in enumerate(("train", "valid", "test")):
        rows = whole.rows(part)
        assert rows.tolist() == list(range(20 * number, 20 * number + 20))
        np.testing.assert_array_equal(whole.tokens[rows], members[f"{part}_in"].argmax(axis=1))
        np.testing.assert_array_equal(whole.labels[rows], members[f"{part}_out"])
    assert whole.names[:2] == ["train_0", "train_1"]
    assert whole.coordinates.chrom[0] == "train_0"
    assert whole.names[40:] == headers.tolist()
    assert set(whole.coordinates.chrom[40:].tolist()) == {"chr2"}
    assert whole.coordinates.start[40:].tolist() == list(range(20))
    assert whole.coordinates.strand[40:43].tolist() == [1, -1, 0]


def test_headers_whose_intervals_do_not_lie_as_the_sequences_do(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(log.logger, "propagate", True)
    x, y = some(30)
    for wider, what in ((10, "30 of 30 intervals are not as long as their sequences"), (-1, "starts count from 1")):
        headers = np.array([f"chr2_{k + 1}_{k + 1 + LENGTH + wider}" for k in range(30)])
        save(tmp_path, x=x, y=y, split=np.repeat([0, 1, 2], 10), headers=headers)
        run = run_of(tmp_path)
        prepare.prepare(run, Runtime())
        at = read_whole(run.dataset).coordinates
        assert what in caplog.text
        assert at.start[0] == (0 if wider == -1 else 1)
        assert set(at.chrom) == {"chr2"}


def test_letters_of_rna(tmp_path):
    x, y = some(30)
    save(tmp_path, x=x, y=y, split=np.repeat([0, 1, 2], 10))
    run = run_of(tmp_path, letters="UACG")
    run = Run(
        run.path, dataclasses.replace(run.config, prepare=dataclasses.replace(run.config.prepare, alphabet="rna"))
    )
    assert prepare.prepare(run, Runtime())["letters"] == {"x": "TACG"}
    np.testing.assert_array_equal(read_whole(run.dataset).tokens, np.array([3, 0, 1, 2])[x.argmax(axis=1)])


@pytest.mark.parametrize("kind", ["numbers", "names"])
def test_one_array_with_a_split(tmp_path, kind):
    x, y = some(30, targets=1)
    split = np.repeat([0, 2, 1], 10)
    save(tmp_path, x=x, y=y[:, 0], split=split if kind == "numbers" else np.array(["train", "val", "test"])[split % 3])
    run = run_of(tmp_path)
    assert prepare.prepare(run, Runtime())["task"] == "binary"
    expected = split if kind == "numbers" else np.array([0, 1, 2])[split]
    assert read_whole(run.dataset).split.tolist() == expected.tolist()


def test_validation_is_drawn_where_the_files_have_none(tmp_path):
    members = {}
    for seed, part in enumerate(("train", "test")):
        members[f"x_{part}"], members[f"y_{part}"] = some(40, seed=seed)
    members["x_train"][20:] = members["x_train"][:20]
    save(tmp_path, **members)
    run = run_of(tmp_path)
    summary = prepare.prepare(run, Runtime())
    assert (summary["train"], summary["valid"], summary["test"]) == (36, 4, 40)
    split = read_whole(run.dataset).split
    np.testing.assert_array_equal(split[:20], split[20:40])


def test_arrays_can_be_split_anew(tmp_path):
    members = {}
    for seed, part in enumerate(("train", "test")):
        members[f"x_{part}"], members[f"y_{part}"] = some(40, seed=seed)
    save(tmp_path, **members)
    run = run_of(tmp_path, split="random")
    summary = prepare.prepare(run, Runtime())
    assert (summary["train"], summary["valid"], summary["test"]) == (64, 8, 8)
    assert len(set(read_whole(run.dataset).split[:40].tolist())) == 3


def test_unknown_labels(tmp_path):
    x, y = some(120)
    y = np.where(np.random.default_rng(1).random(y.shape) < 0.3, -1, y)
    save(tmp_path, x=x, y=y)
    run = run_of(tmp_path, split="random", unknown=-1)
    summary = prepare.prepare(run, Runtime())
    assert summary["labels_unknown"] == (y == -1).sum()
    np.testing.assert_array_equal(read_whole(run.dataset).labels == UNKNOWN, y == -1)
    save(tmp_path, x=x, y=y[:, 0])
    with pytest.raises(InputError, match="one label, so none can be unknown"):
        prepare.prepare(run, Runtime())


@pytest.mark.parametrize("split", ["given", "random"])
def test_the_bytes_do_not_depend_on_how_many_rows_are_held(tmp_path, monkeypatch, split):
    members = {}
    for seed, part in enumerate(("train", "test")):
        members[f"x_{part}"], members[f"y_{part}"] = some(40, targets=70, seed=seed)
    members["x_train"][30:] = members["x_train"][:10]
    headers = np.array([f"chr{row % 3}:{row}-{row + LENGTH}(+)" for row in range(40)])
    save(tmp_path, **members, train_headers=headers)
    run = run_of(tmp_path, split=split)
    summary = prepare.prepare(run, Runtime())
    expected = bytes_of(run.dataset)
    appended, append = [], RowFile.append
    monkeypatch.setattr(source.MemoryBudget, "max_rows", lambda self, each: 8 * 5 * 4 * LENGTH)
    monkeypatch.setattr(RowFile, "append", lambda self, rows: (appended.append(len(rows)), append(self, rows)))
    assert prepare.prepare(run, Runtime()) == summary
    assert bytes_of(run.dataset) == expected
    assert appended == [5] * 32  # tokens and labels of 16 blocks
    assert not run.dataset_parts.exists()


def test_too_little_memory_is_refused(tmp_path):
    x, y = some(30)
    save(tmp_path, x=x, y=y, split=np.repeat([0, 1, 2], 10))
    with pytest.raises(SatoriError, match=r"--memory 1.0 MiB is too little: .* what is kept of 30 sequences"):
        prepare.prepare(run_of(tmp_path), Runtime(memory=2**20))
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({}, r"x is one set, and there is no array split.*split = 'random'"),
        ({"split": np.array(["train"] * 29 + ["rest"])}, "row 29: 'rest'; expected 0, 1, 2 or train"),
        ({"split": np.zeros(30)}, "row 0: '0.0'"),
        ({"split": np.zeros(3, dtype=int)}, "3 split for the 30 sequences"),
        ({"split": np.repeat([0, 1], 15)}, "test: no examples"),
        ({"split": np.repeat([0, 1, 2], 10), "headers": np.array(["a"] * 30)}, "headers name several sequences.*\n.*a"),
        ({"x": np.full((30, 4, LENGTH), 0.5)}, r"x, row 0, position 0: \[0.5, 0.5, 0.5, 0.5\]"),
        ({"x": np.eye(4)[np.zeros((30, 8), int)]}, "8 bp long; expected at least 9 bp"),
        ({"x": np.zeros((30, 4, LENGTH))}, "x: no letter in any sequence"),
        (
            {
                "x": np.eye(4)[np.repeat([[0], [3]], 15, axis=0).repeat(LENGTH, axis=1)]
                * (np.arange(30) < 15)[:, None, None]
            },
            "15 of 30 sequences hold no letter at all: rows 15-29",
        ),
    ],
)
def test_sets_that_cannot_be_used_leave_nothing(tmp_path, members, what):
    x, y = some(30)
    split = {"split": np.repeat([0, 1, 2], 10)} if "x" in members else {}
    save(tmp_path, **{"x": x, "y": y, **split, **members})
    with pytest.raises(InputError, match=what):
        prepare.prepare(run_of(tmp_path), Runtime())
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


@pytest.mark.parametrize(
    ("section", "what"),
    [
        (Arrays(files=()), "files is empty"),
        (Arrays(letters="ACGX"), "letters = 'ACGX': expected A, C, G and T once each"),
        (Arrays(letters="ACGU"), "letters = 'ACGU' hold U, which is RNA: set alphabet = 'rna'"),
        (Arrays(unknown=1), "unknown = 1 is a label"),
    ],
)
def test_sections_that_make_no_sense(tmp_path, section, what):
    with pytest.raises(ConfigError, match=what):
        new.new(tmp_path / "run", config=Config(prepare=Prepare(source="arrays", arrays=section)))
