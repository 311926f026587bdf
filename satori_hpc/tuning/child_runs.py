"""Process run directories inside a run that share its data set: trials of a search, members of an ensemble.

There is no central scheduler: any number of processes take child runs that are unfinished and not locked, and stop
together on request. The lock of its directory alone marks a child as running, so that the next process resumes what a
dead one left.
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from satori_hpc import config
from satori_hpc.config import Config, toml
from satori_hpc.errors import ArtefactError, Preempted, RunLockedError, SatoriError, quoted
from satori_hpc.parallel import signals
from satori_hpc.parallel.signals import Stopped
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import execute, files, lock, pipeline, provenance
from satori_hpc.run.layout import Run

logger = logging.getLogger("satori_hpc.tuning")


class Child(Protocol):
    """A run inside a run.

    Attributes:
        name: such as "trial 3".
        folder: locked by the process that works on it.
        what: its description, for the log.
    """

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def what(self) -> str: ...

    def waits(self) -> bool:
        """Return whether there is work left that this process may do."""

    def work(self, runtime: Runtime) -> str:
        """Do the work; return its result, for the log."""

    def failed(self, reason: str) -> None:
        """Record that it failed."""


class Outcome(Protocol):
    """State of all children. `complete`: no work is left."""

    @property
    def complete(self) -> bool: ...


Found = TypeVar("Found", bound=Outcome)


class Worker:
    """A process that works on child runs, beside those of its world and of other jobs.

    Args:
        run: the outer run; the caller holds its shared lock.
        runtime: devices, threads, memory; each child is processed by one process.
        command: named in the message of processes that find a child locked.
        most: maximal number of children of this process; 0 = no limit.
        ended: called when a child has ended, successfully or not.

    Attributes:
        failures: {name of a child: why it failed}.
    """

    def __init__(
        self, run: Run, runtime: Runtime, *, command: str, most: int, ended: Callable[[], object] = lambda: None
    ) -> None:
        logger.setLevel(logging.INFO)  # every rank logs its children, though only the root logs epochs
        runtime.torch_device()  # a missing device is not a failure of a child
        self.run, self.world = run, runtime.world
        self.command, self.most, self.ended = command, most, ended
        self.runtime = dataclasses.replace(runtime, world=World())
        self.runtime.world.local_rank, self.runtime.world.ranks_per_cpuset = (
            self.world.local_rank,
            self.world.ranks_per_cpuset,
        )
        self.failures: dict[str, str] = {}
        self._taken = 0
        self._stopped: list[str] = []

    def work(self, children: Sequence[Child]) -> None:
        """Take children until none is left; every process of the world calls this, and all return together.

        A signal or RUN/STOP requests a stop. Training first saves a checkpoint; other stages need none, so there a
        signal ends the work at once.
        """
        if self._stopped:
            return
        stopped = ""
        with signals.work(self.run.stop) as wish:
            try:
                self._take_all(children)
            except (Preempted, Stopped) as error:
                stopped = str(error)
            # Together: the first to leave would end the others, which may have work to finish or to save.
            with signals.handling(wish):
                self.world.barrier()
                try:
                    signals.between_parts()  # requested while it waited
                except Preempted as error:
                    stopped = stopped or str(error)
                self._stopped = [why for why in self.world.all_gather(stopped) if why]

    def conclude(self, function: Callable[[dict[str, str]], Found]) -> Found | None:
        """Call `function` on the root with the failures of all processes; return its result, None elsewhere.

        Raises:
            Preempted: a stop was requested before all was done; what is done is kept.
        """
        failures = {name: why for theirs in self.world.all_gather(self.failures) for name, why in theirs.items()}
        found: Found | None = None

        def lead() -> bool:
            nonlocal found
            found = function({} if self._stopped else failures)
            return found.complete

        if not self.world.run_on_root(lead) and self._stopped:
            stopped = Preempted(self._stopped[0])
            stopped.shared = True
            raise stopped
        return found

    def _take_all(self, children: Sequence[Child]) -> None:
        # Of two that try at the same time, both may withdraw: only in the first round does that not matter.
        for patient in (False, True):
            for child in children:
                if self.most and self._taken == self.most:
                    return
                if child.name not in self.failures and child.waits():
                    self._taken += self._take(child, patient=patient)

    def _take(self, child: Child, *, patient: bool) -> bool:
        """Process a child to its end; return False if another process holds it, or has finished it."""
        child.folder.mkdir(parents=True, exist_ok=True)
        try:
            with lock.hold(child.folder, what=f"{child.name} of {self.command}", patient=patient):
                self.world.set_status(child.name)
                if not child.waits():
                    return False
                self._work(child)
            self.ended()
            return True
        except RunLockedError:
            return False
        finally:
            self.world.set_status("")

    def _work(self, child: Child) -> None:
        pipeline.require(self.run, pipeline.BY_NAME["train"])  # data changed meanwhile are not a failure of a child
        logger.info("%s: %s", child.name, child.what)
        try:
            logger.info("%s: %s", child.name, child.work(self.runtime))
        except (RunLockedError, Preempted):
            raise
        except (SatoriError, MemoryError, torch.OutOfMemoryError) as error:
            reason = f"{error}" if isinstance(error, SatoriError) else f"not enough memory: {error}"
            logger.warning("%s failed: %s", child.name, reason)
            self.failures[child.name] = reason
            child.failed(reason)


def write(path: Path, text: str) -> Run:
    """Write `text` as run.toml of a run at `path` and return the run; an equal file is left untouched.

    Raises:
        ConfigError: the text cannot be used.
    """
    path.mkdir(parents=True, exist_ok=True)
    inner = Run(path=path, config=toml.parse(text, Config, name=str(path)))
    if not inner.config_file.exists() or config.load(inner.config_file) != inner.config:
        files.write_text(inner.config_file, text)
    return inner


def work(run: Run, inner: Run, runtime: Runtime, *, last: str) -> None:
    """Run all stages of `inner` that are not done, up to `last`; the caller holds its lock.

    `inner` may be `run` itself, whose prepare is done.

    Raises:
        Preempted: a stop was requested; what is done is kept.
    """
    for stage in pipeline.STAGES:
        signals.between_parts()
        if stage.name == "prepare" and inner.path == run.path:
            continue
        if stage.name != "prepare" and stage.applies(inner) is False:
            continue
        function = functools.partial(_share, run) if stage.name == "prepare" else None
        execute.execute(inner, stage.name, runtime, function=function, held=True)
        if stage.name == last:
            return


def _share(run: Run, inner: Run, runtime: Runtime) -> dict[str, Any]:
    """Link to the data of `run`, and copy its record of prepare.

    Links are relative, so a run can be moved with what is in it. The record of `inner` lists the same digests as the
    run's, and size and time are read through the links: new data are noticed at once, here as there.
    """
    record = provenance.read(run.record("prepare"))
    if record is None:
        raise ArtefactError(f"{run.path}: prepare has no record; run: satori-hpc prepare {quoted(run.path)}")
    for source, link in ((run.dataset, inner.dataset), (run.truth, inner.truth)):
        files.remove(link)
        if source.exists():
            link.symlink_to(os.path.relpath(source.resolve(), link.parent.resolve()), target_is_directory=True)
    sources = {name: entry["sha256"] for name, entry in record.sources.items()}
    return {**record.summary, "shared_with": "../..", "sources": sources, "files": record.files}
