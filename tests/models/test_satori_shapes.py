"""Every option builds, runs in both modes and gives the promised shapes and gradients."""

import itertools

import pytest
import torch

from satori_hpc.config import Model
from satori_hpc.errors import ConfigError
from satori_hpc.models import build

SMALL = {"num_filters": 6, "num_heads": 2, "head_dim": 4, "mixing_size": 5, "block_widths": (6, 7), "hidden": 8}


def tokens_of(count: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, (count, length), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("architecture", ["basic", "deep"])
@pytest.mark.parametrize(
    ("recurrent", "positions", "activation"), list(itertools.product([0, 1], [0, 1], ["relu", "exp"]))
)
@pytest.mark.parametrize(("width", "padding", "pool", "length"), [(5, None, 4, 43), (6, None, 1, 20), (7, 0, 3, 33)])
def test_shapes(architecture, recurrent, positions, activation, width, padding, pool, length):
    config = Model(
        **SMALL,
        architecture=architecture,
        recurrent=bool(recurrent),
        recurrent_size=5,
        positions=bool(positions),
        activation=activation,
        kernel_size=width,
        padding=padding,
        pool=pool,
    )
    model = build(config, length=length, targets=3, task="multilabel", entropy=0.01)
    tokens = tokens_of(4, length)
    n = length // pool
    assert model.bins == n
    for training in (True, False):
        model.train(training)
        found = model(tokens, attention=True, activations=True, entropy=True)
        assert found.logits.shape == (4, 3)
        assert found.attention.shape == (4, 2, n, n)
        assert found.activations.shape == (4, 6, length)
        assert found.entropy.shape == (4,)
        torch.testing.assert_close(found.attention.sum(3), torch.ones(4, 2, n))
        (found.logits.sum() + found.entropy.sum()).backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing
    bare = model(tokens)
    assert bare.attention is None
    assert bare.activations is None
    assert bare.entropy is None
    torch.testing.assert_close(bare.logits, found.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("readout", ["sum", "mean", "max", "flatten", "legacy_batchnorm"])
@pytest.mark.parametrize("output", ["one", "two"])
def test_readouts_and_outputs(readout, output):
    config = Model(**SMALL, kernel_size=5, readout=readout, output=output)
    model = build(config, length=24, targets=1, task="binary", entropy=0)
    logits = model(tokens_of(3, 24)).logits
    assert logits.shape == (3, 2 if output == "two" else 1)
    score = model.score(logits)
    expected = torch.softmax(logits, 1)[:, 1:] if output == "two" else torch.sigmoid(logits)
    torch.testing.assert_close(score, expected)


def test_one_step_on_a_single_sequence_works():
    """Batch norm's statistics are over positions too, so that a batch of one is no special case."""
    model = build(Model(**SMALL, kernel_size=5), length=24, targets=1, task="binary", entropy=0)
    model(tokens_of(1, 24)).logits.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert torch.isfinite(model.stem.norm.running_var).all()


@pytest.mark.parametrize(
    ("conv_residual", "entropy", "mixing", "kind"),
    [
        (None, 0.0, 5, None),
        (None, 1e-3, 5, torch.nn.Linear),
        (None, 1e-3, 6, torch.nn.Identity),
        (True, 0.0, 5, torch.nn.Linear),
        (False, 1e-3, 5, None),
    ],
)
def test_conv_residual_follows_the_entropy_unless_told(conv_residual, entropy, mixing, kind):
    config = Model(**{**SMALL, "mixing_size": mixing}, architecture="deep", kernel_size=5, conv_residual=conv_residual)
    model = build(config, length=40, targets=1, task="binary", entropy=entropy)
    assert type(model.residual) is (type(None) if kind is None else kind)
    if kind is torch.nn.Linear:
        assert model.residual.bias is None


def test_deep_drops_dilations_that_reach_beyond_the_track_and_pools_long_ones():
    config = Model(**SMALL, architecture="deep", kernel_size=5, pool=1, dilations=(2, 4, 8, 16))
    short = build(config, length=16, targets=1, task="binary", entropy=0)
    assert len(short.readout.dilated) == 2
    long = build(config, length=201, targets=1, task="binary", entropy=0)
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in long.readout.blocks) == 1
    assert long(tokens_of(2, 201)).logits.shape == (2, 1)
    assert not any(isinstance(layer, torch.nn.MaxPool2d) for layer in short.readout.blocks)


def test_bfloat16_keeps_softmax_and_entropy_in_float32():
    model = build(Model(**SMALL, kernel_size=5), length=40, targets=1, task="binary", entropy=1e-3).eval()
    tokens = tokens_of(4, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(tokens, attention=True, entropy=True)
    exact = model(tokens, attention=True, entropy=True)
    assert found.attention.dtype == found.entropy.dtype == found.logits.dtype == torch.float32
    torch.testing.assert_close(found.attention.sum(3), torch.ones(4, 2, 10))
    torch.testing.assert_close(found.logits, exact.logits, rtol=0.05, atol=0.05)
    assert not torch.equal(found.logits, exact.logits)


@pytest.mark.parametrize(
    ("change", "task", "length", "message"),
    [
        ({"kernel_size": 30}, "binary", 20, "kernel_size"),
        ({"pool": 21, "kernel_size": 3}, "binary", 20, "pool"),
        ({"kernel_size": 3, "output": "two"}, "multilabel", 20, "output"),
    ],
)
def test_unsuitable_configurations_are_refused(change, task, length, message):
    with pytest.raises(ConfigError, match=message):
        build(Model(**{**SMALL, **change}), length=length, targets=1 if task == "binary" else 2, task=task, entropy=0)
