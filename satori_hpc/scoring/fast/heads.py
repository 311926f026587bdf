"""Multi-head attention along paths."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from satori_hpc.models.attention import Attention
from satori_hpc.scoring.fast import rules
from satori_hpc.scoring.fast.precision import Product
from satori_hpc.scoring.fast.rules import Rule


class Projection:
    """Queries, keys and values of tokens, by head.

    Args:
        attention: of the model.
        dtype: to compute in.
    """

    def __init__(self, attention: Attention, dtype: torch.dtype) -> None:
        self.heads, self.size = attention.heads, attention.head_dim
        weight, bias = attention.project.weight.detach().to(dtype), attention.project.bias.detach().to(dtype)
        self._forward, self._back = Product(weight, bias), Product(weight.T)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (..., n, inputs) -> (3, ..., heads, n, size), contiguous."""
        split = self._forward(tokens).unflatten(-1, (3, self.heads, self.size))
        return split.movedim(-3, 0).transpose(-2, -3).contiguous()

    def back(self, multipliers: torch.Tensor) -> torch.Tensor:
        """Propagate multipliers (3, ..., heads, n, size) of queries, keys and values -> of tokens (..., n, inputs)."""
        joined = multipliers.transpose(-2, -3).movedim(0, -3).flatten(-3)
        return self._back(joined)


class Heads:
    """Output of the heads, with its backward pass.

    Args:
        rule: of the paths.
        projected: (3, N * R, heads, n, size) queries, keys and values.

    Attributes:
        read: (N * R, heads, n, size).
    """

    def __init__(self, rule: Rule, projected: torch.Tensor) -> None:
        self._rule = rule
        self._query, self._key, self._value = projected
        self._scale = 1 / math.sqrt(projected.shape[-1])
        self._scores = (self._query * self._scale) @ self._key.transpose(-1, -2)
        self._weights = torch.softmax(self._scores, dim=-1)
        self.read = self._weights @ self._value

    def back(self, multipliers: torch.Tensor) -> torch.Tensor:
        """Propagate multipliers (S * R, heads, n, size) of the output back to query, key and value, (3, S * R, ...)."""
        rule = self._rule
        of_weights = multipliers @ rule.middle(self._value).transpose(-1, -2)
        of_values = rule.middle(self._weights).transpose(-1, -2) @ multipliers
        of_scores = softmax_backward(rule, of_weights, weights=self._weights, scores=self._scores)
        of_query = (of_scores @ rule.middle(self._key)).mul_(self._scale)
        of_key = (of_scores.transpose(-1, -2) @ rule.middle(self._query)).mul_(self._scale)
        return torch.stack((of_query, of_key, of_values))


def softmax_backward(
    rule: Rule, multipliers: torch.Tensor, *, weights: torch.Tensor, scores: torch.Tensor
) -> torch.Tensor:
    """Propagate multipliers (S * R, ..., n) of softmax weights -> of scores; the argument is used up.

    Args:
        rule: of the paths.
        multipliers: contiguous.
        weights, scores: (N * R, ..., n), contiguous.
    """
    log_sums = scores.amax(dim=-1) - weights.amax(dim=-1).log()  # exponentials would cost more than all the rest
    if multipliers.device.type != "cpu":
        return softmax_backward_of_tensors(rule, multipliers, weights=weights, logs=scores - log_sums.unsqueeze(-1))
    found, these, those = (each.flatten(0, -2).numpy() for each in (multipliers, weights, scores))
    back(found, these, those, log_sums.flatten().numpy(), step=len(these) - len(found))
    return multipliers


def softmax_backward_of_tensors(
    rule: Rule, multipliers: torch.Tensor, *, weights: torch.Tensor, logs: torch.Tensor
) -> torch.Tensor:
    """Return the same on any device, from weights and their logarithms."""
    slope = rules.log_mean(rule, weights, logs)
    multipliers -= (slope * multipliers).sum(-1, keepdim=True).div_(slope.sum(-1, keepdim=True))
    return multipliers.mul_(slope)


# The way back through a softmax, from gradients or secants, in one compiled pass over each row.
#
# Between two rows of weights a and b, of logarithms apart by d, the rise of a weight over that of its logarithm is
# their
# logarithmic mean, (b - a) / d; where d is small a series of it in d / 2 around the arithmetic mean. A softmax is these
# slopes and a shift of the logarithms that is the same for all of a row: multipliers lose their mean weighted by
# slopes.

SMALL = 0.25  # of d / 2, up to which the series is exact to 1e-8


def back(multipliers: np.ndarray, weights: np.ndarray, scores: np.ndarray, log_sums: np.ndarray, *, step: int) -> None:
    """Propagate multipliers of weights back to scores, in place.

    Args:
        multipliers: (rows, n).
        weights, scores: (rows + step, n), output and input of the softmax; row i goes from i to i + step.
        log_sums: (rows + step,), logarithms of the sums of the scores' exponentials.
        step: rows between the ends of a segment; 0: derivatives.
    """
    _compiled()(multipliers, weights, scores, log_sums, step)


@functools.cache
def _compiled() -> Callable[..., None]:
    """Return the loop, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    # Sums may be taken in another order, so that they are taken in vectors.
    return jit.compile_loops(_back, error_model="numpy", fastmath={"reassoc", "contract"})


def _back(multipliers: Any, weights: Any, scores: Any, log_sums: Any, step: int) -> None:
    rows, bins = multipliers.shape
    real = multipliers.dtype.type
    half, small, one = real(0.5), real(SMALL), real(1)
    third, fifth, seventh, ninth = real(1 / 3), real(2 / 15), real(17 / 315), real(62 / 2835)
    slope = np.empty(bins, multipliers.dtype)
    for row in range(rows):
        first, last, own = weights[row], weights[row + step], multipliers[row]
        before, after, apart = scores[row], scores[row + step], log_sums[row + step] - log_sums[row]
        total, weighted = real(0), real(0)
        for bin in range(bins):
            gap = after[bin] - before[bin] - apart
            x = half * gap
            square = x * x
            series = one - square * (third - square * (fifth - square * (seventh - square * ninth)))
            even = series * half * (first[bin] + last[bin])
            uneven = (last[bin] - first[bin]) / gap
            found = even if abs(x) < small else uneven
            slope[bin] = found
            total += found
            weighted += found * own[bin]
        shift = weighted / total
        for bin in range(bins):
            own[bin] = (own[bin] - shift) * slope[bin]
