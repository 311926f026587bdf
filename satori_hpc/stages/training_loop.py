"""The training loop. Every random number is keyed by (seed, epoch, step), so a resumed run needs no generator state."""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from satori_hpc.config import Train
from satori_hpc.core import metrics, schedule
from satori_hpc.errors import SatoriError
from satori_hpc.log import logger, progress
from satori_hpc.models import inference, losses
from satori_hpc.models.satori import Satori

WEIGHTS, ORDER, STEP = 11, 12, 13
STEPS_BETWEEN_CHECKS = 20


def torch_seed(*key: int) -> int:
    """A seed for torch from a key of non-negative whole numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


@dataclass
class Progress:
    """How far training is; all of it goes into a step checkpoint.

    Attributes:
        epoch: epochs done. step: steps done of the next one. total_steps: steps done since the start.
        loss, entropy, seconds: sums over the steps of the unfinished epoch (the first two weighted by examples).
        history: one row per finished epoch. best_epoch, best_value: of the selection metric, epoch from 1.
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


@dataclass(frozen=True)
class Examples:
    """Token codes (E, L) uint8 and labels (E, T) uint8 of one split."""

    tokens: np.ndarray
    labels: np.ndarray


class Keeper(Protocol):
    """Who stores what the loop produces."""

    def best(self, trainer: "Trainer") -> None:
        """The model has just become the best so far."""

    def state(self, trainer: "Trainer") -> None:
        """A point from which training can go on."""

    def history(self, trainer: "Trainer") -> None:
        """An epoch has ended."""


