"""Register model families by name, for [model] architecture of run.toml."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from satori_hpc.config.motif_tokens import MotifTokens
from satori_hpc.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family.

    Attributes:
        network: makes its network, called as models.build does; or "package.module:name" of that, imported on first
            use.
        sentence: its description, for run.toml and the report; after "The network is ...".
        settings: dataclass of its table [model.<name>]; None: it reads the keys of [model].
        known_motifs: it starts from known motifs, those that its settings name: motifs, jaspar_groups and
            similarity_max (config.motif_tokens.KnownMotifs). "basic" and "deep" do where first_layer says so.
    """

    network: Callable[..., Any] | str
    sentence: str
    settings: type | None = None
    known_motifs: bool = False


FAMILIES: Registry[Family] = Registry("model family")
FAMILIES.add("basic", Family(network="satori_hpc.models.satori:build", sentence="SATORI-basic"))
FAMILIES.add("deep", Family(network="satori_hpc.models.satori:build", sentence="SATORI-deep"))
FAMILIES.add(
    "motif-tokens",
    Family(
        network="satori_hpc.models.motif_tokens:build",
        sentence="attention over hits of known motifs and learned filters",
        settings=MotifTokens,
        known_motifs=True,
    ),
)
