"""Stage train: fit the network, select the best epoch by validation, predict every example."""

import socket
from typing import Any

import numpy as np
import torch

from satori_hpc import models
from satori_hpc.data.dataset import Dataset, blocks
from satori_hpc.data.splits import both_classes
from satori_hpc.errors import InputError, SatoriError, shared
from satori_hpc.log import logger
from satori_hpc.models.base import TrainableModel
from satori_hpc.motifs import configured
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.parallel import signals
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.training import baseline, health, predictions
from satori_hpc.training.baseline import Count
from satori_hpc.training.checkpoint import TrainingFiles
from satori_hpc.training.loop import Trainer
from satori_hpc.training.metrics import LEAST_AUROC
from satori_hpc.training.step import torch_seeds

WEIGHTS = 11
MARGIN = 0.01  # of AUROC, by which a network may stay behind the 6-mers before a warning


def train(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Train, or resume from the newest step checkpoint of the same configuration and data set.

    Every process of the runtime's world calls this; the results depend on their number by rounding only.

    Raises:
        InputError: the splits cannot train or choose a model, or two processes share one GPU.
        Preempted: a signal or RUN/STOP requested a stop; the state is saved.
        SatoriError: the loss is no longer finite, or no attempt has learned anything.
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
        callback = TrainingFiles(run, data, bank)
        world.run_on_root(lambda: _tidy(run))
        if not callback.resume(trainer):
            world.run_on_root(lambda: files.remove_folder(run.checkpoints))
        if not trainer.progress.baselines:
            world.set_status("baselines without a network")
            trainer.progress.baselines = world.run_on_root(lambda: _baselines(run, data, trainer.model))
        kmers = trainer.model.kmers
        if kmers is not None:
            if not trainer.progress.total_steps:
                world.set_status("regression on 6-mers beside the network")
                seed = run.config.network_seed
                kmers.load_state_dict(world.run_on_root(lambda: baseline.cross_fit(data, seed=seed)))
            trainer.train_beside(kmers)
        trainer.fit(callback, stop)
    _check_outputs(run, trainer)
    summary = _finish(run, runtime, data, trainer, callback.digests)
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


def _baselines(run: Run, data: Dataset, model: TrainableModel) -> dict[str, dict[str, float | None]]:
    """Return the mean AUROC of regressions on counts: of 6-mers, and of the known motifs that the network starts from.

    As in Progress.baselines.
    """
    counts: dict[str, Count] = {"kmers": baseline.kmers}
    if model.bank is not None:
        counts["motif_counts"] = baseline.hits(model.bank, model.gate)
    found: dict[str, dict[str, float | None]] = {}
    for name, count in counts.items():
        fitted = baseline.fit(data, count, seed=run.config.seed)
        found[name] = {}
        for split, values in fitted.auroc.items():
            usable = values[~np.isnan(values)]
            found[name][split] = float(usable.mean()) if len(usable) else None
        if fitted.trained < len(data.rows("train")):
            logger.info("baseline %s: fitted to %d training examples, drawn by the seed", name, fitted.trained)
    return found


def _check_outputs(run: Run, trainer: Trainer) -> None:
    """Refuse a network that has learned nothing in any attempt, although there is something to be learned.

    Labels that nothing predicts, permuted ones say, are no fault of training: there the 6-mers are at chance as well.
    """
    now = trainer.progress
    why = trainer.failed()
    if not why or (now.best_epoch and (now.history[now.best_epoch - 1]["valid_auroc"] or 0) >= LEAST_AUROC):
        return
    kmers = now.baselines["kmers"]["valid"]
    if not trainer.constant(now.history[-1]) and (kmers is None or kmers < LEAST_AUROC):
        return
    rates = [f"{trainer.rate(attempt):g}" for attempt in range(now.attempt + 1)]
    raise shared(
        SatoriError(
            f"{run.history}: in all of {len(rates)} attempts, with learning_rate {', '.join(rates)}, training failed: "
            f"in the end the network {why}; expected outputs that tell the {len(trainer.valid_labels)} validation "
            f"examples apart (AUROC of 6-mers: {float('nan') if kmers is None else kmers:.3f}). Change in "
            f"{run.config_file}: [train] warmup (now {run.config.train.warmup:g}; 0.1, say) with a learning_rate "
            f"below {rates[-1]}, or train.seed, or the "
            "network in [model] (less dropout, another architecture); and look whether the labels are those of the "
            "sequences"
        )
    )


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
        "stopped_early": done.epoch - done.start < run.config.train.epochs,
    }
    world.set_status("measuring")
    summary.update(world.run_on_root(lambda: predictions.measure(run, model, data)))
    mass = done.history[done.best_epoch - 1]["column_mass"]
    if mass is not None:
        summary["attention_column_mass"] = mass
    summary |= {f"{split}_auroc_{name}": each[split] for name, each in done.baselines.items() for split in each}
    summary |= world.run_on_root(lambda: _dead_parts(model, trainer.valid_tokens))
    world.run_on_root(lambda: _compare(summary))
    if done.attempt:
        summary["restarts"] = done.attempt
    collapsed = [row["epoch"] for row in done.history if row.get("constant_outputs")]
    if collapsed:
        summary["collapsed_epochs"] = collapsed
        world.run_on_root(lambda: _warn_of_collapse(trainer, collapsed))
    seconds = sum(row["seconds"] for row in done.history)
    summary["examples_per_s"] = round(trainer.rows_per_epoch * done.epoch / max(seconds, 1e-9), 1)
    return summary


