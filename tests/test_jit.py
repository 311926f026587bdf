"""Loops are compiled once per machine: their machine code is kept on disk, in a file for each version of it."""

from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from satori_hpc import jit


def double(values: np.ndarray) -> float:
    total = 0.0
    for value in values:
        total += 2 * value
    return total


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machine code is kept."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


ONES = np.ones(3)


def test_machine_code_is_found_again(folder: Path) -> None:
    for hits in (0, 1):
        loop = jit.compile_loops(double)
        assert loop(ONES) == 6
        assert sum(loop.stats.cache_hits.values()) == hits


def test_each_signature_has_a_file_of_its_own_and_there_is_no_index(folder: Path) -> None:
    one, other = jit.compile_loops(double), jit.compile_loops(double)
    assert (one(ONES), other(ONES.astype(np.float32))) == (6, 6)
    assert len(list(folder.rglob("*.nbc"))) == 2
    assert not list(folder.rglob("*.nbi"))
    again = jit.compile_loops(double)
    assert (again(ONES), again(ONES.astype(np.float32))) == (6, 6)
    assert sum(again.stats.cache_hits.values()) == 2


def test_machine_code_that_is_cut_short_is_made_anew(folder: Path) -> None:
    jit.compile_loops(double)(ONES)
    (file,) = folder.rglob("*.nbc")
    whole = file.read_bytes()
    for length in (0, len(whole) // 2):
        file.write_bytes(whole[:length])
        loop = jit.compile_loops(double)
        assert loop(ONES) == 6
        assert sum(loop.stats.cache_misses.values()) == 1


def test_a_full_disk_and_no_folder_to_write_to_are_no_reason_to_fail(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(122, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(caching.IndexDataCacheFile, "_save_data", full)
        assert jit.compile_loops(double)(ONES) == 6
    with monkeypatch.context() as patch:
        patch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
        assert jit.compile_loops(double)(ONES) == 6
    assert not list(folder.rglob("*.nbc"))
