"""TF names of the collections that people bring."""

import pytest

from satori_hpc.motifs import motif, readers
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.motif import Motif

ZBTB33 = (
    "ZBTB33",
    "MA0527.2.ZBTB33",
    "MA0527.2 ZBTB33",
    "MA0527.2_ZBTB33",
    "ZBTB33_MA0527.2",
    "ZBTB33.MA0527.2",
    "ZBTB33(MA0527.2)",
    "MA0527.2_ZBTB33/Jaspar(0.98)",
    "ZBTB33(var.2)",
    "ZBTB33 (var.3)",
    "ZBTB33.H12CORE.0.P.B",
    "ZBTB33.H13CORE.1.PSM.A",
    "ZBTB33.H12INVIVO.2.SM.D",
    "ZBTB33.H12CORE.0.P.B_ZBTB33.H12CORE.0.P.B",
    "(ZBTB33)_(Homo_sapiens)_(DBD_1.00)",
    "M01234_2.00 (ZBTB33)_(Homo_sapiens)_(DBD_1.00)",
    "ZBTB33(Zf)/GM12878-ZBTB33-ChIP-Seq(GSE32465)/Homer",
    "GGVTCTCGCGAGAAC_ZBTB33(Zf)/GM12878-ZBTB33-ChIP-Seq(GSE32465)/Homer",
    "ZBTB33(Zf)",
    "ZBTB33_full",
    "ZBTB33_DBD_2",
    "ZBTB33_eDBD_HT-SELEX",
    "5138_ZBTB33_full_1_HumanTF_1.0_",
    "ZBTB33_HT-SELEX_TGCAAG20NAAC_AL_NAMCCGGAAGTR_1_2",
    "UP00400_1 ZBTB33_primary",
    "V$ZBTB33_01",
    "V$ZBTB33_Q6_01",
    "ZBTB33.p2",
    "ZBTB33_known1",
    "ZBTB33_1.motif",
    "ZBTB33_col_a",
    "C2H2_tnt.ZBTB33_colamp_a_m1",
    "ZBTB33_SANGER_5_FBgn0000413",
    "Hsapiens-jaspar2018-ZBTB33-MA0527.1",
    "jaspar__MA0527.1_ZBTB33",
)
OTHERS = {
    "FOXD3::GATA1": "FOXD3::GATA1",
    "MA0259.1_ARNT::HIF1A": "ARNT::HIF1A",
    "FOS::JUN(var.2)": "FOS::JUN",
    "bZIP:IRF(bZIP,IRF)/Th17-BatF-ChIP-Seq(GSE39756)/Homer": "bZIP::IRF",
    "RAR:RXR(NR),DR5/ES-RAR-ChIP-Seq(GSE56893)/Homer": "RAR::RXR",
    "AR-halfsite(NR)/LNCaP-AR-ChIP-Seq(GSE27824)/Homer": "AR",
    "ELK1_HOXA1_CAP_repr": "ELK1::HOXA1",
    "HOXD12_EOMES_CAP-SELEX_TGAGTC40NAAC_AAB_NNNACGANNNNNNTCGTNNN_1_3u": "HOXD12::EOMES",
    "twi_da_SANGER_5_FBgn0000413": "twi::da",
    "ABI3VP1_tnt.AT5G18090_col_a_m1": "AT5G18090",
    "PB0001.1_Arid3a_1": "Arid3a",
    "ZBT33_HUMAN.H11MO.0.A": "ZBT33_HUMAN",
    "GATA1_MOUSE.H10MO.B": "GATA1_MOUSE",
    "AP2A_f1": "AP2A",
    # names that look like something and are whole
    "Su(H)": "Su(H)",
    "(Su(H))_(Drosophila_melanogaster)_(DBD_1.00)": "Su(H)",
    "E(spl)m3-HLH": "E(spl)m3-HLH",
    "Nkx2.5": "Nkx2.5",
    "NKX2_5": "NKX2_5",
    "H2.0": "H2.0",
    "GATA1/2/3": "GATA1/2/3",
    "PHYPADRAFT_140773": "PHYPADRAFT_140773",
    "PU.1": "PU.1",
    "YAL051W": "YAL051W",
}
NONE = (
    "", "7", "MA0139.1", "M00111_2.00", "M00001", "GM.5.0.Homeodomain.0001", "filter12", "pattern_3",
    "pos_patterns.pattern_3", "STREME-1", "1-AAGTGA", "CAGM-DREME-1", "MEME-2", "TGCATGNN",
    "1-TGCATG,BestGuess:Hox(0.64)", "SRF.1_Meme_1_w14", "Unknown(Homeobox)/Limb-p300-ChIP-Seq/Homer", "motif_12",
    "ETS class",
)  # fmt: skip


@pytest.mark.parametrize("name", ZBTB33)
def test_every_spelling_of_a_tf_is_that_tf(name):
    assert tf_names.tf_name(name) == "ZBTB33"
    assert tf_names.compared(name) == tf_names.compared("Zbtb33") == "zbtb33"
    assert tf_names.compared(name, case=True) == "ZBTB33"


