"""Genomes as users have them: what is read must be what plain slicing of the text gives, the rest is told in words."""

import bz2
import dataclasses
import gzip
import io
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from Bio import bgzf

from satori_hpc import log
from satori_hpc.data import prepare, sequence
from satori_hpc.data.dataset import Examples
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.data.sources.genome import stage as genome_stage
from satori_hpc.data.sources.genome.genome import Genome
from satori_hpc.errors import InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.fixtures.genome import make
from tests.fixtures.whole import read as read_whole

SPLIT = {"valid_fraction": 0.1, "test_fraction": 0.1}
LETTERS = "ACGTacgtNnRYKMSWBDHVryk"
PEAKS = "".join(f"chr1\t{at}\t{at + 40}\nchr2\t{at}\t{at + 40}\n" for at in range(0, 2900, 130))


def sequences() -> dict[str, str]:
    rng = random.Random(0)
    return {name: "".join(rng.choices(LETTERS, k=size)) for name, size in (("chr1", 3000), ("chr2", 2990))}


def text(*, width: int = 60, end: str = "\n") -> str:
    lines = []
    for name, letters in sequences().items():
        lines += [f">{name}", *(letters[at : at + width] for at in range(0, len(letters), width))]
    return end.join(lines) + end


def bgzip(content: bytes) -> bytes:
    handle = io.BytesIO()
    writer = bgzf.BgzfWriter(fileobj=handle)
    writer.write(content)
    writer.flush()
    return handle.getvalue() + bgzf._bgzf_eof


FASTA = text()
BLOCKED = bgzip(FASTA.encode() * 40)  # of several blocks


def windows_are_right(made: Examples) -> None:
    """Every window against its place in the text."""
    letters = sequences()
    for name, tokens in zip(made.names, made.tokens, strict=True):
        chrom, start, end = re.fullmatch(r"(.*):(\d+)-(\d+)\(\.\)", name).groups()
        expected = "".join(x if x in "ACGT" else "N" for x in letters[chrom][int(start) : int(end)].upper())
        assert sequence.decode(tokens) == expected, name


