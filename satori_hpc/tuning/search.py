"""search: try other configurations of a run, each in a run directory of its own, by any number of processes.

Nobody hands out work: every process takes the next trial that nobody has begun (tuning.trials) and holds its run
directory meanwhile. A trial that was begun and is held by nobody was left by a process that is gone; whoever comes
next goes on with it, from its checkpoint, unless it kills whoever works on it.
"""

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.config.search import SECTIONS
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ConfigError, HeldError, Requeue, SatoriError, quoted
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files, lock, pipeline, tsv
from satori_hpc.run.layout import Run
from satori_hpc.tuning import child_runs
from satori_hpc.tuning import trial as tuning_trial
from satori_hpc.tuning.trials import Entry, Ledger

# The leaderboard of a search, and what to do with it.

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
        files.sweep_partials(self.run.search)
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
            files.write_text(self.run.best_settings, tuning_trial.text(self.run, self.best.trial))

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
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
                "the implanted pairs of this set chose the settings, so results on it are biased: discard it. "
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
    trials = tuning_trial.count(run.config)
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
                parameters=tuning_trial.parameters(run.config, entry.number),
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
    return value if isinstance(value, str) else "" if value is None else toml.to_toml(value)


DEATHS = 3  # of processes at the same place of a trial, after which it has failed; the last one was alone

logger = logging.getLogger("satori_hpc.search")


def search(run: Run, runtime: Runtime, *, most: int = 0) -> Board | None:
    """Work on the trials of a run until none is left to take.

    Every process of the runtime's world takes trials of its own; processes of other worlds may do so at the same time.

    Args:
        run: its prepare is done.
        runtime: what each process may use.
        most: trials that this process may take; 0 = any number.

    Returns:
        the leaderboard as it is then, None on all but the leader; others may still be at work on what is unfinished.

    Raises:
        ArtefactError: the data set cannot be used, or the folder of trials is of another search.
        ConfigError: trials cannot be ranked as run.toml has it.
        Requeue: a process was asked to stop, and kept the state of its trial.
        SatoriError: somebody works on the run itself.
    """
    logger.setLevel(logging.INFO)  # every process tells of its trials, though only the first tells of their epochs
    runtime.torch_device()  # a device that is not there is no trial's fault
    with lock.hold(run.path, what=f"satori-hpc search {quoted(run.path)}", shared=True):
        began = time.monotonic()
        identity = runtime.world.lead(lambda: _identity(run))
        runtime.world.lead(lambda: _open_anew(run, identity))
        worker = _Worker(run, runtime, Ledger(run.search, identity=identity))
        reasons = child_runs.work_together(run, runtime.world, lambda: worker.work(most))
        if not reasons:
            reasons = child_runs.work_together(run, runtime.world, lambda: worker.work_alone(most))
        board: Board | None = None

        def conclude() -> bool:
            nonlocal board
            board = worker.board()
            if board.complete:
                _note(run, board, began=began)
            return board.complete

        if not runtime.world.lead(conclude) and reasons:
            wish = Requeue(reasons[0])
            wish.shared = True
            raise wish
        return board


def _open_anew(run: Run, identity: dict[str, str]) -> None:
    """Make the journal, or see that it is of this search; from now on it may grow."""
    run.record("search").unlink(missing_ok=True)
    Ledger(run.search, identity=identity)


def _note(run: Run, board: Board, *, began: float) -> None:
    inputs = pipeline.require(run, pipeline.BY_NAME["search"])
    execute.note(run, "search", inputs=inputs, summary={"trials": board.trials}, began=began)


def _identity(run: Run) -> dict[str, str]:
    """Digests of what the trials follow from, by what people call it."""
    data = pipeline.require(run, pipeline.BY_NAME["train"])
    select = run.config.search.select
    if select == "f1" and not (run.truth.exists() and truth.read_pairs(run.truth)):
        raise ConfigError(
            f"{run.config_file}: [search] select = 'f1' compares with implanted pairs, and only simulated sets have "
            "them, those in which pairs interact; use select = 'auroc', or search on such a set"
        )
    settings = config.sections(run.config, (*SECTIONS[select], "prepare"))
    return {
        "the data set": data["prepare"],
        "run.toml outside [search]": toml.digest(settings),
        "search.space": toml.digest(run.config.search.space),
        "search.seed": str(run.config.search.seed),
        "search.select": select,
    }


