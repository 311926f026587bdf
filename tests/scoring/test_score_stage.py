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
from satori_hpc.errors import ArtefactError, SatoriError
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import files, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS, MISSING, shard_examples_for
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.training import predictions
from satori_hpc.training import stage as training_stage
from tests.fixtures.scores import store_digest

RUNTIME = Runtime(device="cpu", threads=1)


def with_score(run: Run, **keys: Any) -> Run:
    changed = dataclasses.replace(run.config, score=dataclasses.replace(run.config.score, **keys))
    return Run(path=run.path, config=changed)


def make_multilabel(run: Run) -> np.ndarray:
    """Give a run two labels and twins in reversed order; the probabilities (E, 2)."""
    data = dataset.read(run.dataset)
    labels = np.stack([data.labels[:, 0], 1 - data.labels[:, 0]], axis=1)
    data = dataclasses.replace(data, labels=labels, targets=["a", "b"], task="multilabel")
    dataset.write(run.dataset, data)
    order = np.arange(data.examples)[::-1]
    twins = dataclasses.replace(
        data.take(order, tokens=data.tokens[order][:, ::-1].copy()), names=[data.names[row] for row in order]
    )
    dataset.write(run.background, twins)
    logits, _ = predictions.read(run.predictions)
    probability = np.random.default_rng(3).random((data.examples, 2), dtype=np.float32)
    predictions.write(run.predictions, logits=np.repeat(logits[:, :1], 2, axis=1), probability=probability)
    return probability


def test_the_summary_and_the_store_say_the_same(base: Run, trained: Run, expected: str) -> None:
    summary = scoring_stage.score(trained, RUNTIME)
    assert store_digest(trained) == expected
    assert summary["foreground_examples"] + summary["background_examples"] == 180
    found = summary["attention"]
    assert (found["pairs"], found["scored"], found["kept"], summary["ranks"]) == (66, found["partitions"], 0, 1)
    store = score_store.open_complete(trained.scores("attention"), verify=True)
    shards = {k: v for k, v in provenance.listing(trained.path, [store.path]).items() if "/c/" in k and "/score/" in k}
    assert shards
    for name, entry in shards.items():
        assert summary["files"][name] == {key: entry[key] for key in ("bytes", "sha256")}
    assert len(summary["files"]) == 3 * found["partitions"]
    model = trained.config.model
    assert [store.attributes[key] for key in ("pool", "padding", "width")] == [
        model.pool,
        model.width // 2,
        model.width,
    ]
    data = dataset.read(trained.dataset)
    letters = np.bincount(data.tokens[data.split == 0].ravel(), minlength=4)
    np.testing.assert_allclose(store.composition, letters / letters.sum(), rtol=1e-15)
    assert (store.attributes["settings"], store.estimate, store.pair_bytes) == ({}, {}, 8)
    assert store.attributes["selection"] == {
        "task": "binary",
        "split": "test",
        "use_all": True,
        "max_examples": 5000,
        "seed": 1,
    }
    again = scoring_stage.score(trained, RUNTIME)
    assert (again["attention"]["scored"], again["attention"]["kept"]) == (0, found["partitions"])
    assert again["attention"]["foreground"] == found["foreground"]
    assert store_digest(trained) == expected


def test_distance_and_position_stand_where_the_scores_do(trained: Run) -> None:
    scoring_stage.score(trained, RUNTIME)
    store = score_store.open_complete(trained.scores("attention"))
    for group in GROUPS:
        value, distance = store.read_pair_block(group, 0, store.pairs)
        position = store._read("position", group, 0, store.pairs)
        observed = ~np.isnan(value)
        assert observed.any()
        np.testing.assert_array_equal(observed, distance != MISSING)
        np.testing.assert_array_equal(observed, position != MISSING)
        other = position[observed].astype(int) + distance[observed]
        assert min(position[observed].min(), other.min()) >= 0
        assert max(position[observed].max(), other.max()) < 120
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
from satori_hpc.scoring.layout import ARRAYS
torch.set_num_threads(2)
torch.manual_seed(1)
model = models.build(Model(filters=64), length=300, targets=1, task="binary", entropy=0.0).eval()
tokens = torch.randint(0, 4, (40, 300), dtype=torch.uint8)
more = dict(settings=Score(), seed=1, composition=np.full(4, 0.25))
scorer = build("attention", model, threshold=torch.full((64,), 0.4), **more)
batch = Batch(tokens, torch.zeros((40, 2), dtype=torch.int64))
with Slices(scorer, size=scorer.slice_size, workers=int(sys.argv[1]), poke=lambda: None) as slices:
    out = {name: np.empty((40, 2016), dtype) for name, dtype in ARRAYS.items()}
    sites = slices.score(batch, out)
