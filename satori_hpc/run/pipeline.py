"""Define the order of the stages, their inputs, and the state of their outputs.

A stage is complete when its provenance record exists; it is fresh when the record's configuration, inputs and files
are the current ones. Stale, modified or damaged inputs are never used silently: before a stage reads input files, they
are compared with their digests.
"""

import importlib
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.log import logger
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import provenance
from satori_hpc.run.layout import ALL_INSTANCES_ENDINGS, DIFFERENTIAL_ENDINGS, INTERACTION_ENDINGS, OUTCOME, Run
from satori_hpc.run.provenance import Record

SHOWN = 10  # damaged files that one message spells out
StageFunction = Callable[[Run, Runtime], dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also the function, and the command, unless it is a flag of another one.
        module: where that function is.
        needs: stages whose outputs it reads, as far as they apply.
        sections: sections of run.toml, or keys of them, whose change makes its outputs stale.
        outputs: the files and folders it writes.
        what: a one-line description.
        scratch: files from which it resumes; a forced run starts without them.
        applies: whether this run has such a step; None while this is undecided.
        flag_of: the command whose flag --<name> runs it, if it has no command of its own.
        shows: commands of ON_REQUEST whose outputs it reads if they are complete.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    sections: tuple[str, ...]
    outputs: Callable[[Run], list[Path]]
    what: str
    scratch: Callable[[Run], list[Path]] = lambda run: []
    applies: Callable[[Run], bool | None] = lambda run: True
    flag_of: str = ""
    shows: tuple[str, ...] = ()

    def command(self, run_path: Path) -> str:
        """Return the command line that runs it."""
        if self.flag_of:
            return f"satori-hpc {self.flag_of} {quoted(run_path)} --{self.name}"
        return f"satori-hpc {self.name} {quoted(run_path)}"

    def function(self) -> Callable[..., dict[str, Any]]:
        """Import the stage's function late, so that no stage loads the libraries of another."""
        module = importlib.import_module(f"satori_hpc.{self.module}")
        function: Callable[..., dict[str, Any]] = getattr(module, self.name)
        return function

    def check(self, run: Run, runtime: Runtime) -> dict[str, Any]:
        """Run the stage's function `check`, if any, to refuse bad inputs before anything is changed.

        Returns:
            the content it has read, by name, for the stage's function.
        """
        module = importlib.import_module(f"satori_hpc.{self.module}")
        checked: dict[str, Any] = module.check(run, runtime) if hasattr(module, "check") else {}
        return checked


def _score_outputs(run: Run) -> list[Path]:
    return [path(method) for method in run.config.score.methods for path in (run.scores, run.score_markers)]


def _table_outputs(run: Run) -> list[Path]:
    endings = INTERACTION_ENDINGS + (ALL_INSTANCES_ENDINGS if run.config.reduce.instances == "all" else ())
    return [
        run.interactions(method).parent / f"{method}{ending}"
        for method in run.config.score.methods
        for ending in endings
    ]


def _differential_outputs(run: Run) -> list[Path]:
    tables = map(run.interactions, run.config.score.methods)
    return [table.with_name(table.name + ending) for table in tables for ending in DIFFERENTIAL_ENDINGS]


def _ensemble_outputs(run: Run) -> list[Path]:
    tables = map(run.ensemble_table, run.config.score.methods)
    return [
        run.ensemble_summary,
        *(table.with_name(table.name + end) for table in tables for end in (".parquet", ".tsv")),
    ]


def _evaluation_outputs(run: Run) -> list[Path]:
    known = run.config.score.methods if run.config.evaluate.known else ()
    return [run.evaluation, *(run.known_pairs(method) for method in known)]


def _several_labels(run: Run) -> bool | None:
    from satori_hpc.data import dataset  # here: zarr is slow to load, and --help does without

    task = dataset.task(run.dataset)
    return None if task is None else task == "multilabel"


def _prepare_outputs(run: Run) -> list[Path]:
    return [run.dataset, run.truth, *(path for path in (run.excluded_records, run.chrom_sizes) if path.exists())]


STAGES: tuple[Stage, ...] = (
    Stage(
        "prepare",
        "data.prepare",
        (),
        ("prepare",),
        _prepare_outputs,
        "sequences, labels and split",
        scratch=lambda run: [run.dataset_parts],
    ),
    Stage(
        "train",
        "training.stage",
        ("prepare",),
        ("model", "train"),
        lambda run: [run.best, run.history, run.label_metrics, run.predictions],
        "the network, its history and its predictions",
        scratch=lambda run: [run.checkpoints, run.predictions_parts],
    ),
    Stage(
        "motifs",
        "sites.stage",
        ("prepare", "train"),
        ("motifs", "sites"),
        lambda run: [run.motifs],
        "motifs of the filters and TF names",
    ),
    Stage(
        "background",
        "sites.shuffled_background",
        ("prepare", "motifs"),
        ("score.split",),
        lambda run: [run.background],
        "shuffled controls, the background of multi-label sets",
        applies=_several_labels,
        flag_of="prepare",
    ),
    Stage(
        "score",
        "scoring.stage",
        ("prepare", "train", "motifs", "background"),
        ("score",),
        _score_outputs,
        "pair scores of every example",
    ),
    Stage(
        "reduce",
        "interactions.stage",
        ("motifs", "score"),
        ("reduce",),
        _table_outputs,
        "tests and interaction tables",
        scratch=lambda run: [run.parts(method) for method in run.config.score.methods],
    ),
    Stage(
        "evaluate",
        "evaluation.stage",
        ("prepare", "train", "motifs", "reduce"),
        ("evaluate", "reduce.alpha", "score.split"),
        _evaluation_outputs,
        "comparison with implanted pairs and known interactions",
    ),
    Stage(
        "report",
        "report.stage",
        ("prepare", "train", "motifs", "score", "reduce", "evaluate"),
        (
            "prepare",
            "model",
            "train",
            "motifs",
            "sites",
            "score",
            "reduce",
            "evaluate",
            "report",
        ),  # it shows all settings
        lambda run: [run.report],
        "one HTML page",
        shows=("differential", "ensemble"),
    ),
)
# Commands that no stage needs, and that leave a record when complete.
ON_REQUEST: tuple[Stage, ...] = (
    Stage(
        "differential",
        "interactions.differential",
        ("prepare", "score", "reduce"),
        (),
        _differential_outputs,
        "interactions by label",
    ),
    Stage(
        "ensemble",
        "tuning.ensemble",
        ("prepare", "reduce"),
        ("ensemble",),
        _ensemble_outputs,
        "combined calls of several networks",
    ),
    Stage(
        "search",
        "tuning.search",
        ("prepare",),
        ("search",),
        lambda run: [*run.outcomes(), run.leaderboard, run.best_settings],
        "other configurations, ranked",
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES + ON_REQUEST}


@dataclass(frozen=True)
class State:
    """State of a stage's outputs: complete, missing, unfinished, stale or modified."""

    state: str
    reason: str = ""
    record: Record | None = None

    @property
    def usable(self) -> bool:
        return self.state == "complete"


def states(run: Run) -> dict[str, State]:
    """Return the state of every stage that applies to a run, in order."""
    found: dict[str, State] = {}
    for stage in STAGES:
        if stage.applies(run):
            found[stage.name] = _state(run, stage, found)
    return found


def _state(run: Run, stage: Stage, upstream: dict[str, State]) -> State:
    outputs = stage.outputs(run)
    record = provenance.read(run.record(stage.name))
    if record is None:
        present = [path.name for path in outputs if path.exists()]
        return State("unfinished", f"{', '.join(present)} without a record") if present else State("missing")
    reason = _staleness(run, stage, record, upstream)
    if reason:
        return State("stale", reason, record)
    differences = provenance.changed(run.path, outputs, record.files)
    return State("modified", "; ".join(differences[:5]), record) if differences else State("complete", "", record)


def _staleness(run: Run, stage: Stage, record: Record, upstream: dict[str, State]) -> str:
    if record.config_digest != toml.digest(config.sections(run.config, stage.sections)):
        changed = _changed_keys(record.config, config.sections(run.config, stage.sections))
        keys = [key for key in changed if key.split(".")[0] != "plugins"]
        if changed and not keys:
            return ", ".join(f"plug-in {key.removeprefix('plugins.')} has changed" for key in changed)
        return "run.toml changed: " + (", ".join(keys[:5]) or ", ".join(stage.sections))
    for name in _needs(stage, upstream):
        above = upstream[name]
        if not above.usable or above.record is None:
            return f"{name} is {above.state}"
        if record.inputs.get(name) != above.record.digest:
            return f"made from another {name}"
    shown = {name: state.record for name, state in _requested(run, stage, upstream).items() if state.usable}
    for name in stage.shows:
        found = shown.get(name)
        if record.inputs.get(name) != (found.digest if found else None):
            return (
                f"made with other tables of {name}" if name in record.inputs else f"made without the tables of {name}"
            )
    for source, entry in record.sources.items():
        if provenance.source_changed(Path(source), entry):
            return f"{source} has changed"
    return ""


def _needs(stage: Stage, found: dict[str, State]) -> list[str]:
    """Return the stages whose outputs `stage` reads in a run to which the stages `found` apply."""
    return [name for name in stage.needs if name in found]


def _requested(run: Run, stage: Stage, upstream: dict[str, State]) -> dict[str, State]:
    """Return the states of the on-request commands that a stage shows."""
    return {name: _state(run, BY_NAME[name], upstream) for name in stage.shows}


def shown(run: Run, stage: Stage) -> dict[str, State]:
    """Return the on-request commands whose outputs a stage shows; report those that are out of date."""
    found = _requested(run, stage, states(run))
    for name, state in found.items():
        if not state.usable and state.state != "missing":
            again = BY_NAME[name].command(run.path)
            logger.warning(
                "%s is %s (%s), so %s leaves it out; run: %s", name, state.state, state.reason, stage.name, again
            )
    return {name: state for name, state in found.items() if state.usable}


def _changed_keys(old: Any, new: Any, name: str = "") -> list[str]:
    """Return dotted keys of the values in which two configurations differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [name]
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [full for key in keys for full in _changed_keys(old.get(key), new.get(key), f"{name}.{key}".strip("."))]


def require(run: Run, stage: Stage) -> dict[str, str]:
    """Return digests of the inputs of `stage`, after checking all files but chunks of arrays against the records.

    Raises:
        ArtefactError: any of them is missing, unfinished, stale, modified or damaged, each with the repair
            command.
    """
    found = states(run)
    needs = _needs(stage, found)
    bad = [name for name in needs if not found[name].usable]
    if bad:
        lines = [
            f"{stage.name} needs {name} ({BY_NAME[name].what}), which is {found[name].state}"
            + (f" ({found[name].reason})" if found[name].reason else "")
            + f"; run: {BY_NAME[name].command(run.path)}"
            for name in bad
        ]
        raise ArtefactError("\n".join(lines))
    read = {name: state.record for name, state in _requested(run, stage, found).items() if state.usable}
    read |= {name: found[name].record for name in needs}
    known = {name: record for name, record in read.items() if record is not None}
    intact(run, known, reader=stage.name)
    return {name: record.digest for name, record in known.items()}


def intact(run: Run, known: dict[str, Record], *, reader: str) -> None:
    """Refuse files that are not those of their records: small ones are read, chunks of arrays carry checksums.

    Args:
        run: the run.
        known: {stage: its record}.
        reader: who is to read them.

    Raises:
        ArtefactError: naming every file, with the command that makes it again.
    """
    lines = []
    for name, record in known.items():
        for file, entry in record.files.items():
            problem = "" if provenance.is_chunk(file) else provenance.compare(run.path / file, entry)[1]
            if problem:
                again = repair(run, BY_NAME[name], file, record)
                lines.append(f"{reader} needs {run.path / file} of {name}, which {problem}; run: {again}")
    if lines:
        lines = lines[:SHOWN] + [f"... and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)
        raise ArtefactError("\n".join([*lines, f"all that is damaged: satori-hpc verify {quoted(run.path)}"]))


def repair(run: Run, stage: Stage, name: str, record: Record | None = None) -> str:
    """Return the command that rebuilds a file of a stage, given relative to the run."""
    path = run.path
    if (
        stage.name == "prepare" and run.dataset.is_symlink()
    ):  # the data of a run inside a run are those of the outer one
        path = run.dataset.resolve().parent
    command = stage.command(path)
    if stage.name == "train" or name.endswith(".markers/complete.json"):
        # Without its record a stage resumes from its scratch files: nothing is trained or scored again.
        return f"rm {quoted(run.record(stage.name))} && {command}"
    if ".markers/" in name or name.endswith(f"/{OUTCOME}"):
        return f"rm {quoted(run.path / name)} && {command}"  # its content is found again
    if stage in ON_REQUEST:
        asked = record.summary.get("arguments", []) if record else []
        return " ".join([command, *map(shlex.quote, asked)])
    return f"{command} --force"


def warnings(found: dict[str, State]) -> list[tuple[str, str]]:
    """Return (stage, sentence) of all warnings of the complete stages of a run, in their order."""
    return [
        (name, str(sentence))
        for name, state in found.items()
        if state.usable and state.record is not None
        for sentence in state.record.summary.get("warnings", [])
    ]


def calls(run: Run, found: dict[str, State]) -> list[str]:
    """Return a line per method with the numbers of tested and called pairs; nothing before the tables are made."""
    state = found.get("reduce", State("missing"))
    if not state.usable or state.record is None:
        return []
    lines = []
    for method in run.config.score.methods:
        counts = state.record.summary[method]
        lines.append(
            f"{method}: {counts['called_tf_pairs']:,} TF pairs called, of {counts['tf_pairs']:,} tested "
            f"({counts['called_pairs']:,} of {counts['tested_pairs']:,} filter pairs)"
            if counts["tested_pairs"]
            else f"{method}: NOTHING TESTED, so nothing is called"
        )
    return lines


def remaining(run: Run) -> list[str]:
    """Return names of the stages that are not complete and up to date, in order."""
    return [name for name, state in states(run).items() if not state.usable]


def pending(run: Run) -> Iterator[str]:
    """Yield the names of `remaining`, each checked at its turn, since earlier stages decide whether it applies."""
    for stage in STAGES:
        if stage.name in remaining(run):
            yield stage.name


def writable(run: Run) -> None:
    """Refuse early when the run directory cannot be written.

    Raises:
        ArtefactError: no permission.
    """
    if not os.access(run.path, os.W_OK):
        raise ArtefactError(f"{run.path}: not writable; choose another run directory or fix its permissions")