@pytest.mark.parametrize(("name", "tf"), OTHERS.items())
def test_composites_stay_and_names_are_not_cut(name, tf):
    assert tf_names.tf_name(name) == tf


@pytest.mark.parametrize("name", NONE)
def test_what_tells_no_tf_is_said_and_compared_as_it_is(name):
    assert tf_names.tf_name(name) == ""
    assert tf_names.compared(name) == name.lower().replace("ma0139.1", "ma0139")


def test_names_of_uniprot_lose_the_species_in_comparisons_and_composites_are_no_species():
    assert tf_names.entry("P53_HUMAN.H11MO.0.A") == "p53_human"
    assert tf_names.compared("GATA1_HUMAN.H11MO.0.A") == tf_names.compared("GATA1_MOUSE") == "gata1"
    assert tf_names.compared("FLI1_CEBPB") == "fli1_cebpb"
    assert tf_names.is_entry("P53_HUMAN")
    assert not tf_names.is_entry("TEAD4_CLOCK")


@pytest.mark.parametrize(
    ("name", "identifier", "tf"),
    [
        ("HSF_manual", "HSF_manual.tnt.HSFC1_col_a_m1", "HSFC1"),
        ("Arid3a_2", "PB0105.1", "Arid3a"),
        ("M00111_2.00", "ZBTB33.H12CORE.0.P.B", "ZBTB33"),
        ("DREME-1", "ACGT", ""),
        ("AGL3", "MA0001.1", "AGL3"),
    ],
)
def test_the_identifier_helps_where_the_name_tells_nothing(name, identifier, tf):
    assert tf_names.tf_name(name, identifier) == tf


def test_motifs_of_one_tf_share_a_spelling():
    names = ["Jun", "JUN", "FOS::JUN", "GATA1_HUMAN.H10MO.A", "GATA1_MOUSE.H10MO.A", "GM.5.0.Sox.0001", "jun(var.2)"]
    motifs = [Motif(name, motif.UNIFORM[None], 20) for name in names]
    assert tf_names.of_motifs(motifs) == [
        "Jun", "Jun", "FOS::JUN", "GATA1_HUMAN", "GATA1_HUMAN", "GM.5.0.Sox.0001", "Jun",
    ]  # fmt: skip


@pytest.mark.parametrize("release", ["JASPAR2014", "JASPAR2020", "JASPAR2026"])
def test_names_of_jaspar_are_names_of_tfs_but_for_the_variant(release):
    for item in readers.jaspar(release=release, collection="CORE", groups=()):
        assert tf_names.tf_name(item.name, item.identifier) == item.name.split("(var.")[0].strip()


def test_long_and_odd_names_take_no_time():
    for name in ("A" * 100_000, "_" * 199, "(" * 199, "a_" * 99, "A_CAP" * 39, "_1" * 99, "x/" * 99 + "Homer"):
        assert isinstance(tf_names.compared(name), str)


@pytest.mark.parametrize(
    ("name", "identifier", "family"),
    [
        ("CTCF(Zf)/CD4+-CTCF-ChIP-Seq(Barski_et_al.)/Homer", "", "Zf"),
        ("FOXA1:AR(Forkhead,NR)/LNCAP-AR-ChIP-Seq(GSE27824)/Homer", "", "Forkhead,NR"),
        ("RXR(NR),DR1/3T3L1-RXR-ChIP-Seq(GSE13511)/Homer", "", "NR"),
        ("ZNF652/HepG2-ZNF652.Flag-ChIP-Seq(Encode)/Homer", "", ""),
        ("bHLH104_col_a", "bHLH_tnt.bHLH104_col_a", "bHLH"),
        ("ZBTB33.H12CORE.0.P.B", "", ""),
        ("(Su(H))_(Drosophila_melanogaster)_(DBD_1.00)", "", ""),
    ],
)
def test_families_stand_in_names_of_homer_and_dap_seq(name, identifier, family):
    item = Motif(name, motif.UNIFORM[None], 20, identifier)
    assert tf_names.family_of(item) == family
    assert tf_names.family_of(Motif(name, motif.UNIFORM[None], 20, identifier, family="CSL")) == "CSL"


def test_families_of_a_composite_are_joined_and_one_is_named_once():
    assert tf_names.family(["Ets-related", " FOX "]) == "Ets-related::FOX"
    assert tf_names.family(["PAS domain factors", "PAS domain factors", ""]) == "PAS domain factors"
    known = readers.jaspar(release="JASPAR2024", collection="CORE", groups=("vertebrates",))
    families = {item.name: item.family for item in known}
    assert families["Ahr::Arnt"] == "PAS domain factors"
    assert families["ERF::FOXI1"] == "Ets-related::FOX"
    assert sum(not family for family in families.values()) <= 2