assert np.isfinite(out["score"]).any()
print(sites, *(hashlib.sha256(array.tobytes()).hexdigest() for array in out.values()))
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
    leftover = store.shard_path("foreground", "score", 1).parent / ".0.12345678.partial"
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
    other = store.shard_path("foreground", "score", 0).parent / ".0.abcdef01.partial"  # another task is writing it
    other.parent.mkdir(parents=True)
    other.write_bytes(b"half")
    assert scoring_stage.partitions(trained, RUNTIME, [1, 2]) == {"scored": 1, "kept": 1, "partitions": 4}
    assert other.exists()
    shard = store.shard_path("foreground", "distance", 1)
    shard.write_bytes(shard.read_bytes()[:-1])
    assert scoring_stage.partitions(trained, RUNTIME, [0, 1])["scored"] == 2
    found = scoring_stage.finalise(trained, RUNTIME)
    assert found["attention"]["kept"] == 4
    assert len(found["files"]) == 12
    assert store_digest(trained) == expected
    assert sum(1 for path in store.path.rglob("*") if path.is_file()) == told["files"]


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
    def broken(self: ScoreStore, group: str, partition: int, **more: Any) -> None:
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


def test_the_geometry_follows_from_filters_and_examples() -> None:
    many = 10**6
    assert shard_examples_for(200, many) == 2048
    assert shard_examples_for(505, many) == 256
    assert shard_examples_for(12, many) == 4096
    assert shard_examples_for(5000, many) == 64
    for filters in (100, 200, 300, 505):
        held = 8 * filters * (filters - 1) // 2 * shard_examples_for(filters, many)
        assert 96 * 2**20 < held <= 384 * 2**20
    assert shard_examples_for(200, 5000) == 128, "so that more than three ranks have work"
    assert shard_examples_for(200, 80_000) == 2048
    assert shard_examples_for(200, 10) == 64


def test_the_geometry_is_in_the_store(trained: Run) -> None:
    run = with_score(trained, shard_examples=0)
    told = scoring_stage.plan(run, RUNTIME, replace=False)["attention"]
    assert told["partitions"] == {"foreground": 2, "background": 2}
    assert told["shard_examples"] == {"foreground": 64, "background": 64}
    assert ScoreStore(run.scores("attention")).attributes["shard_examples"] == 64
    assert told["bytes_uncompressed"] == 8 * 66 * 4 * 64  # the last shard of a group is filled up


def test_with_several_labels_the_background_is_the_twins_by_name(trained: Run) -> None:
    run = with_score(trained, use_all=False, min_precision=0.5, label_probability=0.4)
    probability = make_multilabel(run)
    data = dataset.read(run.dataset)
    summary = scoring_stage.score(run, RUNTIME)
    store = score_store.open_complete(run.scores("attention"))
    foreground = store.examples("foreground")
    predicted = probability >= 0.4
    right = (predicted & (data.labels == 1)).sum(axis=1) >= 0.5 * np.maximum(predicted.sum(axis=1), 1)
    assert foreground.tolist() == [row for row in data.rows("test") if right[row]]
    assert summary["foreground_examples"] == summary["background_examples"] == len(foreground)
    assert store.examples("background").tolist() == (data.examples - 1 - foreground).tolist()
    assert set(store.selected().tolist()) == {0, 1}
    true_positive = store.true_positive()
    assert true_positive is not None
    np.testing.assert_array_equal(true_positive, (predicted & (data.labels == 1))[foreground])
    assert true_positive.sum(axis=1).min() >= 1
    assert store.attributes["selection"]["min_precision"] == 0.5
    twins = dataset.read(run.background)
    dataset.write(run.background, dataclasses.replace(twins, names=[f"other{row}" for row in range(twins.examples)]))
    with pytest.raises(ArtefactError, match=f"no shuffled twin of {len(foreground)} examples"):
        scoring_stage.score(run, RUNTIME)
    files.remove(run.background)
    with pytest.raises(ArtefactError, match="prepare .* --background"):
        scoring_stage.score(run, RUNTIME)


def test_the_twins_sequences_are_scored(trained: Run) -> None:
    make_multilabel(trained)
    scoring_stage.score(trained, RUNTIME)
    store = score_store.open_complete(trained.scores("attention"))
    twins = dataset.read(trained.background)
    work = scoring_stage._load(trained, RUNTIME)
    first, _ = store.partitions("background")[1]
    places = np.arange(first, first + 16)
    batch = work.batch(store, "background", places)
    rows = store.examples("background")[places]
    np.testing.assert_array_equal(batch.tokens.numpy(), twins.tokens[rows])
    assert batch.keys.tolist() == [[1, row] for row in rows]
    labels = store.true_positive()
    assert labels is not None
    assert batch.targets is not None
    np.testing.assert_array_equal(batch.targets.numpy(), labels[places])
    part = work.scorers["attention"](batch)
    np.testing.assert_array_equal(store.read_scores("background", 0, 66)[first : first + 16], part.score.numpy())


class Half(World):
    """The second of two processes that share the work, or the first; they run one after the other here."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size = rank, 2
        self.told: list[str] = []
        self.poked = 0

    def shares(self, items: Any, *, schedule: str) -> Any:
        yield from items[self.rank :: self.size]

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def doing(self, what: str) -> None:
        self.told.append(what)

    def poke(self) -> None:
        self.poked += 1


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
        assert world.poked >= 2
        assert len(store_of(store.path).pending()) == (2 if rank == 0 else 0)
    store.finalise()
    score_store.open_complete(store.path, verify=True)
