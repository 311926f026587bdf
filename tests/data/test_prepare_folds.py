"""prepare from ChIP-seq folds: real files, parts, unknown labels, and what leaves nothing behind."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.config import Config, Folds, Model, Prepare
from satori_hpc.data import dataset, prepare, sequence
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import new
from satori_hpc.run.layout import Run
from tests.fixtures.whole import read as read_whole

DATA = Path(__file__).parents[1] / "fixtures" / "data" / "chipseq_folds"
TFS = ("ARID3A", "FOXM1", "GATA3")


def run_of(path: Path, *, tfs: tuple[str, ...] = TFS, folder: Path = DATA, **options) -> Run:
    section = Folds(
        labels=tfs,
        train=tuple(str(folder / f"{tf}_AC.seq.gz") for tf in tfs),
        test=tuple(str(folder / f"{tf}_B.seq.gz") for tf in tfs),
        **options,
    )
    return Run(path, Config(prepare=Prepare(source="folds", split="given", folds=section), model=Model(kernel_size=9)))


def write(path: Path, rows: list[tuple[str, int]]) -> None:
    lines = [f"A\tseq_{number}\t{text}\t{bound}\n" for number, (text, bound) in enumerate(rows)]
    path.write_text("FoldID\tEventID\tseq\tBound\n" + "".join(lines))


@pytest.mark.parametrize("missing_label", ["unknown", "absent"])
def test_three_real_tfs(tmp_path, missing_label):
    run = run_of(tmp_path, missing_label=missing_label)
    summary = prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    assert (whole.task, whole.targets, whole.length) == ("multilabel", list(TFS), 101)
    assert (summary["rows_train"], summary["rows_test"], summary["shuffled_negatives"]) == (360, 180, 360)
    assert summary["sequences_in_several_parts"] == 0
    test = whole.labels[whole.rows("test")]
    assert test.shape == (180, 3)
    for column in range(3):
        assert (test[:, column] == 1).sum() == (test[:, column] == 0).sum() == 30
    learns = whole.labels[np.concatenate([whole.rows("train"), whole.rows("valid")])]
    blank = UNKNOWN if missing_label == "unknown" else 0
    bound = learns[(learns == 1).any(axis=1)]
    assert len(bound) == 360
    assert ((bound == 1) | (bound == blank)).all()
    assert summary["labels_unknown"] == (whole.labels == UNKNOWN).sum() == 360 + (720 if blank else 0)
    assert len(set(whole.names)) == len(whole) == 900
    assert list(whole.coordinates.chrom) == whole.names
    assert set(summary["sources"]) == {str(path) for path in DATA.iterdir()}


def test_a_shuffle_has_the_dinucleotides_of_its_original_and_its_part(tmp_path):
    run = run_of(tmp_path)
    prepare.prepare(run, Runtime())
    whole = read_whole(run.dataset)
    place = {name: row for row, name in enumerate(whole.names)}
    shuffles = [name for name in whole.names if name.endswith(".shuffled")]
    assert len(shuffles) == 360

    def pairs(row: int) -> list[str]:
        text = sequence.decode(whole.tokens[row])
        return sorted(text[at : at + 2] for at in range(100))

    for name in shuffles:
        row, parent = place[name], place[name.removesuffix(".shuffled")]
        assert pairs(row) == pairs(parent)
        assert whole.split[row] == whole.split[parent] != dataset.TEST
        assert not whole.labels[row].any()
    assert len(whole.rows("valid")) == 72


def test_one_tf_is_binary_and_follows_from_the_seed(tmp_path):
    made = []
    for number, seed in enumerate((1, 1, 2)):
        run = run_of(tmp_path / str(number), tfs=("GATA3",), negatives="blocks")
        (tmp_path / str(number)).mkdir()
        run = dataclasses.replace(run, config=dataclasses.replace(run.config, seed=seed))
        summary = prepare.prepare(run, Runtime())
        assert (summary["task"], summary["test_positives"], summary["test"]) == ("binary", 30, 60)
        made.append(read_whole(run.dataset))
    assert set(np.unique(made[0].labels).tolist()) == {0, 1}
    np.testing.assert_array_equal(made[0].tokens, made[1].tokens)
    np.testing.assert_array_equal(made[0].split, made[1].split)
    assert (made[0].tokens != made[2].tokens).any()
    assert (made[0].split != made[2].split).any()


def test_equal_sequences_are_one_example_and_those_of_a_test_file_do_not_train(tmp_path, caplog):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(60)]
    write(tmp_path / "A_AC.seq.gz", [(text, 1) for text in [*texts[:20], texts[50]]])
    write(tmp_path / "B_AC.seq.gz", [(text, 1) for text in texts[15:35]])
    write(tmp_path / "A_B.seq.gz", [(text, k % 2) for k, text in enumerate(texts[35:45])])
    write(tmp_path / "B_B.seq.gz", [(text, k % 2) for k, text in enumerate(texts[44:54])])
    run = run_of(tmp_path, tfs=("A", "B"), folder=tmp_path)
    summary = prepare.prepare(run, Runtime())
    assert summary["rows_train_left_out_as_in_test"] == 1
    assert "1 training rows" in caplog.text
    assert "A.train.seq_20" in caplog.text
    assert summary["equal_rows_merged"] == 5 + 1
    with gzip.open(run.excluded_records, "rt") as handle:
        listed = [line.rstrip("\n").split("\t") for line in handle][1:]
    assert sorted(row[:6] for row in listed) == sorted(
        [["A_AC.seq.gz", "22", "A.train.seq_20", "0", "20", "dropped"]]
        + [["B_AC.seq.gz", str(k + 2), f"B.train.seq_{k}", "0", "20", "changed"] for k in range(5)]
        + [["B_B.seq.gz", "2", "B.test.seq_0", "0", "20", "changed"]]
    )
    assert {row[6] for row in listed if row[5] == "dropped"} == {"its sequence is in a test file"}
    whole = read_whole(run.dataset)
    rows = {sequence.decode(tokens): row for row, tokens in enumerate(whole.tokens)}
    assert whole.labels[rows[texts[16]]].tolist() == [1, 1]
    assert whole.labels[rows[texts[3]]].tolist() == [1, UNKNOWN]
    assert whole.labels[rows[texts[50]]].tolist() == [UNKNOWN, 0]
    assert whole.labels[rows[texts[44]]].tolist() == [1, 0]
    assert whole.split[rows[texts[50]]] == dataset.TEST


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"A_AC": "nothing"}, r"its first line is 'nothing'"),
        ({"A_B": [("ACGTACGTACGT", 1)]}, "12 bp; cut all to one length"),
        ({"A_B": [("ACGTACGTACGTACGTACGT", 1)]}, "test: all 1 examples have label 1.*give files that have them"),
        ({"A_AC": [("ACGTACGT", 1)], "A_B": [("ACGTACGA", 1)]}, r"8 bp long; expected at least 9 bp"),
    ],
)
def test_sets_that_cannot_be_used_leave_nothing(tmp_path, changes, what):
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(30)]
    content = {"A_AC": [(text, 1) for text in texts[:20]], "A_B": [(text, k % 2) for k, text in enumerate(texts[20:])]}
    for name, rows in {**content, **changes}.items():
        if isinstance(rows, str):
            (tmp_path / f"{name}.seq.gz").write_text(rows)
        else:
            write(tmp_path / f"{name}.seq.gz", rows)
    with pytest.raises(InputError, match=what):
        prepare.prepare(run_of(tmp_path, tfs=("A",), folder=tmp_path), Runtime())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A_AC.seq.gz", "A_B.seq.gz"]


@pytest.mark.parametrize(
    ("section", "what"),
    [
        (Folds(), "labels is empty"),
        (Folds(labels=("A", "B"), train=("a",), test=("a", "b")), "2 labels, 1 files in train, 2 in test"),
        (Folds(labels=("A", "A"), train=("a", "b"), test=("a", "b")), "labels are empty or repeated"),
    ],
)
def test_sections_that_make_no_sense(tmp_path, section, what):
    with pytest.raises(ConfigError, match=what):
        new.new(tmp_path / "run", config=Config(prepare=Prepare(source="folds", split="given", folds=section)))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"source": "folds", "split": "random"}, "source = 'folds' needs split = 'given', found 'random'"),
        ({"source": "simulated", "folds": None}, "has no parts of its own: set split = 'random' or 'chromosome'"),
    ],
)
def test_the_split_of_folds_is_theirs(tmp_path, changes, what):
    prepare = dataclasses.replace(run_of(tmp_path).config.prepare, **changes)
    with pytest.raises(ConfigError, match=what):
        new.new(tmp_path / "run", config=Config(prepare=prepare))
