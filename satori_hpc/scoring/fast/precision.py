"""How exactly convolutions and matrix products are computed, for the length of a block of code."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F

Method = TypeVar("Method", bound=Callable[..., Any])


@contextmanager
def precision(device: torch.device, name: str) -> Iterator[None]:
    """Compute convolutions and matrix products of the block in this precision.

    The flags of CUDA belong to the process: one thread at a time may be inside. Blocks may be nested.

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
    """Compute in float32 unless a method requests otherwise; by default CUDA's convolutions use TF32."""

    @functools.wraps(method)
    def wrapped(self: _OnDevice, *arguments: Any, **named: Any) -> Any:
        with precision(self.device, "float32"):
            return method(self, *arguments, **named)

    return wrapped  # type: ignore[return-value]


# Matrix products with frozen weights: most of the time of scoring.
#
# On the CPU `F.linear` goes to MKL, which leaves AVX-512 unused on processors that are not Intel's. oneDNN uses it, but
# torch sends float32 products there only from its compiler (inductor), by the operators used here: twice as fast on a
# Zen 5 core. They have no documented interface, so where they are missing `F.linear` does the work.

_ROWS = 1024  # for which oneDNN lays out the weight; any number of rows goes through


class Product:
    """x W^T + b, without gradients.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,), or none.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight = weight.detach().contiguous()
        self.bias = None if bias is None else bias.detach()
        self._packed = None
        if weight.device.type == "cpu" and weight.dtype == torch.float32 and _available():
            # An inference tensor could not be laid out inside one call and used in another.
            with torch.inference_mode(False), torch.no_grad():
                self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.clone(), _ROWS)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) -> (..., outputs)."""
        if self._packed is None or torch.is_autocast_enabled("cpu"):
            return F.linear(values, self.weight, self.bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            values.contiguous(), self._packed, self.bias, "none", [], ""
        )
        return product


def _available() -> bool:
    operators = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(
        hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )
