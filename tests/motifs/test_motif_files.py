"""Motif files as collections and programs write them: each format, its dialects, and what is wrong with them."""

import gzip
import random

import numpy as np
import pytest

from satori_hpc.errors import InputError
from satori_hpc.motifs import names, readers

ROWS = [
    [0.9, 0.05, 0.03, 0.02],
    [0.02, 0.94, 0.02, 0.02],
    [0.02, 0.02, 0.94, 0.02],
    [0.02, 0.02, 0.02, 0.94],
    [0.91, 0.03, 0.03, 0.03],
    [0.05, 0.85, 0.05, 0.05],
]
TEXT = "\n".join(" ".join(map(str, row)) for row in ROWS)
TABS = "\n".join("\t".join(map(str, row)) for row in ROWS)
HEAD = (
    "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nBackground letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n\n"
)
MATRIX = f"letter-probability matrix: alength= 4 w= 6 nsites= 50 E= 0\n{TEXT}\n\n"
MEME = (
    f"{HEAD}MOTIF M1 ALX1\n{MATRIX}MOTIF M2 FOXA1\n{MATRIX.replace('0.9 ', '0.88 ').replace('0.05 0.03', '0.07 0.03')}"
)
# (A, C, G, T) by position
ARNT = [[4, 16, 0, 0], [19, 0, 1, 0], [0, 20, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20], [0, 0, 20, 0]]
LETTERS = {letter: " ".join(str(row[i]) for row in ARNT) for i, letter in enumerate("ACGT")}
BRACKETS = "".join(f"{letter}  [ {row} ]\n" for letter, row in LETTERS.items())
PLAIN = "".join(f"{row}\n" for row in LETTERS.values())
JASPAR = f">MA0004.1\tArnt\n{BRACKETS}>MA0004.2 Arnt::Ahr\n{BRACKETS.replace('16', '17')}"
POSITIONS = "".join(f"{i:02}\t" + "\t".join(f"{n}.0" for n in row) + "\n" for i, row in enumerate(ARNT, start=1))
TRANSFAC = (
    f"AC MA0004.1\nXX\nID Arnt\nXX\nDE MA0004.1 Arnt ; From JASPAR\nPO\tA\tC\tG\tT\n{POSITIONS}XX\nCC x\nXX\n//\n"
)
CONSENSUS = "".join(f"{i:02}      {'      '.join(map(str, row))}      N\n" for i, row in enumerate(ARNT, start=1))
BIOBASE = (
    "VV  TRANSFAC MATRIX TABLE, Release 9.2 - licensed - 2005-06-30\nXX\n//\nAC  M00001\nXX\nID  V$MYOD_01\nXX\n"
    "DT  19.10.1992 (created); ewi.\nNA  MyoD\nXX\nP0      A      C      G      T\n"
    f"{CONSENSUS}XX\nBA  5 elements\nXX\n//\n"
)
HOMER = (
    f">TGCATG\tCTCF(Zf)/CD4+-CTCF-ChIP-Seq(Barski_et_al.)/Homer\t5.17\t-34261.0\t0\tT:22354.0(48.77%)\n{TABS}\n"
    f">ACGT\tp53(p53)/Saos-p53-ChIP-Seq(GSE15780)/Homer\t6.8\n{TABS}\n"
)
NUMBERED = "".join(f"{i}\t" + "\t".join(map(str, row)) + "\n" for i, row in enumerate(ROWS, start=1))
CISBP = "".join(
    f"TF\tT0{i}_1.02\nTF Name\t{tf}\nGene\tAT4G37750\nMotif\tM2364_1.02\nFamily\tAP2\nSpecies\tArabidopsis_thaliana\n"
    f"Pos\tA\tC\tG\tT\n{NUMBERED}\n\n"
    for i, tf in enumerate(("ANT", "AIL1"))
)  # fmt: skip
FULL = f"""{"*" * 80}
MEME - Motif discovery tool
{"*" * 80}
MEME version 4.11.1 (Release date: Fri Apr 22 11:12:17 2016 +1000)

DATAFILE= crp0.fna
ALPHABET= ACGT
Sequence name            Weight Length  Sequence name            Weight Length
ce1cg                    1.0000    105  ara                      1.0000    105
Letter frequencies in dataset:
A 0.304 C 0.196 G 0.196 T 0.304
Background letter frequencies (from dataset with add-one prior applied):
A 0.304 C 0.196 G 0.196 T 0.304
{"*" * 80}
MOTIF  1 MEME\twidth =  6  sites =  18  llr = 191  E-value = 4.3e-009
{"*" * 80}
\tMotif 1 Description
Simplified        A  ::1:28322613::9:8333
         bits    2.4             * *
{"-" * 80}
\tMotif 1 block diagrams
SEQUENCE NAME            POSITION P-VALUE  MOTIF DIAGRAM
BL   MOTIF 1 width=19 seqs=18
//
\tMotif 1 position-specific scoring matrix
log-odds matrix: alength= 4 w= 2 n= 1566 bayes= 7.2817 E= 4.3e-009
 -1081    -82    -82    135
  -245    -82    150    -13
{"-" * 80}
\tMotif 1 position-specific probability matrix
{"-" * 80}
letter-probability matrix: alength= 4 w= 6 nsites= 18 E= 4.3e-009
{TEXT}
{"-" * 80}
\tMotif 1 regular expression
"""
STREME = f"""MEME version 5.5.5

ALPHABET= ACGT

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF 1-ACGTAC STREME-1
letter-probability matrix: alength= 4 w= 6 nsites= 50 E= 1.1e-003
 {TEXT}

# Stopping reason: target motif count reached
"""
SAMPLES = {
    "meme": MEME, "full": FULL, "streme": STREME, "jaspar": JASPAR, "plain": f">MA0004.1 Arnt\n{PLAIN}",
    "transfac": TRANSFAC, "biobase": BIOBASE, "homer": HOMER, "cisbp": CISBP, "alone": f"Pos\tA\tC\tG\tT\n{NUMBERED}",
}  # fmt: skip


def read(tmp_path, text, name="known.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return readers.read(path)


def told(motifs):
    return [(item.identifier, item.name, item.width, item.sites) for item in motifs]


def refusal(tmp_path, text):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert "known.txt" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("meme", [("M1", "ALX1", 6, 50), ("M2", "FOXA1", 6, 50)]),
        ("full", [("1", "MEME", 6, 18)]),
        ("streme", [("1-ACGTAC", "STREME-1", 6, 50)]),
        ("jaspar", [("MA0004.1", "Arnt", 6, 20), ("MA0004.2", "Arnt::Ahr", 6, 21)]),
        ("plain", [("MA0004.1", "Arnt", 6, 20)]),
        ("transfac", [("MA0004.1", "Arnt", 6, 20)]),
        ("biobase", [("M00001", "MyoD", 6, 20)]),
        (
            "homer",
            [
                ("", "CTCF(Zf)/CD4+-CTCF-ChIP-Seq(Barski_et_al.)/Homer", 6, 20),
                ("", "p53(p53)/Saos-p53-ChIP-Seq(GSE15780)/Homer", 6, 20),
            ],
        ),
        ("cisbp", [("M2364_1.02", "ANT", 6, 20), ("M2364_1.02", "AIL1", 6, 20)]),
        ("alone", [("", "known", 6, 20)]),
    ],
)
def test_every_format_is_read_by_its_content(tmp_path, sample, expected):
    text = SAMPLES[sample]
    found = read(tmp_path, text)
    assert told(found) == expected
    counts = "MyoD" in text or "Arnt" in text
    np.testing.assert_allclose(found[0].ppm, np.array(ARNT) / 20 if counts else ROWS, atol=1e-9)
    assert (found[0].counts is not None) == counts
    for change in (text.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + text.encode(), text.rstrip("\n").encode()):
        assert told(read(tmp_path, change)) == expected
    packed = read(tmp_path, gzip.compress(text.encode()))
    np.testing.assert_array_equal(packed[0].ppm, found[0].ppm)


