"""Sequences and labels from files: every accepted form, and every complaint with its file, its line and its fix."""

import bz2
import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from satori_hpc import log
from satori_hpc.data import fasta, sequence
from satori_hpc.data.sources import fasta_table
from satori_hpc.errors import InputError

DATA = Path(__file__).parents[1] / "fixtures" / "data"
FASTA = ">chr1:10-20(+)\nACGTACGTAC\n>chr2:5-15(-) some words\nGGGTTTAAAC\n>chr3:1-11\nTTTTTTTTTT\n"
TABLE = "chr1\t10\t20\t1\nchr2\t5\t15\t0\nchr3\t1\t11\t1\n"
LETTERS = ["ACGTACGTAC", "GGGTTTAAAC", "TTTTTTTTTT"]


@pytest.fixture
def told(caplog, monkeypatch):
    """The log, also when a test of the command line has turned propagation off."""
    monkeypatch.setattr(log.logger, "propagate", True)
    return caplog


def put(folder: Path, sequences: str | bytes = FASTA, table: str | bytes = TABLE) -> tuple[Path, Path]:
    paths = folder / "s.fa", folder / "l.txt"
    for path, content in zip(paths, (sequences, table), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return paths


def read(paths, *, task="auto", labels=None):
    return fasta_table.read(*paths, task=task, labels=labels)[:2]


def test_the_plain_case(tmp_path):
    whole, summary = read(put(tmp_path))
    assert [sequence.decode(row) for row in whole.tokens] == LETTERS
    assert whole.labels[:, 0].tolist() == [1, 0, 1]
    assert whole.names == ["chr1:10-20(+)", "chr2:5-15(-)", "chr3:1-11"]
    assert list(whole.coordinates.chrom) == ["chr1", "chr2", "chr3"]
    assert whole.coordinates.start.tolist() == [10, 5, 1]
    assert whole.coordinates.end.tolist() == [20, 15, 11]
    assert whole.coordinates.strand.tolist() == [1, -1, 0]
    assert (whole.task, whole.targets) == ("binary", ["label"])
    assert summary == {
        "records": 3,
        "rows": 3,
        "repeated_records_merged": 0,
        "repeated_rows_merged": 0,
        "records_without_label_dropped": 0,
        "joined_by": "place",
        "intervals_not_as_long_as_sequences": 0,
        "letters_not_ACGT": 0,
    }


ACCEPTED = {
    "CRLF": (FASTA.replace("\n", "\r\n"), TABLE.replace("\n", "\r\n")),
    "old Mac": (FASTA.replace("\n", "\r"), TABLE.replace("\n", "\r")),
    "no final newline": (FASTA.rstrip(), TABLE.rstrip()),
    "blank lines at the end": (FASTA + "\n\n  \n", TABLE + "\n\n"),
    "blank lines between": (FASTA.replace(">", "\n>"), TABLE.replace("chr2", "\nchr2")),
    "wrapped": (FASTA.replace("ACGTACGTAC", "ACGT\nACGTA\nC"), TABLE),
    "lower case": (FASTA.replace("ACGTACGTAC", "acgtAcgtac"), TABLE),
    "byte order mark": (b"\xef\xbb\xbf" + FASTA.encode(), b"\xef\xbb\xbf" + TABLE.encode()),
    "gzip": (gzip.compress(FASTA.encode()), gzip.compress(TABLE.encode())),
    "gzip in two members": (gzip.compress(FASTA[:30].encode()) + gzip.compress(FASTA[30:].encode()), TABLE),
    "quoted": (FASTA, 'chr1\t10\t20\t"1"\nchr2\t5\t15\t"0"\nchr3\t1\t11\t1\n'),
    "more columns": (FASTA, TABLE.replace("\t1\n", "\tx\t+\t1\n").replace("\t0\n", "\ty\t.\t0\n")),
    "another order": (FASTA, "".join(reversed(TABLE.splitlines(keepends=True)))),
    "spaces at line ends": (FASTA.replace("\n", " \n"), TABLE.replace("\n", " \n")),
}


@pytest.mark.parametrize("files", ACCEPTED.values(), ids=ACCEPTED.keys())
@pytest.mark.filterwarnings("error")
def test_accepted_forms(tmp_path, files):
    whole, _ = read(put(tmp_path, *files))
    assert [sequence.decode(row) for row in whole.tokens] == LETTERS
    assert whole.labels[:, 0].tolist() == [1, 0, 1]


def test_letters_other_than_acgt_become_n_and_are_counted(tmp_path):
    whole, summary = read(put(tmp_path, FASTA.replace("ACGTACGTAC", "NRYSWKMBDn")))
    assert whole.tokens[0].tolist() == [4] * 10
    assert summary["letters_not_ACGT"] == 10


def test_a_set_full_of_other_letters_is_remarked_on(tmp_path, told):
    read(put(tmp_path))
    assert not told.text
    read(put(tmp_path, FASTA.replace("T", "R")))
    assert "50 % of all letters are not A, C, G or T: R 15" in told.text


def test_the_interval_need_not_be_as_long_as_the_sequence(tmp_path, told):
    whole, _ = read(put(tmp_path, ">P1:101-101(.)\nACGT\n>P2:101-101(.)\nGGGG\n", "P1\t101\t101\t1\nP2\t101\t101\t0\n"))
    assert list(whole.coordinates.chrom) == ["P1", "P2"]
    assert whole.length == 4
    assert "2 of 2 intervals are not as long as their sequences of 4 bp" in told.text


def test_repeats_in_full_are_taken_once(tmp_path):
    paths = put(tmp_path, FASTA + FASTA[:26].lower(), TABLE + "chr2\t5\t15\t0\n" * 2)
    whole, summary, excluded_records = fasta_table.read(*paths, task="auto", labels=None)
    assert len(whole) == 3
    assert summary["repeated_records_merged"] == 1
    assert summary["repeated_rows_merged"] == 2
    excluded_records.write(tmp_path / "excluded_records.tsv.gz")
    listed = gzip.decompress((tmp_path / "excluded_records.tsv.gz").read_bytes()).decode().splitlines()
    at = whole.coordinates
    last = FASTA.count("\n") + 1, TABLE.count("\n") + 1
    assert listed[1:] == [
        f"s.fa\t{last[0]}\t{at.chrom[0]}\t{at.start[0]}\t{at.end[0]}\tdropped\trepeats an earlier record",
        f"l.txt\t{last[1]}\tchr2\t5\t15\tdropped\trepeats an earlier row",
        f"l.txt\t{last[1] + 1}\tchr2\t5\t15\tdropped\trepeats an earlier row",
    ]


def test_plain_headers_match_the_first_column(tmp_path):
    whole, summary = read(put(tmp_path, ">b\nACGT\n>a\nGGGG\n", "a\t0\t4\t1\nb\t0\t4\t0\n"))
    assert whole.labels[:, 0].tolist() == [0, 1]
    assert list(whole.coordinates.chrom) == ["b", "a"]
    assert summary["joined_by"] == "name"


def test_row_order_when_it_is_asked_for(tmp_path, told):
    paths = put(tmp_path, ">x\nACGT\n>y\nGGGG\n", "chr1\t0\t4\t1\nchr1\t9\t13\t0\n")
    with pytest.raises(InputError, match="no record belongs to a row by its place or name"):
        read(paths)
    whole, summary, _ = fasta_table.read(*paths, task="auto", labels=None, join="order")
    assert whole.labels[:, 0].tolist() == [1, 0]
    assert whole.names == ["x", "y"]
    assert whole.coordinates.start.tolist() == [0, 9]
    assert summary["joined_by"] == "row order"
    assert "record k takes the label of row k" in told.text


BAD_FASTA = {
    "empty": ("", r"s\.fa: empty; expected records.*fasta in run\.toml"),
    "empty gzip": (gzip.compress(b""), r"s\.fa: empty"),
    "text before": ("ACGT\n" + FASTA, r"s\.fa, line 1: text before the first header.*'ACGT'"),
    "no sequence": (FASTA + ">chr4:1-2\n>chr5:1-2\nAC\n", r"line 7: chr4:1-2 has no sequence"),
    "no sequence at the end": (FASTA + ">chr4:1-2\n", r"line 7: chr4:1-2 has no sequence"),
    "no name": (FASTA + "> \nACGT\n", r"line 7: a header without a name"),
    "not letters": (FASTA.replace("GGGTTT", "GG-TTT"), r"line 4: '-' at position 3 is not a letter; expected"),
    "truncated gzip": (gzip.compress(FASTA.encode())[:-9], r"s\.fa, after line \d+: damaged or truncated gzip"),
    "damaged gzip": (
        gzip.compress(FASTA.encode())[:-8] + b"x" * 8,
        r"s\.fa, after line \d+: damaged or truncated gzip",
    ),
    "binary": (b"\x00\x01\x02" * 40, r"s\.fa, line 1: binary data"),
    "not UTF-8": (b">chr1:1-2\n\xff\xfe\xfa\n", r"s\.fa, line 2: not UTF-8"),
    "UTF-16": (FASTA.encode("utf-16"), r"s\.fa: UTF-16 text; save it as UTF-8"),
    "packed otherwise": (bz2.compress(FASTA.encode()), r"s\.fa: packed by bzip2; unpack it"),
    "other sequence": (
        FASTA + ">chr1:10-20(+)\nTTTTTTTTTT\n",
        r"lines 1 and 7: chr1:10-20 occurs twice with different seq",
    ),
    "other strand": (FASTA + ">chr1:10-20(-)\nGTACGTACGA\n", r"lines 1 and 7: chr1:10-20 occurs twice"),
    "unequal": (
        FASTA.replace("GGGTTTAAAC", "GGGTTTAAACA"),
        r"line 3: chr2:5-15\(-\) is 11 bp long; expected 10 bp as in 2 of 3",
    ),
    "no row": (FASTA + ">chr9:1-2\nACGTACGTAC\n", r"line 7: chr9:1-2 has no row in the table; add"),
    "another form": (
        FASTA + ">chr9\nACGTACGTAC\n",
        r"line 7: chr9 \(a header of another form than the others\) has no row",
    ),
    "nothing matches": (
        FASTA.replace(">chr", ">"),
        r"first header \(line 1\) is >1:10-20\(\+\).*\(1\) would be >chr1:10-20",
    ),
    "counts differ": (">x\nACGT\n", r"numbers differ as well: 1 records, 3 rows"),
}


@pytest.mark.parametrize(("content", "what"), BAD_FASTA.values(), ids=BAD_FASTA.keys())
def test_fasta_that_cannot_be_used(tmp_path, content, what):
    with pytest.raises(InputError, match=what) as error:
        read(put(tmp_path, content))
    assert str(tmp_path / "s.fa") in str(error.value)


BAD_TABLE = {
    "empty": ("", r"empty; expected rows of chrom, start, end, \.\.\., label"),
    "only blank lines": ("\n \n", r"empty"),
    "spaces": (TABLE.replace("\t", " "), r"row 1: 1 columns; expected at least 4.*separated by tabs"),
    "three columns": ("chr1\t10\t20\n" + TABLE, r"row 1: 3 columns"),
    "ragged": (TABLE + "chr9\t1\t2\tx\t1\n", r"row 4: 5 columns; expected 4"),
    "header line": (
        "chrom\tstart\tend\tlabel\n" + TABLE,
        r"row 1: start is 'start'; expected a whole number; a header line",
    ),
    "start": (TABLE.replace("\t5\t", "\tfive\t"), r"row 2: start is 'five'"),
    "end": (TABLE.replace("\t15\t", "\t-15\t"), r"row 2: end is '-15'"),
    "turned": (TABLE.replace("5\t15", "15\t5"), r"row 2: end 5 is before start 15"),
    "no chrom": (TABLE.replace("chr2", ""), r"row 2: the first column .* is empty"),
    "label 2": (TABLE.replace("\t0\n", "\t2\n"), r"row 2: label 2 is out of range; expected 0 or 1; .*multilabel"),
    "label -1": (TABLE.replace("\t0\n", "\t-1\n"), r"row 2: label -1 is out of range; expected 0 or 1"),
    "label x": (TABLE.replace("\t0\n", "\tneg\n"), r"row 2: label 'neg' is not a whole number"),
    "label 1.0": (TABLE.replace("\t0\n", "\t1.0\n"), r"row 2: label '1\.0' is not a whole number"),
    "no label": (TABLE.replace("\t0\n", "\t\n"), r"row 2: no label"),
    "other label": (TABLE + "chr2\t5\t15\t1\n", r"table rows 2 and 4: chr2:5-15 occurs twice with different labels"),
    "no record": (TABLE + "chr7\t5\t15\t1\n", r"table row 4: chr7:5-15 has no record in the FASTA file; add"),
    "not UTF-8": (TABLE.encode() + b"\xe9t\xe9\t1\t2\t1\n", r"line 4: not UTF-8"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(50), r"l\.txt: a spreadsheet \(\.xlsx\).*save it as text with tabs"),
    "binary": (TABLE.encode() + b"\x00\x00\n", r"line 4: binary data"),
    "truncated gzip": (
        gzip.compress(random.Random(1).randbytes(500).hex().encode() + TABLE.encode())[:-4],
        r"truncated gzip",
    ),
}


@pytest.mark.parametrize(("content", "what"), BAD_TABLE.values(), ids=BAD_TABLE.keys())
def test_tables_that_cannot_be_used(tmp_path, content, what):
    with pytest.raises(InputError, match=what) as error:
        read(put(tmp_path, FASTA, content))
    assert str(tmp_path / "l.txt") in str(error.value)


@pytest.mark.parametrize("missing", ["s.fa", "l.txt"])
def test_missing_files_and_folders(tmp_path, missing):
    paths = put(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=rf"{missing}: no such file; correct \[prepare.fasta\]"):
        read(paths)
    (tmp_path / missing).mkdir()
    with pytest.raises(InputError, match=rf"{missing}: cannot be read"):
        read(paths)


def test_all_problems_come_at_once(tmp_path):
    names = [f">chr{k}:1-5\nACGT\n" for k in range(3, 40)]
    with pytest.raises(InputError) as error:
        read(put(tmp_path, ">chr1:1-5\nACGT\n" + "".join(names), "chr1\t1\t5\t1\nchr2\t1\t5\t0\n"))
    text = str(error.value)
    assert "line 3: chr3:1-5" in text
    assert "and 18 more of the same kind" in text


@pytest.mark.parametrize(
    ("cells", "task", "labels", "expected"),
    [
        (["0,3", "1", "."], "auto", None, [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]),
        (['"3, 0"', "'1'", "2,2"], "multilabel", None, [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]),
        (["0", "1", "0"], "multilabel", None, [[1, 0], [0, 1], [1, 0]]),
        (["0", "1", "0"], "multilabel", 3, [[1, 0, 0], [0, 1, 0], [1, 0, 0]]),
        (["0", "1", "0"], "auto", None, [[0], [1], [0]]),
    ],
)
def test_labels(tmp_path, cells, task, labels, expected):
    table = "".join(
        f"chr{k + 1}\t{a}\t{b}\t{cell}\n"
        for k, ((a, b), cell) in enumerate(zip([(10, 20), (5, 15), (1, 11)], cells, strict=True))
    )
    whole, _ = read(put(tmp_path, FASTA, table), task=task, labels=labels)
    assert whole.labels.tolist() == expected
    assert whole.labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("cell", "task", "labels", "what"),
    [
        ("0,5", "multilabel", 4, "row 2: label 5 is out of range; expected ids from 0 to 3, separated by commas"),
        ("0,,1", "auto", None, "row 2: label '' is not a whole number"),
        ("99999999999", "multilabel", None, "row 2: label 99999999999 is out of range"),
        ("", "multilabel", None, "row 2: no label"),
        ("0,1", "binary", None, "row 2: a list of labels, '0,1'; expected 0 or 1"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, cell, task, labels, what):
    with pytest.raises(InputError) as error:
        read(put(tmp_path, FASTA, TABLE.replace("\t0\n", f"\t{cell}\n")), task=task, labels=labels)
    assert what in str(error.value)


def test_real_label_lists():
    path = DATA / "human_promoters_head.txt"
    raw = path.read_bytes()
    assert raw.count(b"\r\n") == 59
    assert not raw.endswith(b"\n")
    assert b'"' in raw
    rows = fasta_table.read_table(path)
    labels = fasta_table.parse_labels(path, rows, task="auto", labels=164)
    assert len(rows.lines) == 60
    assert len(set(zip(rows.chrom, rows.start, rows.end, strict=True))) == 59
    assert {end - start for start, end in zip(rows.start, rows.end, strict=True)} == {600}
    assert labels.task == "multilabel"
    expected = [
        sorted(set(map(int, line.decode().split("\t")[-1].strip('"').split(",")))) for line in raw.split(b"\r\n")
    ]
    assert [list(ids) for ids in labels.active] == expected
    assert labels.matrix(list(range(60))).sum(axis=1).tolist() == [len(ids) for ids in expected]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chr1:10-20(+)", fasta.Interval("chr1", 10, 20, 1)),
        ("chr1:10-20(-)", fasta.Interval("chr1", 10, 20, -1)),
        ("chr1:10-20(.)", fasta.Interval("chr1", 10, 20, 0)),
        ("chr1:10-20", fasta.Interval("chr1", 10, 20, 0)),
        ("HLA:A_x:1-2", fasta.Interval("HLA:A_x", 1, 2, 0)),
        ("chr1", None),
        ("chr1:10", None),
        ("chr1:a-b", None),
        ("chr1:10-20(+)x", None),
    ],
)
def test_intervals_in_headers(name, expected):
    assert fasta.interval(name) == expected
