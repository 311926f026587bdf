"""prepare from a genome a piece of the peaks at a time: the bytes do not depend on how large the pieces are."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from satori_hpc.data import dataset, prepare, source
from satori_hpc.data.sources.genome import peaks, window_store
from satori_hpc.data.sources.genome import stage as genome_stage
from satori_hpc.data.sources.genome import windows as genome_windows
from satori_hpc.errors import SatoriError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.data.test_prepare import bytes_of
from tests.fixtures.genome import LENGTHS, SIZE, make

FILES = ("../a.bed", "../b.bed", "../edges.bed", "../c.narrowPeak")
SETS = {
    "extend_then_merge": {"peaks": FILES},
    "merge_then_extend": {"peaks": FILES, "construction": "merge_then_extend"},
    "the least and the largest overlap": {"peaks": FILES, "construction": "merge_then_extend", "overlap": 1},
    "every window for itself": {"peaks": FILES, "overlap": SIZE},
    "strands": {"peaks": FILES, "stranded": True},
    "summits": {"peaks": FILES, "centre": "summit"},
    "a column of labels": {"peaks": ("../column.txt",), "label_column": 8},
    "as given": {"peaks": ("../column.txt",), "label_column": 8, "construction": "as_given", "stranded": True},
    "promoters and blacklist": {
        "peaks": FILES,
        "annotation": "../genes.gff",
        "promoters": 600,
        "blacklist": "../black.bed",
        "unknown_max": 0.05,
    },
    "files of one label": {"peak_table": "../list.tsv", "without_chromosomes": ("chrM",)},
    "composition": {
        "peaks": ("../a.bed",),
        "negatives": "composition",
        "annotation": "../genes.gff",
        "promoters": 600,
    },
    "annotation": {"peaks": ("../a.bed",), "negatives": "annotation", "annotation": "../genes.gff"},
}


def inputs(folder: Path) -> None:
    """Besides a.bed and b.bed: peaks off their chromosome, narrowPeak, a column of labels, genes, a blacklist."""
    rng = np.random.default_rng(5)
    edges = [("chr1", -30, 40), ("chr1", 5960, 6050), ("chrZ", 1, 9), ("chr2", 2990, 3000), ("chrM", 5, 50)]
    edges += [("chr1", at, at + 40) for at in range(4000, 5800, 45)]  # all hang together
    (folder / "edges.bed").write_text("".join(f"{name}\t{start}\t{end}\n" for name, start, end in edges))
    narrow, column = [], []
    for _ in range(90):
        name = str(rng.choice(["chr1", "chr2"]))
        start, strand = int(rng.integers(0, LENGTHS[name] - SIZE)), str(rng.choice(list("+-.")))
        narrow.append(f"{name}\t{start}\t{start + SIZE}\tx\t0\t{strand}\t1\t1\t1\t{rng.integers(-1, 90)}\n")
        labels = ",".join(str(label) for label in rng.choice(90, rng.integers(0, 9), replace=False)) or "."
        column.append(f'{name}\t{start}\t{start + SIZE}\tx\t1\t{strand}\tgene\t"{labels}"\n')
    (folder / "c.narrowPeak").write_text("".join(narrow))
    (folder / "column.txt").write_text("".join([*column, *column[:20]]))
    genes = [
        f"{name}\tx\tmRNA\t{start}\t{start + 400}\t.\t{'+-'[start // 800 % 2]}\t.\tID=1\n"
        for name in ("chr1", "chr2")
        for start in range(700, LENGTHS[name] - 800, 800)
    ]
    (folder / "genes.gff").write_text("".join(genes))
    (folder / "black.bed").write_text("chr1 0 700\nchr2 1000 1200\n")
    (folder / "list.tsv").write_text("a.bed\topen\nb.bed\tother\nedges.bed\topen\n")


def outputs(run: Run) -> tuple[object, ...]:
    return bytes_of(run.dataset), run.excluded_records.read_bytes(), run.chrom_sizes.read_bytes()


def few_at_a_time(monkeypatch: pytest.MonkeyPatch, rows: int) -> dict[str, int]:
    """Hold so many rows at a time; counts pieces of files and stretches of the genome."""
    counts = {"pieces": 0, "stretches": 0}
    monkeypatch.setattr(source.MemoryBudget, "max_rows", lambda self, each: rows)
    monkeypatch.setattr(genome_windows, "BIN", 64)
    monkeypatch.setattr(window_store, "BLOCK", 16)
    monkeypatch.setattr(dataset, "BLOCK", 16)
    add, windows = peaks._Reader._add, genome_stage._windows

    def counted_add(self, number, path, peaks, *columns):
        counts["pieces"] += 1
        assert len(peaks) <= rows
        add(self, number, path, peaks, *columns)

    def counted_windows(peaks, *more):
        counts["stretches"] += 1
        return windows(peaks, *more)

    monkeypatch.setattr(peaks._Reader, "_add", counted_add)
    monkeypatch.setattr(genome_stage, "_windows", counted_windows)
    return counts


@pytest.mark.parametrize("name", SETS)
def test_the_bytes_do_not_depend_on_how_many_rows_are_held(two, monkeypatch, name):
    folder, _, _ = two
    inputs(folder)
    run = make(folder, **SETS[name])
    summary = prepare.prepare(run, Runtime())
    expected = outputs(run)
    for rows, least in ((40, 2), (6, 10)):
        with monkeypatch.context() as patch:
            counts = few_at_a_time(patch, rows)
            assert prepare.prepare(run, Runtime()) == summary
        assert outputs(run) == expected
        assert counts["pieces"] >= summary["peak_rows"] / rows
        assert counts["stretches"] >= least, counts
        assert not run.dataset_parts.exists()


def test_killed_while_windows_are_made_it_begins_them_anew_and_keeps_what_was_read(two, monkeypatch):
    folder, _, _ = two
    inputs(folder)
    run = make(folder, peaks=FILES)
    prepare.prepare(run, Runtime())
    expected = outputs(run)
    few_at_a_time(monkeypatch, 6)
    write, windows, written, calls = window_store.Parts.write, genome_stage._windows, [], []

    def dies_reading(self, block, part):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(block)
        write(self, block, part)

    def dies_making(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return windows(*arguments)

    for place, name, function in (
        (window_store.Parts, "write", dies_reading),
        (genome_stage, "_windows", dies_making),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, function)
            with pytest.raises(KeyboardInterrupt):
                prepare.prepare(run, Runtime())
        assert not run.dataset.exists()
    more = []
    monkeypatch.setattr(
        window_store.Parts, "write", lambda self, block, part: (more.append(block), write(self, block, part))
    )
    prepare.prepare(run, Runtime())
    assert outputs(run) == expected
    assert len(written) == 3
    assert more
    assert not set(written) & set(more)


def test_more_memory_means_more_rows_and_too_little_is_refused(two):
    folder, _, _ = two
    program = psutil.Process().memory_info().rss
    rows = [source.MemoryBudget(limit, program).max_rows(500) for limit in (1, program + 2**28, program + 2**30)]
    assert rows[0] == source.LEAST // 500
    assert rows[0] < rows[1] < rows[2] / 3
    run = make(folder, peaks=("../a.bed", "../b.bed"))
    with pytest.raises(SatoriError, match=r"--memory 1.0 MiB is too little: at least .* kept of \d+ sequences"):
        prepare.prepare(run, Runtime(memory=2**20))
    assert not run.dataset.exists()
    prepare.prepare(run, Runtime(memory=2**36))
    assert run.dataset.exists()
