"""prepare: simulated sets obey their rules, files become data sets, and what cannot be used leaves nothing behind."""

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.config import Config, Fasta, Model, Prepare, Simulated
from satori_hpc.data import prepare
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.fixtures.whole import read as read_whole
from tests.oracles import simulator_rules

DATA = Path(__file__).parents[1] / "fixtures" / "data"


def simulated_run(path: Path, *, seed: int = 1, **options) -> Run:
    return Run(path, Config(seed=seed, prepare=Prepare(simulated=Simulated(**{"examples": 1000, **options}))))


def files_run(path: Path, *, model: Model | None = None, split: dict | None = None, **options) -> Run:
    settings = {"valid_fraction": 0.2, "test_fraction": 0.2, **(split or {})}
    return Run(
        path, Config(prepare=Prepare(source="fasta", fasta=Fasta(**options), **settings), model=model or Model())
    )


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


SETTINGS = {
    "published": {},
    "hard": {"design": "hard"},
    "data-80": {"tfs": 30, "pairs": 80},
    "hard, matched, both strands, fixed order, disjoint TFs": {
        "design": "hard-matched",
        "strand": "both",
        "order": "fixed",
        "shared_tfs": False,
        "pairs_per_positive_min": 1,
        "pairs_per_positive_max": 3,
        "min_score_fraction": 0.7,
    },
    "long": {
        "length": 1500,
        "tfs": 40,
        "pairs": 80,
        "pairs_per_positive_max": 5,
        "pair_gap_max": 80,
        "between_pairs_gap": 81,
        "negative_gap": 100,
    },
    "hard, close blocks": {
        "design": "hard",
        "between_pairs_gap": 3,
        "length": 200,
        "base_frequencies": (0.2, 0.3, 0.3, 0.2),
    },
    "published, empty negatives, lone gap below range": {
        "negative_motifs_min": 0,
        "negative_motifs_max": 5,
        "negative_gap": 5,
        "tfs": 6,
        "pairs": 8,
        "strand": "both",
    },
    "grammar": {"design": "grammar", "tfs": 8, "pairs": 8},
    "additive, both strands": {"design": "additive", "tfs": 8, "pairs": 8, "strand": "both"},
    "one motif": {"design": "one-motif", "tfs": 8, "pairs": 7, "strand": "both"},
    "arrange, fixed order": {"design": "arrange", "tfs": 8, "pairs": 7, "order": "fixed"},
    "one pair": {"design": "one-pair", "tfs": 10},
    "few tries": {
        "instance_tries": 1,
        "min_score_fraction": 0.8,
    },
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_simulated_set_obeys_every_rule(tmp_path, options):
    run = simulated_run(tmp_path, **options)
    summary = prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    config = run.config.prepare.simulated
    assert simulator_rules.violations(run.truth, whole.labels[:, 0].tolist(), config) == []
    letters = simulator_rules.read_sequences(run.truth)
    assert [truth.sequence.decode(row) for row in whole.tokens] == list(letters.values())
    assert whole.names == [f"{name}:0-{config.length}(+)" for name in letters]
    assert list(whole.coordinates.chrom) == list(letters)
    widths = [item.width for item in truth.read_pool(run.truth)]
    assert 6 <= min(widths) <= max(widths) <= 20
    assert summary["examples"] == 1000
    positives = summary["train_positives"] + summary["valid_positives"] + summary["test_positives"]
    assert positives == 500 or (config.design in ("grammar", "additive") and 400 < positives < 600)
    assert (summary["instances_mended"] > 0) == (config.instance_tries == 1)


def test_the_checker_sees_broken_rules(tmp_path):
    run = simulated_run(tmp_path, design="hard", examples=100)
    prepare.prepare(run, Runtime())
    config = run.config.prepare.simulated
    labels = read_whole(run.dataset).labels[:, 0].tolist()
    for change in (
        {"pair_gap_min": 10},
        {"between_pairs_gap": 60},
        {"min_score_fraction": 0.9},
        {"order": "fixed"},
        {"pairs_per_positive_min": 1, "pairs_per_positive_max": 2},
        {"design": "published"},
        {"shared_tfs": False},
        {"pair_gap_max": 150},
        {"design": "grammar"},
        {"design": "arrange"},
        {"design": "one-pair"},
    ):
        other = dataclasses.replace(config, **change)
        assert simulator_rules.violations(run.truth, labels, other), change
    assert simulator_rules.violations(run.truth, [1 - label for label in labels], config)


@pytest.mark.parametrize("design", ["published", "hard"])
def test_gaps_orders_and_pairs_are_spread_as_they_should_be(tmp_path, design):
    run = simulated_run(tmp_path, design=design, examples=2000, pairs_per_positive_min=2)
    prepare.prepare(run, Runtime())
    labels = read_whole(run.dataset).labels[:, 0]
    table = truth.read_instances(run.truth)
    positive = table[labels[table["example"]] == 1]
    pairs = [group.sort_values("start") for _, group in positive.groupby(["example", "pair_id"])]
    gaps = np.array([group["start"].iloc[1] - group["end"].iloc[0] for group in pairs])
    expected = len(gaps) / 8
    assert (((np.bincount(gaps)[8:] - expected) ** 2 / expected).sum()) < 30
    ordered = np.array([group["tf"].iloc[0] < group["tf"].iloc[1] for group in pairs])
    assert abs(ordered.mean() - 0.5) < 0.05
    assert set(positive["pair_id"]) == set(range(40))
    if design == "hard":
        motifs = table.groupby("example").size()
        share = [np.mean(motifs[labels[motifs.index] == side] == 4) for side in (0, 1)]
        assert abs(share[0] - share[1]) < 0.08
        assert abs(share[1] - 0.5) < 0.06


def test_the_same_input_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        simulated_run(tmp_path / name, seed=seed, examples=60) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for run in (first, again, other):
        prepare.prepare(run, Runtime())
    assert bytes_of(first.path) == bytes_of(again.path)
    assert bytes_of(first.path) != bytes_of(other.path)
    prepare.prepare(first, Runtime())
    assert bytes_of(first.path) == bytes_of(again.path)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"jaspar_groups": ("dragons",)}, "dragons"),
        ({"tfs": 400, "pairs": 500}, "motif_similarity_max"),
        ({"length": 60}, "length"),
    ],
)
def test_a_simulation_that_cannot_be_made_leaves_nothing(tmp_path, options, what):
    with pytest.raises((ConfigError, InputError), match=what):
        prepare.prepare(simulated_run(tmp_path, **options), Runtime())
    assert not list(tmp_path.iterdir())


