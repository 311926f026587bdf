"""Gradients and secants along paths against autograd on a plain network in float64, and against each other."""

import numpy as np
import pytest
import torch

from satori_hpc.config import Model
from satori_hpc.config.motif_tokens import Preloaded
from satori_hpc.models import build
from satori_hpc.models.satori import Satori
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.scoring.fast import Network, Rule, heads, stem
from satori_hpc.scoring.fast.rules import GRADIENTS
from tests.oracles.soft_satori import SoftSatori, integrated, one_hot

LENGTH = 60
DEEP = {"architecture": "deep", "block_widths": (6, 8), "block_kernel": 5, "dilations": (2, 4), "hidden": 7}
KNOWN = {"first_layer": "motifs", "preloaded": Preloaded(gate_share=0.1, tuned=True)}
MODELS = {
    "basic": {},
    "wide": {"kernel_size": 8, "pool": 3, "padding": 0},
    "unpooled": {"pool": 1, "kernel_size": 4},
    "exp": {"activation": "exp"},
    "positions": {"positions": True},
    "mean": {"readout": "mean"},
    "max": {"readout": "max"},
    "flatten": {"readout": "flatten"},
    "legacy": {"readout": "legacy_batchnorm"},
    "two": {"output": "two"},
    "multilabel": {"targets": 3},
    "lstm": {"recurrent": True, "recurrent_size": 5},
    "deep": DEEP,
    "deep residual": {**DEEP, "conv_residual": True},
    "deep identity": {**DEEP, "conv_residual": True, "mixing_size": 10},
    "deep lstm": {**DEEP, "recurrent": True, "recurrent_size": 5, "conv_residual": True},
    "long": {**DEEP, "pool": 1, "length": 211},
    "preloaded": {**KNOWN, "positions": True},
    "preloaded deep": {**DEEP, **KNOWN, "conv_residual": True, "targets": 3},
    "preloaded lstm": {**KNOWN, "recurrent": True, "recurrent_size": 5, "pool": 3},
}


def known_motifs() -> MotifBank:
    """Motifs of unequal width, one of them a palindrome; narrow ones would often read both strands alike."""
    rng = np.random.default_rng(4)
    ppms = [rng.dirichlet([1.0] * 4, size=width) for width in (8, 11, 9, 8, 10, 7, 9, 8)]
    ppms[3] = (ppms[3] + ppms[3][::-1, ::-1]) / 2
    return MotifBank.from_motifs([Motif(name=f"m{i}", ppm=ppm, sites=30) for i, ppm in enumerate(ppms)])


def network(targets: int = 1, length: int = LENGTH, **change: object) -> Satori:
    """A network in evaluation mode with weights large enough for every non-linearity to matter."""
    torch.manual_seed(5)
    settings = {"num_filters": 10, "kernel_size": 7, "num_heads": 3, "head_dim": 4, "mixing_size": 9, **change}
    task = "binary" if targets == 1 else "multilabel"
    bank = known_motifs() if settings.get("first_layer") == "motifs" else None
    model = build(Model(**settings), length=length, targets=targets, task=task, entropy=0, bank=bank).eval()
    with torch.no_grad():
        if bank is not None:
            model.stem.log_scale.normal_(mean=1.5, std=0.5)
            # Whole numbers are often equal half way along a path, where a maximum has no gradient of its own.
            model.stem.matrix.add_(torch.randn_like(model.stem.matrix), alpha=0.01)
        else:
            model.stem.norm.weight.normal_(std=1.5)
            model.stem.norm.bias.normal_(std=0.3)
            model.stem.norm.running_mean.normal_(std=0.1)
            model.stem.norm.running_var.uniform_(0.2, 1.5)
        model.attention.project.weight.mul_(3)
    return model


