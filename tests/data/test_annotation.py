"""Annotations as Ensembl, GENCODE, NCBI, Araport, AUGUSTUS, Prokka and others write them: genes and transcripts."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from satori_hpc.data.sources.genome import annotation
from satori_hpc.errors import InputError

GENOME = SimpleNamespace(names=["1", "2"], path=Path("g.fa"), lengths=np.array([10_000, 10_000]))


def read(tmp_path: Path, *rows: str) -> annotation.Genes:
    """Rows are `chrom type start end strand attributes`, with blanks in between."""
    lines = []
    for row in rows:
        chrom, kind, start, end, strand, attributes = row.split(" ", 5)
        lines.append(f"{chrom}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t{attributes}\n")
    (tmp_path / "g.gff").write_text("".join(lines))
    return annotation.read(tmp_path / "g.gff", GENOME)


def places(intervals: annotation.Intervals) -> list[tuple[int, int, int]]:
    return sorted(set(zip(*(values.tolist() for values in intervals), strict=True)))


def starts(genes: annotation.Genes) -> list[tuple[int, int]]:
    """(chromosome, edge of the promoter), as 1-based positions of the first letter of each transcript."""
    chrom, start, end = genes.transcripts
    return sorted(set(zip(chrom.tolist(), np.where(genes.strand >= 0, start + 1, end).tolist(), strict=True)))


TYPES = """
mRNA lncRNA lnc_RNA ncRNA antisense_RNA antisense_lncRNA pseudogenic_transcript pseudogenic_tRNA transcript tRNA
primary_transcript miRNA_primary_transcript three_prime_overlapping_ncrna V_gene_segment NMD_transcript_variant
RNase_MRP_RNA uORF some_new_type processed_pseudogene
"""


@pytest.mark.parametrize("kind", TYPES.split())
def test_a_gene_counts_whatever_its_transcripts_are_called(tmp_path: Path, kind: str) -> None:
    genes = read(
        tmp_path,
        "1 gene 1001 2000 - ID=g1;biotype=x",
        f"1 {kind} 1001 2000 - ID=t1;Parent=g1",
        "1 exon 1001 1100 - Parent=t1",
        "1 exon 1901 2000 - Parent=t1",
        "2 pseudogene 501 900 + ID=g2",
    )
    assert starts(genes) == [(0, 2000), (1, 501)]
    assert places(genes.spans) == [(0, 1000, 2000), (1, 500, 900)]
    assert places(genes.exons) == [(0, 1000, 1100), (0, 1900, 2000)]


def test_a_gene_counts_by_its_own_span_where_its_transcripts_are_shorter(tmp_path: Path) -> None:
    genes = read(tmp_path, "1 gene 1001 3000 + ID=g", "1 mRNA 1501 2000 + ID=t;Parent=g")
    assert starts(genes) == [(0, 1501)]
    assert places(genes.spans) == [(0, 1000, 3000)]
    assert genes.classes(np.array([0, 0]), np.array([1700, 2900]), GENOME.lengths).tolist() == [3, 3]  # intron
    parts = genes.parts(GENOME.lengths)
    assert (0, 3000, 10_000) in places(parts["distal"])


EXON_ONLY = (
    '1 exon 2001 2100 + gene_id "G1"; transcript_id "T1";',
    '1 CDS 2051 2100 + gene_id "G1"; transcript_id "T1";',
    '1 exon 2901 3000 + gene_id "G1"; transcript_id "T1";',
    '1 exon 2301 2400 + gene_id "G1"; transcript_id "T2"; exon_number 1',
    '2 exon 401 500 - gene_id "G2"; transcript_id "T3";',
    '2 exon 101 200 - gene_id "G2"; transcript_id "T3";',
)
ONLY_EXONS = {
    "GTF": EXON_ONLY,
    "GTF without quotes": tuple(row.replace('"', "") for row in EXON_ONLY),
    "GTF with genes": (
        *EXON_ONLY,
        '1 gene 2001 3000 + gene_id "G1";',
        '2 gene 101 500 - gene_id "G2"; transcript_id "";',
    ),
    "GFF3": tuple(
        row.replace('gene_id "', "Name=").replace('"; transcript_id "', ";Parent=").replace('";', "")
        for row in EXON_ONLY
    ),
    "GFF3 of CDS": (
        "1 CDS 2001 2100 + ID=c1;Parent=T1",
        "1 CDS 2901 3000 + ID=c1;Parent=T1",
        "1 CDS 2301 2400 + Parent=T2",
        "2 CDS 401 500 - ID=c3",
        "2 CDS 101 200 - ID=c3",
    ),
    "GFF2": (
        "1 exon 2001 2100 + T1",
        "1 exon 2901 3000 + T1",
        "1 exon 2301 2400 + T2",
        "2 exon 401 500 - T3",
        "2 exon 101 200 - T3",
    ),
}


@pytest.mark.parametrize("case", ONLY_EXONS)
def test_transcripts_that_have_no_line_are_the_spans_of_their_exons(tmp_path: Path, case: str) -> None:
    genes = read(tmp_path, *ONLY_EXONS[case])
    assert places(genes.transcripts) == [(0, 2000, 3000), (0, 2300, 2400), (1, 100, 500)]
    assert starts(genes) == [(0, 2001), (0, 2301), (1, 500)]
    assert genes.line.tolist() == sorted(genes.line.tolist())
    assert places(genes.exons) == [(0, 2000, 2100), (0, 2300, 2400), (0, 2900, 3000), (1, 100, 200), (1, 400, 500)]
    assert places(genes.spans) == [(0, 2000, 3000), (1, 100, 500)]


def test_bacteria_and_pseudogenes_of_ncbi_have_genes_alone(tmp_path: Path) -> None:
    genes = read(
        tmp_path,
        "1 region 1 10000 + ID=1:1..10000;genome=chromosome",
        "1 gene 101 400 + ID=gene-a",
        "1 CDS 101 400 + ID=cds-a;Parent=gene-a",
        "1 pseudogene 901 1200 - ID=gene-b;pseudo=true",
        "1 exon 901 1200 - ID=id-b;Parent=gene-b",
        "1 CDS 2001 2300 - ID=prokka_1;product=x",
    )
    assert places(genes.transcripts) == [(0, 100, 400), (0, 900, 1200), (0, 2000, 2300)]
    assert starts(genes) == [(0, 101), (0, 1200), (0, 2300)]
    assert places(genes.exons) == [(0, 100, 400), (0, 900, 1200), (0, 2000, 2300)]


def test_coding_parts_are_exons_only_where_no_exons_are_told(tmp_path: Path) -> None:
    genes = read(
        tmp_path,
        "1 mRNA 101 900 + ID=a",
        "1 exon 101 400 + Parent=a",
        "1 CDS 201 450 + Parent=a,a-Protein",
        "1 mRNA 2001 2900 + ID=b",
        "1 CDS 2101 2400 + Parent=b",
        "1 five_prime_UTR 2001 2100 + Parent=b",
    )
    assert places(genes.exons) == [(0, 100, 400), (0, 2100, 2400)]
    assert places(genes.utrs) == [(0, 2000, 2100)]
    assert places(genes.transcripts) == [(0, 100, 900), (0, 2000, 2900)]


def test_names_of_augustus_stand_alone(tmp_path: Path) -> None:
    genes = read(
        tmp_path,
        "1 gene 101 900 + g1",
        "1 transcript 101 900 + g1.t1",
        '1 CDS 201 400 + transcript_id "g1.t1"; gene_id "g1";',
        "1 tss 101 101 + transcript_id g1.t1",
    )
    assert starts(genes) == [(0, 101)]
    assert places(genes.exons) == [(0, 200, 400)]


REFUSED = {
    "exons of nothing": (
        ("1 exon 101 200 + Name=a", "1 exon 301 400 + ID=e2"),
        "no transcript or gene on .* its exons and CDS have neither transcript_id nor Parent",
    ),
    "other types": (
        ("1 region 1 900 + ID=r", "1 match 5 9 + ID=m"),
        "no transcript or gene, and no exon or CDS to make them of: its lines are of the types match, region",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_lines_that_tell_no_transcript_are_called_by_their_types(tmp_path: Path, case: str) -> None:
    rows, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        read(tmp_path, *rows)


def test_exons_that_belong_to_nothing_still_keep_negatives_away(tmp_path: Path) -> None:
    genes = read(tmp_path, "1 gene 101 200 + ID=g", "2 exon 501 600 + Name=x")
    assert places(genes.spans) == [(0, 100, 200), (1, 500, 600)]
    assert starts(genes) == [(0, 101)]