def test_real_promoters(tmp_path):
    run = files_run(
        tmp_path, fasta=str(DATA / "drosophila_promoters.fa.gz"), table=str(DATA / "drosophila_promoters.txt")
    )
    summary = prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    assert whole.length == 301
    assert whole.task == "binary"
    assert summary["examples"] == 120
    assert set(summary["sources"]) == {run.config.prepare.fasta.fasta, run.config.prepare.fasta.table}
    letters, name = {}, ""
    for line in gzip.decompress((DATA / "drosophila_promoters.fa.gz").read_bytes()).decode().split():
        if line.startswith(">"):
            name = line[1:]
        else:
            letters[name] = line.upper()
    rows = [line.split("\t") for line in (DATA / "drosophila_promoters.txt").read_text().split("\n") if line]
    labels = {f"{row[0]}:{row[1]}-{row[2]}(.)": int(row[3]) for row in rows}
    assert whole.names == list(letters)
    assert [truth.sequence.decode(row) for row in whole.tokens] == list(letters.values())
    assert whole.labels[:, 0].tolist() == [labels[name] for name in whole.names]
    before = bytes_of(tmp_path)
    prepare.prepare(run, Runtime())
    assert bytes_of(tmp_path) == before


def write_pair(folder: Path, sequences: dict[str, str], labels: dict[str, str]) -> None:
    (folder / "s.fa").write_text("".join(f">{name}\n{letters}\n" for name, letters in sequences.items()))
    rows = (f"{name.replace(':', chr(9)).replace('-', chr(9))}\t{label}\n" for name, label in labels.items())
    (folder / "l.txt").write_text("".join(rows))


