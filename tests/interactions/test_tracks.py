"""The track set of a small real run, read by other programs' readers, against the network and the genome."""

import dataclasses
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import bioframe
import numpy as np
import pandas as pd
import pyBigWig
import pytest
import torch

from satori_hpc import config
from satori_hpc.data import sequence
from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import InputError, SatoriError
from satori_hpc.interactions import differential
from satori_hpc.interactions import instances as interactions_instances
from satori_hpc.interactions.coordinates import places
from satori_hpc.interactions.tracks import files as track_files
from satori_hpc.interactions.tracks import sites as track_sites
from satori_hpc.interactions.tracks import stage as tracks_stage
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, pipeline, sealed
from satori_hpc.run.layout import Run
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import registry
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.base import Batch, SiteScorer
from satori_hpc.sites import store as motif_store
from satori_hpc.training import checkpoint
from tests.fixtures import tiny
from tests.fixtures.whole import read as read_whole

RUNTIME = Runtime(device="cpu", threads=1, batch_size=16)
LENGTH, EXAMPLES, ATTRIBUTED = 90, 260, 12
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
CHROMS = {"chr2": 7000, "chr10": 6500, "chr&<β>": 4000}
PAIR = ("TGACTCAGCA", "GGGGCGGGGC")


def genome() -> dict[str, str]:
    """Random letters; in every window that will be a positive, both motifs of a pair."""
    rng = np.random.default_rng(4)
    return {name: "".join(rng.choice(list("ACGT"), size)) for name, size in CHROMS.items()}


def write_set(folder: Path) -> dict[str, str]:
    """Overlapping windows on both strands; some have no place in the genome, some unknown letters."""
    rng, letters = np.random.default_rng(5), {name: list(text) for name, text in genome().items()}
    names = list(CHROMS)
    chrom = [names[k] for k in rng.integers(0, 3, EXAMPLES)]
    start = [int(rng.integers(0, CHROMS[name] - LENGTH)) // 20 * 20 for name in chrom]
    label = rng.integers(0, 2, EXAMPLES)
    for k in np.flatnonzero(label):
        for motif, place in zip(PAIR, (start[k] + 20, start[k] + 20 + int(rng.integers(18, 30))), strict=True):
            letters[chrom[k]][place : place + len(motif)] = motif
    letters["chr2"][500:503] = "NNN"
    text = {name: "".join(found) for name, found in letters.items()}
    fasta, table, seen = [], [], set()
    for k in range(EXAMPLES):
        begin, end, strand = start[k], start[k] + LENGTH, "+-."[rng.integers(3)]
        read = text[chrom[k]][begin:end]
        read = read.translate(COMPLEMENT)[::-1] if strand == "-" else read
        place = (chrom[k], begin, end)
        if k % 9 == 0:
            place = (f"own{k}", 7, 7)
        if place in seen:
            continue
        seen.add(place)
        fasta.append(f">{place[0]}:{place[1]}-{place[2]}({strand})\n{read}\n")
        table.append("\t".join(map(str, (*place, label[k]))) + "\n")
    (folder / "set.fa").write_text("".join(fasta))
    (folder / "set.txt").write_text("".join(table))
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, str]]:
    """A reduced run that calls everything it tests, and its genome."""
    folder = tmp_path_factory.mktemp("tracks")
    text = write_set(folder)
    settings = tiny.tiny_config()
    score = dataclasses.replace(
        settings.score, dfim=dataclasses.replace(settings.score.dfim, steps=3, baselines=2), split="all"
    )
    run = tiny.make_run(
        folder / "run",
        dataclasses.replace(
            settings,
            prepare=config.Prepare(
                source="fasta",
                valid_fraction=0.2,
                test_fraction=0.3,
                fasta=config.Fasta(fasta=str(folder / "set.fa"), table=str(folder / "set.txt")),
            ),
            score=score,
            reduce=config.Reduce(min_examples=2, alpha=1.0, cutoff="-1.0"),
        ),
    )
    for stage in ("prepare", "train", "motifs", "score", "reduce"):
        execute.execute(run, stage, RUNTIME)
    summary = tracks_stage.make(run, RUNTIME, attribute=ATTRIBUTED, genome="hg19")
    assert summary["attributed examples"] == ATTRIBUTED
    return run, text


