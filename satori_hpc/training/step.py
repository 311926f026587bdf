"""Take one optimiser step, data-parallel: the same global batch, masks and batch norm on any number of processes.

Every process takes a slice of the rows of a batch. Losses are divided by the examples of the whole batch and their
gradients added over the processes, in one sum together with the losses and the stop request. That replaces torch's
DistributedDataParallel: it averages by processes, not examples, wants a backward pass of every process, also of one
without rows, and its overlap of computation and communication is worth little for networks of a few megabytes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from satori_hpc.config import Train
from satori_hpc.errors import ConfigError
from satori_hpc.models import dropout, losses, predict
from satori_hpc.models.base import TrainableModel
from satori_hpc.models.readout import LegacyBatchReadout
from satori_hpc.parallel.world import World

STEP = 13
MOMENTUM = 0.9  # of sgd


class Stepper:
    """Take optimiser steps, data-parallel over the processes of a world.

    Args:
        model: on its device; the same on every process.
        config: section [train].
        seed: of the run.
        steps: of the whole training.
        world: the processes that share every batch.
        micro_batch: sequences per forward pass; 0 = as many as suit the device.
    """

    def __init__(
        self, model: TrainableModel, config: Train, *, seed: int, steps: int, world: World, micro_batch: int
    ) -> None:
        self.model = model
        self.config = config
        self.seed = seed
        self.steps = steps
        self.world = world
        self.micro_batch = micro_batch
        self.device = next(model.parameters()).device
        self.restart(config.learning_rate)
        self.parameters = list(model.parameters())
        self.dropouts = [layer for layer in model.modules() if isinstance(layer, dropout.Keyed)]
        mixing = [layer for layer in model.modules() if isinstance(layer, LegacyBatchReadout)]
        self.whole_batch = bool(mixing)
        if mixing and micro_batch:
            raise ConfigError(
                "model.readout = 'legacy_batchnorm' mixes the examples of a batch at its end, so a batch cannot be "
                "cut: leave --micro-batch away, or choose another readout"
            )
        if world.size > 1:
            for layer in mixing:
                layer.all_reduce_sum = lambda values: _AllReduceSum.apply(values, world)

    def restart(self, peak: float) -> None:
        """Forget all steps; `peak` is the largest learning rate of those to come."""
        self.peak = peak
        self.optimiser = make_optimiser(self.model, self.config)

    def step(
        self,
        tokens: torch.Tensor,
        labels: torch.Tensor,
        beside: torch.Tensor | None = None,
        *,
        count: int,
        first: int,
        key: tuple[int, ...],
        number: int,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> torch.Tensor:
        """Take one step on a global batch.

        Args:
            tokens: (B, L) uint8 of the rows of this process; B may be 0.
            labels: (B, T).
            beside: (B, T), log-odds that are added to those of the network; None: none.
            count: examples of the global batch.
            first: place in it of the first row of this process.
            key: (epoch, step), which determine the random numbers, with the seed.
            number: index of this step in this attempt of training, from 0.
            stop_requested: whether this process wants to stop, asked as late as possible.

        Returns:
            (3,) on the device: sums over the examples of the global batch of classification loss and entropy, and
            the number of processes that want to stop, the same on all of them.
        """
        config, model = self.config, self.model
        rate = learning_rate(config.schedule, number, steps=self.steps, peak=self.peak, warmup=config.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        weight = entropy_weight(config.entropy, number, steps=self.steps, warmup=config.entropy_warmup)
        seeds = torch_seeds((self.seed, STEP, *key), len(self.dropouts))
        model.train()
        self.optimiser.zero_grad(set_to_none=True)
        moments = model.batch_moments(tokens, count=count, all_reduce_sum=self.world.all_reduce_sum)
        found = self.parameters[0].new_zeros(3)
        rows = self._rows_at_once(len(tokens))
        for start in range(0, len(tokens), rows):
            part = slice(start, start + rows)
            dropout.place(self.dropouts, seeds=seeds, first=first + start)
            torch.manual_seed(torch_seeds((self.seed, STEP, *key, first + start), 1)[0])  # for layers of guests
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
                output = model(tokens[part], entropy=config.entropy > 0, moments=moments)
            logits = output.logits if beside is None else output.logits + beside[part]
            classification = self.loss(logits, labels[part], count=count)
            entropy = classification.new_zeros(()) if output.entropy is None else output.entropy.sum() / count
            (classification + weight * entropy).backward()
            found[:2] += torch.stack((classification.detach(), entropy.detach()))
        found[2] = float(stop_requested())
        found = self._together(found)
        if config.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
        self.optimiser.step()
        found[:2] *= count
        return found

    def _rows_at_once(self, rows: int) -> int:
        """Return the number of sequences per forward pass, at least 1."""
        if self.whole_batch:
            return max(rows, 1)
        return self.micro_batch or predict.at_once(self.model, max(rows, 1))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, *, count: int | None = None) -> torch.Tensor:
        """Return the mean classification loss, or the contribution of these rows to that of `count` examples."""
        output = "two" if self.model.two_logits else "one"
        return losses.classification_loss(logits, labels, task=self.model.task, output=output, count=count)

    def _together(self, found: torch.Tensor) -> torch.Tensor:
        """All-reduce gradients and losses over all processes (sum)."""
        if self.world.size == 1:
            return found
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in self.parameters]
        flat = torch.cat([each.reshape(-1) for each in (*grads, found)])
        self.world.all_reduce_sum(flat)
        parts = flat.split([each.numel() for each in (*grads, found)])
        for parameter, part in zip(self.parameters, parts[:-1], strict=True):
            parameter.grad = part.view_as(parameter)
        return parts[-1]


class _AllReduceSum(torch.autograd.Function):
    """All-reduce (sum) that can be differentiated: its gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor, world: World) -> torch.Tensor:
        context.world = world
        total = values.clone()
        world.all_reduce_sum(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        total = gradients[0].contiguous().clone()
        context.world.all_reduce_sum(total)
        return total, None


def torch_seeds(key: tuple[int, ...], count: int) -> list[int]:
    """Derive seeds for torch, 0 .. 2^63 - 1, from a key of non-negative whole numbers."""
    return [int(word >> 1) for word in np.random.SeedSequence(key).generate_state(count, np.uint64)]


def make_optimiser(model: torch.nn.Module, config: Train) -> torch.optim.Optimizer:
    """Make the optimiser of section [train]."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=config.learning_rate, momentum=MOMENTUM, weight_decay=config.weight_decay
        )
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


# Learning rate and entropy weight as plain functions of the step, so that a resumed run needs no state for them.

RISE = 0.3
START = 1 / 25
END = 1 / 25e4


def learning_rate(kind: str, step: int, *, steps: int, peak: float, warmup: float = 0.0) -> float:
    """Return the learning rate of one step.

    Args:
        kind: "constant"; "cosine" or "linear": from peak down to 0, which the step after the last would reach; or
            "onecycle": from peak / 25 up by a cosine over the first 30 % of the steps, then down to peak / 250 000
            (Smith & Topin 2019).
        step: 0 .. steps - 1.
        steps: of the whole training without early stopping.
        peak: maximal learning rate.
        warmup: share of the steps over which the rate rises linearly to the peak first; not for "onecycle".
    """
    if kind == "onecycle":
        summit = RISE * max(steps - 1, 1)
        if step < summit:
            return _cosine(peak * START, peak, step / summit)
        return _cosine(peak, peak * END, min((step - summit) / max(steps - 1 - summit, 1e-9), 1.0))
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    if kind == "constant":
        return peak
    done = (step - rise) / max(steps - rise, 1)
    return _cosine(peak, 0.0, done) if kind == "cosine" else peak * (1 - done)


def entropy_weight(weight: float, step: int, *, steps: int, warmup: float) -> float:
    """Return the weight of the entropy loss: rises linearly from 0 over the fraction `warmup` of all steps."""
    rise = warmup * steps
    return weight if step >= rise else weight * step / rise


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


# Order and strand of the training examples in each epoch (reverse-complement augmentation).
#
# A protein binds either strand, so the reverse complement of an example has the same labels; a network whose filters
# read one strand learns that only from both. Kelley et al. 2016 (Basset) and most of the field since train so.

ORDER = 12
COIN = 14


def per_epoch(examples: int, reverse_complement: str) -> int:
    """Return the number of rows per epoch."""
    return 2 * examples if reverse_complement == "both" else examples


def shown(examples: int, reverse_complement: str, *, seed: int, epoch: int) -> np.ndarray:
    """Return the rows of an epoch in order, int64 (per_epoch,): r is example r, examples + r its reverse complement.

    The order is a permutation keyed by (seed, epoch); "random" draws one orientation per example, keyed likewise.

    Args:
        examples: number of training examples.
        reverse_complement: "none": as they are; "random": each one way, by a coin; "both": each both ways, as two rows.
        seed: of the network.
        epoch: from 0.
    """
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(per_epoch(examples, reverse_complement))
    if reverse_complement == "random":
        coins = np.random.default_rng([seed, COIN, epoch]).integers(0, 2, examples)
        order += examples * coins[order]
    return order
