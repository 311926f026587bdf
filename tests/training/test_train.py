"""The train stage: it learns, it resumes to the bit, it stops when it should, it says what is wrong."""

import csv
import dataclasses
import logging
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from satori_hpc import models
from satori_hpc.config import Config, Train
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import ConfigError, InputError, SatoriError
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint, predictions
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from tests.fixtures.learnable import learnable, small_config

RUNTIME = Runtime(device="cpu", threads=1)


def run_at(path: Path, data: Dataset, config: Config) -> Run:
    dataset.write(path / "dataset.zarr", data)
    return Run(path=path, config=config)


def history_of(run: Run) -> list[dict[str, str]]:
    with open(run.history, encoding="utf-8") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def timeless(run: Run) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "examples_per_s")} for row in history_of(run)]


def test_it_learns_and_leaves_what_the_next_stages_need(tmp_path):
    data = learnable()
    run = run_at(tmp_path, data, small_config(epochs=8, entropy=1e-3, entropy_warmup=0.1))
    summary = train(run, RUNTIME)
    assert summary["test_auroc"] > 0.9
    assert summary["test_aupr"] > 0.9
    rows = history_of(run)
    assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(summary["epochs"])]
    best = max(rows, key=lambda row: float(row["valid_auroc"]))
    assert summary["best_epoch"] == int(best["epoch"])
    assert summary["valid_auroc"] == pytest.approx(float(best["valid_auroc"]), abs=1e-5)
    n = 60 // 4
    assert all(1 / n <= float(row["column_mass"]) <= 1 for row in rows)
    assert summary["attention_column_mass"] == pytest.approx(float(best["column_mass"]), rel=1e-4)
    # Entropy falls under its loss, and stays within 0 .. heads * ln n.
    assert 0 < float(rows[-1]["train_entropy"]) < float(rows[0]["train_entropy"]) < 2 * math.log(n)
    model, info = checkpoint.load(run.best, "cpu")
    assert (info.epoch, info.length, info.targets, info.task) == (summary["best_epoch"], 60, 1, "binary")
    logits, probability = predictions.read(run.predictions)
    own = model(torch.from_numpy(data.tokens)).logits.detach()
    np.testing.assert_allclose(logits, own, atol=1e-5)
    np.testing.assert_allclose(probability, torch.sigmoid(own), atol=1e-5)
    assert len(checkpoint.step_files(run.checkpoints)) == 2


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """The next run dies at the start of its step number `steps` (from 0)."""
    original, done = Trainer._step, 0

    def step(self: Trainer, *rest: object) -> torch.Tensor:
        nonlocal done
        if done == steps:
            raise Killed
        done += 1
        return original(self, *rest)

    monkeypatch.setattr(Trainer, "_step", step)


@pytest.mark.parametrize(
    ("every", "kills"),
    [(0, [15]), (0, [10]), (3, [8]), (3, [2, 1, 7, 4]), (4, [24, 3])],
    ids=["epoch ends", "right after an epoch end", "within an epoch", "four kills", "late"],
)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_killed_run_ends_like_an_undisturbed_one(tmp_path, monkeypatch, every, kills, optimiser):
    config = small_config(
        epochs=3,
        entropy=1e-3,
        entropy_warmup=0.5,
        schedule="onecycle",
        optimiser=optimiser,
        reverse_complement="none" if optimiser == "adam" else "random",
        checkpoint_every=every,
        learning_rate=0.05 if optimiser == "sgd" else 3e-3,
    )
    data = learnable()
    whole, broken = run_at(tmp_path / "whole", data, config), run_at(tmp_path / "broken", data, config)
    expected = train(whole, RUNTIME)
    for steps in kills:
        with monkeypatch.context() as patch:
            killed_after(patch, steps)
            with pytest.raises(Killed):
                train(broken, RUNTIME)
        assert not broken.predictions.exists()
    found = train(broken, RUNTIME)
    assert {**found, "examples_per_s": 0} == {**expected, "examples_per_s": 0}
    assert timeless(broken) == timeless(whole)
    for left, right in zip(predictions.read(broken.predictions), predictions.read(whole.predictions), strict=True):
        np.testing.assert_array_equal(left, right)
    # Past best.pt: the last state, with the optimiser's, is the same too.
    states = [checkpoint.load_training(checkpoint.step_files(run.checkpoints)[0])[1] for run in (whole, broken)]
    flat = [torch.utils._pytree.tree_leaves(state) for state in states]
    assert len(flat[0]) == len(flat[1]) > 50
    for left, right in zip(*flat, strict=True):
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


