"""What the network says of whole sets, worked out by all processes together: each its share of the rows, none twice."""

import numpy as np
import torch

from satori_hpc.models import inference, losses
from satori_hpc.models.satori import Satori
from satori_hpc.world import World


def share(count: int, world: World) -> slice:
    """The rows of `count` that fall to this process: contiguous, in order of rank, as even as can be, maybe none."""
    return slice(count * world.rank // world.size, count * (world.rank + 1) // world.size)


def predict(model: Satori, tokens: np.ndarray, *, batch_size: int, world: World, what: str = "") -> torch.Tensor:
    """`inference.predict` by all processes together, each its share of the rows; all of them get all logits."""
    mine = inference.predict(model, tokens[share(len(tokens), world)], batch_size=batch_size, what=what)
    return torch.cat(world.gather(mine))


@torch.inference_mode()
def column_mass(model: Satori, tokens: np.ndarray, *, world: World) -> float:
    """Mean strongest-column share of attention over these sequences: has a head collapsed?"""
    model.eval()
    mine = torch.from_numpy(tokens[share(len(tokens), world)]).to(next(model.parameters()).device)
    masses = losses.column_mass(model(mine, attention=True).attention) if len(mine) else torch.zeros(0)
    return float(torch.cat(world.gather(masses.cpu())).mean())
