"""The scorer of a method by its name. Stores and statistics know none of them."""

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.config.score import METHODS
from satori_hpc.errors import ConfigError
from satori_hpc.models.base import TrainableModel
from satori_hpc.registry import load
from satori_hpc.scoring.base import SiteScorer
from satori_hpc.sites.given import GivenSites


def build(
    method: str,
    model: TrainableModel,
    *,
    threshold: torch.Tensor,
    settings: Score,
    seed: int,
    composition: np.ndarray,
    given: GivenSites | None = None,
) -> SiteScorer:
    """Return the scorer of a method (a key of METHODS): the hand-written one where the network has fast paths.

    Args:
        method: its name, as in score.methods of run.toml.
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,), activation above which a filter is active.
        settings: the section [score]; those of the method are settings.settings_of(method).
        seed: of the run.
        composition: float64 (4,), share of A, C, G and T in the training examples.
        given: source of the sites; None: the network.

    Raises:
        ConfigError: the network lacks a part that the method needs, or the method scores no given sites.
    """
    entry = METHODS[method]
    scorer: SiteScorer
    if given is not None:
        if entry.given is None:
            raise ConfigError(
                f"score.methods: {method} scores no sites of a scan or a file; expected sites.source = 'network', or "
                f"some of {', '.join(name for name, other in METHODS.items() if other.given is not None)}"
            )
        scorer = load(entry.given)(model, given, settings=settings, seed=seed, composition=composition)
        return scorer
    make = entry.scorer if model.has_fast_paths or entry.generic is None else entry.generic
    make = model.scorers.get(method, make)
    scorer = load(make)(model, threshold, settings=settings, seed=seed, composition=composition)
    return scorer
