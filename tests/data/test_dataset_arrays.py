from collections.abc import Iterator

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.data import zarr_arrays


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[zarr.Group, np.ndarray]:
    """300 rows in chunks of 16, in shards of 5 chunks."""
    values = np.random.default_rng(0).integers(0, 255, (300, 7)).astype(np.uint8)
    group = zarr.open_group(tmp_path_factory.mktemp("arrays") / "a.zarr", mode="w", zarr_format=3)
    group.create_array("a", data=values, chunks=(16, 7), shards=(80, 7))
    return group, values


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.integers(0, 299), max_size=60) | st.just(list(range(300))) | st.just(list(range(290, 4, -7))),
    columns=st.sampled_from([slice(None), slice(2, 5), slice(6, 7), slice(3, 3)]),
    together=st.sampled_from([1, 3, 1000]),
)
def test_rows_in_any_order_are_those_of_numpy(stored, rows, columns, together) -> None:
    group, values = stored
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_arrays, "BLOCK_BYTES", together * 16 * 7)
        found = zarr_arrays.take(group, "a", np.array(rows, dtype=np.int64), columns)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values[np.array(rows, dtype=np.int64), columns])


def test_few_megabytes_are_asked_for_at_a_time_and_no_chunk_twice(stored, monkeypatch) -> None:
    group, values = stored
    asked = []
    read = zarr.Array.__getitem__

    def spy(self: zarr.Array, selection: tuple[slice, slice]) -> np.ndarray:
        rows = selection[0]
        asked.append((rows.start // 16, (rows.stop - 1) // 16))
        return np.asarray(read(self, selection))

    monkeypatch.setattr(zarr.Array, "__getitem__", spy)
    monkeypatch.setattr(zarr_arrays, "BLOCK_BYTES", 2 * 16 * 7)
    rows = np.array([0, 17, 33, 150, 151, 290, 5])
    np.testing.assert_array_equal(zarr_arrays.take(group, "a", rows), values[rows])
    assert asked == [(0, 1), (2, 2), (9, 9), (18, 18)]


def test_strings_are_written_and_read_some_at_a_time(tmp_path, monkeypatch) -> None:
    strings = [f"chr{k}:é" * (k % 4) for k in range(95)]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    monkeypatch.setattr(zarr_arrays, "STRINGS", 10)
    monkeypatch.setattr(zarr_arrays, "BLOCK_BYTES", 2 * 10 * zarr_arrays.STRING_BYTES)
    written, ahead, asked = zarr.Array.__setitem__, 0, []
    read = zarr.Array.__getitem__

    def made() -> Iterator[str]:
        nonlocal ahead
        for text in strings:
            ahead += 1
            assert ahead <= 10, "no more are held than a chunk has"
            yield text

    def write(self: zarr.Array, rows: slice, values: np.ndarray) -> None:
        nonlocal ahead
        ahead = 0
        written(self, rows, values)

    def spy(self: zarr.Array, rows: slice) -> np.ndarray:
        asked.append(rows.stop - rows.start)
        return np.asarray(read(self, rows))

    monkeypatch.setattr(zarr.Array, "__setitem__", write)
    zarr_arrays.write_strings(group, "name", made(), count=95, dimension="example")
    monkeypatch.setattr(zarr.Array, "__getitem__", spy)
    assert list(zarr_arrays.read_strings(group, "name")) == strings
    rows = [94, 3, 3, 17, 0, 41, 42, *range(60, 90)]
    assert list(zarr_arrays.read_strings(group, "name", np.array(rows))) == [strings[row] for row in rows]
    assert list(zarr_arrays.read_strings(group, "name", np.array([], np.int64))) == []
    assert max(asked) <= 20
    with pytest.raises(ValueError, match="iterator too short"):
        zarr_arrays.write_strings(group, "less", iter("ab"), count=3, dimension="example")


@pytest.mark.parametrize("rows", [[3, 300], [-1, 3]])
def test_rows_that_are_not_there_are_refused(stored, rows) -> None:
    with pytest.raises(IndexError, match="an array of 300"):
        zarr_arrays.take(stored[0], "a", np.array(rows))
