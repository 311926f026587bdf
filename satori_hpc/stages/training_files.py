"""What training leaves on disk: best.pt, history.tsv, and the step checkpoints that it goes on from."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from satori_hpc import config as config_module
from satori_hpc import options
from satori_hpc.errors import ArtefactError
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stages.training_loop import Trainer
from satori_hpc.stages.training_state import Progress
from satori_hpc.stores import checkpoint, history
from satori_hpc.stores.checkpoint import CheckpointInfo
from satori_hpc.stores.dataset import Labels
from satori_hpc.stores.examples import Rows, blocks


class TrainingFiles:
    """The keeper of a run: best.pt, history.tsv and the step checkpoints."""

    def __init__(self, run: Run, data: Labels, tokens: Rows) -> None:
        self.run = run
        self.data = data
        self.digests = {
            "config": options.digest(config_module.sections(run.config, ("model", "train"))),
            "dataset": _digest(data, tokens),
        }

    def best(self, trainer: Trainer) -> None:
        now = trainer.progress
        row = now.history[now.best_epoch - 1]
        info = CheckpointInfo(
            config=self.run.config.model,
            length=self.data.length,
            targets=len(self.data.targets),
            task=self.data.task,
            entropy=self.run.config.train.entropy,
            epoch=now.best_epoch,
            metrics={name: value for name, value in row.items() if name.startswith("valid_")},
        )
        checkpoint.save(self.run.best, weights=trainer.best_weights, info=info)

    def history(self, trainer: Trainer) -> None:
        history.write(self.run.history, trainer.progress.history)

    def state(self, trainer: Trainer) -> None:
        tensors = {
            "model": trainer.model.state_dict(),
            "optimiser": trainer.optimiser.state_dict(),
            "best": trainer.best_weights,
        }
        plain = {
            "digests": self.digests,
            "progress": dataclasses.asdict(trainer.progress),
            "ranks": trainer.world.size,  # told on resuming; nothing but rounding depends on it
        }
        checkpoint.save_training(self.run.checkpoints, step=trainer.progress.total_steps, plain=plain, tensors=tensors)

    def resume(self, trainer: Trainer) -> bool:
        """Put the trainers of all processes where the newest usable checkpoint left them; False when there is none.

        The leader reads it for all of them.
        """
        found = trainer.world.lead(self._newest)
        if found is None:
            return False
        plain, tensors = found
        trainer.progress = Progress(**plain["progress"])
        trainer.best_weights = tensors["best"]
        trainer.model.load_state_dict(tensors["model"])
        trainer.optimiser.load_state_dict(tensors["optimiser"])
        # A kill between two writes can leave best.pt and history.tsv of a later epoch: they follow the state.
        trainer.world.lead(lambda: self._follow(trainer))
        now = trainer.progress
        logger.info("training goes on after %d epochs and %d steps of the next", now.epoch, now.step)
        before, size = plain.get("ranks", 1), trainer.world.size
        if before != size:
            logger.info(
                "it was saved by %d processes and goes on with %d: the results differ by rounding", before, size
            )
        return True

    def _follow(self, trainer: Trainer) -> None:
        if trainer.best_weights:
            self.best(trainer)
        self.history(trainer)

    def _newest(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The content of the newest readable step checkpoint, if it is of this configuration and dataset."""
        for path in checkpoint.step_files(self.run.checkpoints):
            try:
                plain, tensors = checkpoint.load_training(path)
            except ArtefactError as error:
                logger.warning("%s; trying an older one", error)
                continue
            found = plain.get("digests", {})
            differing = [name for name, value in self.digests.items() if found.get(name) != value]
            if not differing:
                return plain, tensors
            logger.info("training starts afresh: %s was made with another %s", path, " and ".join(differing))
            return None
        return None


def _digest(data: Labels, tokens: Rows) -> str:
    """What of the dataset shapes training."""
    total = hashlib.sha256(f"{tokens.shape} {data.labels.shape} {data.task}".encode())
    for rows in blocks(data.examples):
        total.update(np.ascontiguousarray(tokens[rows]).data)
    for values in (data.labels, data.split):
        total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()
