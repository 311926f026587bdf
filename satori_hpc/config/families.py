"""Model families by name: what [model] architecture of run.toml may say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from satori_hpc.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family.

    Attributes:
        network: makes its network, called as models.build does; or "package.module:name" of that, imported on first
            use.
        sentence: what it is, for run.toml and the report; behind "The network is ...".
        settings: dataclass of its table [model.<name>]; None: it reads the keys of [model].
    """

    network: Callable[..., Any] | str
    sentence: str
    settings: type | None = None


FAMILIES: Registry[Family] = Registry("model family")
FAMILIES.add("basic", Family(network="satori_hpc.models.satori:build", sentence="SATORI-basic"))
FAMILIES.add("deep", Family(network="satori_hpc.models.satori:build", sentence="SATORI-deep"))
