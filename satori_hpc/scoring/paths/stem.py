"""The first block along paths: convolution values change evenly, so the winner of a pooled cell is known exactly."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from satori_hpc.core import winners
from satori_hpc.models.stem import EXP_LIMIT
from satori_hpc.scoring.paths import rules
from satori_hpc.scoring.paths.rules import Rule


class Pooled:
    """Pooled activations of paths, and the way back from their multipliers to the convolution.

    Args:
        rule: of the paths.
        start, end: (R or 1, n, pool, F), convolution values with the batch norm, at both ends of each path.
        exp: exponential activation in place of ReLU.

    Attributes:
        values: (N * R, n, F).
    """

    def __init__(self, rule: Rule, start: torch.Tensor, end: torch.Tensor, *, exp: bool) -> None:
        self._rule = rule
        self._start, self._end = start, end
        self._exp = exp
        self._before = rule.along(start, end).amax(dim=2)
        self.values = self._before.clamp(max=EXP_LIMIT).exp() if exp else self._before.clamp(min=0)

    def back(self, multipliers: torch.Tensor) -> torch.Tensor:
        """Multipliers (S * R, n, F) of pooled values -> of convolution values, summed over segments (R, n, pool, F)."""
        rule = self._rule
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
            winners.route(start, end, passed, nodes=nodes, floor=not self._exp, out=out.numpy())
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
            winners.pick(start, end, passed, nodes=nodes, weights=weights, floor=not self._exp, out=out.numpy())
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
    """As `winners.pick`, on any device."""
    total = torch.zeros_like(end)
    for node, weight, values in zip(nodes, weights, multipliers, strict=True):
        top, place = torch.lerp(start, end, node).max(dim=2, keepdim=True)
        passed = values.unsqueeze(2) * weight
        total.scatter_add_(2, place, passed * (top > 0) if floor else passed)
    return total


def winning(start: torch.Tensor, end: torch.Tensor, *, floor: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The stretch of the path, low to high, on which each position is the largest of its cell; high < low for none.

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
    """Keep the part of low..high where lead + a * gain >= 0; where both are 0 only positions up to `after` keep theirs.

    Args:
        low, high, lead, gain: (R, n, pool, F).
        after: place of the rival in its cell; -1 = the floor, which nothing equal to it beats.
    """
    meet = -lead / gain  # NaN and infinite where both rise alike
    torch.maximum(low, torch.where(gain > 0, meet, 0), out=low)
    torch.minimum(high, torch.where(gain < 0, meet, 1), out=high)
    even = gain == 0
    beaten = even & (lead < 0)
    tied = even & (lead == 0)
    tied[:, :, : after + 1] = False
    high.masked_fill_(beaten.logical_or_(tied), -1)


def to_letters(multipliers: torch.Tensor, weight: torch.Tensor, *, length: int, padding: int) -> torch.Tensor:
    """Multipliers of convolution values -> of letters, (R, 4, L).

    Args:
        multipliers: (R, n, pool, F).
        weight: (F, 4, W) of the convolution.
        length: L; positions beyond the last cell have no multiplier.
        padding: columns left of the sequence.
    """
    track = multipliers.flatten(1, 2)
    image = track.permute(0, 2, 1).unsqueeze(2)  # channels last
    letters = F.conv_transpose2d(image, weight.unsqueeze(2)).squeeze(2)
    missing = padding + length - letters.shape[2]
    if missing > 0:
        letters = F.pad(letters, (0, missing))
    return letters[:, :, padding : padding + length]
