"""The first block along paths: convolution values change linearly, so the maximum of a pooling bin is known exactly."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from satori_hpc.models.stem import EXP_LIMIT
from satori_hpc.scoring.fast import rules
from satori_hpc.scoring.fast.rules import Rule


class Pooled:
    """Pooled activations of paths, and the way back from their multipliers to the convolution.

    Args:
        rule: of the paths.
        start, end: (R or 1, n, pool, F), convolution values with the batch norm, at both ends of each path.
        exp: exponential activation in place of ReLU.
        scale: (F,), factor of the activations; None: 1.

    Attributes:
        values: (N * R, n, F).
    """

    def __init__(
        self, rule: Rule, start: torch.Tensor, end: torch.Tensor, *, exp: bool, scale: torch.Tensor | None
    ) -> None:
        self._rule, self._scale = rule, scale
        self._start, self._end = start, end
        self._exp = exp
        self._before = rule.along(start, end).amax(dim=2)
        self.values = self._before.clamp(max=EXP_LIMIT).exp() if exp else self._before.clamp(min=0)
        if scale is not None:
            self.values *= scale

    def back(self, multipliers: torch.Tensor) -> torch.Tensor:
        """Propagate multipliers of pooled values (S * R, n, F) back to convolution values (R, n, pool, F), summed."""
        rule = self._rule
        if self._scale is not None:
            multipliers = multipliers * self._scale
        if self._exp:
            clamped = self._before.clamp(max=EXP_LIMIT)
            multipliers = multipliers * rules.exp_slope(rule, clamped, self.values)
            multipliers *= rules.relu_slope(rule, EXP_LIMIT - self._before)
        by_segment = multipliers.unflatten(0, (rule.segments, -1))
        return self._back_secant(by_segment) if rule.secant else self._back_gradient(by_segment)

    def _back_secant(self, multipliers: torch.Tensor) -> torch.Tensor:
        if multipliers.device.type == "cpu":
            out = torch.empty_like(self._end, memory_format=torch.contiguous_format)
            start, end, passed = (each.contiguous().numpy() for each in (self._start, self._end, multipliers))
            nodes = np.array(self._rule.nodes, dtype=end.dtype)
            route(start, end, passed, nodes=nodes, floor=not self._exp, out=out.numpy())
            return out
        low, high = winning(*torch.broadcast_tensors(self._start, self._end), floor=not self._exp)
        total = torch.zeros_like(low)
        for segment, values in enumerate(multipliers):
            first, last = self._rule.nodes[segment], self._rule.nodes[segment + 1]
            share = high.clamp(max=last).sub_(low.clamp(min=first)).clamp_(min=0)
            total.addcmul_(share, values.unsqueeze(2))
        return total

    def _back_gradient(self, multipliers: torch.Tensor) -> torch.Tensor:
        if multipliers.device.type == "cpu":
            out = torch.empty_like(self._end, memory_format=torch.contiguous_format)
            start, end, passed = (each.contiguous().numpy() for each in (self._start, self._end, multipliers))
            nodes, weights = (np.array(each, dtype=end.dtype) for each in (self._rule.nodes, self._rule.weights))
            pick(start, end, passed, nodes=nodes, weights=weights, floor=not self._exp, out=out.numpy())
            return out
        return picked(
            self._start, self._end, multipliers, nodes=self._rule.nodes, weights=self._rule.weights, floor=not self._exp
        )


def picked(
    start: torch.Tensor,
    end: torch.Tensor,
    multipliers: torch.Tensor,
    *,
    nodes: Sequence[float],
    weights: Sequence[float],
    floor: bool,
) -> torch.Tensor:
    """Do as `pick`, on any device."""
    total = torch.zeros_like(end)
    for node, weight, values in zip(nodes, weights, multipliers, strict=True):
        top, place = torch.lerp(start, end, node).max(dim=2, keepdim=True)
        passed = values.unsqueeze(2) * weight
        total.scatter_add_(2, place, passed * (top > 0) if floor else passed)
    return total


def winning(start: torch.Tensor, end: torch.Tensor, *, floor: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the interval of the path, low to high, on which each position is the maximum of its bin.

    High < low: never.

    Of equal ones the first wins.

    Args:
        start, end: (R, n, pool, F), values at both ends of the path, between which they change evenly.
        floor: whether the position must also be above 0.
    """
    rise = end - start
    low, high = torch.zeros_like(rise), torch.ones_like(rise)
    pool = rise.shape[2]
    for other in range(pool):
        _narrow(low, high, start - start[:, :, other : other + 1], rise - rise[:, :, other : other + 1], after=other)
    if floor:
        _narrow(low, high, start, rise, after=-1)
    return low, high


def _narrow(low: torch.Tensor, high: torch.Tensor, lead: torch.Tensor, gain: torch.Tensor, *, after: int) -> None:
    """Narrow low..high to where lead + a * gain >= 0.

    Where both are 0, only positions up to `after` keep theirs.

    Args:
        low, high, lead, gain: (R, n, pool, F).
        after: position of the rival in its bin; -1 = the floor, which wins ties.
    """
    meet = -lead / gain  # NaN and infinite where both slopes are equal
    torch.maximum(low, torch.where(gain > 0, meet, 0), out=low)
    torch.minimum(high, torch.where(gain < 0, meet, 1), out=high)
    even = gain == 0
    beaten = even & (lead < 0)
    tied = even & (lead == 0)
    tied[:, :, : after + 1] = False
    high.masked_fill_(beaten.logical_or_(tied), -1)


