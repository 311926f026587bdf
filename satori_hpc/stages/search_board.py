"""The leaderboard of a search, and what to do with it."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from satori_hpc import options
from satori_hpc.errors import quoted
from satori_hpc.run import Run
from satori_hpc.stages import search_trial
from satori_hpc.stores import atomic, tsv
from satori_hpc.stores.trials import Entry

WORDS = {"auroc": "validation AUROC", "f1": "F1 of the called pairs"}
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Row:
    """A trial that has ended. `rank` counts from 1; failed trials have neither rank nor value, but a reason."""

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
        trials: how many there are to be.
        unfinished: numbers of those that were begun and have not ended.
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
        """Trial 0, the run's own configuration."""
        return next((row for row in self.rows if row.trial == 0), None)

    @property
    def complete(self) -> bool:
        return len(self.rows) == self.trials

    def write(self) -> None:
        """Write leaderboard.tsv and best.toml; the caller sees to it that nobody else does."""
        atomic.sweep_partials(self.run.search)
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
            atomic.write_text(self.run.best_settings, search_trial.text(self.run, self.best.trial))

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": str(self.run.path),
            "select": self.run.config.search.select,
            "trials": self.trials,
            "complete": self.complete,
            "unfinished": list(self.unfinished),
            "leaderboard": [options.to_plain(dataclasses.asdict(row)) for row in self.rows],
            "best": None if self.best is None else self.best.trial,
            "default": None if self.default is None else self.default.value,
            "next": list(self.following()),
        }

    def lines(self) -> list[str]:
        """For people."""
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
                f"best {WORDS[select]}: {self.best.value:.4f} (trial {self.best.trial}"
                + (", your own configuration)" if self.best.trial == 0 else f"){better}")
            )
        lines += [f"all of them: {run.leaderboard}", f"the best one's settings: {run.best_settings}"]
        if not self.complete:
            again = f"satori-hpc search {quoted(run.path)}"
            fresh = self.trials - len(self.rows) - len(self.unfinished)
            left = f"{fresh} not begun, {len(self.unfinished)} at work elsewhere or left by a process that is gone"
            return [*lines, f"next: {again}   (trials: {left})"]
        return [*lines, *self.following()]

    def following(self) -> Iterable[str]:
        """What to do when all trials have ended."""
        if self.best is None or not self.complete:
            return
        like = f"--like {quoted(self.run.best_settings)}"
        if self.run.config.search.select == "f1":
            yield (
                "the implanted pairs of this set chose the settings, so figures on it are no longer fair: discard it. "
                "Next, another set:"
            )
            yield f"  satori-hpc new RUN2 {like} --seed {self.run.config.seed + 1} && satori-hpc all RUN2"
            yield f"or your own sequences: satori-hpc new RUN2 {like} --template fasta --fasta FILE --table FILE"
            return
        yield (
            "the largest of several AUROCs on one validation split flatters; judge by the test split, or by other "
            "data. Next:"
        )
        yield f"  satori-hpc new RUN2 {like} && satori-hpc all RUN2"

    def _table(self) -> list[str]:
        """The first rows, aligned, with columns only for what varies."""
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


def board(run: Run, entries: list[Entry]) -> Board:
    """The board of what the ledger tells; trials beyond those asked for now do not count."""
    trials = search_trial.count(run.config)
    counted = [entry for entry in entries if entry.number < trials]
    ranked = sorted(
        (entry for entry in counted if entry.state == "complete"),
        key=lambda entry: (-(entry.value or 0.0), entry.number),
    )
    failed = [entry for entry in counted if entry.state == "failed"]
    return Board(
        run=run,
        rows=tuple(
            Row(
                rank=None if entry.state == "failed" else place,
                trial=entry.number,
                value=entry.value,
                parameters=search_trial.parameters(run.config, entry.number),
                epochs=entry.notes.get("epochs"),
                seconds=entry.notes.get("seconds"),
                reason=entry.notes.get("reason", ""),
            )
            for place, entry in enumerate([*ranked, *failed], start=1)
        ),
        trials=trials,
        unfinished=tuple(entry.number for entry in counted if entry.state == "running"),
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else options.to_toml(value)
