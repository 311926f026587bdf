"""Search hyper-parameters: trials of other configurations of a run, by any number of processes.

Trials are drawn at random, trial k from (search.seed, k) alone, so the leaderboard does not depend on the processes. A
sampler that learns from earlier trials would need fewer of them, but its proposals depend on which trials have ended,
and so on the number and speed of the processes.
"""

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.config.search import SECTIONS
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ArtefactError, ConfigError, quoted
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files, lock, pipeline, tsv
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs, trial

# The leaderboard of a search.

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """Row of the leaderboard. `rank` counts from 1; failed trials have neither rank nor value, but a reason."""

    rank: int | None
    trial: int
    value: float | None
    parameters: dict[str, Any]
    epochs: int | None
    seconds: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """All trials that have ended, best first, failed ones last.

    Attributes:
        run: the searched run.
        trials: planned number.
        unfinished: numbers of the trials that were begun and have not ended.
    """

    run: Run
    rows: tuple[Row, ...]
    trials: int
    unfinished: tuple[int, ...]

    @property
    def best(self) -> Row | None:
        return next((row for row in self.rows if row.rank == 1), None)

    @property
    def default(self) -> Row | None:
        """Row of trial 0, the run's own configuration."""
        return next((row for row in self.rows if row.trial == 0), None)

    @property
    def complete(self) -> bool:
        return len(self.rows) == self.trials

    def write(self) -> None:
        """Write leaderboard.tsv and best.toml."""
        keys = [dimension.key for dimension in self.run.config.search.space.dimensions]
        columns: dict[str, list[str]] = {
            "rank": ["" if row.rank is None else str(row.rank) for row in self.rows],
            "trial": [str(row.trial) for row in self.rows],
            "value": ["" if row.value is None else repr(row.value) for row in self.rows],
            **{key: [_plain(row.parameters[key]) for row in self.rows] for key in keys},
            "epochs": ["" if row.epochs is None else str(row.epochs) for row in self.rows],
            "seconds": ["" if row.seconds is None else str(row.seconds) for row in self.rows],
            "failed": [row.reason for row in self.rows],
        }
        tsv.write(self.run.leaderboard, columns, names=columns)
        if self.best is not None:
            files.write_text(self.run.best_settings, trial.text(self.run, self.best.trial))

    def as_dict(self) -> dict[str, Any]:
        """Return the content for programs (JSON)."""
        return {
            "run": str(self.run.path),
            "select": self.run.config.search.select,
            "trials": self.trials,
            "complete": self.complete,
            "unfinished": list(self.unfinished),
            "leaderboard": [toml.to_plain(dataclasses.asdict(row)) for row in self.rows],
            "best": None if self.best is None else self.best.trial,
            "default": None if self.default is None else self.default.value,
            "next": list(self.following()),
        }

    def lines(self) -> list[str]:
        """Return the content for people, in lines."""
        run, select = self.run, self.run.config.search.select
        failed = sum(row.rank is None for row in self.rows)
        lines = [
            f"{len(self.rows)} of {self.trials} trials have ended" + (f", {failed} of them failed" if failed else "")
        ]
        if self.trials < run.config.search.trials:
            lines.append(f"search.trials = {run.config.search.trials}, yet the space holds no more than these")
        lines += ["", *self._table(), ""]
        if self.best is not None and self.default is not None and self.default.value is not None:
            better = f"; trial 0, your own configuration, has {self.default.value:.4f}"
            lines.append(
                f"best {trial.WORDS[select]}: {self.best.value:.4f} (trial {self.best.trial}"
                + (", your own configuration)" if self.best.trial == 0 else f"){better}")
            )
        lines += [f"all of them: {run.leaderboard}", f"the best one's settings: {run.best_settings}"]
        if not self.complete:
            again = f"satori-hpc search {quoted(run.path)}"
            fresh = self.trials - len(self.rows) - len(self.unfinished)
            left = f"{fresh} not begun, {len(self.unfinished)} running elsewhere or left by a process that is gone"
            return [*lines, f"next: {again}   (trials: {left})"]
        return [*lines, *self.following()]

    def following(self) -> Iterable[str]:
        """Return lines that say what to do when all trials have ended."""
        if self.best is None or not self.complete:
            return
        like = f"--like {quoted(self.run.best_settings)}"
        if self.run.config.search.select == "f1":
            yield (
                "the implanted pairs of this set chose the settings, so results on it are biased: discard it. "
                "Next, another set:"
            )
            yield f"  satori-hpc new RUN2 {like} --seed {self.run.config.seed + 1} && satori-hpc all RUN2"
            yield f"or your own sequences: satori-hpc new RUN2 {like} --template fasta --fasta FILE --table FILE"
            return
        yield (
            "the largest of several AUROCs on one validation split is biased upwards; judge by the test split, or by "
            "other data. Next:"
        )
        yield f"  satori-hpc new RUN2 {like} && satori-hpc all RUN2"

    def _table(self) -> list[str]:
        """Format the first rows, aligned, with columns only for the keys that vary."""
        keys = [dimension.key for dimension in self.run.config.search.space.dimensions]
        table = [["rank", "trial", "value", *(key.rpartition(".")[2] for key in keys), "epochs", "seconds"]]
        for row in self.rows[:SHOWN]:
            shown = [_plain(row.parameters[key]) for key in keys]
            if row.value is None:
                table.append(["-", str(row.trial), "failed", *shown, "", ""])
            else:
                figures = [str(row.rank), str(row.trial), f"{row.value:.4f}"]
                table.append([*figures, *shown, str(row.epochs), str(row.seconds)])
        width = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
        lines = ["  ".join(cell.rjust(size) for cell, size in zip(cells, width, strict=True)) for cells in table]
        if len(self.rows) > SHOWN:
            lines.append(f"... and {len(self.rows) - SHOWN} more")
        lines += [f"trial {row.trial} failed: {row.reason}" for row in self.rows[:SHOWN] if row.value is None]
        return lines


