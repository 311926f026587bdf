"""Peak files as users have them: other ways of writing them change nothing; what is dropped or changed is listed."""

import gzip
import logging

import numpy as np
import pytest

from satori_hpc.data import prepare, sequence
from satori_hpc.errors import InputError
from satori_hpc.parallel.world import Runtime
from tests.data.test_prepare import bytes_of
from tests.data.test_prepare_genome import excluded_records, filler, of_label
from tests.fixtures.genome import LENGTHS, SIZE, make
from tests.fixtures.whole import read as read_whole

GOOD = "".join(f"chr1\t{at}\t{at + 60}\tp\t0\t.\n" for at in range(100, 5900, 97))

SAME = {
    "old Mac": GOOD.replace("\n", "\r"),
    "byte order mark": "\ufeff" + GOOD,
    "blanks and tabs behind": GOOD.replace("\n", "\t\t \n"),
    "blanks before": GOOD.replace("chr1\t", "  chr1 ").replace("\t", " "),
    "blanks around cells": GOOD.replace("\t", " \t "),
    "lines that are no peaks": GOOD.replace("chr1\t197\t", "track x=1\n\n#words\nbrowser hide all\ntrack\nchr1\t197\t"),
    "other columns": GOOD.replace("\tp\t0\t.\n", "\tp\t0\t.\t1.5\t-1\t2\tx\n"),
    "three columns": GOOD.replace("\tp\t0\t.\n", "\n"),
    "other strands": GOOD.replace("\t.\n", "\t*\n"),
    "zeros before": GOOD.replace("\t100\t", "\t0100\t"),
    "gzip called .bed": gzip.compress(GOOD.encode()),
    "every row twice": GOOD + GOOD,
    "backwards": "".join(reversed(GOOD.splitlines(keepends=True))),
    "called without chr": GOOD.replace("chr1", "1"),
    "called with CHR": GOOD.replace("chr1", "CHR1"),
}


@pytest.mark.parametrize("case", SAME)
def test_other_ways_of_writing_them_change_nothing(two, case):
    folder, _, _ = two
    made = []
    for name, content in (("usual", GOOD), ("other", SAME[case])):
        (folder / "c.bed").write_bytes(content if isinstance(content, bytes) else content.encode())
        run = make(folder, name=name, peaks=("../a.bed", "../c.bed"))
        prepare.prepare(run, Runtime())
        made.append(bytes_of(run.dataset))
        assert excluded_records(run) == []
    assert made[0] == made[1]


LISTED = {
    "far outside": ("chr1\t-99999999999999999\t40\n", "", "changed", "cut at the end of the chromosome"),
    "far behind": ("chr1\t5950\t999999999999999999\n", "", "changed", "cut at the end of the chromosome"),
    "begins at the end": ("chr1\t6000\t6001\n", "", "dropped", "beyond the end of the chromosome"),
    "another style among others": ("NC_000001.11:1\t10\t90\n", "", "dropped", "chromosome not in the genome"),
    "a chromosome called track1": ("track1\t10\t90\n", "", "dropped", "chromosome not in the genome"),
    "a short chromosome": ("chrM\t10\t90\n", "window", "dropped", "chromosome shorter than a window"),
    "summit behind the peak": (
        "chr1\t10\t90\tx\t0\t.\t1\t1\t1\t80\n",
        "summit",
        "changed",
        "summit outside the peak: its middle taken",
    ),
}


@pytest.mark.parametrize("case", LISTED)
def test_a_row_that_is_dropped_or_changed_is_listed(two, case):
    folder, _, _ = two
    row, setting, done, reason = LISTED[case]
    (folder / "c.bed").write_text(GOOD + row)
    options = {"window": {"window": 950, "overlap": 900}, "summit": {"centre": "summit"}}.get(setting, {})
    run = make(folder, peaks=("../a.bed", "../c.bed"), **options)
    summary = prepare.prepare(run, Runtime())
    assert summary[f"rows {done}, {reason}"] == 1
    chrom, start, end = row.split()[:3]
    assert excluded_records(run) == [["c.bed", str(GOOD.count("\n") + 1), chrom, start, end, done, reason]]


