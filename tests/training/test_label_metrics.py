import numpy as np
import pytest

from satori_hpc.errors import ArtefactError
from satori_hpc.training import metrics


def test_a_table_of_labels_that_is_not_of_this_run_is_refused(tmp_path):
    path = tmp_path / "labels.tsv"
    with pytest.raises(ArtefactError, match="labels.tsv: cannot be read .*satori-hpc train"):
        metrics.read(path, split="test", labels=1)
    path.write_text("split\tlabel\n")
    with pytest.raises(ArtefactError, match="labels.tsv: cannot be read"):
        metrics.read(path, split="test", labels=1)
    row = {"split": "test", "label": 'a "quoted"\tname', "examples": 3, "positives": 0, "auroc": np.nan, "aupr": np.nan}
    metrics.write(path, [row])
    assert np.isnan(metrics.read(path, split="test", labels=1)["auroc"]).tolist() == [True]
    with pytest.raises(ArtefactError, match="1 labels of the test split, expected 2"):
        metrics.read(path, split="test", labels=2)
