"""train: fit the network, choose it by validation, predict every example."""

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np
import torch

from satori_hpc import config as config_module
from satori_hpc import models, options
from satori_hpc.core import metrics
from satori_hpc.errors import ArtefactError, InputError
from satori_hpc.log import logger
from satori_hpc.models import inference
from satori_hpc.models.satori import Satori
from satori_hpc.run import Run
from satori_hpc.stages import training_loop
from satori_hpc.stages.training_loop import Examples, Progress, Trainer
from satori_hpc.stores import atomic, checkpoint, dataset, history, predictions
from satori_hpc.stores.checkpoint import CheckpointInfo
from satori_hpc.stores.dataset import Dataset
from satori_hpc.world import Runtime


def train(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Train, or go on from the newest step checkpoint of the same configuration and dataset.

    Raises:
        InputError: the splits cannot train or choose a model.
        SatoriError: the loss is no longer finite.
    """
    data = dataset.read(run.dataset)
    _check_splits(data)
    torch.set_num_threads(runtime.cpu_threads())
    trainer = _trainer(run, runtime, data)
    keeper = _Files(run, data)
    for folder in (run.path, run.checkpoints):
        atomic.sweep_partials(folder)
    atomic.remove_folder(run.predictions)
    if not keeper.resume(trainer):
        atomic.remove_folder(run.checkpoints)
    trainer.fit(keeper)
    return _finish(run, runtime, data, trainer.progress)


def _check_splits(data: Dataset) -> None:
    if len(data.rows("train")) < 2:
        raise InputError("fewer than two training examples; change [prepare] and run: satori-hpc prepare")
    for split in ("train", "valid"):
        if not metrics.both_classes(data.labels[data.rows(split)]).any():
            raise InputError(
                f"the {split} split ({len(data.rows(split))} examples) holds a single class in every label: nothing "
                "can be learned from it or chosen by it; change the split in [prepare] and prepare again"
            )


def _trainer(run: Run, runtime: Runtime, data: Dataset) -> Trainer:
    config = run.config
    torch.manual_seed(training_loop.torch_seed(config.seed, training_loop.WEIGHTS))
    model = models.build(
        config.model,
        length=data.length,
        targets=len(data.targets),
        task=data.task,
        entropy=config.train.entropy,
    ).to(runtime.torch_device())
    train_rows, valid_rows = data.rows("train"), data.rows("valid")
    return Trainer(
        model,
        config.train,
        seed=config.seed,
        train=Examples(data.tokens[train_rows], data.labels[train_rows]),
        valid=Examples(data.tokens[valid_rows], data.labels[valid_rows]),
        batch_size=runtime.batch_size,
    )


class _Files:
    """The keeper of a run: best.pt, history.tsv and the step checkpoints."""

    def __init__(self, run: Run, data: Dataset) -> None:
        self.run = run
        self.data = data
        self.digests = {
            "config": options.digest(config_module.sections(run.config, ("model", "train"))),
            "dataset": _digest(data),
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
        plain = {"digests": self.digests, "progress": dataclasses.asdict(trainer.progress)}
        checkpoint.save_training(self.run.checkpoints, step=trainer.progress.total_steps, plain=plain, tensors=tensors)

    def resume(self, trainer: Trainer) -> bool:
        """Put the trainer where the newest usable step checkpoint left it; False when there is none."""
        found = self._newest()
        if found is None:
            return False
        plain, tensors = found
        trainer.progress = Progress(**plain["progress"])
        trainer.best_weights = tensors["best"]
        trainer.model.load_state_dict(tensors["model"])
        trainer.optimiser.load_state_dict(tensors["optimiser"])
        # A kill between two writes can leave best.pt and history.tsv of a later epoch: they follow the state.
        if trainer.best_weights:
            self.best(trainer)
        self.history(trainer)
        now = trainer.progress
        logger.info("training goes on after %d epochs and %d steps of the next", now.epoch, now.step)
        return True

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


def _digest(data: Dataset) -> str:
    """What of the dataset shapes training."""
    total = hashlib.sha256(f"{data.tokens.shape} {data.labels.shape} {data.task}".encode())
    for values in (data.tokens, data.labels, data.split):
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def _finish(run: Run, runtime: Runtime, data: Dataset, done: Progress) -> dict[str, Any]:
    """Predict every example with the best checkpoint; the summary."""
    model, info = checkpoint.load_model(run.best, runtime.torch_device())
    logits = inference.predict(model, data.tokens, batch_size=runtime.batch_size, what="predictions")
    predictions.write(run.predictions, logits.numpy(), model.score(logits).numpy())
    summary: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": done.epoch,
        "best_epoch": info.epoch,
        "stopped_early": done.epoch < run.config.train.epochs,
    }
    summary.update(_metrics(model, data, logits))
    mass = done.history[info.epoch - 1]["column_mass"]
    if mass is not None:
        summary["attention_column_mass"] = mass
    seconds = sum(row["seconds"] for row in done.history)
    summary["examples_per_s"] = round(len(data.rows("train")) * done.epoch / max(seconds, 1e-9), 1)
    return summary


def _metrics(model: Satori, data: Dataset, logits: torch.Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ranking = model.margin(logits).numpy()
    for split in ("valid", "test"):
        rows = data.rows(split)
        scores = metrics.classification(data.labels[rows], ranking[rows])
        # JSON has no NaN: a split whose labels are all of one class has no figure.
        found[f"{split}_auroc"] = None if math.isnan(scores.auroc) else scores.auroc
        found[f"{split}_aupr"] = None if math.isnan(scores.aupr) else scores.aupr
        found[f"{split}_labels_skipped"] = scores.skipped
    return found