def test_a_process_killed_by_the_system_resumes(tmp_path):
    """The same with a real SIGKILL, at whatever moment it lands."""
    config = small_config(epochs=8, checkpoint_every=2)
    whole, broken = (run_at(tmp_path / name, learnable(), config) for name in ("whole", "broken"))
    expected = train(whole, RUNTIME)
    program = (
        "import sys; from pathlib import Path; from satori_hpc.run.layout import Run;"
        "from satori_hpc.parallel.world import Runtime;"
        "from satori_hpc.training.stage import train; from tests.fixtures.learnable import small_config;"
        "train(Run(path=Path(sys.argv[1]), config=small_config(epochs=8, checkpoint_every=2)),"
        " Runtime(device='cpu', threads=1))"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(broken.path)], cwd=Path(__file__).parents[2])
    limit = time.monotonic() + 120
    while len(checkpoint.step_files(broken.checkpoints)) < 2 and time.monotonic() < limit:
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert not broken.predictions.exists()
    found = train(broken, RUNTIME)
    assert {**found, "examples_per_s": 0} == {**expected, "examples_per_s": 0}
    assert timeless(broken) == timeless(whole)


def test_resume_really_continues(tmp_path, monkeypatch):
    run = run_at(tmp_path, learnable(), small_config(epochs=3, checkpoint_every=3))
    with monkeypatch.context() as patch:
        killed_after(patch, 14)
        with pytest.raises(Killed):
            train(run, RUNTIME)
    steps = 0
    original = Trainer._step

    def counted(self: Trainer, *rest: object) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return original(self, *rest)

    monkeypatch.setattr(Trainer, "_step", counted)
    train(run, RUNTIME)
    assert steps == 30 - 12


def test_a_kill_between_best_and_state_is_mended(tmp_path, monkeypatch):
    """best.pt of an epoch that the newest state does not know must not survive on its own."""
    config = small_config(epochs=3)
    whole, broken = (run_at(tmp_path / name, learnable(), config) for name in ("whole", "broken"))
    expected = train(whole, RUNTIME)
    saves = 0

    def save_training(*args: object, **kwargs: object) -> None:
        nonlocal saves
        saves += 1
        if saves == 2:
            raise Killed
        original(*args, **kwargs)

    original = checkpoint.save_training
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_training", save_training)
        with pytest.raises(Killed):
            train(broken, RUNTIME)
    assert len(history_of(broken)) == 2
    found = train(broken, RUNTIME)
    assert {**found, "examples_per_s": 0} == {**expected, "examples_per_s": 0}
    assert timeless(broken) == timeless(whole)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch):
    config = small_config(epochs=3)
    whole, broken = (run_at(tmp_path / name, learnable(), config) for name in ("whole", "broken"))
    expected = train(whole, RUNTIME)
    with monkeypatch.context() as patch:
        killed_after(patch, 25)
        with pytest.raises(Killed):
            train(broken, RUNTIME)
    newest = checkpoint.step_files(broken.checkpoints)[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    left = newest.with_name(f".{newest.name}.0123abcd.partial")
    left.write_bytes(b"what a killed writer left")
    assert train(broken, RUNTIME)["test_auroc"] == expected["test_auroc"]
    assert timeless(broken) == timeless(whole)
    assert not left.exists()


@pytest.mark.parametrize("what", ["config", "dataset"])
def test_checkpoints_of_other_work_are_not_resumed(tmp_path, monkeypatch, caplog, what):
    monkeypatch.setattr(logging.getLogger("satori_hpc"), "propagate", True)
    data, config = learnable(), small_config(epochs=2)
    train(run_at(tmp_path / "run", data, config), RUNTIME)
    if what == "config":
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, learning_rate=2e-3))
    else:
        data = learnable(seed=5)
    fresh = train(run_at(tmp_path / "fresh", data, config), RUNTIME)
    with caplog.at_level(logging.INFO, logger="satori_hpc"):
        found = train(run_at(tmp_path / "run", data, config), RUNTIME)
    assert f"from scratch: {tmp_path}" in caplog.text
    assert f"another {what}" in caplog.text
    assert found["test_auroc"] == fresh["test_auroc"]


def test_same_seed_same_result_other_seed_other_result(tmp_path):
    data = learnable()
    logits = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = run_at(tmp_path / name, data, small_config(epochs=1, seed=seed))
        train(run, RUNTIME)
        logits.append(predictions.read(run.predictions)[0])
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[0] - logits[2]).max() > 1e-3


def test_early_stopping_keeps_the_best(tmp_path):
    # Random labels: nothing to learn, so the best epoch comes early and patience runs out.
    data = learnable()
    labels = np.random.default_rng(3).integers(0, 2, data.labels.shape).astype(np.uint8)
    run = run_at(tmp_path, dataclasses.replace(data, labels=labels), small_config(epochs=40, patience=2))
    summary = train(run, RUNTIME)
    assert summary["stopped_early"]
    assert summary["epochs"] == summary["best_epoch"] + 2
    values = [float(row["valid_auroc"]) for row in history_of(run)]
    assert summary["best_epoch"] == int(np.argmax(values)) + 1
    # A finished run that is asked again only predicts again; its last state holds the best weights, not only best.pt.
    logits = predictions.read(run.predictions)[0]
    run.best.unlink()
    run.history.unlink()
    assert train(run, RUNTIME) == summary
    np.testing.assert_array_equal(predictions.read(run.predictions)[0], logits)
    assert len(history_of(run)) == summary["epochs"]