def read_bed(path: Path) -> pd.DataFrame:
    """As bioframe reads it: the columns of BED6, then ours."""
    first, header = path.read_text().splitlines()[:2]
    assert "0-based and half-open" in first
    names = header.lstrip("#").split("\t")
    table = bioframe.read_table(path, schema=names, skiprows=2, header=None, keep_default_na=False)
    assert bioframe.is_bedframe(table)
    return table


def slow_sites(run: Run, text: dict[str, str]) -> dict[tuple, tuple[float, int]]:
    """{(chrom, start, end, filter, strand): (largest activation, examples)} by loops, each window's letters checked."""
    data = read_whole(run.dataset)
    model, _ = checkpoint.load(run.best, "cpu")
    threshold = score_plan.thresholds(run, model)
    found: dict[tuple, list[float]] = defaultdict(list)
    for row in score_store.open_complete(run.scores("attention")).examples("foreground").tolist():
        with torch.inference_mode():
            activations = model.stem.activations(torch.from_numpy(data.tokens[[row]]))[0].numpy()
        read = sequence.decode(data.tokens[row])
        at, name = data.coordinates, data.names[row]
        own = at.end[row] - at.start[row] != LENGTH
        strand = 1 if own else int(at.strand[row])
        for filter_, position in zip(*np.nonzero(activations > threshold[:, None]), strict=True):
            first = int(position) - model.padding
            window = read[first : first + model.width] if first >= 0 else ""
            if len(window) < model.width or "N" in window:
                continue
            if own:
                place = (name, first, first + model.width)
                assert read[place[1] : place[2]] == window
            else:
                begin = int(at.start[row]) + first
                if strand < 0:
                    begin = int(at.end[row]) - first - model.width
                place = (str(at.chrom[row]), begin, begin + model.width)
                letters = text[place[0]][place[1] : place[2]]
                assert (letters.translate(COMPLEMENT)[::-1] if strand < 0 else letters) == window
            found[(*place, int(filter_), ".+-"[strand])].append(float(activations[filter_, position]))
    return {key: (max(values), len(values)) for key, values in found.items()}


def test_sites_are_those_of_the_network_on_the_letters_of_the_genome(made: tuple[Run, dict[str, str]]) -> None:
    run, text = made
    table = read_bed(run.tracks / "sites.bed")
    expected = slow_sites(run, text)
    assert len(expected) == len(table) > 100
    assert max(count for _, count in expected.values()) > 1  # overlapping examples hold the same site
    named = motif_store.read_tf(run.motifs).query("named").set_index("filter")
    largest = motif_store.read_filters(run.motifs).set_index("filter")["maximum"]
    for site in table.itertuples():
        activation, count = expected[(site.chrom, site.start, site.end, site.filter, site.filter_strand)]
        assert site.activation == pytest.approx(activation, rel=1e-5)
        assert site.examples == count
        assert site.score == pytest.approx(np.clip(1000 * activation / largest[site.filter], 0, 1000), abs=1)
        assert site.name == (named["tf"][site.filter] if site.filter in named.index else f"filter{site.filter}")
        turned = site.filter in named.index and named["strand"][site.filter] == "-"
        assert site.strand == (
            site.filter_strand.translate(str.maketrans("+-", "-+")) if turned else site.filter_strand
        )
    assert {"+", "-", "."} == set(table["filter_strand"])
    order = list(zip(table["chrom"], table["start"], strict=True))
    assert order == sorted(order)