# The beginnings of real files: what is read of each, as (identifier, name, TF, family, width, sites).
REAL = {
    "JASPAR2018.jaspar": (
        ">MA0017.3\tNR2F1\n"
        "A  [  7266   6333   8496      0      0      0      0  12059   5116   3229   3276   5681 ]\n"
        "C  [  1692    387      0     30      0      0  12059      0   3055   2966   2470   2912 ]\n"
        "G  [  1153   4869   3791  12059  12059      0      0     91   1618   4395   3886  36863 ]\n"
        "T  [  1948    469      0      0      0  12059      0      0   2270   1469   2427   3466 ]\n",
        ("MA0017.3", "NR2F1", "NR2F1", "", 12, 12059),
    ),
    "JASPAR2022.transfac": (
        "AC MA0006.1\nXX\nID Ahr::Arnt\nXX\nDE MA0006.1 Ahr::Arnt ; From JASPAR\nPO\tA\tC\tG\tT\n"
        "01\t3.0\t8.0\t2.0\t11.0\n02\t0.0\t0.0\t23.0\t1.0\n03\t0.0\t23.0\t0.0\t1.0\n"
        "04\t0.0\t0.0\t23.0\t1.0\n05\t0.0\t0.0\t0.0\t24.0\n06\t0.0\t0.0\t24.0\t0.0\nXX\n"
        "CC tax_group:vertebrates\nCC tf_family:PAS domain factors; PAS domain factors\n"
        "CC tf_class:Basic helix-loop-helix factors (bHLH); Basic helix-loop-helix factors (bHLH)\n"
        "CC pubmed_ids:7592839\nCC uniprot_ids:P30561; P53762\nCC data_type:SELEX\nXX\n//\n",
        ("MA0006.1", "Ahr::Arnt", "Ahr::Arnt", "PAS domain factors", 6, 24),
    ),
    "HOCOMOCO_2023-09.tf": (
        "VV  HOCOMOCOv12, SEP 2023\nXX\n//\nAC  M10000\nXX\nID  AHR.H12CORE.0.P.B\nXX\nNA  AHR_HUMAN\nXX\n"
        "BF  AHR_HUMAN; Species: human, Homo sapiens\nXX\nP0      A      C      G      T\n"
        "01    176    307    392    128      v\n02    188    363    152    300      h\n"
        "03    102    133    377    391      b\n04    118     59     91    735      W\n"
        "05      8     67    844     84      G\nXX\n//\n",
        ("M10000", "AHR_HUMAN", "AHR_HUMAN", "", 5, 1003),
    ),
    "HOCOMOCOv11_pcms.txt": (
        ">AHR_HUMAN.H11MO.0.B\n40.51343240527031 18.259112547756697  56.41253757072521 38.77363485291994\n"
        "10.877470982533044  11.870876719950774  34.66312982331297 96.54723985087516\n"
        "21.7165707818416  43.883079837598544  20.706746561638717  67.6523201955933\n",
        ("", "AHR_HUMAN.H11MO.0.B", "AHR_HUMAN", "", 3, 154),
    ),
    "known.motifs": (
        ">ATGACTCATC\tAP-1(bZIP)/ThioMac-PU.1-ChIP-Seq(GSE21512)/Homer\t6.049537\t-1.782996e+03\t0\t"
        "9805.3,5781.0,3085.1,2715.0,0.00e+00\n0.419\t0.275\t0.277\t0.028\n0.001\t0.001\t0.001\t0.997\n"
        "0.010\t0.002\t0.965\t0.023\n0.984\t0.003\t0.001\t0.012\n0.062\t0.579\t0.305\t0.054\n",
        ("", "AP-1(bZIP)/ThioMac-PU.1-ChIP-Seq(GSE21512)/Homer", "AP-1", "bZIP", 5, 20),
    ),
    "PWM.txt": (  # CIS-BP
        "TF\tT04469_1.02\nTF Name\tANT\nGene\tAT4G37750\nMotif\tM2364_1.02\nFamily\tAP2\nSpecies\t"
        "Arabidopsis_thaliana\nPos\tA\tC\tG\tT\n"
        "1\t0.282958950502589\t0.248464961579856\t0.245992693905045\t0.22258339401251\n"
        "2\t0.316659023962677\t0.184532492829531\t0.236944410987863\t0.261864072219928\n"
        "3\t0.377777871501523\t0.112652333533587\t0.209412581763086\t0.300157213201805\n",
        ("M2364_1.02", "ANT", "ANT", "AP2", 3, 20),
    ),
    "minimal.meme": (
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nBackground letter frequencies\n"
        "A 0.303 C 0.183 G 0.209 T 0.306 \n\nMOTIF KRP\n"
        "letter-probability matrix: alength= 4 w= 2 nsites= 17 E= 4.1e-009 \n"
        " 0.000000  0.176471  0.000000  0.823529 \n 0.000000  0.058824  0.647059  0.294118 \n\n",
        ("", "KRP", "KRP", "", 2, 17),
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_of_every_collection_are_read_with_tf_and_family(tmp_path, name):
    text, expected = REAL[name]
    [found] = read(tmp_path, text, name)
    tf, family = names.tf_name(found.name, found.identifier), names.family_of(found)
    assert (found.identifier, found.name, tf, family, found.width, found.sites) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # HOCOMOCO's counts, and gimmemotifs' frequencies with comments
        (">AHR_HUMAN.H11MO.0.B\n" + "".join(f"{a}.5\t{c}\t{g}\t{t}\n" for a, c, g, t in ARNT), "AHR_HUMAN.H11MO.0.B"),
        (f"# JASPAR2020\n# Date: 2019\n>MA0004.1_Arnt\n{TABS}\n", "MA0004.1_Arnt"),
        # letters in any order and spelling
        (">x\n" + "".join(f"{k.lower()} | {LETTERS[k]}\n" for k in "TGCA"), "x"),
        (">x\n" + "".join(f"{k}:{LETTERS[k]}\n" for k in "ACGT").replace("T:", "U:"), "x"),
        # four positions: the other motif tells what a row is; alone, the sums do
        (">x\n" + "1 0 0 0\n0.4 0.6 0 0\n1 0 0 0\n1 0 0 0\n", "x"),
        (">x\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n>y\n" + TABS, "x"),
        # RSAT: frequencies, and CC behind them
        ("AC  CTCF_tab_1\nXX\nID  CTCF\nXX\nP0  A C G T\n1 0.255 0.194 0.265 0.286\n2 0 1 0 0\nXX\n//\n", "CTCF"),
        ("P0 A C G T\n01 1 2 2 0\n".join(["ID any_old_name\nBF species\n", "//\n"]), "any_old_name"),
        (f"RBP\tT1\nRBP Name\tA1CF\nMotif\tM001_0.6\nPos\tA\tC\tG\tU\n{NUMBERED}", "A1CF"),
        ("ID x\nPO G U A C\n01 7 1 1 1\nXX\n//\n", "x"),
    ],
)  # fmt: skip
def test_dialects(tmp_path, text, expected):
    found = read(tmp_path, text)
    assert found[0].name == expected
    for item in found:
        np.testing.assert_allclose(item.ppm.sum(axis=1), 1)
    if "G U A C" in text:
        np.testing.assert_allclose(found[0].ppm, [[0.1, 0.1, 0.7, 0.1]])
    if "T:" in text or " | " in text or "U:" in text:
        np.testing.assert_allclose(found[0].ppm, np.array(ARNT) / 20)
    if "0.4 0.6" in text:
        np.testing.assert_allclose(found[0].ppm[1], [0.4, 0.6, 0, 0])
    if ">y" in text:
        np.testing.assert_allclose(found[0].ppm, np.eye(4))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("version 4", "version 3.0"),  # gimmemotifs
        lambda text: text.replace("version 4", "version 5.5.7 (Release date: now)"),
        lambda text: text.replace("MOTIF M2", "  MOTIF M2").replace("letter-", "\t letter-"),  # indented
        lambda text: "".join(f"   {line}\n" for line in text.splitlines()),
        lambda text: text.replace("ALPHABET= ACGT", "ALPHABET= ACGU").replace("T 0.25", "U 0.25"),
        lambda text: text.replace(
            "ALPHABET= ACGT",
            'ALPHABET "RNA" RNA-LIKE\nA "Adenine" CC0000\nC "Cytosine" 0000CC\nG "Guanine" FFB300\nU "Uracil" 008000\n'
            "N = ACGU\nT = U\nEND ALPHABET",
        ),
        lambda text: text.replace(" w= 6 nsites= 50", "").replace("nsites= 50", "nsites= 50.0"),
        lambda text: "# DREME 5.1.1\n#   command: dreme\n\n" + text,
        lambda text: text + "MOTIF M1 ALX1\n" + MATRIX,  # the same again
    ],
)
def test_meme_as_programs_write_it(tmp_path, change):
    found = read(tmp_path, change(MEME))
    assert [(item.identifier, item.name) for item in found] == [("M1", "ALX1"), ("M2", "FOXA1")]
    np.testing.assert_allclose(found[0].ppm, ROWS)


