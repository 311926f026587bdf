"""Which pooled cells a mutated window changes, and the letters that these cells see.

A window of width W at index j of the activation track changes activations j - W + 1 .. j + W - 1, which lie in at most
`count` cells. Regions all have this size, so that many of them make one tensor.
"""

import torch

UNKNOWN = 4


def count(*, width: int, pool: int, cells: int) -> int:
    """k: cells of a region, the most that a window's change can touch.

    Args:
        width: W, of a filter, bp.
        pool: bp per cell.
        cells: n, of the sequence.
    """
    touched = 2 * width - 1
    return min(cells, (touched + pool - 2) // pool + 1)


def first_cell(position: torch.Tensor, *, width: int, pool: int, cells: int) -> torch.Tensor:
    """First cell of the region of each window, of the shape of `position`.

    Args:
        position: int64, index j of windows on the activation track.
        width, pool, cells: as above.
    """
    first = torch.div(position - (width - 1), pool, rounding_mode="floor")
    return first.clamp(min=0, max=cells - count(width=width, pool=pool, cells=cells))


def letters_of(
    tokens: torch.Tensor, first: torch.Tensor, *, width: int, padding: int, pool: int, cells: int
) -> torch.Tensor:
    """The letters that the cells of a region see, uint8 (V, k * pool + W - 1), the padding's code outside the sequence.

    A valid convolution over them gives the activation track of these cells.

    Args:
        tokens: uint8 (V,L).
        first: int64 (V,), from `first_cell`.
        width, padding, pool, cells: of the model.
    """
    size = count(width=width, pool=pool, cells=cells) * pool + width - 1
    place = first[:, None] * pool - padding + torch.arange(size, device=tokens.device)
    outside = (place < 0) | (place >= tokens.shape[1])
    return tokens.gather(1, place.clamp(0, tokens.shape[1] - 1)).masked_fill_(outside, UNKNOWN)
