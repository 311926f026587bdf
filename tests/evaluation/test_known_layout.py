"""What people bring as known interactions: the columns with the names are known, told, proven, or the table is refused.

Every table lists ZBTB33-IRF1 and PBX1-RFX4 among the pairs of 12 TFs of a run, and a target of its own for each TF.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from satori_hpc.errors import InputError
from satori_hpc.evaluation import known, known_tables
from satori_hpc.run import files

TFS = ["ZBTB33", "IRF1", "ZNF524", "TIGD5", "MYBL1", "ZFX", "ZNF841", "RFX4", "TFAP2C", "ZNF689", "PBX1", "ZNF853"]
PAIRS = [("ZBTB33", "IRF1"), ("PBX1", "RFX4"), *((tf, f"TARGET{number}") for number, tf in enumerate(TFS))]
ROWS = [(number, a, b) for number, (a, b) in enumerate(PAIRS)]
WHO = functools.partial(known.names_of, renamed={}, case=False)
OWN = "tf_a\ttf_b\tq\tp\tneg_log10_p\tauc\teffect\tfilter_pairs\tcalled_filter_pairs\tn_fg\tmedian_distance\tcalled"
EXTENDED = "PARTICIPANT_A\tINTERACTION_TYPE\tPARTICIPANT_B\tINTERACTION_DATA_SOURCE\tINTERACTION_PUBMED_ID"
SIGNOR = "ENTITYA\tTYPEA\tIDA\tDATABASEA\tENTITYB\tTYPEB\tIDB\tDATABASEB\tEFFECT\tMECHANISM"
OMNIPATH = "source\ttarget\tsource_genesymbol\ttarget_genesymbol\tis_directed\tis_stimulation"
TFLINK = (
    "UniprotID.TF\tUniprotID.Target\tNCBI.GeneID.TF\tNCBI.GeneID.Target\tName.TF\tName.Target\tDetection.method\t"
    "PubmedID\tOrganism"
)
CORUM = "ComplexID\tComplexName\tOrganism\tsubunits(UniProt IDs)\tsubunits(Entrez IDs)\tsubunits(Gene name)"
COMPLEXES = [("ZBTB33", "IRF1"), ("PBX1", "RFX4"), *(("X1", f"Y{number}", "Z1") for number in range(5))]
ARROW = "$\\longleftrightarrow$"


def lines(rows: Iterable[Iterable[object]], separator: str = "\t", head: str = "") -> str:
    body = "".join(separator.join(map(str, row)) + "\n" for row in rows)
    return f"{head}\n{body}" if head else body


def quoted(rows: Iterable[Iterable[object]]) -> Iterator[list[str]]:
    return ([f'"{cell}"' for cell in row] for row in rows)


def targets() -> dict[str, list[str]]:
    return {tf: [b for a, b in PAIRS if a == tf] for tf in TFS}


def read(path: Path, content: str, **options) -> known_tables.KnownTable:
    path.write_text(content)
    return known_tables.read(path, WHO, set().union(*(WHO((tf,)) for tf in TFS)), **options)


def counts(table: known_tables.KnownTable) -> tuple[int, int]:
    """Pairs of the 12 TFs that are listed, and those with a partner in common."""
    names = [WHO((tf,)) for tf in TFS]
    above = np.triu_indices(len(names), 1)
    direct, shared = known.listed(names, table.links), known.in_common(names, table.partners) > 0
    return int(direct[above].sum()), int(shared[above].sum())


signor = [
    (a, "protein", f"P{i:05}", "UNIPROT", b, "protein", f"Q{i:05}", "UNIPROT", "up-regulates", "x") for i, a, b in ROWS
]
# name: (file, format, directed, content)
KNOWN = {
    "SIF": ("a.sif", "SIF", False, lines((a, "pp", b) for a, b in PAIRS)),
    "SIF without its suffix": ("a.txt", "SIF", False, lines((a, "pp", b) for a, b in PAIRS)),
    "SIF with blanks": ("a.sif", "SIF", False, lines(((a, "pd", b) for a, b in PAIRS), " ")),
    "SIF with other types": ("a.sif", "SIF", False, lines((a, "synergy", b) for a, b in PAIRS)),
    "SIF of Pathway Commons": ("a.sif", "SIF", False, lines((a, "controls-expression-of", b) for a, b in PAIRS)),
    "extended SIF, and its nodes": (
        "a.txt", "Pathway Commons", False,
        lines(((a, "in-complex-with", b, "CTD", 1) for a, b in PAIRS), head=EXTENDED)
        + "\nPARTICIPANT\tPARTICIPANT_TYPE\tPARTICIPANT_NAME\nZFX\tProteinReference\tRFX4\n",
    ),
    "DoRothEA": (
        "a.csv", "DoRothEA", True, lines(((a, "A", b, 1) for a, b in PAIRS), ",", "tf,confidence,target,mor"),
    ),
    "DoRothEA from R, row names without a heading": (
        "a.tsv", "DoRothEA", True,
        lines(quoted((i + 1, a, "AB"[i % 2], b, 1) for i, a, b in ROWS), head='"tf"\t"confidence"\t"target"\t"mor"'),
    ),
    "the same with blanks": (
        "a.txt", "DoRothEA", True,
        lines(quoted((i + 1, a, "A", b, 1) for i, a, b in ROWS), " ", '"tf" "confidence" "target" "mor"'),
    ),
    "DoRothEA by write.csv": (
        "a.csv", "DoRothEA", True,
        lines(quoted((i + 1, a, "A", b, 1) for i, a, b in ROWS), ",", '"","tf","confidence","target","mor"'),
    ),
    "CollecTRI with the index of pandas": (
        "a.csv", "CollecTRI", True,
        lines(((i, a, b, -1.0, 123) for i, a, b in ROWS), ",", ",source,target,weight,PMID"),
    ),
    "RegNetwork": ("a.source", "RegNetwork", True, lines((a, 7000 + i, b, 9000 + i) for i, a, b in ROWS)),
    "RegNetwork's export": (
        "a.csv", "RegNetwork", True,
        lines(
            quoted((a, 70 + i, b, 90 + i, "tred,kegg", "High") for i, a, b in ROWS), ",",
            "regulator_symbol,regulator_id,target_symbol,target_id,database,confidence",
        ),
    ),
    "SIGNOR": ("a.tsv", "SIGNOR", False, lines(signor, head=SIGNOR)),
    "GMT of TFs": (
        "a.gmt", "GMT", True, lines((tf, "http://x", *found) for tf, found in targets().items()),
    ),
    "GMT of pySCENIC": ("a.gmt", "GMT", True, lines((f"{tf}(+)", "x", *found) for tf, found in targets().items())),
    "adjacencies": (
        "a.tsv", "SCENIC", True, lines(((a, b, 50.5 - i) for i, a, b in ROWS), head="TF\ttarget\timportance"),
    ),
    "regulons of pySCENIC": (
        "reg.csv", "SCENIC regulons", True,
        ",,Enrichment,Enrichment,Enrichment,Enrichment\n,,AUC,Context,TargetGenes,RankAtMax\nTF,MotifID,,,,\n"
        + "".join(
            f"{tf},M1,0.1,\"frozenset({{'activating'}})\",\"{[(name, 1.5) for name in found]}\",12\n"
            for tf, found in targets().items()
        ),
    ),
    "STRING": (
        "a.txt", "STRING", False,
        lines(((a, b, 150 + 50 * i) for i, a, b in ROWS), " ", "protein1 protein2 combined_score"),
    ),
    "STRING's network": (
        "a.tsv", "STRING", False,
        lines(
            ((a, b, f"9606.ENSP{i:011}", f"9606.ENSP{i + 99:011}", 0.9) for i, a, b in ROWS),
            head="#node1\tnode2\tnode1_string_id\tnode2_string_id\tcombined_score",
        ),
    ),
    "OmniPath": (
        "a.tsv", "OmniPath", False,
        lines(((f"P{i:05}", f"Q{i:05}", a, b, 1, 1) for i, a, b in ROWS), head=OMNIPATH),
    ),
    "OmniPath, transcriptional": (
        "a.tsv", "OmniPath", True,
        lines(((f"P{i:05}", f"Q{i:05}", a, b, 1, 1, "transcriptional") for i, a, b in ROWS), head=OMNIPATH + "\ttype"),
    ),
    "CORUM": (
        "a.txt", "CORUM", False,
        lines(((i, f"{c[0]}-X", "Human", "P1;P2", "1;2", ";".join(c)) for i, c in enumerate(COMPLEXES)), head=CORUM),
    ),
    "CORUM 5": (
        "a.txt", "CORUM", False,
        lines(
            ((i, "Human", ";".join(c)) for i, c in enumerate(COMPLEXES)),
            head="complex_id\torganism\tsubunits_gene_name",
        ),
    ),
    "OmniPath complexes": (
        "a.tsv", "OmniPath complexes", False,
        lines((("x", "P1_P2", "_".join(c)) for c in COMPLEXES), head="name\tcomponents\tcomponents_genesymbols"),
    ),
    "SATORI 1": (
        "a.csv", "SATORI 1", False,
        lines(
            ((i, f"filter0{ARROW}filter{i}", "M1592_1.02", "M0905_1.02", 0.001, a, b, f"{a}{ARROW}{b}", "Sox", "Sox")
             for i, a, b in ROWS), ",",
            ",filter_interaction,motif1,motif2,adjusted_pval,TF1,TF2,TF_Interaction,TF1_Family,TF2_Family",
        ),
    ),
    "SATORI 1, pairs in a cell": (
        "a.csv", "SATORI 1", False,
        lines(
            ((600 - i, f"{a}{ARROW}{b}", "Sox", 1e-9) for i, a, b in ROWS), ",",
            ",TF_Interaction,TF1_Family,adjusted_pval",
        ),
    ),
    "our own": (
        "attention.tf.tsv", "satori_hpc", False,
        lines(((*pair, 0.1, 0.1, 1, 0.6, 0.1, 1, 1, 20, 9.0, True) for pair in PAIRS), head=OWN),
    ),
    "TFLink": (
        "a.tsv", "TFLink", True,
        lines(((f"P{i:05}", f"Q{i:05}", i, 100 + i, a, b, "x", 1, "Homo sapiens") for i, a, b in ROWS), head=TFLINK),
    ),
    "TRRUST": ("a.tsv", "TRRUST", True, lines((a, b, "Unknown", "1;2" if i == 0 else 3) for i, a, b in ROWS)),
}  # fmt: skip
PLAIN = {
    "CAP-SELEX": lines(((*pair, 3) for pair in PAIRS), head="TF1\tTF2\tdistance"),
    "BioPlex": lines(
        ((100 + i, 200 + i, f"P{i:05}", f"Q{i:05}", a, b, 0.9) for i, a, b in ROWS),
        head="GeneA\tGeneB\tUniprotA\tUniprotB\tSymbolA\tSymbolB\tpInt",
    ),
    "mentha": lines(
        ((f"P{i:05}", a, 9606, f"Q{i:05}", b, 9606, 0.5) for i, a, b in ROWS), ";",
        "Protein A;Gene A;Taxon A;Protein B;Gene B;Taxon B;Score",
    ),
    "Reactome FI": lines(((*pair, "x; y", "-", 1.0) for pair in PAIRS), head="Gene1\tGene2\tAnnotation\tX\tScore"),
    "comments above the header": "# mine\n# of 2024\n" + lines(PAIRS, head="TF\ttarget"),
    "long headings": lines(PAIRS, head="Regulator (symbol)\tRegulated gene (symbol)"),
    "headings that are words": lines(PAIRS, head="Bait\tHit"),
    "pandas, unknown headings": lines(ROWS, ",", ",Bait,Hit"),
    "pandas, numbers for headings": lines(ROWS, ",", ",0,1"),
    "R, V1 and V2": lines(quoted(ROWS), " ", '"V1" "V2"'),
    "pandas without a header": lines(((*row, 1.0, 123) for row in ROWS), ","),
    "numbered rows": lines((i + 1, a, b) for i, a, b in ROWS),
    "DoRothEA without a header": lines(((a, "AB"[i % 2], b, 1) for i, a, b in ROWS), ","),
    "adjacencies without a header": lines((a, b, 50.5 - i) for i, a, b in ROWS),
    "SIGNOR without a header": lines(signor),
    "HPRD": lines(
        (a, f"{i:05}", f"NP_{i:06}.1", b, f"{i + 9:05}", f"NP_{i + 9:06}.2", "in vivo", "1,2") for i, a, b in ROWS
    ),
    "a type that no vocabulary has": lines((a, "synergy", b) for a, b in PAIRS),
    "decimal commas": lines(((*pair, "0,5") for pair in PAIRS), ";", "TF;target;score"),
    "bars": lines(PAIRS, "|", "TF|target"),
    "Gephi": lines(((a, b, "Undirected", i, 1.0) for i, a, b in ROWS), ",", "Source,Target,Type,Id,Weight"),
}  # fmt: skip
TOLD = {
    "dashes": (lines((f"{a}-{b}",) for a, b in PAIRS), "1"),
    "colons, by heading": (lines(((f"{a}::{b}",) for a, b in PAIRS), head="pair"), "pair"),
    "underscores": (lines(((i, f"{a}_{b}") for i, a, b in ROWS), head="\tTF1_TF2"), "TF1_TF2"),
    "slashes": (lines(((f"{a}/{b}", 0.1) for a, b in PAIRS), ",", "pair,q"), "pair"),
    "arrows": (lines(((i, f"{a}{ARROW}{b}") for i, a, b in ROWS), ",", ",TF_Interaction"), "TF_Interaction"),
    "members": (lines(((i, ";".join(c)) for i, c in enumerate(COMPLEXES)), head="name\tsubunits"), "subunits"),
    "two headings with a blank between": (lines(ROWS, ",", "x,One,Two"), "One Two"),
    "the third symbol": (lines((f"NEAR{i}", a, b) for i, a, b in ROWS), "2,3"),
}
# Tables whose columns are no two interactors, or may be several pairs of them.
UNCLEAR = {
    "TFs and tissues": lines((a, ["liver", "blood", "brain"][i % 3]) for i, a, b in ROWS),
    "TFs and scores": lines((a, 0.1 * i) for i, a, b in ROWS),
    "TFs and numbers": lines((a, 100 * i) for i, a, b in ROWS),
    "TFs and families": lines((a, ["HOX", "ZNF", "BHLH"][i % 3]) for i, a, b in ROWS),
    "TFs and what they are": lines((tf, "protein") for tf in TFS),
    "TFs and their accessions": lines((tf, f"P{i:05}") for i, tf in enumerate(TFS)),
    "TFs and their genes": lines(((tf, f"ENSG{i:011}") for i, tf in enumerate(TFS)), head="symbol\tensembl"),
    "AnimalTFDB": lines(
        (("Homo_sapiens", tf, f"ENSG{i:011}", "zf-C2H2", "100") for i, tf in enumerate(TFS)),
        head="Species\tSymbol\tEnsembl\tFamily\tEntrez_ID",
    ),
    "intervals": lines(("chr1", 100 * i, 100 * i + 50, tf) for i, tf in enumerate(TFS)),
    "expression": lines(((tf, 1.0, 2.0) for tf in TFS), head="gene\tcontrol\ttreated"),
    "three columns of symbols": lines((a, b, f"NEAR{i}") for i, a, b in ROWS),
    "pairs in a cell": lines(((i, f"{a}_{b}") for i, a, b in ROWS), head="\tTF1_TF2"),
    "a matrix": ",ZBTB33,IRF1\nZBTB33,1,0\nIRF1,0,1\n",
    "JSON": '[{"a":"ZBTB33","b":"IRF1"}]\n',
}


@pytest.mark.parametrize(("file", "name", "directed", "content"), KNOWN.values(), ids=KNOWN.keys())
def test_known_layouts(tmp_path, file, name, directed, content):
    table = read(tmp_path / file, content)
    assert (table.format, table.directed) == (name, directed)
    assert counts(table) == (2, 0)
    complexes, sets = name in ("CORUM", "OmniPath complexes"), name in ("GMT", "SCENIC regulons")
    assert table.rows == len(COMPLEXES if complexes else TFS if sets else PAIRS)  # no header among them
    assert table.excluded_records == {}
    assert set(table.examples) <= {name for pair in PAIRS for name in pair} | {"X1", "Y0", "Z1"}


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN.keys())
def test_columns_that_are_headed_as_or_proven_to_be_names(tmp_path, content):
    table = read(tmp_path / "table.txt", content)
    assert (table.format, table.rows, counts(table)) == ("two columns", len(PAIRS), (2, 0))


@pytest.mark.parametrize(("content", "columns"), TOLD.values(), ids=TOLD.keys())
def test_columns_that_are_told(tmp_path, content, columns):
    table = read(tmp_path / "table.txt", content, columns=columns)
    assert counts(table) == (2, 0)
    assert table.used == len(COMPLEXES if columns == "subunits" else PAIRS)


@pytest.mark.parametrize("content", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_nothing_else_is_taken_for_a_name(tmp_path, content):
    with pytest.raises(InputError) as told:
        read(tmp_path / "table.txt", content)
    said = str(told.value)
    assert said.startswith(f"{tmp_path / 'table.txt'}: no layout that is known")
    assert "evaluate.known_columns = ['A,B']" in said
    assert "\n  1" in said  # the columns, each with some values


def test_an_unclear_table_is_shown_by_its_columns(tmp_path):
    with pytest.raises(InputError, match=r"\n  1 'TF': 'ZBTB33', 'PBX1', 'IRF1'\n  2 'when': 'x y', 'x z'") as told:
        read(
            tmp_path / "a.tsv",
            lines(((a, ("x y", "x z")[i % 2], f"\x1b{i}") for i, a, b in ROWS), head="TF\twhen\tpmid"),
        )
    assert "\x1b" not in str(told.value)


def test_gene_sets_that_are_not_of_tfs_are_refused_by_that_name(tmp_path):
    sets = "HALLMARK_HYPOXIA\thttp://x\tZBTB33\tIRF1\nHALLMARK_APOPTOSIS\thttp://x\tPBX1\n"
    with pytest.raises(InputError, match=r"gene sets \(GMT\) whose names are not those of TFs \('HALLMARK_HYPOXIA'"):
        read(tmp_path / "a.txt", sets)
    with pytest.raises(InputError, match="gene sets"):
        read(tmp_path / "a.gmt", "GATA1 19941826 ChIP-Seq K562 Human\t\tZBTB33\tIRF1\n")


def test_all_partners_of_a_line_and_all_members_of_a_complex(tmp_path):
    table = read(tmp_path / "a.sif", "ZBTB33\tpd\tIRF1\tRFX4\tTARGET1\nZFX\nPBX1\tpd\tMYBL1\n")
    assert set(table.links) == {("irf1", "zbtb33"), ("rfx4", "zbtb33"), ("mybl1", "pbx1")}
    assert (table.rows, table.used, table.excluded_records) == (3, 2, {"no partner": 1})
    row = "1\tX\tHuman\tP1\t1\tZBTB33;IRF1;RFX4\n2\tY\tMouse\tP1\t1\tPBX1;MYBL1\n3\tZ\tHuman\tP1\t1\tPBX1\n"
    table = read(tmp_path / "a.txt", CORUM + "\n" + row, organism="9606")
    assert set(table.links) == {("irf1", "zbtb33"), ("rfx4", "zbtb33"), ("irf1", "rfx4")}
    assert table.excluded_records == {"another organism": 1, "no partner": 1}


def test_pairs_that_were_tested_and_not_found_are_not_known(tmp_path):
    own = lines(((*pair, 0.1, 0.1, 1, 0.6, 0.1, 1, 1, 20, 9.0, i == 1) for i, pair in enumerate(PAIRS)), head=OWN)
    table = read(tmp_path / "a.tf.tsv", own)
    assert set(table.links) == {("pbx1", "rfx4")}
    assert table.excluded_records == {"not called": 13}
    first = lines(((i, a, b, 0.04 + 0.02 * i) for i, a, b in ROWS), ",", ",TF1,TF2,adjusted_pval")
    assert read(tmp_path / "a.csv", first).excluded_records == {"adjusted p-value over 0.05": 13}


STRING = KNOWN["STRING"][3]


@pytest.mark.parametrize("least", [0.7, 700])
def test_string_scores_run_to_1000(tmp_path, least):
    table = read(tmp_path / "a.txt", STRING, min_score=least)
    assert (table.used, table.excluded_records) == (3, {"low score": 11})


def test_scores_on_another_scale_are_refused_where_a_least_score_is_asked_for(tmp_path):
    other = STRING.replace("combined_score", "score")
    with pytest.raises(
        InputError, match=r"line 2: a score of 150 in column 3, but known_min_score = 0\.7 is for scores"
    ):
        read(tmp_path / "a.txt", other, min_score=0.7)
    assert read(tmp_path / "a.txt", other, min_score=700).used == 3
    assert read(tmp_path / "a.txt", other).used == len(PAIRS)


@pytest.mark.parametrize("name", ["DoRothEA", "CollecTRI with the index of pandas", "adjacencies", "TRRUST"])
def test_letters_signs_and_importances_are_no_confidence(tmp_path, name, caplog):
    file, _, _, content = KNOWN[name]
    table = read(tmp_path / file, content, min_score=0.5)
    assert (table.used, table.excluded_records) == (len(PAIRS), {})
    assert "has no confidence, so known_min_score = 0.5 leaves out no row" in caplog.text


def test_a_name_with_the_mark_in_it_is_split_so_that_both_are_known(tmp_path):
    wanted = {"nkx2-5", "gata4", "hla-a"}
    path = tmp_path / "a.txt"
    path.write_text("NKX2-5-GATA4\nGATA4-TBX5\nGATA4-TBX-5-X\nMYC-MAX\n")
    table = known_tables.read(path, WHO, wanted, columns="1")
    assert set(table.links) == {("gata4", "nkx2-5")}
    assert (table.used, table.excluded_records) == (3, {"no partner": 1})  # one can be read in three ways


def test_lower_case_names_and_numbers_of_genes_are_names_where_nothing_else_is(tmp_path):
    table = read(tmp_path / "a.txt", "da\ttin\nhb\tKr\nbcd\thb\n")
    assert (table.used, table.examples[:2]) == (3, ["da", "tin"])
    assert read(tmp_path / "a.txt", "2623\t6886\t0.5\n4005\t9606\t0.7\n").examples[:2] == ["2623", "6886"]


def test_memory_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    with pytest.raises(InputError, match="line 2: longer than 1,000 characters; expected lines of text"):
        read(path, "gene_a\tgene_b\n" + "x" * 2000)
    monkeypatch.setattr(known_tables, "MOST_GENES", 100)
    with pytest.raises(
        InputError, match="more than 100 different names, such as '[gh]50'.*evaluate.known_columns = ..A,B"
    ):
        read(path, lines(((f"g{i}", f"h{i}") for i in range(60)), head="gene_a\tgene_b"))
    monkeypatch.setattr(known_tables, "MOST_MEMBERS", 10)
    with pytest.raises(InputError, match="line 2: 11 names in a cell"):
        read(path, "subunits_gene_name\tx\n" + ";".join(f"g{i}" for i in range(11)) + "\ty\n")
    monkeypatch.setattr(known_tables, "MOST_ROWS", 5)
    assert [len(rows) for rows in read(path, "ZBTB33\tIRF1\n" * 50).links.values()] == [5]
    monkeypatch.setattr(known_tables, "MOST_PROBLEMS", 30)
    with pytest.raises(InputError, match="and 10 more of the same kind"):
        read(path, "ZBTB33\tIRF1\n" * 250 + "x\n" * 500)


def test_damaged_tables_are_read_or_refused_with_one_error(tmp_path):
    """300 tables with bytes, cells and lines changed, lost, doubled or moved."""
    rng = np.random.default_rng(14)
    sources = [content.encode() for *_, content in KNOWN.values()] + [content.encode() for content in PLAIN.values()]
    wanted = set().union(*(WHO((tf,)) for tf in TFS))
    path, refused = tmp_path / "table.txt", []
    for _ in range(300):
        data = bytearray(sources[rng.integers(len(sources))])
        for _ in range(rng.integers(1, 6)):
            at, to = sorted(rng.integers(0, len(data) + 1, size=2).tolist())
            at = to if rng.random() < 0.5 else at
            data[at:to] = [
                bytes(rng.integers(0, 256, size=3, dtype=np.uint8)), b"\t", b"\n", b'"', b"", b"#", b",", b"\\", b"'",
                bytes(data[at:to]) * 2, "\u2028\u00e9\x1b".encode(), b"$\\longleftrightarrow$", b"\r",
            ][rng.integers(13)]  # fmt: skip
        path.write_bytes(data)
        columns = ["", "", "1,2", "1", "TF1,TF2", "TF_Interaction"][rng.integers(6)]
        least = [0.0, 0.7][rng.integers(2)]
        try:
            known_tables.read(
                path, WHO, wanted, columns=columns, organism=["", "9606"][rng.integers(2)], min_score=least
            )
        except InputError as error:
            refused.append(str(error))
    assert all(str(path) in said for said in refused)
    assert 30 < len(refused) < 270
