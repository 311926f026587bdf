"""Stage train: fit the network, select the best epoch by validation, predict every example."""

import socket
from typing import Any

import numpy as np
import torch

from satori_hpc import models
from satori_hpc.data.dataset import Dataset, blocks
from satori_hpc.data.splits import both_classes
from satori_hpc.errors import InputError, shared
from satori_hpc.log import logger
from satori_hpc.motifs import configured
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.parallel import signals
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.training import predictions
from satori_hpc.training.checkpoint import TrainingFiles
from satori_hpc.training.loop import Progress, Trainer
from satori_hpc.training.step import torch_seeds

WEIGHTS = 11


def train(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Train, or resume from the newest step checkpoint of the same configuration and data set.

    Every process of the runtime's world calls this; the results depend on their number by rounding only.

    Raises:
        InputError: the splits cannot train or choose a model, or two processes share one GPU.
        Requeue: a signal or RUN/STOP requested a stop; the state is saved.
        SatoriError: the loss is no longer finite.
    """
    world = runtime.world
    _one_device_each(runtime)
    with signals.listen(run.stop, world) as stop:
        data = Dataset(run.dataset)
        _check_splits(data)
        torch.set_num_threads(runtime.cpu_threads())
        known = world.run_on_root(lambda: configured.of_network(run))
        bank = None if known is None else MotifBank.from_motifs(known.motifs, background=_composition(data))
        trainer = _trainer(run, runtime, data, bank)
        keeper = TrainingFiles(run, data, bank)
        world.run_on_root(lambda: _tidy(run))
        if not keeper.resume(trainer):
            world.run_on_root(lambda: files.remove_folder(run.checkpoints))
        trainer.fit(keeper, stop)
    summary = _finish(run, runtime, data, trainer, keeper.digests)
    if known is not None:
        summary |= {"known motifs": len(known.motifs), "collection": known.title, "collection digest": known.digest}
        summary["sources"] = known.sources
    return summary


def _one_device_each(runtime: Runtime) -> None:
    """Refuse two processes on one GPU, which NCCL does not support."""
    device = runtime.torch_device()
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    found = runtime.world.all_gather(f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}")
    if len(set(found)) < len(found):
        raise shared(
            InputError(
                f"{len(found)} processes have {len(set(found))} GPUs: start as many on each node as it has, such as "
                "srun --ntasks-per-node=4 --gpus-per-node=4, or use --device cpu"
            )
        )


def _tidy(run: Run) -> None:
    for folder in (run.path, run.checkpoints):
        files.sweep_partials(folder)
    files.remove_folder(run.predictions)


def _check_splits(data: Dataset) -> None:
    if len(data.rows("train")) < 2:
        raise InputError("fewer than two training examples; change [prepare] and run: satori-hpc prepare")
    for split in ("train", "valid"):
        if not both_classes(data.labels[data.rows(split)]).any():
            raise InputError(
                f"the {split} split ({len(data.rows(split))} examples) holds a single class in every label: nothing "
                "can be learned from it or chosen by it; change the split in [prepare] and prepare again"
            )


def _composition(data: Dataset) -> np.ndarray:
    """Return the base composition of the training examples, (4,)."""
    rows, counts = data.rows("train"), np.ones(5)
    for some in blocks(len(rows)):
        counts += np.bincount(data.tokens[rows[some]].ravel(), minlength=5)
    return counts[:4] / counts[:4].sum()


def _trainer(run: Run, runtime: Runtime, data: Dataset, bank: MotifBank | None) -> Trainer:
    config = run.config
    torch.manual_seed(torch_seeds((config.network_seed, WEIGHTS), 1)[0])
    model = models.build(
        config.model,
        length=data.length,
        targets=len(data.targets),
        task=data.task,
        entropy=config.train.entropy,
        bank=bank,
    ).to(runtime.torch_device())
    train_rows, valid_rows = data.rows("train"), data.rows("valid")
    return Trainer(
        model,
        config.train,
        seed=config.network_seed,
        train=(data.tokens[train_rows], data.labels[train_rows]),
        valid=(data.tokens[valid_rows], data.labels[valid_rows]),
        batch_size=runtime.batch_size,
        world=runtime.world,
        micro_batch=runtime.micro_batch,
    )


def _finish(run: Run, runtime: Runtime, data: Dataset, trainer: Trainer, digests: dict[str, str]) -> dict[str, Any]:
    """Predict every example with the best checkpoint; return the summary."""
    world, done = runtime.world, trainer.progress
    model = trainer.model.eval()
    world.set_status("predicting")
    model.load_state_dict(trainer.best_weights)
    key = world.run_on_root(lambda: predictions.digest(trainer.best_weights, digests))
    predictions.predict(run, runtime, model, data, key=key)
    summary: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": done.epoch,
        "best_epoch": done.best_epoch,
        "stopped_early": done.epoch < run.config.train.epochs,
    }
    world.set_status("measuring")
    summary.update(world.run_on_root(lambda: predictions.measure(run, model, data)))
    mass = done.history[done.best_epoch - 1]["column_mass"]
    if mass is not None:
        summary["attention_column_mass"] = mass
    collapsed = [row["epoch"] for row in done.history if row.get("constant_outputs")]
    if collapsed:
        summary["collapsed_epochs"] = collapsed
        world.run_on_root(lambda: _warn_of_collapse(run, collapsed, done))
    seconds = sum(row["seconds"] for row in done.history)
    summary["examples_per_s"] = round(trainer.rows_per_epoch * done.epoch / max(seconds, 1e-9), 1)
    return summary


def _warn_of_collapse(run: Run, collapsed: list[int], done: Progress) -> None:
    kept = f"the network kept is that of epoch {done.best_epoch}, " + (
        "collapsed as well: nothing can be read from it" if done.best_epoch in collapsed else "which is not"
    )
    logger.warning(
        "the network collapsed: after %d of %d epochs (%s) it gave all validation examples the same output (column "
        "constant_outputs of history.tsv); %s. Train again with a lower learning_rate (now %g), a warmup or another "
        "seed in [train]",
        len(collapsed),
        done.epoch,
        f"the first: {collapsed[0]}" if len(collapsed) > 1 else f"{collapsed[0]}",
        kept,
        run.config.train.learning_rate,
    )
