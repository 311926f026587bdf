"""How exactly convolutions and matrix products are computed, for the length of a block of code."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch

Method = TypeVar("Method", bound=Callable[..., Any])


@contextmanager
def precision(device: torch.device, name: str) -> Iterator[None]:
    """Compute convolutions and matrix products of the block in this precision.

    The flags of CUDA belong to the process: one thread at a time may be inside. Blocks may lie in each other.

    Args:
        device: where the block computes.
        name: "float32"; "tf32": products of factors rounded to 10 bits, on CUDA only, float32 elsewhere; "bfloat16":
            autocast, 7 bits.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=name == "bfloat16"):
        if device.type != "cuda":
            yield
            return
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        before = products.allow_tf32, convolutions.allow_tf32
        products.allow_tf32 = convolutions.allow_tf32 = name == "tf32"
        try:
            yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = before


class _OnDevice(Protocol):
    device: torch.device


def exactly(method: Method) -> Method:
    """Compute in float32 what a scorer's method does not ask for otherwise; CUDA's convolutions use TF32 unasked."""

    @functools.wraps(method)
    def wrapped(self: _OnDevice, *arguments: Any, **named: Any) -> Any:
        with precision(self.device, "float32"):
            return method(self, *arguments, **named)

    return wrapped  # type: ignore[return-value]
