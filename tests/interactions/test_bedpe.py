"""Instances are read back by pandas, whatever the names hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc.interactions import instances

NASTY = ["chr\t1", "two\nlines", 'a"quote', "a\rreturn", "nul\x00", "Ω|β,;#", "\\t"]
READ = ["chr\\t1", "two\\nlines", 'a"quote', "a\\rreturn", "nul\\x00", "Ω|β,;#", "\\t"]


def columns(names: list[str]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    rows = len(names)
    numbers = {name: rng.integers(0, 2**40, rows) for name in ("start1", "end1", "start2", "end2", "distance")}
    texts = dict.fromkeys(("chrom1", "chrom2", "name", "tf_a", "tf_b", "example"), names)
    filters = {name: np.arange(rows) for name in ("filter_a", "filter_b")}
    strands = {name: np.array(["+", "-", "."])[np.arange(rows) % 3] for name in ("strand1", "strand2")}
    score = np.concatenate([[np.float32(1 / 3), np.nextafter(np.float32(0.1), 1)], rng.random(rows)])[:rows]
    return numbers | texts | filters | strands | {"score": score.astype(np.float32), "q": rng.random(rows) * 1e-30}


def test_pandas_reads_every_value_back(tmp_path: Path) -> None:
    written = columns(NASTY)
    instances.write_bedpe(tmp_path / "x.bedpe", written)
    read = pd.read_csv(tmp_path / "x.bedpe", sep="\t", keep_default_na=False)
    assert list(read.columns) == ["#chrom1", *list(instances.COLUMNS)[1:]]
    for name in instances.COLUMNS:
        found = read["#chrom1" if name == "chrom1" else name]
        if name in ("chrom1", "chrom2", "name", "tf_a", "tf_b", "example"):
            assert found.tolist() == READ
        else:
            np.testing.assert_array_equal(found.to_numpy().astype(np.asarray(written[name]).dtype), written[name])


def test_the_first_ten_columns_are_those_of_bedpe(tmp_path: Path) -> None:
    instances.write_bedpe(tmp_path / "x.bedpe", columns(["chr1", "chr2"]))
    header, *lines = (tmp_path / "x.bedpe").read_text().splitlines()
    standard = "chrom1 start1 end1 chrom2 start2 end2 name score strand1 strand2"
    assert header.split("\t")[:10] == ("#" + standard).split()
    assert [len(line.split("\t")) for line in lines] == [len(instances.COLUMNS)] * 2
    assert [line.split("\t")[8] for line in lines] == ["+", "-"]


def test_nothing_leaves_a_header(tmp_path: Path) -> None:
    instances.write_bedpe(tmp_path / "x.bedpe", columns([]))
    assert pd.read_csv(tmp_path / "x.bedpe", sep="\t").empty
    assert (tmp_path / "x.bedpe").read_text().startswith("#chrom1\tstart1\t")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bedpe"]
