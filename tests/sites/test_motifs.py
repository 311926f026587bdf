import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.errors import ArtefactError, InputError
from satori_hpc.motifs import motif, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.readers import read_meme, write_meme
from satori_hpc.sites import store as motif_store

PLAIN = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.3 C 0.2 G 0.2 T 0.3

MOTIF MA0001.1 AGL3
letter-probability matrix: alength= 4 w= 2 nsites= 97 E= 0
 0.1 0.2 0.3 0.4
 1.0 0.0 0.0 0.0
URL http://example.org/MA0001.1

MOTIF solo
letter-probability matrix:
0.25 0.25 0.25 0.25
0.5\t0.5\t0\t0
0 0 0 1"""


def read(tmp_path: Path, text: str | bytes, name: str = "db.meme") -> tuple[list[Motif], np.ndarray]:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_meme(path)


def check_plain(found: list[Motif], background: np.ndarray) -> None:
    assert [(item.identifier, item.name, item.sites, item.width) for item in found] == [
        ("MA0001.1", "AGL3", 97, 2),
        ("", "solo", 20, 3),
    ]
    np.testing.assert_allclose(found[0].ppm, [[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]])
    np.testing.assert_allclose(found[1].ppm, [[0.25] * 4, [0.5, 0.5, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(background, [0.3, 0.2, 0.2, 0.3])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,  # no line end after the last row: the last motif must not be lost
        lambda text: text + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("MEME version 4", "MEME version 5.5.7 (Release date: now)"),
        lambda text: "****\nMEME - Motif discovery tool\n****\n" + text,
        lambda text: text.replace("A 0.3 C 0.2 G 0.2 T 0.3", "A 0.3 C 0.2\nG 0.2 T 0.3"),
        lambda text: text.replace("frequencies\n", "frequencies (from uniform):\n"),
        lambda text: text.replace("ALPHABET= ACGT\n", ""),
        lambda text: text.replace(
            "ALPHABET= ACGT\n",
            'ALPHABET "DNA" DNA-LIKE\nA "Adenine" CC0000 ~ T "Thymine" 008000\n'
            'C "Cytosine" 0000CC ~ G "Guanine" FFB300\nN = ACGT\nEND ALPHABET\n',
        ),
        lambda text: text.replace("MOTIF solo\n", "MOTIF solo\nlog-odds matrix: alength= 4 w= 1\n 1 2 -3 4\n"),
        lambda text: text.replace("w= 2 nsites= 97", "nsites=97.0").replace("0.1 0.2 0.3 0.4", "0.1  0.2 0.3 \t0.4 "),
        lambda text: text.replace("MOTIF MA0001.1 AGL3", "MOTIF  MA0001.1\tAG\x07L\x003"),
    ],
)  # fmt: skip
def test_tolerates(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    check_plain(*read(tmp_path, change(PLAIN)))


def test_reads_gzip_whatever_its_name(tmp_path: Path) -> None:
    check_plain(*read(tmp_path, gzip.compress(PLAIN.encode()), "motifs.txt"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("0.1 0.2 0.3 0.4", "0.1 0.2 0.3 0.5"), "line 12: the row sums to 1.1, expected 1"),
        (("0.1 0.2 0.3 0.4", "0.1 0.2 0.7"), "line 12: 3 numbers, expected 4"),
        (("0.1 0.2 0.3 0.4", "0.1 0.2 0.3 x"), "line 12: not numbers"),
        (("0.1 0.2 0.3 0.4", "-0.1 0.4 0.3 0.4"), "line 12: probabilities between 0 and 1"),
        (("0.1 0.2 0.3 0.4", "nan 0.4 0.3 0.3"), "line 12: probabilities between 0 and 1"),
        (("w= 2", "w= 3"), "line 11: 3 rows of probabilities expected, 2 found"),
        (("w= 2", "w= x"), "line 11: w= x is not a count"),
        (("alength= 4", "alength= 20"), "line 11: alength= 20, expected 4"),
        (("ALPHABET= ACGT", "ALPHABET= ACDEFGHIKLMNPQRSTVWY"), "line 3: alphabet 'ACDEFGHIKLMNPQRSTVWY'"),
        (("MOTIF solo", "MOTIF MA0001.1 AGL3"), "line 16: motif 'MA0001.1' is already on line 10"),
        (("MOTIF solo", "MOTIF"), "line 16: MOTIF without a name"),
        (("MOTIF solo", ""), "line 17: a matrix without a MOTIF"),
        (("A 0.3 C 0.2", "A 0.9 C 0.2"), "line 7: background frequencies"),
        (("A 0.3 C 0.2", "A 0.3"), "line 7: background frequencies"),
        (("MEME version 4", "MEME version 2"), "line 1: MEME version 2; 3 or later is read"),
        (("MEME version 4", ">seq1"), "not a MEME motif file"),
        ((PLAIN[PLAIN.index("MOTIF MA") :], ""), "no motif in it"),
    ],
)
def test_complains_with_file_and_line(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    assert change[0] in PLAIN
    with pytest.raises(InputError) as caught:
        read(tmp_path, PLAIN.replace(*change))
    assert complaint in str(caught.value)
    assert "db.meme" in str(caught.value)


def test_all_complaints_come_at_once_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, PLAIN.replace("0.1 0.2 0.3 0.4", "0.1 0.2 0.7").replace("0 0 0 1", "0 0 0 2"))
    assert "line 12" in str(caught.value)
    assert "line 20" in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        read_meme(tmp_path / "absent.meme")
    with pytest.raises(InputError, match="directory"):
        read_meme(tmp_path)
    with pytest.raises(InputError, match="damaged gzip"):
        read(tmp_path, gzip.compress(PLAIN.encode())[:-20])
    with pytest.raises(InputError, match="not a MEME"):
        read(tmp_path, b"")
    with pytest.raises(InputError, match="not a MEME"):
        read(tmp_path, bytes(range(256)))


NAMES = (
    st.text(min_size=1, max_size=12).map(lambda s: "".join(c for c in s if c.isprintable() and c != " ")).filter(bool)
)
COLUMNS = st.lists(st.integers(0, 50), min_size=4, max_size=4).map(lambda counts: np.array(counts) + 1.0)


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    identified=st.booleans(),
    columns=st.lists(COLUMNS, min_size=1, max_size=8),
    background=COLUMNS,
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    identified: bool,
    columns: list[np.ndarray],
    background: np.ndarray,
) -> None:
    path = tmp_path_factory.mktemp("meme") / "x.meme"
    ppm = motif.probabilities(np.stack(columns), 0.0)
    written = [
        Motif(name, np.roll(ppm, i, axis=1), sites=i + 1, identifier=f"ID{i}" if identified else "")
        for i, name in enumerate(names)
    ]
    write_meme(path, written, background / background.sum())
    found, frequencies = read_meme(path)
    assert [(m.name, m.identifier, m.sites) for m in found] == [(m.name, m.identifier, m.sites) for m in written]
    for one, other in zip(found, written, strict=True):
        np.testing.assert_allclose(one.ppm, other.ppm, atol=1e-7)
    np.testing.assert_allclose(frequencies, background / background.sum(), atol=2e-6)


def test_names_cannot_break_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.meme"
    ppm = np.full((2, 4), 0.25)
    write_meme(path, [Motif("a b\nMOTIF evil", ppm, 3), Motif("../../etc/passwd", ppm, 3)], motif.UNIFORM)
    assert [item.name for item in read_meme(path)[0]] == ["a_b_MOTIF_evil", "../../etc/passwd"]
    assert [item.name for item in tmp_path.iterdir()] == ["x.meme"]


def columns_of(filters: int) -> tuple[dict[str, object], dict[str, object]]:
    first = {
        "filter": np.arange(filters),
        "threshold": np.full(filters, np.inf, np.float32),
        "maximum": np.zeros(filters, np.float32),
        "sites": np.arange(filters) * 10,
        "sequences": np.arange(filters),
        "information": np.full(filters, np.nan),
        "consensus": [""] * filters,
        "written": np.arange(filters) == 2,
    }
    second = {
        "filter": [2], "tf": ["Ärnt::Ahr"], "motif_id": ["MA1"], "p": [1e-9], "q": [1e-6], "strand": ["-"],
        "offset": [-3], "ties": [0], "bits": [9.5], "chance": [0.0], "named": [True],
    }  # fmt: skip
    return first, second


def test_tables_round_trip_and_refuse_what_is_not_theirs(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "motifs"
    first, second = columns_of(4)
    ppm = np.array([[0.7, 0.1, 0.1, 0.1]])
    known = Motif("Ärnt::Ahr", ppm[:, ::-1], 20, "MA1")
    motif_store.write(
        folder, motifs=[Motif("filter2", ppm, 20)], background=motif.UNIFORM, filters=first, tf=second, known=[known]
    )
    again = motif_store.read_known(folder)
    assert [(number, item.identifier, item.name) for number, item in again.items()] == [(2, "filter2", "MA1")]
    np.testing.assert_allclose(again[2].ppm, known.ppm)
    filters, tf = motif_store.read_filters(folder), motif_store.read_tf(folder)
    assert filters["filter"].dtype == np.int32
    assert filters["threshold"].dtype == np.float32
    assert filters["sites"].dtype == np.int64
    assert np.isinf(filters["threshold"]).all()
    assert filters["information"].isna().all()
    assert filters["written"].tolist() == [False, False, True, False]
    assert tf.iloc[0].to_dict() == {name: values[0] for name, values in second.items()}  # type: ignore[index]
    np.testing.assert_allclose(motif_store.read_motifs(folder)[2].ppm, ppm)

    mend = f"satori-hpc motifs {tmp_path / 'run'}"
    write_meme(folder / "known.meme", [], motif.UNIFORM)
    with pytest.raises(ArtefactError, match="does not hold the motifs"):
        motif_store.read_known(folder)
    (folder / "known.meme").unlink()
    with pytest.raises(ArtefactError, match=r"known\.meme does not exist"):
        motif_store.read_known(folder)
    path = folder / "tf.parquet"
    content = path.read_bytes()
    for broken in (content[:-10], b"", b"nothing of the kind"):
        path.write_bytes(broken)
        with pytest.raises(ArtefactError, match="cannot be read") as caught:
            motif_store.read_tf(folder)
        assert mend in str(caught.value)
    pq.write_table(pa.table({"filter": [1]}), path)
    with pytest.raises(ArtefactError, match="format version none"):
        motif_store.read_tf(folder)
    path.unlink()
    with pytest.raises(ArtefactError, match="does not exist"):
        motif_store.read_tf(folder)
    write_meme(folder / "filters.meme", [Motif("filter3", ppm, 20)], motif.UNIFORM)
    with pytest.raises(ArtefactError, match="does not hold the filters"):
        motif_store.read_motifs(folder)


def test_no_motif_at_all_is_a_valid_artefact(tmp_path: Path) -> None:
    first, second = columns_of(2)
    motif_store.write(
        tmp_path / "motifs",
        motifs=[],
        background=motif.UNIFORM,
        filters=first,
        tf={name: [] for name in second},
        known=[],
    )
    assert motif_store.read_known(tmp_path / "motifs") == {}
    assert len(motif_store.read_tf(tmp_path / "motifs")) == 0
    assert motif_store.read_motifs(tmp_path / "motifs") == {}


def test_jaspar() -> None:
    found = readers.jaspar(release="JASPAR2026", collection="core", groups=("Vertebrates",))
    assert len(found) == 1019
    identifiers = [item.identifier for item in found]
    assert identifiers == sorted(set(identifiers))
    assert len({identifier.split(".")[0] for identifier in identifiers}) == len(found)  # newest versions only
    arnt = next(item for item in found if item.identifier == "MA0004.1")
    assert (arnt.name, arnt.sites, motif.consensus(arnt.ppm)) == ("Arnt", 20, "CACGTG")
    np.testing.assert_array_equal(arnt.counts, np.array([[4, 16, 0, 0], [19, 0, 1, 0], [0, 20, 0, 0], [0, 0, 20, 0],
                                                         [0, 0, 0, 20], [0, 0, 20, 0]]))  # fmt: skip
    more = readers.jaspar(release="JASPAR2026", collection="CORE", groups=("vertebrates", "insects"))
    assert len(more) > len(found)


@pytest.mark.parametrize(
    ("release", "collection", "group"),
    [("JASPAR2026", "UNVALIDATED", "nematodes"), ("JASPAR2018", "CORE", "nematodes"), ("JASPAR2014", "POLII", None)],
)
def test_jaspar_is_what_pyjaspar_selects(release: str, collection: str, group: str | None) -> None:
    import pyjaspar

    theirs = pyjaspar.jaspardb(release=release).fetch_motifs(collection=collection, tax_group=group)
    ours = readers.jaspar(release=release, collection=collection, groups=(group,) if group else ())
    assert {item.identifier: item.name for item in ours} == {item.matrix_id: item.name for item in theirs}
    counts = {item.matrix_id: np.array([item.counts[letter] for letter in "ACGT"]).T for item in theirs}
    for item in ours:
        np.testing.assert_array_equal(item.counts, counts[item.identifier])


@pytest.mark.parametrize(
    ("release", "collection", "group", "complaint"),
    [
        ("JASPAR1999", "CORE", "vertebrates", "known: JASPAR2014.*JASPAR2026"),
        ("JASPAR2026", "CO'RE", "vertebrates", "known: CORE, UNVALIDATED"),
        ("JASPAR2026", "CORE", "mammals", "known: cnidaria.*vertebrates"),
        ("JASPAR2014", "SPLICE", "fungi", "no motif in collection SPLICE of fungi"),
    ],
)
def test_jaspar_names_what_exists(release: str, collection: str, group: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        readers.jaspar(release=release, collection=collection, groups=(group,))
