import numpy as np
import pytest
import zarr

from satori_hpc.errors import ArtefactError
from satori_hpc.stores import predictions


def test_round_trip(tmp_path):
    logits = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    probability = logits[:, :1]
    predictions.write(tmp_path / "predictions.zarr", logits, probability)
    found = predictions.read(tmp_path / "predictions.zarr")
    np.testing.assert_array_equal(found[0], logits)
    np.testing.assert_array_equal(found[1], probability)
    assert found[0].dtype == found[1].dtype == np.float32


def test_missing_foreign_damaged_and_other_versions_are_refused(tmp_path):
    path = tmp_path / "predictions.zarr"
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        predictions.read(path)
    path.mkdir()
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        predictions.read(path)
    path.rmdir()
    predictions.write(path, np.zeros((3, 1)), np.zeros((3, 1)))
    group = zarr.open_group(path, mode="r+")
    group.attrs["format_version"] = 99
    with pytest.raises(ArtefactError, match="99"):
        predictions.read(path)
    predictions.write(path, np.zeros((3, 1)), np.zeros((2, 1)))
    with pytest.raises(ArtefactError, match="do not match"):
        predictions.read(path)


def test_some_rows_are_read_as_they_are_asked_for(tmp_path):
    path = tmp_path / "predictions.zarr"
    probability = np.random.default_rng(0).random((500, 3)).astype(np.float32)
    predictions.write(path, probability, probability)
    some = predictions.Probability(path)
    assert len(some) == 500
    for rows in ([0], [3, 4, 5], [1, 250, 499], []):
        np.testing.assert_array_equal(some[np.array(rows, dtype=np.int64)], probability[rows])
    np.testing.assert_array_equal(predictions.read_probability(path), probability)
    (path / "probability" / "zarr.json").unlink()
    with pytest.raises(ArtefactError, match="satori-hpc train"):
        some[np.array([1])]
