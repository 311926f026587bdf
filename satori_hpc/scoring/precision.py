"""How exactly CUDA multiplies, for the length of a block of code."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def precision(device: torch.device, name: str) -> Iterator[None]:
    """Compute convolutions and matrix products of the block in this precision; on the CPU always in float32.

    The flags belong to the process: on a CUDA device one thread at a time may be inside. Blocks may lie in each other.

    Args:
        device: where the block computes.
        name: "float32"; "tf32": products of factors rounded to 10 bits; "bfloat16": autocast, 7 bits.
    """
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = name == "tf32"
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=name == "bfloat16"):
            yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