def test_the_last_base_of_a_chromosome_is_read(two):
    folder, letters, _ = two
    (folder / "c.bed").write_text("chr1\t5999\t6000\nchr2\t0\t1\n" + "".join(GOOD.splitlines(keepends=True)[:40]))
    files = ("../c.bed", filler(folder / "f.bed"))
    run = make(folder, peaks=files, construction="merge_then_extend")
    prepare.prepare(run, Runtime())
    made = read_whole(run.dataset)
    for name, text in (("chr1:5900-6000(.)", letters["chr1"][5900:]), ("chr2:0-100(.)", letters["chr2"][:100])):
        assert name in of_label(made, "c")
        np.testing.assert_array_equal(made.tokens[made.names.index(name)], sequence.encode(text))
    assert excluded_records(run) == []


def test_of_two_chromosomes_that_could_be_meant_none_is_taken(two):
    folder, _, _ = two
    with open(folder / "genome.fa", "a") as handle:
        handle.write(f"\n>chrMT\n{'ACGTA' * 180}\n")
    (folder / "c.bed").write_text(GOOD.replace("chr1", "1") + "MT\t100\t190\n")
    run = make(folder, peaks=("../a.bed", "../c.bed"))
    prepare.prepare(run, Runtime())
    assert excluded_records(run) == [["c.bed", "61", "MT", "100", "190", "dropped", "chromosome not in the genome"]]


def test_equal_rows_of_several_files_are_one_window_with_all_labels(two):
    folder, _, _ = two
    row = f"chr2\t1000\t{1000 + SIZE}\n"
    (folder / "c.bed").write_text(row * 2)
    (folder / "d.bed").write_text(row + "".join(f"chr1\t{at}\t{at + SIZE}\n" for at in range(0, 3000, 150)) + row)
    run = make(folder, peaks=("../c.bed", "../d.bed", filler(folder / "f.bed")), construction="as_given")
    prepare.prepare(run, Runtime())
    made = read_whole(run.dataset)
    assert made.names.count("chr2:1000-1100(.)") == 1
    assert made.labels[made.names.index("chr2:1000-1100(.)")].tolist() == [1, 1, 0]
    assert len(made) == 41