def board(run: Run) -> Board:
    """Write and return the leaderboard; trials beyond search.trials do not count.

    Other processes may write at the same time: the last one to write has seen the outcomes of all.
    """
    made = _board(run)
    while True:
        made.write()
        again = _board(run)
        if again.rows == made.rows:
            return again
        made = again


def _board(run: Run) -> Board:
    trials = trial.count(run.config)
    begun = [number for number in range(trials) if run.trial(number).exists()]
    known = {number: trial.outcome(run, number) for number in begun}
    ended = {number: found for number, found in known.items() if found is not None and found.ended}
    ranked = sorted(ended, key=lambda number: (bool(ended[number].failed), -(ended[number].value or 0.0), number))
    return Board(
        run=run,
        rows=tuple(
            Row(
                rank=None if ended[number].failed else place,
                trial=number,
                value=ended[number].value,
                parameters=trial.parameters(run.config, number),
                epochs=ended[number].epochs,
                seconds=ended[number].seconds,
                reason=ended[number].failed,
            )
            for place, number in enumerate(ranked, start=1)
        ),
        trials=trials,
        unfinished=tuple(number for number in begun if number not in ended),
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else toml.to_toml(value)


def search(run: Run, runtime: Runtime, *, most: int = 0) -> Board | None:
    """Run the trials of a search until none is left.

    Every process of the runtime's world takes trials; processes of other worlds may do so at the same time.

    Args:
        run: its prepare is done.
        runtime: what each process may use.
        most: trials that this process may take; 0 = any number.

    Returns:
        the leaderboard then, None on all ranks but 0; other jobs may still work on what is unfinished.

    Raises:
        ArtefactError: the data set cannot be used, or the folder of trials is of another search.
        ConfigError: trials cannot be ranked as run.toml has it.
        Preempted: a stop was requested; the state of each trial is saved.
        SatoriError: another process works on the run itself.
    """
    world, command = runtime.world, f"satori-hpc search {quoted(run.path)}"
    worker = child_runs.Worker(run, runtime, command=command, most=most, ended=lambda: board(run))
    with lock.hold(run.path, what=command, shared=True):
        began = time.monotonic()
        follows = world.run_on_root(lambda: _begin(run))
        numbers = range(trial.count(run.config))
        worker.work([trial.Trial(run, number, follows, alone=world.size == 1) for number in numbers])
        if world.size > 1:  # a trial that may have killed several ranks is left to one, while the others wait
            worker.work([trial.Trial(run, number, follows, alone=True) for number in numbers if world.rank == 0])
        return worker.conclude(lambda failures: _conclude(run, began))


def _begin(run: Run) -> dict[str, str]:
    """Return digests of what determines the trials, by name; refuse to continue another search."""
    data = pipeline.require(run, pipeline.BY_NAME["train"])
    select = run.config.search.select
    if select == "f1" and not (run.truth.exists() and truth.read_pairs(run.truth)):
        raise ConfigError(
            f"{run.config_file}: [search] select = 'f1' compares with implanted pairs, and only simulated sets have "
            "them, those in which pairs interact; use select = 'auroc', or search on such a set"
        )
    settings = config.sections(run.config, (*SECTIONS[select], "prepare"))
    follows = {
        "the data set": data["prepare"],
        "run.toml outside [search]": toml.digest(settings),
        "search.space": toml.digest(run.config.search.space),
        "search.seed": str(run.config.search.seed),
        "search.select": select,
    }
    for number in range(trial.count(run.config)):
        known = trial.outcome(run, number)
        other = [name for name in follows if known is not None and known.follows.get(name) != follows[name]]
        if other:
            raise ArtefactError(
                f"{run.search} holds the trials of another search: {' and '.join(other)} changed since. Undo the "
                "change, or put that folder aside (or remove it) and search again"
            )
    run.record("search").unlink(missing_ok=True)
    board(run)
    return follows


def _conclude(run: Run, began: float) -> Board:
    made = board(run)
    if made.complete:
        inputs = pipeline.require(run, pipeline.BY_NAME["search"])
        execute.note(run, "search", inputs=inputs, summary={"trials": made.trials}, began=began)
    return made