class Trainer:
    """Trains one network; `fit` goes on from `progress`, wherever that is.

    Args:
        model: on its device.
        config: section [train].
        seed: of the run.
        train: the training examples; they live on the model's device as token codes.
        valid: the examples that choose the model.
        batch_size: sequences per forward pass in validation.
    """

    def __init__(
        self, model: Satori, config: Train, *, seed: int, train: Examples, valid: Examples, batch_size: int
    ) -> None:
        self.model = model
        self.config = config
        self.seed = seed
        self.valid = valid
        self.batch_size = batch_size
        self.device = next(model.parameters()).device
        self.tokens = torch.from_numpy(train.tokens).to(self.device)
        self.labels = torch.from_numpy(train.labels).to(self.device)
        self.optimiser = make_optimiser(model, config)
        self.steps_per_epoch = -(-len(train.tokens) // config.batch_size)
        self.steps = self.steps_per_epoch * config.epochs
        self.progress = Progress()
        self.best_weights: dict[str, torch.Tensor] = {}

    @property
    def finished(self) -> bool:
        """All epochs are done, or `patience` epochs have passed without a better one."""
        done = self.progress.epoch
        stale = self.config.patience > 0 and done - self.progress.best_epoch >= self.config.patience
        return done >= self.config.epochs or (done > 0 and stale)

    def fit(self, keeper: Keeper) -> None:
        """Train until `finished`.

        Raises:
            SatoriError: the loss is no longer finite.
        """
        while not self.finished:
            self._train_epoch(keeper)
            self._end_epoch(keeper)

    def _train_epoch(self, keeper: Keeper) -> None:
        now = self.progress
        batches = self.batches(now.epoch)
        left = progress(batches[now.step :], what=f"epoch {now.epoch + 1}/{self.config.epochs}", unit="step")
        pending: list[torch.Tensor] = []
        began = time.monotonic()
        for rows in left:
            pending.append(self._step(rows))
            now.step += 1
            now.total_steps += 1
            every = self.config.checkpoint_every
            save = every > 0 and now.total_steps % every == 0 and now.step < len(batches)
            if save or len(pending) == STEPS_BETWEEN_CHECKS or now.step == len(batches):
                self._account(pending)
                pending = []
                now.seconds, began = now.seconds + time.monotonic() - began, time.monotonic()
            if save:
                keeper.state(self)

    def batches(self, epoch: int) -> list[torch.Tensor]:
        """Row numbers of every batch of an epoch, on the device.

        The order is a permutation keyed by (seed, epoch). It is cut into batches whose sizes differ by at most one, so
        that no example is lost and none makes a batch of its own.
        """
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self.tokens))
        return [torch.from_numpy(part).to(self.device) for part in np.array_split(order, self.steps_per_epoch)]

    def _step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step of the optimiser; gives back examples x (classification loss, entropy), on the device."""
        now, config = self.progress, self.config
        torch.manual_seed(torch_seed(self.seed, STEP, now.epoch, now.step))
        rate = schedule.learning_rate(config.schedule, now.total_steps, steps=self.steps, peak=config.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            output = self.model(self.tokens[rows], entropy=config.entropy > 0)
        classification = self._loss(output.logits, self.labels[rows])
        entropy = classification.new_zeros(()) if output.entropy is None else output.entropy.mean()
        weight = schedule.entropy_weight(
            config.entropy, now.total_steps, steps=self.steps, warmup=config.entropy_warmup
        )
        (classification + weight * entropy).backward()
        if config.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        self.optimiser.step()
        return torch.stack((classification.detach(), entropy.detach())) * len(rows)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return losses.classification_loss(logits, labels, task=self.model.task, output=self.model.config.output)

    def _account(self, pending: list[torch.Tensor]) -> None:
        """Add the losses of the last steps; looking at them waits for the device, so it is not done at each step."""
        found = torch.stack(pending).double().cpu()
        if not bool(torch.isfinite(found).all()):
            bad = int((~torch.isfinite(found).all(dim=1)).int().argmax())
            step = self.progress.step - len(pending) + bad + 1
            raise SatoriError(
                f"the loss is not finite at epoch {self.progress.epoch + 1}, step {step} of {self.steps_per_epoch}: "
                f"lower [train] learning_rate (now {self.config.learning_rate:g})"
                + (" or keep gradient_clip above 0" if self.config.gradient_clip == 0 else " or gradient_clip")
                + (", or use precision = 'float32'" if self.config.precision == "bfloat16" else "")
            )
        for loss, entropy in found.tolist():
            self.progress.loss += loss
            self.progress.entropy += entropy

    def _end_epoch(self, keeper: Keeper) -> None:
        now, config, count = self.progress, self.config, len(self.tokens)
        row = {
            "epoch": now.epoch + 1,
            "train_loss": now.loss / count,
            "train_entropy": now.entropy / count if config.entropy > 0 else None,
            **self.validate(),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "seconds": now.seconds,
            "examples_per_s": count / max(now.seconds, 1e-9),
        }
        value = row[f"valid_{config.select}"]
        improved = value > now.best_value
        now = dataclasses.replace(
            now, epoch=now.epoch + 1, step=0, loss=0.0, entropy=0.0, seconds=0.0, history=[*now.history, row]
        )
        self.progress = now
        if improved:
            now.best_epoch, now.best_value = now.epoch, value
            self.best_weights = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
            keeper.best(self)
        keeper.history(self)
        keeper.state(self)
        logger.info(
            "epoch %d/%d: loss %.4f, validation loss %.4f, AUROC %.4f, AUPR %.4f%s, %.0f examples/s",
            *(now.epoch, config.epochs, row["train_loss"], row["valid_loss"], row["valid_auroc"], row["valid_aupr"]),
            " (best)" if improved else "",
            row["examples_per_s"],
        )

    def validate(self) -> dict[str, float | None]:
        """Loss and metrics over the whole validation set, in float32; the columns valid_* and column_mass."""
        logits = inference.predict(self.model, self.valid.tokens, batch_size=self.batch_size)
        if not bool(torch.isfinite(logits).all()):
            raise SatoriError(
                f"predictions are not finite after epoch {self.progress.epoch + 1}: lower [train] learning_rate "
                f"(now {self.config.learning_rate:g})"
            )
        scores = metrics.classification(self.valid.labels, self.model.margin(logits).numpy())
        return {
            "valid_loss": float(self._loss(logits, torch.from_numpy(self.valid.labels))),
            "valid_auroc": scores.auroc,
            "valid_aupr": scores.aupr,
            "column_mass": self._column_mass() if self.config.entropy > 0 else None,
        }

    @torch.inference_mode()
    def _column_mass(self) -> float:
        """Mean strongest-column share of attention on the first validation batch: has a head collapsed?"""
        self.model.eval()
        tokens = torch.from_numpy(self.valid.tokens[: self.batch_size]).to(self.device)
        attention = self.model(tokens, attention=True).attention
        return float(losses.column_mass(attention).mean())


def make_optimiser(model: torch.nn.Module, config: Train) -> torch.optim.Optimizer:
    """The optimiser of section [train]."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
