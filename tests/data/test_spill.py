"""Rows on disk: what is appended is read, in its order, and a full disk is told."""

from pathlib import Path

import numpy as np
import pytest

from satori_hpc.data.source import Spill
from satori_hpc.errors import SatoriError

DTYPE = [("chrom", np.int32), ("start", np.int64), ("labels", np.uint64, (2,))]


def rows(count: int) -> np.ndarray:
    found = np.zeros(count, dtype=DTYPE)
    found["chrom"] = np.arange(count)
    found["start"] = np.arange(count) * 10**10
    found["labels"] = np.arange(2 * count).reshape(-1, 2)
    return found


def test_what_is_appended_is_read_a_piece_at_a_time(tmp_path):
    spill, whole = Spill(tmp_path / "folder" / "rows", DTYPE), rows(10)
    assert len(spill) == 0
    assert list(spill.pieces(3)) == []
    assert len(spill[:]) == 0
    spill.append(whole[:4])
    spill.append(whole[4:4])
    spill.add(**{name: whole[4:][name] for name in whole.dtype.names})
    assert len(spill) == 10
    np.testing.assert_array_equal(spill[2:5], whole[2:5])
    np.testing.assert_array_equal(spill[8:20], whole[8:])
    assert [len(piece) for piece in spill.pieces(3)] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(list(spill.pieces(3))), whole)
    spill.remove()
    assert len(spill) == 0


def test_one_value_may_stand_for_all_rows(tmp_path):
    spill = Spill(tmp_path / "rows", DTYPE)
    spill.add(chrom=7, start=np.arange(3), labels=np.array([[1, 2]], dtype=np.uint64))
    assert spill[:]["chrom"].tolist() == [7, 7, 7]
    assert spill[:]["labels"].tolist() == [[1, 2]] * 3


def test_rows_of_a_plain_type(tmp_path):
    spill = Spill(tmp_path / "rows", (np.uint8, (5,)))
    spill.append(np.arange(20, dtype=np.uint8).reshape(4, 5))
    assert spill.shape == (4, 5)
    np.testing.assert_array_equal(spill[1:3], [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])


def test_a_full_disk_is_told():
    full = Spill(Path("/dev/full"), DTYPE)
    with pytest.raises(SatoriError, match="/dev/full: No space left on device; make room"):
        full.append(rows(1))
