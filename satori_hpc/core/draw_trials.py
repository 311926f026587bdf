"""Which values a trial of a search takes: a function of (seed, number) alone, whoever asks and when."""

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from satori_hpc.config_search import Choice, Range, Space, combinations

GRID, FREE = 71, 72
MOST_LISTED = 100_000  # of a larger grid, draws repeat so seldom that listing it is not worth its memory


def trials(space: Space, default: dict[str, Any], *, most: int) -> int:
    """How many trials there are: `most`, or as many as the space holds; the default is one of them.

    Args:
        space: what varies.
        default: its keys' values in trial 0.
        most: trials asked for.
    """
    size = _listed(space)
    return most if size is None else min(most, 1 + size - _holds(space, default))


def draw(space: Space, default: dict[str, Any], *, whole: Collection[str], seed: int, number: int) -> dict[str, Any]:
    """The values of trial `number`, by key.

    Trial 0 is the default. The others of a space of lists are its combinations in an order drawn by the seed, none
    twice and none the default; where there is a range, every trial is drawn on its own.

    Args:
        space: what varies.
        default: its keys' values in trial 0.
        whole: those of its keys that take whole numbers.
        seed: of the search.
        number: of the trial.

    Raises:
        IndexError: the space does not hold so many.
    """
    if number == 0:
        return dict(default)
    size = _listed(space)
    if size is None:
        rng = np.random.default_rng([seed, FREE, number])
        return {dimension.key: _value(dimension, dimension.key in whole, rng) for dimension in space.dimensions}
    order = np.random.default_rng([seed, GRID]).permutation(size)
    others = (found for place in order if (found := _combination(space, int(place))) != default)
    for place, found in enumerate(others, start=1):
        if place == number:
            return found
    raise IndexError(f"the space holds fewer than {number} combinations besides the default")


def _listed(space: Space) -> int | None:
    size = combinations(space)
    return None if size is None or size > MOST_LISTED else size


def _holds(space: Space, default: dict[str, Any]) -> bool:
    """Whether the default is one of the combinations of a space of lists."""
    return all(
        isinstance(dimension, Choice) and default[dimension.key] in dimension.values for dimension in space.dimensions
    )


def _combination(space: Space, place: int) -> dict[str, Any]:
    found = {}
    for dimension in space.dimensions:
        assert isinstance(dimension, Choice)
        place, position = divmod(place, len(dimension.values))
        found[dimension.key] = dimension.values[position]
    return found


def _value(dimension: Choice | Range, whole: bool, rng: np.random.Generator) -> Any:
    if isinstance(dimension, Choice):
        return dimension.values[int(rng.integers(len(dimension.values)))]
    low, high = dimension.low, dimension.high
    if whole and not dimension.log:
        return int(rng.integers(int(low), int(high) + 1))
    share = float(rng.random())
    if dimension.log:
        # A whole number owns the stretch around it, so that the ends are as likely as their neighbours.
        low, high = (low - 0.5, high + 0.5) if whole else (low, high)
        drawn = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        drawn = low + share * (high - low)
    # Four digits are as good as seventeen, and can be read.
    drawn = round(drawn) if whole else float(f"{drawn:.4g}")
    return type(drawn)(min(max(drawn, dimension.low), dimension.high))
