"""Run the training loop. Random numbers are keyed by (seed, epoch, step): a resumed run needs no generator state."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from satori_hpc.config import Train
from satori_hpc.data import sequence
from satori_hpc.errors import ConfigError, Preempted, SatoriError, shared
from satori_hpc.log import PASSING, logger, progress
from satori_hpc.models.base import TrainableModel
from satori_hpc.models.kmers import KmerRegression, folds
from satori_hpc.parallel.signals import StopRequest
from satori_hpc.parallel.world import World
from satori_hpc.training import health, metrics, predictions, step
from satori_hpc.training.step import Stepper

# State of training, in plain values.


@dataclass
class Progress:
    """Progress of training; all of it goes into a step checkpoint.

    Attributes:
        epoch: epochs done. step: steps done of the next one. total_steps: steps done since the start.
        loss, entropy, seconds: sums over the steps of the unfinished epoch (the first two weighted by examples).
        history: one row per finished epoch. best_epoch, best_value: of the selection metric, epoch from 1.
        attempt: restarts so far. start: epochs done before the last of them; `epoch` and `total_steps` count on.
        baselines: {name of a baseline: {split: its mean AUROC, None where that is not known}}.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss: float = 0.0
    entropy: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("-inf")
    attempt: int = 0
    start: int = 0
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)


Arrays = tuple[np.ndarray, np.ndarray]  # token codes (E, L) uint8 and labels (E, T) uint8 of a split

STEPS_BETWEEN_CHECKS = 20
# Training that ends in constant outputs starts again from the first weights, so many times, each with a lower rate.
RESTARTS = 3
SLOWER = 0.3
# An attempt of so many epochs, whose training loss never fell so far below that of the base rate, learned nothing,
# unless it ranks the validation examples, as it may where positives are rare.
PATIENT = 6
LEARNED = 1e-3
RANKED = 0.7


class TrainingCallback(Protocol):
    """Callbacks that store what the loop produces."""

    def best(self, trainer: "Trainer") -> None:
        """Called on rank 0, as the others are, when the model has become the best so far."""

    def state(self, trainer: "Trainer") -> None:
        """Called with a state from which training can resume."""

    def history(self, trainer: "Trainer") -> None:
        """Called at the end of an epoch."""


