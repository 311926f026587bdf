"""The fused network against a plain one, and its parts against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from satori_hpc.config import Model
from satori_hpc.models import attention, build, dropout, losses, stem
from satori_hpc.models.satori import Satori
from tests.oracles import plain_satori
from tests.oracles.plain_satori import PlainSatori


def tokens_of(count: int, length: int) -> torch.Tensor:
    return torch.randint(0, 5, (count, length), dtype=torch.uint8)


def small(**change: object) -> Satori:
    """A network whose batch norm has been moved, so that signs and offsets matter."""
    torch.manual_seed(3)
    settings = {"num_filters": 10, "kernel_size": 7, "num_heads": 3, "head_dim": 6, "mixing_size": 9, **change}
    model = build(Model(**settings), length=50, targets=1, task="binary", entropy=0)
    with torch.no_grad():
        model.stem.norm.weight.normal_()
        model.stem.norm.bias.normal_(std=0.3)
        model.stem.norm.running_mean.normal_(std=0.1)
        model.stem.norm.running_var.uniform_(0.2, 1.5)
    return model


@pytest.mark.parametrize("activation", ["relu", "exp"])
@pytest.mark.parametrize(("width", "pool"), [(7, 4), (8, 3), (1, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_equals_the_plain_network(activation, width, pool, training):
    model = small(activation=activation, kernel_size=width, pool=pool, dropout=0.0, attention_dropout=0.0)
    plain = PlainSatori(model)
    plain_satori.copy_weights(model, plain)
    model.train(training)
    plain.train(training)
    tokens, labels = tokens_of(16, 50), torch.randint(0, 2, (16, 1)).float()
    found = model(tokens, attention=True, activations=True, entropy=True)
    logits, attention = plain(tokens)
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.attention, attention, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(found.entropy, plain_satori.entropy(attention), rtol=1e-4, atol=1e-4)
    if training:
        torch.testing.assert_close(model.stem.norm.running_mean, plain.norm.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model.stem.norm.running_var, plain.norm.running_var, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(model.stem.activations(tokens), found.activations)
        torch.testing.assert_close(found.activations, plain.activations(tokens), rtol=1e-5, atol=1e-5)
    # A weight on the entropy that is large beside the loss: its gradient is compared too.
    own = losses.classification_loss(found.logits, labels, task="binary", output="one") + 0.1 * found.entropy.mean()
    other = F.binary_cross_entropy_with_logits(logits, labels) + 0.1 * plain_satori.entropy(attention).mean()
    own.backward()
    other.backward()
    for name, (mine, theirs) in plain_satori.gradients(model, plain).items():
        # The gradient of the keys' bias is 0 (softmax ignores it): only rounding is left to compare.
        scale = 1.0 if name == "key.bias" else float(theirs.abs().max())
        assert float((mine - theirs).abs().max()) <= 2e-4 * scale, name


@pytest.mark.parametrize("piece", [2**18, 120, 1])
def test_training_statistics_equal_those_of_the_activations(monkeypatch, piece):
    monkeypatch.setattr(stem, "PIECE", piece)
    model = small(num_filters=4).train()
    tokens = tokens_of(12, 50)
    letters = F.one_hot(tokens.long(), 5)[:, :, :4].float().transpose(1, 2)
    track = F.conv1d(F.pad(letters, (3, 3)), model.stem.conv.weight).double()
    mean, variance = model.stem._statistics(model.stem.moments(model.stem.window_sums(tokens), 12 * 50))
    torch.testing.assert_close(mean, track.mean(dim=(0, 2)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, track.var(dim=(0, 2), unbiased=False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("width", "padding"), [(7, None), (8, None), (8, 0), (8, 7), (5, 4)])
def test_activation_at_j_is_the_window_that_starts_at_j_minus_padding(width, padding):
    model = small(kernel_size=width, padding=padding).eval()
    tokens = tokens_of(2, 50)
    found = model(tokens, activations=True).activations
    norm, left = model.stem.norm, model.padding
    assert left == (width // 2 if padding is None else padding)
    for example in range(2):
        for j in range(50):
            raw = torch.zeros(10)
            for k in range(width):
                position = j - left + k
                if 0 <= position < 50 and tokens[example, position] < 4:
                    raw += model.stem.conv.weight[:, int(tokens[example, position]), k]
            scaled = (raw - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias
            torch.testing.assert_close(found[example, :, j], torch.relu(scaled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "exp"])
def test_pooled_is_the_maximum_of_the_activations(activation):
    model = small(activation=activation).eval()
    tokens = tokens_of(5, 50)
    tracks = model(tokens, activations=True).activations
    expected = tracks[:, :, :48].reshape(5, 10, 12, 4).amax(3)
    torch.testing.assert_close(model.pooled(tokens), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("change", [{}, {"recurrent": True, "positions": True}, {"architecture": "deep"}])
def test_attention_rows_are_rows_of_the_attention(change):
    model = small(**change).eval()
    tokens = tokens_of(5, 50)
    bins = torch.randint(0, 12, (5, 7))
    full = model(tokens, attention=True).attention
    rows = model.attention_rows(model.pooled(tokens), bins)
    assert rows.dtype == torch.float32
    expected = torch.stack([full[example][:, bins[example]] for example in range(5)])
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)


def test_entropy_of_uniform_rows_is_the_logarithm_and_of_one_hot_rows_zero():
    uniform = torch.zeros(2, 8, 75, 75, requires_grad=True)
    _, rows = attention.SoftmaxEntropy.apply(uniform)
    torch.testing.assert_close(rows.mean(2).sum(1), torch.full((2,), 8 * math.log(75)))
    sharp = (torch.eye(75) * 1e4).requires_grad_()
    weights, rows_of_sharp = attention.SoftmaxEntropy.apply(sharp)
    assert torch.equal(rows_of_sharp, torch.zeros(75))
    assert torch.equal(weights, torch.eye(75))
    (rows.sum() + rows_of_sharp.sum()).backward()
    assert torch.isfinite(uniform.grad).all()
    assert torch.isfinite(sharp.grad).all()


def test_entropy_gradient_is_right():
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: attention.SoftmaxEntropy.apply(s), (scores,))


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropout_keeps_the_mean_and_masks_the_gradient(p):
    torch.manual_seed(0)
    layer = dropout.Dropout(p).train()
    values = torch.ones(301, 997, requires_grad=True)
    dropped = layer(values)
    zero = float((dropped == 0).float().mean())
    assert zero == pytest.approx(p, abs=0.005)
    assert float(dropped.detach().mean()) == pytest.approx(1.0, abs=0.005)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
    assert not torch.equal(layer(values), dropped)
    # Neighbours share a random word; they must not share their fate.
    pairs = (dropped[:, :-1] == 0) & (dropped[:, 1:] == 0)
    assert float(pairs.float().mean()) == pytest.approx(p * p, abs=0.005)
    assert layer.eval()(values) is values


def test_linear_equals_torch():
    layer, tokens = torch.nn.Linear(11, 7), torch.randn(3, 5, 11)
    torch.testing.assert_close(attention.linear(tokens, layer.weight, layer.bias), layer(tokens), rtol=1e-5, atol=1e-6)


def test_positions_are_sinusoids_also_for_odd_sizes():
    for filters in (9, 10):
        model = small(num_filters=filters, positions=True)
        table = model.positions.table
        for t, i in ((0, 0), (3, 2), (11, 5), (7, filters - 1)):
            angle = t / 10_000 ** ((i - i % 2) / filters)
            assert float(table[t, i]) == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-6)


def test_column_mass_tells_collapse_from_spread():
    spread, collapsed = torch.full((2, 3, 5, 5), 0.2), torch.zeros(2, 3, 5, 5)
    collapsed[..., 2] = 1.0
    torch.testing.assert_close(losses.column_mass(spread), torch.full((2,), 0.2))
    torch.testing.assert_close(losses.column_mass(collapsed), torch.ones(2))
    # Sharp but spread: each row has its own column, which is no collapse.
    torch.testing.assert_close(losses.column_mass(torch.eye(5).expand(2, 3, 5, 5)), torch.full((2,), 0.2))


def test_classification_losses():
    logits, labels = torch.randn(6, 3), torch.randint(0, 2, (6, 3))
    found = losses.classification_loss(logits, labels, task="multilabel", output="one")
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(logits, labels.float()))
    two = losses.classification_loss(logits[:, :2], labels[:, :1], task="binary", output="two")
    one = losses.classification_loss(logits[:, 1:2] - logits[:, :1], labels[:, :1], task="binary", output="one")
    torch.testing.assert_close(two, one)
