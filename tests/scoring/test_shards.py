"""Shards written and read without Zarr's machinery: the same bytes as Zarr's, and damage never passes for data."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.scoring import layout as score_layout
from satori_hpc.scoring import shard as scoring_shard
from satori_hpc.scoring.layout import ARRAYS, Plan

CHUNK = 8  # entries of an inner chunk
CHUNKS = 6  # 48 entries at most
ENTRIES = 29  # the fourth inner chunk is not full, the last two are not there
ROWS = 11  # examples of a partition; of the second one 7
RAGGED = {name: of for name, of in ARRAYS.items() if name != "counts"} | {"null": ("float32", ())}


def block(dtype: str, shape: tuple[int, ...] = (), count: int = ENTRIES) -> np.ndarray:
    rng = np.random.default_rng(1)
    if dtype == "float32":
        values = rng.random((count, *shape), dtype=np.float32)
        values[rng.random(values.shape) < 0.4] = np.nan
        values[0] = -0.0
        return values
    return rng.integers(-300, 300, (count, *shape)).astype(dtype)


def zarr_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The empty foreground of a store with small inner chunks, in two partitions."""
    monkeypatch.setattr(score_layout, "CHUNK", CHUNK)
    plan = Plan(
        method="attention",
        widths=np.full(3, 13),
        foreground=np.arange(ROWS + 7),
        background=np.arange(1),
        background_source="dataset",
        dataset_examples=2 * ROWS,
        shard_examples=ROWS,
        most=(4, 4),
        extras=("null",),
        digests={},
    )
    score_layout.create(folder, plan)
    return zarr.open_group(folder, mode="r+", zarr_format=3)["foreground"]


def place_of(folder: Path, name: str, partition: int, shape: tuple[int, ...]) -> Path:
    """Where the shard of a partition lies: one row of an array that has an axis of entries, or some of the examples."""
    behind = len(shape) + (name != "counts")
    return (folder / "foreground" / name / "c" / str(partition)).joinpath(*["0"] * behind)


def read(
    path: Path, dtype: str = "float32", *, count: int = ENTRIES, shape: tuple[int, ...] = (), chunks: int = CHUNKS
) -> np.ndarray:
    return scoring_shard.read(path, count, chunk=CHUNK, chunks=chunks, dtype=dtype, shape=shape, mend="mend it so")


@pytest.mark.parametrize("name", RAGGED)
@pytest.mark.parametrize("threads", [1, 3])
def test_zarr_reads_what_is_written_and_would_have_written_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, threads: int
) -> None:
    ours, theirs = (zarr_group(tmp_path / folder, monkeypatch)[name] for folder in "ab")
    dtype, shape = RAGGED[name]
    chunks = ours.shape[1] // CHUNK
    values = block(dtype, shape)
    place = place_of(Path(), name, 1, shape)
    entry = scoring_shard.write(tmp_path / "a" / place, values, chunk=CHUNK, chunks=chunks, threads=threads)
    assert not (tmp_path / "a" / place).exists(), "it is beside its place until it is published"
    entry.publish()
    np.testing.assert_array_equal(ours[1, :ENTRIES], values)
    np.testing.assert_array_equal(
        ours[1, ENTRIES:], np.full((chunks * CHUNK - ENTRIES, *shape), scoring_shard.FILL[dtype], dtype)
    )
    np.testing.assert_array_equal(np.signbit(ours[1, 0]), np.signbit(values[0]))
    with zarr.config.set({"array.write_empty_chunks": False}):
        theirs[1, :ENTRIES] = values
    content = (tmp_path / "a" / place).read_bytes()
    assert content == (tmp_path / "b" / place).read_bytes()
    assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [path.name for path in (tmp_path / "a" / place).parent.iterdir()] == [place.name]


