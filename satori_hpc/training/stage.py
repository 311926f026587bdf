"""train: fit the network, choose it by validation, predict every example."""

import socket
from typing import Any

import numpy as np
import torch

from satori_hpc import models
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Labels, Tokens
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
from satori_hpc.training.loop import Examples, Progress, Trainer
from satori_hpc.training.step import torch_seeds

WEIGHTS = 11


def train(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Train, or go on from the newest step checkpoint of the same configuration and dataset.

    Every process of the runtime's world calls this; the results depend on their number by rounding only.

    Raises:
        InputError: the splits cannot train or choose a model, or two processes have one GPU.
        Requeue: a signal or RUN/STOP asked to stop, and the state was kept.
        SatoriError: the loss is no longer finite.
    """
    world = runtime.world
    _one_device_each(runtime)
    with signals.listen(run.stop, world) as stop:
        data, tokens = dataset.read_labels(run.dataset), dataset.Tokens(run.dataset)
        _check_splits(data)
        torch.set_num_threads(runtime.cpu_threads())
        known = world.lead(lambda: configured.of_network(run))
        bank = None if known is None else MotifBank.from_motifs(known.motifs, background=_composition(data, tokens))
        trainer = _trainer(run, runtime, data, tokens, bank)
        keeper = TrainingFiles(run, data, tokens, bank)
        world.lead(lambda: _tidy(run))
        if not keeper.resume(trainer):
            world.lead(lambda: files.remove_folder(run.checkpoints))
        trainer.fit(keeper, stop)
    summary = _finish(run, runtime, data, tokens, trainer, keeper.digests)
    if known is not None:
        summary |= {"known motifs": len(known.motifs), "collection": known.title, "collection digest": known.digest}
        summary["sources"] = known.sources
    return summary


def _one_device_each(runtime: Runtime) -> None:
    """Refuse two processes on one GPU, which NCCL cannot serve."""
    device = runtime.torch_device()
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)
    found = runtime.world.gather(f"{socket.gethostname()} {torch.cuda.get_device_properties(device).uuid}")
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


def _check_splits(data: Labels) -> None:
    if len(data.rows("train")) < 2:
        raise InputError("fewer than two training examples; change [prepare] and run: satori-hpc prepare")
    for split in ("train", "valid"):
        if not both_classes(data.labels[data.rows(split)]).any():
            raise InputError(
                f"the {split} split ({len(data.rows(split))} examples) holds a single class in every label: nothing "
                "can be learned from it or chosen by it; change the split in [prepare] and prepare again"
            )


def _composition(data: Labels, tokens: Tokens) -> np.ndarray:
    """Share of each letter in the training examples, (4,)."""
    rows, counts = data.rows("train"), np.ones(5)
    for some in dataset.blocks(len(rows)):
        counts += np.bincount(tokens[rows[some]].ravel(), minlength=5)
    return counts[:4] / counts[:4].sum()


def _trainer(run: Run, runtime: Runtime, data: Labels, tokens: Tokens, bank: MotifBank | None) -> Trainer:
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
        train=Examples(tokens[train_rows], data.labels[train_rows]),
        valid=Examples(tokens[valid_rows], data.labels[valid_rows]),
        batch_size=runtime.batch_size,
        world=runtime.world,
        micro_batch=runtime.micro_batch,
    )


def _finish(
    run: Run, runtime: Runtime, data: Labels, tokens: Tokens, trainer: Trainer, digests: dict[str, str]
) -> dict[str, Any]:
    """Predict every example with the best checkpoint; the summary."""
    world, done = runtime.world, trainer.progress
    model = trainer.model.eval()
    world.doing("predicting")
    model.load_state_dict(trainer.best_weights)
    key = world.lead(lambda: predictions.digest(trainer.best_weights, digests))
    predictions.predict(run, runtime, model, tokens, targets=data.targets, key=key)
    summary: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": done.epoch,
        "best_epoch": done.best_epoch,
        "stopped_early": done.epoch < run.config.train.epochs,
    }
    world.doing("measuring")
    summary.update(world.lead(lambda: predictions.measure(run, model, data)))
    mass = done.history[done.best_epoch - 1]["column_mass"]
    if mass is not None:
        summary["attention_column_mass"] = mass
    collapsed = [row["epoch"] for row in done.history if row.get("constant_outputs")]
    if collapsed:
        summary["collapsed_epochs"] = collapsed
        world.lead(lambda: _warn_of_collapse(run, collapsed, done))
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
