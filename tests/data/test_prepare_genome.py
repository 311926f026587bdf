"""prepare from a genome: windows as the slow rules have them, letters from their places, nothing lost in silence."""

import dataclasses
import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from Bio import bgzf

from satori_hpc.config import Config
from satori_hpc.data import dataset, sequence
from satori_hpc.data import prepare as stage
from satori_hpc.data.dataset import Examples
from satori_hpc.data.sources.genome import window_store
from satori_hpc.errors import InputError
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import new
from satori_hpc.run.layout import Run
from tests.data.test_prepare import bytes_of
from tests.fixtures.genome import LENGTHS, OVERLAP, SIZE, make
from tests.fixtures.whole import read as read_whole
from tests.oracles import windows_oracle
from tests.oracles.windows_oracle import Peak

DATA = Path(__file__).parents[1] / "fixtures" / "data"


def filler(path: Path) -> str:
    """A file of 20 windows that serve to have both classes of a label in every part of a split."""
    path.write_text("".join(f"chr1\t{start}\t{start + SIZE}\n" for start in range(3000, 6000, 150)))
    return f"../{path.name}"


def of_label(made: Examples, label: str) -> set[str]:
    """Names of the windows that have it."""
    return {made.names[row] for row in np.flatnonzero(made.labels[:, made.targets.index(label)])}


def excluded_records(run: Run) -> list[list[str]]:
    with gzip.open(run.excluded_records, "rt") as handle:
        return [line.rstrip("\n").split("\t") for line in handle][1:]


@pytest.mark.parametrize("construction", ["extend_then_merge", "merge_then_extend"])
def test_windows_labels_and_letters(two, construction):
    folder, letters, rows = two
    run = make(folder, peaks=("../a.bed", "../b.bed"), construction=construction)
    summary = stage.prepare(run, Runtime())
    names = list(LENGTHS)
    peaks = [
        Peak(names.index(chrom), 0, start, end, frozenset([label]))
        for label, found in enumerate(rows.values())
        for chrom, start, end in found
    ]
    slow = getattr(windows_oracle, construction)(peaks, list(LENGTHS.values()), SIZE, OVERLAP)
    made = read_whole(run.dataset)
    assert made.targets == ["a", "b"]
    assert made.task == "multilabel"
    expected = {}
    for window in slow:
        key = (names[window.chrom], window.start)
        expected[key] = expected.get(key, frozenset()) | window.labels
    at = made.coordinates
    found = list(zip(at.chrom, at.start.tolist(), strict=True))
    assert found == sorted(expected, key=lambda key: (names.index(key[0]), key[1]))
    for row, key in enumerate(found):
        assert set(np.flatnonzero(made.labels[row])) == expected[key]
        text = letters[key[0]][key[1] : key[1] + SIZE]
        assert (made.tokens[row] == sequence.encode(text)).all()
        assert made.names[row] == f"{key[0]}:{key[1]}-{key[1] + SIZE}(.)"
    assert summary["peak_rows"] == summary["peaks"] == 120
    assert excluded_records(run) == []
    assert not run.dataset_parts.exists()


def test_any_compression_gives_the_same_bytes_and_nothing_beside_the_genome(two):
    folder, _, _ = two
    found = []
    for number, kind in enumerate(("plain", "gzip", "bgzip")):
        (folder / kind).mkdir()
        path = folder / kind / "genome.fa"
        text = (folder / "genome.fa").read_bytes()
        if kind == "plain":
            path.write_bytes(text)
        else:
            with gzip.open(path, "wb") if kind == "gzip" else bgzf.BgzfWriter(str(path)) as handle:
                handle.write(text)
        (folder / kind).chmod(0o555)
        run = make(folder, name=f"run-{number}", genome=f"../{kind}/genome.fa", peaks=("../a.bed", "../b.bed"))
        stage.prepare(run, Runtime())
        assert [path.name for path in (folder / kind).iterdir()] == ["genome.fa"]
        found.append(bytes_of(run.dataset))
    assert found[0] == found[1] == found[2]


