"""A trial of a search: a run directory of its own that shares the data set of the searched run (tuning.child_runs)."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import numpy as np

from satori_hpc import config as config_module
from satori_hpc.config import Config, toml
from satori_hpc.config.search import Choice, Range, Space, combinations
from satori_hpc.errors import SatoriError
from satori_hpc.evaluation import stage as evaluation_stage
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import pipeline, provenance
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint
from satori_hpc.tuning import child_runs

HEADER = """\
# Trial {number} of the search of {run}. Its data are links to those of that run.

"""
UNTIL = {"auroc": "train", "f1": "evaluate"}  # the last stage of a trial


def parameters(config: Config, number: int) -> dict[str, Any]:
    """What trial `number` of a search sets, by key."""
    space = config.search.space
    default = {dimension.key: toml.get(config, dimension.key) for dimension in space.dimensions}
    whole = {key for key in default if toml.kind(Config, key) is int}
    return draw(space, default, whole=whole, seed=config.search.seed, number=number)


def count(config: Config) -> int:
    """How many trials a search has: as many as asked for, or as the space holds."""
    default = {dimension.key: toml.get(config, dimension.key) for dimension in config.search.space.dimensions}
    return trials(config.search.space, default, most=config.search.trials)


def text(run: Run, number: int) -> str:
    """run.toml of a trial.

    Raises:
        ConfigError: its values do not go together.
    """
    config = config_module.rooted(run.config, run.path)
    for key, value in parameters(run.config, number).items():
        config = toml.replace(config, key, value)
    rendered = HEADER.format(number=number, run=run.path.resolve().name) + toml.render(config, skip=("search",))
    toml.parse(rendered, Config, name=str(run.trial(number) / "run.toml"))
    return rendered


def open_trial(run: Run, number: int) -> Run:
    """The run directory of a trial, with its run.toml. Raises: as `text`."""
    return child_runs.write(run.trial(number), text(run, number))


def work(run: Run, trial: Run, runtime: Runtime) -> None:
    """Run all stages of a trial that are not done; the caller holds its directory."""
    child_runs.work(run, trial, runtime, last=UNTIL[run.config.search.select])


def place(run: Run, number: int) -> str:
    """How far a trial has come: the stages that are done, and the newest checkpoint."""
    trial = Run(run.trial(number), run.config)
    done = [stage.name for stage in pipeline.STAGES if trial.record(stage.name).exists()]
    return " ".join([*done, *(path.name for path in checkpoint.step_files(trial.checkpoints)[:1])])


@dataclasses.dataclass(frozen=True)
class Result:
    """What ranks a trial, and what it took: epochs, and seconds of all its stages (of their last start)."""

    value: float
    epochs: int
    seconds: float


def result(run: Run, trial: Run) -> Result:
    """Read the result of a trial whose stages are done.

    Raises:
        SatoriError: it has no figure.
    """
    done = [found for stage in pipeline.STAGES if (found := provenance.read(trial.record(stage.name))) is not None]
    train = next(record for record in done if record.stage == "train")
    value = train.summary["valid_auroc"] if run.config.search.select == "auroc" else _f1(trial)
    if value is None:
        raise SatoriError("no AUROC: the validation examples hold a single class in every label")
    return Result(float(value), int(train.summary["epochs"]), round(sum(record.elapsed_s for record in done), 1))


def _f1(trial: Run) -> float:
    """F1 of the first scoring method; 0 where nothing is called."""
    content = evaluation_stage.read(trial)
    found: float = content["methods"][trial.config.score.methods[0]]["f1"]
    return found


# Which values a trial of a search takes: a function of (seed, number) alone, whoever asks and when.

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
