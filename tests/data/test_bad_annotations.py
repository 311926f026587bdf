"""Annotations and blacklists as users have them: what they say is where it should be, or they are refused."""

import contextlib
import gzip

import pytest

from satori_hpc.data import prepare
from satori_hpc.errors import InputError
from satori_hpc.parallel.world import Runtime
from tests.data.test_prepare_genome import excluded_records
from tests.fixtures.genome import make
from tests.fixtures.whole import read as read_whole

GENES = [("chr1", first, first + 200, "+-"[first % 2]) for first in range(301, 5700, 451)]
GENES += [("chr2", first, first + 200, "+-"[first % 2]) for first in range(301, 2700, 451)]
GFF = "##gff-version 3\n" + "".join(
    f"{chrom}\tx\tmRNA\t{first}\t{last}\t.\t{strand}\t.\tID=t{first}\n" for chrom, first, last, strand in GENES
)


def near_promoters(rows: dict[str, list[tuple[str, int, int]]], more: list[tuple] = ()) -> list[tuple[str, str]]:
    """(file, start) of the peaks that touch no 50 bp upstream of a transcript, by looking at every pair."""
    away = []
    for label, found in rows.items():
        for chrom, start, end in found:
            for name, first, last, strand in [*GENES, *more]:
                begin, stop = (first - 1 - 50, first - 1) if strand == "+" else (last, last + 50)
                if name == chrom and start < min(stop, {"chr1": 6000, "chr2": 3000}[name]) and max(begin, 0) < end:
                    break
            else:
                away.append((f"{label}.bed", str(start)))
    return sorted(away)


ANNOTATIONS: dict[str, tuple[str | bytes, list[tuple]]] = {
    "as it should be": (GFF, []),
    "gzip": (gzip.compress(GFF.encode()), []),
    "CRLF": (GFF.replace("\n", "\r\n"), []),
    "GTF": (GFF.replace("mRNA", "transcript").replace("ID=", 'transcript_id "').replace("\n", '";\n'), []),
    "genes only": (GFF.replace("mRNA", "gene"), []),
    "broken attributes": (GFF.replace("ID=", ';;"=='), []),
    "no attributes": ("\n".join(line.rpartition("\t")[0] or line for line in GFF.split("\n")), []),
    "sequences behind": (GFF + "##FASTA\n>chr1\nACGT\n", []),
    "sequences behind, not announced": (GFF + "#FASTA\n>chr1\nACGT\n", []),
    "features elsewhere": (GFF + "scaffold\tx\tmRNA\t1\t9\t.\t+\t.\t\n", []),
    "over the ends": (
        GFF + "chr1\tx\tmRNA\t5990\t6400\t.\t-\t.\t\nchr2\tx\tmRNA\t20\t90\t.\t+\t.\t\n",
        [("chr1", 5990, 6400, "-"), ("chr2", 20, 90, "+")],
    ),
}


@pytest.mark.parametrize("case", ANNOTATIONS)
def test_promoters_of_every_annotation_are_where_they_should_be(two, case):
    folder, _, rows = two
    content, more = ANNOTATIONS[case]
    (folder / "g.gff").write_bytes(content if isinstance(content, bytes) else content.encode())
    run = make(folder, peaks=("../a.bed", "../b.bed"), annotation="../g.gff", promoters=50)
    with contextlib.suppress(InputError):  # what is left may be too few to be split; the list is written
        prepare.prepare(run, Runtime())
    found = excluded_records(run)
    assert {row[6] for row in found} == {"touches no promoter"}
    assert sorted((row[0], row[3]) for row in found) == near_promoters(rows, more)


BAD_ANNOTATIONS = {
    "start behind end": ("chr1\tx\tmRNA\t50\t40\t.\t+\t.\t\n", "line 20: chr1:50-40; expected 1 <= start <= end"),
    "start 0": ("chr1\tx\tmRNA\t0\t40\t.\t+\t.\t\n", "line 20: chr1:0-40; expected 1 <= start"),
    "no numbers": ("chr1\tx\tmRNA\t1e3\t²\t.\t+\t.\t\n", "line 20: start '1e3' and end '²'; expected whole numbers"),
    "above int64": (f"chr1\tx\tmRNA\t1\t{2**63}\t.\t+\t.\t\n", "line 20: .* expected whole numbers from 1"),
    "blanks": ("chr1 x mRNA 1 9 . + .\n", "line 20: 1 columns; expected nine, with tabs"),
    "a BED file": ("chr1\t1\t9\n", "line 20: 3 columns"),
    "not UTF-8": (b"chr1\tx\tmRNA\t1\t9\t.\t+\t.\tcaf\xe9\n", "line 20: not UTF-8 text"),
    "another assembly": (
        "".join(f"chr2\tx\tmRNA\t{first}\t9000\t.\t+\t.\t\n" for first in (4000, 5000)),
        r"2 of 20 transcripts lie beyond the ends .* chr2:4000-9000 \(3000 bp\): they are of another assembly",
    ),
    "other names": (None, r"none of its chromosomes \(LG1, LG2\) is in .*\(chr1, chr2, chrM\)"),
    "nothing": ("", "no transcript or gene"),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
def test_annotations_that_cannot_be_used_are_told(two, case):
    folder, _, _ = two
    more, message = BAD_ANNOTATIONS[case]
    content = GFF.replace("chr", "LG").encode() if more is None else GFF.encode() * bool(more)
    (folder / "g.gff").write_bytes(content + (more if isinstance(more, bytes) else (more or "").encode()))
    run = make(folder, peaks=("../a.bed", "../b.bed"), annotation="../g.gff", promoters=50)
    with pytest.raises(InputError, match=message) as caught:
        prepare.prepare(run, Runtime())
    assert "g.gff" in str(caught.value)
    assert list(run.path.iterdir()) == []


BLACKLISTS = {
    "other names": "2\t100\t900\n",
    "over the ends": "chr2\t-50\t900\n",
    "elsewhere": "chr2\t0\t900\nX\t0\t9\n",
}


@pytest.mark.parametrize("case", BLACKLISTS)
def test_windows_of_the_blacklist_are_listed_and_left_out(two, case):
    folder, _, _ = two
    (folder / "k.bed").write_text(BLACKLISTS[case])
    begin = 100 if case == "other names" else 0
    runs = [
        make(folder, name=name, peaks=("../a.bed", "../b.bed"), blacklist=file)
        for name, file in (("with", "../k.bed"), ("without", None))
    ]
    for run in runs:
        prepare.prepare(run, Runtime())
    kept, everything = (set(read_whole(run.dataset).names) for run in runs)
    gone = {f"{row[2]}:{row[3]}-{row[4]}(.)" for row in excluded_records(runs[0])}
    expected = set()
    for name in everything:
        start, end = map(int, name.split(":")[1].removesuffix("(.)").split("-"))
        if name.startswith("chr2:") and start < 900 and end > begin:
            expected.add(name)
    assert expected
    assert gone == expected == everything - kept


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("scaffold\t1\t9\n", r"none of its chromosomes \(scaffold\) is in"),
        ("", "no peaks; .* blacklist in run.toml"),
        ("chr1\t9\t1\n", "line 1: chr1:9-1 has no length"),
    ],
)
def test_blacklists_that_cannot_be_used_are_told(two, content, message):
    folder, _, _ = two
    (folder / "k.bed").write_text(content)
    run = make(folder, peaks=("../a.bed", "../b.bed"), blacklist="../k.bed")
    with pytest.raises(InputError, match=message):
        prepare.prepare(run, Runtime())
    assert list(run.path.iterdir()) == []
