"""Quadrature rules of integrated gradients along a path, and the secant rule.

A secant replaces every derivative by the difference of the output over the difference of the input, between two
neighbouring nodes. Then multipliers times the difference of the inputs make the difference of the outputs, exactly, in
every operation, and so in the whole network: attributions are complete with any number of segments. Every function here
takes the values at both ends of a segment; where they are equal it gives the derivative, so that gradients use the same
functions with one node in place of both ends.
"""

from dataclasses import dataclass

import numpy as np
import torch

GRADIENTS = ("gauss-legendre", "midpoint", "left", "right", "trapezoid")
TINY = 1e-30


@dataclass(frozen=True)
class Rule:
    """Nodes on a path from 0 to 1, and the weight of each multiplier.

    Attributes:
        nodes: (N,) places on the path, rising.
        weights: (S,) of the multipliers, summing to 1; S = N - 1 for secants, else N.
        secant: whether multipliers belong to segments between nodes, and not to nodes.
    """

    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    secant: bool

    @staticmethod
    def of(kind: str, steps: int) -> "Rule":
        """Return the rule of that name: "secant" with `steps` segments, or one of GRADIENTS with `steps` nodes.

        "trapezoid" has `steps` intervals. "gauss-legendre" is that of [0, 1].
        """
        even = np.arange(steps + 1) / steps
        if kind == "secant":
            return Rule(tuple(even), tuple(np.diff(even)), True)
        if kind == "gauss-legendre":
            nodes, weights = np.polynomial.legendre.leggauss(steps)
            return Rule(tuple((nodes + 1) / 2), tuple(weights / 2), False)
        if kind == "trapezoid":
            inner = np.full(steps + 1, 1 / steps)
            inner[[0, -1]] /= 2
            return Rule(tuple(even), tuple(inner), False)
        places = {"midpoint": (even[1:] + even[:-1]) / 2, "left": even[:-1], "right": even[1:]}
        return Rule(tuple(places[kind]), (1 / steps,) * steps, False)

    def parts(self, most: int) -> list["Rule"]:
        """Split the rule into even parts of at most `most` nodes (at least 2), to be summed."""
        longest = max(1, most - self.secant)
        cuts = np.linspace(0, self.segments, -(-self.segments // longest) + 1).round().astype(int)
        return [
            Rule(self.nodes[first : last + self.secant], self.weights[first:last], self.secant)
            for first, last in zip(cuts[:-1], cuts[1:], strict=True)
        ]

    @property
    def segments(self) -> int:
        """S, how many multipliers there are."""
        return len(self.weights)

    def ends(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values (N * R, ...) at both ends of every segment, (S * R, ...) each."""
        if not self.secant:
            return values, values
        paths = len(values) // len(self.nodes)
        return values[:-paths], values[paths:]

    def middle(self, values: torch.Tensor) -> torch.Tensor:
        """Return the factor by which a product passes multipliers to its other factor, (S * R, ...)."""
        if not self.secant:
            return values
        before, after = self.ends(values)
        return torch.add(before, after).mul_(0.5)

    def along(self, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Return points (N * R, ...) of straight paths from `start` to `end`, (R, ...) each or one of them (1, ...)."""
        places = torch.tensor(self.nodes, dtype=end.dtype, device=end.device).view(-1, *[1] * end.dim())
        return torch.lerp(start[None], end[None], places).flatten(0, 1)

    def total(self, multipliers: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum (R, ...) over the segments of (S * R, ...)."""
        split = multipliers.unflatten(0, (self.segments, -1))
        weights = torch.tensor(self.weights, dtype=split.dtype, device=split.device)
        return torch.tensordot(weights, split, dims=1)


POINT = Rule.of("right", 1)  # no path: the end alone


def relu_slope(rule: Rule, before_activation: torch.Tensor) -> torch.Tensor:
    """Return (S * R, ...): the secant slope of max(p, 0)."""
    if not rule.secant:
        return (before_activation > 0).to(before_activation.dtype)
    first, second = rule.ends(before_activation)
    above = torch.maximum(first, second).clamp_(min=0)
    below = torch.minimum(first, second).clamp_(max=0)
    return above.div_(torch.sub(above, below).clamp_(min=TINY))


def tanh_ratio(values: torch.Tensor) -> torch.Tensor:
    """Return tanh(x) / x; 1 at 0."""
    # Below the square root of the machine epsilon the ratio is 1.
    size = values.abs().clamp_(min=torch.finfo(values.dtype).eps ** 0.5)
    return torch.tanh(size).div_(size)


def log_mean(rule: Rule, weights: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Return the logarithmic mean of positive values at both ends, (S * R, ...): the secant slope of exp.

    Args:
        weights: (N * R, ...).
        logs: their logarithms.
    """
    if not rule.secant:
        return weights
    first, second = rule.ends(logs)
    return tanh_ratio((second - first).mul_(0.5)).mul_(rule.middle(weights))


def tanh_slope(rule: Rule, before_activation: torch.Tensor, activated: torch.Tensor) -> torch.Tensor:
    """Return the secant slope of tanh(p)."""
    first, second = rule.ends(activated)
    slope = 1 - first * second
    if rule.secant:
        before, after = rule.ends(before_activation)
        slope *= tanh_ratio(after - before)
    return slope


def sigmoid_slope(rule: Rule, before_activation: torch.Tensor, activated: torch.Tensor) -> torch.Tensor:
    """Return the secant slope of 1 / (1 + exp(-p))."""
    return tanh_slope(rule, before_activation / 2, 2 * activated - 1) / 4


def exp_slope(rule: Rule, before_activation: torch.Tensor, activated: torch.Tensor) -> torch.Tensor:
    """Return the secant slope of exp(p): the logarithmic mean of its values."""
    return log_mean(rule, activated, before_activation)


def inverse_root_slope(rule: Rule, activated: torch.Tensor) -> torch.Tensor:
    """Return the secant slope of r = v^(-1/2), from r."""
    first, second = rule.ends(activated)
    return -((first * second) ** 2) / (first + second)


def largest(rule: Rule, values: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the entries to which a maximum passes its multiplier: the largest at each end of a segment.

    Between the ends values are taken to change evenly: until both are equal the first is the largest, then the second.

    Args:
        values: (N * R, ...).
        dim: over which the maximum is taken.

    Returns:
        first, second: int64, places along `dim`, which is kept with size 1; share: of the first.
    """
    top, place = values.max(dim=dim, keepdim=True)
    if not rule.secant:
        return place, place, torch.ones_like(top)
    first, second = rule.ends(place)
    before, after = rule.ends(values)
    lead = before.gather(dim, first) - before.gather(dim, second)
    lag = after.gather(dim, second) - after.gather(dim, first)
    share = torch.where(first == second, torch.ones_like(lead), lead / (lead + lag).clamp_(min=TINY))
    return first, second, share