def test_a_width_that_contradicts_the_rows_is_refused_and_no_motif_is_cut(tmp_path):
    assert "line 16: a row beyond the matrix of line 11 (w= 4)" in refusal(tmp_path, MEME.replace("w= 6", "w= 4", 1))
    assert "line 11: 8 rows of probabilities expected, 6 found" in refusal(tmp_path, MEME.replace("w= 6", "w= 8", 1))
    apart = MEME.replace(" w= 6", "", 1).replace("\n0.02 0.02 0.94", "\n\n0.02 0.02 0.94", 1)
    assert "line 15: a row beyond the matrix of line 11" in refusal(tmp_path, apart)


def test_motifs_without_a_matrix_are_left_out_and_named(tmp_path, caplog):
    empty = "letter-probability matrix: alength= 4 w= 0 nsites= 0 E= 0\n\n"
    found = read(
        tmp_path, f"{HEAD}MOTIF 1 DREME-1\n{MATRIX}MOTIF 2 DREME-2\n\nMOTIF 3 X\n{empty}MOTIF 4 Y\n{MATRIX}MOTIF Z"
    )
    assert [item.identifier for item in found] == ["1", "4"]
    assert "3 motifs have no matrix and are left out: '2 DREME-2', '3 X', 'Z'" in caplog.text
    assert "no motif in it (MEME); 1 motifs have no matrix" in refusal(tmp_path, f"{HEAD}MOTIF 3 X\n{empty}")
    caplog.clear()
    found = read(tmp_path, f"{CISBP}TF\tT3\nTF Name\tB\nMotif\tM9\nPos\tA\tC\tG\tT\n\nTF\tT4\nMotif\tM8\n")
    assert [item.name for item in found] == ["ANT", "AIL1"]
    assert "2 motifs have no matrix and are left out: 'M9', 'M8'" in caplog.text
    assert "no motif in it (CIS-BP)" in refusal(tmp_path, "Pos\tA\tC\tG\tT\n")
    caplog.clear()
    assert len(read(tmp_path, f">lost\n{JASPAR}")) == 2
    assert len(read(tmp_path, f"AC x\nID y\nXX\n//\n{TRANSFAC}")) == 1
    assert caplog.text.count("1 motifs have no matrix") == 2


