"""Lists of files, labels, sizes and full disks: told in words or mended, with nothing half-written."""

import contextlib
import re
import resource
from collections.abc import Iterator

import numpy as np
import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.config import Arrays, Config, Model, Prepare
from satori_hpc.data import prepare
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.errors import InputError, SatoriError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.data.test_prepare import bytes_of, example_set, files_run, write_pair
from tests.fixtures.genome import make
from tests.fixtures.whole import read as read_whole

BAD_LISTS = {
    "missing files": (
        "a.bed\tA\nno1.bed\tB\nno2.bed\tC\n",
        r"no1.bed: no such file; correct .prepare.genome. peak_table in run.toml\n.*no2.bed: no such",
    ),
    "a header": ("file\tlabel\na.bed\tA\n", "/file: no such file; correct .prepare.genome. peak_table"),
    "blanks": ("a.bed A\nb.bed B\n", "line 1: 1 columns; .* a tab in between(.|\n)*line 2"),
    "three columns": ("a.bed\tA\tx\n", "line 1: 3 columns"),
    "no label": ("a.bed\t \nb.bed\tB\n", "line 1: 2 columns|line 1: expected"),
    "empty": ("# nothing\n", "empty; expected rows of file and label"),
    "NUL": ("a.bed\tA\0\nb.bed\tB\n", "line 1: binary data"),
    "a folder": (".\tA\nb.bed\tB\n", "cannot be read .Is a directory"),
    "a label with control characters": ("a.bed\tA\x1b[31m\nb.bed\tB\n", r"(?s)control characters.*label 'A\\x1b\[31m'"),
    "a name too long": ("a" * 5000 + "\tA\nb.bed\tB\n", "File name too long; correct"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_lists_of_files_that_cannot_be_used_are_told(two, case):
    folder, _, _ = two
    content, message = BAD_LISTS[case]
    (folder / "list.tsv").write_text(content)
    run = make(folder, peak_table="../list.tsv")
    with pytest.raises(InputError, match=message):
        prepare.prepare(run, Runtime())
    assert list(run.path.iterdir()) == []


HOSTILE = (
    "<script>alert(1)</script>",
    "../../x",
    "=cmd()|' /C calc'!A0",
    "a/b",
    "tab\\t",
    "Zell\u2028körper",
)


def test_labels_are_text_and_one_may_stand_for_several_files(two):
    """200 labels, among them all that someone may want to break something with; compared with the files one by one."""
    folder, _, rows = two
    labels = [*HOSTILE, *(f"L{number}" for number in range(200 - len(HOSTILE)))]
    content = "".join(f"{'ab'[number % 2]}.bed\t{label}\n" for number, label in enumerate(labels))
    (folder / "list.tsv").write_text("\ufeff" + content.replace("\n", "\r\n") + f"b.bed\t{labels[0]}\n", newline="")
    run = make(folder, peak_table="../list.tsv")
    prepare.prepare(run, Runtime())
    plain = make(folder, name="plain", peaks=("../a.bed", "../b.bed"))
    prepare.prepare(plain, Runtime())
    made, two_labels = read_whole(run.dataset), read_whole(plain.dataset)
    assert made.targets == labels
    at = {name: row for row, name in enumerate(two_labels.names)}
    same = [(row, at[name]) for row, name in enumerate(made.names) if name in at]
    assert len(same) > 20  # labels count in the means of merged windows, so others have moved
    for row, other in same:
        a, b = two_labels.labels[other]
        expected = np.array([(a, b)[number % 2] for number in range(200)])
        expected[0] = a or b
        np.testing.assert_array_equal(made.labels[row], expected)
    assert sorted(path.name for path in run.path.iterdir()) == [
        "chrom.sizes",
        "dataset.zarr",
        "excluded_records.tsv.gz",
    ]


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\0b", "\x1b[2J"])
@pytest.mark.parametrize("what", ["headers", "targets"])
def test_names_of_arrays_without_control_characters_only(tmp_path, what, name):
    x = np.eye(4, dtype=np.uint8)[np.random.default_rng(0).integers(0, 4, (30, 24))]
    labels = np.random.default_rng(1).integers(0, 2, (30, 2))
    names = np.array([*(f"s{number}" for number in range(29 if what == "headers" else 1)), f"{name}."])
    np.savez(tmp_path / "set.npz", x=x, y=labels, split=np.repeat([0, 1, 2], 10), **{what: names})
    section = Arrays(files=("set.npz",))
    config = Config(prepare=Prepare(source="arrays", split="given", arrays=section), model=Model(kernel_size=9))
    kind = "sequence" if what == "headers" else "label"
    with pytest.raises(InputError, match=rf"(?s)control characters.*{kind} {re.escape(repr(f'{name}.'))}"):
        prepare.prepare(Run(tmp_path, config), Runtime())
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_all_missing_files_are_told_at_once_before_any_is_read(two):
    folder, _, _ = two
    options = {"annotation": "../g.gff", "blacklist": "../k.bed", "chrom_sizes": "../s"}
    run = make(folder, genome="../a.bed", peaks=("../a.bed", "../no.bed"), **options)
    with pytest.raises(InputError, match="files that are named for this run are not there") as caught:
        prepare.prepare(run, Runtime())
    told = re.findall(r"- \S*/(\S+): no such file; correct \[prepare.genome\] (\S+) in", str(caught.value))
    assert told == [("no.bed", "peaks"), ("s", "chrom_sizes"), ("k.bed", "blacklist"), ("g.gff", "annotation")]
    with pytest.raises(InputError, match=r"(?s)no.fa: no such file; .* fasta in.*no.txt: no such file; .* table in"):
        prepare.prepare(files_run(tmp := folder / "files", fasta="no.fa", table="no.txt"), Runtime())
    assert not tmp.exists() or not list(tmp.iterdir())


FILES = (("genome", "genome.fa"), ("peaks", "a.bed"), ("peaks", "b.bed"), ("annotation", "genes.gff"))
SIZES = {
    "byte order mark": "\ufeffchr1\t900\nchr2\t80\n",
    "CRLF": "chr1\t900\r\nchr2\t80\r\n",
    "an index of a FASTA file": "chr1\t900\t6\t60\t61\nchr2\t80\t999\t60\t61\n",
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_are_read(tmp_path, case):
    (tmp_path / "s").write_text(SIZES[case], newline="")
    assert genomes.read_sizes(tmp_path / "s", needed={"chr1": 900, "chr2": 1}) == {"chr1": 900, "chr2": 80}


BAD_SIZES: dict[str, tuple[str | bytes, str]] = {
    "negative": ("chr1\t-5\n", "line 1: expected name, tab, length in bp"),
    "1e5": ("chr1\t1e5\n", "line 1: expected name, tab, length"),
    "5000 digits": (f"chr1\t{'9' * 5000}\n", "line 1: expected name, tab, length"),
    "blanks": ("chr1 900\n", "line 1: expected name, tab, length"),
    "UTF-16": ("chr1\t900\n".encode("utf-16"), "UTF-16 text; save it as UTF-8, or correct --chrom-sizes$"),
    "NUL": ("chr1\t900\nchr1\0\t900\n", "line 2: binary data"),
    "empty": ("", "no chromosome 'chr1', on which examples lie"),
}


@pytest.mark.parametrize("case", BAD_SIZES)
def test_sizes_that_cannot_be_used_are_told(tmp_path, case):
    content, message = BAD_SIZES[case]
    (tmp_path / "s").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        genomes.read_sizes(tmp_path / "s", needed={"chr1": 900})


@contextlib.contextmanager
def budget(size: int) -> Iterator[None]:
    """No file may become larger than this, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def leaves_nothing_and_goes_on(run: Run, size: int, name: str) -> None:
    """With a memory budget of this size it says which file failed; with a larger one it makes what it should."""
    with (
        budget(size),
        pytest.raises(SatoriError, match=rf"{name}: File too large; make room and run the same") as caught,
    ):
        prepare.prepare(run, Runtime())
    assert str(run.path) in str(caught.value)
    assert not run.dataset.exists()
    assert [path for path in run.path.rglob("*") if "partial" in path.name] == []
    prepare.prepare(run, Runtime())
    whole = bytes_of(run.dataset)
    prepare.prepare(run, Runtime())
    assert bytes_of(run.dataset) == whole


@pytest.mark.parametrize(
    ("size", "name"), [(10, "dataset.index"), (200, "dataset.parts/plan/file"), (1200, r"block-00000\.part")]
)
def test_a_full_disk_is_told_with_the_file(two, size, name):
    folder, _, _ = two
    rows = "".join(f"chr1\t{at}\t{at + 250}\n" for at in range(0, 5000, 250))  # few rows, many letters
    lines = rows.splitlines(keepends=True)
    (folder / "a.bed").write_text("".join(lines[::2]))
    (folder / "b.bed").write_text("".join(lines[1::2]))
    run = make(folder, peaks=("../a.bed", "../b.bed"), window=250, construction="as_given")
    leaves_nothing_and_goes_on(run, size, name)


def test_a_disk_that_is_full_when_the_data_set_is_written(tmp_path):
    write_pair(tmp_path, *example_set(count=600))
    leaves_nothing_and_goes_on(files_run(tmp_path, fasta="s.fa", table="l.txt"), 2000, r"dataset\.zarr")


@pytest.mark.parametrize(
    ("name", "content"),
    [("genome.fa", b">chr1\nAC\n\nACGT\n"), ("a.bed", b"chr1\t1\t1e5\n"), ("genes.gff", b"chr1\tx\n"), ("b.bed", None)],
)
def test_the_command_says_it_in_one_message(two, name, content):
    """As a user meets it: exit status 1, no traceback, the file named, nothing that looks made."""
    folder, _, _ = two
    (folder / "genes.gff").write_text("chr1\tx\tmRNA\t1\t9\t.\t+\t.\t\n")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    run = str(folder / "run")
    files = [f"--{option}={folder / file}" for option, file in FILES]
    made = CliRunner().invoke(cli, ["new", run, "--template", "genome", "--set", "prepare.genome.promoters=9", *files])
    assert made.exit_code == 0, made.output
    told = CliRunner().invoke(cli, ["prepare", run])
    assert told.exit_code == 1
    assert isinstance(told.exception, SystemExit)
    assert told.output.count("Error: ") == 1
    assert str(folder / name) in told.output
    assert [path.name for path in (folder / "run").iterdir()] == ["run.toml"]
    assert "missing" in CliRunner().invoke(cli, ["status", run]).output.splitlines()[0]
