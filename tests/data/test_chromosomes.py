"""Names of chromosomes of several styles mean the same chromosome, or do not; nothing is guessed."""

import pytest

from satori_hpc.data import chromosomes

SAME = [
    ("chr1", "1"),
    ("Chr1", "1"),
    ("CHR1", "chr1"),
    ("chr01", "Chr1"),
    ("chromosome_2", "2"),
    ("chrX", "X"),
    ("chr2L", "2L"),
    ("chrIV", "IV"),
    ("chrM", "MT"),
    ("ChrM", "Mt"),
    ("chrM", "mitochondrion_genome"),
    ("chrmt", "Mito"),
    ("MtDNA", "M"),
    ("ChrC", "Pt"),
    ("chloroplast", "ChrC"),
    ("NC_000001.11", "chr1"),
    ("NC_000001.10", "1"),
    ("NC_000023.11", "X"),
    ("NC_000024.9", "chrY"),
    ("NC_012920.1", "chrM"),
    ("NC_000017.11", "CM000679.2"),
    ("NC_060947.1", "chrX"),
    ("NC_000068.8", "chr2"),
    ("NC_000068.7", "CM000995.2"),
    ("NC_000087.8", "Y"),
    ("NC_003070.9", "Chr1"),
    ("NC_003074.8", "CP002686.1"),
    ("NC_037304.1", "Mt"),
    ("NC_000932.1", "ChrC"),
    ("NT_033779.5", "chr2L"),
    ("NC_004354.4", "X"),
    ("NC_003279.8", "chrI"),
    ("NC_001148.4", "chrXVI"),
    ("NC_007136.7", "25"),
    ("NC_029267.1", "Chr12"),
    ("ref|NC_000001.11|", "1"),
    ("ENA|BX284601|BX284601.5", "I"),
    ("chrUn_KI270728v1", "KI270728.1"),
    ("chr1_KI270706v1_random", "KI270706.1"),
    ("chr14_GL000009v2_random", "GL000009.2"),
    ("chr15_KI270850v1_alt", "KI270850.1"),
    ("chr4_gl000193_random", "GL000193.1"),
    ("chrUn_NW_003546443v1", "NW_003546443.1"),
    ("chrUn_AABR07024031v1", "AABR07024031.1"),
    ("2_with_words", "chr2_with_words"),
]
OTHERS = [
    ("NC_000001.10", "NC_000001.11"),
    ("CM000663.1", "NC_000001.11"),
    ("NC_000067.6", "NC_000067.7"),
    ("NC_999999.1", "1"),
    ("NC_000001", "chr1"),
    ("NC_000001.99", "chr1"),
    ("NT_187361.1", "chr1"),
    ("chr14_GL000009v2_random", "GL000009.1"),
    ("chrUn_NT_165789", "NT_165789.3"),
    ("chr1", "chr10"),
    ("chr1", "chrI"),
    ("2L", "2"),
    ("chr", "1"),
    ("chrx", "chrX"),
    ("chr6_apd_hap1", "chr6"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_names_of_one_chromosome_find_each_other(one, other):
    assert list(chromosomes.candidates([one], ["chr77", other])) == [[1]]
    assert list(chromosomes.candidates([other], ["chr77", one])) == [[1]]


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_names_of_other_chromosomes_do_not(one, other):
    assert list(chromosomes.candidates([one], [other])) == [[]]
    assert list(chromosomes.candidates([other], [one])) == [[]]


def test_a_name_that_is_there_means_itself_and_nothing_else():
    known = ["chr1", "1", "chrM", "chrMT", "NC_000001.11"]
    assert list(chromosomes.candidates(known, known)) == [[0], [1], [2], [3], [4]]


def test_a_name_that_may_be_one_of_several_has_them_all():
    assert list(chromosomes.candidates(["MT", "chr02"], ["chrM", "chrMT", "2", "chr2"])) == [[0, 1], [2, 3]]


def test_a_file_may_mix_styles_but_not_assemblies():
    assert list(chromosomes.candidates(["chr1", "1", "NC_000001.11", "CM000663.2"], ["1"])) == [[0]] * 4
    mixed = ["NC_000001.11", "NC_000001.10", "NC_000002.12", "chr1"]
    assert list(chromosomes.candidates(mixed, ["1", "2"])) == [[], [], [1], [0]]


def test_every_accession_of_the_table_is_one():
    table = chromosomes._accessions()
    assert len(table) == 335
    for accession, meaning in table.items():
        assert chromosomes._VERSIONED.fullmatch(accession), accession
        assert chromosomes.meaning(accession) == meaning
        assert chromosomes.meaning(f"chr{meaning.chromosome}").chromosome == meaning.chromosome
    ends = {"NC_000022.11": "22", "NC_000085.7": "19", "NC_000014.9": "14", "CM000686.1": "Y", "BX284606.5": "X"}
    assert {name: table[name].chromosome for name in ends} == ends