def test_a_filter_that_reads_a_motif_backwards_turns_the_strand(
    made: tuple[Run, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, _ = made
    every = pd.DataFrame({"filter": np.arange(12), "tf": [f"TF{k}" for k in range(12)], "strand": ["+", "-"] * 6})
    monkeypatch.setattr(motif_store, "read_tf", lambda folder: every.assign(named=True))
    model, _ = checkpoint.load(run.best, "cpu")
    rows = score_store.open_complete(run.scores("attention")).examples("foreground")
    at = places(Dataset(run.dataset), rows).escaped()
    order = at.in_order()
    files = []
    for batch in (7, 1000):  # neither shapes the bytes
        with open(tmp_path / f"{batch}.bed", "w") as handle:
            track_sites.write(handle, run, model, rows=rows[order], at=at.take(order), batch_size=batch)
        files.append((tmp_path / f"{batch}.bed").read_bytes())
    assert files[0] == files[1]
    table = read_bed(tmp_path / "7.bed")
    assert (table["name"] == "TF" + table["filter"].astype(str)).all()
    same = (table["strand"] == table["filter_strand"]) | (table["strand"] == ".")
    assert (same | (table["filter"] % 2 == 1)).all()
    assert not same[(table["filter"] % 2 == 1) & (table["filter_strand"] != ".")].any()


def batch_of(run: Run, rows: np.ndarray) -> tuple[SiteScorer, Batch]:
    model, _ = checkpoint.load(run.best, "cpu")
    scorer = registry.build(
        "dfim",
        model,
        threshold=torch.from_numpy(score_plan.thresholds(run, model)),
        settings=run.config.score,
        seed=run.config.seed,
        composition=score_plan.composition(Dataset(run.dataset)),
    )
    keys = torch.from_numpy(np.stack([np.zeros(len(rows), np.int64), rows], axis=1))
    return scorer, Batch(torch.from_numpy(Dataset(run.dataset).tokens[rows]), keys)


def test_the_bigwig_is_the_mean_of_what_inspect_shows(made: tuple[Run, dict[str, str]]) -> None:
    run, _ = made
    examples = read_bed(run.tracks / "attributed.bed")
    rows = examples["row"].to_numpy(np.int64)
    scorer, batch = batch_of(run, rows)
    letters = scorer.attributions(batch).numpy()  # type: ignore[attr-defined]
    slow: dict[tuple[str, int], list[float]] = defaultdict(list)
    for example, values in zip(examples.itertuples(), letters, strict=True):
        along = values[::-1] if example.strand == "-" else values
        for k, value in enumerate(along):
            slow[example.chrom, example.start + k].append(float(value))
    wig = pyBigWig.open(str(run.tracks / "attribution.bw"))
    assert wig.header()["nBasesCovered"] == len(slow)
    for (chrom, position), values in slow.items():
        assert wig.values(chrom, position, position + 1)[0] == pytest.approx(np.mean(values), rel=1e-4, abs=1e-6)
    sizes = dict(line.split("\t") for line in (run.tracks / "genome.chrom.sizes").read_text().splitlines())
    assert wig.chroms().items() <= {name: int(size) for name, size in sizes.items()}.items()


def test_arrays_for_modisco_are_complete(made: tuple[Run, dict[str, str]]) -> None:
    run, _ = made
    rows = read_bed(run.tracks / "attributed.bed")["row"].to_numpy(np.int64)
    with np.load(run.tracks / "one_hot.npz") as first, np.load(run.tracks / "attributions.npz") as second:
        assert first.files == second.files == ["arr_0"]
        letters, hypothetical = first["arr_0"], second["arr_0"]
    assert (letters.dtype, hypothetical.dtype) == (np.int8, np.float32)
    assert letters.shape == hypothetical.shape == (len(rows), 4, LENGTH)
    tokens = Dataset(run.dataset).tokens[rows]
    np.testing.assert_array_equal(letters, (tokens[:, None] == np.arange(4)[:, None]).astype(np.int8))
    scorer, batch = batch_of(run, rows)
    model = scorer.model  # type: ignore[attr-defined]
    for k in range(3):
        starts = scorer._baselines(batch.keys[k : k + 1], 1)  # type: ignore[attr-defined]
        with torch.inference_mode():
            rise = model(batch.tokens[k : k + 1]).logits[0, 0] - model(starts.argmax(1).to(torch.uint8)).logits.mean()
        assert (letters[k] * hypothetical[k]).sum() == pytest.approx(float(rise), rel=2e-3, abs=2e-3)


@pytest.mark.filterwarnings("ignore:Length of header or names")
def test_big_files_and_interactions_hold_the_rows_of_the_text_files(made: tuple[Run, dict[str, str]]) -> None:
    run, _ = made
    for text, big in (("sites.bed", "sites.bb"), ("attention.interact", "attention.interact.bb")):
        opened = pyBigWig.open(str(run.tracks / big))
        read = [
            f"{chrom}\t{start}\t{end}\t{rest}"
            for chrom, size in opened.chroms().items()
            for start, end, rest in opened.entries(chrom, 0, size) or []
        ]
        written = list(track_files.lines(run.tracks / text))
        assert sorted(read) == sorted(line.rstrip("\n") for line in written)
        assert len(written) > 20
        assert b"0-based, half-open" in opened.SQL()
    instances = interactions_instances.read_bedpe(run.interactions("attention").with_name("attention.bedpe"))
    table = read_bed(run.tracks / "attention.interact")
    assert list(table.columns) == list(track_files.INTERACT)
    assert len(table) == len(instances)

    def ends(rows: pd.DataFrame, first: tuple[str, ...], second: tuple[str, ...]) -> list[tuple]:
        return sorted(zip(*(rows[name] for name in (*first, *second, "name")), strict=True))

    assert ends(instances, ("chrom1", "start1", "end1", "strand1"), ("chrom2", "start2", "end2", "strand2")) == ends(
        table,
        ("sourceChrom", "sourceStart", "sourceEnd", "sourceStrand"),
        ("targetChrom", "targetStart", "targetEnd", "targetStrand"),
    )
    assert (table["start"] == table[["sourceStart", "targetStart"]].min(axis=1)).all()
    assert (table["end"] == table[["sourceEnd", "targetEnd"]].max(axis=1)).all()
    strongest = table[table["name"] == instances["name"][0]]
    assert set(strongest["color"]) == {tracks_stage.COLOURS[0]}
    assert table["score"].between(0, 1000).all()
    standard = bioframe.read_table(
        run.interactions("attention").with_name("attention.bedpe"), schema="bedpe", skiprows=1
    )
    assert standard["start2"].tolist() == instances["start2"].tolist()


def test_session_and_hub_name_files_that_are_there(made: tuple[Run, dict[str, str]]) -> None:
    run, _ = made
    session = ElementTree.parse(run.tracks / "igv.xml").getroot()
    named = [resource.attrib["path"] for resource in session.iter("Resource")]
    assert {"sites.bb", "attention.interact.bb", "attribution.bw"} == set(named)
    assert session.attrib["genome"] == "hg19"
    chrom, span = session.attrib["locus"].rsplit(":", 1)
    assert chrom in CHROMS or chrom.startswith("own")
    assert int(span.split("-")[0]) >= 1
    hub = (run.tracks / "hub.txt").read_text()
    assert hub.count("\ntrack ") == hub.count("\ntype ") == 3
    for line in hub.splitlines():
        if line.startswith("bigDataUrl "):
            assert (run.tracks / line.split()[1]).exists()
    record = json.loads((run.tracks / "tracks.json").read_text())
    assert record["coordinates"] == "0-based, half-open"
    assert set(record["inputs"]) == {"prepare", "train", "motifs", "score", "reduce"}
    assert not pipeline.states(run)["reduce"].reason
    assert not [path for path in run.path.rglob("*") if "partial" in path.name]


def test_what_does_not_fit_is_told_and_leaves_the_old_set(made: tuple[Run, dict[str, str]], tmp_path: Path) -> None:
    run, _ = made
    before = {path: path.stat().st_mtime_ns for path in run.tracks.iterdir()}
    with pytest.raises(InputError, match="one label only"):
        tracks_stage.make(run, RUNTIME, label="x")
    (tmp_path / "sizes").write_text("chr2\t7000\nchr10\t10\nnonsense\nchr10\t6500\n")
    with pytest.raises(InputError) as told:
        tracks_stage.make(run, RUNTIME, sizes_file=tmp_path / "sizes")
    for part in (
        "line 3: expected name, tab, length",
        "'chr10' comes twice",
        "no chromosome 'chr&<β>'",
        "another assembly",
    ):
        assert part in str(told.value)
    assert {path: path.stat().st_mtime_ns for path in run.tracks.iterdir()} == before
    own = dict(line.split("\t") for line in (run.tracks / "genome.chrom.sizes").read_text().splitlines())
    (tmp_path / "sizes").write_text("".join(f"{name}\t{10**6}\tmore\n" for name in own))
    summary = tracks_stage.make(run, RUNTIME, sizes_file=tmp_path / "sizes", attribute=0, out=tmp_path / "elsewhere")
    assert summary["attributed examples"] == 0
    assert not (tmp_path / "elsewhere" / "attribution.bw").exists()
    assert set(pyBigWig.open(str(tmp_path / "elsewhere" / "sites.bb")).chroms().values()) == {10**6}


def test_killed_at_every_rename_it_goes_on_to_the_same_bytes(made: tuple[Run, dict[str, str]], tmp_path: Path) -> None:
    run, _ = made
    command = [sys.executable, "-m", "tests.interactions.worker_tracks", run.path, tmp_path / "out", tmp_path / "log"]
    root = Path(__file__).parents[2]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=root)
    assert found.returncode == 0, found.stderr
    contents = [
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (run.tracks, tmp_path / "out")
    ]
    assert contents[0] == contents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]
    log = (tmp_path / "log").read_text().split()
    assert log.count("begin") > 5
    rows = read_bed(run.tracks / "attributed.bed")["row"].astype(str).tolist()
    assert set(log) == {"begin", *rows}
    # A block is made twice only if its process died before it was noted.
    assert all(1 <= log.count(row) <= 2 for row in rows)


