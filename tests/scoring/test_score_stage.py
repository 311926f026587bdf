"""The score stage: the same bytes however it is run, within the memory it may have, and clear words when it cannot."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from satori_hpc.data import dataset
from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.interactions.block import laid_out
from satori_hpc.interactions.site_pairs import MISSING_DISTANCE, Units
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import files, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS, example_bytes, shard_examples_for
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.training import predictions
from satori_hpc.training import stage as training_stage
from tests.fixtures import scores as fixture
from tests.fixtures.scores import of_pairs, starts_of, store_digest
from tests.fixtures.whole import read as read_whole

RUNTIME = Runtime(device="cpu", threads=1)


def with_score(run: Run, **keys: Any) -> Run:
    changed = dataclasses.replace(run.config, score=dataclasses.replace(run.config.score, **keys))
    return Run(path=run.path, config=changed)


def make_multilabel(run: Run) -> np.ndarray:
    """Give a run two labels and controls in reversed order; the probabilities (E, 2)."""
    data = read_whole(run.dataset)
    labels = np.stack([data.labels[:, 0], 1 - data.labels[:, 0]], axis=1)
    data = dataclasses.replace(data, labels=labels, targets=["a", "b"], task="multilabel")
    dataset.write(run.dataset, data)
    order = np.arange(len(data))[::-1]
    controls = Dataset(run.dataset).take(order)
    dataset.write(run.background, dataclasses.replace(controls, tokens=data.tokens[order][:, ::-1].copy()))
    logits, _ = predictions.read(run.predictions)
    probability = np.random.default_rng(3).random((len(data), 2), dtype=np.float32)
    both = np.repeat(logits[:, :1], 2, axis=1)
    predictions.write(run.predictions, logits=both, probability=probability, targets=data.targets)
    return probability


def test_the_summary_and_the_store_say_the_same(base: Run, trained: Run, expected: str) -> None:
    summary = scoring_stage.score(trained, RUNTIME)
    assert store_digest(trained) == expected
    assert summary["foreground_examples"] + summary["background_examples"] == 180
    found = summary["attention"]
    assert (found["motifs"], found["scored"], found["kept"], summary["ranks"]) == (12, found["partitions"], 0, 1)
    store = score_store.open_complete(trained.scores("attention"), verify=True)
    shards = {k: v for k, v in provenance.listing(trained.path, [store.path]).items() if "/c/" in k and "/value/" in k}
    assert shards
    for name, entry in shards.items():
        assert summary["files"][name] == {key: entry[key] for key in ("bytes", "sha256")}
    assert len(summary["files"]) == 5 * found["partitions"]
    model = trained.config.model
    assert (store.pool, store.motifs, store.directed, store.choose) == (model.pool, 12, False, "largest")
    assert store.widths().tolist() == [model.kernel_size] * 12
    for group in GROUPS:
        parts = [store.read(group, partition) for partition in range(len(store.partitions(group)))]
        sites, places = np.concatenate([part.counts for part in parts]).mean(axis=0)
        assert found[group]["mean_sites_per_sequence"] == pytest.approx(sites, abs=1e-3)
        assert found[group]["mean_places_per_sequence"] == pytest.approx(places, abs=1e-3)
    data = read_whole(trained.dataset)
    letters = np.bincount(data.tokens[data.split == 0].ravel(), minlength=4)
    np.testing.assert_allclose(store.composition, letters / letters.sum(), rtol=1e-15)
    assert (store.attributes["settings"], store.estimate) == ({}, {})
    assert store.attributes["selection"] == {
        "task": "binary",
        "split": "test",
        "include_mispredicted": True,
        "max_examples": 5000,
        "seed": 1,
    }
    again = scoring_stage.score(trained, RUNTIME)
    assert (again["attention"]["scored"], again["attention"]["kept"]) == (0, found["partitions"])
    assert again["attention"]["foreground"] == found["foreground"]
    assert store_digest(trained) == expected


def test_sites_places_and_values_are_those_of_the_model(trained: Run) -> None:
    """Every site is an active filter; its place is where its pooled bin starts; values lie between all places."""
    scoring_stage.score(trained, RUNTIME)
    store = score_store.open_complete(trained.scores("attention"))
    work = scoring_stage._load(trained, RUNTIME)
    model, threshold = work.model, work.scorers["attention"].threshold  # type: ignore[attr-defined]
    for group, partition in store.items():
        first, last = store.partitions(group)[partition]
        found = store.read(group, partition)
        with torch.inference_mode():
            pooled = model.pooled(work.batch(store, group, np.arange(first, last)).tokens)
        example, motif, bin = np.nonzero((pooled > threshold[:, None]).numpy())
        of_site = np.repeat(np.arange(last - first), found.counts[:, 0])
        start = bin * model.pool - model.padding
        np.testing.assert_array_equal(np.stack([of_site, *found.site[:, :2].T]), np.stack([example, motif, start]))
        begin = np.cumsum(found.counts[:, 1]) - found.counts[:, 1]
        np.testing.assert_array_equal(found.place[begin[of_site] + found.site[:, 3]], start)
        assert (found.strength > 1).all()
        places = found.counts[:, 1].astype(int)
        assert len(found.value) == (places * (places - 1) // 2).sum()
        assert np.isfinite(found.value).all()


def test_distance_stands_where_the_scores_do(trained: Run) -> None:
    scoring_stage.score(trained, RUNTIME)
    store = score_store.open_complete(trained.scores("attention"))
    units, padding = Units.motifs(store.motifs), trained.config.model.kernel_size // 2
    for group in GROUPS:
        for _, block in laid_out(store, units, group, 0, units.pairs):
            distance, position = block.distance(), starts_of(block)
            observed = ~np.isnan(block.score)
            assert observed.any()
            np.testing.assert_array_equal(observed, distance != MISSING_DISTANCE)
            np.testing.assert_array_equal(observed, position != MISSING_DISTANCE)
            other = position[observed].astype(int) + distance[observed]
            assert min(position[observed].min(), other.min()) >= -padding
            assert max(position[observed].max(), other.max()) < 120 - padding
            assert (distance[observed] < 0).any()


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_byte(trained: Run, expected: str, threads: int) -> None:
    before = torch.get_num_threads()
    scoring_stage.score(trained, dataclasses.replace(RUNTIME, threads=threads))
    assert store_digest(trained) == expected
    assert torch.get_num_threads() == before


def test_threads_of_a_larger_network_do_not_change_a_bit() -> None:
    """Where the last bits do follow from threads and batches, unlike in the tiny run."""
    code = """