def test_one_matrix_of_two_tfs_is_two_motifs_and_the_same_twice_is_one(tmp_path, caplog):
    same = f"{HEAD}MOTIF M0082_1.02 TFAP2A\n{MATRIX}MOTIF M0082_1.02 TFAP2B\n{MATRIX}MOTIF M0082_1.02 TFAP2A\n{MATRIX}"
    assert told(read(tmp_path, same)) == [("M0082_1.02", "TFAP2A", 6, 50), ("M0082_1.02", "TFAP2B", 6, 50)]
    assert "1 motifs occur more than once" in caplog.text
    other = same + "MOTIF M0082_1.02 TFAP2B\n" + MATRIX.replace("w= 6", "w= 5").replace("\n0.05 0.85 0.05 0.05", "")
    assert "line 37: motif 'M0082_1.02' is already on line 19, with another matrix" in refusal(tmp_path, other)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a MEME, JASPAR, TRANSFAC, HOMER or CIS-BP motif file"),
        (bytes(range(256)), "not a MEME, JASPAR"),
        ("<!DOCTYPE html>\nMEME version 5\n", "but HTML or XML; the programs of MEME also write a text file"),
        (MEME.replace("MEME version 4", ""), "no line 'MEME version 4' (or another)"),
        ("0.1 0.2 0.3 0.4\n", "not a MEME, JASPAR"),
        ("Protein: Foxj3\nA:\t0.1\n", "not a MEME, JASPAR"),
        (MEME.replace("version 4", "version 2"), "line 1: MEME version 2; 3 or later is read"),
        (MEME.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY"), "line 3: alphabet 'ACDEFGHIKLMNPQRSTVWY'"),
        (MEME.replace("alength= 4", "alength= 20", 1), "line 11: alength= 20, expected 4"),
        (MEME.replace("0.9 0.05", "0.9 0.25", 1), "line 12: the row sums to 1.2, expected 1"),
        (MEME.replace("0.9 0.05", "nan 0.05", 1), "line 12: probabilities between 0 and 1"),
        (MEME.replace("0.9 0.05 ", "0.95 ", 1), "line 12: 3 numbers, expected 4"),
        (">chr1\nACGTNACGT\n", "line 2: no row of numbers, but 'ACGTNACGT'; of sequences (FASTA)"),
        (">MA0004.1 ARNT 1\ncacgtgGATGT\n", "line 2: no row of numbers"),
        (JASPAR.replace("C  [ 16", "C  [ 16 3"), "line 3: 7 numbers, expected 6 as in the row before"),
        (JASPAR.replace("T  [", "G  [", 1), "line 1: 'Arnt' has rows of A, C, G, G, expected one each"),
        (JASPAR.replace("[ 4 19", "[ 4 -19", 1), "line 2: negative numbers"),
        (JASPAR.replace("[ 4 19", "[ 4 nan", 1), "line 2: numbers that are not finite"),
        (JASPAR.replace("[ 4 19", "[ 4 1,9", 1), "line 2: not numbers"),
        (JASPAR.replace("16 0", "0 0", 1).replace("[ 4 19", "[ 0 19", 1), "line 1: position 1 of 'Arnt' sums to 0"),
        (JASPAR.replace("16", "9", 1).replace(".2 Arnt::Ahr", ".1 Arnt"), "line 6: motif 'MA0004.1' is already on"),
        (JASPAR.replace(">MA0004.2 Arnt::Ahr", ">"), "line 6: '>' without a name"),
        (">m\n0.2\t-0.04\t-0.7\t0.3\n", "line 2: negative numbers: '0.2 -0.04 -0.7 0.3'; these are log-odds scores"),
        (HOMER.replace("0.91\t", "4.91\t", 1), "line 6: position 5 of 'CTCF(Zf)/CD4+-CTCF-ChIP-Seq(Barski_et_al.)/Ho"),
        (HOMER.replace("0.91\t", "", 1), "line 6: 3 numbers, expected 4 as in the row before"),
        (">x\n1 2 3\n1 2 3\n", "line 2: 3 numbers, expected 4 (A, C, G, T)"),
        (">x\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "line 1: 'x': four rows of four numbers may be letters or"),
        (TRANSFAC.replace("03\t", "04\t"), "line 9: position 4, expected 3: rows are missing or twice"),
        (TRANSFAC.replace("02\t19.0\t", "02\t"), "line 8: 3 numbers behind the position, expected 4"),
        (TRANSFAC.replace("A\tC\tG\tT", "A\tC\tG\tX"), "line 6: letters 'A C G X', expected A, C, G and T"),
        (TRANSFAC.replace("//\n", f"PO\tA\tC\tG\tT\n{POSITIONS}//\n"), "line 16: a second matrix in one motif"),
        (TRANSFAC.replace("03\t", "XX\n03\t"), "line 10: a row outside a matrix"),
        (TRANSFAC.replace("19.0", "-19.0"), "line 8: negative numbers"),
        (f"PO\tA\tC\tG\tT\n{POSITIONS}", "line 1: a matrix without AC, ID or NA before it"),
        (CISBP.replace("\n3\t", "\n4\t", 1), "line 10: position 4, expected 3"),
        (CISBP.replace("1\t0.9\t", "1\t1.9\t", 1), "line 8: position 1 of 'ANT' sums to 2, expected 1 as of"),
        (f"Pos\tA\tC\tG\tT\n{NUMBERED}\nPos\tA\tC\tG\tT\n{NUMBERED}", "line 9: a second matrix without lines TF Name"),
        (MEME + "MOTIF " + "x" * 2000 + "\n" + MATRIX, "a name of 2,000 letters"),
        (">x\n" + "0.25 0.25 0.25 0.25\n" * 1100, "more than 1000 positions"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_error_with_its_line(tmp_path, text, complaint):
    said = refusal(tmp_path, text)
    assert complaint in said
    assert len(said) < 2000


def test_every_problem_comes_at_once(tmp_path):
    said = refusal(tmp_path, MEME.replace("0.9 0.05", "0.9 0.25").replace("0.05 0.85", "0.05 0.95"))
    assert "line 12" in said
    assert "line 17" in said


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b">x\n" + b"1 " * (1 << 20), "line 2: a line of more than 1,048,576 letters"),
        (gzip.compress(b">x\n" + b"1" * (1 << 24)), "line 2: a line of more than"),
        (gzip.compress(b"MEME version 4\n" + b"\n" * 20_000), "line 10001: no end yet: too large for a file of motifs"),
        (gzip.compress(MEME.encode())[:-20], "damaged gzip file"),
        (b"PK\x03\x04", "a spreadsheet (.xlsx) or another zip archive"),
        ("\ufeffMEME version 4".encode("utf-16"), "UTF-16 text"),
    ],
    ids=("a line", "a packed line", "packed lines", "cut", "zip", "UTF-16"),
)
def test_bombs_and_other_files_end_soon(tmp_path, monkeypatch, content, complaint):
    monkeypatch.setattr(readers, "MAX_LINES", 10_000)
    assert complaint in refusal(tmp_path, content)


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        readers.read(tmp_path / "absent.meme")
    with pytest.raises(InputError, match="directory"):
        readers.read(tmp_path)


