"""Predictions of many sequences."""

import numpy as np
import torch

from satori_hpc.log import progress
from satori_hpc.models.satori import Satori


@torch.inference_mode()
def predict(model: Satori, tokens: np.ndarray, *, batch_size: int, what: str = "") -> torch.Tensor:
    """Logits (E, C) float32 on the CPU, by the model in evaluation mode on its own device.

    Args:
        model: the network; its mode is restored afterwards.
        tokens: (E, L) uint8.
        batch_size: sequences per forward pass; it does not shape the result.
        what: name of the work; shows progress when given.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    starts = range(0, len(tokens), batch_size)
    batches = progress(starts, what=what, unit="batch") if what else iter(starts)
    found = [
        model(torch.from_numpy(np.ascontiguousarray(tokens[start : start + batch_size])).to(device)).logits.cpu()
        for start in batches
    ]
    model.train(training)
    return torch.cat(found) if found else torch.empty(0, model.output.out_features)
