"""score and reduce: from a trained model to tables."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from satori_hpc import provenance
from satori_hpc.errors import ArtefactError
from satori_hpc.run import Run
from satori_hpc.stages import motifs, prepare, score, train
from satori_hpc.stages import reduce as reduce_stage
from satori_hpc.stores import dataset, scores, tables
from satori_hpc.stores.scores import ScoreStore
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


def test_scoring_killed_at_any_partition_ends_in_the_same_bytes(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    score.score(trained, RUNTIME)
    expected = store_digest(trained)
    for survived in (0, 2):
        scores.atomic.remove_folder(trained.scores("attention"))
        written: list[int] = []
        honest = ScoreStore.write_partition

        def kill(
            self: ScoreStore,
            *args: Any,
            honest: Any = honest,
            written: Any = written,
            most: int = survived,
            **more: Any,
        ) -> None:
            if len(written) == most:
                raise KeyboardInterrupt
            written.append(1)
            honest(self, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(ScoreStore, "write_partition", kill)
            with pytest.raises(KeyboardInterrupt):
                score.score(trained, RUNTIME)
        assert not ScoreStore(trained.scores("attention")).complete
        score.score(trained, RUNTIME)
        assert store_digest(trained) == expected


def test_a_new_model_starts_the_store_anew(trained: Run, tmp_path: Path) -> None:
    copy = Run(path=tmp_path / "run", config=trained.config)
    shutil.copytree(trained.path, copy.path)
    score.score(copy, RUNTIME)
    before = store_digest(copy)
    other = dataclasses.replace(copy.config, seed=2)
    moved = Run(path=copy.path, config=other)
    train.train(moved, RUNTIME)
    score.score(moved, RUNTIME)
    assert store_digest(copy) != before


def test_with_several_labels_the_background_is_the_twins_by_name(trained: Run, tmp_path: Path) -> None:
    run = Run(path=tmp_path / "run", config=trained.config)
    shutil.copytree(trained.path, run.path)
    data = dataclasses.replace(dataset.read(run.dataset), task="multilabel")
    dataset.write(run.dataset, data)
    with pytest.raises(ArtefactError, match="prepare .* --background"):
        score.score(run, RUNTIME)
    order = np.arange(data.examples)[::-1]
    twins = dataclasses.replace(
        data,
        tokens=data.tokens[order][:, ::-1].copy(),
        labels=data.labels[order],
        split=data.split[order],
        names=[data.names[row] for row in order],
        coordinates=dataset.Coordinates(
            *(getattr(data.coordinates, field)[order] for field in ("chrom", "start", "end", "strand"))
        ),
    )
    dataset.write(run.background, twins)
    summary = score.score(run, RUNTIME)
    store = scores.open_complete(run.scores("attention"))
    foreground = store.examples("foreground")
    assert summary["foreground_examples"] == summary["background_examples"] == len(foreground) == 180
    assert store.examples("background").tolist() == (data.examples - 1 - foreground).tolist()
    assert set(store.selected().tolist()) == {0, 1}
    dataset.write(
        run.background,
        dataclasses.replace(twins, names=[f"other{row}" for row in order]),
    )
    with pytest.raises(ArtefactError, match="no shuffled twin of 180 examples"):
        score.score(run, RUNTIME)