@pytest.mark.parametrize("sample", SAMPLES)
def test_mutated_files_are_read_or_refused(tmp_path, sample):
    """150 mutations of each, two or three samples a parser: letters changed, parts lost, doubled, cut off or put in."""
    generator, longest = random.Random(sample), 0
    for _ in range(150):
        text = list(SAMPLES[sample])
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(text))
            kind = generator.randrange(5)
            if kind == 0:
                text[place] = generator.choice("\0\n\t >[]-0199.eACGTUnaifMOTIF\x1b\u2028é")
            elif kind == 1:
                del text[place : place + generator.randint(1, 80)]
            elif kind == 2:
                text[place:place] = text[generator.randrange(len(text)) :][: generator.randint(1, 200)]
            elif kind == 3:
                text = text[: max(1, place)]
            else:
                text[place:place] = generator.choice(
                    ["nan", "1e999", "-1", "\n\n", "MOTIF", "//\n", ">\n", "w= 3", "P0 "]
                )
            if not text:
                text = ["\n"]
        try:
            found = read(tmp_path, "".join(text))
        except InputError as error:
            longest = max(longest, len(str(error)))
        else:
            assert found
            for item in found:
                assert item.ppm.shape == (item.width, 4)
                np.testing.assert_allclose(item.ppm.sum(axis=1), 1, atol=1e-6)
    assert longest < 5000