def prepared(folder: Path, content: bytes, *, name: str = "genome.fa"):
    """The summary and the run of a genome, with two labels."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    for label, rows in (("a", PEAKS), ("b", "".join(PEAKS.splitlines(keepends=True)[::3]))):
        (folder / f"{label}.bed").write_text(rows)
    run = make(
        folder, genome=f"../{name}", peaks=("../a.bed", "../b.bed"), split=SPLIT, construction="merge_then_extend"
    )
    return run, sorted(path.name for path in folder.iterdir())


READ = {
    "as it should be": (FASTA, "genome.fa"),
    "CRLF": (text(end="\r\n"), "genome.fa"),
    "no newline at the end": (FASTA[:-1], "genome.fa"),
    "a line per record": (text(width=10**6), "genome.fa"),
    "lines that end with the sequence": (text(width=10), "genome.fa"),
    "byte order mark": ("\ufeff" + FASTA, "genome.fa"),
    "blank lines at the start": ("\n \n" + FASTA, "genome.fa"),
    "blank line behind a header": (FASTA.replace(">chr2\n", ">chr2\n\n"), "genome.fa"),
    "blank line between records": (FASTA.replace(">chr2", "\n>chr2"), "genome.fa"),
    "blank lines between records": (FASTA.replace(">chr2", "\n \n\n>chr2"), "genome.fa"),
    "blank lines at the end": (FASTA + "\n\n\n", "genome.fa"),
    "blank CRLF lines": (text(end="\r\n").replace(">chr2", "\r\n\r\n>chr2") + "\r\n\r\n", "genome.fa"),
    "comments of old": ("; a comment\n" + FASTA, "genome.fa"),
    "words behind names": (FASTA.replace(">chr1", ">chr1 some words").replace(">chr2", ">\tchr2\tmore"), "genome.fa"),
    "words that are no UTF-8": (FASTA.encode().replace(b">chr1", b">chr1 caf\xe9"), "genome.fa"),
    "records of other line lengths": (FASTA.replace(">chr2", f">other\n{'ACGTA' * 30}\n>chr2"), "genome.fa"),
    "plain, called .gz": (FASTA, "genome.fa.gz"),
    "gzip, called .fa": (gzip.compress(FASTA.encode()), "genome.fa"),
    "gzip of two members": (gzip.compress(FASTA[:99].encode()) + gzip.compress(FASTA[99:].encode()), "genome.fa.gz"),
    "bgzip, called .fa": (bgzip(FASTA.encode()), "genome.fa"),
    "called .zip": (FASTA, "genome.zip"),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read_is_what_is_there(tmp_path, case):
    content, name = READ[case]
    run, before = prepared(tmp_path / "in", content if isinstance(content, bytes) else content.encode(), name=name)
    prepare.prepare(run, Runtime())
    made = read_whole(run.dataset)
    assert len(made) > 20
    windows_are_right(made)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == before
    assert sorted(path.name for path in run.path.iterdir()) == [
        "chrom.sizes",
        "dataset.zarr",
        "excluded_records.tsv.gz",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("width", [1, 7, 60, 61, 10**6])
@pytest.mark.parametrize(("packed", "piece"), [(False, 2**24), (True, 2**24), (False, 7), (False, 62), (True, 64)])
def test_every_place_is_found(tmp_path, monkeypatch, end, width, packed, piece):
    """Also where lines are longer than what is held of them."""
    monkeypatch.setattr(genomes, "PIECE", piece)
    content = text(width=width, end=end).encode()
    (tmp_path / "g").write_bytes(bgzip(content) if packed else content)
    rng = random.Random(1)
    with Genome(tmp_path / "g", tmp_path / "index") as opened:
        assert dict(zip(opened.names, opened.lengths.tolist(), strict=True)) == {"chr1": 3000, "chr2": 2990}
        for number, letters in enumerate(sequences().values()):
            for _ in range(40):
                start = rng.randrange(len(letters))
                end_ = rng.choice([start + 1, len(letters), rng.randrange(start, len(letters)) + 1])
                assert opened.text(number, start, end_) == letters[start:end_].encode()


def test_a_window_that_begins_with_a_block_is_read(tmp_path):
    letters = "".join(random.Random(2).choices("ACGT", k=200_000))
    (tmp_path / "g").write_bytes(bgzip(f">c\n{letters}\n".encode()))
    blocks = [at for _, _, at, size in bgzf.BgzfBlocks(io.BytesIO((tmp_path / "g").read_bytes())) if size]
    assert len(blocks) > 2
    with Genome(tmp_path / "g", tmp_path / "index") as opened:
        for at in blocks[1:]:
            assert opened.text(0, at - 3, at + 97) == letters[at - 3 : at + 97].encode()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (text(width=10**6).replace("A", "-", 1), r"line 2, chr1: '-' at position \d+ is not a letter"),
        (text(width=10**6) + ">a\nACGT\n" + "ACGT" * 100 + "\n", "line 7, a: 400 letters; expected 4"),
        (">" + "x" * 500 + "\n" + FASTA, "line 1: longer than 100 bytes, and no sequence; expected a header"),
        (text(width=10**6, end="\r"), "its lines end as on old Macs"),
    ],
)
def test_what_is_wrong_with_lines_that_come_in_pieces_is_told(tmp_path, monkeypatch, content, what):
    monkeypatch.setattr(genomes, "PIECE", 100)
    (tmp_path / "g").write_text(content, newline="")
    with pytest.raises(InputError, match=what):
        genomes.index(tmp_path / "g", tmp_path / "index")


def test_a_genome_of_rna_is_refused_by_its_name_or_read_as_dna(tmp_path):
    rna = FASTA.replace("T", "U").replace("t", "u")
    run, _ = prepared(tmp_path / "in", rna.encode())
    with pytest.raises(
        InputError, match=r"genome\.fa: .*\n.* of 5,990 letters are U, which is RNA; .*alphabet = 'rna'"
    ):
        prepare.prepare(run, Runtime())
    settings = dataclasses.replace(run.config.prepare, alphabet="rna")
    run = Run(run.path, dataclasses.replace(run.config, prepare=settings))
    prepare.prepare(run, Runtime())
    windows_are_right(read_whole(run.dataset))


def test_a_genome_of_protein_is_refused_and_a_trace_of_it_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(log.logger, "propagate", True)
    (tmp_path / "g").write_text(">p\n" + "MKVLE" * 20 + "\n")
    with pytest.raises(InputError, match=r"no nucleotide \(20 E, 20 L, of 100 letters\): is it protein"):
        genomes.index(tmp_path / "g", tmp_path / "index")
    (tmp_path / "g").write_text(">c U\n" + "ACGT" * 1000 + "\n" + "ACGT" * 999 + "ACGu\n")
    genomes.index(tmp_path / "g", tmp_path / "index")
    assert "1 of 8,000 letters are U" in caplog.text
    assert (tmp_path / "index" / "genome.fa.fai").read_text() == "c\t8000\t5\t4000\t4001\n"


def test_a_genome_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(genomes, "UNPACKED_UNSEEN", 2**20)
    (tmp_path / "g").write_bytes(gzip.compress(b">c\n" + (b"A" * 60 + b"\n") * 200_000))
    with pytest.raises(InputError, match="unpacks to more than 100 times its size"):
        genomes.index(tmp_path / "g", tmp_path / "index")
    assert list(tmp_path.iterdir()) == [tmp_path / "g"]


WRONG_INDEXES = ["chr1\t3000\t3\t60\t61\nchr2\t2990\t3050\t60\t61\n", "chr1\t10\t6\t60\t61\n", "", "no index\n"]


@pytest.mark.parametrize("wrong", WRONG_INDEXES)
def test_indexes_beside_the_genome_are_left_alone(tmp_path, wrong):
    for name, content in (("plain", FASTA.encode()), ("packed", bgzip(FASTA.encode()))):
        run, _ = prepared(tmp_path / name, content)
        for ending in (".fai", ".gzi"):
            index = tmp_path / name / f"genome.fa{ending}"
            index.write_text(wrong)
            os.utime(index, (2**32, 2**32))  # newer than the genome
        prepare.prepare(run, Runtime())
        windows_are_right(read_whole(run.dataset))
        assert {(tmp_path / name / f"genome.fa{ending}").read_text() for ending in (".fai", ".gzi")} == {wrong}


@pytest.mark.parametrize("packed", [[bytes, bytes], [gzip.compress, gzip.compress], [gzip.compress, bytes]])
def test_another_genome_does_not_meet_the_index_of_the_one_before(tmp_path, monkeypatch, packed):
    """A command that was killed leaves its index, the unpacked genome among it; then the user corrects run.toml."""
    other = FASTA.replace("A", "C").replace(">chr2", ">chr3")
    run, _ = prepared(tmp_path / "in", packed[0](other.encode()))
    with monkeypatch.context() as patch:
        patch.setattr(genome_stage, "make_plan", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(run, Runtime())
    assert (run.path / "dataset.index").exists()
    (tmp_path / "in" / "genome.fa").write_bytes(packed[1](FASTA.encode()))
    os.utime(tmp_path / "in" / "genome.fa", (1e9, 1e9))  # older than what is left
    prepare.prepare(run, Runtime())
    windows_are_right(read_whole(run.dataset))


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def changed(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


REFUSED: dict[str, tuple[bytes | str, str]] = {
    "empty": ("", "empty; expected records that start with '>'"),
    "nothing but blank lines": ("\n\n", "empty; expected records"),
    "empty gzip": (gzip.compress(b""), "empty; expected records"),
    "empty bgzip": (bgzip(b""), "empty; expected records"),
    "no header": (FASTA.replace(">", ""), "line 1: text before the first header; .* found 'chr1'"),
    "text first": ("ACGT\n" + FASTA, "line 1: text before the first header; .* found 'ACGT'"),
    "a web page": ("<!DOCTYPE html>\n<p>404</p>\n", "line 1: text before the first header"),
    "binary": (bytes(range(256)) * 9, "line 1: text before the first header"),
    "UTF-16": (FASTA.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    "bzip2": (bz2.compress(FASTA.encode()), "packed by bzip2; unpack it"),
    "zip": (b"PK\x03\x04" + bytes(99), "zip archive"),
    "lines of old Macs": (text(end="\r"), "its lines end as on old Macs"),
    "no name": (FASTA.replace(">chr2", "> "), "line 52: a header without a name"),
    "a name that is no text": (FASTA.encode().replace(b">chr2", b">ch\xe9"), "line 52: the name .* is not UTF-8 text"),
    "a name that cannot be printed": (FASTA.replace(">chr2", ">ch\x00\x1b"), "line 52: the name .* not printable"),
    "a name twice": (FASTA + ">chr1\nACGT\n", "line 103: chr1 stands in line 1, too; keep one"),
    "empty record first": (">chr0\n" + FASTA, "line 1: chr0 has no sequence; remove the header"),
    "empty record": (FASTA.replace(">chr2", ">chr0\n\n>chr2"), "line 52: chr0 has no sequence"),
    "empty record at the end": (FASTA + ">chr3\n", "line 103: chr3 has no sequence"),
    "a line too short": (
        FASTA[:300] + FASTA[301:],
        "line 7, chr1: the sequence continues after a shorter or blank line",
    ),
    "a line too long": (FASTA[:300] + "A" + FASTA[300:], "line 6, chr1: 61 letters; expected 60"),
    "last line too long": (">a\nACGT\nACGTA\n" + FASTA, "line 3, a: 5 letters; expected 4 .* seqkit seq -w"),
    "blank line inside": (FASTA[:311] + "\n" + FASTA[311:], "line 8, chr1: the sequence continues after"),
    "a short line that CR makes full": (
        FASTA[:311] + "A" * 59 + "\r\n" + FASTA[372:],
        "line 7, chr1: LF and CR LF as line ends",
    ),
    "blanks at line ends": (FASTA.replace("\n", " \n"), "line 2, chr1: ' ' at position 61 is not a letter"),
    "a gap": (FASTA[:320] + "-" + FASTA[321:], r"line 7, chr1: '-' at position \d+ is not a letter; expected A, C, G"),
    "a stop codon": (FASTA[:-2] + "*\n", r"line 102, chr2: '\*' at position 50 is not a letter"),
    "NUL": (FASTA[:320] + "\0" + FASTA[321:], r"line 7, chr1: '\\x00' at position"),
    "not ASCII": (FASTA[:320] + "é" + FASTA[321:], "line 7, chr1: .* is not a letter"),
    "cut gzip": (gzip.compress(FASTA.encode())[:-6], "damaged or truncated gzip"),
    "changed gzip": (changed(gzip.compress(FASTA.encode()), 900), "damaged or truncated gzip"),
    "something behind gzip": (gzip.compress(FASTA.encode()) + b"more", "damaged or truncated gzip"),
    "two bytes of gzip": (b"\x1f\x8b", "damaged or truncated gzip"),
    "cut bgzip": (BLOCKED[: len(BLOCKED) // 2], "damaged or truncated gzip"),
    "changed bgzip": (changed(BLOCKED, len(BLOCKED) // 2), "damaged or truncated gzip"),
    "bgzip without its last block": (BLOCKED[:-28], r"truncated gzip \(the last block is missing\)"),
    "something behind bgzip": (BLOCKED + b"more", "damaged or truncated gzip"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_told_and_leaves_nothing(tmp_path, case):
    content, message = REFUSED[case]
    run, before = prepared(tmp_path / "in", content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        prepare.prepare(run, Runtime())
    assert str(tmp_path / "in" / "genome.fa") in str(caught.value)
    assert list(run.path.iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == before


def test_all_records_that_cannot_be_used_are_told_at_once(tmp_path):
    run, _ = prepared(tmp_path / "in", b">a\nAC-T\nAC-T\n>b\n>a\nACG\nACGT\n>\nAC\n")
    with pytest.raises(InputError) as caught:
        prepare.prepare(run, Runtime())
    lines = [int(line) for line in re.findall(r"- line (\d+)", str(caught.value))]
    assert lines == [2, 4, 5, 7, 8]


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file; correct .prepare.genome. genome"),
    "a folder": (lambda path: path.mkdir(), "cannot be read .Is a directory"),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "no such file"),
}


@pytest.mark.parametrize("case", PLACES)
def test_places_without_a_genome(two, case):
    folder, _, _ = two
    change, message = PLACES[case]
    change(folder / "g.fa")
    run = make(folder, genome="../g.fa", peaks=("../a.bed", "../b.bed"))
    with pytest.raises(InputError, match=message):
        prepare.prepare(run, Runtime())
    assert list(run.path.iterdir()) == []


def test_a_genome_that_changes_while_it_is_read_is_told(tmp_path):
    (tmp_path / "g").write_text(FASTA)
    with Genome(tmp_path / "g", tmp_path / "index") as genome:
        (tmp_path / "g").write_text(FASTA[:2000])
        with pytest.raises(InputError, match="gave .* letters; the file has changed"):
            genome.text(0, 0, 3000)


def test_hostile_names_of_chromosomes_are_names(tmp_path):
    names = {"chr1": "../../x", "chr2": "=cmd()|<b>&amp;"}
    run, before = prepared(tmp_path / "in", FASTA.replace(">chr1", f">{names['chr1']}").encode())
    content = (tmp_path / "in" / "genome.fa").read_text().replace(">chr2", f">{names['chr2']}")
    (tmp_path / "in" / "genome.fa").write_text(content)
    for label in "ab":
        path = tmp_path / "in" / f"{label}.bed"
        rows = path.read_text() + "chr1\t2980\t3010\n"
        path.write_text(rows.replace("chr1", names["chr1"]).replace("chr2", names["chr2"]))
    prepare.prepare(run, Runtime())
    made = read_whole(run.dataset)
    assert set(made.coordinates.chrom) == set(names.values())
    there = made.coordinates.chrom[:] == names["chr2"]
    tokens = made.tokens[there][0]
    start = int(made.coordinates.start[there][0])
    np.testing.assert_array_equal(tokens, sequence.encode(sequences()["chr2"][start : start + 100]))
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == before
    with gzip.open(run.excluded_records, "rt") as handle:
        assert {row.split("\t")[2] for row in handle} == {"chrom", names["chr1"]}
