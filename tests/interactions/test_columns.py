"""Values gathered block by block: the same as all at once, whatever the size of the buffer."""

import numpy as np
import pytest

from satori_hpc.interactions.columns import BINS, MISSING_DISTANCE, Columns, needed_bytes, values_of
from satori_hpc.interactions.statistics import mann_whitney

NAN = np.float32(np.nan)


def sample(rng: np.random.Generator, rows: int, columns: int, *, present: float = 0.4) -> np.ndarray:
    values = np.round(rng.standard_normal((rows, columns)), 2).astype(np.float32)
    values[rng.random(values.shape) > present] = NAN
    return values


def gathered(sides: tuple[np.ndarray, np.ndarray], *, step: int, memory: int | None = None) -> Columns:
    width = sides[0].shape[1]
    columns = Columns(width, rows=len(sides[0]) + len(sides[1]), memory=memory)
    for side, values in enumerate(sides):
        for first in range(0, len(values), step):
            columns.add(side, np.ascontiguousarray(values[first : first + step]))
    return columns


def test_keys_are_the_sorted_values_of_a_column() -> None:
    rng = np.random.default_rng(1)
    values = sample(rng, 90, 11)
    columns = gathered((values, values[:30]), step=17)
    for side, block in enumerate((values, values[:30])):
        keys_of = columns.sorted_keys(side)
        for column in range(11):
            expected = np.sort(block[~np.isnan(block[:, column]), column])
            np.testing.assert_array_equal(values_of(keys_of(column)), expected)
        np.testing.assert_array_equal(columns.counts(side), (~np.isnan(block)).sum(axis=0))


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_blocks_of_rows_do_not_change_a_bit(step: int) -> None:
    rng = np.random.default_rng(2)
    sides = sample(rng, 130, 19), sample(rng, 75, 19)
    whole, found = mann_whitney.mann_whitney(*sides), mann_whitney.compare(gathered(sides, step=step))
    for name in ("n_fg", "n_bg", "median_fg", "median_bg", "max_fg", "u", "auc", "p"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize("per_column", [9_000, 9_300])
@pytest.mark.parametrize("columns", [1, 3, 8, 17])
def test_full_memory_gives_up_the_last_columns_and_keeps_the_first(columns: int, per_column: int) -> None:
    rng = np.random.default_rng(3)
    sides = sample(rng, 100, 24), sample(rng, 50, 24)
    held = gathered(sides, step=20, memory=columns * per_column)
    assert 1 <= held.width < 24
    whole, found = mann_whitney.mann_whitney(*sides), mann_whitney.compare(held)
    np.testing.assert_array_equal(found.p, whole.p[: held.width])
    np.testing.assert_array_equal(found.n_bg, whole.n_bg[: held.width])


def test_the_next_run_of_columns_begins_where_the_last_ended() -> None:
    rng = np.random.default_rng(6)
    sides = sample(rng, 100, 24), sample(rng, 50, 24)
    distance = rng.integers(-2_000, 2_000, sides[0].shape).astype(np.int16)
    found, medians, first = [], [], 0
    while first < 24:
        columns = Columns(24 - first, rows=150, first=first, memory=200_000)
        columns.add(0, sides[0][:40], distance[:40])
        columns.add(0, sides[0][40:], distance[40:])
        columns.add(1, sides[1])
        found.append(mann_whitney.compare(columns).p)
        medians.append(columns.median_distances())
        first += columns.width
    assert len(found) > 2
    np.testing.assert_array_equal(np.concatenate(found), mann_whitney.mann_whitney(*sides).p)
    sizes = np.where(np.isnan(sides[0]), np.nan, abs(distance.astype(float)))
    np.testing.assert_array_equal(np.concatenate(medians), np.nanmedian(sizes, axis=0))


def test_what_is_needed_holds_all_columns_and_too_little_is_refused() -> None:
    ones = np.ones((60, 5), np.float32)
    distance = np.full((60, 5), -32_767, np.int16)
    columns = Columns(5, rows=120, memory=needed_bytes(5, rows=120))
    columns.add(0, ones, distance)
    columns.add(1, ones)
    assert columns.width == 5
    single = Columns(5, rows=120, memory=needed_bytes(1, rows=120))
    single.add(0, ones, distance)
    single.add(1, ones)
    assert single.width == 1
    with pytest.raises(ValueError, match="cannot hold one column"):
        Columns(5, rows=120, memory=8_000).add(0, ones)
    with pytest.raises(ValueError, match="more rows"):
        Columns(5, rows=59).add(0, ones)
    with pytest.raises(ValueError, match="float32"):
        Columns(5, rows=60).add(0, ones.astype(float))


@pytest.mark.parametrize("least", [-0.5, 0.0, 3.0, np.nan])
def test_values_below_the_least_are_dropped(least: float) -> None:
    rng = np.random.default_rng(4)
    values = sample(rng, 80, 9)
    columns = Columns(9, rows=len(values), least=least)
    columns.add(0, values)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(columns.counts(0), (values >= np.float32(least)).sum(axis=0))


def test_median_distances_count_sizes_of_kept_values() -> None:
    rng = np.random.default_rng(5)
    values = sample(rng, 120, 13)
    distance = rng.integers(-700, 701, values.shape).astype(np.int16)
    distance[np.isnan(values)] = MISSING_DISTANCE
    distance[:, 3] = MISSING_DISTANCE
    distance[0, 4], values[0, 4] = 32_767, 5  # beyond the first bins
    distance[1, 5], values[1, 5] = -32_767, 5
    values[:, 6] = NAN
    assert abs(distance[np.isfinite(values)]).max() > BINS
    for least in (-np.inf, 0.0):
        columns = Columns(13, rows=len(values), least=least)
        for first in range(0, 120, 50):
            columns.add(0, values[first : first + 50], distance[first : first + 50])
        found = columns.median_distances()
        for column in range(13):
            with np.errstate(invalid="ignore"):
                kept = (values[:, column] >= least) & (distance[:, column] != MISSING_DISTANCE)
            sizes = abs(distance[kept, column].astype(int))
            assert (found[column] == np.median(sizes)) if len(sizes) else np.isnan(found[column])


def test_a_rare_background_is_replaced_by_zeros_only_where_asked() -> None:
    foreground = np.arange(1, 25, dtype=np.float32).reshape(8, 3)
    background = np.array([[5, NAN, 2], [NAN, NAN, 3]], np.float32)
    columns = gathered((foreground, background), step=3)
    plain, replaced = mann_whitney.compare(columns), mann_whitney.compare(columns, replace_rare=True)
    zeros = mann_whitney.mann_whitney(foreground, np.zeros_like(foreground))
    np.testing.assert_array_equal(replaced.p, [zeros.p[0], zeros.p[1], plain.p[2]])
    np.testing.assert_array_equal(replaced.n_bg, [1, 0, 2])
    np.testing.assert_array_equal(replaced.median_bg, [np.nan, np.nan, 2.5])
    assert np.isnan(plain.p[1])
