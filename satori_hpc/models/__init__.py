"""Torch networks and losses: `build` makes a network of the family that [model] architecture names."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from satori_hpc.config import Model, toml
from satori_hpc.config.families import FAMILIES, Family
from satori_hpc.errors import ConfigError
from satori_hpc.models.base import ModelOutput, OneHotModel, Scorable, ScorableModel, TrainableModel
from satori_hpc.models.satori import Satori
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.registry import load

__all__ = ["ModelOutput", "Satori", "Scorable", "ScorableModel", "TrainableModel", "build", "register"]

Network = TypeVar("Network", bound=Callable[..., nn.Module])


def register(name: str, *, sentence: str, settings: type | None = None) -> Callable[[Network], Network]:
    """Register a model family by name: decorates the factory of its network.

    That is called as `network(settings, length=L, targets=T, task="binary" or "multilabel", entropy=weight)`, and gives
    a torch module from one-hot (B, 4, L) to logits (B, T) (models.base.OneHotModel describes its optional
    parts), or a TrainableModel.

    Args:
        name: for [model] architecture, and of its table [model.<name>].
        sentence: its description, after "The network is ..." in the report.
        settings: dataclass of that table; None: there is none, and `network` gets the section [model].

    Raises:
        ConfigError: the name is taken, or `settings` is not a dataclass of `config.option`s.
    """
    if settings is not None:
        toml.check_table(settings, f"settings of the model family {name!r}")

    def decorate(network: Network) -> Network:
        FAMILIES.add(name, Family(network=network, sentence=sentence, settings=settings))
        return network

    return decorate


def build(
    config: Model, *, length: int, targets: int, task: str, entropy: float, bank: MotifBank | None = None
) -> TrainableModel:
    """Make a network with fresh weights, drawn from torch's global generator.

    Args:
        config: section [model].
        length: L, bp of every sequence.
        targets: T, labels per sequence; 1 when the task is binary.
        task: "binary" or "multilabel".
        entropy: weight of the entropy loss it is trained with; decides the default of `conv_residual`.
        bank: known motifs, for a network that starts from them.

    Raises:
        ConfigError: the configuration does not suit such sequences or labels.
    """
    if task == "binary" and targets != 1:
        raise ConfigError(f"a binary task has one target, found {targets}; prepare it as multilabel")
    name = config.architecture
    family = FAMILIES[name]
    settings = config if family.settings is None else toml.child(config, name)
    known = {} if config.known_motifs is None else {"bank": bank}
    network = load(family.network)(settings, length=length, targets=targets, task=task, entropy=entropy, **known)
    if isinstance(network, TrainableModel):
        return network
    if entropy > 0:
        raise ConfigError(
            f"[train] entropy = {entropy:g}: networks of the family {name!r} give back no entropy of attention; set "
            "entropy = 0, or have the family make models.TrainableModel"
        )
    return OneHotModel(network, length=length, targets=targets, task=task)
