"""Train an ensemble: networks of several seeds on the data of one run; TF pairs are called by majority.

As in a search, every process takes the next member that is unfinished and not locked. The records of its stages show
whether a member is complete.
"""

import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc import config as config_module
from satori_hpc.config import Config, toml
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import SatoriError, quoted
from satori_hpc.evaluation import calls
from satori_hpc.evaluation import stage as evaluation_stage
from satori_hpc.interactions import tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, lock, pipeline, provenance, sealed
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs

# Results of several networks of one configuration, combined by TF pair.
#
# Filter 17 of one network has nothing to do with filter 17 of another: networks have only names of TFs in common.

# Column here: the column of the members' tables of TF pairs of which it is the median.
MEDIANS = {
    "median_q": "q",
    "median_neg_log10_p": "neg_log10_p",
    "median_auc": "auc",
    "median_effect": "effect",
    "median_distance": "median_distance",
}


def combine(members: Sequence[Mapping[str, np.ndarray]], *, needed: int) -> dict[str, np.ndarray]:
    """Combine the tables of the members by TF pair.

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


# Members of an ensemble: the run itself, and run directories in it that share its data (tuning.child_runs).

LAST = "reduce"  # stage of a member
SEEDS = 2**31  # seeds are below this
HEADER = """\
# The network of seed {seed} in the ensemble of {run}. Its data are links to those of that run.

"""


@dataclasses.dataclass(frozen=True)
class Member:
    """A network of the ensemble of `run` (child_runs.Child); the first is that of the run itself."""

    run: Run
    seed: int

    @property
    def name(self) -> str:
        return f"seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder that is locked; for the run itself, whose lock all processes share, a folder in its place."""
        return self.run.ensemble if self.is_run else self.own.path

    @property
    def what(self) -> str:
        return f"one of {self.run.config.ensemble.seeds} networks"

    @property
    def is_run(self) -> bool:
        return self.seed == self.run.config.network_seed

    @functools.cached_property
    def own(self) -> Run:
        """Return its run directory, with the run.toml that it has or will have."""
        if self.is_run:
            return self.run
        path = self.run.member(self.seed)
        return Run(path=path, config=toml.parse(self._text(), Config, name=str(path)))

    def waits(self) -> bool:
        """Return whether its tables are missing, stale, or not made with the settings of run.toml."""
        left = pipeline.remaining(self.own)
        return any(stage.name in left for stage in STAGES)

    def work(self, runtime: Runtime) -> str:
        if not self.is_run:
            child_runs.write(self.own.path, self._text())
        child_runs.work(self.run, self.own, runtime, last=LAST)
        return "done"

    def failed(self, reason: str) -> None:
        """Record nothing: the next command tries again."""

    def _text(self) -> str:
        config = config_module.renamed(self.run.config, self._from_here)
        config = toml.replace(config, "train.seed", self.seed)
        header = HEADER.format(seed=self.seed, run=self.run.path.resolve().name)
        return header + toml.render(config, skip=("search", "ensemble"))

    def _from_here(self, name: str) -> str:
        """Rewrite a file name relative to the run as relative to the member's directory, so the run can be moved."""
        if Path(name).expanduser().is_absolute():
            return name
        return os.path.relpath(self.run.path.resolve() / name, self.run.member(self.seed).resolve())


STAGES = pipeline.STAGES[: [stage.name for stage in pipeline.STAGES].index(LAST) + 1]


def members(run: Run) -> list[Member]:
    """Return all members, the run itself first; the others have the seeds that follow its own."""
    first = run.config.network_seed
    return [Member(run, (first + number) % SEEDS) for number in range(run.config.ensemble.seeds)]


# Results of an ensemble: tables of TF pairs, and the performance of each network and of all together.