def test_stopped_half_way_it_goes_on(two, monkeypatch):
    folder, _, _ = two
    monkeypatch.setattr(window_store, "BLOCK", 16)
    run = make(folder, peaks=("../a.bed", "../b.bed"))
    stage.prepare(run, Runtime())
    whole, written = bytes_of(run.dataset), []
    write = window_store.Parts.write

    def failing(self, block, part):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(block)
        write(self, block, part)

    monkeypatch.setattr(window_store.Parts, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        stage.prepare(run, Runtime())
    assert not run.dataset.exists()
    more = []
    monkeypatch.setattr(
        window_store.Parts, "write", lambda self, block, part: (more.append(block), write(self, block, part))
    )
    stage.prepare(run, Runtime())
    assert bytes_of(run.dataset) == whole
    assert not set(written) & set(more)
    assert set(written) | set(more) == set(range(len(written) + len(more)))


def test_strands_are_read_from_five_to_three(two):
    folder, letters, _ = two
    rows = [("chr1", 200, "-"), ("chr1", 210, "+"), ("chr2", 500, ".")] + [
        ("chr2", at, "-") for at in range(700, 2900, 110)
    ]
    (folder / "s.bed").write_text("".join(f"{name}\t{at}\t{at + SIZE}\tx\t0\t{strand}\n" for name, at, strand in rows))
    files = ("../s.bed", filler(folder / "f.bed"))
    stage.prepare(run := make(folder, peaks=files, stranded=True, construction="as_given"), Runtime())
    made = read_whole(run.dataset)
    assert of_label(made, "s") == {f"{name}:{at}-{at + SIZE}({strand})" for name, at, strand in rows}
    other = sequence.reverse_complement(sequence.encode(letters["chr1"][200:300]))
    assert (made.tokens[made.names.index("chr1:200-300(-)")] == other).all()


def test_what_lies_off_the_chromosome_is_told(two):
    folder, _, _ = two
    ends = "chr1\t-20\t40\nchr1\t5950\t6000\nchr2\t2980\t3050\nchr7\t1\t50\nchrM\t10\t60\nchr1\t6000\t6100\n"
    many = "".join(f"chr{1 + number % 2}\t{40 * number}\t{40 * number + 30}\n" for number in range(70))
    (folder / "e.bed").write_text(ends + many)
    run = make(folder, peaks=("../e.bed", "../a.bed"), without_chromosomes=("chrM",))
    summary = stage.prepare(run, Runtime())
    told = {(row[1], row[5], row[6]) for row in excluded_records(run)}
    assert told == {
        ("1", "changed", "cut at the end of the chromosome"),
        ("3", "changed", "cut at the end of the chromosome"),
        ("4", "dropped", "chromosome not in the genome"),
        ("5", "dropped", "chromosome left out"),
        ("6", "dropped", "beyond the end of the chromosome"),
    }
    assert summary["rows changed, cut at the end of the chromosome"] == 2
    assert "chr1:5900-6000(.)" in read_whole(run.dataset).names  # a peak that ends with its chromosome is kept


def test_blacklist_promoters_summits_and_names_without_chr(two):
    folder, _, _ = two
    (folder / "black.bed").write_text("chr1 0 3000\n")
    run = make(folder, peaks=("../a.bed", "../b.bed"), blacklist="../black.bed")
    stage.prepare(run, Runtime())
    at = read_whole(run.dataset).coordinates
    assert at.start[at.chrom[:] == "chr1"].min() >= 3000
    tail = ".\t0\t.\t1\t-1\t-1"
    rows = [f"1\t{at}\t{at + 90}\t{tail}\t{-1 if at == 150 else 70}\n" for at in range(0, 2900, 150)]
    rows = [row.replace("\t70\n", "\t70\r\n") for row in rows]
    (folder / "n.narrowPeak").write_text("".join(rows), newline="")
    run = make(folder, name="n", peaks=("../n.narrowPeak", filler(folder / "f.bed")), centre="summit")
    summary = stage.prepare(run, Runtime())
    assert {"chr1:320-420(.)", "chr1:20-120(.)", "chr1:145-245(.)"} <= of_label(read_whole(run.dataset), "n")
    assert summary["files_with_other_chromosome_names"] == 1
    genes = "chr1\tx\tmRNA\t2001\t2500\t.\t+\t.\tID=1\nchr2\tx\tmRNA\t1001\t1500\t.\t-\t.\tID=2\n"
    (folder / "g.gff").write_text(genes)
    (folder / "p.bed").write_text("chr1\t1980\t2000\nchr1\t2000\t2020\nchr2\t1500\t1520\nchr2\t1490\t1500\n")
    run = make(folder, name="p", peaks=("../p.bed",), annotation="../g.gff", promoters=50, negatives="composition")
    with pytest.raises(InputError, match="expected both classes"):
        stage.prepare(run, Runtime())  # two windows are too few to be split
    assert {(row[0], row[1], row[6]) for row in excluded_records(run)} == {
        ("p.bed", "2", "touches no promoter"),
        ("p.bed", "4", "touches no promoter"),
    }


def test_labels_from_a_table_of_files_and_from_a_column(two):
    folder, _, _ = two
    (folder / "list.tsv").write_text("a.bed\topen <b>\nb.bed\tother\n")
    run = make(folder, peak_table="../list.tsv")
    stage.prepare(run, Runtime())
    by_files = read_whole(run.dataset)
    assert by_files.targets == ["open <b>", "other"]
    rows = [("chr1", 100, '"10,2"'), ("chr1", 100, "3"), ("chr2", 100, "."), ("chr2", 700, "2")]
    rows += [("chr1", at, "3") for at in range(1000, 5000, 200)]
    lines = [f"{name}\t{at}\t{at + SIZE}\t.\t1\t+\tgene\t{labels}" for name, at, labels in rows]
    (folder / "c.txt").write_text("\r\n".join(lines), newline="")
    run = make(folder, name="c", peaks=("../c.txt",), label_column=8, construction="as_given")
    stage.prepare(run, Runtime())
    made = read_whole(run.dataset)
    assert made.targets == ["2", "3", "10"]
    assert made.labels[made.names.index("chr1:100-200(.)")].tolist() == [1, 1, 1]
    assert made.labels[made.names.index("chr2:100-200(.)")].tolist() == [0, 0, 0]
    assert of_label(made, "2") == {"chr1:100-200(.)", "chr2:700-800(.)"}


def test_negatives_are_away_from_peaks_and_alike_in_composition(tmp_path):
    shutil.copy(DATA / "arabidopsis.fa.gz", tmp_path / "genome.fa")
    run = make(
        tmp_path,
        peaks=("../promoters.bed",),
        annotation=str(DATA / "arabidopsis.gff3.gz"),
        negatives="composition",
        unknown_max=0.1,
        chromosomes=("Chr4",),
    )
    promoters(tmp_path / "promoters.bed", DATA / "arabidopsis.gff3.gz")
    summary = stage.prepare(run, Runtime())
    made = read_whole(run.dataset)
    positive = made.labels[:, 0] == 1
    assert summary["negatives"] == summary["negatives_asked_for"] == positive.sum() > 40
    gc = np.isin(made.tokens, [1, 2]).mean(axis=1)
    assert abs(gc[positive].mean() - gc[~positive].mean()) < 0.01
    at = made.coordinates
    for row in np.flatnonzero(~positive):
        assert ((at.end[positive] <= at.start[row]) | (at.start[positive] >= at.end[row])).all()


def test_negatives_have_the_positives_mix_of_classes(tmp_path):
    shutil.copy(DATA / "arabidopsis.fa.gz", tmp_path / "genome.fa")
    from satori_hpc.data.sources.genome import annotation
    from satori_hpc.data.sources.genome.genome import Genome as Open

    with Open(tmp_path / "genome.fa", tmp_path / "index") as genome:
        lengths = genome.lengths
        genes = annotation.read(DATA / "arabidopsis.gff3.gz", genome)
    rng = np.random.default_rng(0)
    middles = np.sort(rng.choice(int(lengths[0]) - 4000, 40, replace=False)) + 2000
    (tmp_path / "p.bed").write_text("".join(f"Chr1\t{at - 10}\t{at + 10}\n" for at in middles))
    run = make(
        tmp_path,
        peaks=("../p.bed",),
        annotation=str(DATA / "arabidopsis.gff3.gz"),
        negatives="annotation",
        negatives_per_positive=2,
    )
    stage.prepare(run, Runtime())
    made = read_whole(run.dataset)
    classes = genes.classes(np.zeros(len(made.names), dtype=np.int64), made.coordinates.start + SIZE // 2, lengths)
    positive = made.labels[:, 0] == 1
    mine, theirs = (np.bincount(classes[side], minlength=6) for side in (positive, ~positive))
    assert (theirs <= 2 * mine).all()
    assert (theirs == 2 * mine).sum() >= 4  # a class may run out of windows on 304 kb
    starts = np.sort(made.coordinates.start[~positive])
    assert (np.diff(starts) >= SIZE // 2).all()


def promoters(path: Path, genes: Path) -> None:
    """The 300 bp before every transcript, as BED."""
    with gzip.open(genes, "rt") as handle, open(path, "w") as out:
        for line in handle:
            cells = line.split("\t")
            if not line.startswith("#") and cells[2] == "mRNA":
                first, last = int(cells[3]) - 1, int(cells[4])
                start, end = (first - 300, first) if cells[6] == "+" else (last, last + 300)
                out.write(f"{cells[0]}\t{max(start, 0)}\t{end}\n")


def test_the_human_promoters_of_the_publication(tmp_path):
    """All 20,614 rows; a genome of the same chromosome names stands in, with the regions moved close together."""
    rows = []
    with gzip.open(DATA / "human_promoters.txt.gz", "rt", newline="") as handle:
        rows = [line.rstrip("\r\n").split("\t") for line in handle]
    assert len(rows) == 20_614
    places: dict[str, dict[tuple[int, int], int]] = {}
    for row in rows:
        places.setdefault(row[0], {}).setdefault((int(row[1]), int(row[2])), 0)
    rng, fasta = np.random.default_rng(0), []
    for chrom, found in places.items():
        for number, key in enumerate(sorted(found)):
            found[key] = 600 * number
        text = rng.choice(np.frombuffer(b"ACGT", dtype=np.uint8), 600 * len(found)).tobytes().decode()
        fasta.append(f">{chrom}\n{text}\n")
    (tmp_path / "genome.fa").write_text("".join(fasta))
    with open(tmp_path / "h.txt", "w", newline="") as out:
        for row in rows:
            start = places[row[0]][int(row[1]), int(row[2])]
            out.write("\t".join([row[0], str(start), str(start + 600), *row[3:]]) + "\r\n")
    run = make(
        tmp_path,
        peaks=("../h.txt",),
        label_column=8,
        construction="as_given",
        window=600,
        overlap=200,
        split={"split": "human"},
    )
    summary = stage.prepare(run, Runtime())
    assert summary["peak_rows"] == 20_614
    assert summary["windows"] == 20_142
    assert summary["targets"] == 164
    made = read_whole(run.dataset)
    assert made.targets == [str(number) for number in range(164)]
    # With its repeats the table has 16,233, 2,249 and 2,132 rows in the parts (SATORI 2.0, Methods).
    row_of = {(name.split(":")[0], int(name.split(":")[1].split("-")[0])): row for row, name in enumerate(made.names)}
    of_rows = np.array([row_of[row[0], places[row[0]][int(row[1]), int(row[2])]] for row in rows])
    assert np.bincount(made.split[of_rows]).tolist() == [16_233, 2_249, 2_132]
    counts = made.labels.sum(axis=1)[of_rows]
    assert round(float(counts.mean()), 1) == 48.8
    assert np.median(counts) == 22


def test_windows_line_ends_and_spaces_do_not_matter(two):
    folder, _, rows = two
    run = make(folder, peaks=("../a.bed", "../b.bed"))
    stage.prepare(run, Runtime())
    crlf = (folder / "genome.fa").read_bytes().replace(b"\n", b"\r\n")
    (folder / "genome.fa").write_bytes(crlf)
    for label, found in rows.items():
        text = "browser position chr1\r\n" + "\r\n".join(f"{a} {b} {c}  " for a, b, c in found) + "\r\n\r\n"
        with gzip.open(folder / f"{label}.bed", "wb") as handle:
            handle.write(text.encode())
    again = make(folder, name="again", peaks=("../a.bed", "../b.bed"))
    stage.prepare(again, Runtime())
    assert bytes_of(run.dataset) == bytes_of(again.dataset)


@pytest.mark.parametrize("split", [None, "random"])
def test_no_test_window_overlaps_a_training_window(tmp_path, split):
    """By default whole chromosomes are drawn; at random what overlaps stays together."""
    rng = np.random.default_rng(7)
    names = [f"scaffold_{k}" for k in range(9)]
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{''.join(rng.choice(list('ACGT'), 3000))}\n" for name in names))
    for label in "ab":
        starts = rng.integers(0, 2900, (9, 10))
        lines = [f"{name}\t{at}\t{at + 50}\n" for name, row in zip(names, starts, strict=True) for at in row]
        (tmp_path / f"{label}.bed").write_text("".join(lines))
    peaks = str(tmp_path / "a.bed"), str(tmp_path / "b.bed")
    prepare = new.genome(str(tmp_path / "g.fa"), peaks=peaks, seed=1).prepare
    section = dataclasses.replace(prepare.genome, window=SIZE, overlap=90)
    prepare = dataclasses.replace(prepare, genome=section, split=split or prepare.split)
    run = new.new(tmp_path / "run", config=Config(prepare=prepare))
    summary = stage.prepare(run, Runtime())
    data = read_whole(run.dataset)
    place, train = data.coordinates, data.split == dataset.TRAIN
    for row in data.rows("test"):
        near = (place.start < place.end[row]) & (place.end > place.start[row]) & (place.chrom[:] == place.chrom[row])
        assert not (near & train).any()
    assert summary["test_overlapping_training"] == 0
    assert 0.05 < summary["test"] / summary["examples"] < 0.2
    if split is None:
        parts = {name: set(place.chrom[data.rows(name)]) for name in dataset.SPLITS}
        assert not parts["test"] & (parts["train"] | parts["valid"])
        assert summary["test_chromosomes"] == ", ".join(sorted(parts["test"]))


def test_test_windows_that_overlap_training_windows_are_counted(tmp_path, caplog):
    """One block of windows that all hang together: no random split keeps them apart, and the user hears of it."""
    rng = np.random.default_rng(3)
    (tmp_path / "g.fa").write_text(f">one\n{''.join(rng.choice(list('ACGT'), 4000))}\n")
    for label in "ab":
        (tmp_path / f"{label}.bed").write_text(
            "".join(f"one\t{at}\t{at + 20}\n" for at in range(10, 3900, 40) if rng.random() < 0.8)
        )
    run = make(tmp_path, genome="../g.fa", peaks=("../a.bed", "../b.bed"), overlap=90)
    summary = stage.prepare(run, Runtime())
    assert summary["test_overlapping_training"] > 5
    assert f"{summary['test_overlapping_training']} of {summary['test']} test sequences overlap training" in caplog.text
