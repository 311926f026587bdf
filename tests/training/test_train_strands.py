"""Training that shows the other strand: the right letters, and a network that reads both."""

from pathlib import Path

import numpy as np
import pytest
import torch

from satori_hpc import models
from satori_hpc.data import sequence
from satori_hpc.models.predict import predict
from satori_hpc.parallel.signals import StopRequest
from satori_hpc.parallel.world import Runtime
from satori_hpc.training import checkpoint, metrics
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from satori_hpc.training.step import Stepper
from tests.fixtures.learnable import learnable, small_config
from tests.training.test_train import history_of, run_at

RUNTIME = Runtime(device="cpu", threads=1)
OTHER = str.maketrans("ACGTN", "TGCAN")


@pytest.mark.parametrize("kind", ["none", "random", "both"])
def test_a_step_sees_the_letters_that_its_rows_mean(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = learnable(train=40, other=4, length=30)
    data.tokens[::3, 5:8] = sequence.N
    examples = data.tokens[:40], np.arange(40, dtype=np.uint8)[:, None]
    config = small_config(batch_size=16, reverse_complement=kind)
    model = models.build(config.model, length=30, targets=1, task="binary", entropy=0)
    trainer = Trainer(model, config.train, seed=1, train=examples, valid=examples, batch_size=16)
    seen: list[tuple[int, str]] = []

    def step(self: Stepper, tokens: torch.Tensor, labels: torch.Tensor, beside: None, **rest: object) -> torch.Tensor:
        seen.extend((int(label), sequence.decode(row)) for label, row in zip(labels, tokens.numpy(), strict=True))
        return torch.zeros(3)

    monkeypatch.setattr(Stepper, "step", step)
    rows = np.concatenate(trainer.batches(0)).tolist()
    for batch in trainer.batches(0):
        trainer._step(batch, StopRequest())
    letters = [sequence.decode(row) for row in data.tokens[:40]]
    turned = [text[::-1].translate(OTHER) for text in letters]
    assert seen == [(row % 40, (letters + turned)[row]) for row in rows]
    shown = {"none": 0, "random": sum(row >= 40 for row in rows), "both": 40}[kind]
    assert sum(text in turned for _, text in seen) == shown
    assert (kind == "none") == (shown == 0)
    assert [sequence.decode(row) for row in trainer.tokens.numpy()] == letters, "the examples themselves stay"


@pytest.mark.parametrize(("kind", "low", "high"), [("none", 0.3, 0.75), ("random", 0.85, 1), ("both", 0.85, 1)])
def test_a_network_that_saw_both_strands_reads_both(kind: str, low: float, high: float, tmp_path: Path) -> None:
    """Motifs stand on one strand in the data; on the other one only a network finds them that was shown it."""
    data = learnable(train=900)
    run = run_at(tmp_path, data, small_config(epochs=12, reverse_complement=kind, model={"num_filters": 24}))
    assert train(run, RUNTIME)["test_auroc"] > 0.85
    model, _ = checkpoint.load(run.best, "cpu")
    rows = data.rows("test")
    other = sequence.reverse_complement(data.tokens[rows])
    logits = predict(model, np.ascontiguousarray(other), batch_size=64)
    auroc = metrics.by_label(data.labels[rows], model.margin(logits).numpy())[0][0]
    assert low < auroc <= high


def test_an_epoch_of_both_strands_counts_all_its_rows(tmp_path: Path) -> None:
    """The loss in the history is a mean over rows, not over examples."""
    found = {}
    for kind in ("none", "both"):
        run = run_at(tmp_path / kind, learnable(), small_config(epochs=1, reverse_complement=kind, learning_rate=1e-8))
        train(run, RUNTIME)
        found[kind] = float(history_of(run)[0]["train_loss"])
    assert found["both"] == pytest.approx(found["none"], rel=0.1)
