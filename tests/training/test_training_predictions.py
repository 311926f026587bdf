"""What training ends with: predictions and figures of all examples, some at a time."""

import numpy as np
import pytest

from satori_hpc.data.zarr_arrays import StoredRows
from satori_hpc.parallel.world import Runtime
from satori_hpc.training import metrics, predictions
from satori_hpc.training.stage import train
from tests.fixtures.learnable import learnable, small_config
from tests.training.test_train import Killed, run_at

RUNTIME = Runtime(device="cpu", threads=1)


@pytest.mark.parametrize("targets", [1, 3])
def test_predictions_and_figures_are_made_some_at_a_time(tmp_path, monkeypatch, targets):
    data, config = learnable(targets=targets), small_config(epochs=1)
    whole, parts = run_at(tmp_path / "whole", data, config), run_at(tmp_path / "parts", data, config)
    expected = train(whole, RUNTIME)
    asked = []
    read = StoredRows.__getitem__

    def spy(self: StoredRows, rows: slice | np.ndarray) -> np.ndarray:
        found = read(self, rows)
        asked.append(len(found))
        return found

    monkeypatch.setattr(StoredRows, "__getitem__", spy)
    monkeypatch.setattr("satori_hpc.data.dataset.BLOCK", 128)
    monkeypatch.setattr("satori_hpc.training.predictions.RANKED_AT_ONCE", 200)  # one label at a time
    found = train(parts, RUNTIME)
    # Never all of them: the two splits that training holds, then blocks.
    assert sorted(asked)[-2:] == sorted(len(data.rows(split)) for split in ("train", "valid"))
    assert max(sorted(asked)[:-2]) == 128
    for left, right in zip(predictions.read(parts.predictions), predictions.read(whole.predictions), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-6) or key == "examples_per_s"
    assert parts.label_metrics.read_text().count("\n") == 1 + 2 * targets
    figures = metrics.read(parts.label_metrics, split="test", labels=targets)
    assert found["test_auroc"] == pytest.approx(figures["auroc"].mean())
    assert found["test_aupr"] == pytest.approx(figures["aupr"].mean())


def test_killed_while_it_predicts_it_goes_on_with_the_next_examples(tmp_path, monkeypatch):
    monkeypatch.setattr("satori_hpc.data.dataset.BLOCK", 128)
    data, config = learnable(), small_config(epochs=1)
    whole, broken = run_at(tmp_path / "whole", data, config), run_at(tmp_path / "broken", data, config)
    train(whole, RUNTIME)
    original, added = predictions.Writer.add, []

    def add(self: predictions.Writer, rows: slice, *values: np.ndarray) -> None:
        added.append(rows.start)
        if len(added) == 4:
            raise Killed
        original(self, rows, *values)

    monkeypatch.setattr(predictions.Writer, "add", add)
    with pytest.raises(Killed):
        train(broken, RUNTIME)
    assert broken.predictions_parts.exists()
    assert not broken.predictions.exists()
    train(broken, RUNTIME)
    assert added == [0, 128, 256, 384, *range(384, 900, 128)]
    assert not broken.predictions_parts.exists()
    assert broken.label_metrics.read_bytes() == whole.label_metrics.read_bytes()
    for left, right in zip(predictions.read(broken.predictions), predictions.read(whole.predictions), strict=True):
        np.testing.assert_array_equal(left, right)
