"""What the network says of whole sets, worked out by all processes together: each its share of the rows, none twice."""

import numpy as np
import torch

from satori_hpc.models import inference, losses
from satori_hpc.models.satori import Satori
from satori_hpc.stores.examples import Rows
from satori_hpc.world import World


def share(count: int, world: World) -> slice:
    """The rows of `count` that fall to this process: contiguous, in order of rank, as even as can be, maybe none."""
    return slice(count * world.rank // world.size, count * (world.rank + 1) // world.size)


def predict(model: Satori, tokens: Rows, *, batch_size: int, world: World, rows: slice | None = None) -> torch.Tensor:
    """`inference.predict` of some rows, or of all, by all processes together; all of them get all logits.

    Each reads and computes its share of the rows.
    """
    first, last = (0, tokens.shape[0]) if rows is None else (rows.start, rows.stop)
    mine = share(last - first, world)
    found = inference.predict(model, tokens[first + mine.start : first + mine.stop], batch_size=batch_size)
    return torch.cat(world.gather(found))


@torch.inference_mode()
def column_mass(model: Satori, tokens: np.ndarray, *, world: World) -> float:
    """Mean strongest-column share of attention over these sequences: has a head collapsed?"""
    model.eval()
    mine = torch.from_numpy(tokens[share(len(tokens), world)]).to(next(model.parameters()).device)
    masses = losses.column_mass(model(mine, attention=True).attention) if len(mine) else torch.zeros(0)
    return float(torch.cat(world.gather(masses.cpu())).mean())
