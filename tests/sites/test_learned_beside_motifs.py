"""A network of known motifs with learned filters beside them, from its motifs to the tables of pairs."""

import dataclasses
from pathlib import Path

import numpy as np

from satori_hpc.config import Dfim, Model, Reduce
from satori_hpc.config.motif_tokens import MotifTokens
from satori_hpc.interactions import tables
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import inspect as report_inspect
from satori_hpc.report.inspect import inspect
from satori_hpc.run import execute
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store
from satori_hpc.training import checkpoint
from tests.fixtures import tiny

RUNTIME = Runtime(device="cpu", threads=1)
FILTERS = 6


def test_learned_filters_are_named_scored_and_tested_beside_known_motifs(tmp_path: Path) -> None:
    config = tiny.tiny_config()
    settings = MotifTokens(num_filters=FILTERS, kernel_size=9, size=16, pool=6, similarity_max=0.5)
    config = dataclasses.replace(
        config,
        model=Model(architecture="motif-tokens", guests={"motif-tokens": settings}),
        score=dataclasses.replace(
            config.score, methods=("attention", "epistasis"), dfim=Dfim(steps=2, baselines=1, mutations=1)
        ),
        motifs=dataclasses.replace(config.motifs, threshold=0.5, min_sites=5, split="all"),
        reduce=Reduce(min_examples=3, cutoff="0"),
    )
    run = tiny.make_run(tmp_path / "run", config)
    for stage in ("prepare", "train", "motifs", "score", "reduce"):
        execute.execute(run, stage, RUNTIME)

    model, _ = checkpoint.load(run.best, "cpu")
    assert isinstance(model.bank, MotifBank)
    known = len(model.bank)
    filters, tf = motif_store.read_filters(run.motifs), motif_store.read_tf(run.motifs)
    assert filters["filter"].tolist() == list(range(known + FILTERS))
    learned = filters[known:]
    assert (learned["sites"] > 0).sum() >= 3
    np.testing.assert_allclose(learned["threshold"], 0.5 * learned["maximum"], rtol=1e-6)
    assert set(motif_store.read_motifs(run.motifs)) == set(filters.loc[filters["written"], "filter"])
    assert tf["filter"].tolist() == filters.loc[filters["written"], "filter"].tolist()
    assert tf.loc[tf["filter"] < known, "motif_id"].tolist() == list(model.bank.names)

    for method in ("attention", "epistasis"):
        store = ScoreStore(run.scores(method))
        assert store.motifs == known + FILTERS
        table = tables.read(run.interactions(method))
        tested = table[table["p"].notna()]
        mixed = (tested["filter_a"] < known) & (tested["filter_b"] >= known)
        assert mixed.any()
        assert ((tested["filter_a"] < known) & (tested["filter_b"] < known)).any()

    inspect(run, RUNTIME, "3")
    shown = report_inspect.read(run.inspections / "3.npz")
    assert shown["filter_name"][tf["filter"][tf["named"]]].tolist() == tf["tf"][tf["named"]].tolist()
    assert len(shown["filter_name"]) == known + FILTERS
    width = shown["epistasis_end"] - shown["epistasis_start"]
    number = shown["epistasis_filters"].argmax(axis=1)
    np.testing.assert_array_equal(width, np.append(model.bank.widths, [9] * FILTERS)[number])
    for name in ("epistasis", "dfim", "attribution", "letter_attribution"):
        assert np.abs(np.nan_to_num(shown[name])).max() > 0
