"""dataset.zarr: what is written is read, whole or not at all, and in few files."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from satori_hpc.data import dataset, zarr_arrays
from satori_hpc.data.dataset import Coded, Coordinates, Dataset, Examples, Made
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import ArtefactError
from tests.fixtures.whole import read as read_whole


def make(examples: int = 7, length: int = 20, targets: int = 1) -> Examples:
    rng = np.random.default_rng(1)
    return Examples(
        tokens=rng.integers(0, 5, (examples, length), dtype=np.uint8),
        labels=rng.integers(0, 2, (examples, targets), dtype=np.uint8),
        split=rng.integers(0, 3, examples, dtype=np.uint8),
        names=[f"chr{k}:é{k}" * (k % 3) + str(k) for k in range(examples)],
        coordinates=Coordinates(
            chrom=Coded.of(np.array([f"chr{k % 3}" for k in range(examples)])),
            start=np.arange(examples, dtype=np.int64) * 10**10,
            end=np.arange(examples, dtype=np.int64) * 10**10 + length,
            strand=rng.integers(-1, 2, examples).astype(np.int8),
        ),
        targets=[f"t{k}" for k in range(targets)],
    )


def assert_same(a: Examples, path: Path) -> None:
    b = read_whole(path)
    for name in ("tokens", "labels", "split"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(b, name).dtype == np.uint8
    for name in ("start", "end", "strand"):
        np.testing.assert_array_equal(getattr(a.coordinates, name), getattr(b.coordinates, name))
    assert list(a.coordinates.chrom) == list(b.coordinates.chrom)
    assert b.coordinates.start.dtype == np.int64
    assert (a.names, a.targets, a.task) == (b.names, b.targets, b.task)


@pytest.mark.parametrize(("examples", "targets"), [(1, 1), (7, 1), (1024, 3), (1025, 1), (3000, 164)])
@pytest.mark.filterwarnings("error")
def test_what_is_written_is_read(tmp_path, examples, targets):
    whole = make(examples, targets=targets)
    dataset.write(tmp_path / "dataset.zarr", whole)
    assert_same(whole, tmp_path / "dataset.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.zarr"]


def test_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK_EXAMPLES", 8)
    monkeypatch.setattr(dataset, "SHARD_EXAMPLES", 32)
    monkeypatch.setattr(dataset, "CHUNK_ITEMS", 50)
    monkeypatch.setattr(zarr_arrays, "STRINGS", 30)
    whole = make(100)
    dataset.write(tmp_path / "d", whole)
    assert_same(whole, tmp_path / "d")
    assert len(list((tmp_path / "d" / "tokens" / "c").rglob("*"))) == 2 * 4


def test_shards_have_the_bytes_of_zarr(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK_EXAMPLES", 8)
    monkeypatch.setattr(dataset, "SHARD_EXAMPLES", 32)
    monkeypatch.setattr(zarr_arrays, "BLOCK_BYTES", 400)
    whole = make(203, targets=3)
    whole.labels[8:17] = 0  # a chunk without a 1
    whole.labels[64:96] = 0  # a shard without one
    asked = []

    def some(rows: slice) -> np.ndarray:
        asked.append(rows.stop - rows.start)
        return whole.tokens[rows]

    dataset.write(tmp_path / "d", dataclasses.replace(whole, tokens=Made(whole.tokens.shape, some)))
    assert asked == [16] * 12 + [11]
    group = zarr.create_group(store=tmp_path / "zarr", zarr_format=3)
    for name, values, dimension in (("tokens", whole.tokens, "position"), ("labels", whole.labels, "target")):
        width = values.shape[1]
        array = group.create_array(
            name=name,
            shape=values.shape,
            dtype=np.uint8,
            chunks=(8, width),
            shards=(32, width),
            compressors=[zarr_arrays.ZSTD, zarr.codecs.Crc32cCodec()],
            dimension_names=("example", dimension),
        )
        array[...] = values
        ours, theirs = (
            {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (tmp_path / "d" / name, tmp_path / "zarr" / name)
        )
        assert ours == theirs
    assert len(list((tmp_path / "d" / "labels" / "c").iterdir())) == 7, "also of zeros alone"


def test_files_stay_few(tmp_path):
    dataset.write(tmp_path / "d", make(200_000, length=10))
    assert len([path for path in (tmp_path / "d").rglob("*") if path.is_file()]) < 30


def test_rows():
    whole = make(50)
    for number, name in enumerate(("train", "valid", "test")):
        rows = whole.rows(name)
        assert rows.dtype == np.int64
        assert (whole.split[rows] == number).all()
    assert sum(len(whole.rows(name)) for name in dataset.SPLITS) == len(whole.rows("all")) == 50


def test_some_examples_are_written_again_with_other_sequences(tmp_path):
    whole = make(50, targets=3)
    rows = np.array([7, 3, 40])
    dataset.write(tmp_path / "whole", whole)
    part = Dataset(tmp_path / "whole").take(rows)
    np.testing.assert_array_equal(part.tokens[1:], whole.tokens[rows[1:]])
    tokens, labels = whole.tokens[rows][:, ::-1].copy(), whole.labels[rows]
    assert part.names == [whole.names[row] for row in rows]
    np.testing.assert_array_equal(part.labels[:], labels)
    np.testing.assert_array_equal(part.coordinates.start, rows * 10**10)
    part = dataclasses.replace(part, tokens=tokens, labels=labels)
    dataset.write(tmp_path / "d", part)
    assert_same(part, tmp_path / "d")


@pytest.mark.parametrize("split", [dataset.TRAIN, dataset.VALID, dataset.TEST])
@pytest.mark.filterwarnings("error")
def test_all_examples_may_lie_in_one_part(tmp_path, split):
    whole = dataclasses.replace(make(), split=np.full(7, split, dtype=np.uint8))
    dataset.write(tmp_path / "d", whole)
    assert_same(whole, tmp_path / "d")


def test_the_task_is_told_of_finished_sets_only(tmp_path):
    path = tmp_path / "d"
    assert dataset.task(path) is None
    path.mkdir()
    assert dataset.task(path) is None
    for targets, task in ((1, "binary"), (3, "multilabel")):
        dataset.write(path, make(targets=targets))
        assert dataset.task(path) == task
    edit_attributes(path, complete=False)
    assert dataset.task(path) is None
    edit_attributes(path, complete=True, format_version=99)
    assert dataset.task(path) is None
    (path / "zarr.json").write_text("{")
    assert dataset.task(path) is None


def test_parts_that_do_not_fit_together_are_not_written(tmp_path):
    whole = make()
    for change in (
        {"labels": whole.labels[:-1]},
        {"targets": ["a", "b"]},
        {"task": "ternary"},
        {"names": []},
        {"split": whole.split + 3},
        {"tokens": whole.tokens + 5},
        {"labels": whole.labels + 2},
    ):
        with pytest.raises(ValueError, match=r"."):
            dataset.write(tmp_path / "d", dataclasses.replace(whole, **change))
        assert not list(tmp_path.iterdir())


def test_an_old_data_set_survives_a_failed_write(tmp_path, monkeypatch):
    whole = make()
    dataset.write(tmp_path / "d", whole)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(zarr_arrays, "write_strings", fail)
    with pytest.raises(OSError, match="disk full"):
        dataset.write(tmp_path / "d", make(9))
    assert_same(whole, tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def edit_attributes(path, **changes):
    content = json.loads((path / "zarr.json").read_text())
    content["attributes"].update(changes)
    (path / "zarr.json").write_text(json.dumps(content))


def test_data_sets_that_cannot_be_used_say_what_to_run(tmp_path):
    path = tmp_path / "run" / "dataset.zarr"
    mend = f"satori-hpc prepare {tmp_path / 'run'}"

    def refused(what: str) -> None:
        with pytest.raises(ArtefactError, match=what) as error:
            read_whole(path)
        assert mend in str(error.value)
        assert str(path) in str(error.value)

    refused("there is no data set")
    path.mkdir(parents=True)
    refused("damaged")
    zarr.create_group(store=path, zarr_format=3, overwrite=True)
    refused("unfinished")
    dataset.write(path, make())
    edit_attributes(path, format_version=99)
    refused("format version 99, this program reads 4")
    edit_attributes(path, format_version=4, complete=False)
    refused("unfinished")
    dataset.write(path, make())
    (path / "zarr.json").write_text("{")
    refused("damaged")
    dataset.write(path, make())
    shutil.rmtree(path / "labels")
    refused("damaged")
    dataset.write(path, make())
    chunk = path / "tokens" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-30])
    refused("damaged")
    dataset.write(path, make())
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    zarr_arrays.write_strings(group, "more", ["a", "b"], count=2, dimension="more")
    shutil.rmtree(path / "target")
    (path / "more").rename(path / "target")
    refused("damaged")
    with pytest.raises(ArtefactError, match=f"{mend} --background --force$"):
        Dataset(path, background=True)


def test_parts_are_read_without_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK_EXAMPLES", 8)
    monkeypatch.setattr(dataset, "SHARD_EXAMPLES", 32)
    whole = make(100, targets=3)
    path = tmp_path / "dataset.zarr"
    dataset.write(path, whole)
    rows = np.array([97, 3, 3, 40, 0])
    found = Dataset(path)
    np.testing.assert_array_equal(found.tokens[rows], whole.tokens[rows])
    np.testing.assert_array_equal(found.tokens[5:70], whole.tokens[5:70])
    assert found.tokens[rows[:0]].shape == (0, 20)
    assert list(found.names(rows)) == [whole.names[row] for row in rows]
    assert list(found.names()) == whole.names
    np.testing.assert_array_equal(found.coordinates(rows).start, whole.coordinates.start[rows])
    assert list(found.coordinates(rows).chrom) == whole.coordinates.chrom[rows].tolist()
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_array_equal(found.rows("valid"), whole.rows("valid"))
    assert (len(found), found.length, found.targets, found.task) == (100, 20, whole.targets, "multilabel")
    shutil.rmtree(path / "tokens" / "c" / "2")
    (path / "tokens" / "c" / "2").mkdir()
    (path / "tokens" / "c" / "2" / "0").write_bytes(b"cut")
    np.testing.assert_array_equal(found.tokens[np.arange(64)], whole.tokens[:64])
    with pytest.raises(ArtefactError, match=r"damaged.*satori-hpc prepare"):
        found.tokens[np.array([5, 70])]
    with pytest.raises(ArtefactError, match="damaged"):
        found.tokens[np.array([100])]


def test_arrays_are_read_when_they_are_asked_for_and_columns_once(tmp_path):
    whole, path = make(60, targets=3), tmp_path / "dataset.zarr"
    dataset.write(path, whole)
    opened = Dataset(path)
    np.testing.assert_array_equal(opened.labels, whole.labels)
    np.testing.assert_array_equal(opened.split, whole.split)
    for name in (*dataset.ARRAYS, "name", "chrom"):
        shutil.rmtree(path / name / "c")
    np.testing.assert_array_equal(opened.labels, whole.labels)
    np.testing.assert_array_equal(opened.rows("test"), whole.rows("test"))
    data = Dataset(path)
    assert (len(data), data.length, data.task, data.targets) == (60, 20, "multilabel", whole.targets)
    for name, read in {
        "tokens": lambda: data.tokens[:1],
        "labels": lambda: data.labels,
        "split": lambda: data.rows("all"),
        "name": lambda: next(data.names()),
        "chrom": lambda: data.coordinates(np.arange(2)),
    }.items():
        with pytest.raises(ArtefactError, match=rf"damaged \({name}: .*satori-hpc prepare"):
            read()


def test_parts_of_what_is_not_there_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match=r"no data set.*satori-hpc prepare"):
        Dataset(tmp_path / "dataset.zarr")
    dataset.write(tmp_path / "dataset.zarr", make())
    data = Dataset(tmp_path / "dataset.zarr")
    shutil.rmtree(tmp_path / "dataset.zarr")
    for read in (lambda: data.labels, lambda: data.tokens[np.arange(2)], lambda: list(data.names())):
        with pytest.raises(ArtefactError, match=r"no data set.*satori-hpc prepare"):
            read()


def test_labels_may_be_unknown_where_there_are_several(tmp_path):
    whole = make(targets=3)
    whole.labels[2, 1] = UNKNOWN
    dataset.write(tmp_path / "d", whole)
    assert_same(whole, tmp_path / "d")
    np.testing.assert_array_equal(Dataset(tmp_path / "d").labels, whole.labels)
    lone = make()
    lone.labels[2] = UNKNOWN
    with pytest.raises(ValueError, match="not 0 or 1"):
        dataset.write(tmp_path / "e", lone)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_sets_of_former_versions_are_refused(tmp_path, version):
    dataset.write(tmp_path / "d", make())
    edit_attributes(tmp_path / "d", format_version=version)
    with pytest.raises(ArtefactError, match=f"format version {version}, this program reads 4; .*satori-hpc prepare"):
        Dataset(tmp_path / "d")
    assert dataset.task(tmp_path / "d") is None


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def chunks_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file() and "/c/" in file.as_posix())


def test_a_flipped_byte_of_any_chunk_is_an_error_that_names_the_array(tmp_path):
    whole, path = make(60, targets=3), tmp_path / "dataset.zarr"
    dataset.write(path, whole)
    chunks = chunks_of(path)
    assert {file.relative_to(path).parts[0] for file in chunks} == {
        *("tokens", "labels", "split", "start", "end", "strand", "name", "chrom", "target")
    }
    for file in chunks:
        name, size = file.relative_to(path).parts[0], file.stat().st_size
        for at in {0, 1, size // 3, size // 2, size - 5, size - 1}:
            flipped(file, at)
            with pytest.raises(
                ArtefactError, match=rf"dataset.zarr: damaged \({name}: .*satori-hpc prepare .* --force"
            ):
                read_whole(path)
            flipped(file, at)
    assert_same(whole, path)


@pytest.mark.parametrize("kept", [None, 0, 1, 10, 0.5, -5, -1])
def test_a_chunk_that_is_lost_or_short_is_not_read_as_zeros(tmp_path, kept):
    whole, path = make(60, targets=3), tmp_path / "dataset.zarr"
    whole.labels[:] = 0  # Zarr itself would leave these out
    whole.split[:] = 0
    dataset.write(path, whole)
    for file in chunks_of(path):
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
        if kept is None:
            file.unlink()
        with pytest.raises(ArtefactError, match=rf"damaged \({file.relative_to(path).parts[0]}: "):
            read_whole(path)
        file.write_bytes(content)
    assert_same(whole, path)