@pytest.mark.parametrize(("partition", "rows"), [(0, ROWS), (1, 7)])
def test_counts_have_a_row_for_every_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partition: int, rows: int
) -> None:
    """Of the last partition what stands behind the last example is fill."""
    ours, theirs = (zarr_group(tmp_path / folder, monkeypatch)["counts"] for folder in "ab")
    values = 1 + np.arange(2 * rows, dtype=np.int32).reshape(rows, 2)
    place = place_of(Path(), "counts", partition, (2,))
    scoring_shard.write(tmp_path / "a" / place, values, chunk=ROWS, chunks=1).publish()
    begin = partition * ROWS
    theirs[begin : begin + rows] = values
    np.testing.assert_array_equal(ours[begin : begin + rows], values)
    assert (tmp_path / "a" / place).read_bytes() == (tmp_path / "b" / place).read_bytes()
    found = scoring_shard.read(
        tmp_path / "b" / place, rows, chunk=ROWS, chunks=1, dtype="int32", shape=(2,), mend="mend it so"
    )
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("name", RAGGED)
def test_what_zarr_has_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    dtype, shape = RAGGED[name]
    values = block(dtype, shape)
    array = zarr_group(tmp_path / "a", monkeypatch)[name]
    array[0, :ENTRIES] = values
    path = place_of(tmp_path / "a", name, 0, shape)
    found = read(path, dtype, shape=shape, chunks=array.shape[1] // CHUNK)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, CHUNKS * CHUNK])
def test_a_shard_holds_any_number_of_entries_up_to_its_most(tmp_path: Path, count: int) -> None:
    values = block("int16", (4,), count)
    entry = scoring_shard.write(tmp_path / "0", values, chunk=CHUNK, chunks=CHUNKS)
    entry.publish()
    assert (tmp_path / "0").stat().st_size == entry.bytes > 0, "a shard without any entry is a file all the same"
    np.testing.assert_array_equal(read(tmp_path / "0", "int16", count=count, shape=(4,)), values)


def test_more_entries_than_a_shard_may_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="49 entries, the shard may have 48"):
        scoring_shard.write(tmp_path / "0", block("float32", (), 49), chunk=CHUNK, chunks=CHUNKS)
    assert not any(tmp_path.iterdir())


def test_values_that_are_all_missing_are_kept_all_the_same(tmp_path: Path) -> None:
    entry = scoring_shard.write(tmp_path / "0", np.full(ENTRIES, np.nan, np.float32), chunk=CHUNK, chunks=CHUNKS)
    entry.publish()
    assert (tmp_path / "0").stat().st_size == entry.bytes > 0
    assert np.isnan(read(tmp_path / "0")).all()


def test_an_inner_chunk_that_is_not_there_is_not_taken_for_missing_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = zarr_group(tmp_path / "a", monkeypatch)["strength"]
    array[0, :3] = np.ones(3, np.float32)
    path = place_of(tmp_path / "a", "strength", 0, ())
    chunks = array.shape[1] // CHUNK
    assert read(path, count=3, chunks=chunks).tolist() == [1, 1, 1]
    with pytest.raises(ArtefactError, match=r"this shard is damaged \(inner chunk 1\); mend it so"):
        read(path, count=CHUNK + 1, chunks=chunks)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    scoring_shard.write(tmp_path / "0", block("float32", count=400), chunk=64, chunks=8).publish()
    return tmp_path / "0"


def big(path: Path, *, chunks: int = 8) -> np.ndarray:
    return scoring_shard.read(path, 400, chunk=64, chunks=chunks, dtype="float32", shape=(), mend="mend it so")


@pytest.mark.parametrize("left", ["0", "1", "half", "all but one", "one more"])
def test_truncated_shards_are_refused(written: Path, left: str) -> None:
    whole = written.read_bytes()
    bytes_left = {"0": 0, "1": 1, "half": len(whole) // 2, "all but one": len(whole) - 1}
    written.write_bytes(whole + b"x" if left == "one more" else whole[: bytes_left[left]])
    with pytest.raises(ArtefactError, match=r"0: this shard is truncated or damaged"):
        big(written)


def test_every_flipped_byte_is_found(written: Path) -> None:
    whole = written.read_bytes()
    assert len(whole) > 1000
    for place in range(0, len(whole), 7):
        written.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match="damaged"):
            big(written)
    written.write_bytes(whole)
    np.testing.assert_array_equal(big(written), block("float32", count=400))


def test_a_missing_shard_and_one_of_another_shape_are_refused(written: Path) -> None:
    with pytest.raises(ArtefactError, match="1: this shard is missing"):
        big(written.parent / "1")
    with pytest.raises(ArtefactError, match="truncated or damaged"):
        big(written, chunks=9)


FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from satori_hpc.errors import SatoriError
from satori_hpc.scoring import shard
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
values = np.random.default_rng(1).random(40_000, dtype=np.float32)
try:
    shard.write(Path(sys.argv[1]), values, chunk=1600, chunks=25, threads=int(sys.argv[2]))
except SatoriError as error:
    print(error)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_full_disk_names_the_path_and_the_bytes_and_leaves_nothing(tmp_path: Path, threads: str) -> None:
    path = tmp_path / "c" / "0"
    done = subprocess.run([sys.executable, "-c", FULL, str(path), threads], capture_output=True, text=True, check=True)
    assert str(path) in done.stdout
    assert "needs up to 0.2 MiB; make room and run the same command again" in done.stdout
    assert list(path.parent.iterdir()) == []


def test_other_errors_of_the_disk_are_not_called_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory") as caught:
        scoring_shard.write(tmp_path / "file" / "c" / "0", block("int16"), chunk=CHUNK, chunks=CHUNKS)
    assert not isinstance(caught.value, SatoriError)
