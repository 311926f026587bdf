"""score and reduce: from a trained model to tables."""

import numpy as np
import pandas as pd
import pytest

from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions import tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.scoring import store as score_store
from tests.fixtures.scores import of_pairs, store_digest
from tests.fixtures.tiny import change

RUNTIME = Runtime(device="cpu", threads=1)


def test_score_and_reduce_of_a_trained_run(trained: Run) -> None:
    summary = scoring_stage.score(trained, RUNTIME)
    assert summary["foreground_examples"] + summary["background_examples"] == 180
    assert summary["attention"]["motifs"] == 12
    store = score_store.open_complete(trained.scores("attention"), verify=True)
    again = store_digest(trained)
    assert scoring_stage.score(trained, RUNTIME)["attention"]["foreground"] == summary["attention"]["foreground"]
    assert store_digest(trained) == again

    published = change(trained, reduce={"statistic": "published"})
    result = interactions_stage.reduce(published, RUNTIME)["attention"]
    assert result["cutoff"] == pytest.approx(np.nanmean(of_pairs(store).astype(np.float64)), rel=1e-12)
    table = tables.read(trained.interactions("attention"))
    assert list(table.columns) == list(tables.COLUMNS)
    assert len(table) == result["observed_pairs"]
    assert table["called"].sum() == result["called_pairs"]
    text = pd.read_csv(f"{trained.interactions('attention')}.tsv", sep="\t", keep_default_na=False, na_values=[""])
    assert list(text.columns) == list(tables.COLUMNS)
    np.testing.assert_array_equal(text["p"], table["p"])
    tf_table = tables.read_tf(trained.interactions("attention"))
    assert list(tf_table.columns) == list(tables.TF_COLUMNS)
    assert len(tf_table) == result["tf_pairs"]
