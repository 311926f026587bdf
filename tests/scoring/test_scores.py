"""The score store: what is written is read back, and nothing unfinished or damaged passes for whole."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from satori_hpc.errors import ArtefactError
from satori_hpc.run import provenance
from satori_hpc.scoring import layout as score_layout
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import Marker, Plan
from satori_hpc.scoring.site_scores import SiteScores, entries
from satori_hpc.scoring.store import ScoreStore

FILTERS = 9
ARRAYS = ("counts", "site", "strength", "place", "value")


def make_plan(**changes: Any) -> Plan:
    plan = Plan(
        method="attention",
        widths=np.full(FILTERS, 13),
        foreground=np.array([1, 2, 5, 8, 9, 11, 12]),
        background=np.array([0, 3, 4, 20]),
        background_source="dataset",
        dataset_examples=21,
        shard_examples=3,
        most=(20, 6),
        digests={"model": "m1"},
    )
    return dataclasses.replace(plan, **changes)


def content(
    group: str, partition: int, rows: int, *, directed: bool = False, extras: tuple[str, ...] = (), sites: int = 20
) -> SiteScores:
    """Ragged scores: up to `sites` sites in up to 6 places of each example, some examples without any."""
    rng = np.random.default_rng([7, score_store.GROUPS.index(group), partition])
    places = rng.integers(0, 7, rows)
    counts = np.stack([np.where(places > 0, rng.integers(1, sites + 1, rows), 0), places], axis=1).astype(np.int32)
    site, place = [], []
    for number, many in counts.tolist():
        at = np.sort(rng.choice(300, many, replace=False)) - 7
        which = rng.integers(0, max(many, 1), number)
        motif = np.sort(rng.integers(0, FILTERS, number))
        site.append(np.stack([motif, at[which] if many else which, rng.choice([1, -1], number), which], axis=1))
        place.append(at)
    between = sum(int(entries(int(many), directed=directed)) for many in places)
    values = {name: rng.standard_normal(between).astype(np.float32) for name in ("value", *extras)}
    values["value"][rng.random(between) < 0.3] = np.nan
    return SiteScores(
        counts=counts,
        site=np.concatenate(site).astype(np.int16).reshape(-1, 4),
        strength=rng.random(int(counts[:, 0].sum()), dtype=np.float32),
        place=np.concatenate(place).astype(np.int16),
        value=values.pop("value"),
        extras=values,
    )


def same(left: SiteScores, right: SiteScores) -> None:
    assert left.arrays().keys() == right.arrays().keys()
    for name, values in left.arrays().items():
        np.testing.assert_array_equal(values, right.arrays()[name], err_msg=name)
        assert values.dtype == right.arrays()[name].dtype


def fill(store: ScoreStore, *, only: int | None = None) -> None:
    for group, partition in store.pending()[:only]:
        first, last = store.partitions(group)[partition]
        store.write_partition(group, partition, content(group, partition, last - first))


def finished(path: Path) -> ScoreStore:
    store = score_store.create_or_resume(path, make_plan())
    fill(store)
    store.finalise()
    return score_store.open_complete(path)


def shard(path: Path) -> Path:
    return path / "foreground" / "value" / "c" / "1" / "0"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store = finished(tmp_path / "a.zarr")
    assert store.partitions("foreground") == [(0, 3), (3, 6), (6, 7)]
    for group, partition in store.items():
        first, last = store.partitions(group)[partition]
        same(store.read(group, partition), content(group, partition, last - first))
    assert store.examples("background").tolist() == [0, 3, 4, 20]
    assert np.flatnonzero(store.selected() == 1).tolist() == [1, 2, 5, 8, 9, 11, 12]
    assert np.flatnonzero(store.selected() == 2).tolist() == [0, 3, 4, 20]
    assert store.widths().tolist() == [13] * FILTERS
    for marker in store.markers("background"):
        part = store.read("background", marker.partition)
        assert marker.entries == {name: len(values) for name, values in part.arrays().items()}


def test_a_partition_in_which_nothing_was_observed_is_done_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    store = score_store.create_or_resume(path, make_plan())
    fill(store)
    nothing = SiteScores(
        np.zeros((3, 2), np.int32),
        np.zeros((0, 4), np.int16),
        np.zeros(0, np.float32),
        np.zeros(0, np.int16),
        np.zeros(0, np.float32),
    )
    store.write_partition("foreground", 1, nothing)
    assert store.pending() == []
    store.finalise()
    found = score_store.open_complete(path, verify=True)
    same(found.read("foreground", 1), nothing)
    assert len(found.read("foreground", 0).site)


def test_each_partition_is_one_file_of_each_array(tmp_path: Path) -> None:
    finished(tmp_path / "a.zarr")
    for group, parts in (("foreground", 3), ("background", 2)):
        for name in ARRAYS:
            assert len([p for p in (tmp_path / "a.zarr" / group / name / "c").rglob("*") if p.is_file()]) == parts


def test_the_bytes_do_not_depend_on_who_wrote_when(tmp_path: Path) -> None:
    finished(tmp_path / "a.zarr")
    store = score_store.create_or_resume(tmp_path / "b.zarr", make_plan())
    for group, partition in reversed(store.pending()):  # another process for each partition, in another order
        first, last = store.partitions(group)[partition]
        other = score_store.create_or_resume(tmp_path / "b.zarr", make_plan())
        other.write_partition(group, partition, content(group, partition, last - first))
    store.finalise()
    listings = [
        [
            {k: v["sha256"] for k, v in provenance.listing(folder, [folder]).items()}
            for folder in (tmp_path / f"{name}.zarr", tmp_path / f"{name}.markers")
        ]
        for name in ("a", "b")
    ]
    assert listings[0] == listings[1]
    assert all(listings[0])


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
    (path / "foreground" / "value" / "c" / "2").mkdir(parents=True)
    leftover = path / "foreground" / "value" / "c" / "2" / "0.abc.partial"
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
    (path.with_suffix(".markers") / "foreground-1.json").unlink()
    assert score_store.create_or_resume(path, make_plan()).pending() == [("foreground", 1)]
    with pytest.raises(ArtefactError, match="foreground partition 1"):
        score_store.open_complete(path)
    (path.with_suffix(".markers") / "foreground-0.json").write_text("{not json")
    assert score_store.create_or_resume(path, make_plan()).pending() == [("foreground", 0), ("foreground", 1)]


def test_truncated_missing_and_changed_shards_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    finished(path)
    whole = shard(path).read_bytes()
    shard(path).write_bytes(whole[:-7])
    with pytest.raises(ArtefactError, match=r"foreground/value/c/1/0 has \d+ bytes, expected"):
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
        {"widths": np.full(8, 13)},
        {"most": (20, 7)},
        {"directed": True},
        {"choose": "first"},
        {"pool": 4},
        {"effects": ("single",)},
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
    assert not store.markers_there()


def test_markers_of_another_plan_mark_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    kept = finished(path).marker_folder.rename(tmp_path / "kept")
    store = score_store.create_or_resume(path, make_plan(settings={"steps": 3}))
    kept.rename(store.marker_folder)  # as if the plan had been made anew without them
    assert store.complaint("foreground", 1) == "a.markers/foreground-1.json is damaged, or of another plan"
    assert len(store.pending()) == 5


def test_partitions_of_the_wrong_shape_are_refused(tmp_path: Path) -> None:
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan())
    with pytest.raises(ValueError, match="partition 2 of foreground"):
        store.write_partition("foreground", 2, content("foreground", 2, 3))
    right = content("foreground", 0, 3)
    with pytest.raises(ValueError, match="not the scores of partition 0 of foreground, rows 0-3"):
        store.write_partition("foreground", 0, dataclasses.replace(right, value=right.value[:-1]))
    with pytest.raises(ValueError, match="not the scores of partition 0 of foreground, rows 0-3"):
        store.write_partition("foreground", 0, dataclasses.replace(right, strength=right.strength[:-1]))
    with pytest.raises(ValueError, match="value float64 .* is not that of attention"):
        store.write_partition("foreground", 0, dataclasses.replace(right, value=right.value.astype(np.float64)))
    with pytest.raises(ValueError, match=r"site int16 \(\d+, 3\) is not that of attention"):
        store.write_partition("foreground", 0, dataclasses.replace(right, site=right.site[:, :3]))
    assert len(store.pending()) == 5


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
    score, position = (store.shard_path("foreground", name, 1) for name in ("value", "place"))
    marker = path.with_suffix(".markers") / "foreground-1.json"
    whole = {file: file.read_bytes() for file in (score, position, marker)}
    other = store.shard_path("foreground", "value", 0).read_bytes()
    damages: list[tuple[Path, bytes | None, str]] = [
        (score, whole[score][:0], "foreground/value/c/1/0 has 0 bytes, expected"),
        (score, whole[score][:1], "has 1 bytes, expected"),
        (score, whole[score][: len(whole[score]) // 2], "bytes, expected"),
        (score, whole[score][:-1], "bytes, expected"),
        (score, b"x" + whole[score][1:], "foreground/value/c/1/0 has other content"),
        (score, other, "foreground/value/c/1/0 has"),  # two shards swapped
        (position, None, "foreground/place/c/1/0 is missing"),
        (marker, None, "not written"),
        (marker, whole[marker][:30], "a.markers/foreground-1.json is damaged, or of another plan"),
        (
            marker,
            (path.with_suffix(".markers") / "foreground-0.json").read_bytes(),
            "a.markers/foreground-1.json is damaged, or of another plan",
        ),
        (marker, b"[]", "a.markers/foreground-1.json is damaged, or of another plan"),
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
    assert len(expected) == 25
    assert store.files() == expected
    assert sum(1 for file in tmp_path.glob("a.*/**/*") if file.is_file()) == store.expected_files()
    before = store.digest()
    assert before == finished(tmp_path / "b.zarr").digest()
    changed = content("background", 0, 3)
    changed.value[:5] = 0.5
    store.write_partition("background", 0, changed)
    assert store.digest() != before


def test_zarr_opens_the_whole_store(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (7, 3)).astype(np.uint8)
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan(true_positive=labels, pool=4))
    fill(store)
    store.finalise()
    root: Any = zarr.open_group(tmp_path / "a.zarr", mode="r")
    for group, partition in store.items():
        first, last = store.partitions(group)[partition]
        part = content(group, partition, last - first)
        np.testing.assert_array_equal(root[f"{group}/counts"][first:last], part.counts)
        for name in ARRAYS[1:]:
            values = part.arrays()[name]
            np.testing.assert_array_equal(root[f"{group}/{name}"][partition, : len(values)], values)
    np.testing.assert_array_equal(root["foreground/true_positive"][:], labels)
    np.testing.assert_array_equal(score_store.open_complete(store.path).true_positive(), labels)
    assert [root.attrs[key] for key in ("pool", "motifs", "most")] == [4, FILTERS, [20, 6]]
    np.testing.assert_array_equal(root["width"][:], np.full(FILTERS, 13))
    assert root["foreground/counts"].metadata.dimension_names == ("example", "counts_column")
    assert root["foreground/value"].metadata.dimension_names == ("partition", "value_entry")
    assert root["foreground/site"].metadata.dimension_names == ("partition", "site_entry", "site_column")


@pytest.mark.parametrize("directed", [False, True])
def test_further_arrays_of_a_method_are_kept_like_the_values(tmp_path: Path, directed: bool) -> None:
    names = ("null", "other")
    store = score_store.create_or_resume(
        tmp_path / "a.zarr", make_plan(extras=names, effects=("single",), directed=directed)
    )
    assert store.arrays == {**score_layout.ARRAYS, **dict.fromkeys((*names, "single"), ("float32", ()))}
    assert store.example_bytes == 8 + 12 * 20 + (2 + 4) * 6 + 3 * 4 * (36 if directed else 15)
    sizes = []
    for group, partition in store.pending():
        first, last = store.partitions(group)[partition]
        part = content(group, partition, last - first, directed=directed, extras=names)
        effects = {"single": part.place.astype(np.float32) / 7}
        effects["single"][::3] = np.nan
        with pytest.raises(
            ValueError, match="are not the arrays of attention: counts, site, strength, place, value, n"
        ):
            store.write_partition(group, partition, content(group, partition, last - first, directed=directed))
        whole = dataclasses.replace(part, effects=effects)
        store.write_partition(group, partition, whole)
        same(store.read(group, partition), whole)
        if group == "foreground":
            sizes.append(np.abs(effects["single"][~np.isnan(effects["single"])]).astype(np.float64))
    store.finalise()
    assert store.mean_size("single") == pytest.approx(np.concatenate(sizes).mean(), rel=1e-12)
    assert sum(1 for file in tmp_path.glob("a.*/**/*") if file.is_file()) == store.expected_files()
    store.shard_path("background", "other", 1).unlink()
    assert store.complaint("background", 1) == "background/other/c/1/0 is missing"


def test_an_effect_that_was_never_observed_has_no_size(tmp_path: Path) -> None:
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan(effects=("single",)))
    for group, partition in store.pending():
        first, last = store.partitions(group)[partition]
        part = content(group, partition, last - first)
        nothing = {"single": np.full(len(part.place), np.nan, np.float32)}
        store.write_partition(group, partition, dataclasses.replace(part, effects=nothing))
    assert np.isnan(store.mean_size("single"))


def test_the_estimate_is_told_by_a_closed_store_that_is_whole(tmp_path: Path) -> None:
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan())
    fill(store)
    with pytest.raises(ArtefactError, match=r"complete.json: missing or damaged; make it: satori-hpc score"):
        print(store.estimate)
    store.finalise(estimate={"error": 0.1 + 0.2})
    assert score_store.open_complete(store.path).estimate == {"error": 0.1 + 0.2}
    closing = store.marker_folder / "complete.json"
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


def test_a_partition_may_have_all_the_sites_and_places_that_were_planned_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_layout, "CHUNK", 8)
    store = score_store.create_or_resume(tmp_path / "a.zarr", make_plan(most=(4, 3)))
    assert (store.chunking("foreground", "counts"), store.shard_rows("foreground")) == ((3, 1), 3)
    assert store.chunking("foreground", "site") == store.chunking("foreground", "strength") == (8, 2)
    assert store.chunking("foreground", "place") == store.chunking("foreground", "value") == (8, 2)

    def full(sites: int) -> SiteScores:
        place = np.tile(np.arange(3), 3)
        site = np.zeros((3 * sites, 4), np.int16)
        return SiteScores(
            counts=np.full((3, 2), (sites, 3), np.int32),
            site=site,
            strength=np.arange(3 * sites, dtype=np.float32),
            place=place.astype(np.int16),
            value=np.arange(9, dtype=np.float32),
        )

    store.write_partition("foreground", 0, full(4))
    same(store.read("foreground", 0), full(4))
    with pytest.raises(ValueError, match=r"18 entries, the shard may have 16"):
        store.write_partition("foreground", 1, full(6))
    assert store.complaint("foreground", 1) == "not written"
    assert not list(store.path.rglob("*.partial"))


def test_a_damaged_shard_is_an_error_of_the_reader_too(tmp_path: Path) -> None:
    store = finished(tmp_path / "a.zarr")
    path = shard(store.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    with pytest.raises(ArtefactError, match=r"foreground/value/c/1/0: this shard is damaged"):
        store.read("foreground", 1)


def test_a_marker_whose_numbers_were_changed_marks_nothing() -> None:
    marker = Marker(
        plan="a digest",
        group="foreground",
        partition=0,
        rows=[0, 5],
        files={},
        entries={"site": 4},
        effects={"single": [3, 1.5]},
    )
    assert Marker.parse(marker.text()) == marker
    with pytest.raises(ValueError, match="not as it was written"):
        Marker.parse(marker.text().replace("1.5", "1.6"))
