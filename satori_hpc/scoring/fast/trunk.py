"""Layers after attention, along paths: convolution blocks and the read-out."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from satori_hpc.models import readout
from satori_hpc.models.readout import Block, Trunk
from satori_hpc.scoring.fast import rules
from satori_hpc.scoring.fast.precision import Product
from satori_hpc.scoring.fast.rules import Rule

Back = Callable[[torch.Tensor], torch.Tensor]
Step = Callable[[Rule, torch.Tensor], tuple[torch.Tensor, Back]]  # values of nodes -> values, the way back


def chain(steps: list[Step], rule: Rule, values: torch.Tensor) -> tuple[torch.Tensor, Back]:
    """Run the steps in order; return the result and the backward pass through all of them."""
    backs = []
    for step in steps:
        values, back = step(rule, values)
        backs.append(back)

    def back_all(multipliers: torch.Tensor) -> torch.Tensor:
        for back in reversed(backs):
            multipliers = back(multipliers)
        return multipliers

    return values, back_all


def relu(rule: Rule, values: torch.Tensor) -> tuple[torch.Tensor, Back]:
    return values.clamp(min=0), lambda multipliers: multipliers * rules.relu_slope(rule, values)


def linear(layer: nn.Linear, dtype: torch.dtype) -> Step:
    weight = layer.weight.detach().to(dtype)
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)
    forward, back = Product(weight, bias), Product(weight.T)
    return lambda rule, values: (forward(values), back)


def convolution(layer: nn.Conv2d, dtype: torch.dtype) -> Step:
    weight = layer.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)
    shape: dict[str, Any] = {"padding": layer.padding, "dilation": layer.dilation}
    return lambda rule, values: (
        F.conv2d(values, weight, bias, **shape),
        lambda multipliers: F.conv_transpose2d(multipliers, weight, **shape),
    )


def max_pool(rule: Rule, values: torch.Tensor) -> tuple[torch.Tensor, Back]:
    """Max-pool pairs of neighbours along the track; a last odd one is dropped."""
    bins = values.shape[-1] // 2
    couples = values[..., : 2 * bins].unflatten(-1, (bins, 2))

    def back(multipliers: torch.Tensor) -> torch.Tensor:
        out = multipliers.new_zeros((len(multipliers), *values.shape[1:]))
        _to_largest(rule, couples, -1, multipliers.unsqueeze(-1), out[..., : 2 * bins].unflatten(-1, (bins, 2)))
        return out

    return couples.amax(dim=-1), back


def _to_largest(rule: Rule, values: torch.Tensor, dim: int, multipliers: torch.Tensor, out: torch.Tensor) -> None:
    """Pass the multipliers of a maximum over `dim` on to its entries, in `out`."""
    first, second, share = rules.largest(rule, values, dim)
    out.scatter_add_(dim, first, multipliers * share)
    out.scatter_add_(dim, second, multipliers * (1 - share))


def _added(step: list[Step]) -> Step:
    """Return values + steps(values)."""

    def forward(rule: Rule, values: torch.Tensor) -> tuple[torch.Tensor, Back]:
        more, back = chain(step, rule, values)
        return values + more, lambda multipliers: multipliers + back(multipliers)

    return forward


def _steps(module: nn.Module, dtype: torch.dtype) -> list[Step]:
    """Return the steps of a module of the trunk; dropout is none in evaluation."""
    if isinstance(module, nn.Sequential):
        return [step for inner in module for step in _steps(inner, dtype)]
    if isinstance(module, Block):
        return [*_steps(module.linear, dtype), _added(_steps(module.nonlinear, dtype))]
    if isinstance(module, nn.Conv2d):
        return [convolution(module, dtype)]
    if isinstance(module, nn.Linear):
        return [linear(module, dtype)]
    if isinstance(module, nn.ReLU):
        return [relu]
    if isinstance(module, nn.MaxPool2d):
        return [max_pool]
    assert isinstance(module, nn.Dropout), f"{type(module).__name__} has no way back"
    return []


def _to_track(dtype: torch.dtype) -> Step:
    """Map (N, n, D) -> (N, D, 1, n) of another type, channels last in memory."""

    def forward(rule: Rule, tokens: torch.Tensor) -> tuple[torch.Tensor, Back]:
        track = tokens.to(dtype).transpose(1, 2).unsqueeze(2)
        return track, lambda multipliers: multipliers.squeeze(2).transpose(1, 2).to(tokens.dtype)

    return forward


def _mean_of_track(dtype: torch.dtype) -> Step:
    """Map (N, C, 1, n) -> (N, C) of another type."""

    def forward(rule: Rule, values: torch.Tensor) -> tuple[torch.Tensor, Back]:
        bins = values.shape[-1]

        def back(multipliers: torch.Tensor) -> torch.Tensor:
            each = (multipliers / bins).to(values.dtype)
            return each[:, None, None, :].expand(-1, 1, bins, -1).permute(0, 3, 1, 2)

        return values.mean(dim=(2, 3), dtype=dtype), back

    return forward


def _trunk(module: Trunk, dtype: torch.dtype, *, inner: torch.dtype) -> list[Step]:
    """Return the steps to the hidden vector of a deep model."""
    dilated = [_added(_steps(layer, inner)) for layer in module.dilated]
    track = [_to_track(inner), *_steps(module.blocks, inner), *dilated, _mean_of_track(dtype)]
    return [*track, *_steps(module.head, dtype)]


def reading(module: readout.Readout, dtype: torch.dtype, *, inner: torch.dtype) -> list[Step]:
    """Return the steps from mixed heads (N, n, D) to the vector that the last layer sees.

    `inner`: type of convolutions.
    """
    if isinstance(module, Trunk):
        return _trunk(module, dtype, inner=inner)
    if isinstance(module, readout.SumReadout):
        return [_sum, _layer_norm(module.norm, dtype)]
    if isinstance(module, readout.MeanReadout):
        return [lambda rule, tokens: (tokens.mean(dim=1), lambda m: _spread(m / tokens.shape[1], tokens))]
    if isinstance(module, readout.FlattenReadout):
        return [lambda rule, tokens: (tokens.flatten(1), lambda m: m.unflatten(1, tokens.shape[1:]))]
    if isinstance(module, readout.LegacyBatchReadout):
        mean = module.running_mean.to(dtype)
        scale = torch.rsqrt(module.running_variance.to(dtype) + module.eps)
        return [_sum, lambda rule, total: ((total - mean) * scale, lambda m: m * scale)]
    assert isinstance(module, readout.MaxReadout), f"{type(module).__name__} has no way back"
    return [_max]


def _sum(rule: Rule, tokens: torch.Tensor) -> tuple[torch.Tensor, Back]:
    return tokens.sum(dim=1), lambda multipliers: _spread(multipliers, tokens)


def _spread(multipliers: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return multipliers.unsqueeze(1).expand(-1, tokens.shape[1], -1)


def _max(rule: Rule, tokens: torch.Tensor) -> tuple[torch.Tensor, Back]:
    def back(multipliers: torch.Tensor) -> torch.Tensor:
        out = multipliers.new_zeros(len(multipliers), *tokens.shape[1:])
        _to_largest(rule, tokens, 1, multipliers.unsqueeze(1), out)
        return out

    return tokens.amax(dim=1), back


def _layer_norm(norm: nn.LayerNorm, dtype: torch.dtype) -> Step:
    gain, bias, eps = norm.weight.detach().to(dtype), norm.bias.detach().to(dtype), norm.eps

    def forward(rule: Rule, values: torch.Tensor) -> tuple[torch.Tensor, Back]:
        centred = values - values.mean(dim=-1, keepdim=True)
        root = torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + eps)

        def back(multipliers: torch.Tensor) -> torch.Tensor:
            scaled = multipliers * gain
            centre = rule.middle(centred)
            of_root = (scaled * centre).sum(dim=-1, keepdim=True)
            of_variance = of_root * rules.inverse_root_slope(rule, root)
            of_centred = scaled * rule.middle(root) + of_variance * 2 * centre / values.shape[-1]
            return of_centred - of_centred.mean(dim=-1, keepdim=True)

        return centred * root * gain + bias, back

    return forward
