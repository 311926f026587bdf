"""search: try other configurations of a run, each in a run directory of its own, by any number of processes.

Nobody hands out work: every process takes the next trial that nobody has begun (stores.trials) and holds its run
directory meanwhile. A trial that was begun and is held by nobody was left by a process that is gone; whoever comes
next goes on with it, from its checkpoint, unless it kills whoever works on it.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

import torch

from satori_hpc import config as config_module
from satori_hpc import options
from satori_hpc.config_search import SECTIONS
from satori_hpc.errors import ConfigError, HeldError, Requeue, SatoriError, quoted
from satori_hpc.run import Run
from satori_hpc.stages import execution, pipeline, search_board, search_trial, subrun
from satori_hpc.stages.search_board import WORDS, Board
from satori_hpc.stores import lock
from satori_hpc.stores.trials import Ledger
from satori_hpc.world import Runtime

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
        reasons = subrun.work_together(run, runtime.world, lambda: worker.work(most))
        if not reasons:
            reasons = subrun.work_together(run, runtime.world, lambda: worker.work_alone(most))
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
    execution.note(run, "search", inputs=inputs, summary={"trials": board.trials}, began=began)


def _identity(run: Run) -> dict[str, str]:
    """Digests of what the trials follow from, by what people call it."""
    data = pipeline.require(run, pipeline.BY_NAME["train"])
    select = run.config.search.select
    if select == "f1" and not run.truth.exists():
        raise ConfigError(
            f"{run.config_file}: [search] select = 'f1' compares with implanted pairs, and only simulated sets have "
            "them; use select = 'auroc', or search on a simulated set"
        )
    settings = config_module.sections(run.config, (*SECTIONS[select], "prepare"))
    return {
        "the data set": data["prepare"],
        "run.toml outside [search]": options.digest(settings),
        "search.space": options.digest(run.config.search.space),
        "search.seed": str(run.config.search.seed),
        "search.select": select,
    }


class _Worker:
    """One process that works on trials."""

    def __init__(self, run: Run, runtime: Runtime, ledger: Ledger) -> None:
        self.run = run
        self.runtime = subrun.alone(runtime)
        self.world = runtime.world
        self.ledger = ledger
        self.trials = search_trial.count(run.config)
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
        return search_trial.parameters(self.run.config, number)

    def _try(self, number: int, *, patient: bool) -> bool:
        """Work on a trial to its end; False when somebody else has it."""
        done = subrun.take(
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
        place = search_trial.place(self.run, number)
        killed = self.ledger.killed(number, place=place)
        if killed >= DEATHS - 1 and not self.alone:
            return False
        said = ", ".join(f"{key} {value}" for key, value in self._parameters(number).items())
        logger.info("trial %d of %d: %s", number, self.trials, "your own configuration" if number == 0 else said)
        try:
            trial = search_trial.open_trial(self.run, number)
            if killed >= DEATHS:
                raise SatoriError(
                    f"{killed} processes in a row were killed as they worked on it, none having come any further than "
                    "the one before; the system most often kills for memory: narrow the space, or give more"
                )
            with self.ledger.attempt(number, place=place, most=DEATHS if self.alone else DEATHS - 1):
                search_trial.work(self.run, trial, self.runtime)
                found = search_trial.result(self.run, trial)
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
            made = search_board.board(self.run, self.ledger.entries())
            made.write()
        return made
