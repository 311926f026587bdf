"""The ledger of a search: which trials were begun, which ended and how. A study of Optuna in a journal file.

Every process appends to the journal under Optuna's file lock, which works on network file systems (it makes a file
that must not exist yet). Who works on a trial now is not written here: the lock of its run directory tells, and also
whether that process still lives.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satori_hpc.config import toml
from satori_hpc.config.search import Choice, Space
from satori_hpc.errors import ArtefactError, SatoriError, quoted

STUDY = "satori-hpc search"
IDENTITY = "identity"
KILLED = "killed"
SEAL = "sha256"  # of what else is noted at the end of a trial
INSTALL = "pip install 'satori-hpc[search]'"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the ledger tells of a trial.

    Attributes:
        number: from 0, in the order in which they were begun.
        state: "running" (or left by a process that is gone), "complete" or "failed".
        value: what ranks it, when it is complete.
        notes: what was noted at its end.
    """

    number: int
    state: str
    value: float | None
    notes: dict[str, Any]


class Ledger:
    """The trials of one search; any number of processes may have it open.

    Args:
        folder: where the journal lies; made when it is not there.
        identity: {what: digest} of all that the trials follow from.

    Raises:
        ArtefactError: the journal is of another search, or cannot be read.
        SatoriError: Optuna is not installed.
    """

    def __init__(self, folder: Path, *, identity: dict[str, str]) -> None:
        journal = _optuna()
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal.log"
        self._lock = journal.JournalFileOpenLock(str(folder / "turn"))
        backend_lock = journal.JournalFileOpenLock(str(self.path))
        _mend(self.path, backend_lock)
        with self._damage_told():
            self._storage = _storage(journal.JournalFileBackend(str(self.path), lock_obj=backend_lock))
            with self.turn():
                self._study = self._enter(identity)
            self.entries()

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except (SatoriError, OSError, MemoryError):
            raise
        except Exception as error:  # Optuna takes what is in the journal for its own, and looks at nothing twice
            path = quoted(self.path)
            raise ArtefactError(
                f"{self.path}: not a journal of trials, or damaged ({error}); remove it and search again, trials that "
                f"are done are kept: rm {path} && satori-hpc search {quoted(self.path.parent.parent)}"
            ) from None

    def _enter(self, identity: dict[str, str]) -> int:
        """The number of our study, made when it is not there."""
        from optuna.study import StudyDirection

        known = {study.study_name: study._study_id for study in self._storage.get_all_studies()}
        study: int = (
            known[STUDY] if STUDY in known else self._storage.create_new_study([StudyDirection.MAXIMIZE], STUDY)
        )
        found = self._storage.get_study_user_attrs(study).get(IDENTITY)
        if found is None:
            self._storage.set_study_user_attr(study, IDENTITY, identity)
        elif found != identity:
            other = [name for name in identity if found.get(name) != identity[name]]
            raise ArtefactError(
                f"{self.path.parent} holds the trials of another search: {' and '.join(other)} changed since. Undo the "
                "change, or put that folder aside (or remove it) and search again"
            )
        return study

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only process in this block, of all that have the ledger open; for short work."""
        with _held(self._lock):
            yield

    def entries(self) -> list[Entry]:
        """All trials that were begun, by number.

        Raises:
            ArtefactError: what the journal tells of a trial is not what was noted at its end.
        """
        with self._damage_told():
            return [_entry(trial) for trial in self._storage.get_all_trials(self._study, deepcopy=False)]

    def begin(self, space: Space, parameters: Callable[[int], dict[str, Any]], *, below: int) -> int | None:
        """Begin the next trial that nobody has begun.

        Args:
            space: what varies.
            parameters: the values of trial number k, by key; noted, so that Optuna's own tools can show them.
            below: how many there are to be in all.

        Returns:
            its number, or None when all were begun.
        """
        from optuna.trial import TrialState, create_trial

        with self.turn():
            number = len(self.entries())
            if number >= below:
                return None
            values = parameters(number)
            known = _distributions(space, values)
            template = create_trial(
                state=TrialState.RUNNING, params={key: _scalar(values[key]) for key in known}, distributions=known
            )
            made: int = self._storage.get_trial_number_from_id(self._storage.create_new_trial(self._study, template))
            return made

    @contextmanager
    def attempt(self, number: int, *, place: str, most: int) -> Iterator[None]:
        """Work on a trial, which the caller holds. Who is killed in the block stays counted, up to `most`."""
        killed = self.killed(number, place=place)
        self._note(number, {KILLED: {"place": place, "count": max(killed, min(killed + 1, most))}})
        try:
            yield
        finally:
            self._note(number, {KILLED: {"place": place, "count": killed}})

    def killed(self, number: int, *, place: str) -> int:
        """How many processes in a row were killed at this place of a trial, the last that worked on it."""
        known = self._storage.get_trial(self._trial(number)).user_attrs.get(KILLED, {})
        return int(known["count"]) if known.get("place") == place else 0

    def complete(self, number: int, value: float, **notes: Any) -> None:
        """Note the end of a trial and what ranks it."""
        from optuna.trial import TrialState

        self._end(number, TrialState.COMPLETE, [value], notes)

    def fail(self, number: int, **notes: Any) -> None:
        """Note that a trial cannot end well."""
        from optuna.trial import TrialState

        self._end(number, TrialState.FAIL, None, notes)

    def _end(self, number: int, state: Any, values: list[float] | None, notes: dict[str, Any]) -> None:
        self._note(number, notes | {SEAL: _seal(number, state.name, values[0] if values else None, notes)})
        with _still_open():
            self._storage.set_trial_state_values(self._trial(number), state, values)

    def _note(self, number: int, notes: dict[str, Any]) -> None:
        with _still_open():
            for name, value in notes.items():
                self._storage.set_trial_user_attr(self._trial(number), name, value)

    def _trial(self, number: int) -> int:
        found: int = self._storage.get_trial_id_from_study_id_trial_number(self._study, number)
        return found


def _storage(backend: Any) -> Any:
    from optuna.storages import JournalStorage

    return JournalStorage(backend)


def _entry(trial: Any) -> Entry:
    """What the journal tells of a trial. Raises ValueError unless it is what was noted at the end of it."""
    state, notes = _STATES.get(trial.state.name, "failed"), dict(trial.user_attrs)
    value, seal = trial.values[0] if trial.values else None, notes.pop(SEAL, None)
    ended = {name: told for name, told in notes.items() if name != KILLED}
    if state != "running" and seal != _seal(trial.number, trial.state.name, value, ended):
        raise ValueError(f"trial {trial.number} is not as it ended")
    return Entry(number=trial.number, state=state, value=value, notes=notes)


def _seal(number: int, state: str, value: float | None, notes: dict[str, Any]) -> str:
    """Digest of the end of a trial."""
    return hashlib.sha256(json.dumps([number, state, value, notes], sort_keys=True).encode()).hexdigest()


_STATES = {"RUNNING": "running", "WAITING": "running", "COMPLETE": "complete"}
_quiet = threading.Event()


def _distributions(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """What Optuna calls the dimensions of a space; without those that do not hold their value, as the default may."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for dimension in space.dimensions:
        value = values[dimension.key]
        if isinstance(dimension, Choice):
            if value in dimension.values:
                found[dimension.key] = CategoricalDistribution([_scalar(one) for one in dimension.values])
        elif value is not None and dimension.low <= value <= dimension.high:
            kind: Any = IntDistribution if isinstance(value, int) else FloatDistribution
            found[dimension.key] = kind(dimension.low, dimension.high, log=dimension.log)
    return found


def _scalar(value: Any) -> Any:
    """A value as Optuna takes it: lists as text."""
    return toml.to_toml(value) if isinstance(value, tuple) else value


def _optuna() -> Any:
    """The module of Optuna's journals; loading it is half a second that only a search spends."""
    try:
        import optuna
        from optuna.storages import journal
    except ImportError as error:
        raise SatoriError(f"search needs Optuna, which cannot be loaded ({error}); run: {INSTALL}") from error
    if not _quiet.is_set():
        optuna.logging.set_verbosity(logging.WARNING)
        _quiet.set()
    return journal


@contextmanager
def _still_open() -> Iterator[None]:
    """Somebody who took us for dead may have ended the trial before us; it ends the same whoever works on it."""
    from optuna.exceptions import UpdateFinishedTrialError

    with suppress(UpdateFinishedTrialError):
        yield


@contextmanager
def _held(lock: Any) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # we were so slow that it was taken from us
            lock.release()


def _mend(path: Path, lock: Any) -> None:
    """Cut off the line that a full disk or a crash left without its end: with more behind it nothing could be read."""
    if not path.exists():
        return
    with _held(lock), open(path, "rb+") as handle:
        content = handle.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            handle.truncate(whole)
