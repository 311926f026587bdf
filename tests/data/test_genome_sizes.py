"""The user's table of chromosome sizes: it chooses chromosomes, and tells another assembly."""

import gzip
from pathlib import Path

import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.data import prepare
from satori_hpc.errors import InputError
from satori_hpc.parallel.world import Runtime
from tests.fixtures.genome import LENGTHS, make, write_genome, write_peaks
from tests.fixtures.whole import read as read_whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_genome(tmp_path / "genome.fa")
    for number, name in enumerate("ab"):
        write_peaks(tmp_path / f"{name}.bed", seed=number)
    return tmp_path


def prepared(folder: Path, sizes: str | bytes, **options) -> set[str]:
    """The chromosomes of the windows."""
    (folder / "chrom.sizes").write_bytes(sizes if isinstance(sizes, bytes) else sizes.encode())
    run = make(folder, peaks=("../a.bed", "../b.bed"), chrom_sizes="../chrom.sizes", **options)
    prepare.prepare(run, Runtime())
    return set(read_whole(run.dataset).coordinates.chrom)


def test_only_its_chromosomes_are_taken(folder: Path) -> None:
    assert prepared(folder, "chr1\t6000\nchrM\t900\n") == {"chr1"}
    assert prepared(folder, "".join(f"{name}\t{size}\n" for name, size in LENGTHS.items())) == {"chr1", "chr2"}


def test_other_filters_hold_besides(folder: Path) -> None:
    table = "chr1\t6000\r\nchr2\t3000\r\n"
    assert prepared(folder, table, without_chromosomes=("chr1",)) == {"chr2"}
    assert prepared(folder, gzip.compress(table.encode()), chromosomes=("chr1", "chrM")) == {"chr1"}


def test_an_index_of_a_fasta_file_will_do_and_more_chromosomes_than_the_genome_has(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepared(folder, "chr1\t6000\t22\t60\t61\nchrUn_1\t50\t0\t60\t61\n") == {"chr1"}
    assert "50 of 6,050 bp are on chromosomes that are not in" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ("chr1\t6000\nchr2\t2999\n", "chr2 has 2,999 bp in the table, 3,000 in the genome"),
        ("LG1\t6000\n", "none of its chromosomes .LG1. is in"),
        ("chr1 6000\n", "line 1: expected name, tab, length in bp"),
        ("chr1\t6000\nchr1\t6000\n", "line 2: 'chr1' comes twice"),
        ("", "empty; expected rows of name, tab, length"),
        (b"\xff\xfe\x00", "UTF-16 text; save it as UTF-8"),
        (b"chr1\t6000\n\xff\xff", "line 2: not UTF-8 text"),
    ],
)
def test_what_cannot_be_used_is_refused(folder: Path, sizes: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        prepared(folder, sizes)
    assert "chrom.sizes" in str(told.value)
    assert not (folder / "run" / "dataset.zarr").exists()


def test_the_command_names_it(folder: Path) -> None:
    (folder / "chrom.sizes").write_text("chr1\t6000\n")
    names = ("--genome", folder / "genome.fa", "--peaks", folder / "a.bed", "--chrom-sizes", folder / "chrom.sizes")
    done = CliRunner().invoke(cli, ["new", str(folder / "x"), "--template", "genome", *map(str, names)])
    assert done.exit_code == 0, done.output
    assert f'chrom_sizes = "{folder / "chrom.sizes"}"' in (folder / "x" / "run.toml").read_text()
