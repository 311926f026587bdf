"""Run a trial of a search: a run directory that shares the data set of the searched run, with values of its own.

A trial is complete when its outcome.json holds its value, or why it failed. That file is written by the holder of the
trial's lock, with digests of what determines the trial, so that one of another search is never used.
"""

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import config as config_module
from satori_hpc.config import Config, toml
from satori_hpc.config.search import Choice, Range, Space, combinations
from satori_hpc.errors import SatoriError, quoted
from satori_hpc.evaluation import stage as evaluation_stage
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import pipeline, provenance, sealed
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint
from satori_hpc.tuning import child_runs

FORMAT_VERSION = 1
HEADER = """\
# Trial {number} of the search of {run}. Its data are links to those of that run.

"""
WORDS = {"auroc": "validation AUROC", "f1": "F1 of the called pairs"}
UNTIL = {"auroc": "train", "f1": "evaluate"}  # last stage of a trial, by criterion
DEATHS = 3  # killed processes at the same place of a trial, after which it has failed; the last one was alone


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a trial that was started.

    Attributes:
        follows: {what: digest} of all that determines the trials of its search.
        value: ranking criterion; None unless it succeeded.
        epochs, seconds: of its training, and of all its stages since their last start.
        failed: why it failed.
        place, killed: number of processes in a row that were killed, or are running, at this place of it.
    """

    follows: dict[str, str]
    value: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    failed: str = ""
    place: str = ""
    killed: int = 0

    @property
    def ended(self) -> bool:
        return self.value is not None or bool(self.failed)


def outcome(run: Run, number: int) -> Outcome | None:
    """Read the outcome of a trial; None before it is started.

    Raises:
        ArtefactError: its file is damaged.
    """
    path = run.outcome(number)
    again = f"rm {quoted(path)} && satori-hpc search {quoted(run.path)}"
    try:
        content = sealed.read_json(
            path, version=FORMAT_VERSION, mend=f"search again, complete stages are kept: {again}"
        )
    except FileNotFoundError:
        return None
    del content["format_version"]
    return Outcome(**content)


@dataclass(frozen=True)
class Trial:
    """A trial (child_runs.Child).

    Attributes:
        run: the searched run.
        number: from 0, the run's own configuration.
        follows: as of `Outcome`.
        alone: no other process of this world is running. Launchers kill all when one is killed, so it is not known
            whose trial crashed; after DEATHS - 1 kills only a process that is alone may try.
    """

    run: Run
    number: int
    follows: dict[str, str]
    alone: bool

    @property
    def name(self) -> str:
        return f"trial {self.number}"

    @property
    def folder(self) -> Path:
        return self.run.trial(self.number)

    @property
    def what(self) -> str:
        values = parameters(self.run.config, self.number).items()
        said = ", ".join(f"{key} {value}" for key, value in values) if self.number else "your own configuration"
        return f"one of {count(self.run.config)}, {said}"

    def waits(self) -> bool:
        known = outcome(self.run, self.number)
        return known is None or not known.ended and (self.alone or self._killed(known) < DEATHS - 1)

    def work(self, runtime: Runtime) -> str:
        killed = self._killed(outcome(self.run, self.number))
        if killed >= DEATHS:
            raise SatoriError(
                f"{killed} processes in a row were killed as they worked on it, none having come any further than "
                "the one before; the system most often kills for memory: narrow the space, or give more"
            )
        inner = child_runs.write(self.folder, text(self.run, self.number))
        place = self._place()
        self._note(place=place, killed=killed + 1)  # remains if this process is killed
        try:
            child_runs.work(self.run, inner, runtime, last=UNTIL[self.run.config.search.select])
            found = result(self.run, inner)
        except BaseException:
            self._note(place=place, killed=killed)
            raise
        self._note(**found)
        word = WORDS[self.run.config.search.select]
        return f"{word} {found['value']:.4f} after {found['epochs']} epochs, {found['seconds']:.0f} s"

    def failed(self, reason: str) -> None:
        self._note(failed=reason)

    def _note(self, **known: Any) -> None:
        content = dataclasses.asdict(Outcome(follows=self.follows, **known))
        sealed.write_json(self.run.outcome(self.number), {"format_version": FORMAT_VERSION, **content})

    def _killed(self, known: Outcome | None) -> int:
        """Return the number of processes in a row that were killed where the trial is now."""
        return known.killed if known is not None and known.killed and known.place == self._place() else 0

    def _place(self) -> str:
        """Return the progress of the trial: its complete stages, and the newest checkpoint."""
        trial = Run(self.folder, self.run.config)
        done = [stage.name for stage in pipeline.STAGES if trial.record(stage.name).exists()]
        return " ".join([*done, *(path.name for path in checkpoint.step_files(trial.checkpoints)[:1])])


def parameters(config: Config, number: int) -> dict[str, Any]:
    """Return the values of trial `number` of a search, by key."""
    space = config.search.space
    default = {dimension.key: toml.get(config, dimension.key) for dimension in space.dimensions}
    whole = {key for key in default if toml.kind(Config, key) is int}
    return draw(space, default, whole=whole, seed=config.search.seed, number=number)


def count(config: Config) -> int:
    """Return the number of trials of a search: as requested, or as many as the space holds."""
    default = {dimension.key: toml.get(config, dimension.key) for dimension in config.search.space.dimensions}
    return trials(config.search.space, default, most=config.search.trials)


def text(run: Run, number: int) -> str:
    """Return the run.toml of a trial.

    Raises:
        ConfigError: its values contradict each other.
    """
    config = config_module.rooted(run.config, run.path)
    for key, value in parameters(run.config, number).items():
        config = toml.replace(config, key, value)
    rendered = HEADER.format(number=number, run=run.path.resolve().name) + toml.render(config, skip=("search",))
    toml.parse(rendered, Config, name=str(run.trial(number) / "run.toml"))
    return rendered


def result(run: Run, trial: Run) -> dict[str, Any]:
    """Return value, epochs and seconds of a trial whose stages are complete, by the names of `Outcome`.

    Raises:
        SatoriError: it has no value.
    """
    done = [found for stage in pipeline.STAGES if (found := provenance.read(trial.record(stage.name))) is not None]
    train = next(record for record in done if record.stage == "train")
    if run.config.search.select == "f1":  # of the first scoring method; 0 where nothing is called
        value = evaluation_stage.read(trial)["methods"][trial.config.score.methods[0]]["f1"]
    else:
        value = train.summary["valid_auroc"]
    if value is None:
        raise SatoriError("no AUROC: the validation examples hold a single class in every label")
    seconds = round(sum(record.elapsed_s for record in done), 1)
    return {"value": float(value), "epochs": int(train.summary["epochs"]), "seconds": seconds}


# Sampling: the values of a trial are a function of (seed, number) alone.

GRID, FREE = 71, 72
MOST_LISTED = 100_000  # a larger grid is sampled without listing it: draws seldom repeat


def trials(space: Space, default: dict[str, Any], *, most: int) -> int:
    """Return the number of trials: `most`, or as many as the space holds; the default is one of them.

    Args:
        space: what varies.
        default: its keys' values in trial 0.
        most: trials asked for.
    """
    size = _listed(space)
    return most if size is None else min(most, 1 + size - _holds(space, default))


def draw(space: Space, default: dict[str, Any], *, whole: Collection[str], seed: int, number: int) -> dict[str, Any]:
    """Sample the values of trial `number`, by key.

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
    """Return whether the default is one of the combinations of a space of lists."""
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
        # Rounded from an interval wider by 0.5 on both sides, so that the ends are as likely as their neighbours.
        low, high = (low - 0.5, high + 0.5) if whole else (low, high)
        drawn = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        drawn = low + share * (high - low)
    # Four digits suffice, and are readable.
    drawn = round(drawn) if whole else float(f"{drawn:.4g}")
    return type(drawn)(min(max(drawn, dimension.low), dimension.high))
