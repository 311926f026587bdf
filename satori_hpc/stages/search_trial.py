"""A trial of a search: a run directory of its own that shares the data set of the searched run (stages.subrun)."""

import dataclasses
from typing import Any

from satori_hpc import config as config_module
from satori_hpc import options
from satori_hpc.config import Config
from satori_hpc.core import draw_trials
from satori_hpc.errors import SatoriError
from satori_hpc.run import Run
from satori_hpc.stages import evaluate, pipeline, subrun
from satori_hpc.stores import checkpoint, records
from satori_hpc.world import Runtime

HEADER = """\
# Trial {number} of the search of {run}. Its data are links to those of that run.

"""
UNTIL = {"auroc": "train", "f1": "evaluate"}  # the last stage of a trial


def parameters(config: Config, number: int) -> dict[str, Any]:
    """What trial `number` of a search sets, by key."""
    space = config.search.space
    default = {dimension.key: options.get(config, dimension.key) for dimension in space.dimensions}
    whole = {key for key in default if options.kind(Config, key) is int}
    return draw_trials.draw(space, default, whole=whole, seed=config.search.seed, number=number)


def count(config: Config) -> int:
    """How many trials a search has: as many as asked for, or as the space holds."""
    default = {dimension.key: options.get(config, dimension.key) for dimension in config.search.space.dimensions}
    return draw_trials.trials(config.search.space, default, most=config.search.trials)


def text(run: Run, number: int) -> str:
    """run.toml of a trial.

    Raises:
        ConfigError: its values do not go together.
    """
    config = config_module.rooted(run.config, run.path)
    for key, value in parameters(run.config, number).items():
        config = options.replace(config, key, value)
    rendered = HEADER.format(number=number, run=run.path.resolve().name) + options.render(config, skip=("search",))
    options.parse(rendered, Config, name=str(run.trial(number) / "run.toml"))
    return rendered


def open_trial(run: Run, number: int) -> Run:
    """The run directory of a trial, with its run.toml. Raises: as `text`."""
    return subrun.write(run.trial(number), text(run, number))


def work(run: Run, trial: Run, runtime: Runtime) -> None:
    """Run all stages of a trial that are not done; the caller holds its directory."""
    subrun.work(run, trial, runtime, last=UNTIL[run.config.search.select])


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
    done = [found for stage in pipeline.STAGES if (found := records.read(trial.record(stage.name))) is not None]
    train = next(record for record in done if record.stage == "train")
    value = train.summary["valid_auroc"] if run.config.search.select == "auroc" else _f1(trial)
    if value is None:
        raise SatoriError("no AUROC: the validation examples hold a single class in every label")
    return Result(float(value), int(train.summary["epochs"]), round(sum(record.elapsed_s for record in done), 1))


def _f1(trial: Run) -> float:
    """F1 of the first scoring method; 0 where nothing is called."""
    content = evaluate.read(trial)
    found: float = content["methods"][trial.config.score.methods[0]]["f1"]
    return found
