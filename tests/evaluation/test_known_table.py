"""Tables of known interactions: every format, and every complaint with its file, its line and its fix."""

import functools
import gzip
from pathlib import Path

import pytest

from satori_hpc.errors import ArtefactError, InputError
from satori_hpc.evaluation import known, known_tables
from satori_hpc.motifs import names as tf_names

TRRUST = Path(__file__).parents[1] / "fixtures" / "data" / "trrust_human_part.tsv"
WANTED = {"gata1", "tal1", "lmo2", "tp53"}
HIPPIE = (
    "GATA1_HUMAN\t2623\tTAL1_HUMAN\t6886\t0.87\texperiments:in vivo,Two-hybrid;pmids:1,2;sources:HPRD,BioGRID\n"
    "GATA1_HUMAN\t2623\tLMO2_HUMAN\t4005\t0.63\texperiments:pull down;pmids:3;sources:HPRD\n"
    "P53_HUMAN\t7157\tTAL1_HUMAN\t6886\t0.49\t\n"
    "P53_HUMAN\t\tP53_HUMAN\t7157\t0.9\tpmids:4\n"
    "AL1A1_HUMAN\t216\tLMO2_HUMAN\t4005\t0.7\tpmids:5\n"
)
TAB3 = (
    "#BioGRID Interaction ID\tEntrez Gene Interactor A\tEntrez Gene Interactor B\tBioGRID ID Interactor A\t"
    "BioGRID ID Interactor B\tSystematic Name Interactor A\tSystematic Name Interactor B\t"
    "Official Symbol Interactor A\tOfficial Symbol Interactor B\tExperimental System\tExperimental System Type\t"
    "Publication Source\tOrganism ID Interactor A\tOrganism ID Interactor B\tScore\n"
    "1\t2623\t6886\t11\t12\t-\t-\tGATA1\tTAL1\tTwo-hybrid\tphysical\tPUBMED:1\t9606\t9606\t-\n"
    "2\t14460\t21349\t13\t14\t-\t-\tGata1\tTal1\tReconstituted Complex\tphysical\tPUBMED:2\t10090\t10090\t-\n"
    "3\t2623\t4005\t11\t15\t-\t-\tGATA1\tLMO2\tSynthetic Lethality\tgenetic\tPUBMED:3\t9606\t9606\t-2.5\n"
    "4\t2623\t2623\t11\t11\t-\t-\tGATA1\tGATA1\tTwo-hybrid\tphysical\tPUBMED:4\t9606\t9606\t-\n"
    "5\t-\t-\t11\t11\t-\t-\t-\tGATA1\tTwo-hybrid\tphysical\tPUBMED:4\t9606\t9606\t-\n"
)
MITAB_BIOGRID = (
    "#ID Interactor A\tID Interactor B\tAlt IDs Interactor A\tAlt IDs Interactor B\tAliases Interactor A\t"
    "Aliases Interactor B\tInteraction Detection Method\tPublication 1st Author\tPublication Identifiers\t"
    "Taxid Interactor A\tTaxid Interactor B\tInteraction Types\tSource Database\tInteraction Identifiers\t"
    "Confidence Values\n"
    "entrez gene/locuslink:2623\tentrez gene/locuslink:6886\tbiogrid:4005|entrez gene/locuslink:GATA1\t"
    "biogrid:12|entrez gene/locuslink:TAL1\tentrez gene/locuslink:LMO2(gene name synonym)\t-\t"
    'psi-mi:"MI:0018"(two hybrid)\t"Marti A (1997)"\tpubmed:1\ttaxid:9606\ttaxid:9606\t'
    'psi-mi:"MI:0407"(direct interaction)\tpsi-mi:"MI:0463"(biogrid)\tbiogrid:103\t-\n'
)
MITAB_HIPPIE = (
    "ID Interactor A\tID Interactor B\tAlt IDs Interactor A\tAlt IDs Interactor B\tAliases Interactor A\t"
    "Aliases Interactor B\tInteraction Detection Methods\tPublication 1st Author\tPublication Identifiers\t"
    "Taxid Interactor A\tTaxid Interactor B\tInteraction Types\tSource Databases\tInteraction Identifiers\t"
    "Confidence Value\tPresence In Other Species\tGene Name Interactor A\tGene Name Interactor B\n"
    "entrez gene:7157\tentrez gene:6886\tuniprotkb:P53_HUMAN\tuniprotkb:TAL1_HUMAN\t-\t-\tMI:0493(in vivo)\tX (2002)\t"
    "pubmed:7|pubmed:8\ttaxid:9606(Homo sapiens)\ttaxid:9606(Homo sapiens)\t-\tMI:0468(hprd)|biogrid\t-\t0.76\t\t"
    "TP53\tTAL1\n"
)
INTACT = (
    'uniprotkb:P15976\tuniprotkb:P17542\tintact:EBI-1\tintact:EBI-2\tpsi-mi:gata1_human(display_long)|'
    "uniprotkb:GATA1(gene name)|uniprotkb:ERYF1(gene name synonym)\tuniprotkb:TAL1(gene name)\tm\ta\tpubmed:9\t"
    'taxid:9606(human)|taxid:9606("Homo sapiens")\ttaxid:9606(human)\tt\ts\ti\tintact-miscore:0.56\n'
)  # fmt: skip


