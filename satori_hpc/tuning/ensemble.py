"""ensemble: networks of several seeds on the data of one run, by any number of processes, and what they call together.

As in a search, nobody hands out work: every process takes the next member that is not done and that nobody holds.
Whether a member is done is told by the records of its stages, so there is no other book to keep.
"""

import dataclasses
import functools
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from satori_hpc import config as config_module
from satori_hpc.config import Config, toml
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import HeldError, Requeue, SatoriError, quoted
from satori_hpc.evaluation import calls
from satori_hpc.evaluation import stage as evaluation_stage
from satori_hpc.interactions import tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, lock, pipeline, provenance, sealed
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs

# Several networks of one configuration, brought together pair of TFs by pair of TFs.
#
# Filter 17 of one network has nothing to do with filter 17 of another: names of TFs are what networks have in common.

# Column here: column of a member's table of TF pairs, of which it is the median.
MEDIANS = {
    "median_q": "q",
    "median_neg_log10_p": "neg_log10_p",
    "median_auc": "auc",
    "median_effect": "effect",
    "median_distance": "median_distance",
}


def combine(members: Sequence[Mapping[str, np.ndarray]], *, needed: int) -> dict[str, np.ndarray]:
    """Gather the rows that the members have of each pair of TFs.

    Args:
        members: columns tf_a, tf_b, called and those of MEDIANS of each member's tested TF pairs, one row per pair,
            names sorted within it.
        needed: members that must call a pair for it to be called.

    Returns:
        tf_a, tf_b, seeds (members with a row of the pair), called_seeds, min_q, the columns of MEDIANS, called; one row
        per pair that any member has, those called by most members first, then by median q, median p, median AUC
        falling, names. It does not depend on the order of the members.
    """
    rows: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for number, table in enumerate(members):
        for row, pair in enumerate(zip(table["tf_a"].tolist(), table["tf_b"].tolist(), strict=True)):
            rows.setdefault(pair, []).append((number, row))
    names = sorted(rows)

    def values(column: str, pair: tuple[str, str]) -> np.ndarray:
        return np.array([members[number][column][row] for number, row in rows[pair]])

    called_seeds = np.array([values("called", pair).astype(bool).sum() for pair in names], dtype=np.int64)
    found = {
        "tf_a": np.array([first for first, _ in names], dtype=object),
        "tf_b": np.array([second for _, second in names], dtype=object),
        "seeds": np.array([len(rows[pair]) for pair in names], dtype=np.int64),
        "called_seeds": called_seeds,
        "min_q": np.array([values("q", pair).min() for pair in names], dtype=np.float64),
        **{
            name: np.array([np.median(values(column, pair)) for pair in names], dtype=np.float64)
            for name, column in MEDIANS.items()
        },
        "called": called_seeds >= needed,
    }
    order = np.lexsort(
        (
            np.arange(len(names)),
            -found["median_auc"],
            -found["median_neg_log10_p"],
            found["median_q"],
            -found["called_seeds"],
        )
    )
    return {name: column[order] for name, column in found.items()}


# The networks of an ensemble: the run itself, and run directories in it that share its data (tuning.child_runs).

LAST = "reduce"  # stage of a member
SEEDS = 2**31  # seeds are below this
HEADER = """\
# The network of seed {seed} in the ensemble of {run}. Its data are links to those of that run.

"""