class Trainer:
    """Train one network, data-parallel over the processes of a world; `fit` resumes from `progress`.

    Args:
        model: on its device; the same on every process.
        config: section [train].
        seed: of the run.
        train: the training examples, all of them on every process, on the model's device as token codes.
        valid: the examples that choose the model.
        batch_size: sequences per forward pass in validation.
        world: the processes that share every batch.
        micro_batch: sequences per forward pass in training; 0 = as many as suit the device.

    Raises:
        ConfigError: the model cannot be trained by so many processes.
    """

    def __init__(
        self,
        model: TrainableModel,
        config: Train,
        *,
        seed: int,
        train: Arrays,
        valid: Arrays,
        batch_size: int,
        world: World | None = None,
        micro_batch: int = 0,
    ) -> None:
        self.model = model
        self.config = config
        self.seed = seed
        self.valid_tokens, self.valid_labels = valid
        self.batch_size = batch_size
        self.world = world or World()
        tokens, labels = train
        for each in (tokens, self.valid_tokens):
            model.remember(each)
        self.device = next(model.parameters()).device
        self.tokens = torch.from_numpy(tokens).to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.complement = torch.from_numpy(sequence.COMPLEMENT).to(self.device)
        self.rows_per_epoch = step.per_epoch(len(tokens), config.reverse_complement)
        self.steps_per_epoch = -(-self.rows_per_epoch // config.batch_size)
        self.stepper = Stepper(
            model,
            config,
            seed=seed,
            steps=self.steps_per_epoch * config.epochs,
            world=self.world,
            micro_batch=micro_batch,
        )
        self.progress = Progress()
        if model.kmers is not None:
            model.silence()
        self.first_weights = {name: value.cpu().clone() for name, value in model.state_dict().items()}
        self.beside: torch.Tensor | None = None
        self.valid_beside = np.zeros(valid[1].shape, dtype=np.float32)
        self.best_weights: dict[str, torch.Tensor] = {}
        self.base_loss = health.base_rate_loss(labels)
        smallest = self.rows_per_epoch // self.steps_per_epoch
        if self.stepper.whole_batch and smallest < self.world.size:
            raise ConfigError(
                f"model.readout = 'legacy_batchnorm' needs an example per process in every batch: the smallest batch "
                f"has {smallest}, and there are {self.world.size} processes; start fewer, or choose another readout"
            )

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        return self.stepper.optimiser

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or `patience` epochs have passed without improvement."""
        now = self.progress
        done = now.epoch - now.start
        stale = self.config.patience > 0 and now.epoch - max(now.best_epoch, now.start) >= self.config.patience
        return done >= self.config.epochs or (done > 0 and stale)

    def rate(self, attempt: int) -> float:
        """The largest learning rate of an attempt, from 0."""
        return self.config.learning_rate * SLOWER**attempt

    def constant(self, row: dict[str, Any]) -> bool:
        """Whether an epoch ended with constant outputs for every label."""
        return int(row["constant_outputs"] or 0) == self.labels.shape[1]

    def failed(self) -> str:
        """Why this attempt has failed, in words; empty: it has not. A function of `progress` alone, as a kill needs."""
        rows = self.progress.history[self.progress.start :]
        if rows and self.constant(rows[-1]) and (self.finished or (len(rows) > 1 and self.constant(rows[-2]))):
            return "gives all validation examples the same output"
        at_chance = [row for row in rows if row["train_loss"] > (1 - LEARNED) * self.base_loss]
        unranked = not any((row["valid_auroc"] or 0) >= RANKED for row in rows)
        if self.finished and len(rows) >= PATIENT and len(at_chance) == len(rows) and unranked:
            return f"has learned nothing in {len(rows)} epochs but the share of positives (loss {self.base_loss:.4f})"
        return ""

    def train_beside(self, kmers: KmerRegression) -> None:
        """Train on what the model's regression on 6-mers, which is fitted, leaves; called once, after any resume."""
        self.beside = kmers.out_of_fold(self.tokens, folds(len(self.tokens), self.seed))
        for start in range(0, len(self.valid_tokens), self.batch_size):
            some = slice(start, start + self.batch_size)
            found = kmers(torch.from_numpy(self.valid_tokens[some]).to(self.device))
            self.valid_beside[some] = found.cpu().numpy()
        self.first_weights |= {f"kmers.{name}": value.cpu().clone() for name, value in kmers.state_dict().items()}

    def go_on(self, progress: Progress) -> None:
        """Take up training at a stored point; weights and state of the optimiser are loaded after this."""
        self.progress = progress
        self.stepper.restart(self.rate(progress.attempt))

    def _restart(self, why: str) -> None:
        """Start again from the first weights with a lower learning rate; the best network of before stays the best."""
        now = self.progress
        again = dataclasses.replace(now, attempt=now.attempt + 1, start=now.epoch)
        if now.best_epoch and self.constant(now.history[now.best_epoch - 1]):
            again.best_epoch, again.best_value, self.best_weights = 0, float("-inf"), {}
        self.model.load_state_dict(self.first_weights)
        self.go_on(again)
        if self.world.rank == 0:
            logger.warning(
                "epoch %d: the network %s; training starts again, attempt %d of %d, with learning_rate %g instead of "
                "%g",
                *(now.epoch, why, again.attempt + 1, RESTARTS + 1, self.rate(again.attempt), self.rate(now.attempt)),
                extra=PASSING,
            )

    def fit(self, callback: TrainingCallback, stop: StopRequest) -> None:
        """Train until `finished`; an attempt that failed is followed by another, RESTARTS times at most.

        Raises:
            Preempted: a stop was requested; the state is saved.
            SatoriError: the loss is no longer finite.
        """
        while True:
            if why := self.failed():
                if self.progress.attempt == RESTARTS:
                    break
                self._restart(why)
            elif self.finished:
                break
            self.world.set_status(f"training, epoch {self.progress.epoch + 1}")
            self._align()
            self._train_epoch(callback, stop)
            self._end_epoch(callback)
        if any(self.world.all_gather(stop.requested())):
            self._leave(stop)

    def _align(self) -> None:
        """Broadcast the weights of rank 0: processors of different kinds round differently."""
        if self.world.size > 1:
            self.model.load_state_dict(
                self.world.run_on_root(lambda: {name: value.cpu() for name, value in self.model.state_dict().items()})
            )

    def _train_epoch(self, callback: TrainingCallback, stop: StopRequest) -> None:
        now = self.progress
        batches = self.batches(now.epoch)
        left = progress(
            batches[now.step :], what=f"epoch {now.epoch + 1}/{now.start + self.config.epochs}", unit="step"
        )
        pending: list[torch.Tensor] = []
        began = time.monotonic()
        for rows in left:
            pending.append(self._step(rows, stop))
            now.step += 1
            now.total_steps += 1
            every = self.config.checkpoint_every
            save = every > 0 and now.total_steps % every == 0 and now.step < len(batches)
            look = save or len(pending) == STEPS_BETWEEN_CHECKS or now.step == len(batches)
            # Reading the sums synchronises the GPU, so not at each step; all processes read at the same steps.
            asked = (look or self.device.type == "cpu") and bool(pending[-1][2] > 0)
            if look or asked:
                self._account(pending)
                pending = []
                now.seconds, began = now.seconds + time.monotonic() - began, time.monotonic()
            if save or asked:
                self.world.run_on_root(lambda: callback.state(self))
            if asked:
                self._leave(stop)

    def _leave(self, stop: StopRequest) -> None:
        now = self.progress
        why = self.world.all_gather(stop.why)
        stop.acknowledge()
        asked = ", ".join(dict.fromkeys(filter(None, why)))
        raise shared(
            Preempted(
                f"training stopped after {now.epoch} epochs and {now.step} steps of the next, for {asked}; its state "
                "is saved: run the same command again to resume"
            )
        )

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of every batch of an epoch, numbered as by `step.shown`.

        They are cut into batches whose sizes differ by at most one, so no example is dropped and none is
        a batch of its own.
        """
        rows = step.shown(len(self.tokens), self.config.reverse_complement, seed=self.seed, epoch=epoch)
        return np.array_split(rows, self.steps_per_epoch)

    def _examples(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return tokens (rows, L), labels (rows, T) and what is beside the network (rows, T), if anything.

        Rows beyond the examples are their reverse complements.
        """
        chosen = torch.from_numpy(rows % len(self.tokens)).to(self.device)
        tokens = self.tokens[chosen]
        other = torch.from_numpy(np.flatnonzero(rows >= len(self.tokens))).to(self.device)
        if len(other):
            tokens[other] = self.complement[tokens[other].flip(1).int()]
        return tokens, self.labels[chosen], None if self.beside is None else self.beside[chosen]

    def _step(self, rows: np.ndarray, stop: StopRequest) -> torch.Tensor:
        """Take one step on the rows of a global batch, of which this process takes its slice; see Stepper.step."""
        now = self.progress
        mine = predictions.share(len(rows), self.world)
        return self.stepper.step(
            *self._examples(rows[mine]),
            count=len(rows),
            first=mine.start,
            key=(now.epoch, now.step),
            number=now.total_steps - now.start * self.steps_per_epoch,
            stop_requested=stop.requested,
        )

    def _account(self, pending: list[torch.Tensor]) -> None:
        """Add the losses of the last steps; they are the same on every process."""
        found = torch.stack(pending)[:, :2].double().cpu()
        if not bool(torch.isfinite(found).all()):
            bad = int((~torch.isfinite(found).all(dim=1)).int().argmax())
            step = self.progress.step - len(pending) + bad + 1
            raise shared(
                SatoriError(
                    f"the loss is not finite at epoch {self.progress.epoch + 1}, step {step} of "
                    f"{self.steps_per_epoch}: lower [train] learning_rate (now {self.stepper.peak:g})"
                    + (" or keep max_grad_norm above 0" if self.config.max_grad_norm == 0 else " or max_grad_norm")
                    + (", or use precision = 'float32'" if self.config.precision == "bfloat16" else "")
                )
            )
        for loss, entropy in found.tolist():
            self.progress.loss += loss
            self.progress.entropy += entropy

    def _end_epoch(self, callback: TrainingCallback) -> None:
        now, config, count = self.progress, self.config, self.rows_per_epoch
        row = {
            "epoch": now.epoch + 1,
            "attempt": now.attempt + 1,
            "train_loss": now.loss / count,
            "train_entropy": now.entropy / count if config.entropy > 0 else None,
            **self.validate(),
            **{f"valid_auroc_{name}": found["valid"] for name, found in now.baselines.items()},
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": now.seconds,
            "examples_per_s": count / max(now.seconds, 1e-9),
        }
        row = self.world.broadcast(row)  # one clock
        value = row[f"valid_{config.select}"]
        improved = value > now.best_value
        now = dataclasses.replace(
            now, epoch=now.epoch + 1, step=0, loss=0.0, entropy=0.0, seconds=0.0, history=[*now.history, row]
        )
        self.progress = now
        if improved:
            now.best_epoch, now.best_value = now.epoch, value
            self.best_weights = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
        self.world.run_on_root(lambda: self._keep(callback, improved))
        kmers = row.get("valid_auroc_kmers")
        logger.info(
            "epoch %d/%d: loss %.4f, validation loss %.4f, AUROC %.4f%s, AUPR %.4f%s, %.0f examples/s",
            *(now.epoch, now.start + config.epochs, row["train_loss"], row["valid_loss"], row["valid_auroc"]),
            "" if kmers is None else f" (6-mers {kmers:.4f})",
            row["valid_aupr"],
            " (best)" if improved else "",
            row["examples_per_s"],
        )
        collapsed = [bool(row.get("constant_outputs")) for row in now.history]
        if self.world.rank == 0 and collapsed[-1] and not any(collapsed[-2:-1]):
            logger.warning(
                "epoch %d: the network has collapsed: it gives all validation examples the same output%s",
                now.epoch,
                f" for {row['constant_outputs']} of {self.labels.shape[1]} labels" if self.labels.shape[1] > 1 else "",
                extra=PASSING,
            )

    def _keep(self, callback: TrainingCallback, improved: bool) -> None:
        if improved:
            callback.best(self)
        callback.history(self)
        callback.state(self)

    def validate(self) -> dict[str, float | None]:
        """Return loss and metrics over the whole validation set; the columns valid_*, column_mass and constant_outputs.

        Raises:
            SatoriError: the predictions are no longer finite.
        """
        logits = predictions.predict_on_ranks(
            self.model, self.valid_tokens, batch_size=self.batch_size, world=self.world
        )
        if not bool(torch.isfinite(logits).all()):
            raise shared(
                SatoriError(
                    f"predictions are not finite after epoch {self.progress.epoch + 1}: lower [train] learning_rate "
                    f"(now {self.stepper.peak:g})"
                )
            )
        ranking, threads = self.model.margin(logits).numpy(), torch.get_num_threads()

        def measure() -> tuple[float, float]:
            found = metrics.classification(self.valid_labels, ranking, threads=threads)
            return found.auroc, found.aupr

        auroc, aupr = self.world.run_on_root(measure)
        mass = None
        if self.config.entropy > 0:
            first = self.valid_tokens[: self.batch_size]
            mass = predictions.column_mass(self.model, first, world=self.world)
        return {
            "valid_loss": float(self.stepper.loss(logits, torch.from_numpy(self.valid_labels))),
            "valid_auroc": auroc,
            "valid_aupr": aupr,
            "column_mass": mass,
            "constant_outputs": self.world.run_on_root(lambda: metrics.constant_outputs(ranking - self.valid_beside)),
        }
