"""What a network gives back."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ModelOutput:
    """One forward pass over B sequences; what was not asked for is None.

    Attributes:
        logits: (B, C) float32.
        attention: (B, heads, n, n) float32 before dropout; rows are queries and sum to 1.
        activations: (B, F, L') first-layer activations before pooling; column j belongs to the window of the sequence
            that starts at j - padding.
        entropy: (B,) float32, nats: entropy of an attention row, averaged over rows and summed over heads.
    """

    logits: torch.Tensor
    attention: torch.Tensor | None = None
    activations: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
