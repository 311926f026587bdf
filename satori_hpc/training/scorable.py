"""Load a trained network as a plain torch module, for scoring and for other tools."""

from pathlib import Path

import torch

from satori_hpc.models.base import Scorable
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint


def load_model(path: str | Path, *, device: torch.device | str = "cpu") -> Scorable:
    """Load the network of a run: one-hot (B, 4, L) in, logits (B, T) out, in evaluation mode.

    The input is float, rows A, C, G, T, an unknown base a column of zeros; it can require gradients. The result is an
    ordinary module, which captum and tangermeme accept unchanged, and which the methods of `scoring.generic` score.

    Args:
        path: a run directory, whose best checkpoint is loaded, or a checkpoint (best.pt).
        device: to load it on.

    Raises:
        ConfigError: `path` is a directory without a usable run.toml, or the model is of an unknown family.
        ArtefactError: there is no checkpoint, or it is damaged or of another format version.
    """
    path = Path(path)
    model, _ = checkpoint.load(Run.open(path).best if path.is_dir() else path, device)
    return Scorable(model).eval()