@dataclasses.dataclass(frozen=True)
class Member:
    """One network of the ensemble of `run`; the first is that of the run itself."""

    run: Run
    seed: int

    @property
    def is_run(self) -> bool:
        return self.seed == self.run.config.network_seed

    @functools.cached_property
    def own(self) -> Run:
        """Its run directory, with the run.toml that it has or is to have."""
        if self.is_run:
            return self.run
        path = self.run.member(self.seed)
        return Run(path=path, config=toml.parse(self._text(), Config, name=str(path)))

    def done(self) -> bool:
        """Whether its tables are there, fresh and made as run.toml has it now."""
        left = pipeline.remaining(self.own)
        return not any(stage.name in left for stage in STAGES)

    def work(self, runtime: Runtime) -> None:
        """Run its stages that are not done; the caller holds its directory."""
        if not self.is_run:
            child_runs.write(self.own.path, self._text())
        child_runs.work(self.run, self.own, runtime, last=LAST)

    def _text(self) -> str:
        config = config_module.renamed(self.run.config, self._from_here)
        config = toml.replace(config, "train.seed", self.seed)
        header = HEADER.format(seed=self.seed, run=self.run.path.resolve().name)
        return header + toml.render(config, skip=("search", "ensemble"))

    def _from_here(self, name: str) -> str:
        """A relative file name of the run as it is from the member's directory; it stays true when the run is moved."""
        if Path(name).expanduser().is_absolute():
            return name
        return os.path.relpath(self.run.path.resolve() / name, self.run.member(self.seed).resolve())


STAGES = pipeline.STAGES[: [stage.name for stage in pipeline.STAGES].index(LAST) + 1]


def members(run: Run) -> list[Member]:
    """All members, the run itself first; the others have the seeds that follow its own."""
    first = run.config.network_seed
    return [Member(run, (first + number) % SEEDS) for number in range(run.config.ensemble.seeds)]


# What the networks of an ensemble call together: tables of TF pairs, and how well each network and all of them do.

