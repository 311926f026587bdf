"""prepare from a genome of Ensembl's names and files of other styles: nothing is lost without a word.

One scaffold, KI270728.1, is called the same in both styles.
"""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.data import prepare
from satori_hpc.data.dataset import Examples
from satori_hpc.errors import ConfigError, InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.data.test_prepare_genome import excluded_records
from tests.fixtures.genome import make
from tests.fixtures.whole import read as read_whole

SIZES = {"1": 6000, "2": 6000, "KI270728.1": 3000, "MT": 900}
GENCODE = {"1": "chr1", "2": "chr2", "KI270728.1": "KI270728.1", "MT": "chrM"}
PEAKS = [(name, at) for name in ("1", "2") for at in range(100, 5800, 400)]
PEAKS += [("KI270728.1", at) for at in range(100, 2900, 400)]
# Between the peaks, which are 100 bp and far enough away for a window of 100.
GENES = [(name, at) for name in ("1", "2") for at in range(250, 5800, 800)] + [("KI270728.1", 250)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(3)
    lines = []
    for name, size in SIZES.items():
        letters = "".join(rng.choice(list("ACGT"), size))
        lines += [f">{name} dna:chromosome REF", *(letters[first : first + 60] for first in range(0, size, 60))]
    (path / "genome.fa").write_text("\n".join(lines) + "\n")
    write_peaks(path / "same.bed", {name: name for name in SIZES})
    write_peaks(path / "gencode.bed", GENCODE)
    gtf = "".join(
        f'{GENCODE[name]}\tHAVANA\t{kind}\t{at + 1}\t{at + 150}\t.\t+\t.\tgene_id "G{row}"; transcript_id "T{row}";\n'
        for row, (name, at) in enumerate(GENES)
        for kind in ("gene", "transcript", "exon")
    )
    (path / "gencode.gtf").write_text("##description: names of UCSC\n" + gtf)
    return path


def write_peaks(path: Path, names: dict[str, str], *, row: str = "{}\t{}\t{}\n") -> None:
    path.write_text("".join(row.format(names[name], at, at + 100) for name, at in PEAKS))


def prepared(folder: Path, tmp_path: Path, **options) -> tuple[Run, dict, Examples]:
    options = {"genome": str(folder / "genome.fa"), "overlap": 50, **options}
    run = make(tmp_path, **{key: value for key, value in options.items() if value is not None})
    summary = prepare.prepare(run, Runtime())
    return run, summary, read_whole(run.dataset)


def test_all_peaks_are_used_whatever_one_shared_scaffold_is_called(folder, tmp_path, caplog):
    run, summary, made = prepared(
        folder, tmp_path, peaks=(str(folder / "gencode.bed"), str(folder / "same.bed")), negatives="composition"
    )
    assert summary["peaks"] == summary["peak_rows"] == 2 * len(PEAKS)
    assert summary["files_with_other_chromosome_names"] == 1
    assert excluded_records(run) == []
    starts = {f"{name}:{at}-{at + 100}(.)" for name, at in PEAKS}
    assert {made.names[row] for row in np.flatnonzero(made.labels.all(axis=1))} == starts
    assert "gencode.bed: chromosomes are called otherwise in the genome: chr1 = 1, chr2 = 2" in caplog.text


@pytest.mark.parametrize("negatives", ["intergenic", "annotation"])
def test_negatives_keep_away_from_genes_of_other_names(folder, tmp_path, negatives):
    options = {"peaks": (str(folder / "same.bed"),), "annotation": str(folder / "gencode.gtf"), "negatives": negatives}
    _, summary, made = prepared(folder, tmp_path, **options)
    assert summary["negatives"] > 10
    inside = 0
    for row in np.flatnonzero(made.labels[:, 0] == 0):
        chrom, start, end, _ = re.fullmatch(r"(.*):(\d+)-(\d+)\((.)\)", made.names[row]).groups()
        inside += any(chrom == name and int(start) < at + 150 and int(end) > at for name, at in GENES)
    assert (inside == 0) == (negatives == "intergenic")  # those of the mix of classes are in genes, too


def test_a_blacklist_of_other_names_has_its_effect(folder, tmp_path):
    (tmp_path / "black.bed").write_text("chr1\t0\t3000\nchrUn_KI270728v1\t0\t900\nchrM\t0\t900\n")
    run, _, made = prepared(
        folder,
        tmp_path,
        peaks=(str(folder / "same.bed"),),
        blacklist=str(tmp_path / "black.bed"),
        negatives="composition",
    )
    ends = {"1": 3000, "KI270728.1": 900}
    gone = {(name, at) for name, at in PEAKS if at < ends.get(name, 0)}
    assert {(row[2], int(row[3])) for row in excluded_records(run)} == gone
    kept = {(name.split(":")[0], int(name.split(":")[1].split("-")[0])) for name in made.names}
    assert kept >= set(PEAKS) - gone


def test_sizes_settings_and_parts_of_the_split_may_be_of_other_names(folder, tmp_path):
    (tmp_path / "sizes").write_text("chr1\t6000\nchr2\t6000\nKI270728.1\t3000\nchrUn_GL000220v1\t30\n")
    _, _, made = prepared(
        folder,
        tmp_path,
        peaks=(str(folder / "same.bed"), str(folder / "gencode.bed")),
        negatives="composition",
        chrom_sizes=str(tmp_path / "sizes"),
        without_chromosomes=("chrM",),
        split={"split": "chromosome", "valid_chromosomes": ("chr2",), "test_chromosomes": ("chrUn_KI270728v1",)},
    )
    chrom = made.coordinates.chrom
    assert [set(chrom[made.rows(part)]) for part in ("train", "valid", "test")] == [{"1"}, {"2"}, {"KI270728.1"}]


def test_sizes_of_other_names_are_compared(folder, tmp_path):
    (tmp_path / "sizes").write_text("chr1\t6000\nchr2\t5000\n")
    with pytest.raises(InputError, match="chr2 has 5,000 bp in the table, 6,000 in the genome"):
        prepared(folder, tmp_path, peaks=(str(folder / "same.bed"),), chrom_sizes=str(tmp_path / "sizes"))


def test_a_setting_that_names_no_chromosome_is_told(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"without_chromosomes: chr9 not in .*, which has 1, 2, KI270728.1, MT"):
        prepared(folder, tmp_path, peaks=(str(folder / "same.bed"),), without_chromosomes=("chrM", "chr9"))


def ncbi(folder: Path, tmp_path: Path, **names: str) -> dict[str, str]:
    """The genome under accessions; its file is tmp_path/ncbi.fa."""
    text = (folder / "genome.fa").read_text()
    for name, accession in names.items():
        text = text.replace(f">{name.strip('c')} ", f">{accession} ")
    (tmp_path / "ncbi.fa").write_text(text)
    return {**{name: name for name in SIZES}, **{name.strip("c"): accession for name, accession in names.items()}}


def test_a_split_that_cannot_be_made_tells_what_is_there_and_what_is_wanted(folder, tmp_path):
    names = ncbi(folder, tmp_path, c1="NC_000001.11", c2="NC_000002.12")
    write_peaks(tmp_path / "p.bed", names)
    with pytest.raises(InputError) as caught:
        prepared(
            folder,
            tmp_path,
            genome=str(tmp_path / "ncbi.fa"),
            peaks=(str(tmp_path / "p.bed"),),
            negatives="composition",
            split={"split": "human"},
        )
    assert "valid: no examples" in str(caught.value)
    assert "17, 20, 21 for valid" in str(caught.value)
    assert "examples are on KI270728.1, NC_000001.11, NC_000002.12" in str(caught.value)


def test_a_split_of_the_literature_knows_accessions(folder, tmp_path):
    names = ncbi(folder, tmp_path, c1="NC_003071.7", c2="NC_003075.7")
    write_peaks(tmp_path / "p.bed", {**names, "1": "Chr2", "2": "4"})  # which are of other styles
    _, _, made = prepared(
        folder,
        tmp_path,
        genome=str(tmp_path / "ncbi.fa"),
        peaks=(str(tmp_path / "p.bed"),),
        negatives="composition",
        split={"split": "arabidopsis"},
    )
    chrom = made.coordinates.chrom
    parts = [set(chrom[made.rows(part)]) for part in ("train", "valid", "test")]
    assert parts == [{"KI270728.1"}, {"NC_003071.7"}, {"NC_003075.7"}]


STRANGERS = {
    "peaks": ("{}\t{}\t{}\n", "30 of 37 peaks are on chromosomes that are not in .*LG1: 15, LG2: 15"),
    "blacklist": ("{}\t{}\t{}\n", "30 of 37 regions are on chromosomes that are not in .*LG1: 15, LG2: 15"),
    "annotation": (
        "{}\tx\tgene\t{}\t{}\t.\t+\t.\tID=g\n",
        "30 of 37 features are on chromosomes that are not in .*LG1: 15, LG2: 15",
    ),
}


@pytest.mark.parametrize("key", STRANGERS)
def test_a_file_that_is_mostly_elsewhere_is_refused_unless_that_is_allowed(folder, tmp_path, key, caplog):
    row, message = STRANGERS[key]
    write_peaks(tmp_path / "strange", {"1": "LG1", "2": "LG2", "KI270728.1": "KI270728.1"}, row=row)
    options = {"peaks": (str(folder / "same.bed"),), "negatives": "composition"}
    options[key] = (str(tmp_path / "strange"),) if key == "peaks" else str(tmp_path / "strange")
    with pytest.raises(InputError, match=message + ".*--allow-missing-chromosomes"):
        prepared(folder, tmp_path, **options)
    assert not (tmp_path / "run" / "dataset.zarr").exists()
    (tmp_path / "sizes").write_text("LG1\t6000\nLG2\t6000\nKI270728.1\t3000\n")
    with pytest.raises(InputError, match="12,000 of 15,000 bp are on chromosomes that are not in .*LG1: 6,000"):
        prepared(folder, tmp_path, peaks=(str(folder / "same.bed"),), chrom_sizes=str(tmp_path / "sizes"))
    caplog.clear()
    prepared(folder, tmp_path, **options, allow_missing_chromosomes=True)
    assert re.search(message, caplog.text)


def test_negatives_where_the_annotation_has_no_gene_are_told(folder, tmp_path, caplog):
    options = {"peaks": (str(folder / "same.bed"),), "annotation": str(tmp_path / "g.gff"), "negatives": "intergenic"}
    (tmp_path / "g.gff").write_text("1\tx\tgene\t250\t350\t.\t+\t.\tID=g\n")
    with pytest.raises(InputError, match=r"g.gff: no gene on 2, KI270728.1, where 22 of 37 windows of peaks are"):
        prepared(folder, tmp_path, **options)
    with open(tmp_path / "g.gff", "a") as handle:
        handle.write("2\tx\tgene\t250\t350\t.\t+\t.\tID=h\n")
    prepared(folder, tmp_path, **options)
    assert "no gene on KI270728.1, where 7 of 37 windows of peaks are" in caplog.text


def test_the_command_has_an_option_for_it(folder, tmp_path):
    content = "".join(f"chr9\t{at}\t{at + 60}\n" for at in range(99)) + (folder / "gencode.bed").read_text()
    (tmp_path / "p.bed.gz").write_bytes(gzip.compress(content.encode()))
    names = ["--genome", str(folder / "genome.fa"), "--peaks", str(tmp_path / "p.bed.gz")]
    more = ["prepare.genome.window=100", "prepare.genome.overlap=50", "model.kernel_size=9"]
    for name, options, code in (("a", [], 1), ("b", ["--allow-missing-chromosomes"], 0)):
        run = str(tmp_path / name)
        sets = [word for text in more for word in ("--set", text)]
        made = CliRunner().invoke(cli, ["new", run, "--template", "genome", *names, *options, *sets])
        assert made.exit_code == 0, made.output
        told = CliRunner().invoke(cli, ["prepare", run])
        assert told.exit_code == code, told.output
        assert "99 of 136 peaks are on chromosomes that are not in" in told.output
        assert ("Error: " in told.output) == (code == 1)