def test_selection_by_aupr(tmp_path):
    run = run_at(tmp_path, learnable(), small_config(epochs=4, select="aupr"))
    summary = train(run, RUNTIME)
    assert summary["best_epoch"] == int(np.argmax([float(row["valid_aupr"]) for row in history_of(run)])) + 1


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_bfloat16_learns(tmp_path, optimiser):
    run = run_at(tmp_path, learnable(), small_config(epochs=8, precision="bfloat16", optimiser=optimiser))
    assert train(run, RUNTIME)["test_auroc"] > 0.9


def test_multilabel_with_a_label_of_one_class(tmp_path):
    data = learnable(targets=3)
    labels = data.labels.copy()
    labels[data.split != dataset.TRAIN, 1] = 0
    run = run_at(tmp_path, dataclasses.replace(data, labels=labels), small_config(epochs=8))
    summary = train(run, RUNTIME)
    assert summary["test_auroc"] > 0.9
    assert summary["test_labels_skipped"] == summary["valid_labels_skipped"] == 1
    logits, probability = predictions.read(run.predictions)
    assert logits.shape == probability.shape == (900, 3)
    with open(run.label_metrics, encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert [(row["split"], row["label"]) for row in rows] == [
        (split, f"label{label}") for split in ("valid", "test") for label in range(3)
    ]
    test = data.rows("test")
    for row, column in zip(rows[3:], range(3), strict=True):
        assert (row["examples"], int(row["positives"])) == ("150", labels[test, column].sum())
        if column == 1:
            assert row["auroc"] == row["aupr"] == ""
        else:
            assert float(row["auroc"]) == pytest.approx(roc_auc_score(labels[test, column], logits[test, column]))
    assert summary["test_auroc"] == pytest.approx(np.mean([float(rows[n]["auroc"]) for n in (3, 5)]))


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "deep", "block_widths": (12, 12), "hidden": 12},
        {"output": "two"},
        {"readout": "legacy_batchnorm"},
        {"recurrent": True, "recurrent_size": 8},
    ],
)
def test_other_networks_train(tmp_path, model):
    run = run_at(tmp_path, learnable(), small_config(epochs=8, model=model))
    assert train(run, RUNTIME)["test_auroc"] > 0.85


def test_no_example_is_lost_and_no_batch_is_tiny():
    data = learnable(train=129)
    config = small_config(batch_size=64)
    model = models.build(config.model, length=60, targets=1, task="binary", entropy=0)
    rows = data.rows("train")
    examples = data.tokens[rows], data.labels[rows]
    trainer = Trainer(model, config.train, seed=1, train=examples, valid=examples, batch_size=64)
    batches = trainer.batches(0)
    assert [len(batch) for batch in batches] == [43, 43, 43]
    assert sorted(np.concatenate(batches).tolist()) == list(range(129))
    assert np.concatenate(trainer.batches(1)).tolist() != np.concatenate(batches).tolist()
    assert np.concatenate(trainer.batches(0)).tolist() == np.concatenate(batches).tolist()


def test_a_batch_in_parts_is_the_same_batch(tmp_path):
    data, config = learnable(), small_config(epochs=2, optimiser="sgd", learning_rate=0.05)
    whole, parts = run_at(tmp_path / "whole", data, config), run_at(tmp_path / "parts", data, config)
    train(whole, RUNTIME)
    train(parts, dataclasses.replace(RUNTIME, micro_batch=7))
    for left, right in zip(history_of(whole), history_of(parts), strict=True):
        assert float(left["train_loss"]) == pytest.approx(float(right["train_loss"]), rel=1e-4)


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path):
    run = run_at(tmp_path, learnable(), small_config(model={"readout": "legacy_batchnorm"}))
    with pytest.raises(ConfigError, match="leave --micro-batch away"):
        train(run, dataclasses.replace(RUNTIME, micro_batch=7))
    many = World()
    many.size = 65
    with pytest.raises(ConfigError, match="smallest batch has 60, and there are 65 processes"):
        train(run, dataclasses.replace(RUNTIME, world=many))


def test_onecycle_has_no_second_rise():
    assert list(Train(schedule="cosine", warmup=0.1).problems()) == []
    assert "rise of its own" in next(Train(schedule="onecycle", warmup=0.1).problems())


def test_a_loss_that_is_not_finite_says_where_and_what_to_lower(tmp_path):
    config = small_config(optimiser="sgd", learning_rate=1e30, max_grad_norm=0.0)
    run = run_at(tmp_path, learnable(), config)
    with pytest.raises(SatoriError, match=r"epoch 1.*learning_rate"):
        train(run, RUNTIME)
    assert not run.best.exists()


@pytest.mark.parametrize("split", [dataset.TRAIN, dataset.VALID])
def test_a_split_of_one_class_is_refused(tmp_path, split):
    data = learnable()
    labels = data.labels.copy()
    labels[data.split == split] = 1
    run = run_at(tmp_path, dataclasses.replace(data, labels=labels), small_config())
    with pytest.raises(InputError, match="single class"):
        train(run, RUNTIME)
    assert not run.checkpoints.exists()
