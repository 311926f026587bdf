"""Learned filters of a first layer, on one strand or on both."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from satori_hpc.models.base import TrainableModel
from satori_hpc.sites.activations import SiteCounts


@dataclass(frozen=True)
class Layer:
    """Learned filters.

    Attributes:
        filters: F. width: bp.
        activations: uint8 codes (B, L) -> activations, as the other two take them.
        strongest: activations -> (B, F, L'), of the better strand.
        count: adds the sites of a batch up: counts, codes, activations and thresholds (F,).
    """

    filters: int
    width: int
    activations: Callable[[torch.Tensor], torch.Tensor]
    strongest: Callable[[torch.Tensor], torch.Tensor]
    count: Callable[[SiteCounts, np.ndarray, torch.Tensor, torch.Tensor], None]


def layer_of(model: TrainableModel) -> Layer | None:
    """Return the learned filters of a network; None if it has none, or its filters are known motifs."""
    if model.filters and model.bank is None:
        return Layer(
            filters=model.filters,
            width=model.width,
            activations=model.site_activations,
            strongest=lambda activations: activations,
            count=lambda counts, tokens, activations, threshold: counts.add(
                tokens, activations, threshold, padding=model.padding
            ),
        )
    if model.both_strands is None:
        return None
    return Layer(
        filters=model.both_strands.filters,
        width=model.both_strands.width,
        activations=model.both_strands.strands,
        strongest=lambda activations: activations.amax(dim=1),
        count=SiteCounts.add_strands,
    )
