"""The regression on 6-mers beside a network: its sums, its folds, and what training and predictions make of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from satori_hpc import models
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Dataset, Examples
from satori_hpc.models.base import Scorable, one_hot
from satori_hpc.models.kmers import FOLDS, KmerRegression, folds
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.training import baseline, checkpoint, predictions
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from tests.fixtures.learnable import known_motifs, learnable
from tests.training.test_train_motif_tokens import RUNTIME, run_at


def regression(targets: int = 2) -> tuple[KmerRegression, torch.Tensor]:
    """One with random weights, and these by the columns of baseline.kmers."""
    made = KmerRegression(targets)
    columns = torch.randn(FOLDS, 4**6 // 2 + 32, targets, generator=torch.Generator().manual_seed(1))
    made.weight.copy_(columns[:, baseline._canonical(6)])
    made.bias.copy_(torch.tensor([[0.5, -1.0]] * FOLDS)[:, :targets])
    return made, columns


def test_log_odds_are_counts_times_weights() -> None:
    made, columns = regression()
    tokens = np.random.default_rng(2).choice(5, (9, 40), p=[0.24] * 4 + [0.04]).astype(np.uint8)
    counts = torch.from_numpy(baseline.kmers(tokens))
    expected = counts @ columns.mean(dim=0) + torch.tensor([0.5, -1.0])
    codes = torch.from_numpy(tokens)
    torch.testing.assert_close(made(codes), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made(one_hot(codes, torch.float32)), expected, rtol=1e-4, atol=1e-4)
    for short in (codes[:, :5], one_hot(codes[:, :5], torch.float32)):
        torch.testing.assert_close(made(short), torch.tensor([[0.5, -1.0]]).expand(9, -1))


def test_a_mixture_has_the_expected_log_odds() -> None:
    made, _ = regression()
    codes = torch.from_numpy(np.random.default_rng(3).integers(0, 4, (4, 12)).astype(np.uint8))
    letters = one_hot(codes[:1], torch.float64)
    letters[0, :, 7] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    variants = codes[:1].repeat(4, 1)
    variants[:, 7] = torch.arange(4)
    expected = letters[0, :, 7] @ made(variants).double()
    torch.testing.assert_close(made(letters)[0], expected, rtol=1e-5, atol=1e-5)
    letters.requires_grad_()
    made(letters)[0, 0].backward()
    changed = made(variants)[:, 0].double()
    found = letters.grad[0, :, 7]
    torch.testing.assert_close(found - found[0], changed - changed[0], rtol=1e-4, atol=1e-4)


def few(examples: int = 300) -> Examples:
    """Examples whose labels follow one word, and little else."""
    return learnable(train=examples, other=100)


def stored(path: Path, data: Examples) -> Dataset:
    dataset.write(path / "dataset.zarr", data)
    return Dataset(path / "dataset.zarr")


def test_no_regression_has_seen_the_labels_of_its_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "PENALTIES", (30.0,))  # which are chosen by all labels
    data = few()
    fold = folds(300, seed=5)
    assert np.bincount(fold).tolist() == [100, 100, 100]
    whole = baseline.cross_fit(stored(tmp_path / "whole", data), seed=5)
    inside = np.flatnonzero(fold == 1)
    data.labels[inside] = 1 - data.labels[inside]
    other = baseline.cross_fit(stored(tmp_path / "other", data), seed=5)
    made = KmerRegression(1)
    logits = []
    for fitted in (whole, other):
        made.load_state_dict(fitted)
        logits.append(made.out_of_fold(torch.from_numpy(data.tokens[:300]), fold))
    assert torch.equal(logits[0][inside], logits[1][inside])
    assert (logits[0] - logits[1]).abs()[fold != 1].mean() > 0.1


def test_training_learns_what_the_regression_leaves(tmp_path: Path) -> None:
    run = run_at(tmp_path / "run", kmers=True)
    summary = train(run, RUNTIME)
    model, _ = checkpoint.load(run.best, "cpu")
    assert model.kmers is not None
    data = Dataset(run.dataset)
    tokens = torch.from_numpy(data.tokens[:50])
    with torch.no_grad():
        alone, beside = model(tokens).logits, model.kmers(tokens)
        together = torch.from_numpy(predictions.read(run.predictions)[0][:50])
        torch.testing.assert_close(alone + beside, together, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(Scorable(model)(one_hot(tokens, torch.float32)), together, rtol=1e-4, atol=1e-4)
    assert alone.std() > 0.1
    assert summary["valid_auroc"] >= summary["valid_auroc_kmers"] - 0.01


def test_a_network_that_says_nothing_is_noticed_beside_it_and_starts_again_beside_it(tmp_path: Path) -> None:
    data = learnable(train=60, other=40)
    run = run_at(tmp_path / "run", kmers=True)
    bank = MotifBank.from_motifs(known_motifs())
    model = models.build(run.config.model, length=60, targets=1, task="binary", entropy=0.0, bank=bank)
    examples = (data.tokens[:60], data.labels[:60])
    trainer = Trainer(model, run.config.train, seed=1, train=examples, valid=examples, batch_size=16)
    assert model.kmers is not None
    fitted = regression(1)[0].state_dict()
    model.kmers.load_state_dict(fitted)
    trainer.train_beside(model.kmers)
    found = trainer.validate()
    assert found["constant_outputs"] == 1
    assert found["valid_auroc"] != 0.5
    torch.nn.init.normal_(model.output.weight)
    assert trainer.validate()["constant_outputs"] == 0
    trainer._restart("has failed")
    for name, value in model.kmers.state_dict().items():
        assert torch.equal(value, fitted[name])
    assert trainer.validate() == found