def test_a_set_of_the_same_stays_and_one_of_other_settings_is_made(
    made: tuple[Run, dict[str, str]], tmp_path: Path
) -> None:
    run, _ = made
    out = tmp_path / "out"
    tracks_stage.make(run, RUNTIME, attribute=2, out=out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}

    def again() -> bool:
        """Whether the same command leaves the set as it is."""
        summary = tracks_stage.make(run, RUNTIME, attribute=2, out=out)
        assert summary["attributed examples"] == 2
        return {path: path.stat().st_mtime_ns for path in out.iterdir()} == before

    assert again()
    damaged = bytearray((out / "sites.bb").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (out / "sites.bb").write_bytes(damaged)
    assert not again()
    assert (out / "sites.bb").read_bytes() != damaged
    assert tracks_stage.make(run, RUNTIME, attribute=3, out=out)["attributed examples"] == 3
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("words")
    with pytest.raises(InputError, match="holds other things than tracks"):
        tracks_stage.make(run, RUNTIME, attribute=2, out=other)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]
    # Parts of other settings are of no use.
    parts = tmp_path / "new.parts"
    parts.mkdir()
    (parts / "sites.bed").write_text("nonsense")
    sealed.write_json(parts / "tracks.json", {"format_version": 3, "attribute": 2})
    tracks_stage.make(run, RUNTIME, attribute=2, out=tmp_path / "new")
    assert (tmp_path / "new" / "sites.bed").read_bytes() == (run.tracks / "sites.bed").read_bytes()
    assert not parts.exists()


def test_differential_says_that_there_is_one_label_only(made: tuple[Run, dict[str, str]]) -> None:
    with pytest.raises(InputError, match=r"this set has one only, 'label': .* use a set with several labels"):
        differential.compare(made[0])


def test_without_the_library_it_says_what_to_install(
    made: tuple[Run, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pybigtools", None)
    with pytest.raises(SatoriError, match=r"pip install 'satori-hpc\[tracks\]'"):
        tracks_stage.make(made[0], RUNTIME)