NUMBERS = "expected whole numbers"
REFUSED: dict[str, tuple[str | bytes | None, str]] = {
    "1e5": ("chr1\t1e3\t2e3\n", f"line 61: start '1e3' and end '2e3'; {NUMBERS}"),
    "1.0": ("chr1\t10.0\t90.0\n", f"line 61: start '10.0' and end '90.0'; {NUMBERS}"),
    "thousands": ("chr1\t1,000\t1,090\n", f"line 61: start '1,000' .* {NUMBERS}"),
    "underscore": ("chr1\t1_000\t1_090\n", f"line 61: start '1_000' .* {NUMBERS}"),
    "other digits": ("chr1\t１０\t９０\n", f"line 61: .* {NUMBERS}"),
    "above int64": ("chr1\t10\t9223372036854775808\n", f"line 61: .* {NUMBERS}"),
    "below int64": ("chr1\t-9223372036854775809\t10\n", f"line 61: .* {NUMBERS}"),
    "5000 digits": (f"chr1\t10\t{'9' * 5000}\n", f"line 61: start '10' and end '9{{30}}'; {NUMBERS}"),
    "end before start": ("chr1\t90\t10\n", "line 61: chr1:90-10 has no length"),
    "no chromosome": ("\t10\t90\n", "line 61: no chromosome"),
    "two tabs": ("chr1\t\t10\t90\n", f"line 61: start '' and end '10'; {NUMBERS}"),
    "commas": ("chr1,10,90\n", "line 61: 1 columns; expected chrom, start, end"),
    "NUL": ("chr1\0\t10\t90\n", "line 61: binary data"),
    "not UTF-8": (GOOD.encode() + b"chr1\t10\t90\tcaf\xe9\n", "line 61: not UTF-8 text"),
    "a header": (("chrom\tstart\tend\n" + GOOD).encode(), "line 1: .* a header line must begin with '#'"),
    "UTF-16": (GOOD.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(99), "spreadsheet .* save it as text with tabs"),
    "an old spreadsheet": (b"\xd0\xcf\x11\xe0" + bytes(99), "spreadsheet"),
    "a web page": (b"<!DOCTYPE html><html>\n<p>404</p>\n", "line 1: 2 columns"),
    "empty": (b"", "no peaks; expected rows"),
    "empty gzip": (gzip.compress(b""), "no peaks; expected rows"),
    "cut gzip": (gzip.compress(GOOD.encode())[:-9], "after line 60: damaged or truncated gzip"),
    "changed gzip": (gzip.compress(GOOD.encode())[:-8] + bytes(8), "damaged or truncated gzip"),
    "missing": (None, "no such file; correct .prepare.genome. peaks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_told_and_leaves_nothing(two, case):
    folder, _, _ = two
    content, message = REFUSED[case]
    if content is not None:
        (folder / "c.bed").write_bytes(content if isinstance(content, bytes) else (GOOD + content).encode())
    run = make(folder, peaks=("../a.bed", "../c.bed", "../b.bed"))
    with pytest.raises(InputError, match=message) as caught:
        prepare.prepare(run, Runtime())
    assert str(folder / "c.bed") in str(caught.value).replace("/run/../", "/")
    assert list(run.path.iterdir()) == []


def test_a_folder_is_no_file(two):
    folder, _, _ = two
    run = make(folder, peaks=("../a.bed", ".."))
    with pytest.raises(InputError, match="cannot be read .Is a directory"):
        prepare.prepare(run, Runtime())
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize("summit", ["x", "-9", "99999999999999999999", "1.5", ""])
def test_summits_that_are_none_are_refused(two, summit):
    folder, _, _ = two
    (folder / "c.narrowPeak").write_text(f"chr1\t10\t90\tx\t0\t.\t1\t1\t1\t{summit}\tmore\n")
    run = make(folder, peaks=("../c.narrowPeak", "../a.bed"), centre="summit")
    with pytest.raises(InputError, match=f"line 1: summit '{summit}' in column 10; expected bp from start, or -1"):
        prepare.prepare(run, Runtime())


def test_files_without_summits_are_remarked_on(two, caplog):
    folder, _, _ = two
    with caplog.at_level(logging.WARNING):
        prepare.prepare(make(folder, peaks=("../a.bed", "../b.bed"), centre="summit"), Runtime())
    assert caplog.text.count("column 10 has no summit: the midpoints of its peaks are used") == 2


def test_all_rows_that_cannot_be_used_are_told_at_once(two):
    folder, _, _ = two
    (folder / "c.bed").write_text("chr1\t9\t1\nchr1\t1\nchr1\t1\tx\n" + "chr1\t1e5\t2\n" * 30)
    with pytest.raises(InputError, match="line 1: (.|\n)*line 2: (.|\n)*line 3: (.|\n)*and 13 more"):
        prepare.prepare(make(folder, peaks=("../a.bed", "../c.bed")), Runtime())


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_counted_as_a_peak_or_listed_with_its_line(two, seed):
    """Rows at random, told one by one what has to become of them."""
    folder, _, _ = two
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(400):
        chrom = str(rng.choice(["chr1", "chr2", "chrM", "chr9"], p=[0.6, 0.3, 0.05, 0.05]))
        start = int(rng.integers(-20, LENGTHS.get(chrom, 3000) - 10))
        rows.append((chrom, start, start + int(rng.integers(1, 70))))
    rows += [("chr1", 6000, 6010), ("chr2", -30, 0)]  # nothing of them lies inside: under 1 %
    (folder / "c.bed").write_text("# words\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    run = make(
        folder,
        peaks=("../c.bed", "../a.bed"),
        without_chromosomes=("chrM",),
        construction="merge_then_extend",
        window=400,
    )
    summary = prepare.prepare(run, Runtime())
    expected = {}
    for line, (chrom, start, end) in enumerate(rows, start=2):
        if chrom == "chr9":
            expected[line] = ("dropped", "chromosome not in the genome")
        elif chrom == "chrM":
            expected[line] = ("dropped", "chromosome left out")
        elif start >= LENGTHS[chrom] or end <= 0:
            expected[line] = ("dropped", "beyond the end of the chromosome")
        elif start < 0 or end > LENGTHS[chrom]:
            expected[line] = ("changed", "cut at the end of the chromosome")
    assert {int(row[1]): (row[5], row[6]) for row in excluded_records(run)} == expected
    for done, reason in set(expected.values()):
        assert summary[f"rows {done}, {reason}"] == list(expected.values()).count((done, reason))
    gone = [line for line, (done, _) in expected.items() if done == "dropped"]
    assert summary["peak_rows"] == summary["peaks"] + len(gone) == len(rows) + 60
