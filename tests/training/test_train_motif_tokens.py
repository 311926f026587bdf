"""Training a network that starts from known motifs: it keeps them, and goes on only with the same ones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from satori_hpc.config import Config, Model, Train
from satori_hpc.config.motif_tokens import MotifTokens
from satori_hpc.data import dataset
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.models.predict import predict
from satori_hpc.motifs import motif, readers
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint, predictions
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from tests.fixtures.learnable import known_motifs, learnable

RUNTIME = Runtime(device="cpu", threads=1)


def run_at(path: Path, *, targets: int = 1, length: int = 60, others: int = 5, **settings: object) -> Run:
    """A run whose known motifs are in a file beside it, where they do not change from run to run."""
    wanted = {"motifs": "../known.meme", "num_filters": 4, "size": 16, "pool": 6, "kernel_size": 9, **settings}
    readers.write_meme(path.parent / "known.meme", known_motifs(targets=targets, others=others), motif.UNIFORM)
    dataset.write(path / "dataset.zarr", learnable(targets=targets, length=length))
    model = Model(architecture="motif-tokens", guests={"motif-tokens": MotifTokens(**wanted)})
    return Run(path, Config(model=model, train=Train(epochs=3, batch_size=64, learning_rate=1e-2, checkpoint_every=3)))


class Killed(Exception):
    pass


def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    done, original = 0, Trainer._step

    def step(self, *rest):
        nonlocal done
        if done == steps:
            raise Killed
        done += 1
        return original(self, *rest)

    monkeypatch.setattr(Trainer, "_step", step)


def test_a_killed_run_ends_like_an_undisturbed_one(tmp_path, monkeypatch):
    whole, broken = (run_at(tmp_path / name, kmers=True) for name in ("whole", "broken"))
    expected = train(whole, RUNTIME)
    assert expected["test_auroc"] > 0.95
    assert expected["known motifs"] == 6
    with monkeypatch.context() as patch:
        killed_after(patch, 16)
        with pytest.raises(Killed):
            train(broken, RUNTIME)
    found = train(broken, RUNTIME)
    assert {**found, "examples_per_s": 0} == {**expected, "examples_per_s": 0}
    for left, right in zip(predictions.read(broken.predictions), predictions.read(whole.predictions), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_checkpoint_holds_the_motifs(tmp_path):
    run = run_at(tmp_path / "run", targets=2)
    train(run, RUNTIME)
    (tmp_path / "known.meme").unlink()
    model, info = checkpoint.load(run.best, "cpu")
    assert model.bank is not None
    assert model.bank.names == tuple(f"TF{number}" for number in range(7))
    assert info.bank == model.bank.to_plain()
    logits = predict(model, learnable(targets=2).tokens, batch_size=100)
    assert torch.allclose(logits, torch.from_numpy(predictions.read(run.predictions)[0]), rtol=1e-4, atol=1e-5)


def test_training_does_not_go_on_with_other_motifs(tmp_path, monkeypatch, caplog):
    run = run_at(tmp_path / "run")
    with monkeypatch.context() as patch:
        killed_after(patch, 12)
        with pytest.raises(Killed):
            train(run, RUNTIME)
    readers.write_meme(tmp_path / "known.meme", known_motifs(others=3), motif.UNIFORM)
    with caplog.at_level("INFO"):
        assert train(run, RUNTIME)["known motifs"] == 4
    assert "was made with another known motifs" in caplog.text


def test_what_cannot_be_used_is_told(tmp_path):
    run = run_at(tmp_path / "run", motifs="../absent.meme")
    with pytest.raises(InputError, match=r"\[model.motif-tokens\] motifs = '../absent.meme': no file .*absent.meme"):
        train(run, RUNTIME)
    with pytest.raises(ConfigError, match="shorter, 60 bp; lower it, or set num_filters = 0"):
        train(run_at(tmp_path / "wide", kernel_size=61), RUNTIME)
