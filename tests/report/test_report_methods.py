"""The report of a real small run that is scored by every method."""

import dataclasses

import numpy as np
import pytest

from satori_hpc import config
from satori_hpc.config.score import METHODS
from satori_hpc.data.sources.simulate import truth
from satori_hpc.evaluation.stage import evaluate
from satori_hpc.interactions import block, tables
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.stage import reduce
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import stage as report_stage
from satori_hpc.report.stage import report
from satori_hpc.run import execute, provenance
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.stage import score
from tests.fixtures import tiny
from tests.fixtures.scores import of_pairs
from tests.report.test_evaluate_report import name_filters

RUNTIME = Runtime(device="cpu", threads=1)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    score_settings = {
        "methods": tuple(METHODS),
        "max_examples": 60,
        "sites": config.Sites(max_sites=6, max_distance=0),
        "attribution": config.Attribution(steps=2),
        "dfim": config.Dfim(steps=1, baselines=1, mutations=1),
        "epistasis": config.Epistasis(mutations=2),
    }
    made = tiny.change(tiny_run("motifs", tmp_path_factory.mktemp("methods") / "run"), score=score_settings)
    name_filters(made, [motif.name for motif in truth.read_pool(made.truth)])
    for stage in (score, reduce, evaluate):
        summary = stage(made, RUNTIME)
        if stage is reduce:  # its record, where the report finds the cut-offs
            record = provenance.read(made.record("motifs"))
            provenance.write(made.record("reduce"), dataclasses.replace(record, stage="reduce", summary=summary))
    return made


def test_every_method_is_gathered_with_what_it_is_compared_with(run):
    data = report_stage.gather(run, RUNTIME)
    assert [method.name for method in data.methods] == list(METHODS)
    assert [method.statistic for method in data.methods] == ["contrasts-two-way"] * 2 + ["minimum-effect"] * 2
    assert [method.resolution for method in data.methods] == [run.config.model.pool] * 2 + [1, 1]
    assert all(method.cutoff is None for method in data.methods)
    for method in data.methods:
        store = score_store.open_complete(run.scores(method.name))
        assert method.estimate == store.estimate
        for group, sample in (("foreground", method.foreground), ("background", method.background)):
            every = of_pairs(store, group)
            np.testing.assert_array_equal(np.sort(sample), np.sort(every[~np.isnan(every)]))  # few enough for all
        assert all((distance >= 0).all() for _, distance in method.distances)
    assert (data.methods[3].foreground < 0).any()


def test_a_sample_is_bounded_and_spread(run, monkeypatch):
    store = score_store.open_complete(run.scores("attention"))
    every, units = of_pairs(store), Units.motifs(store.motifs)
    monkeypatch.setattr(block, "SAMPLE_SCORES", 200)
    monkeypatch.setattr(block, "SAMPLE_LAID_OUT", 20 * units.pairs)  # twenty examples
    sample = block.sample(store, units, "foreground")
    rows = np.unique(np.linspace(0, len(every) - 1, 20).round().astype(int))
    assert set(sample) <= set(every[rows].ravel())
    assert 50 < len(sample) <= 2 * 200


def test_the_page_shows_all_of_them(run):
    report(run, RUNTIME)
    page = run.report.read_text()
    for number, method in enumerate(METHODS):
        assert f'id="interactions-{number}"' in page
        called = tables.read_tf(run.interactions(method))["called"].sum()
        assert f"TF pairs called by {method}" in page
        assert f">{called}</dd>" in page
    assert page.count("The simulation implanted") == 1
    assert "twice the steps change attributions by" in page
    assert 'id="methods"' in page


def test_inspect_follows_all_of_it(run):
    """Scores of an example are those of its maps: what the page of a sequence shows is what was tested."""
    from satori_hpc import pairs
    from satori_hpc.report import inspect as report_inspect
    from satori_hpc.report.inspect import inspect

    for stage in ("prepare", "train", "motifs"):
        execute.execute(run, stage, RUNTIME)  # with records, as inspect wants them
    store = score_store.open_complete(run.scores("epistasis"))
    row = int(store.examples("foreground")[0])
    inspect(run, RUNTIME, str(row))
    found = report_inspect.read(run.inspections / f"{row}.npz")
    score_of = of_pairs(store)[0]
    members, values = found["epistasis_filters"], found["epistasis"]
    largest: dict[int, float] = {}
    for a, b in zip(*np.nonzero(np.triu(np.isfinite(values), 1)), strict=True):
        first, second = sorted((int(members[a].argmax()), int(members[b].argmax())))
        if first != second:
            number = int(pairs.index(first, second, filters=store.motifs))
            largest[number] = max(largest.get(number, 0.0), abs(float(values[a, b])))
    assert np.flatnonzero(~np.isnan(score_of)).tolist() == sorted(largest)
    for number, size in largest.items():
        assert abs(score_of[number]) == pytest.approx(size, rel=1e-3, abs=1e-5)