FORMAT_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is of an ensemble.

    Attributes:
        run: the first member.
        done, unfinished: seeds.
        summary: the content of ensemble.json; empty unless all members are done.
    """

    run: Run
    done: tuple[int, ...]
    unfinished: tuple[int, ...]
    summary: dict[str, Any]

    @property
    def complete(self) -> bool:
        return not self.unfinished

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": str(self.run.path),
            "complete": self.complete,
            "done": list(self.done),
            "unfinished": list(self.unfinished),
            **self.summary,
        }

    def lines(self) -> list[str]:
        """For people."""
        total = len(self.done) + len(self.unfinished)
        if not self.complete:
            left = ", ".join(map(str, self.unfinished))
            return [
                f"{len(self.done)} of {total} networks are done",
                f"next: satori-hpc ensemble {quoted(self.run.path)}   (seeds not begun, at work elsewhere, or left "
                f"by a process that is gone: {left})",
            ]
        lines = [f"{total} networks; a TF pair is called when {self.summary['min_seeds']} of them call it"]
        for method, found in self.summary["methods"].items():
            lines += [f"{method}: {found['tested']} TF pairs tested, {found['called']} called", *_detail(found)]
            lines.append(f"  {self.run.ensemble_table(method)}.tsv")
        for seed, warnings in self.summary["warnings"].items():
            lines += [f"warning (seed {seed}) {sentence}" for sentence in warnings]
        return [*lines, f"next, for a report that shows it: satori-hpc all {quoted(self.run.path)}"]


def _detail(found: dict[str, Any]) -> list[str]:
    """How many pairs how many networks call; with known pairs, how well each network and all of them do."""
    counts = ", ".join(f"by {k}: {pairs}" for k, pairs in found["called_by"].items())
    lines = [f"  pairs by the networks that call them: {counts}"]
    for seed, member in found["members"].items():
        lines.append(f"  seed {seed:<10} " + _said(member))
    return [*lines, f"  {'together':<15} " + _said(found["together"])]


def _said(scores: dict[str, Any]) -> str:
    return evaluation_stage.figures(scores) if "f1" in scores else f"{scores['called']} called"


def conclude_tables(run: Run) -> Found:
    """What there is of the ensemble of `run`; writes its tables and ensemble.json when all members are done.

    They follow from the members' tables alone, so processes that do this at the same time write the same.
    """
    everyone = members(run)
    state = {member.seed: member.done() for member in everyone}
    summary = {} if not all(state.values()) else _write(run, everyone)
    return Found(
        run=run,
        done=tuple(seed for seed, done in state.items() if done),
        unfinished=tuple(seed for seed, done in state.items() if not done),
        summary=summary,
    )


def table_of(run: Run, method: str) -> pd.DataFrame | None:
    """The ensemble's table of a method, if it was made of the members' tables of now with the settings of now."""
    mend = f"make it again: satori-hpc ensemble {quoted(run.path)}"
    try:
        summary = sealed.read_json(run.ensemble_summary, version=FORMAT_VERSION, mend=mend)
    except FileNotFoundError:
        return None
    known = _made_of(run, members(run))
    if method not in summary["methods"]:
        return None
    return tables.read_ensemble(run.ensemble_table(method)) if known.items() <= summary.items() else None


def _made_of(run: Run, everyone: list[Member]) -> dict[str, Any]:
    """What the tables follow from."""
    done = {str(member.seed): provenance.read(member.own.record(LAST)) for member in everyone}
    return {
        "seeds": [member.seed for member in everyone],
        "min_seeds": run.config.ensemble.needed,
        "reduce": {seed: record.digest if record is not None else None for seed, record in done.items()},
    }


def _write(run: Run, everyone: list[Member]) -> dict[str, Any]:
    began = time.monotonic()
    inputs = pipeline.require(run, pipeline.BY_NAME["ensemble"])
    run.record("ensemble").unlink(missing_ok=True)  # only with it do the tables count
    summary = {
        "format_version": FORMAT_VERSION,
        **_made_of(run, everyone),
        "methods": {method: _method(run, everyone, method) for method in run.config.score.methods},
        "warnings": {str(member.seed): _warnings(member) for member in everyone},
        "versions": provenance.versions(),
    }
    sealed.write_json(run.ensemble_summary, toml.to_plain(summary))
    execute.note(run, "ensemble", inputs=inputs, summary={"seeds": summary["seeds"]}, began=began)
    return summary


def _warnings(member: Member) -> list[str]:
    """What the stages of a network warned of."""
    return [f"{stage}: {sentence}" for stage, sentence in pipeline.warnings(pipeline.states(member.own))]


def _method(run: Run, everyone: list[Member], method: str) -> dict[str, Any]:
    """Write the table of a method; its figures."""
    own = {str(member.seed): _member_table(member, method) for member in everyone}
    columns = [{name: table[name].to_numpy() for name in table.columns} for table in own.values()]
    found = combine(columns, needed=run.config.ensemble.needed)
    tables.write_ensemble(run.ensemble_table(method), found)
    counts = np.bincount(found["called_seeds"], minlength=len(own) + 1)
    return {
        "tested": len(found["called"]),
        "called": int(found["called"].sum()),
        "called_by": {str(k): int(counts[k]) for k in range(len(own), 0, -1)},
        "members": {seed: _calls(run, table) for seed, table in own.items()},
        "together": _calls(run, pd.DataFrame(found)),
    }


def _member_table(member: Member, method: str) -> pd.DataFrame:
    record = provenance.read(member.own.record(LAST))
    assert record is not None, "conclude has looked"
    pipeline.intact(member.own, {LAST: record}, reader="ensemble")
    return tables.read_tf(member.own.interactions(method))


def _calls(run: Run, table: pd.DataFrame) -> dict[str, Any]:
    """How many pairs a table calls; in simulated sets, how many of the implanted ones."""
    called = table[table["called"].astype(bool)]
    if not run.truth.exists():
        return {"called": len(called)}
    pool = [motif.name for motif in truth.read_pool(run.truth)]
    pairs = list(zip(called["tf_a"], called["tf_b"], strict=True))
    gold, decoys = (truth.read_pairs(run.truth, role) for role in ("true", "decoy"))
    if not gold:
        return dataclasses.asdict(calls.all_false(pairs, pool=pool, decoys=decoys))
    return dataclasses.asdict(calls.calls(pairs, gold, pool=pool, decoys=decoys))


logger = logging.getLogger("satori_hpc.ensemble")


def ensemble(run: Run, runtime: Runtime, *, most: int = 0) -> Found | None:
    """Work on the members of a run's ensemble until none is left to take; when all are done, write their tables.

    Every process of the runtime's world takes members of its own; processes of other worlds may do so at the same time.

    Args:
        run: its prepare is done; it is itself the first member.
        runtime: what each process may use.
        most: members that this process may take; 0 = any number.

    Returns:
        what there is then, None on all but the leader; others may still be at work on what is unfinished.

    Raises:
        ArtefactError: the data set cannot be used.
        Requeue: a process was asked to stop, and kept the state of its member.
        SatoriError: members cannot be made, or somebody else works on the run itself.
    """
    logger.setLevel(logging.INFO)  # every process tells of its members, though only the first tells of their epochs
    runtime.torch_device()  # a device that is not there is no member's fault
    world = runtime.world
    with lock.hold(run.path, what=f"satori-hpc ensemble {quoted(run.path)}", shared=True):
        world.lead(lambda: pipeline.require(run, pipeline.BY_NAME["train"]) and None)
        world.lead(lambda: run.ensemble.mkdir(exist_ok=True))
        worker = _Worker(run, runtime)
        reasons = child_runs.work_together(run, world, lambda: worker.work(most))
        failures = {seed: why for theirs in world.gather(worker.failures) for seed, why in theirs.items()}
        found: Found | None = None

        def conclude() -> bool:
            nonlocal found
            found = conclude_tables(run)
            return found.complete

        if not world.lead(conclude) and (reasons or failures):
            lines = [f"  - seed {seed}: {why}" for seed, why in sorted(failures.items())]
            end = Requeue(reasons[0]) if reasons else SatoriError("\n".join(["networks that failed:", *lines]))
            end.shared = True
            raise end
        return found


class _Worker:
    """One process that works on members. `failures`: {seed: why} of those that it could not make."""

    def __init__(self, run: Run, runtime: Runtime) -> None:
        self.run = run
        self.runtime = child_runs.alone(runtime)
        self.world = runtime.world
        self.failures: dict[int, str] = {}

    def work(self, most: int) -> None:
        """Take members until there is none, or `most` were taken."""
        taken = 0
        for member, patient in self._open():
            taken += self._try(member, patient=patient)
            if most and taken == most:
                return

    def _open(self) -> Iterator[tuple[Member, bool]]:
        """Members that are not done: all of them, and once more those that somebody held at the first look.

        Where somebody else looks at the same time, both may step back: only at the first look is that no matter.
        """
        for patient in (False, True):
            for member in members(self.run):
                if member.seed not in self.failures and not member.done():
                    yield member, patient

    def _try(self, member: Member, *, patient: bool) -> bool:
        """Work on a member to its end; False when somebody else has it, or had it."""
        # The run itself is held by all processes together; the folder stands for it among them.
        return child_runs.take(
            self.run.ensemble if member.is_run else member.own.path,
            lambda: self._work(member),
            what=f"satori-hpc ensemble {quoted(self.run.path)}",
            part=f"seed {member.seed}",
            world=self.world,
            patient=patient,
        )

    def _work(self, member: Member) -> bool:
        if member.done():
            return False
        logger.info("seed %d: one of %d networks", member.seed, self.run.config.ensemble.seeds)
        pipeline.require(self.run, pipeline.BY_NAME["train"])  # data made anew meanwhile are no member's fault
        try:
            member.work(self.runtime)
        except (HeldError, Requeue):
            raise
        except (SatoriError, MemoryError, torch.OutOfMemoryError) as error:
            reason = f"{error}" if isinstance(error, SatoriError) else f"not enough memory: {error}"
            self.failures[member.seed] = reason
            logger.warning("seed %d failed: %s", member.seed, reason)
            return True
        logger.info("seed %d: done", member.seed)
        return True
