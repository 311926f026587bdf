"""Chromosomes of a file in the genome: what is missing is told above 1 %, refused above a half."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.errors import InputError

GENOME = SimpleNamespace(names=["1", "2", "KI270728.1", "MT"], path=Path("g.fa"))


def places(rows: dict[str, int], *, allow: bool = False) -> list[int]:
    return genomes.places(Path("p.bed"), rows, GENOME, allow_missing=allow)[0].tolist()


def test_each_name_is_decided_for_itself(caplog):
    assert places({"chr1": 60, "chr2": 60, "KI270728.1": 40, "chrM": 1}) == [0, 1, 2, 3]
    assert "p.bed: chromosomes are called otherwise in the genome: chr1 = 1, chr2 = 2, chrM = MT" in caplog.text
    caplog.clear()
    assert places({"2": 5, "chrUn_KI270728v1": 5, "NC_000001.11": 5}) == [1, 2, 0]
    assert "chrUn_KI270728v1 = KI270728.1, NC_000001.11 = 1" in caplog.text


def test_names_as_in_the_genome_are_not_remarked_on(caplog):
    found, others = genomes.places(Path("p.bed"), {"1": 99, "MT": 1, "HLA": 1}, GENOME, allow_missing=False)
    assert (found.tolist(), others) == ([0, 3, -1], False)
    assert caplog.text == ""  # 1 of 101 rows


def test_above_one_per_cent_they_are_named_with_their_rows(caplog):
    assert places({"1": 970, "chrUn_GL000220v1": 10, "chr7": 20}) == [0, -1, -1]
    assert "p.bed: 30 of 1,000 rows are on chromosomes that are not in g.fa (1, 2, KI270728.1, MT): " in caplog.text
    assert "chr7: 20, chrUn_GL000220v1: 10" in caplog.text


def test_above_a_half_they_are_refused_unless_that_is_allowed(caplog):
    assert places({"1": 50, "chr7": 50}) == [0, -1]
    caplog.clear()
    with pytest.raises(InputError, match=r"51 of 100 rows .* chr7: 51; use files .* --allow-missing-chromosomes"):
        places({"1": 49, "chr7": 51})
    assert places({"1": 49, "chr7": 51}, allow=True) == [0, -1]
    assert "51 of 100 rows" in caplog.text
    with pytest.raises(InputError, match=r"none of its chromosomes \(chr7\) is in g.fa \(1, 2, KI270728.1, MT\)"):
        places({"chr7": 51}, allow=True)


def test_what_may_be_several_is_said_with_them(caplog):
    genome = SimpleNamespace(names=["chr1", "chrM", "chrMT"], path=Path("g.fa"))
    found, _ = genomes.places(Path("p.bed"), {"1": 90, "MT": 10}, genome, allow_missing=False)
    assert found.tolist() == [0, -1]
    assert "MT (chrM or chrMT?): 10" in caplog.text


def test_many_and_long_names_stay_bearable(caplog):
    places({"1": 10, **{f"scaffold_{number}": 1 for number in range(9)}, "x" * 10_000: 1})
    assert len(caplog.text) < 1000
    assert "xxx..." in caplog.text
    with pytest.raises(InputError) as caught:
        places({f"{number}" * 5000: 1 for number in range(100, 400)})
    assert "(300 in all)" in str(caught.value)
    assert len(str(caught.value)) < 2000