import hashlib, sys
import numpy as np, torch
from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.config import Score
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.registry import build
from satori_hpc.scoring.batches import Slices
torch.set_num_threads(2)
torch.manual_seed(1)
model = models.build(Model(num_filters=64), length=300, targets=1, task="binary", entropy=0.0).eval()
tokens = torch.randint(0, 4, (40, 300), dtype=torch.uint8)
more = dict(settings=Score(), seed=1, composition=np.full(4, 0.25))
scorer = build("attention", model, threshold=torch.full((64,), 0.4), **more)
batch = Batch(tokens, torch.zeros((40, 2), dtype=torch.int64))
with Slices(scorer, size=scorer.slice_size, workers=int(sys.argv[1]), progress=lambda: None) as slices:
    out = slices.score(batch).arrays()
assert len(out["counts"]) == 40 and np.isfinite(out["value"]).any()
print(*(hashlib.sha256(array.tobytes()).hexdigest() for array in out.values()))
"""
    found = {
        subprocess.run([sys.executable, "-c", code, workers], capture_output=True, text=True, check=True).stdout
        for workers in ("1", "3")
    }
    assert len(found) == 1


@pytest.mark.parametrize("survived", [0, 2])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    trained: Run, expected: str, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    honest, written = ScoreStore.stage_partition, []

    def kill(self: ScoreStore, *args: Any, **more: Any) -> Callable[[], None]:
        if len(written) == survived:
            raise KeyboardInterrupt
        written.append(1)
        return honest(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ScoreStore, "stage_partition", kill)
        with pytest.raises(KeyboardInterrupt):
            scoring_stage.score(trained, RUNTIME)
    store = ScoreStore(trained.scores("attention"))
    assert not store.complete
    leftover = store.shard_path("foreground", "value", 1).parent / ".0.12345678.partial"
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"half a shard")
    found = scoring_stage.score(trained, dataclasses.replace(RUNTIME, threads=2))["attention"]
    assert found["kept"] == survived
    assert not leftover.exists()
    assert store_digest(trained) == expected


def test_a_job_array_ends_in_the_same_bytes(trained: Run, expected: str) -> None:
    told = scoring_stage.plan(trained, RUNTIME, replace=False)["attention"]
    number = sum(told["partitions"].values())
    assert number == 4
    with pytest.raises(ArtefactError, match=r"4 partitions are not done(.|\n)*foreground partition 0"):
        scoring_stage.finalise(trained, RUNTIME)
    assert scoring_stage.partitions(trained, RUNTIME, [2, 3]) == {"scored": 2, "kept": 0, "partitions": 4}
    again = scoring_stage.plan(trained, RUNTIME, replace=False)["attention"]
    seen = {key for key in told if key.startswith("memory_")}  # read off this process, which has grown
    assert {**again, **dict.fromkeys(seen)} == {**told, **dict.fromkeys(seen)}
    store = ScoreStore(trained.scores("attention"))
    other = store.shard_path("foreground", "value", 0).parent / ".0.abcdef01.partial"  # another task is writing it
    other.parent.mkdir(parents=True)
    other.write_bytes(b"half")
    assert scoring_stage.partitions(trained, RUNTIME, [1, 2]) == {"scored": 1, "kept": 1, "partitions": 4}
    assert other.exists()
    shard = store.shard_path("foreground", "place", 1)
    shard.write_bytes(shard.read_bytes()[:-1])
    assert scoring_stage.partitions(trained, RUNTIME, [0, 1])["scored"] == 2
    found = scoring_stage.finalise(trained, RUNTIME)
    assert found["attention"]["kept"] == 4
    assert len(found["files"]) == 20
    assert store_digest(trained) == expected
    assert sum(1 for path in store.path.parent.glob("attention.*/**/*") if path.is_file()) == told["files"]


def test_the_parts_of_a_job_array_know_their_plan(trained: Run) -> None:
    with pytest.raises(ArtefactError, match=r"no store to score into.*--plan"):
        scoring_stage.partitions(trained, RUNTIME, [0])
    scoring_stage.plan(trained, RUNTIME, replace=False)
    with pytest.raises(SatoriError, match="no partition 4, 9: those of .* are 0 to 3"):
        scoring_stage.partitions(trained, RUNTIME, [0, 4, 9])
    scoring_stage.partitions(trained, RUNTIME, [0])
    other = with_score(trained, split="valid")
    for call in (lambda: scoring_stage.partitions(other, RUNTIME, [0]), lambda: scoring_stage.finalise(other, RUNTIME)):
        with pytest.raises(ArtefactError, match="another plan or another model.*--plan --force"):
            call()
    with pytest.raises(ArtefactError, match="with 1 partitions done; .*--plan --force"):
        scoring_stage.plan(other, RUNTIME, replace=False)
    assert scoring_stage.partitions(trained, RUNTIME, [0])["kept"] == 1
    scoring_stage.plan(other, RUNTIME, replace=True)
    assert scoring_stage.partitions(other, RUNTIME, [0])["scored"] == 1


def test_another_model_makes_the_store_anew_and_is_refused_in_parts(trained: Run, expected: str) -> None:
    scoring_stage.score(trained, RUNTIME)
    moved = Run(path=trained.path, config=dataclasses.replace(trained.config, seed=2))
    training_stage.train(moved, RUNTIME)
    with pytest.raises(ArtefactError, match="another plan or another model"):
        scoring_stage.partitions(moved, RUNTIME, [0])
    assert store_digest(trained) == expected
    assert scoring_stage.score(moved, RUNTIME)["attention"]["kept"] == 0
    assert store_digest(trained) != expected


def test_what_is_not_about_memory_is_not_retried_and_says_where(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ScoreStore, *args: Any, **more: Any) -> None:
        raise ValueError("a bug of ours")

    monkeypatch.setattr(ScoreStore, "stage_partition", broken)
    with pytest.raises(ValueError, match="a bug of ours") as caught:
        scoring_stage.score(trained, RUNTIME)
    assert caught.value.__notes__ == ["while scoring, foreground partition 0 of attention"]


@pytest.mark.parametrize("number", [0, 3])
def test_what_goes_wrong_on_the_way_to_disk_names_the_partition_it_was(
    trained: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    honest, staged = ScoreStore.stage_partition, []

    def full(self: ScoreStore, *args: Any, **more: Any) -> Callable[[], None]:
        finish = honest(self, *args, **more)
        staged.append(args)

        def refuse() -> None:
            raise SatoriError("the disk is full")

        return refuse if len(staged) == number + 1 else finish

    monkeypatch.setattr(ScoreStore, "stage_partition", full)
    where = ["foreground partition 0", "foreground partition 1", "background partition 0", "background partition 1"]
    with pytest.raises(SatoriError, match=f"scoring, {where[number]} of attention: the disk is full"):
        scoring_stage.score(trained, RUNTIME)
    store = ScoreStore(trained.scores("attention"))
    assert store.complaint(*staged[number][:2]) == "not written"
    assert not store.complete


def test_the_geometry_follows_from_sites_places_and_examples() -> None:
    many = 10**6
    assert example_bytes((6000, 30)) == 8 + 12 * 6000 + 2 * 30 + 4 * 435
    assert example_bytes((24, 24), effects=1) == 8 + 12 * 24 + 6 * 24 + 4 * 276
    assert example_bytes((24, 24), directed=True, extras=1) == 8 + 12 * 24 + 2 * 24 + 2 * 4 * 576
    assert shard_examples_for(many, 2**16) == 4096
    assert shard_examples_for(many, 2**18) == 1024
    assert shard_examples_for(many, 2**18 - 1) == 1024
    assert shard_examples_for(many, 10) == 4096
    assert shard_examples_for(many, 2**26) == 64
    for each in (100_000, 300_000, 1_000_000, 5_000_000):
        held = each * shard_examples_for(many, each)
        assert 192 * 2**20 < held <= 384 * 2**20
    assert shard_examples_for(5000, 2**18) == 128, "so that more than three ranks have work"
    assert shard_examples_for(80_000, 2**16) == 2048
    assert shard_examples_for(10, 2**16) == 64


def test_the_geometry_is_in_the_store(trained: Run) -> None:
    run = with_score(trained, shard_examples=0)
    told = scoring_stage.plan(run, RUNTIME, replace=False)["attention"]
    assert told["partitions"] == {"foreground": 2, "background": 2}
    assert told["shard_examples"] == {"foreground": 64, "background": 64}
    assert ScoreStore(run.scores("attention")).attributes["shard_examples"] == 64
    model = run.config.model
    bins = 120 // model.pool
    each = 8 + 12 * 12 * bins + 2 * bins + 4 * bins * (bins - 1) // 2  # if every filter is active in every bin
    assert told["bytes_at_most"] == 4 * 64 * each


def test_with_several_labels_the_background_is_the_shuffled_controls_by_name(trained: Run) -> None:
    run = with_score(trained, include_mispredicted=False, min_precision=0.5, label_probability=0.4)
    probability = make_multilabel(run)
    data = read_whole(run.dataset)
    summary = scoring_stage.score(run, RUNTIME)
    store = score_store.open_complete(run.scores("attention"))
    foreground = store.examples("foreground")
    predicted = probability >= 0.4
    right = (predicted & (data.labels == 1)).sum(axis=1) >= 0.5 * np.maximum(predicted.sum(axis=1), 1)
    assert foreground.tolist() == [row for row in data.rows("test") if right[row]]
    assert summary["foreground_examples"] == summary["background_examples"] == len(foreground)
    assert store.examples("background").tolist() == (len(data) - 1 - foreground).tolist()
    assert set(store.selected().tolist()) == {0, 1}
    true_positive = store.true_positive()
    assert true_positive is not None
    np.testing.assert_array_equal(true_positive, (predicted & (data.labels == 1))[foreground])
    assert true_positive.sum(axis=1).min() >= 1
    assert store.attributes["selection"]["min_precision"] == 0.5
    controls = read_whole(run.background)
    dataset.write(run.background, dataclasses.replace(controls, names=[f"other{row}" for row in range(len(controls))]))
    with pytest.raises(ArtefactError, match=f"no shuffled control of {len(foreground)} examples"):
        scoring_stage.score(run, RUNTIME)
    files.remove(run.background)
    with pytest.raises(ArtefactError, match="prepare .* --background"):
        scoring_stage.score(run, RUNTIME)


def test_the_controls_sequences_are_scored(trained: Run) -> None:
    make_multilabel(trained)
    scoring_stage.score(trained, RUNTIME)
    store = score_store.open_complete(trained.scores("attention"))
    controls = read_whole(trained.background)
    work = scoring_stage._load(trained, RUNTIME)
    first, _ = store.partitions("background")[1]
    places = np.arange(first, first + 16)
    batch = work.batch(store, "background", places)
    rows = store.examples("background")[places]
    np.testing.assert_array_equal(batch.tokens.numpy(), controls.tokens[rows])
    assert batch.keys.tolist() == [[1, row] for row in rows]
    labels = store.true_positive()
    assert labels is not None
    assert batch.targets is not None
    np.testing.assert_array_equal(batch.targets.numpy(), labels[places])
    part = work.scorers["attention"](batch)
    np.testing.assert_array_equal(
        of_pairs(store, "background")[first : first + 16], fixture.laid_out(part, work.scorers["attention"], 12).score
    )


class Half(World):
    """The second of two processes that share the work, or the first; they run one after the other here."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size = rank, 2
        self.told: list[str] = []
        self.progressed = 0

    def run_on_root(self, function: Any) -> Any:
        return function()

    def my_items(self, items: Any, *, schedule: str) -> Any:
        yield from items[self.rank :: self.size]

    def all_gather(self, value: Any) -> list[Any]:
        return [value]

    def set_status(self, what: str) -> None:
        self.told.append(what)

    def progress(self) -> None:
        self.progressed += 1


def test_a_share_is_scored_by_each_process_which_says_what_it_does(trained: Run) -> None:
    store_of = ScoreStore
    plans = scoring_stage.score_plan.make(trained)
    store = score_store.create_or_resume(trained.scores("attention"), plans[0])
    work = scoring_stage._load(trained, RUNTIME)
    for rank in (0, 1):
        world = Half(rank)
        scoring_stage._fill(store, store.items(), work, dataclasses.replace(RUNTIME, world=world))
        assert world.told == [
            *(f"scoring, {group} partition {k} of attention" for group, k in store.items()[rank::2]),
            "",
        ]
        assert world.progressed >= 2
        assert len(store_of(store.path).pending()) == (2 if rank == 0 else 0)
    store.finalise()
    score_store.open_complete(store.path, verify=True)
