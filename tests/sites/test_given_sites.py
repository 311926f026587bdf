"""Sites from a scan or a file: the same sites by either way, from a run's settings to its report."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.config import Dfim, Sites
from satori_hpc.data import dataset
from satori_hpc.data.dataset import Coded, Coordinates, Dataset, Examples
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import InputError
from satori_hpc.interactions import tables
from satori_hpc.parallel.world import Runtime
from satori_hpc.report import inspect as report_inspect
from satori_hpc.report.inspect import inspect
from satori_hpc.run import execute, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring.base import SiteScores
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import listed
from satori_hpc.sites import store as motif_store
from tests.fixtures import tiny
from tests.fixtures.runs import TinyRun

RUNTIME = Runtime(device="cpu", threads=1)
METHODS = ("attention", "attribution", "dfim", "epistasis")


def prepared(run: Run, **source: object) -> Run:
    """Score few examples, at few sites, of the motifs that were implanted."""
    motif_store.write_meme(run.path / "pool.meme", truth.read_pool(run.truth), np.full(4, 0.25))
    return tiny.change(
        run,
        sites={"max_p": 1e-3, **source},
        motifs={"database": "pool.meme", "split": "all"},
        score={
            "methods": METHODS,
            "max_examples": 20,
            "sites": Sites(max_sites=4),
            "dfim": Dfim(rule="midpoint", steps=2, baselines=1, mutations=1),
        },
        reduce={"min_examples": 2, "cutoff": "0", "statistic": "published", "max_distance": 0},
    )


def bed_of(run: Run, path: Path) -> None:
    """The sites of a scan, as a file; the first column names sequences."""
    data, source = Dataset(run.dataset), motif_store.read_given(run.motifs, run.config.sites.source)
    assert source is not None
    found, names = source.find(data.tokens[np.arange(len(data))], np.arange(len(data))), list(data.names())
    rows = zip(found.example, found.start, found.end, found.motif, found.strength, found.strand, strict=True)
    path.write_text(
        "".join(
            f"{names[e]}\t{start}\t{end}\t{source.names[m]}\t{float(score)!r}\t{'+' if strand > 0 else '-'}\n"
            for e, start, end, m, score, strand in rows
        )
    )


def test_a_bed_file_of_the_hits_of_a_scan_gives_the_scores_of_the_scan(tiny_run: TinyRun, tmp_path: Path) -> None:
    scan = prepared(tiny_run("train", tmp_path / "scan"), source="scan")
    for stage in ("motifs", "score"):
        execute.execute(scan, stage, RUNTIME)
    file = prepared(tiny_run("train", tmp_path / "file"), source="file", file="sites.bed")
    bed_of(scan, file.path / "sites.bed")
    for stage in ("motifs", "score", "reduce", "evaluate", "report"):
        execute.execute(file, stage, RUNTIME)

    scanned, named = (motif_store.read_tf(run.motifs)["motif_id"].tolist() for run in (scan, file))
    assert sorted(scanned) == named  # each has a site
    number = np.array([named.index(name) for name in scanned])
    for method in METHODS:
        for group in GROUPS:
            one, other = (ScoreStore(run.scores(method)).read(group, 0) for run in (scan, file))
            np.testing.assert_array_equal(one.counts, other.counts)
            np.testing.assert_array_equal(one.value, other.value)
            np.testing.assert_array_equal(one.place, other.place)
            assert rows_of(one, number) == rows_of(other, np.arange(len(named)))
            assert len(one.value) > 10
        assert tables.read_tf(file.interactions(method))["p"].notna().any()
    inspect(file, RUNTIME, "3")
    shown = report_inspect.read(file.inspections / "3.npz")
    mine = motif_store.read_given(file.motifs, "file")
    assert mine is not None
    there = mine.find(Dataset(file.dataset).tokens[np.array([3])], np.array([3])).strongest(4)
    np.testing.assert_array_equal(shown["dfim_start"], there.start)
    np.testing.assert_array_equal(shown["epistasis_end"], there.end)
    assert len(there) > 1
    assert "sites.parquet" in str(provenance.read(file.record("motifs")))


def rows_of(scores: SiteScores, number: np.ndarray) -> set[tuple[float, ...]]:
    """Rows of example, motif (as numbered), start, strand, place and strength."""
    example = np.repeat(np.arange(len(scores)), scores.counts[:, 0])
    site = np.column_stack([example, number[scores.site[:, 0]], scores.site[:, 1:], scores.strength])
    return {tuple(row) for row in site.tolist()}


EXAMPLES = Examples(
    tokens=np.zeros((4, 20), dtype=np.uint8), labels=np.array([[0], [1], [0], [1]]), names=list("abcd"), targets=["y"]
)
PLACED = dataclasses.replace(
    EXAMPLES,
    coordinates=Coordinates(
        chrom=Coded.of(np.array(["chr1", "chr1", "chr2", "chr1"])),
        start=np.array([100, 110, 100, 100]),
        end=np.array([120, 130, 120, 120]),
        strand=np.array([1, 1, -1, -1], dtype=np.int8),
    ),
)


def sites_in(folder: Path, examples: Examples, text: str) -> listed.Listed:
    (folder / "sites.bed").write_text(text)
    dataset.write(folder / "dataset.zarr", examples)
    return listed.read(folder / "sites.bed", Dataset(folder / "dataset.zarr"), key="[sites] file")


def placed(found: listed.Listed) -> list[tuple[object, ...]]:
    table = found.table
    columns = (table.example, table.start, table.end, table.strand, table.strength)
    return [
        (*row, found.names[motif]) for *row, motif in zip(*(c.tolist() for c in (*columns, table.motif)), strict=True)
    ]


def test_sites_in_the_genome_are_placed_in_every_example_that_holds_them(tmp_path: Path) -> None:
    text = (
        "track name=hits\n# a comment\n"
        "chr1\t112\t118\tGATA1\t7.5\t+\n"  # in a, b and, reversed, d
        "chr1\t119\t121\tGATA1\t1\t+\n"  # in b alone: it hangs over the end of a and d
        "chr2\t100\t104\tTAL1\t.\t-\n"
        "chr2\t300\t304\tTAL1\t1\t-\n"  # outside
        "chr9\t0\t4\tTAL1\t1\t-\n"  # a chromosome without examples
        "b\t12\t16\tTAL1\t2\t-\n"  # within a sequence, by its name
    )
    found = sites_in(tmp_path, PLACED, text)
    assert placed(found) == [
        (0, 12, 18, 1, 7.5, "GATA1"),
        (1, 2, 8, 1, 7.5, "GATA1"),
        (1, 9, 11, 1, 1.0, "GATA1"),
        (1, 12, 16, -1, 2.0, "TAL1"),
        (2, 16, 20, 1, 0.0, "TAL1"),
        (3, 2, 8, -1, 7.5, "GATA1"),
    ]
    assert (found.lines, found.outside) == (6, 2)
    assert found.names == ["GATA1", "GATA1", "TAL1"]  # one width each


def test_hits_of_finemo_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    header = (
        "chr\tstart\tend\tstart_untrimmed\tend_untrimmed\tmotif_name\thit_coefficient\thit_coefficient_global\t"
        "hit_correlation\thit_importance\tstrand\tpeak_name\tpeak_id\n"
    )
    hit = "chr1\t{}\t{}\t101\t119\t{}\t9.0\t{}\t0.8\t0.1\t-\tNA\t0\n"
    text = header + hit.format(102, 108, "GATA1", 0.5) + hit.format(104, 110, "TAL1", 0.25)
    found = sites_in(tmp_path, PLACED, text)
    assert placed(found) == [(0, 2, 8, -1, 0.5, "GATA1"), (3, 12, 18, 1, 0.5, "GATA1")]  # the weaker one has lost
    assert found.lost == 2


BAD = {
    "nothing but comments": ("# none\n", "empty; expected a site per line"),
    "three columns": ("a\t0\t4\n", "line 1: 3 columns; expected 6 or more, separated by tabs: chrom, start, end, name"),
    "spaces": ("\na 0 4 GATA1 1 +\n", "line 2: 1 columns; expected 6"),
    "an unknown sequence": ("a\t0\t4\tX\t1\t+\nz\t0\t4\tX\t1\t+\n", "line 2: no sequence is named 'z'"),
    "out of bounds": ("a\t18\t22\tX\t1\t+\n", "line 1: 18..22 of 'a'; expected end <= 20"),
    "before the start": ("a\t-1\t4\tX\t1\t+\n", "line 1: -1..4; expected whole numbers"),
    "no width": ("a\t4\t4\tX\t1\t+\n", "line 1: 4..4; expected whole numbers, 0 <= start < end"),
    "no name": ("a\t0\t4\t.\t1\t+\n", "line 1: no name"),
    "no number": ("a\t0\t4\tX\tnan\t+\n", "line 1: score 'nan'; expected a number"),
    "no strand": ("a\t0\t4\tX\t1\t1\n", "line 1: strand '1'; expected +, - or ."),
    "other columns of Fi-NeMo": ("chr\tstart\tend\tmotif_name\n", "line 1: no column hit_coefficient_global, strand"),
    "no coordinates of Fi-NeMo": (
        "chr\tstart\tend\tmotif_name\thit_coefficient_global\tstrand\nNA\t0\t4\tX\t1\t+\n",
        "line 2: sequence 'NA'; expected its name; give Fi-NeMo the coordinates of the peaks",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_refused_by_file_and_line(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(InputError, match=re.escape(message)) as error:
        sites_in(tmp_path, EXAMPLES, text)
    assert str(tmp_path / "sites.bed") in str(error.value)


def test_other_names_of_chromosomes_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 1 sites lies in a sequence.*'1', those of the data 'chr1'"):
        sites_in(tmp_path, PLACED, "1\t100\t104\tTAL1\t1\t-\n")
