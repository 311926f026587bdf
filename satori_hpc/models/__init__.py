"""Torch modules and losses of the SATORI family: `build` makes a network from its configuration."""

from satori_hpc.config import Model
from satori_hpc.errors import ConfigError
from satori_hpc.models.base import ModelOutput
from satori_hpc.models.satori import Satori

__all__ = ["ModelOutput", "Satori", "build"]


def build(config: Model, *, length: int, targets: int, task: str, entropy: float) -> Satori:
    """Make a network with fresh weights, drawn from torch's global generator.

    Args:
        config: section [model].
        length: L, bp of every sequence.
        targets: T, labels per sequence; 1 when the task is binary.
        task: "binary" or "multilabel".
        entropy: weight of the entropy loss it is trained with; decides the default of `conv_residual`.

    Raises:
        ConfigError: the configuration does not suit such sequences or labels.
    """
    if length < config.width:
        raise ConfigError(f"[model] width = {config.width}: the sequences are shorter, {length} bp; lower width")
    if length < config.pool:
        raise ConfigError(f"[model] pool = {config.pool}: the sequences are shorter, {length} bp; lower pool")
    if task == "binary" and targets != 1:
        raise ConfigError(f"a binary task has one target, found {targets}; prepare it as multilabel")
    if task == "multilabel" and config.output == "two":
        raise ConfigError("[model] output = 'two' is for binary labels; these are multilabel: set output = 'one'")
    return Satori(config, length=length, targets=targets, task=task, entropy=entropy)
