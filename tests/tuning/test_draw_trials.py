"""Trials of a search: a function of (seed, number), inside the space, none twice where the space is a grid."""

import math

import pytest

from satori_hpc.config.search import Choice, Range, Space
from satori_hpc.tuning import trial

GRID = Space((Choice("a", (1, 2, 3)), Choice("b", ("x", "y"))))
MIXED = Space((Choice("a", (1, 2)), Range("n", 1, 4), Range("r", 1e-4, 1e-1, log=True), Range("m", 1, 8, log=True)))
DEFAULT = {"a": 1, "n": 2, "r": 0.5, "m": 1}


def mixed(number: int, seed: int = 1) -> dict:
    return trial.draw(MIXED, DEFAULT, whole={"n", "m"}, seed=seed, number=number)


@pytest.mark.parametrize("default", [{"a": 2, "b": "y"}, {"a": 9, "b": "y"}])
def test_a_grid_is_walked_through_once_after_the_default(default: dict) -> None:
    count = trial.trials(GRID, default, most=100)
    drawn = [trial.draw(GRID, default, whole=(), seed=3, number=number) for number in range(count)]
    assert drawn[0] == default
    assert len({tuple(one.values()) for one in drawn}) == count
    assert {(a, b) for a in (1, 2, 3) for b in "xy"} <= {tuple(one.values()) for one in drawn}
    with pytest.raises(IndexError):
        trial.draw(GRID, default, whole=(), seed=3, number=count)
    assert trial.trials(GRID, default, most=4) == 4
    other = [trial.draw(GRID, default, whole=(), seed=4, number=number) for number in range(count)]
    assert other != drawn


def test_draws_stay_inside_and_reach_every_part() -> None:
    drawn = [mixed(number) for number in range(1, 400)]
    assert trial.trials(MIXED, DEFAULT, most=400) == 400
    assert {one["a"] for one in drawn} == {1, 2}
    assert {one["n"] for one in drawn} == {1, 2, 3, 4}
    assert {one["m"] for one in drawn} == set(range(1, 9))
    assert all(isinstance(one["m"], int) for one in drawn)
    logs = [math.log10(one["r"]) for one in drawn]
    assert all(-4 <= one <= -1 for one in logs)
    for low in (-4, -3, -2):
        assert 0.25 < sum(low <= one < low + 1 for one in logs) / len(logs) < 0.42


def test_a_trial_follows_from_seed_and_number_alone() -> None:
    assert [mixed(number) for number in (5, 2)] == [mixed(5), mixed(2)]
    assert mixed(5) != mixed(6)
    assert mixed(5) != mixed(5, seed=2)
    assert mixed(0, seed=9) == DEFAULT
