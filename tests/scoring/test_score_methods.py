"""Several methods in one run: each has its store, its arrays and its settings, and none disturbs another."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.interactions.block import laid_out
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files
from satori_hpc.run.layout import Run
from satori_hpc.scoring import layout as score_layout
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.tools.verify import verify
from tests.fixtures.scores import take
from tests.fixtures.tiny import change

RUNTIME = Runtime(device="cpu", threads=1)
METHODS = ("attention", "epistasis", "dfim")
SMALL = {
    "methods": METHODS,
    "split": "valid",
    "sites": config.Sites(max_sites=4),
    "dfim": config.Dfim(steps=2, baselines=1, mutations=1, null=True),
    "epistasis": config.Epistasis(mutations=2),
}


def content(run: Run, method: str) -> dict[str, bytes]:
    """Every file of a score store, and its markers."""
    found = run.scores(method).parent.glob(f"{method}.*/**/*")
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in found if path.is_file()}


def stores(run: Run) -> dict[str, dict[str, bytes]]:
    return {method: content(run, method) for method in METHODS}


@pytest.fixture(scope="module")
def several(base: Run) -> Run:
    """The tiny run with three methods, not scored."""
    run = change(base, score=SMALL)
    shutil.rmtree(run.path / "scores", ignore_errors=True)
    return run


@pytest.fixture(scope="module")
def whole(several: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy, scored by all of them; never changed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(several.path, path, ignore=shutil.ignore_patterns("scores"))
    run = Run.open(path)
    for stage in ("prepare", "train", "motifs", "score"):
        execute.execute(run, stage, RUNTIME)
    return run


@pytest.fixture
def run(several: Run, tmp_path: Path) -> Run:
    """A copy of the run that is not scored."""
    shutil.copytree(several.path, tmp_path / "run", ignore=shutil.ignore_patterns("scores"))
    return Run.open(tmp_path / "run")


@pytest.fixture
def scored(whole: Run, tmp_path: Path) -> Run:
    """A copy of the run that is scored."""
    shutil.copytree(whole.path, tmp_path / "scored")
    return Run.open(tmp_path / "scored")


def test_each_method_has_its_arrays_and_settings(whole: Run) -> None:
    found = {method: score_store.open_complete(whole.scores(method), verify=True) for method in METHODS}
    assert {method: list(store.arrays)[5:] for method, store in found.items()} == {
        "attention": [],
        "epistasis": ["single"],
        "dfim": ["null", "single"],
    }
    assert [store.directed for store in found.values()] == [False, False, True]
    assert [store.choose for store in found.values()] == ["largest", "largest-size", "largest-size"]
    between = {"attention": 0, "epistasis": 4 * 6, "dfim": 2 * 4 * 16}  # of 4 places, in one direction or both
    for method in ("epistasis", "dfim"):
        one_each = 8 + 12 * 4 + 2 * 4 + 4 * 4
        assert found[method].example_bytes == one_each + between[method]
    assert [store.attributes["pool"] for store in found.values()] == [whole.config.model.pool, 1, 1]
    settings = {method: store.attributes["settings"] for method, store in found.items()}
    assert settings["attention"] == {}
    assert settings["epistasis"] == {
        "sites": toml.to_plain(whole.config.score.sites),
        "epistasis": toml.to_plain(whole.config.score.epistasis),
        "precision": "float32",
        "seed": 1,
    }
    assert settings["dfim"].keys() == {"sites", "dfim", "precision", "seed"}
    assert len({store.attributes["composition"].__repr__() for store in found.values()}) == 1


def test_the_extra_arrays_stand_where_the_scores_do(whole: Run) -> None:
    store = score_store.open_complete(whole.scores("dfim"))
    units = Units.motifs(store.motifs)
    for group, partition in store.items():
        found = store.read(group, partition)
        begin = 0
        for _, places in found.counts.tolist():
            value = found.value[begin : begin + places**2].reshape(places, places)
            begin += places**2
            there = ~np.isnan(value)
            assert not there.diagonal().any()
            np.testing.assert_array_equal(there, there.T)  # no pair is none in both directions
        np.testing.assert_array_equal(np.isnan(found.value), np.isnan(found.extras["null"]))
    for group in GROUPS:
        for _, block in laid_out(store, units, group, 0, units.pairs):
            observed = ~np.isnan(block.score)
            np.testing.assert_array_equal(observed, ~np.isnan(block.between("null")))
            assert (block.score[observed] >= 0).all()
            assert observed.any() or len(block.score) < 10


def test_each_site_has_the_effect_of_mutating_it_alone(whole: Run) -> None:
    store = score_store.open_complete(whole.scores("epistasis"))
    for group, partition in store.items():
        found = store.read(group, partition)
        assert len(found.effects["single"]) == len(found.place)
        assert np.isfinite(found.effects["single"]).all()
    sizes = np.concatenate(
        [store.read("foreground", k).effects["single"] for k in range(len(store.partitions("foreground")))]
    )
    told = json.loads(whole.record("score").read_text())["summary"]["epistasis"]["foreground"]["mean_single"]
    assert told == pytest.approx(np.abs(sizes.astype(np.float64)).mean(), rel=1e-9)


def test_a_store_does_not_depend_on_what_else_is_scored_or_on_threads(whole: Run, run: Run) -> None:
    wanted = stores(whole)
    scoring_stage.score(run, dataclasses.replace(RUNTIME, threads=3))
    assert stores(run) == wanted
    files.remove(run.scores("dfim").parent)
    alone = Run(
        path=run.path,
        config=dataclasses.replace(run.config, score=dataclasses.replace(run.config.score, methods=("epistasis",))),
    )
    scoring_stage.score(alone, RUNTIME)
    assert content(alone, "epistasis") == wanted["epistasis"]


def test_the_estimate_is_that_of_examples_spread_over_the_foreground(whole: Run) -> None:
    work = scoring_stage._load(whole, RUNTIME)
    for method in METHODS:
        store = score_store.open_complete(whole.scores(method))
        total = len(store.examples("foreground"))
        batch = work.batch(store, "foreground", np.array([0, (total - 1) // 3, 2 * (total - 1) // 3, total - 1]))
        assert batch.keys[:, 1].tolist() == [
            store.examples("foreground")[place] for place in (0, (total - 1) // 3, 2 * (total - 1) // 3, total - 1)
        ]
        assert store.estimate == work.scorers[method].estimate(batch)
        assert bool(store.estimate) == (method != "attention")
        assert all(np.isfinite(value) for value in store.estimate.values())
    record = json.loads(whole.record("score").read_text())["summary"]
    assert record["dfim"]["estimate"] == store.estimate
    assert "estimate" not in record["attention"]


@pytest.mark.parametrize(
    ("section", "keys", "anew"),
    [
        ("epistasis", {"mutations": 3}, {"epistasis"}),
        ("dfim", {"steps": 3}, {"dfim"}),
        ("sites", {"max_sites": 3}, {"dfim", "epistasis"}),
        ("attribution", {"steps": 7}, set()),
    ],
)
def test_a_changed_table_makes_only_the_stores_anew_that_follow_from_it(
    scored: Run, whole: Run, section: str, keys: dict[str, Any], anew: set[str]
) -> None:
    changed = change(scored, score={section: dataclasses.replace(getattr(scored.config.score, section), **keys)})
    done = execute.execute(changed, "score", RUNTIME)
    assert done is not None
    assert {method for method in METHODS if done[method]["scored"]} == anew
    assert {method for method in METHODS if content(changed, method) != content(whole, method)} == anew
    for method in METHODS:
        assert done[method]["scored"] + done[method]["kept"] == len(ScoreStore(changed.scores(method)).items())


def test_a_job_array_numbers_partitions_over_the_methods(run: Run, whole: Run) -> None:
    told = scoring_stage.plan(run, RUNTIME, replace=False)
    sizes = [sum(told[method]["partitions"].values()) for method in METHODS]
    assert [told[method]["first_partition"] for method in METHODS] == [0, sizes[0], sizes[0] + sizes[1]]
    with pytest.raises(SatoriError, match=f"0 to {sum(sizes) - 1}"):
        scoring_stage.partitions(run, RUNTIME, [sum(sizes)])
    assert scoring_stage.partitions(run, RUNTIME, [0, sizes[0]])["scored"] == 2
    for method, done in zip(METHODS, (1, 1, 0), strict=True):
        assert ScoreStore(run.scores(method)).markers_there() == done
    scoring_stage.partitions(run, RUNTIME, list(range(sum(sizes))))
    found = scoring_stage.finalise(run, RUNTIME)
    assert found["epistasis"]["estimate"] == score_store.open_complete(whole.scores("epistasis")).estimate
    assert stores(run) == stores(whole)
    for method in METHODS:
        assert told[method]["files"] == len(content(run, method))


def test_methods_may_have_other_numbers_of_partitions(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with many filters, where the bytes of an example decide how many a partition has."""
    run = change(run, score={"shard_examples": 0})
    monkeypatch.setattr(score_layout, "SHARD_BYTES", 2**11)  # 10 examples of dfim, 19 of epistasis
    monkeypatch.setattr(score_layout, "SHARD_EXAMPLES", (8, 4096))
    monkeypatch.setattr(score_layout, "PARTITIONS", 1)
    execute.execute(run, "prepare", RUNTIME)
    for stage in ("train", "motifs", "score"):
        execute.execute(run, stage, RUNTIME)
    found = {method: ScoreStore(run.scores(method)) for method in METHODS}
    sizes = {method: len(store.items()) for method, store in found.items()}
    assert sizes["attention"] == sizes["dfim"] > sizes["epistasis"]
    last = found["dfim"].items()[-1]
    shard = found["dfim"].shard_path(last[0], "null", last[1])
    shard.unlink()
    report = verify(run, RUNTIME)
    number = sum(sizes.values()) - 1
    assert report.commands() == [f"satori-hpc score {run.path} --partition {number}"]
    assert scoring_stage.partitions(run, RUNTIME, [number])["scored"] == 1
    assert verify(run, RUNTIME).findings == ()


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_damaged_store_of_one_method_is_repaired_and_the_others_stay(scored: Run, whole: Run, method: str) -> None:
    found = {name: ScoreStore(scored.scores(name)) for name in METHODS}
    place = METHODS.index(method)
    number = sum(len(found[name].items()) for name in METHODS[:place])
    shard = found[method].shard_path("foreground", "value", 0)
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    before = {name: (scored.score_markers(name) / "foreground-0.json").stat().st_mtime_ns for name in METHODS}
    report = verify(scored, RUNTIME)
    assert [item.artefact for item in report.findings] == [f"scores/{method}.zarr, foreground partition 0"]
    assert report.findings[0].partition == number
    assert scoring_stage.partitions(scored, RUNTIME, [number]) == {
        "scored": 1,
        "kept": 0,
        "partitions": sum(len(store.items()) for store in found.values()),
    }
    assert stores(scored) == stores(whole)
    after = {name: (scored.score_markers(name) / "foreground-0.json").stat().st_mtime_ns for name in METHODS}
    assert {name for name in METHODS if before[name] != after[name]} == {method}