def example_set(count: int = 30, length: int = 40) -> tuple[dict[str, str], dict[str, str]]:
    rng = np.random.default_rng(1)
    names = [f"chr{k % 3 + 1}:{k}-{k + length}" for k in range(count)]
    sequences = {name: "".join(rng.choice(list("ACGT"), length)) for name in names}
    return sequences, {name: str(k // 3 % 2) for k, name in enumerate(names)}


def test_relative_paths_start_at_the_run_and_chromosomes_split(tmp_path):
    write_pair(tmp_path, *example_set())
    run = files_run(
        tmp_path,
        fasta="s.fa",
        table="l.txt",
        split={"split": "chromosome", "valid_chromosomes": ("chr2",), "test_chromosomes": ("chr3",)},
    )
    prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    for part, chrom in (("train", "chr1"), ("valid", "chr2"), ("test", "chr3")):
        assert set(whole.coordinates.chrom[whole.rows(part)]) == {chrom}
        assert len(whole.rows(part)) == 10


def test_equal_sequences_do_not_part(tmp_path):
    sequences, labels = example_set(60)
    names = list(sequences)
    for k in range(30):
        sequences[names[k + 30]] = sequences[names[k]]
    write_pair(tmp_path, sequences, labels)
    run = files_run(tmp_path, fasta="s.fa", table="l.txt")
    summary = prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    np.testing.assert_array_equal(whole.split[:30], whole.split[30:])
    assert summary["distinct_sequences"] == 30
    assert summary["sequences_in_several_parts"] == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"length": 10}, r"10 bp long; expected at least 13 bp.*\[model\] kernel_size = 13"),
        ({"labels": "1"}, "train: all 18 examples have label 1"),
        (
            {"split": {"split": "chromosome", "valid_chromosomes": ("chr2",), "test_chromosomes": ("chrX",)}},
            "chrX.*chr1",
        ),
        (
            {"split": {"split": "chromosome", "valid_chromosomes": ("chr1",), "test_chromosomes": ("chr2", "chr3")}},
            "train: no examples",
        ),
    ],
)
def test_sets_that_cannot_be_used_leave_nothing(tmp_path, changes, what):
    sequences, labels = example_set(length=changes.get("length", 40))
    if "labels" in changes:
        labels = dict.fromkeys(labels, changes["labels"])
    write_pair(tmp_path, sequences, labels)
    run = files_run(tmp_path, fasta="s.fa", table="l.txt", split=changes.get("split"))
    prepare.prepare(simulated_run(tmp_path, examples=40), Runtime())
    with pytest.raises(InputError, match=what):
        prepare.prepare(run, Runtime())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.txt", "s.fa"]


def test_what_a_killed_run_left_is_swept(tmp_path):
    run = simulated_run(tmp_path, examples=60)
    (tmp_path / ".dataset.zarr.0123abcd.partial" / "tokens").mkdir(parents=True)
    prepare.prepare(run, Runtime())
    prepare.prepare(run, Runtime())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.zarr", "truth"]


def test_multilabel(tmp_path):
    sequences, _ = example_set()
    labels = {
        name: ("." if k % 5 == 0 else f'"{k % 3},4"' if k % 2 else str(k % 3)) for k, name in enumerate(sequences)
    }
    write_pair(tmp_path, sequences, labels)
    run = files_run(tmp_path, fasta="s.fa", table="l.txt")
    prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    assert whole.task == "multilabel"
    assert whole.targets == ["0", "1", "2", "3", "4"]
    assert whole.labels[1].tolist() == [0, 1, 0, 0, 1]
    assert whole.labels[5].tolist() == [0] * 5
    assert whole.labels[2].tolist() == [0, 0, 1, 0, 0]