def _dead_parts(model: TrainableModel, tokens: np.ndarray) -> dict[str, int]:
    """Count dead heads and filters for the summary, and warn of them."""
    found = health.parts(model, tokens)
    summary = {}
    for what, of, dead in (("heads", found.heads, found.dead_heads), ("filters", found.filters, found.dead_filters)):
        if dead:
            summary[f"dead_{what}"] = dead
        if dead > (0 if what == "heads" else of / 2):  # spare filters may die
            logger.warning(
                "%d of %d %s are dead: %s in every one of the validation examples looked at. %s",
                *(dead, of, "attention heads" if what == "heads" else "learned filters"),
                "they attend to the same bins" if what == "heads" else "they have the same activation",
                "Raw attention of these heads says nothing of a sequence: choose epistasis, or train again with fewer "
                "heads, a lower learning_rate or another seed"
                if what == "heads"
                else "They have no motif and no sites: set fewer, or train with a lower learning_rate or a warmup",
            )
    return summary


def _compare(summary: dict[str, Any]) -> None:
    """Warn of a network that does not beat a regression on 6-mers."""
    network, kmers = summary["valid_auroc"], summary.get("valid_auroc_kmers")
    if network is not None and kmers is not None and network < kmers - MARGIN:
        logger.warning(
            "the network (validation AUROC %.3f) is no better than a logistic regression on counts of 6-mers (%.3f), "
            "which needs no network: it has learned less than which words a sequence holds. Train on more examples, "
            "with more dropout, weight_decay or fewer filters, or another preset, before reading its interactions",
            *(network, kmers),
        )


def _warn_of_collapse(trainer: Trainer, collapsed: list[int]) -> None:
    done = trainer.progress
    again = "Train again with a lower learning_rate (now %g), a warmup or another seed in [train]"
    advice = again % trainer.config.learning_rate
    kept = f"the network kept is that of epoch {done.best_epoch}, which is not"
    if done.best_epoch > done.start > 0:
        rate = trainer.rate(done.attempt)
        kept = f"the network kept is that of epoch {done.best_epoch}, of attempt {done.attempt + 1}, which is not"
        advice = f"Set [train] learning_rate = {rate:g}, with which that attempt began, to train in one attempt"
    elif done.best_epoch in collapsed:
        kept = f"the network kept is that of epoch {done.best_epoch}, collapsed as well: nothing can be read from it"
    logger.warning(
        "the network collapsed: after %d of %d epochs (%s) it gave all validation examples the same output (column "
        "constant_outputs of history.tsv); %s. %s",
        *(len(collapsed), done.epoch),
        f"the first: {collapsed[0]}" if len(collapsed) > 1 else f"{collapsed[0]}",
        *(kept, advice),
    )