class _Worker:
    """One process that works on trials."""

    def __init__(self, run: Run, runtime: Runtime, ledger: Ledger) -> None:
        self.run = run
        self.runtime = child_runs.alone(runtime)
        self.world = runtime.world
        self.ledger = ledger
        self.trials = tuning_trial.count(run.config)
        self.taken = 0
        self.alone = self.world.size == 1

    def work(self, most: int) -> None:
        """Take trials until there is none, or `most` were taken."""
        self.board()
        for number, patient in self._open_trials():
            pipeline.require(self.run, pipeline.BY_NAME["train"])  # data made anew meanwhile are no trial's fault
            self.taken += self._try(number, patient=patient)
            if most and self.taken == most:
                return

    def work_alone(self, most: int) -> None:
        """Take the trials that `work` has left while others of this world were at work: the leader does, when none is.

        Launchers kill all processes when one is killed, so that nobody knows whose trial it was. Here all know.
        """
        if not self.alone and self.world.rank == 0 and not (most and self.taken == most):
            self.alone = True
            self.work(most)

    def _open_trials(self) -> Iterator[tuple[int, bool]]:
        """Numbers of trials that may be free: those left behind, new ones, and those left behind meanwhile.

        Where somebody else looks at the same time, both may step back: only at the first look is that no matter.
        """
        yield from ((number, False) for number in self._left())
        while True:
            number = self.ledger.begin(self.run.config.search.space, self._parameters, below=self.trials)
            if number is None:
                break
            yield number, True
        yield from ((number, True) for number in self._left())

    def _left(self) -> list[int]:
        return [one.number for one in self.ledger.entries() if one.state == "running" and one.number < self.trials]

    def _parameters(self, number: int) -> dict[str, Any]:
        return tuning_trial.parameters(self.run.config, number)

    def _try(self, number: int, *, patient: bool) -> bool:
        """Work on a trial to its end; False when somebody else has it."""
        done = child_runs.take(
            self.run.trial(number),
            lambda: self._work(number),
            what=f"satori-hpc search {quoted(self.run.path)}",
            part=f"trial {number}",
            world=self.world,
            patient=patient,
        )
        if done:
            self.board()
        return done

    def _work(self, number: int) -> bool:
        if number not in self._left():
            return False
        place = tuning_trial.place(self.run, number)
        killed = self.ledger.killed(number, place=place)
        if killed >= DEATHS - 1 and not self.alone:
            return False
        said = ", ".join(f"{key} {value}" for key, value in self._parameters(number).items())
        logger.info("trial %d of %d: %s", number, self.trials, "your own configuration" if number == 0 else said)
        try:
            trial = tuning_trial.open_trial(self.run, number)
            if killed >= DEATHS:
                raise SatoriError(
                    f"{killed} processes in a row were killed as they worked on it, none having come any further than "
                    "the one before; the system most often kills for memory: narrow the space, or give more"
                )
            with self.ledger.attempt(number, place=place, most=DEATHS if self.alone else DEATHS - 1):
                tuning_trial.work(self.run, trial, self.runtime)
                found = tuning_trial.result(self.run, trial)
        except (HeldError, Requeue):
            raise
        except (SatoriError, MemoryError, torch.OutOfMemoryError) as error:
            reason = f"{error}" if isinstance(error, SatoriError) else f"not enough memory: {error}"
            self.ledger.fail(number, reason=reason)
            logger.warning("trial %d of %d failed: %s", number, self.trials, reason)
            return True
        self.ledger.complete(number, found.value, epochs=found.epochs, seconds=found.seconds)
        logger.info(
            "trial %d of %d: %s %.4f after %d epochs, %.0f s",
            *(number, self.trials, WORDS[self.run.config.search.select], found.value, found.epochs, found.seconds),
        )
        return True

    def board(self) -> Board:
        """Write the leaderboard of now."""
        with self.ledger.turn():  # so that none writes an older one over a newer one
            made = board(self.run, self.ledger.entries())
            made.write()
        return made
