"""Predictions of many sequences, and how many to take at once."""

import numpy as np
import torch

from satori_hpc.models.base import TrainableModel

# The C library keeps arrays of up to 32 MiB for the next one (memory.keep_freed). Larger ones go back to the system,
# which zeroes their pages each time: a quarter of a training step with 200 filters and pool 4.
LARGEST_ARRAY = 24 * 2**20


def at_once(model: TrainableModel, rows: int) -> int:
    """Return sequences per forward pass, at most `rows`, so that CPU arrays are small enough to be reused.

    On a GPU all `rows`: torch keeps the memory of every array there. The same if a network does not report how large
    they are.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or not model.largest_array:
        return rows
    return max(1, min(rows, LARGEST_ARRAY // (model.largest_array * parameter.element_size())))


@torch.inference_mode()
def predict(model: TrainableModel, tokens: np.ndarray, *, batch_size: int) -> torch.Tensor:
    """Return logits (E, C) float32 on the CPU, by the model in evaluation mode on its own device.

    Args:
        model: the network; its mode is restored afterwards.
        tokens: (E, L) uint8.
        batch_size: sequences per forward pass at most; does not change the result.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    batch_size = at_once(model, batch_size)
    # In one piece: small arrays that stay, between large ones that go, would keep the memory of these.
    found = torch.empty(len(tokens), model.outputs, dtype=next(model.parameters()).dtype)
    for start in range(0, len(tokens), batch_size):
        some = torch.from_numpy(np.ascontiguousarray(tokens[start : start + batch_size])).to(device)
        found[start : start + batch_size] = model.predicted(some).logits
    model.train(training)
    return found
