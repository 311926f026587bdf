"""load_model: a trained network as a plain torch module, for scoring and for other people's tools."""

from pathlib import Path

import torch

from satori_hpc.models.base import Scorable
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint


def load_model(path: str | Path, *, device: torch.device | str = "cpu") -> Scorable:
    """Load the network of a run: one-hot (B, 4, L) in, logits (B, T) out, in evaluation mode.

    Letters are float, rows A, C, G, T, an unknown letter a column of zeros; gradients flow to them. It is an ordinary
    module, which captum and tangermeme take as it is, and what the methods of `scoring.generic` score.

    Args:
        path: a run directory, whose best checkpoint is loaded, or a checkpoint (best.pt).
        device: to load it on.

    Raises:
        ConfigError: `path` is a directory without a usable run.toml, or the model is of a family that is not known.
        ArtefactError: there is no checkpoint, or it is damaged or of another format version.
    """
    path = Path(path)
    model, _ = checkpoint.load(Run.open(path).best if path.is_dir() else path, device)
    return Scorable(model).eval()
