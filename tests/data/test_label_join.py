"""Labels follow the headers of a FASTA file, in every spelling; what contradicts the table is refused."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

from satori_hpc import log
from satori_hpc.cli import cli
from satori_hpc.config import Config
from satori_hpc.data import dataset, fasta, sequence, source
from satori_hpc.data.dataset import Dataset, Examples
from satori_hpc.data.source import MemoryBudget
from satori_hpc.data.sources import fasta_table
from satori_hpc.errors import InputError, SatoriError
from satori_hpc.interactions.coordinates import places
from satori_hpc.report import inspect
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from tests.fixtures.whole import read as read_whole

COUNT, LENGTH = 24, 60
CHROMOSOMES = ("chr1", "chrUn_KI270742v1", "chr6_GL000256v2_alt", "scaffold-12")


class Example(NamedTuple):
    number: int
    chrom: str
    start: int
    end: int
    strand: str
    letters: str
    label: str


def examples() -> list[Example]:
    rng = np.random.default_rng(3)
    return [
        Example(
            number,
            CHROMOSOMES[number % 4],
            start := 100 + 500 * number,
            start + LENGTH,
            "+-"[number // 2 % 2],
            "".join(rng.choice(list("ACGT"), LENGTH)),
            str(int(rng.integers(0, 2))),
        )
        for number in range(COUNT)
    ]


def write(
    folder: Path,
    header: Callable[[Example], str],
    row: Callable[[Example], str],
    *,
    records: list[Example] | None = None,
    rows: list[Example] | None = None,
) -> tuple[Path, Path]:
    """Rows stand by label, so that order tells the wrong label of half of the records."""
    known = examples()
    (folder / "s.fa").write_text("".join(f">{header(each)}\n{each.letters}\n" for each in records or known))
    by_label = sorted(rows or known, key=lambda each: each.label)
    (folder / "l.txt").write_text("".join(row(each) + f"\t{each.label}\n" for each in by_label))
    return folder / "s.fa", folder / "l.txt"


def read(paths: tuple[Path, Path], **options: str):
    return fasta_table.read(*paths, task="auto", labels=None, **options)  # type: ignore[arg-type]


def check(whole: Examples) -> None:
    """All examples are there, with their own labels and places."""
    at = whole.coordinates
    found = zip(
        (sequence.decode(each) for each in whole.tokens),
        map(str, whole.labels[:, 0].tolist()),
        at.chrom,
        at.start.tolist(),
        at.end.tolist(),
        strict=True,
    )
    assert set(found) == {(each.letters, each.label, each.chrom, each.start, each.end) for each in examples()}
    assert len(whole) == len(set(whole.names)) == COUNT


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(log.logger, "propagate", True)
    return caplog


def bed(each: Example) -> str:
    return f"{each.chrom}\t{each.start}\t{each.end}"


def bed6(each: Example) -> str:
    return f"{bed(each)}\tpeak{each.number}\t{1000 - each.number}\t{each.strand}"


def named(each: Example) -> str:
    return f"peak{each.number}\t{each.start}\t{each.end}"


PLACES: dict[str, Callable[[Example], str]] = {
    "bedtools": lambda e: f"{e.chrom}:{e.start}-{e.end}",
    "bedtools -s": lambda e: f"{e.chrom}:{e.start}-{e.end}({e.strand})",
    "bedtools -name": lambda e: f"peak{e.number}::{e.chrom}:{e.start}-{e.end}",
    "bedtools -name -s": lambda e: f"peak{e.number}::{e.chrom}:{e.start}-{e.end}({e.strand})",
    "dashes": lambda e: f"{e.chrom}-{e.start}-{e.end}",
    "underscores": lambda e: f"{e.chrom}_{e.start}_{e.end}",
    "underscores and strand": lambda e: f"{e.chrom}_{e.start}_{e.end}_{e.strand}",
    "dots": lambda e: f"{e.chrom}.{e.start}.{e.end}",
    "pipes": lambda e: f"{e.chrom}|{e.start}|{e.end}|{e.strand}",
    "colons": lambda e: f"{e.chrom}:{e.start}:{e.end}",
    "name, pipe": lambda e: f"peak{e.number}|{e.chrom}:{e.start}-{e.end}|{e.strand}",
    "name, at": lambda e: f"peak{e.number}@{e.chrom}:{e.start}-{e.end}",
    "Galaxy": lambda e: f"hg38_{e.chrom}_{e.start}_{e.end}_{e.strand}",
    "twoBitToFa": lambda e: f"hg38.2bit:{e.chrom}:{e.start}-{e.end}",
    "thousands": lambda e: f"{e.chrom}:{e.start:,}-{e.end:,}",
    "dots between": lambda e: f"{e.chrom}:{e.start}..{e.end} ({e.strand} strand) length={LENGTH}",
    "HOMER": lambda e: f"{e.chrom}:{e.start}-{e.end},{e.strand}",
    "HOMER, name and place": lambda e: f"peak{e.number}\t{e.chrom}:{e.start}-{e.end},{e.strand}",
    "HOMER, fields": lambda e: f"peak{e.number}\t{e.chrom}\t{e.start}\t{e.end}\t{e.strand}",
    "words": lambda e: f"{e.chrom} {e.start} {e.end}",
    "later word": lambda e: f"seq{e.number} len={LENGTH} {e.chrom}:{e.start}-{e.end}",
    "key": lambda e: f"seq{e.number} loc={e.chrom}:{e.start}-{e.end}; n=1",
    "UCSC": lambda e: (
        f"hg38_dna range={e.chrom}:{e.start + 1}-{e.end} 5'pad=0 3'pad=0 strand={e.strand} repeatMasking=none"
    ),
    "Ensembl": lambda e: f"chromosome:GRCh38:{e.chrom}:{e.start + 1}:{e.end}:{e.strand.strip('+')}1",
    "Ensembl, later": lambda e: (
        f"1 dna:chromosome chromosome:GRCh38:{e.chrom}:{e.start + 1}:{e.end}:{e.strand.strip('+')}1 REF"
    ),
    "samtools faidx": lambda e: f"{e.chrom}:{e.start + 1}-{e.end}",
    "samtools faidx -i": lambda e: f"{e.chrom}:{e.start + 1}-{e.end}{'/rc' if e.strand == '-' else ''}",
    "seqkit": lambda e: f"{e.chrom}_{e.start + 1}-{e.end}:{e.strand} peak{e.number}",
    "R": lambda e: f"{e.chrom}:{e.start + 1}-{e.end}:{e.strand}",
    "NCBI": lambda e: (
        f"{e.chrom}:c{e.end}-{e.start + 1}" if e.strand == "-" else f"{e.chrom}:{e.start + 1}-{e.end} Homo sapiens"
    ),
}


@pytest.mark.parametrize("row", [bed, bed6], ids=["BED", "BED6"])
@pytest.mark.parametrize("spelling", PLACES)
def test_labels_follow_places_in_every_spelling(tmp_path, spelling, row):
    whole, summary, _ = read(write(tmp_path, PLACES[spelling], row))
    check(whole)
    assert summary["joined_by"].startswith("place")
    assert summary["intervals_not_as_long_as_sequences"] == 0


STRANDED = ("bedtools -s", "underscores and strand", "HOMER", "UCSC", "name, pipe", "samtools faidx -i", "dots between")


@pytest.mark.parametrize("spelling", STRANDED)
def test_strands_are_those_of_the_headers(tmp_path, spelling):
    whole, _, _ = read(write(tmp_path, PLACES[spelling], bed))
    plus = 0 if spelling == "samtools faidx -i" else 1
    expected = {each.letters: plus if each.strand == "+" else -1 for each in examples()}
    found = {
        sequence.decode(row): strand
        for row, strand in zip(whole.tokens, whole.coordinates.strand.tolist(), strict=True)
    }
    assert found == expected


NAMES: dict[str, Callable[[Example], str]] = {
    "plain": lambda e: f"peak{e.number}",
    "bedtools -nameOnly -s": lambda e: f"peak{e.number}({e.strand})",
    "bedtools -name": lambda e: f"peak{e.number}::chr9:1-61({e.strand})",
    "with words": lambda e: f"peak{e.number} some words",
    "with pipes": lambda e: f"peak{e.number}|x|y",
    "that look like places": lambda e: f"peak{e.number}",
}


@pytest.mark.parametrize("row", [named, bed6], ids=["first column", "BED6"])
@pytest.mark.parametrize("spelling", NAMES)
def test_labels_follow_names_in_the_first_or_another_column(tmp_path, spelling, row):
    whole, summary, _ = read(write(tmp_path, NAMES[spelling], row))
    assert summary["joined_by"] == ("name" if row is named else "name in column 4")
    if row is bed6:
        check(whole)
    labels = {each.letters: int(each.label) for each in examples()}
    assert {sequence.decode(a): int(b) for a, b in zip(whole.tokens, whole.labels[:, 0], strict=True)} == labels


def test_names_that_look_like_places_are_names(tmp_path):
    def header(each: Example) -> str:
        return f"win_{each.number}_{each.number + 40}"

    whole, _, _ = read(write(tmp_path, header, lambda e: f"{bed(e)}\t{header(e)}"))
    check(whole)
    assert whole.names == [header(each) for each in examples()]


def test_where_first_words_repeat_examples_are_called_by_their_places(tmp_path):
    whole, _, _ = read(write(tmp_path, PLACES["UCSC"], bed))
    assert whole.names[:2] == ["chr1:100-160(+)", "chrUn_KI270742v1:600-660(+)"]


def test_windows_of_named_peaks_keep_their_own_places(tmp_path):
    """bedtools slop, then getfasta -name: the header's interval is as long as the sequence, the row's is not."""
    narrow = [each._replace(start=each.start + 20, end=each.end - 20) for each in examples()]
    write(tmp_path, PLACES["bedtools -name"], bed6, rows=narrow)
    whole, summary, _ = read((tmp_path / "s.fa", tmp_path / "l.txt"))
    check(whole)
    assert summary["joined_by"] == "name in column 4"


@pytest.mark.parametrize(
    ("header", "row", "side"),
    [
        (PLACES["samtools faidx"], bed, "FASTA headers"),
        (PLACES["bedtools"], lambda e: f"{e.chrom}\t{e.start + 1}\t{e.end}", "table"),
    ],
)
def test_starts_that_count_from_1_on_one_side_are_told_and_taken(tmp_path, told, header, row, side):
    whole, _, _ = read(write(tmp_path, header, row))
    check(whole)
    assert f"starts in the {side} are one above" in told.text


def test_starts_that_count_from_1_on_both_sides_are_told_and_lowered(tmp_path, told):
    whole, _, _ = read(write(tmp_path, PLACES["samtools faidx"], lambda e: f"{e.chrom}\t{e.start + 1}\t{e.end}"))
    check(whole)
    assert "their starts count from 1" in told.text


def test_starts_off_by_one_that_lengths_do_not_prove_are_refused(tmp_path):
    longer = [each._replace(letters=each.letters + "A") for each in examples()]
    with pytest.raises(InputError, match=r"one above those in the table .* is 61 bp long, not 60"):
        read(write(tmp_path, PLACES["samtools faidx"], bed, records=longer))


UNMATCHED = {
    "other chromosomes": lambda e: f"{e.chrom.replace('chr', 'Chr').replace('scaffold', 'sc')}:{e.start}-{e.end}",
    "ends that count": lambda e: f"{e.chrom}:{e.start}-{e.end - 1}",
    "HOMER's numbers": lambda e: f"{e.chrom}-{e.number}",
    "names": lambda e: f"seq{e.number}",
    "numbers": lambda e: str(e.number),
}


@pytest.mark.parametrize("row", [bed, bed6, lambda e: f"chr1-{e.number}.1\t1\t61"], ids=["BED", "BED6", "HOMER"])
@pytest.mark.parametrize("spelling", UNMATCHED)
def test_what_matches_nothing_is_one_refusal_with_both_first_lines(tmp_path, spelling, row):
    with pytest.raises(InputError, match=r"no record belongs to a row(.|\n)*--join order") as error:
        read(write(tmp_path, UNMATCHED[spelling], row))
    first = min(examples(), key=lambda each: each.label)
    assert f">{UNMATCHED[spelling](examples()[0])}" in str(error.value)
    assert row(first).split("\t")[0] in str(error.value)
    assert str(error.value).count("\n") == 1


def test_order_only_when_asked_for(tmp_path, told):
    known = sorted(examples(), key=lambda each: each.label)
    whole, summary, _ = read(write(tmp_path, UNMATCHED["names"], bed, records=known), join="order")
    check(whole)
    assert summary["joined_by"] == "row order"
    assert "record k takes the label of row k" in told.text


@pytest.mark.parametrize("header", [PLACES["dashes"], NAMES["bedtools -nameOnly -s"]], ids=["places", "names"])
def test_order_is_refused_where_headers_tell_another(tmp_path, header):
    with pytest.raises(
        InputError, match=r"is by its (place|name in column 4) that of row \d+, by its order that of row"
    ):
        read(write(tmp_path, header, bed6), join="order")


def test_order_is_refused_where_a_few_places_tell_another(tmp_path):
    def header(each: Example) -> str:
        return bed(each).replace("\t", "_") if each.number < 3 else f"seq{each.number}"

    known = sorted(examples(), key=lambda each: each.label)
    turned = known[::-1]
    with pytest.raises(InputError, match=r"by its place that of row \d+, by its order that of row"):
        read(write(tmp_path, header, bed, records=turned), join="order")
    check(read(write(tmp_path, header, bed, records=known), join="order")[0])


def test_order_needs_as_many_rows(tmp_path):
    with pytest.raises(InputError, match="the numbers differ: 24 records, 23 rows"):
        read(write(tmp_path, UNMATCHED["names"], bed, rows=examples()[1:]), join="order")


def test_names_alone_when_asked_for(tmp_path):
    """Places of headers are of another assembly; they overlap by chance."""

    def header(each: Example) -> str:
        return f"peak{each.number}::{each.chrom}:{each.start + 500}-{each.end + 500}"

    paths = write(tmp_path, header, bed6)
    with pytest.raises(InputError, match="lies elsewhere than|is by its"):
        read(paths)
    labels = {each.letters: int(each.label) for each in examples()}
    whole, _, _ = read(paths, join="name")
    assert {sequence.decode(a): int(b) for a, b in zip(whole.tokens, whole.labels[:, 0], strict=True)} == labels


def test_names_that_contradict_places_are_refused(tmp_path):
    other = [each._replace(number=(each.number + 1) % COUNT) for each in examples()]
    with pytest.raises(InputError, match=r"by its place that of row \d+, by its name in column 4 that of row"):
        read(write(tmp_path, PLACES["bedtools -name"], bed6, rows=other))


def test_both_strands_of_a_place_are_two_examples_where_the_table_tells_strands(tmp_path):
    both = [
        each._replace(strand=sign, letters=each.letters if sign == "+" else each.letters[::-1], label=label)
        for each in examples()
        for sign, label in (("+", each.label), ("-", "10"[int(each.label)]))
    ]
    whole, _, _ = read(write(tmp_path, PLACES["bedtools -s"], bed6, records=both, rows=both))
    labels = {each.letters: int(each.label) for each in both}
    assert {sequence.decode(a): int(b) for a, b in zip(whole.tokens, whole.labels[:, 0], strict=True)} == labels
    assert len(whole.names) == 2 * COUNT
    assert len(set(whole.names)) == 2 * COUNT


@pytest.mark.parametrize("header", [PLACES["bedtools -s"], NAMES["bedtools -nameOnly -s"]], ids=["place", "name"])
def test_both_strands_of_a_place_are_refused_in_one_line_where_the_table_tells_none(tmp_path, header):
    both = [*examples(), *(each._replace(strand="-", letters=each.letters[::-1]) for each in examples())]
    both = [each._replace(strand="+" if at < COUNT else "-") for at, each in enumerate(both)]
    row = bed if header is PLACES["bedtools -s"] else named
    with pytest.raises(InputError, match=r"lines 1 and 49: .* rows of the table cannot tell strands") as error:
        read(write(tmp_path, header, row, records=both, rows=both))
    assert "(23 more places likewise)" in str(error.value)
    assert str(error.value).count("\n") == 1


def test_a_strand_that_contradicts_the_table_is_refused(tmp_path):
    turned = [each._replace(strand="-+"[each.strand == "-"]) for each in examples()]
    with pytest.raises(InputError, match=r"line 1: chr1:100-160\(-\) is on strand -, table row \d+ .* on the other"):
        read(write(tmp_path, PLACES["bedtools -s"], bed6, records=turned))


def test_rows_of_both_strands_and_one_label_are_one_where_headers_tell_no_strand(tmp_path):
    both = [each._replace(strand=sign) for each in examples() for sign in "+-"]
    whole, summary, _ = read(write(tmp_path, PLACES["bedtools"], bed6, rows=both))
    check(whole)
    assert summary["repeated_rows_merged"] == COUNT


def test_records_without_labels_are_refused_or_dropped_and_listed(tmp_path, told):
    paths = write(tmp_path, PLACES["bedtools"], bed, rows=examples()[2:])
    with pytest.raises(InputError, match=r"(?s)line 1: chr1:100-160 has no row .*--drop-unlabelled.*line 3: chrUn"):
        read(paths)
    whole, summary, listed = read(paths, unlabelled="drop")
    kept = {each.letters: int(each.label) for each in examples()[2:]}
    assert {sequence.decode(a): int(b) for a, b in zip(whole.tokens, whole.labels[:, 0], strict=True)} == kept
    assert summary["records_without_label_dropped"] == 2
    assert "2 of 24 records have no row" in told.text
    assert listed.counts() == {f"{source.DROPPED}, has no row in the table": 2}


def test_records_that_are_dropped_may_repeat_and_differ_in_length(tmp_path):
    more = [*examples()[:2], examples()[0]._replace(letters="ACG"), *examples()[2:]]
    whole, summary, _ = read(
        write(tmp_path, PLACES["bedtools"], bed, records=more, rows=examples()[2:]), unlabelled="drop"
    )
    assert len(whole) == COUNT - 2
    assert summary["records_without_label_dropped"] == 3


def test_dropping_does_not_excuse_rows_without_records_or_nothing_in_common(tmp_path):
    with pytest.raises(InputError, match=r"table row \d+: chr1:100-160 has no record"):
        read(write(tmp_path, PLACES["bedtools"], bed, records=examples()[1:]), unlabelled="drop")
    with pytest.raises(InputError, match="no record belongs to a row"):
        read(write(tmp_path, UNMATCHED["names"], bed), unlabelled="drop")


def test_intervals_that_are_not_as_long_as_their_sequences_are_counted(tmp_path, told):
    wide = [each._replace(letters=each.letters[:30]) for each in examples()]
    whole, summary, _ = read(write(tmp_path, PLACES["bedtools"], bed, records=wide))
    assert summary["intervals_not_as_long_as_sequences"] == COUNT
    assert "24 of 24 intervals are not as long as their sequences of 30 bp" in told.text
    assert "FASTA line 1: chr1:100-160 holds 60 bp" in told.text
    run = Run(tmp_path, Config())
    dataset.write(run.dataset, whole)
    data = Dataset(run.dataset)
    assert places(data, np.array([0])).chrom.tolist() == ["chr1:100-160"]  # letters lie in the sequence alone
    arrays = {"row": 0, "probability": np.array([0.5])}
    facts = dict(inspect._facts(run, data, arrays))
    assert facts["place"] == "chr1:100–160 (not as long as the sequence, 30 bp)"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("chr1:200-100", None),
        ("chr1:100-", None),
        ("chr1:99999999999999999999-99999999999999999999", None),
        ("HLA:A*01:01:5-9", fasta.Interval("HLA:A*01:01", 5, 9, 0)),
        ("NC_1.11:c160-101", fasta.Interval("NC_1.11", 100, 160, -1)),
        ("2|dna:chromosome|chromosome:GRCh38:2:11:20:-1", fasta.Interval("2", 10, 20, -1)),
        ("x" * 2000 + ":1-2", None),
        ("", None),
    ],
)
def test_more_places_in_headers(header, expected):
    assert fasta.interval(header) == expected


U = str.maketrans("T", "U")


def test_uracil_is_refused_by_its_name_or_read_as_thymine(tmp_path):
    rna = [each._replace(letters=each.letters.translate(U)) for each in examples()]
    paths = write(tmp_path, PLACES["bedtools"], bed, records=rna)
    with pytest.raises(InputError, match=r"s\.fa: .*\n.* letters are U, which is RNA; .* alphabet = 'rna'") as error:
        read(paths)
    assert str(error.value).count("\n") == 1
    whole, summary, _ = read(paths, alphabet="rna")
    check(whole)
    assert summary["letters_not_ACGT"] == 0


@pytest.mark.parametrize(
    ("letters", "grave", "what"),
    [
        ("ACGT" * 500 + "u", False, "1 of 2,001 letters are U"),
        ("ACG" * 500 + "U", True, "1 of 1,501 letters are U"),
        ("ACGT" * 50 + "U", True, "1 of 201 letters are U"),
        (
            "MKVLAAGIVGLLLAQ",
            True,
            "letters that stand for no nucleotide (1 I, 4 L, 1 Q, of 15 letters): is it protein?",
        ),
        ("ACGT" * 500 + "E", False, "letters that stand for no nucleotide (1 E"),
        ("ACGTRYSWKMBDHVNXacgtn", False, ""),
    ],
)
def test_what_letters_say_of_their_alphabet(letters, grave, what):
    source = sequence.Letters()
    source.encode(letters)
    words, found = source.complaint()
    assert found == grave
    assert words.startswith(what)
    assert bool(words) == bool(what)


def test_a_trace_of_uracil_is_warned_of(tmp_path, told):
    known = examples()
    known[0] = known[0]._replace(letters="U" + known[0].letters[1:])
    whole, summary, _ = read(write(tmp_path, PLACES["bedtools"], bed, records=known))
    assert whole.tokens[0, 0] == sequence.N
    assert summary["letters_not_ACGT"] == 1
    assert "1 of 1,440 letters are U, which is RNA" in told.text


def test_a_record_longer_than_any_window_is_refused_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "LONGEST", 1000)
    (tmp_path / "s.fa").write_text(">chr1:0-60\n" + ("A" * 60 + "\n") * 10**5)
    with pytest.raises(InputError, match=r"line 18: chr1:0-60 is longer than 1,000 bp; .* --template genome"):
        fasta.read(tmp_path / "s.fa")


def test_files_that_do_not_fit_into_the_memory_given_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "CHECKED", 4)
    budget = MemoryBudget(limit=2**20, program=2**20 - 8000)
    with pytest.raises(SatoriError, match=r"--memory 1\.0 MiB is too little: .* held as a whole"):
        fasta_table.read(*write(tmp_path, PLACES["bedtools"], bed), task="auto", labels=None, check=budget.check_file)
    monkeypatch.setattr(fasta_table, "CHECKED", 4)
    with pytest.raises(SatoriError, match=r"--memory 1\.0 MiB is too little"):
        fasta_table.read_table(tmp_path / "l.txt", check=budget.check_file)


def test_a_table_with_thousands_of_columns_is_refused(tmp_path):
    (tmp_path / "l.txt").write_text("chr1\t1\t2" + "\t1" * 5000 + "\n")
    with pytest.raises(InputError, match="row 1: more than 1000 columns"):
        fasta_table.read_table(tmp_path / "l.txt")


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (["--join", "order"], 'join = "order"'),
        (["--drop-unlabelled"], 'unlabelled = "drop"'),
        (["--set", "prepare.alphabet=rna"], 'alphabet = "rna"'),
    ],
)
def test_the_command_takes_what_its_messages_advise(tmp_path, options, setting):
    """From the refusal to the data set by the cure that the refusal names."""
    known = [each._replace(letters=each.letters.translate(U)) if "rna" in setting else each for each in examples()]
    known = sorted(known, key=lambda each: each.label) if "order" in setting else known
    header = UNMATCHED["names"] if "order" in setting else PLACES["underscores"]
    rows = known[2:] if "drop" in setting else known
    files = write(tmp_path, header, bed, records=known, rows=rows)
    base = ["--template", "fasta", "--fasta", str(files[0]), "--table", str(files[1])]
    base += ["--set", "prepare.valid_fraction=0.3", "--set", "prepare.test_fraction=0.3"]
    runner = CliRunner()
    assert runner.invoke(cli, ["new", str(tmp_path / "a"), *base]).exit_code == 0
    refused = runner.invoke(cli, ["prepare", str(tmp_path / "a")])
    assert refused.exit_code == 1
    assert options[0].split("=")[0] in refused.output
    assert runner.invoke(cli, ["new", str(tmp_path / "b"), *base, *options]).exit_code == 0
    assert setting in (tmp_path / "b" / "run.toml").read_text()
    made = runner.invoke(cli, ["prepare", str(tmp_path / "b")])
    assert made.exit_code == 0, made.output
    whole = read_whole(tmp_path / "b" / "dataset.zarr")
    labels = {each.letters.replace("U", "T"): int(each.label) for each in rows}
    assert {sequence.decode(a): int(b) for a, b in zip(whole.tokens, whole.labels[:, 0], strict=True)} == labels


def test_options_of_fasta_files_are_refused_for_other_templates(tmp_path):
    told = CliRunner().invoke(cli, ["new", str(tmp_path / "a"), "--template", "genome", "--join", "order"])
    assert told.exit_code == 2
    assert "--join goes with --template fasta" in told.output


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    path = tmp_path / "t"
    path.write_text("a" * 1000 + "\n" + "b" * 999 + "\nc" + "d" * 1000 + "\n")
    with pytest.raises(InputError, match=r"t, line 3: longer than 1,000 characters; .* correct --chrom-sizes$"):
        list(files.lines(path, key="--chrom-sizes"))
    path.write_text("a" * 1000 + "\n" + "b" * 1000)
    assert [len(line) for _, line in files.lines(path, key="x")] == [1000, 1000]


@pytest.mark.parametrize("line", [b"A" * 60 + b"\n", b">a\nA\n", b"chr1\t1\t2\t1\n"])
def test_gzip_that_unpacks_to_far_more_than_text_is_refused(tmp_path, line):
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(b">chr1:0-60\n" + line * (3 * files.LARGE // len(line))))
    with pytest.raises(InputError, match=r"unpacks to more than 100 times its size .* \(gunzip\)"):
        list(files.lines(path, key="x"))