def to_letters(multipliers: torch.Tensor, weight: torch.Tensor, *, length: int, padding: int) -> torch.Tensor:
    """Propagate multipliers of convolution values back to bases, (R, 4, L).

    Args:
        multipliers: (R, n, pool, F); of filters that read both strands (R, n, 2 * pool, F).
        weight: (F, 4, W) of the convolution; or (2 F, 4, W).
        length: L; positions beyond the last bin have no multiplier.
        padding: columns left of the sequence.
    """
    track = multipliers.reshape(len(multipliers), -1, len(weight))
    image = track.permute(0, 2, 1).unsqueeze(2)  # channels last
    letters = F.conv_transpose2d(image, weight.unsqueeze(2)).squeeze(2)
    missing = padding + length - letters.shape[2]
    if missing > 0:
        letters = F.pad(letters, (0, missing))
    return letters[:, :, padding : padding + length]


# The maximum of each pooling bin, and the fraction of the path for which it is, in one compiled pass.
#
# The inner loops run over filters, which are contiguous in memory, without branching on their values.


def route(
    start: np.ndarray, end: np.ndarray, multipliers: np.ndarray, *, nodes: np.ndarray, floor: bool, out: np.ndarray
) -> None:
    """Distribute the multipliers of a bin's maximum over its positions, by the fraction for which each was the maximum.

    Values change evenly along a path. Of equal ones the first is the largest.

    Args:
        start, end: (1 or R, n, pool, F) and (R, n, pool, F), values at both ends of the paths.
        multipliers: (S, R, n, F), of the maximum in each segment.
        nodes: (S + 1,), ends of the segments on the path, 0..1, of the type of the values.
        floor: the maximum is one over the positions and 0.
        out: (R, n, pool, F), filled: the sum over segments of multiplier * length of the part of the segment on which
            the position is the largest.
    """
    _compiled(_route)(start, end, multipliers, nodes, floor, out)


def pick(
    start: np.ndarray,
    end: np.ndarray,
    multipliers: np.ndarray,
    *,
    nodes: np.ndarray,
    weights: np.ndarray,
    floor: bool,
    out: np.ndarray,
) -> None:
    """Pass the multipliers of a bin's maximum to the position that is the maximum at each node.

    Args:
        start, end, floor: as for `route`.
        multipliers: (N, R, n, F), of the maximum at each node.
        nodes, weights: (N,), places on the path and weights, of the type of the values.
        out: (R, n, pool, F), filled: the weighted sum over nodes.
    """
    _compiled(_pick)(start, end, multipliers, nodes, weights, floor, out)


@functools.cache
def _compiled(loops: Callable[..., None]) -> Callable[..., None]:
    """Return the loops, compiled when first needed."""
    from satori_hpc import jit  # here: numba is slow to load

    return jit.compile_loops(loops, error_model="numpy")


def _pick(start: Any, end: Any, multipliers: Any, nodes: Any, weights: Any, floor: bool, out: Any) -> None:
    paths, bins, pool, filters = end.shape
    top = np.empty(filters, end.dtype)
    place_of_top = np.empty(filters, np.int32)
    none, all_ = end.dtype.type(0), end.dtype.type(1)
    lowest = none if floor else -end.dtype.type(np.inf)
    for path in range(paths):
        begin = start[path if len(start) > 1 else 0]
        for bin in range(bins):
            out[path, bin] = none
            for node in range(len(nodes)):
                after, weight = nodes[node], weights[node]
                before = all_ - after
                top[:] = lowest
                place_of_top[:] = -1
                for place in range(pool):
                    first, last = begin[bin, place], end[path, bin, place]
                    for f in range(filters):
                        value = first[f] * before + last[f] * after
                        larger = value > top[f]
                        top[f] = value if larger else top[f]
                        place_of_top[f] = place if larger else place_of_top[f]
                values = multipliers[node, path, bin]
                for place in range(pool):
                    total = out[path, bin, place]
                    for f in range(filters):
                        total[f] += weight * values[f] if place_of_top[f] == place else none


def _route(start: Any, end: Any, multipliers: Any, nodes: Any, floor: bool, out: Any) -> None:
    paths, bins, pool, filters = end.shape
    low = np.empty(filters, end.dtype)
    high = np.empty(filters, end.dtype)
    own = np.empty(filters, end.dtype)
    none, all_ = end.dtype.type(0), end.dtype.type(1)
    for path in range(paths):
        begin = start[path if len(start) > 1 else 0]
        for bin in range(bins):
            for place in range(pool):
                first, last = begin[bin, place], end[path, bin, place]
                total = out[path, bin, place]
                for f in range(filters):
                    own[f] = last[f] - first[f]
                    lead, gain = (first[f], own[f]) if floor else (all_, none)
                    meet = -lead / gain
                    low[f] = max(none, meet) if gain > none else none
                    up = min(all_, meet) if gain < none else all_
                    high[f] = -all_ if gain == none and lead <= none else up
                    total[f] = none
                for rival in range(pool):
                    if rival != place:
                        other, further = begin[bin, rival], end[path, bin, rival]
                        late = place > rival
                        for f in range(filters):
                            lead = first[f] - other[f]
                            gain = own[f] - (further[f] - other[f])
                            meet = -lead / gain
                            low[f] = max(low[f], meet) if gain > none else low[f]
                            up = min(high[f], meet) if gain < none else high[f]
                            beaten = lead < none or (lead == none and late)
                            high[f] = -all_ if gain == none and beaten else up
                for segment in range(len(nodes) - 1):
                    left, right = nodes[segment], nodes[segment + 1]
                    values = multipliers[segment, path, bin]
                    for f in range(filters):
                        share = min(high[f], right) - max(low[f], left)
                        total[f] += max(share, none) * values[f]
