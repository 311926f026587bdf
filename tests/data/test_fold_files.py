"""Fold files: real ones, all ways of writing them, and those that cannot be used."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.data import sequence
from satori_hpc.data.source import MemoryBudget
from satori_hpc.data.sources import chipseq_folds
from satori_hpc.errors import InputError, SatoriError

DATA = Path(__file__).parents[1] / "fixtures" / "data" / "chipseq_folds"
HEAD = "FoldID\tEventID\tseq\tBound\n"


def test_real_files():
    train, test = (chipseq_folds.read_fold(DATA / f"ARID3A_{part}.seq.gz", key="") for part in ("AC", "B"))
    assert train.tokens.shape == (120, 101)
    assert train.bound.all()
    assert train.events[0] == "seq_00001_peak"
    assert sequence.decode(train.tokens[0]).startswith("GTGCTCTGTGCTCCGCG")
    assert test.tokens.shape == (60, 101)
    assert test.bound.tolist() == [1] * 30 + [0] * 30
    assert test.events[-1].endswith("_shuf")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_columns_are_found_by_name(tmp_path, zipped, ends):
    text = "seq\tBound\tEventID\nacgtn\t1\ta\n\nACGTR\t1\tb\nACGTN\t1\tc".replace("\n", ends)
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    rows = chipseq_folds.read_fold(path, key="")
    assert rows.events == ["a", "b", "c"]
    assert rows.bound.tolist() == [1, 1, 1]
    assert rows.bound.dtype == np.uint8
    assert [sequence.decode(row) for row in rows.tokens] == ["ACGTN"] * 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "its first line is ''.*EventID, seq, Bound"),
        ("A\ta\tACGT\t1\n", "its first line is 'A.*missing or repeated: EventID, seq, Bound"),
        ("EventID\tseq\tBound\tseq\n", "missing or repeated: seq"),
        (HEAD, "no rows behind the first line"),
        (HEAD + "A\ta\tACGT\n", "line 2: 3 columns; expected 4"),
        (HEAD + "A\ta\tACGT\t1\nA\tb\tACG\t0\n", "line 3: the sequence is 3 bp long; expected 4 bp"),
        (HEAD + "A\ta\tAC-T\t1\n", "line 2: '-' at position 3 is not a letter"),
        (HEAD + "A\ta\tACGT\t0.5\n", "line 2: Bound is '0.5'; expected 0 or 1"),
        (HEAD + "A\ta\t\t1\n", "line 2: no sequence"),
        (HEAD + "A\t\tACGT\t1\n", "line 2: no EventID"),
        (HEAD + "A\ta\tACGT\t1\nA\ta\tACCT\t1\n", "line 3: EventID a stands in line 2, too"),
        (HEAD + "A\ta\tACGT\t1\nA\tb\tacgt\t0\n", "line 3: the sequence of line 2 again, there Bound is 1, here 0"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(tmp_path, text, what):
    path = tmp_path / "f.seq"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as error:
        chipseq_folds.read_fold(path, key="[prepare.folds] train")
    assert str(path) in str(error.value)


def test_all_bad_rows_are_told_at_once(tmp_path):
    path = tmp_path / "f.seq"
    path.write_text(HEAD + "A\ta\tACGT\t1\nA\tb\tACGT\t2\nA\tc\tAC!T\t1\nA\td\tACGT\n")
    with pytest.raises(InputError, match="line 3") as error:
        chipseq_folds.read_fold(path, key="")
    assert all(f"line {line}" in str(error.value) for line in (3, 4, 5))


def test_a_file_that_is_missing_or_cut(tmp_path):
    with pytest.raises(InputError, match=r"no such file.*\[prepare.folds\] test"):
        chipseq_folds.read_fold(tmp_path / "nothing", key="[prepare.folds] test")
    path = tmp_path / "cut.seq.gz"
    path.write_bytes((DATA / "ARID3A_AC.seq.gz").read_bytes()[:-400])
    with pytest.raises(InputError, match="truncated gzip"):
        chipseq_folds.read_fold(path, key="")


def test_uracil_is_refused_by_its_name_or_read_as_thymine(tmp_path):
    path = tmp_path / "f.seq"
    path.write_text(HEAD + "A\ta\tACGUU\t1\nA\tb\tuuGCA\t0\n")
    with pytest.raises(InputError, match=r"f\.seq: .*\n.*4 of 10 letters are U, which is RNA; .* alphabet = 'rna'"):
        chipseq_folds.read_fold(path, key="")
    rows = chipseq_folds.read_fold(path, key="", alphabet="rna")
    assert [sequence.decode(row) for row in rows.tokens] == ["ACGTT", "TTGCA"]


def test_protein_is_refused_by_its_letters(tmp_path):
    path = tmp_path / "f.seq"
    path.write_text(HEAD + "A\ta\tMKVLE\t1\n")
    with pytest.raises(
        InputError, match=r"letters that stand for no nucleotide \(1 E, 1 L, of 5 letters\): is it prot"
    ):
        chipseq_folds.read_fold(path, key="")


def test_a_file_that_does_not_fit_into_the_memory_given_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(chipseq_folds, "CHECKED", 2)
    path = tmp_path / "f.seq"
    path.write_text(HEAD + "".join(f"A\te{k}\t{letters}\t1\n" for k, letters in enumerate(("ACGT", "ACGG", "CCGT"))))
    budget = MemoryBudget(limit=2**20, program=2**20 - 1500)
    with pytest.raises(SatoriError, match=r"--memory 1\.0 MiB is too little"):
        chipseq_folds.read_fold(path, key="", check=budget.check_file)
