"""A trained network as others take it: one-hot letters in, log-odds out, with gradients."""

import copy
from pathlib import Path

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.errors import ArtefactError, InputError
from satori_hpc.models import Scorable
from satori_hpc.models.base import OneHotModel
from satori_hpc.models.satori import Satori
from satori_hpc.training import checkpoint
from satori_hpc.training.checkpoint import CheckpointInfo
from satori_hpc.training.scorable import load_model
from tests.fixtures import tiny
from tests.oracles.soft_satori import SoftSatori, one_hot
from tests.scoring.test_paths import MODELS, network

SOME = ["basic", "exp", "positions", "two", "multilabel", "lstm", "deep residual", "legacy"]
CONFIG = Model(
    architecture="deep", num_filters=8, kernel_size=7, num_heads=2, head_dim=4, block_widths=(6, 7), hidden=8
)


def tokens_of(model: Satori, count: int = 5) -> torch.Tensor:
    """With unknown letters."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 5, (count, model.length), dtype=torch.uint8, generator=generator)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Satori]:
    """A run with a checkpoint of a network of three labels."""
    run = tiny.make_run(tmp_path / "run")
    torch.manual_seed(0)
    model = models.build(CONFIG, length=60, targets=3, task="multilabel", entropy=0)
    info = CheckpointInfo(config=CONFIG, length=60, targets=3, task="multilabel", entropy=0)
    checkpoint.save(run.best, weights=model.state_dict(), info=info)
    return run.path, model.eval()


@pytest.mark.parametrize("name", SOME)
def test_tokens_and_one_hot_letters_are_one_forward_pass(name):
    model = network(**MODELS[name])
    tokens = tokens_of(model)
    letters = one_hot(tokens, torch.float32)
    asked = {"attention": True, "activations": True, "entropy": True}
    by_token, by_letter = model(tokens, **asked), model(letters, **asked)
    for part in ("logits", "attention", "activations", "entropy"):
        assert torch.equal(getattr(by_token, part), getattr(by_letter, part)), part
    assert torch.equal(model.site_activations(tokens), model.site_activations(letters))
    assert torch.equal(model.pooled(tokens), model.pooled(letters))
    assert torch.equal(model(letters.double()).logits, model(tokens).logits)


def test_training_is_the_same_from_tokens_and_from_one_hot_letters():
    found = []
    for letters in (False, True):
        torch.manual_seed(4)
        model = network(**MODELS["basic"]).train()
        tokens = tokens_of(model)
        model(one_hot(tokens, torch.float32) if letters else tokens).logits.sum().backward()
        gradients = [each.grad for each in model.parameters()]
        found.append([*gradients, model.stem.norm.running_mean, model.stem.norm.running_var])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("name", SOME)
def test_gradients_of_letters_are_those_of_a_plain_network(name):
    model = network(**MODELS[name])
    letters = one_hot(tokens_of(model), torch.float32).requires_grad_()
    (found,) = torch.autograd.grad(Scorable(model).eval()(letters).sum(), letters)
    plain = letters.detach().double().requires_grad_()
    logits = SoftSatori(model)(plain)
    weights = torch.tensor([-1.0, 1.0]) if name == "two" else torch.ones(model.targets)
    (expected,) = torch.autograd.grad((logits * weights).sum(), plain)
    assert float(expected.abs().max()) > 1e-4
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_log_odds_are_those_of_the_predictions(saved):
    path, model = saved
    scorable, tokens = load_model(path), tokens_of(model)
    with torch.no_grad():
        found = scorable(one_hot(tokens, torch.float32))
        assert (found.shape, found.dtype) == ((5, 3), torch.float32)
        assert torch.equal(found, model.margin(model(tokens).logits))
    two = network(**MODELS["two"])
    with torch.no_grad():
        assert torch.equal(torch.sigmoid(Scorable(two)(one_hot(tokens, torch.float32))), two.score(two(tokens).logits))
        assert torch.equal(load_model(path / "checkpoints" / "best.pt")(one_hot(tokens).to(torch.int8)), found)


def test_captum_takes_it_as_it_is(saved):
    scorable = load_model(saved[0])
    letters = one_hot(tokens_of(saved[1]), torch.float32).requires_grad_()
    baseline = torch.full_like(letters, 0.25)
    for target in range(3):
        found = IntegratedGradients(scorable).attribute(letters, baseline, target=target, n_steps=200)
        with torch.no_grad():
            rise = (scorable(letters) - scorable(baseline))[:, target]
        torch.testing.assert_close(found.sum(dim=(1, 2)).float(), rise, rtol=1e-2, atol=1e-3)
        (gradient,) = torch.autograd.grad(scorable(letters)[:, target].sum(), letters)
        assert torch.equal(Saliency(scorable).attribute(letters, target=target), gradient.abs())


def test_it_behaves_as_other_tools_expect_of_a_module(saved):
    """What tangermeme asks: a module that moves, copies and scores batches of any size, and leaves letters alone."""
    scorable = load_model(saved[0])
    assert isinstance(scorable, nn.Module)
    assert not any(each.training for each in scorable.modules())
    letters = one_hot(tokens_of(saved[1], 7), torch.float32)
    before = letters.clone()
    with torch.no_grad():
        whole = scorable(letters)
        parts = torch.cat([scorable(part) for part in letters.split(3)])
        again = copy.deepcopy(scorable).to("cpu")(letters)
        wide = copy.deepcopy(scorable).double()(letters.double())
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(wide.float(), whole, rtol=1e-4, atol=1e-5)
    assert torch.equal(again, whole)
    assert torch.equal(letters, before)
    grad = letters.clone().requires_grad_()
    scorable(grad).sum().backward()
    assert grad.grad is not None
    assert torch.equal(grad.detach(), before)


def test_it_offers_what_the_network_has(saved):
    scorable, model = load_model(saved[0]), saved[1]
    tokens = tokens_of(model)
    letters = one_hot(tokens, torch.float32)
    assert (scorable.length, scorable.targets) == (60, 3)
    with torch.no_grad():
        assert torch.equal(scorable.attention(letters), model(tokens, attention=True).attention)
        assert torch.equal(scorable.site_activations(letters), model.site_activations(tokens))
    assert isinstance(scorable.fast_paths, Satori)
    plain = Scorable(OneHotModel(nn.Sequential(nn.Flatten(), nn.Linear(240, 1)), length=60, targets=1, task="binary"))
    assert plain(letters).shape == (5, 1)
    assert (plain.attention, plain.site_activations, plain.fast_paths) == (None, None, None)


def test_letters_of_another_shape_and_missing_checkpoints_are_refused(saved, tmp_path):
    scorable = load_model(saved[0])
    for shape in ((2, 60), (2, 60, 4), (2, 4, 61)):
        with pytest.raises(InputError, match=r"expected the shape \(sequences, 4, 60\)"):
            scorable(torch.zeros(shape))
    with pytest.raises(ArtefactError, match="no such checkpoint"):
        load_model(tiny.make_run(tmp_path / "other").path)
    wrong = Scorable(OneHotModel(nn.Flatten(), length=60, targets=1, task="binary"))
    with pytest.raises(InputError, match="Flatten: expected logits of shape"):
        wrong(torch.zeros(2, 4, 60))