def read(folder: Path, content: str | bytes, *, wanted=WANTED, renamed=None, case=False, **options):
    path = folder / "table.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    who = functools.partial(known.names_of, renamed=renamed or {}, case=case)
    return known_tables.read(path, who, set(wanted), **options)


def test_hippie(tmp_path):
    table = read(tmp_path, HIPPIE)
    assert (table.format, table.rows, table.used, table.excluded_records) == ("HIPPIE", 5, 4, {"a gene with itself": 1})
    assert set(table.links) == {("gata1", "tal1"), ("gata1", "lmo2")}
    row = table.links["gata1", "tal1"][0]
    assert (row.line, row.name_a, row.name_b) == (1, "GATA1_HUMAN", "TAL1_HUMAN")
    assert (row.score, row.evidence, row.reference) == ("0.87", "in vivo,Two-hybrid", "1,2")
    assert table.found == {"gata1", "tal1", "lmo2"}  # UniProt calls TP53 P53
    assert table.genes == 5
    assert {table.labels[gene] for gene in table.partners["lmo2"]} == {"GATA1_HUMAN", "AL1A1_HUMAN"}


def test_a_file_of_names_translates_entrez_numbers(tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("GeneID,Symbol\n7157,TP53\n6886,TAL1\n6886,SCL\n")
    renamed = known_tables.read_names(names, str.lower)
    assert renamed["6886"] == {"tal1", "scl"}
    table = read(tmp_path, HIPPIE, renamed=renamed)
    assert ("tal1", "tp53") in table.links
    assert table.excluded_records == {"a gene with itself": 1}
    numbers = read(tmp_path, "7157\t6886\n", renamed=renamed)
    assert set(numbers.links) == {("tal1", "tp53")}


def test_low_scores_are_left_out(tmp_path):
    table = read(tmp_path, HIPPIE, min_score=0.63)
    assert table.excluded_records == {"low score": 1, "a gene with itself": 1}
    assert set(table.links) == {("gata1", "tal1"), ("gata1", "lmo2")}
    assert set(read(tmp_path, INTACT, min_score=0.57).links) == set()
    assert set(
        read(tmp_path, "a\tb\tscore\nGATA1\tTAL1\t0.2\nGATA1\tLMO2\t\n", columns="a,b", min_score=0.5).links
    ) == {("gata1", "lmo2")}


def test_biogrid(tmp_path):
    table = read(tmp_path, TAB3)
    assert (table.format, table.rows, table.used) == ("BioGRID", 5, 2)
    assert table.excluded_records == {"genetic, not physical": 1, "a gene with itself": 1, "no name": 1}
    assert [row.reference for row in table.links["gata1", "tal1"]] == ["PUBMED:1", "PUBMED:2"]
    assert table.links["gata1", "tal1"][0].evidence == "Two-hybrid"
    human = read(tmp_path, TAB3, organism="9606")
    assert len(human.links["gata1", "tal1"]) == 1
    assert human.excluded_records["another organism"] == 1
    assert set(read(tmp_path, TAB3, wanted={"2623", "6886"}).links) == {("2623", "6886")}
    newer = TAB3.replace("Official Symbol", "Gene Name").replace("Organism ID", "Organism")
    assert read(tmp_path, newer, organism="9606").used == 1
    cased = read(tmp_path, TAB3, case=True, wanted={"GATA1", "TAL1"})
    assert len(cased.links["GATA1", "TAL1"]) == 1


def test_mitab_of_biogrid_hippie_and_intact(tmp_path):
    table = read(tmp_path, MITAB_BIOGRID)
    assert (table.format, set(table.links)) == ("MITAB", {("gata1", "tal1")})  # no synonym, no number of BioGRID
    row = table.links["gata1", "tal1"][0]
    assert (row.name_a, row.name_b, row.reference, row.score) == ("GATA1", "TAL1", "pubmed:1", "")
    assert set(read(tmp_path, MITAB_BIOGRID, wanted={"2623", "4005", "6886"}).links) == {("2623", "6886")}
    table = read(tmp_path, MITAB_HIPPIE, organism="9606")
    assert set(table.links) == {("tal1", "tp53")}
    assert table.links["tal1", "tp53"][0].score == "0.76"
    table = read(tmp_path, INTACT)
    assert set(table.links) == {("gata1", "tal1")}
    assert read(tmp_path, INTACT, organism="10090").excluded_records == {"another organism": 1}


def test_trrust_is_directed(tmp_path):
    wanted = {"hnf4a", "hnf1a", "hif1a", "hhex", "hoxa10", "hnf4g", "ppara"}
    table = read(tmp_path, TRRUST.read_bytes(), wanted=wanted)
    assert (table.format, table.directed, table.rows, table.used) == ("TRRUST", True, 40, 39)
    assert table.excluded_records == {"a gene with itself": 1}  # HIF1A regulates itself
    assert set(table.links) == {("hnf1a", "hnf4a"), ("hhex", "hnf4a"), ("hif1a", "ppara"), ("hnf4a", "ppara")}
    row = table.links["hnf1a", "hnf4a"][0]
    assert (row.line, row.name_a, row.name_b, row.evidence, row.reference) == (
        29,
        "HNF4A",
        "HNF1A",
        "Unknown",
        "9792724",
    )
    assert table.partners["hnf4a"] & table.partners["hnf1a"] == {"mttp", "ugt1a7"}
    assert "ppara" not in table.partners  # it regulates nothing here
    headed = "TF\tTarget\tMode\tPMID\n" + TRRUST.read_text()
    again = read(tmp_path, headed, wanted=wanted)
    assert (again.rows, set(again.links)) == (40, set(table.links))
    assert again.links["hnf1a", "hnf4a"][0].line == 30


PLAIN = {
    "bare": ("GATA1\tTAL1\nTP53\tx\n", ""),
    "header": ("gene_a\tgene_b\nGATA1\tTAL1\n", ""),
    "commented header": ("#this that\nGATA1 TAL1\n", ""),
    "CRLF, blank lines, no final newline": ("\r\nprotein1\tprotein2\r\n\r\nGATA1\tTAL1\r\nTP53\tx", ""),
    "quotes": ("\"GATA1\"\t'TAL1'\n", ""),
    "commas": ('source,target,why\nGATA1,TAL1,"a, b"\n', ""),
    "blanks": ("GATA1  TAL1\n", ""),
    "byte order mark": ("\ufeffGATA1\tTAL1\n", ""),
    "by heading": ("id\tFirst\tscore\tSecond\n1\tGATA1\t0.5\tTAL1\n", "First,Second"),
    "by heading, other case": ("id\tFirst\tscore\tSecond\n1\tGATA1\t0.5\tTAL1\n", "second, first"),
    "by number": ("1\tGATA1\t0.5\tTAL1\n", "2,4"),
    "by number, with header": ("id\tgene1\tscore\tgene2\n1\tGATA1\t0.5\tTAL1\n", "2,4"),
}


@pytest.mark.parametrize(("content", "columns"), PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize("zipped", [False, True])
def test_two_columns(tmp_path, content, columns, zipped):
    data = content.encode()
    table = read(tmp_path, gzip.compress(data) if zipped else data, columns=columns)
    assert table.format == "two columns"
    assert set(table.links) == {("gata1", "tal1")}
    assert table.rows == (2 if "TP53" in content else 1)


def test_headings_tell_score_evidence_reference_and_direction(tmp_path):
    table = read(tmp_path, "TF\ttarget\tconfidence\tPubMed_ID\tmode\nGATA1\tTAL1\t0.4\t17\tup\n")
    row = table.links["gata1", "tal1"][0]
    assert (row.score, row.reference, row.evidence) == ("0.4", "17", "up")
    assert table.directed
    assert not read(tmp_path, "source\ttarget\nGATA1\tTAL1\n").directed


def test_names_of_tables_lose_versions_and_hostile_ones_are_text(tmp_path):
    table = read(tmp_path, "GATA1(var.2)\tTal1\n<b>x</b>\t=cmd\n", wanted=WANTED | {"<b>x</b>", "=cmd"})
    assert set(table.links) == {("gata1", "tal1"), ("<b>x</b>", "=cmd")}


REFUSED = {
    "empty": ("", "", "empty; expected rows"),
    "blank": ("\n \n", "", "empty; expected rows"),
    "only a header": ("gene_a\tgene_b\n", "", "a header and no row"),
    "one column": ("GATA1\nTAL1\n", "", "single column"),
    "too few columns": ("A\tB\nC\nD\tE\nF\n", "", r"line 2: 1 columns; expected 2 or more.*\n.*line 4"),
    "not UTF-8": (b"GATA1\tTAL1\nCaf\xe9\tx\n", "", "not UTF-8"),
    "binary": (b"\x00\x01\x02", "", "binary"),
    "damaged gzip": (gzip.compress(b"GATA1\tTAL1\n" * 99)[:-9], "", "gzip"),
    "no such heading": ("a\tb\nGATA1\tTAL1\n", "a,c", "names no two columns.*1 'a', 2 'b'"),
    "no such number": ("GATA1\tTAL1\n", "1,3", "names no two columns"),
    "column 0": ("GATA1\tTAL1\n", "0,1", "names no two columns"),
    "one column asked for": ("GATA1\tTAL1\n", "1", "names one column, so each cell.*two names.*found 'GATA1'"),
    "the same twice": ("GATA1\tTAL1\n", "1,1", "names no two columns"),
}


@pytest.mark.parametrize(("content", "columns", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_told_with_file_and_line(tmp_path, content, columns, said):
    with pytest.raises(InputError, match=f"(?s)table.txt.*{said}"):
        read(tmp_path, content, columns=columns)


def test_files_of_names_are_checked_too(tmp_path):
    path = tmp_path / "names.tsv"
    for content, said in (("", "empty"), ("1\ta\n2\n", "line 2: a single column"), ("-\ta\n", "empty")):
        path.write_text(content)
        with pytest.raises(InputError, match=f"(?s)names.tsv.*{said}"):
            known_tables.read_names(path, str.lower)
    with pytest.raises(InputError, match="no such file"):
        known_tables.read_names(tmp_path / "none", str.lower)


def test_four_columns_are_not_taken_for_another_format(tmp_path):
    assert read(tmp_path, "GATA1\tTAL1\t0.5\tx\n").format == "two columns"
    assert read(tmp_path, "GATA1\tTAL1\tx\ty\t0.5\n").format == "two columns"
    assert known_tables.recognise(["A\t1\tB\t2\t0.5"], columns="1,3", where="t").format == "two columns"


def test_supported_pairs_come_back(tmp_path):
    path = tmp_path / "attention.known.tsv"
    row = {"table": "t", "reading": "direct", "tf_a": "A", "tf_b": "<b>\t\n", "q": 0.25, "line": 3, "name_a": "a",
           "name_b": 'say "b"', "score": "0.5", "evidence": 'psi-mi:"MI:0018"(x)', "reference": ""}  # fmt: skip
    known_tables.write_pairs(path, [row, {**row, "reading": "shared", "line": ""}])
    table = known_tables.read_pairs(path)
    assert table.loc[0].to_dict() == {**row, "tf_b": "<b>\\t\\n", "line": 3.0}
    assert table["line"].isna().tolist() == [False, True]
    known_tables.write_pairs(path, [])
    assert known_tables.read_pairs(path).empty
    path.write_text("x\n1\n")
    with pytest.raises(ArtefactError, match="satori-hpc evaluate"):
        known_tables.read_pairs(path)


def test_the_factors_of_families_of_motifs_come_from_the_file_of_gimmemotifs(tmp_path):
    path = tmp_path / "gimme.vertebrate.v5.0.motif2factors.txt"
    path.write_text(
        "Motif\tFactor\tEvidence\tCurated\nGM.5.0.Sox.0001\tSRY\tJASPAR\tY\nGM.5.0.Sox.0001\tSox9\tPBM\tN\n"
    )
    renamed = known_tables.read_names(path, tf_names.entry)
    assert known.names_of(["GM.5.0.Sox.0001"], renamed, case=False) == {"gm.5.0.sox.0001", "sry", "sox9"}
    path.write_text("P53_HUMAN.H11MO.0.A\tTP53\n")
    renamed = known_tables.read_names(path, tf_names.entry)
    assert known.names_of(["P53_HUMAN"], renamed, case=False) == {"p53_human", "tp53"}
