"""prepare from a genome without peaks: promoters of the annotation against intergenic windows."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from satori_hpc import config
from satori_hpc.cli import cli
from satori_hpc.config.toml import parse
from satori_hpc.data import prepare, sequence
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.data.test_prepare_genome import excluded_records
from tests.fixtures.genome import LENGTHS, make, write_genome
from tests.fixtures.whole import read as read_whole

DATA = Path(__file__).parents[1] / "fixtures" / "data"
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def write_genes(path: Path, rows: list[tuple[str, int, int, str]]) -> None:
    """Transcripts, 0-based and half-open here, as GFF3."""
    lines = [f"{chrom}\tx\tmRNA\t{start + 1}\t{end}\t.\t{strand}\t.\tID=t{k}\n"
             for k, (chrom, start, end, strand) in enumerate(rows)]  # fmt: skip
    path.write_text("##gff-version 3\n" + "".join(lines))


def test_every_promoter_is_a_window_that_reads_towards_its_gene(tmp_path):
    letters = write_genome(tmp_path / "genome.fa")
    genes = [("chr1", 500 * k + 300, 500 * k + 420, "+-"[k % 2]) for k in range(9)]
    genes += [("chr1", 300, 380, "+")]  # starts where the first does
    genes += [("chr2", 0, 50, "+"), ("chr2", 2900, 3000, "-")]  # nothing upstream
    genes += [("chr2", 10, 90, "+")]  # 10 bp upstream: its window is moved inside
    genes += [("chr2", 400 * k + 300, 400 * k + 340, "+") for k in range(5)]
    write_genes(tmp_path / "g.gff", genes)
    options = {"annotation": "../g.gff", "promoters": 60, "stranded": True, "negatives": "intergenic"}
    run = make(tmp_path, **options)
    summary = prepare.prepare(run, Runtime())
    assert summary["peak_rows"] == 9 + 1 + 5
    made = read_whole(run.dataset)
    assert (made.targets, made.task) == (["promoter"], "binary")
    positive = made.labels[:, 0] == 1
    expected = {}
    for chrom, start, end, strand in genes[:9] + genes[12:]:
        middle = start - 30 if strand == "+" else end + 30
        if (chrom, start) == ("chr2", 10):
            middle = 50
        text = "".join(c if c in "ACGT" else "N" for c in letters[chrom][middle - 50 : middle + 50].upper())
        text = text if strand == "+" else text.translate(COMPLEMENT)[::-1]
        expected[f"{chrom}:{middle - 50}-{middle + 50}({strand})"] = text
    found = {made.names[row]: sequence.decode(made.tokens[row]) for row in np.flatnonzero(positive)}
    assert found == expected
    at = made.coordinates
    assert (~positive).sum() == summary["negatives"] > 5
    for row in np.flatnonzero(~positive):
        for chrom, start, end, _ in genes:
            assert at.chrom[row] != chrom or at.end[row] <= start or at.start[row] >= end
        same = positive & (at.chrom[:] == at.chrom[row])
        assert ((at.end[same] <= at.start[row]) | (at.start[same] >= at.end[row])).all()
    noted = [row for row in excluded_records(run) if "no promoter" in row[6]]
    assert [row[:6] for row in noted] == [
        ["g.gff", "12", "chr2", "0", "50", "dropped"],
        ["g.gff", "13", "chr2", "2900", "3000", "dropped"],
    ]
    cut = [row for row in excluded_records(run) if row[5] == "changed"]
    assert [row[:5] for row in cut] == [["g.gff", "14", "chr2", "-50", "10"]]


def test_as_given_every_promoter_is_a_window_of_its_own(tmp_path):
    write_genome(tmp_path / "genome.fa")
    genes = [("chr1", 400 * k + 300, 400 * k + 340, "+-"[k % 2]) for k in range(14)]
    genes += [("chr1", 310, 390, "+")]  # shares 50 bp with the first
    write_genes(tmp_path / "g.gff", genes)
    options = {"annotation": "../g.gff", "promoters": 60, "window": 60, "construction": "as_given"}
    run = make(tmp_path, **options, negatives="composition")
    prepare.prepare(run, Runtime())
    made = read_whole(run.dataset)
    found = {made.names[row] for row in np.flatnonzero(made.labels[:, 0] == 1)}
    starts = [start - 60 if strand == "+" else end for _, start, end, strand in genes]
    assert found == {f"chr1:{start}-{start + 60}(.)" for start in starts}
    write_genes(tmp_path / "g.gff", [*genes, ("chr2", 20, 90, "+")])
    with pytest.raises(InputError, match=r"1 of 16 peaks are not window = 60 bp long, the first chr2:0-20"):
        prepare.prepare(run, Runtime())


def test_genes_of_another_assembly_are_told(tmp_path):
    write_genome(tmp_path / "genome.fa")
    write_genes(tmp_path / "g.gff", [("chr1", LENGTHS["chr1"] + 500 * k, 9000 + 500 * k, "+") for k in range(1, 5)])
    run = make(tmp_path, annotation="../g.gff", promoters=60, negatives="intergenic")
    with pytest.raises(
        InputError, match=r"g\.gff: 4 of 4 transcripts lie beyond .* the first at chr1:6501-9500 .*another assembly"
    ):
        prepare.prepare(run, Runtime())
    assert not run.dataset.exists()


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("", "give peaks or peak_table, the files of peaks; or promoters, with an annotation"),
        ("promoters = 100", "need an annotation file"),
        ('annotation = "g.gff"\npromoters = 100\nlabel_column = 5', "told of peaks"),
        ('annotation = "g.gff"\npromoters = 100\ncentre = "summit"', "told of peaks"),
        ('peaks = ["a.bed"]\nnegatives = "intergenic"', "'intergenic' need an annotation file"),
    ],
)
def test_sections_that_make_no_sense(keys, what):
    text = f'[prepare]\nsource = "genome"\n[prepare.genome]\n{keys}\n'
    with pytest.raises(ConfigError, match=what):
        parse(text, config.Config, name="run.toml")


def test_promoters_of_arabidopsis_by_the_command_line(tmp_path):
    for name in ("fa", "gff3"):
        shutil.copy(DATA / f"arabidopsis.{name}.gz", tmp_path)
    told = CliRunner().invoke(
        cli,
        [
            "new", str(tmp_path / "run"), "--template", "genome", "--genome", str(tmp_path / "arabidopsis.fa.gz"),
            "--annotation", str(tmp_path / "arabidopsis.gff3.gz"), "--promoters", "500",
        ],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    run = Run.open(tmp_path / "run")
    summary = prepare.prepare(run, Runtime())
    assert summary["split_by"] == "chromosome, as published for arabidopsis"
    assert summary["test_overlapping_training"] == 0
    made = read_whole(run.dataset)
    positive = made.labels[:, 0] == 1
    with gzip.open(DATA / "arabidopsis.gff3.gz", "rt") as handle:
        cells = [line.split("\t") for line in handle if "\tmRNA\t" in line]
    starts = {(row[0], row[6], row[3] if row[6] == "+" else row[4]) for row in cells}
    assert 0.8 * len(starts) < positive.sum() <= len(starts)  # near starts of one gene share a window
    assert set(made.coordinates.chrom[made.rows("test")]) == {"Chr4"}
    assert set(made.coordinates.chrom[made.rows("valid")]) == {"Chr2"}
    gc = np.isin(made.tokens, [1, 2]).mean(axis=1)
    assert abs(gc[positive].mean() - gc[~positive].mean()) < 0.02
    for options in (["--promoters", "500"], ["--annotation", "g.gff"], ["--peaks", "a.bed", "--promoters", "500"]):
        wrong = CliRunner().invoke(cli, ["new", str(tmp_path / "b"), "--template", "genome", *options])
        assert wrong.exit_code == 1
        assert "annotation" in wrong.output
