"""ensemble: networks of several seeds on the data of one run, by any number of processes, and what they call together.

As in a search, nobody hands out work: every process takes the next member that is not done and that nobody holds.
Whether a member is done is told by the records of its stages, so there is no other book to keep.
"""

import logging
from collections.abc import Iterator

import torch

from satori_hpc.errors import HeldError, Requeue, SatoriError, quoted
from satori_hpc.run import Run
from satori_hpc.stages import ensemble_member, ensemble_tables, pipeline, subrun
from satori_hpc.stages.ensemble_member import Member
from satori_hpc.stages.ensemble_tables import Found
from satori_hpc.stores import lock
from satori_hpc.world import Runtime

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
        reasons = subrun.work_together(run, world, lambda: worker.work(most))
        failures = {seed: why for theirs in world.gather(worker.failures) for seed, why in theirs.items()}
        found: Found | None = None

        def conclude() -> bool:
            nonlocal found
            found = ensemble_tables.conclude(run)
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
        self.runtime = subrun.alone(runtime)
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
            for member in ensemble_member.members(self.run):
                if member.seed not in self.failures and not member.done():
                    yield member, patient

    def _try(self, member: Member, *, patient: bool) -> bool:
        """Work on a member to its end; False when somebody else has it, or had it."""
        # The run itself is held by all processes together; the folder stands for it among them.
        return subrun.take(
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
