"""The score store: what is written is read back, and nothing unfinished or damaged passes for whole."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from satori_hpc import pairs
from satori_hpc.errors import ArtefactError
from satori_hpc.run import provenance
from satori_hpc.scoring import layout as score_layout
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import MISSING, Marker, Plan
from satori_hpc.scoring.store import ScoreStore

FILTERS = 9  # 36 pairs: not a multiple of the inner chunk


def make_plan(**changes: Any) -> Plan:
    plan = Plan(
        method="attention",
        filters=FILTERS,
        foreground=np.array([1, 2, 5, 8, 9, 11, 12]),
        background=np.array([0, 3, 4, 20]),
        background_source="dataset",
        dataset_examples=21,
        shard_examples=3,
        chunk_pairs=8,
        digests={"model": "m1"},
    )
    return dataclasses.replace(plan, **changes)


def content(group: str, partition: int, rows: int) -> dict[str, Any]:
    rng = np.random.default_rng([7, score_store.GROUPS.index(group), partition])
    score = rng.random((rows, pairs.count(FILTERS)), dtype=np.float32)
    missing = rng.random(score.shape) < 0.5
    score[missing] = np.nan
    distance = rng.integers(-300, 300, score.shape).astype(np.int16)
    position = rng.integers(0, 300, score.shape).astype(np.int16)
    distance[missing] = position[missing] = MISSING
    return {"score": score, "distance": distance, "position": position, "sites": 10 * rows}


def fill(store: ScoreStore, *, only: int | None = None) -> None:
    for group, partition in store.pending()[:only]:
        first, last = store.partitions(group)[partition]
        store.write_partition(group, partition, **content(group, partition, last - first))


def finished(path: Path) -> ScoreStore:
    store = score_store.create_or_resume(path, make_plan())
    fill(store)
    store.finalise()
    return score_store.open_complete(path)


def shard(path: Path) -> Path:
    return path / "foreground" / "score" / "c" / "1" / "0"


def test_what_is_written_is_read_back_by_blocks_of_pairs(tmp_path: Path) -> None:
    store = finished(tmp_path / "a.zarr")
    assert store.partitions("foreground") == [(0, 3), (3, 6), (6, 7)]
    expected = [
        content("foreground", k, last - first) for k, (first, last) in enumerate(store.partitions("foreground"))
    ]
    whole_score = np.concatenate([part["score"] for part in expected])
    whole_distance = np.concatenate([part["distance"] for part in expected])
    for first in range(0, store.pairs, 10):
        score, distance = store.read_pair_block("foreground", first, min(first + 10, store.pairs))
        np.testing.assert_array_equal(score, whole_score[:, first : first + 10])
        np.testing.assert_array_equal(distance, whole_distance[:, first : first + 10])
    assert store.mean_score() == pytest.approx(np.nanmean(whole_score.astype(np.float64)), rel=1e-12)
    assert store.examples("background").tolist() == [0, 3, 4, 20]
    assert np.flatnonzero(store.selected() == 1).tolist() == [1, 2, 5, 8, 9, 11, 12]
    assert np.flatnonzero(store.selected() == 2).tolist() == [0, 3, 4, 20]
    assert [marker.sites for marker in store.markers("background")] == [30, 10]


def test_a_partition_in_which_nothing_was_observed_is_done_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    store = score_store.create_or_resume(path, make_plan())
    fill(store)
    nothing = np.full((3, store.pairs), np.nan, np.float32)
    missing = np.full(nothing.shape, MISSING, np.int16)
    store.write_partition("foreground", 1, score=nothing, distance=missing, position=missing, sites=0)
    assert store.pending() == []
    store.finalise()
    score, distance = score_store.open_complete(path, verify=True).read_pair_block("foreground", 0, store.pairs)
    assert np.isnan(score[3:6]).all()
    assert (distance[3:6] == MISSING).all()
    assert not np.isnan(score[:3]).all()


def test_each_partition_is_one_file_of_each_array(tmp_path: Path) -> None:
    finished(tmp_path / "a.zarr")
    for group, parts in (("foreground", 3), ("background", 2)):
        for name in ("score", "distance", "position"):
            assert len([p for p in (tmp_path / "a.zarr" / group / name / "c").rglob("*") if p.is_file()]) == parts


def test_the_bytes_do_not_depend_on_who_wrote_when(tmp_path: Path) -> None:
    finished(tmp_path / "a.zarr")
    store = score_store.create_or_resume(tmp_path / "b.zarr", make_plan())
    for group, partition in reversed(store.pending()):  # another process for each partition, in another order
        first, last = store.partitions(group)[partition]
        other = score_store.create_or_resume(tmp_path / "b.zarr", make_plan())
        other.write_partition(group, partition, **content(group, partition, last - first))
    store.finalise()
    listings = [
        {k: v["sha256"] for k, v in provenance.listing(tmp_path / name, [tmp_path / name]).items()}
        for name in ("a.zarr", "b.zarr")
    ]
    assert listings[0] == listings[1]


def test_unfinished_stores_are_refused_and_say_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "scores" / "a.zarr"
    with pytest.raises(ArtefactError, match="satori-hpc score"):
        score_store.open_complete(path)
    store = score_store.create_or_resume(path, make_plan())
    fill(store, only=3)
    with pytest.raises(
        ArtefactError, match=r"2 partitions are not done(.|\n)*background partition 0(.|\n)*partition 1"
    ):
        store.finalise()
    with pytest.raises(ArtefactError, match="not written"):
        score_store.open_complete(path)
    fill(store)
    with pytest.raises(ArtefactError, match="not closed"):
        score_store.open_complete(path)
    store.finalise()
    score_store.open_complete(path)


def test_a_killed_run_goes_on_with_what_is_pending(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    fill(score_store.create_or_resume(path, make_plan()), only=2)
    before = shard(path).stat().st_mtime_ns
    (path / "foreground" / "score" / "c" / "2").mkdir(parents=True)
    leftover = path / "foreground" / "score" / "c" / "2" / "0.abc.partial"
    leftover.write_bytes(b"half")
    store = score_store.create_or_resume(path, make_plan())
    assert store.pending() == [("foreground", 2), ("background", 0), ("background", 1)]
    fill(store)
    store.finalise()
    assert shard(path).stat().st_mtime_ns == before
    assert not leftover.exists()


def test_a_shard_without_its_marker_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    finished(path)
    (path / "markers" / "foreground-1.json").unlink()
    assert score_store.create_or_resume(path, make_plan()).pending() == [("foreground", 1)]
    with pytest.raises(ArtefactError, match="foreground partition 1"):
        score_store.open_complete(path)
    (path / "markers" / "foreground-0.json").write_text("{not json")
    assert score_store.create_or_resume(path, make_plan()).pending() == [("foreground", 0), ("foreground", 1)]


def test_truncated_missing_and_changed_shards_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    finished(path)
    whole = shard(path).read_bytes()
    shard(path).write_bytes(whole[:-7])
    with pytest.raises(ArtefactError, match=r"foreground/score/c/1/0 has \d+ bytes, expected"):
        score_store.open_complete(path)
    shard(path).unlink()
    with pytest.raises(ArtefactError, match="is missing"):
        score_store.open_complete(path)
    shard(path).write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(ArtefactError, match="other content"):
        score_store.open_complete(path, verify=True)
    store = score_store.create_or_resume(path, make_plan())
    assert store.pending() == [("foreground", 1)]
    fill(store)
    assert shard(path).read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        {"digests": {"model": "m2"}},
        {"foreground": np.array([1, 2, 5, 8, 9, 11, 13])},
        {"shard_examples": 4},
        {"filters": 8},
        {"extras": ("null",)},
        {"settings": {"steps": 3}},
        {"composition": (0.3, 0.2, 0.2, 0.3)},
    ],
)
def test_another_plan_starts_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.zarr"
    finished(path)
    store = score_store.create_or_resume(path, make_plan(**change))
    assert len(store.pending()) == sum(len(store.partitions(group)) for group in score_store.GROUPS)
    assert not store.complete


def test_partitions_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan())
    with pytest.raises(ValueError, match="partition 2 of foreground"):
        store.write_partition("foreground", 2, **content("foreground", 2, 3))


def test_foreign_stores_and_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    finished(path)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["format_version"] = 99
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match="version 99"):
        score_store.open_complete(path)
    (path / "zarr.json").write_text("not json")
    with pytest.raises(ArtefactError, match="not a score store"):
        score_store.open_complete(path)
    assert len(score_store.create_or_resume(path, make_plan()).pending()) == 5


def test_background_of_another_dataset_is_not_marked_in_this_one(tmp_path: Path) -> None:
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan(background_source="background"))
    assert set(store.selected().tolist()) == {0, 1}


def test_every_damage_has_its_words_and_repairs_just_that(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    store = finished(path)
    assert [store.complaint(*item) for item in store.items()] == [""] * 5
    score, position = (store.shard_path("foreground", name, 1) for name in ("score", "position"))
    marker = path / "markers" / "foreground-1.json"
    whole = {file: file.read_bytes() for file in (score, position, marker)}
    other = store.shard_path("foreground", "score", 0).read_bytes()
    damages: list[tuple[Path, bytes | None, str]] = [
        (score, whole[score][:0], "foreground/score/c/1/0 has 0 bytes, expected"),
        (score, whole[score][:1], "has 1 bytes, expected"),
        (score, whole[score][: len(whole[score]) // 2], "bytes, expected"),
        (score, whole[score][:-1], "bytes, expected"),
        (score, b"x" + whole[score][1:], "foreground/score/c/1/0 has other content"),
        (score, other, "foreground/score/c/1/0 has"),  # two shards swapped
        (position, None, "foreground/position/c/1/0 is missing"),
        (marker, None, "not written"),
        (marker, whole[marker][:30], "markers/foreground-1.json is damaged"),
        (marker, (path / "markers" / "foreground-0.json").read_bytes(), "markers/foreground-1.json is damaged"),
        (marker, b"[]", "markers/foreground-1.json is damaged"),
    ]
    for file, content, words in damages:
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        assert words in store.complaint("foreground", 1)
        assert store.pending() == [("foreground", 1)]
        assert store.pending([("background", 0), ("foreground", 0)]) == []
        fill(store)
        assert {file: file.read_bytes() for file in whole} == whole
    store.discard([("background", 1)])
    assert store.complaint("background", 1) == "not written"


def test_files_and_digest_are_those_of_the_shards(tmp_path: Path) -> None:
    store = finished(tmp_path / "a.zarr")
    expected = {
        name: {key: entry[key] for key in ("bytes", "sha256")}
        for name, entry in provenance.listing(store.path, [store.path]).items()
        if "/c/" in name and name.split("/")[1] in score_layout.ARRAYS
    }
    assert len(expected) == 15
    assert store.files() == expected
    assert sum(1 for file in store.path.rglob("*") if file.is_file()) == store.expected_files()
    before = store.digest()
    assert before == finished(tmp_path / "b.zarr").digest()
    changed = content("background", 1, 1)
    changed["score"][0, :5] = 0.5
    store.write_partition("background", 1, **changed)
    assert store.digest() != before


def test_zarr_opens_the_whole_store(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (7, 3)).astype(np.uint8)
    store = score_store.create_or_resume(
        tmp_path / "a.zarr", make_plan(true_positive=labels, pool=4, padding=3, width=7)
    )
    fill(store)
    store.finalise()
    root = zarr.open_group(tmp_path / "a.zarr", mode="r")
    for group in score_store.GROUPS:
        for name in score_layout.ARRAYS:
            parts = [content(group, k, last - first)[name] for k, (first, last) in enumerate(store.partitions(group))]
            np.testing.assert_array_equal(root[f"{group}/{name}"][:], np.concatenate(parts))  # type: ignore[index]
    np.testing.assert_array_equal(root["foreground/true_positive"][:], labels)  # type: ignore[index]
    np.testing.assert_array_equal(score_store.open_complete(store.path).true_positive(), labels)
    assert [root.attrs[key] for key in ("pool", "padding", "width")] == [4, 3, 7]
    assert root["foreground/score"].metadata.dimension_names == ("example", "pair")  # type: ignore[union-attr]


def test_further_arrays_of_a_method_are_kept_like_the_score(tmp_path: Path) -> None:
    names = ("a_to_b", "b_to_a")
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan(extras=names))
    assert store.arrays == {**score_layout.ARRAYS, "a_to_b": "float32", "b_to_a": "float32"}
    assert store.pair_bytes == 16
    for group, partition in store.pending():
        first, last = store.partitions(group)[partition]
        part = content(group, partition, last - first)
        with pytest.raises(ValueError, match="are not the arrays of attention: score, distance, position, a_to_b"):
            store.write_partition(group, partition, **part)
        store.write_partition(group, partition, **part, a_to_b=-part["score"], b_to_a=2 * part["score"])
    store.finalise()
    whole = store.read_scores("foreground", 0, store.pairs)
    root = zarr.open_group(store.path, mode="r")
    np.testing.assert_array_equal(root["foreground/a_to_b"][:], -whole)  # type: ignore[index]
    out = np.empty((3, 8), np.float32)
    with store.shard("foreground", "b_to_a", 1) as shard:
        shard.read(0, out)
    np.testing.assert_array_equal(out, 2 * whole[3:6, :8])
    assert sum(1 for file in store.path.rglob("*") if file.is_file()) == store.expected_files()
    store.shard_path("background", "b_to_a", 1).unlink()
    assert store.complaint("background", 1) == "background/b_to_a/c/1/0 is missing"


def test_the_estimate_is_told_by_a_closed_store_that_is_whole(tmp_path: Path) -> None:
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan())
    fill(store)
    with pytest.raises(ArtefactError, match=r"complete.json: missing or damaged; make it: satori-hpc score"):
        print(store.estimate)
    store.finalise(estimate={"error": 0.1 + 0.2})
    assert score_store.open_complete(store.path).estimate == {"error": 0.1 + 0.2}
    closing = store.path / "markers" / "complete.json"
    closing.write_text(closing.read_text().replace("0.3", "0.2"))
    with pytest.raises(ArtefactError, match="damaged"):
        print(store.estimate)
    store.finalise()
    assert store.estimate == {}


@pytest.mark.parametrize("change", [{"true_positive": np.ones((7, 2), np.uint8)}, {"selection": {"split": "all"}}])
def test_another_selection_is_another_plan(tmp_path: Path, change: dict[str, Any]) -> None:
    finished(tmp_path / "a.zarr")
    assert score_store.open_same(tmp_path / "a.zarr", make_plan()) is not None
    assert score_store.open_same(tmp_path / "a.zarr", make_plan(**change)) is None
    assert score_store.open_same(tmp_path / "b.zarr", make_plan()) is None


def test_inner_chunks_are_read_one_by_one(tmp_path: Path) -> None:
    store = finished(tmp_path / "a.zarr")
    assert (store.chunks, store.chunk_pairs, store.shard_rows("foreground")) == (5, 8, 3)
    out = np.empty((3, 8), np.int16)
    with store.shard("foreground", "position", 2) as shard:
        shard.read(4, out)
    np.testing.assert_array_equal(out[:1, :4], content("foreground", 2, 1)["position"][:, 32:])
    assert (out[1:] == MISSING).all()
    assert (out[:, 4:] == MISSING).all()


def test_a_damaged_shard_is_an_error_of_the_reader_too(tmp_path: Path) -> None:
    store = finished(tmp_path / "a.zarr")
    path = shard(store.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(ArtefactError, match=r"foreground/score/c/1/0: this shard is damaged"):
        store.read_scores("foreground", 0, 8)


def test_a_marker_whose_numbers_were_changed_marks_nothing() -> None:
    marker = Marker(group="foreground", partition=0, rows=[0, 5], files={}, observed=3, total=1.5, sites=4)
    assert Marker.parse(marker.text()) == marker
    with pytest.raises(ValueError, match="not as it was written"):
        Marker.parse(marker.text().replace("1.5", "1.6"))
