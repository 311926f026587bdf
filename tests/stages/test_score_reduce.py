"""score and reduce: from a trained model to tables."""

import numpy as np
import pandas as pd
import pytest

from satori_hpc import provenance
from satori_hpc.run import Run
from satori_hpc.stages import motifs, prepare, score, train
from satori_hpc.stages import reduce as reduce_stage
from satori_hpc.stores import scores, tables
from satori_hpc.world import Runtime
from tests import tiny

RUNTIME = Runtime(device="cpu", threads=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run up to its motifs."""
    run = tiny.make_run(tmp_path_factory.mktemp("trained") / "run")
    for stage in (prepare.prepare, train.train, motifs.motifs):
        stage(run, RUNTIME)
    return run


def store_digest(run: Run) -> str:
    path = run.scores("attention")
    return provenance.digest_of(provenance.listing(path, [path]))


def test_score_and_reduce_of_a_trained_run(trained: Run) -> None:
    summary = score.score(trained, RUNTIME)
    assert summary["foreground_examples"] + summary["background_examples"] == 180
    assert summary["attention"]["pairs"] == 66
    store = scores.open_complete(trained.scores("attention"), verify=True)
    again = store_digest(trained)
    assert score.score(trained, RUNTIME)["attention"]["foreground"] == summary["attention"]["foreground"]
    assert store_digest(trained) == again

    result = reduce_stage.reduce(trained, RUNTIME)["attention"]
    assert result["cutoff"] == store.mean_score()
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
