"""What the networks of an ensemble call together: tables of TF pairs, and how well each network and all of them do."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc import options, provenance
from satori_hpc.core import ensemble, evaluation
from satori_hpc.errors import quoted
from satori_hpc.run import Run
from satori_hpc.stages import ensemble_member, evaluate, execution, pipeline
from satori_hpc.stages.ensemble_member import Member
from satori_hpc.stores import records, sealed, tables, truth

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
    return evaluate.figures(scores) if "f1" in scores else f"{scores['called']} called"


def conclude(run: Run) -> Found:
    """What there is of the ensemble of `run`; writes its tables and ensemble.json when all members are done.

    They follow from the members' tables alone, so processes that do this at the same time write the same.
    """
    everyone = ensemble_member.members(run)
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
    known = _made_of(run, ensemble_member.members(run))
    if method not in summary["methods"]:
        return None
    return tables.read_ensemble(run.ensemble_table(method)) if known.items() <= summary.items() else None


def _made_of(run: Run, everyone: list[Member]) -> dict[str, Any]:
    """What the tables follow from."""
    done = {str(member.seed): records.read(member.own.record(ensemble_member.LAST)) for member in everyone}
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
    sealed.write_json(run.ensemble_summary, options.to_plain(summary))
    execution.note(run, "ensemble", inputs=inputs, summary={"seeds": summary["seeds"]}, began=began)
    return summary


def _warnings(member: Member) -> list[str]:
    """What the stages of a network warned of."""
    return [f"{stage}: {sentence}" for stage, sentence in pipeline.warnings(pipeline.states(member.own))]


def _method(run: Run, everyone: list[Member], method: str) -> dict[str, Any]:
    """Write the table of a method; its figures."""
    own = {str(member.seed): _member_table(member, method) for member in everyone}
    columns = [{name: table[name].to_numpy() for name in table.columns} for table in own.values()]
    found = ensemble.combine(columns, needed=run.config.ensemble.needed)
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
    record = records.read(member.own.record(ensemble_member.LAST))
    assert record is not None, "conclude has looked"
    pipeline.intact(member.own, {ensemble_member.LAST: record}, reader="ensemble")
    return tables.read_tf(member.own.interactions(method))


def _calls(run: Run, table: pd.DataFrame) -> dict[str, Any]:
    """How many pairs a table calls; in simulated sets, how many of the implanted ones."""
    called = table[table["called"].astype(bool)]
    if not run.truth.exists():
        return {"called": len(called)}
    pool = [motif.name for motif in truth.read_pool(run.truth)]
    pairs = zip(called["tf_a"], called["tf_b"], strict=True)
    return dataclasses.asdict(evaluation.calls(pairs, truth.read_pairs(run.truth), pool=pool))
