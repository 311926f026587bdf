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

ROWS, FILTERS, CHUNK = 11, 9, 8  # 36 pairs: the last inner chunk is half full
CHUNKS = 5


def block(dtype: str, rows: int = ROWS) -> np.ndarray:
    rng = np.random.default_rng(1)
    if dtype == "float32":
        values = rng.random((rows, 36), dtype=np.float32)
        values[rng.random(values.shape) < 0.4] = np.nan
        values[0] = -0.0
        return values
    values = rng.integers(-300, 300, (rows, 36)).astype(np.int16)
    values[rng.random(values.shape) < 0.4] = scoring_shard.FILL["int16"]
    return values


def zarr_array(folder: Path, name: str) -> Any:
    """The empty array of a store, its foreground of 2 x 11 examples."""
    plan = Plan(
        method="attention",
        filters=FILTERS,
        foreground=np.arange(2 * ROWS),
        background=np.arange(1),
        background_source="dataset",
        dataset_examples=2 * ROWS,
        shard_examples=ROWS,
        chunk_pairs=CHUNK,
        digests={},
    )
    score_layout.create(folder, plan)
    return zarr.open_group(folder, mode="r+", zarr_format=3)[f"foreground/{name}"]


def read(path: Path, dtype: str) -> np.ndarray:
    """All pairs of a shard, with what stands behind the last one."""
    out = np.empty((ROWS, CHUNKS * CHUNK), dtype)
    with scoring_shard.Shard(path, chunks=CHUNKS, dtype=dtype) as shard:
        for chunk in range(CHUNKS):
            part = np.empty((ROWS, CHUNK), dtype)
            shard.read(chunk, part)
            out[:, chunk * CHUNK : (chunk + 1) * CHUNK] = part
    return out


@pytest.mark.parametrize(("name", "dtype"), ARRAYS.items())
@pytest.mark.parametrize("threads", [1, 3])
def test_zarr_reads_what_is_written_and_would_have_written_the_same(
    tmp_path: Path, name: str, dtype: str, threads: int
) -> None:
    ours, theirs = zarr_array(tmp_path / "a", name), zarr_array(tmp_path / "b", name)
    values = block(dtype)
    place = Path("foreground") / name / "c" / "1" / "0"
    entry = scoring_shard.write(tmp_path / "a" / place, values, chunk_pairs=CHUNK, threads=threads)
    assert not (tmp_path / "a" / place).exists(), "it is beside its place until it is published"
    entry.publish()
    np.testing.assert_array_equal(ours[ROWS:], values)
    assert np.signbit(ours[ROWS][0]) == np.signbit(values[0][0])
    theirs[ROWS:] = values
    content = (tmp_path / "a" / place).read_bytes()
    assert content == (tmp_path / "b" / place).read_bytes()
    assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [path.name for path in (tmp_path / "a" / place).parent.iterdir()] == ["0"]


@pytest.mark.parametrize(("name", "dtype"), ARRAYS.items())
def test_what_zarr_has_written_is_read(tmp_path: Path, name: str, dtype: str) -> None:
    values = block(dtype)
    zarr_array(tmp_path / "a", name)[:ROWS] = values
    found = read(tmp_path / "a" / "foreground" / name / "c" / "0" / "0", dtype)
    np.testing.assert_array_equal(found[:, :36], values)
    np.testing.assert_array_equal(found[:, 36:], np.full((ROWS, 4), scoring_shard.FILL[dtype], dtype))


@pytest.mark.parametrize(("name", "dtype"), ARRAYS.items())
def test_rows_behind_the_last_example_are_fill(tmp_path: Path, name: str, dtype: str) -> None:
    values = block(dtype, rows=3)
    path = tmp_path / "a" / "foreground" / name / "c" / "1" / "0"
    array = zarr_array(tmp_path / "a", name)
    scoring_shard.write(path, values, chunk_pairs=CHUNK, rows=ROWS).publish()
    np.testing.assert_array_equal(array[ROWS : ROWS + 3], values)
    np.testing.assert_array_equal(array[ROWS + 3 :], np.full((ROWS - 3, 36), scoring_shard.FILL[dtype], dtype))
    np.testing.assert_array_equal(read(path, dtype)[:3, :36], values)


def test_a_shard_without_any_observation_is_a_file_all_the_same(tmp_path: Path) -> None:
    entry = scoring_shard.write(tmp_path / "0", np.full((ROWS, 36), np.nan, np.float32), chunk_pairs=CHUNK)
    entry.publish()
    assert (tmp_path / "0").stat().st_size == entry.bytes > 0
    assert np.isnan(read(tmp_path / "0", "float32")).all()


def test_a_chunk_that_zarr_left_out_is_not_taken_for_missing_values(tmp_path: Path) -> None:
    array = zarr_array(tmp_path / "a", "score")
    array[:ROWS, 0] = np.ones(ROWS, np.float32)
    with pytest.raises(ArtefactError, match=r"inner chunk 1"):
        read(tmp_path / "a" / "foreground" / "score" / "c" / "0" / "0", "float32")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    scoring_shard.write(tmp_path / "0", block("float32"), chunk_pairs=CHUNK).publish()
    return tmp_path / "0"


@pytest.mark.parametrize("left", ["0", "1", "half", "all but one", "one more"])
def test_truncated_shards_are_refused(written: Path, left: str) -> None:
    whole = written.read_bytes()
    bytes_left = {"0": 0, "1": 1, "half": len(whole) // 2, "all but one": len(whole) - 1}
    written.write_bytes(whole + b"x" if left == "one more" else whole[: bytes_left[left]])
    with pytest.raises(ArtefactError, match=r"0: this shard is truncated or damaged"):
        read(written, "float32")


def test_every_flipped_byte_is_found(written: Path) -> None:
    whole = written.read_bytes()
    assert len(whole) > 1000
    for place in range(0, len(whole), 7):
        written.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match="damaged"):
            read(written, "float32")
    written.write_bytes(whole)
    np.testing.assert_array_equal(read(written, "float32")[:, :36], block("float32"))


def test_a_missing_shard_and_one_of_another_shape_are_refused(written: Path) -> None:
    with pytest.raises(ArtefactError, match="1: this shard is missing"):
        read(written.parent / "1", "float32")
    with pytest.raises(ArtefactError, match="truncated or damaged"):
        scoring_shard.Shard(written, chunks=CHUNKS + 1, dtype="float32")


FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from satori_hpc.errors import SatoriError
from satori_hpc.scoring import shard
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
values = np.random.default_rng(1).random((100, 400), dtype=np.float32)
try:
    shard.write(Path(sys.argv[1]), values, chunk_pairs=16, threads=int(sys.argv[2]))
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
        scoring_shard.write(tmp_path / "file" / "c" / "0", block("int16"), chunk_pairs=CHUNK)
    assert not isinstance(caught.value, SatoriError)