def test_without_one_of_the_stores_nobody_knows_the_numbers(scored: Run, whole: Run) -> None:
    """Then the stage goes on as a whole: it scores what is missing and keeps the rest."""
    files.remove(scored.scores("attention"))
    ScoreStore(scored.scores("dfim")).shard_path("background", "null", 0).unlink()
    report = verify(scored, RUNTIME)
    mine = [item for item in report.findings if "dfim" in item.artefact]
    command = f"rm {scored.record('score')} && satori-hpc score {scored.path}"
    assert [(item.partition, item.command) for item in mine] == [(None, command)]
    with pytest.raises(ArtefactError, match="no store to score into"):
        scoring_stage.partitions(scored, RUNTIME, [0])
    scored.record("score").unlink()
    done = execute.execute(scored, "score", RUNTIME)
    assert done is not None
    assert [done[method]["scored"] for method in METHODS][1:] == [0, 1]
    assert stores(scored) == stores(whole)


def test_a_damaged_estimate_is_found_and_made_again(scored: Run, whole: Run) -> None:
    closing = scored.score_markers("epistasis") / "complete.json"
    stat = closing.stat()
    closing.write_bytes(closing.read_bytes()[::-1])
    os.utime(closing, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = verify(scored, RUNTIME)
    assert [item.artefact for item in report.findings] == ["scores/epistasis.markers/complete.json"]
    scored.record("score").unlink()
    done = execute.execute(scored, "score", RUNTIME)
    assert done is not None
    assert not any(done[method]["scored"] for method in METHODS)
    assert stores(scored) == stores(whole)


def test_memory_follows_from_the_method(run: Run) -> None:
    told = scoring_stage.plan(run, RUNTIME, replace=False)
    scorers = scoring_stage._load(run, RUNTIME).scorers
    for method in METHODS:
        assert told[method]["memory_per_rank"]["slices"] == (
            scorers[method].slice_size * scorers[method].bytes_per_sequence
        )
    need = told["dfim"]["memory_per_rank"]
    only = change(run, score={"methods": ("dfim",)})
    limit = need["total"] - need["slices"] + 2 * scorers["dfim"].bytes_per_sequence
    less = scoring_stage.plan(only, dataclasses.replace(RUNTIME, memory=limit + memory.parse("64M")), replace=False)[
        "dfim"
    ]
    assert less["slice"] <= told["dfim"]["slice"]
    assert less["memory_per_rank"]["total"] <= limit + memory.parse("64M")


def test_draws_are_keyed_by_side_and_row(run: Run) -> None:
    """The same letters score alike on the same side and row only: nothing else shapes what is drawn."""
    for plan in score_plan.make(run):
        score_store.create_or_resume(run.scores(plan.method), plan)
    work = scoring_stage._load(run, RUNTIME)
    store = ScoreStore(run.scores("epistasis"))
    batch = work.batch(store, "foreground", np.arange(6))
    assert batch.keys.tolist() == [[0, row] for row in store.examples("foreground")[:6]]
    assert batch.targets is None
    found = work.scorers["epistasis"](batch)
    assert len(found.value) > 6
    backwards = work.scorers["epistasis"](work.batch(store, "foreground", np.arange(6)[::-1]))
    for name, values in take(backwards, list(range(6))[::-1]).arrays().items():
        np.testing.assert_allclose(values, found.arrays()[name], rtol=1e-4, atol=1e-6)
    moved = dataclasses.replace(batch, keys=batch.keys + torch.tensor([1, 0]))
    other = work.scorers["epistasis"](moved)
    np.testing.assert_array_equal(other.site, found.site)
    for name in ("value", "single"):
        mine, theirs = found.arrays()[name], other.arrays()[name]
        np.testing.assert_array_equal(np.isnan(theirs), np.isnan(mine))
        there = ~np.isnan(mine)
        assert there.any()
        assert not np.allclose(theirs[there], mine[there], rtol=1e-4)
