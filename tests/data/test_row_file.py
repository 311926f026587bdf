"""Rows on disk: what is appended is read, in its order, and a full disk is told."""

from pathlib import Path

import numpy as np
import pytest

from satori_hpc.data.source import RowFile
from satori_hpc.errors import SatoriError

DTYPE = [("chrom", np.int32), ("start", np.int64), ("labels", np.uint64, (2,))]


def rows(count: int) -> np.ndarray:
    found = np.zeros(count, dtype=DTYPE)
    found["chrom"] = np.arange(count)
    found["start"] = np.arange(count) * 10**10
    found["labels"] = np.arange(2 * count).reshape(-1, 2)
    return found


def test_what_is_appended_is_read_a_piece_at_a_time(tmp_path):
    row_file, whole = RowFile(tmp_path / "folder" / "rows", DTYPE), rows(10)
    assert len(row_file) == 0
    assert list(row_file.pieces(3)) == []
    assert len(row_file[:]) == 0
    row_file.append(whole[:4])
    row_file.append(whole[4:4])
    row_file.add(**{name: whole[4:][name] for name in whole.dtype.names})
    assert len(row_file) == 10
    np.testing.assert_array_equal(row_file[2:5], whole[2:5])
    np.testing.assert_array_equal(row_file[8:20], whole[8:])
    assert [len(piece) for piece in row_file.pieces(3)] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(list(row_file.pieces(3))), whole)
    row_file.remove()
    assert len(row_file) == 0


def test_one_value_may_stand_for_all_rows(tmp_path):
    row_file = RowFile(tmp_path / "rows", DTYPE)
    row_file.add(chrom=7, start=np.arange(3), labels=np.array([[1, 2]], dtype=np.uint64))
    assert row_file[:]["chrom"].tolist() == [7, 7, 7]
    assert row_file[:]["labels"].tolist() == [[1, 2]] * 3


def test_rows_of_a_plain_type(tmp_path):
    row_file = RowFile(tmp_path / "rows", (np.uint8, (5,)))
    row_file.append(np.arange(20, dtype=np.uint8).reshape(4, 5))
    assert row_file.shape == (4, 5)
    np.testing.assert_array_equal(row_file[1:3], [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])


def test_a_full_disk_is_told():
    full = RowFile(Path("/dev/full"), DTYPE)
    with pytest.raises(SatoriError, match="/dev/full: No space left on device; make room"):
        full.append(rows(1))