def path(model: Satori, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Letters at both ends, and weights of the logits."""
    generator = torch.Generator().manual_seed(7)
    start = torch.randint(0, 4, (count, model.length), generator=generator)
    end = torch.randint(0, 5, (count, model.length), generator=generator)
    if model.config.output == "two":
        weights = torch.tensor([[-1.0, 1.0]]).expand(count, 2)
    else:
        weights = torch.randint(0, 2, (count, model.targets), generator=generator).float()
        weights[:, 0] = 1
    return one_hot(start), one_hot(end), weights.double()


def multipliers(model: Satori, rule: Rule, *, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Attributions (R, 4, L) and what is explained at the nodes (N, R)."""
    start, end, weights = (values.to(dtype) for values in path(model))
    net = Network(model, dtype=dtype)
    with torch.inference_mode():
        tokens = net.tokens(rule, net.track(start), net.track(end))
        found, explained = net.attributions(rule, tokens, weights)
    return found * (end - start), explained.unflatten(0, (len(rule.nodes), -1))


@pytest.mark.parametrize("name", MODELS)
def test_the_explained_value_is_that_of_the_model(name):
    model = network(**MODELS[name])
    start, end, weights = path(model)
    _, explained = multipliers(model, Rule.of("secant", 2))
    tokens = torch.where(end.sum(1) > 0, end.argmax(1), 4).to(torch.uint8)
    with torch.inference_mode():
        expected = (model(tokens).logits.double() * weights).sum(1)
    torch.testing.assert_close(explained[-1], expected, rtol=1e-5, atol=1e-5)
    soft = (SoftSatori(model)(start) * weights).sum(1)
    torch.testing.assert_close(explained[0], soft, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_autograd(name, kind):
    model = network(**MODELS[name])
    start, end, weights = path(model)
    rule = Rule.of(kind, 3)
    found, _ = multipliers(model, rule)
    expected = integrated(SoftSatori(model), start, end, weights, nodes=rule.nodes, shares=rule.weights)
    torch.testing.assert_close(found, expected * (end - start), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("name", MODELS)
def test_secants_are_complete(name, steps):
    model = network(**MODELS[name])
    exact, explained = multipliers(model, Rule.of("secant", steps))
    rise = explained[-1] - explained[0]  # in float32 it would hold the rounding of two logits far above it
    found, _ = multipliers(model, Rule.of("secant", steps), dtype=torch.float32)
    for attributed, tolerance in ((exact, 1e-10), (found.double(), 1e-6)):
        error = (attributed.sum(dim=(1, 2)) - rise).abs() / attributed.abs().sum(dim=(1, 2))
        assert float(error.max()) < tolerance


@pytest.mark.parametrize("name", ["basic", "exp", "max", "lstm", "deep residual"])
def test_secants_converge_to_integrated_gradients(name):
    model = network(**MODELS[name])
    every = Rule.of("midpoint", 1024)
    truth = sum(  # in parts, to bound memory
        multipliers(model, Rule(every.nodes[first : first + 64], every.weights[first : first + 64], False))[0]
        for first in range(0, 1024, 64)
    )
    errors = []
    for steps in (4, 8, 16, 32, 64):
        found, _ = multipliers(model, Rule.of("secant", steps))
        errors.append(float((found - truth).norm() / truth.norm()))
    assert errors[-1] < 0.01
    assert errors[-1] < errors[0] / 16  # 16 times the steps: at least the first order, with noise of kinks to spare


def test_a_path_is_worked_out_alone():
    model = network(**MODELS["deep residual"])
    start, end, weights = path(model)
    net, rule = Network(model, dtype=torch.float64), Rule.of("secant", 3)

    def run(rows: slice) -> torch.Tensor:
        tokens = net.tokens(rule, net.track(start[rows]), net.track(end[rows]))
        return net.attributions(rule, tokens, weights[rows])[0]

    with torch.inference_mode():
        torch.testing.assert_close(run(slice(None))[1:2], run(slice(1, 2)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [*GRADIENTS, "secant"])
def test_weights_sum_to_one(kind):
    rule = Rule.of(kind, 5)
    assert sum(rule.weights) == pytest.approx(1)
    assert all(0 <= node <= 1 for node in rule.nodes)


@pytest.mark.parametrize("floor", [True, False])
@pytest.mark.parametrize("pool", [1, 3])
def test_compiled_routing_equals_that_of_tensors(pool, floor):
    generator = torch.Generator().manual_seed(2)
    # Of few values, so that many are equal and some do not change.
    start = torch.randint(-2, 3, (2, 5, pool, 40), generator=generator).double()
    end = torch.randint(-2, 3, (2, 5, pool, 40), generator=generator).double()
    multipliers = torch.randn(3, 2, 5, 40, generator=generator).double()
    nodes = (0.0, 0.2, 0.7, 1.0)
    out = torch.empty_like(end)
    stem.route(start.numpy(), end.numpy(), multipliers.numpy(), nodes=np.array(nodes), floor=floor, out=out.numpy())
    low, high = stem.winning(start, end, floor=floor)
    expected = sum(
        (high.clamp(max=b) - low.clamp(min=a)).clamp(min=0) * values[:, :, None]
        for a, b, values in zip(nodes, nodes[1:], multipliers, strict=False)
    )
    torch.testing.assert_close(out, expected)
    # The winner's rise is that of the maximum.
    rise = (torch.where(high > low, high - low, 0) * (end - start)).sum(2)
    top = [values.amax(2).clamp(min=0) if floor else values.amax(2) for values in (start, end)]
    torch.testing.assert_close(rise, top[1] - top[0])


@pytest.mark.parametrize("floor", [True, False])
def test_compiled_picking_equals_that_of_tensors(floor):
    generator = torch.Generator().manual_seed(3)
    start, end = (torch.randn(2, 5, 4, 40, generator=generator) for _ in range(2))
    multipliers = torch.randn(3, 2, 5, 40, generator=generator)
    nodes, weights = (0.1, 0.5, 0.9), (0.3, 0.5, 0.2)
    for begin in (start, start[:1]):  # a start of its own for each path, or one for all
        out = torch.full_like(end, 7.0)
        stem.pick(
            *(each.numpy() for each in (begin, end, multipliers)),
            nodes=np.array(nodes, np.float32),
            weights=np.array(weights, np.float32),
            floor=floor,
            out=out.numpy(),
        )
        expected = stem.picked(begin.expand_as(end), end, multipliers, nodes=nodes, weights=weights, floor=floor)
        torch.testing.assert_close(out, expected)
        assert (out != 0).any()


def test_of_equal_positions_the_first_is_picked():
    even, out = np.ones((1, 1, 3, 2), np.float32), np.empty((1, 1, 3, 2), np.float32)
    one = np.ones(1, np.float32)
    stem.pick(even, even, np.ones((1, 1, 1, 2), np.float32), nodes=one, weights=one, floor=True, out=out)
    assert out[0, 0].tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["secant", "midpoint"])
def test_compiled_softmax_backward_equals_that_of_tensors(kind, dtype):
    rule, generator = Rule.of(kind, 3), torch.Generator().manual_seed(4)
    nodes, paths = len(rule.nodes), 2
    scores = (4 * torch.randn(nodes * paths, 3, 5, 9, generator=generator)).to(dtype)
    scores[paths : 2 * paths, 0] = scores[:paths, 0]  # nothing changes
    scores[paths : 2 * paths, 1] = scores[:paths, 1] * 1.001  # very little does
    scores[:, 2, 0] *= 60  # weights that underflow
    weights, logs = torch.softmax(scores, -1), torch.log_softmax(scores.double(), -1).to(dtype)
    given = torch.randn(rule.segments * paths, 3, 5, 9, generator=generator).to(dtype)
    found = heads.softmax_backward(rule, given.clone(), weights=weights, scores=scores)
    expected = heads.softmax_backward_of_tensors(rule, given.clone(), weights=weights, logs=logs)
    torch.testing.assert_close(found, expected, rtol=1e-4 if dtype == torch.float32 else 1e-7, atol=2e-6)
    first, second = rule.ends(scores)
    if rule.secant:  # what comes out rises by what goes in times its multipliers
        rise = (given * (weights[paths:] - weights[:-paths])).sum(-1)
        told = (found * (second - first)).sum(-1)
        torch.testing.assert_close(told, rise, rtol=1e-4, atol=2e-5 if dtype == torch.float32 else 1e-8)
    assert torch.isfinite(found).all()