FORMAT_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Found:
    """State and results of an ensemble.

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
        """Return the content for programs (JSON)."""
        return {
            "run": str(self.run.path),
            "complete": self.complete,
            "done": list(self.done),
            "unfinished": list(self.unfinished),
            **self.summary,
        }

    def lines(self) -> list[str]:
        """Return the content for people, in lines."""
        total = len(self.done) + len(self.unfinished)
        if not self.complete:
            left = ", ".join(map(str, self.unfinished))
            return [
                f"{len(self.done)} of {total} networks are done",
                f"next: satori-hpc ensemble {quoted(self.run.path)}   (seeds not begun, running elsewhere, or left "
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
    """Return lines: pairs by number of networks that call them; with known pairs, the performance of each."""
    counts = ", ".join(f"by {k}: {pairs}" for k, pairs in found["called_by"].items())
    lines = [f"  pairs by the networks that call them: {counts}"]
    for seed, member in found["members"].items():
        lines.append(f"  seed {seed:<10} " + _said(member))
    return [*lines, f"  {'together':<15} " + _said(found["together"])]


def _said(scores: dict[str, Any]) -> str:
    return evaluation_stage.figures(scores) if "f1" in scores else f"{scores['called']} called"


def conclude_tables(run: Run) -> Found:
    """Return the state of the ensemble of `run`; write its tables and ensemble.json when all members are done.

    They depend on the members' tables alone, so concurrent processes write the same.
    """
    everyone = members(run)
    waits = {member.seed: member.waits() for member in everyone}
    return Found(
        run=run,
        done=tuple(seed for seed, waiting in waits.items() if not waiting),
        unfinished=tuple(seed for seed, waiting in waits.items() if waiting),
        summary={} if any(waits.values()) else _write(run, everyone),
    )


def table_of(run: Run, method: str) -> pd.DataFrame | None:
    """Return the ensemble's table of a method, if it is of the members' current tables and settings."""
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
    """Return digests of all that determines the tables."""
    done = {str(member.seed): provenance.read(member.own.record(LAST)) for member in everyone}
    return {
        "seeds": [member.seed for member in everyone],
        "min_seeds": run.config.ensemble.needed,
        "reduce": {seed: record.digest if record is not None else None for seed, record in done.items()},
    }


def _write(run: Run, everyone: list[Member]) -> dict[str, Any]:
    began = time.monotonic()
    inputs = pipeline.require(run, pipeline.BY_NAME["ensemble"])
    run.record("ensemble").unlink(missing_ok=True)  # the tables are valid only with it
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
    """Return the warnings of the stages of a network."""
    return [f"{stage}: {sentence}" for stage, sentence in pipeline.warnings(pipeline.states(member.own))]


def _method(run: Run, everyone: list[Member], method: str) -> dict[str, Any]:
    """Write the table of a method; return its summary."""
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
    """Count the called pairs of a table; in simulated sets, also those that are implanted."""
    called = table[table["called"].astype(bool)]
    if not run.truth.exists():
        return {"called": len(called)}
    pool = [motif.name for motif in truth.read_pool(run.truth)]
    pairs = list(zip(called["tf_a"], called["tf_b"], strict=True))
    gold, decoys = (truth.read_pairs(run.truth, role) for role in ("true", "decoy"))
    if not gold:
        return dataclasses.asdict(calls.all_false(pairs, pool=pool, decoys=decoys))
    return dataclasses.asdict(calls.calls(pairs, gold, pool=pool, decoys=decoys))


def ensemble(run: Run, runtime: Runtime, *, most: int = 0) -> Found | None:
    """Process the members of a run's ensemble until none is left; when all are done, write their tables.

    Every process of the runtime's world takes members; processes of other worlds may do so at the same time.

    Args:
        run: its prepare is done; it is itself the first member.
        runtime: what each process may use.
        most: members that this process may take; 0 = any number.

    Returns:
        the state then, None on all ranks but 0; other jobs may still work on what is unfinished.

    Raises:
        ArtefactError: the data set cannot be used.
        Preempted: a stop was requested; the state of each member is saved.
        SatoriError: members cannot be made, or another process works on the run itself.
    """
    world, command = runtime.world, f"satori-hpc ensemble {quoted(run.path)}"
    worker = child_runs.Worker(run, runtime, command=command, most=most)
    with lock.hold(run.path, what=command, shared=True):
        world.run_on_root(lambda: pipeline.require(run, pipeline.BY_NAME["train"]) and None)
        worker.work(members(run))
        return worker.conclude(lambda failures: _conclude(run, failures))


def _conclude(run: Run, failures: dict[str, str]) -> Found:
    found = conclude_tables(run)
    if failures and not found.complete:
        lines = [f"  - {each.name}: {failures[each.name]}" for each in members(run) if each.name in failures]
        raise SatoriError("\n".join(["networks that failed:", *lines]))
    return found
