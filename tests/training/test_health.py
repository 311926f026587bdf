"""Training that fails is noticed: restarts, the error after them, dead parts, and baselines beside the network."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.kmer_baseline import canonical_counts
from satori_hpc import models
from satori_hpc.config import Model, Train
from satori_hpc.data.dataset import TEST, TRAIN, VALID, Examples
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import SatoriError
from satori_hpc.log import collected
from satori_hpc.models.losses import classification_loss
from satori_hpc.motifs.scan import Gate, MotifBank
from satori_hpc.training import baseline, checkpoint, health
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from tests.fixtures.learnable import SMALL_MODEL, known_motifs, learnable, small_config
from tests.training.test_train import RUNTIME, Killed, history_of, killed_after, run_at, timeless

# Far too large a learning rate: the deep network gives the same for all in two attempts, and learns in the third.
DEEP = {"architecture": "deep", "block_widths": (16,), "dilations": (2,), "hidden": 16}
WILD = {"learning_rate": 0.25, "epochs": 2, "checkpoint_every": 3}


def test_a_collapsed_network_starts_again_with_a_lower_rate_and_so_does_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(model=DEEP, **WILD)
    whole, broken = (run_at(tmp_path / name, learnable(), config) for name in ("whole", "broken"))
    with collected() as warnings:
        expected = train(whole, RUNTIME)
    rows = history_of(whole)
    assert [row["attempt"] for row in rows] == ["1", "1", "2", "2", "3", "3"]
    assert [float(row["learning_rate"]) for row in rows[::2]] == pytest.approx([0.25, 0.075, 0.0225])
    assert [row["constant_outputs"] for row in rows] == ["1"] * 4 + ["0"] * 2
    assert expected["restarts"] == 2
    assert expected["valid_auroc"] > 0.95
    assert any("Set [train] learning_rate = 0.0225" in sentence for sentence in warnings)
    assert any("after 4 of 6 epochs (the first: 1) it gave all" in sentence for sentence in warnings)
    with monkeypatch.context() as patch:
        killed_after(patch, 25)  # in the second attempt
        with pytest.raises(Killed):
            train(broken, RUNTIME)
    assert {**train(broken, RUNTIME), "examples_per_s": 0} == {**expected, "examples_per_s": 0}
    assert timeless(broken) == timeless(whole)
    assert broken.best.read_bytes() == whole.best.read_bytes()


def trainer(**settings: object) -> Trainer:
    data = learnable(train=60, other=20)
    model = models.build(Model(**SMALL_MODEL), length=60, targets=1, task="binary", entropy=0.0)
    examples = (data.tokens[:60], data.labels[:60])
    return Trainer(model, Train(**settings), seed=1, train=examples, valid=examples, batch_size=64)


def test_training_that_never_beats_the_share_of_positives_has_failed_but_not_before_it_ends() -> None:
    made = trainer(epochs=6, patience=0)
    row = {"constant_outputs": 0, "train_loss": made.base_loss, "valid_auroc": 0.55}
    for epochs, changes, failed in ((5, {}, False), (6, {}, True), (6, {"train_loss": 0.6}, False)):
        made.progress = dataclasses.replace(made.progress, epoch=epochs, history=[row] * (epochs - 1) + [row | changes])
        assert bool(made.failed()) == failed
    made.progress.history[-1] = row | {"valid_auroc": 0.8}
    assert not made.failed()


def test_the_loss_of_the_base_rate_is_that_of_a_network_which_says_it() -> None:
    labels = np.random.default_rng(0).choice([0, 0, 1, UNKNOWN], (50, 3)).astype(np.uint8)
    logits = [np.log((column == 1).sum() / (column == 0).sum()) for column in labels.T]
    loss = classification_loss(
        torch.tensor(logits).float().expand(50, -1), torch.from_numpy(labels), task="multilabel", output="one"
    )
    assert health.base_rate_loss(labels) == pytest.approx(float(loss), abs=1e-6)


def test_after_the_last_attempt_the_error_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_at(tmp_path, learnable(train=100, other=30), small_config(epochs=2))
    monkeypatch.setattr(Trainer, "_train_epoch", lambda self, *rest: self.model.output.weight.data.zero_())
    for _ in range(2):  # asked again, it says the same at once
        with pytest.raises(SatoriError) as raised:
            train(run, RUNTIME)
        for words in (str(run.history), "in all of 4 attempts", "0.003, 0.0009", "same output", "[train] warmup"):
            assert words in str(raised.value)
        assert len(history_of(run)) == 8


def test_dead_heads_and_filters_are_counted() -> None:
    model = models.build(Model(**SMALL_MODEL), length=60, targets=1, task="binary", entropy=0.0).eval()
    tokens = learnable(train=40, other=10).tokens
    found = health.parts(model, tokens)
    assert (found.heads, found.filters, found.dead_filters) == (2, 16, 0)
    assert found.dead_heads == 0
    with torch.no_grad():
        model.stem.norm.bias[3] = -1e3  # below what a filter reaches: never active
        model.attention.project.weight[:8] = 0  # queries of the first head: uniform attention
        model.attention.project.bias[:8] = 0
    found = health.parts(model, tokens)
    assert (found.dead_heads, found.dead_filters) == (1, 1)


def test_words_of_both_strands_are_counted_as_elsewhere() -> None:
    tokens = np.random.default_rng(1).integers(0, 5, (7, 50)).astype(np.uint8)
    mine, other = baseline.kmers(tokens), canonical_counts(tokens, 6).toarray()
    assert mine.shape == (7, (4**6 + 4**3) // 2)
    np.testing.assert_array_equal(mine[:, mine.any(axis=0)], other)
    reverse = np.where(tokens < 4, 3 - tokens, 4)[:, ::-1]
    np.testing.assert_array_equal(baseline.kmers(reverse), mine)
    assert baseline.kmers(tokens[:, :4]).sum() == 0


def test_the_regression_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(2)
    counts = rng.poisson(1, (200, 30)).astype(np.float32)
    labels = (rng.random((200, 2)) < 1 / (1 + np.exp(2 - counts[:, :2]))).astype(np.uint8)
    labels[:20, 1] = UNKNOWN
    weights = torch.zeros(31, 2)
    for _ in range(4):
        weights = baseline._regression(torch.from_numpy(counts), labels, 10.0, weights)
    for column, rows in ((0, slice(None)), (1, slice(20, None))):
        oracle = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit(counts[rows], labels[rows, column])
        np.testing.assert_allclose(weights[1:, column], oracle.coef_[0], atol=2e-3)


def test_baselines_stand_beside_the_network(tmp_path: Path) -> None:
    data = learnable(targets=3)
    data.labels[:, 2] = 0  # of a single class, which has no figure
    run = run_at(tmp_path, data, small_config(epochs=1))
    summary = train(run, RUNTIME)
    fitted = baseline.fit(run_data(data), baseline.kmers, seed=1)
    expected = [roc_auc_score(data.labels[data.split == VALID, at], fitted.scores["valid"][:, at]) for at in (0, 1)]
    assert np.isnan(fitted.auroc["valid"][2])
    assert summary["valid_auroc_kmers"] == pytest.approx(np.mean(expected))
    assert min(expected) > 0.9
    assert float(history_of(run)[0]["valid_auroc_kmers"]) == pytest.approx(np.mean(expected), abs=1e-5)
    assert checkpoint.load(run.best, "cpu")[1].metrics["valid_auroc_kmers"] == pytest.approx(np.mean(expected))


def test_hits_of_known_motifs_predict_what_they_decide() -> None:
    data = learnable(train=200, other=60)
    bank = MotifBank.from_motifs(known_motifs())
    fitted = baseline.fit(run_data(data), baseline.hits(bank, Gate()), seed=1)
    assert fitted.auroc["test"][0] > 0.95
    assert baseline.hits(bank, Gate())(data.tokens[:5]).shape == (5, 6)


class run_data:
    """The rows of some examples, as a Dataset gives them."""

    def __init__(self, data: Examples) -> None:
        self.tokens, self.labels, self.split = data.tokens, data.labels, data.split

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == {"train": TRAIN, "valid": VALID, "test": TEST}[split])
