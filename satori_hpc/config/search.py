"""Define the section [search] of run.toml: search space, number of trials and ranking criterion."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from satori_hpc.config import toml
from satori_hpc.config.toml import option, table

# Sections whose keys may vary, by ranking criterion: others would change nothing, or the data that trials share.
SECTIONS = {"auroc": ("model", "train"), "f1": ("model", "train", "motifs", "score", "reduce")}


@dataclass(frozen=True)
class Choice:
    """A key that takes one of several values with equal probability."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A key that takes any number from low to high, both included; `log`: uniform in its logarithm."""

    key: str
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Space:
    """[search.space]: the search space, by key. In TOML, as `from_toml` and `toml_lines` have it:

    model.num_filters = [64, 128, 200]
    train.learning_rate = {low = 1e-4, high = 3e-3, log = true}
    """

    dimensions: tuple[Choice | Range, ...] = field(metadata={"doc": "by key, sorted"})

    @staticmethod
    def from_toml(content: dict[str, Any]) -> tuple["Space", list[str]]:
        """Parse the space declared by a TOML table; return it with the problems of its form."""
        problems: list[str] = []
        found = list(_dimensions(content, "", problems))
        keys = [dimension.key for dimension in found]
        problems += [f"{key}: stands there twice" for key in sorted(set(keys)) if keys.count(key) > 1]
        return Space(tuple(sorted(found, key=lambda dimension: dimension.key))), problems

    def toml_lines(self) -> list[str]:
        """Return the lines of the table."""
        return [f"{dimension.key} = {_to_toml(dimension)}" for dimension in self.dimensions]


def _dimensions(content: dict[str, Any], above: str, problems: list[str]) -> Iterator[Choice | Range]:
    for name, value in content.items():
        key = f"{above}.{name}".strip(".")
        if isinstance(value, list):
            yield Choice(key, tuple(tuple(item) if isinstance(item, list) else item for item in value))
        elif isinstance(value, dict) and value and not {"low", "high", "log"} & value.keys():
            yield from _dimensions(value, key, problems)
        elif _is_range(value):
            yield Range(key, value["low"], value["high"], value.get("log", False))
        else:
            problems.append(
                f"{key} = {value!r}: expected a list of values, or {{low = 0.1, high = 0.5}}, with log = true for a "
                "range that is even in its logarithm"
            )


def _is_range(value: Any) -> bool:
    def number(item: Any) -> bool:
        return isinstance(item, int | float) and not isinstance(item, bool)

    return (
        isinstance(value, dict)
        and {"low", "high"} <= value.keys() <= {"low", "high", "log"}
        and number(value["low"])
        and number(value["high"])
        and isinstance(value.get("log", False), bool)
    )


def _to_toml(dimension: Choice | Range) -> str:
    if isinstance(dimension, Choice):
        return toml.to_toml(dimension.values)
    log = ", log = true" if dimension.log else ""
    return f"{{low = {toml.to_toml(dimension.low)}, high = {toml.to_toml(dimension.high)}{log}}}"


def _published() -> Space:
    """Return the hyper-parameters tuned in SATORI 2.0; the values are ours, as the published ones are not available.

    SGD is excluded: it needs learning rates about a hundred times those of Adam, so that in one range with them every
    trial of it is lost (benchmarks/search_record.py, before: four of ten, AUROC .49 to .62 against .77 to .86).
    """
    return Space(
        (
            Choice("model.head_dim", (16, 32, 64)),
            Choice("model.kernel_size", (11, 13, 15, 19, 21)),
            Choice("model.mixing_size", (64, 100, 128, 256)),
            Choice("model.num_filters", (64, 128, 200, 256, 320)),
            Choice("model.num_heads", (2, 4, 8)),
            Choice("model.pool", (2, 4)),
            Range("train.learning_rate", 3e-4, 5e-3, log=True),
            Choice("train.optimiser", ("adam", "adamw")),
            Range("train.weight_decay", 1e-6, 1e-3, log=True),
        )
    )


@dataclass(frozen=True, kw_only=True)
class Search:
    """[search]: hyper-parameter search; each trial is a separate run."""

    trials: int = option(20, "number of configurations; trial 0 is this file's own, the others are drawn", low=1)
    seed: int = option(1, "trial k is determined by this seed and k", low=0, high=2**31 - 1)
    select: str = option(
        "auroc",
        "ranking criterion: auroc = AUROC of the validation examples; f1 = F1 of the called pairs against the "
        "implanted ones (simulated sets only; for the first of score.methods), to choose train.entropy: discard "
        "such a set afterwards",
        choices=("auroc", "f1"),
    )
    space: Space = table(
        _published,
        "Search space: a list of values, or {low = 0.1, high = 0.5}, with log = true for a log-uniform range.",
    )


def problems(search: Search, schema: type) -> Iterator[str]:
    """Check the search space against the dataclass of the whole of run.toml."""
    if not search.space.dimensions:
        yield "[search.space] is empty: name a key to vary, such as model.num_filters = [64, 128]"
    for dimension in search.space.dimensions:
        section = dimension.key.partition(".")[0]
        if section not in SECTIONS[search.select]:
            reason = {
                "prepare": "trials share the data of this run",
                "search": "a search does not vary itself",
            }.get(section, f"select = {search.select!r} varies keys of {', '.join(SECTIONS[search.select])}")
            yield f"[search.space] {dimension.key}: cannot be varied; {reason}"
            continue
        for complaint in _complaints(dimension, schema):
            yield f"[search.space] {complaint}"


def _complaints(dimension: Choice | Range, schema: type) -> Iterator[str]:
    key = dimension.key
    try:
        kind = toml.kind(schema, key)
    except KeyError as error:
        yield f"{key}: {error.args[0]}"
        return
    if isinstance(dimension, Choice):
        if not dimension.values:
            yield f"{key} = []: expected at least one value"
        if len(set(map(repr, dimension.values))) < len(dimension.values):
            yield f"{key}: a value stands there twice"
        tried = dimension.values
    else:
        tried = (dimension.low, dimension.high)
        if kind not in (int, float):
            yield f"{key}: a range suits numbers only; expected a list of values"
            return
        if not dimension.low < dimension.high:
            yield f"{key}: low = {dimension.low} is not below high = {dimension.high}"
        if dimension.log and dimension.low <= 0:
            yield f"{key}: log = true needs low above 0, found {dimension.low}"
    for value in tried:
        complaint = toml.complaint(schema, key, list(value) if isinstance(value, tuple) else value)
        if complaint:
            yield f"{key} = {toml.to_toml(value)}: {complaint}"


def combinations(space: Space) -> int | None:
    """Count the configurations of a space; None if it contains a range."""
    if any(isinstance(dimension, Range) for dimension in space.dimensions):
        return None
    return math.prod(len(dimension.values) for dimension in space.dimensions if isinstance(dimension, Choice))
