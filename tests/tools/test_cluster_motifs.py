"""`cluster-motifs`: files in, representatives, a table and a figure out, with a record."""

import csv
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from satori_hpc.cli import cli
from satori_hpc.motifs import cluster, collection, motif, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.run import provenance, sealed
from tests.motifs.test_cluster import word

FORMATS, METHODS = (Path(__file__).parents[2] / "docs" / name for name in ("formats.md", "methods.md"))
HOSTILE = "A&<script>alert(1)</script>"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """A dimer twice (MEME), once on the other strand; half of it (HOMER); a motif without matrix (CIS-BP)."""
    dimer = word("AGGTCAAGGTCAT", HOSTILE)
    turned = Motif("RARA::RXRA", motif.reverse_complement(dimer.ppm), 20, "MA1.1")
    readers.write_meme(tmp_path / "dimers.meme", [dimer, turned], motif.UNIFORM)
    rows = "\n".join("\t".join(map(str, row)) for row in word("AGGTCA", "").ppm)
    (tmp_path / "homer.motifs").write_text(f">AGGTCA\tRXR(NR),half/3T3L1-RXR-ChIP-Seq(GSE13511)/Homer\t6.1\n{rows}\n")
    (tmp_path / "M0002_2.00.txt").write_text("Pos\tA\tC\tG\tT\n")
    return [tmp_path / name for name in ("dimers.meme", "homer.motifs", "M0002_2.00.txt")]


def test_files_become_representatives_a_table_a_figure_and_a_record(paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = call("cluster-motifs", out, *paths)
    assert "clusters at similarity" in told
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(written) == {"clusters.meme", "clusters.tsv", "clusters.svg", "clusters.json"}
    known = collection.read("known", out / "clusters.meme", release="", groups=(), key="[motifs] database").motifs
    assert [item.width for item in known] == [13, 6]
    with open(out / "clusters.tsv", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    told_of = [(row["cluster"], row["tf"], row["family"], row["strand"], row["offset"], row["medoid"]) for row in rows]
    assert told_of == [
        ("1", HOSTILE, "", "+", "0", "true"),
        ("1", "RARA::RXRA", "", "-", "0", "false"),
        ("2", "RXR", "NR", "+", "0", "true"),
    ]
    assert [row["similarity"] for row in rows] == ["1.0000"] * 3
    drawing = ElementTree.fromstring(written["clusters.svg"])
    assert not [element for element in drawing.iter() if element.tag.endswith("script")]
    assert "3 motifs, 2 clusters; 1 motifs are alone" in [element.text for element in drawing.iter()]
    record = sealed.read_json(out / "clusters.json", version=1, mend="")
    part = re.search(r"^### clusters\.json$(.*?)^#", FORMATS.read_text(), re.MULTILINE | re.DOTALL)
    assert part
    assert {*record, "sha256"} == set(re.findall(r"^\| `(\w+)` \|", part[1], re.MULTILINE))
    assert record["settings"] == {"similarity": 0.8, "clusters": None, "representative": "medoid"}
    assert record["sources"] == {str(path): provenance.file_digest(path) for path in paths}
    assert record["files"]["clusters.meme"] == provenance.entry(out / "clusters.meme")
    call("cluster-motifs", out, *paths, "--clusters", 1, "--representative", "mean")
    [mean] = readers.read(out / "clusters.meme")
    assert (mean.identifier, mean.sites) == ("cluster1", 60)
    call("cluster-motifs", out, *paths)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".json"} == {
        name: content for name, content in written.items() if not name.endswith(".json")
    }


def test_what_cannot_be_clustered_is_said(paths: list[Path], tmp_path: Path) -> None:
    out, (dimers, _, empty) = tmp_path / "out", paths
    assert "--clusters 4: more than the 3 motifs of 3 files" in call(
        "cluster-motifs", out, *paths, "--clusters", 4, code=1
    )
    assert "exclude each other" in call("cluster-motifs", out, "--clusters", 4, "--similarity", 0.5, code=2)
    assert "go without FILES" in call("cluster-motifs", out, dimers, "--jaspar-groups", "plants", code=2)
    assert "no motif with a matrix in the 1 files; correct FILES" in call("cluster-motifs", out, empty, code=1)
    assert "group 'plant' does not exist; known:" in call("cluster-motifs", out, "--jaspar-groups", "plant", code=1)
    (tmp_path / "text.txt").write_text("hello\n")
    assert "found 'hello'; correct FILES\n" in call("cluster-motifs", out, tmp_path / "text.txt", code=1)
    other = tmp_path / "other.meme"
    readers.write_meme(other, [Motif("RARA::RXRA", np.eye(4), 20, "MA1.1")], motif.UNIFORM)
    told = call("cluster-motifs", out, dimers, other, code=1)
    assert f"motif 'MA1.1' of {other} has another matrix in {dimers}" in told.replace("\n", "")
    assert not out.exists()


def test_clusters_of_jaspar_are_those_that_the_documentation_states() -> None:
    for group in ("vertebrates", "plants"):
        known = readers.jaspar(release="JASPAR2024", collection="CORE", groups=(group,))
        tree = cluster.linkage(cluster.distances(known))
        counts = [cluster.count_at(tree, similarity) for similarity in (0.6, 0.7, 0.8, 0.9, 0.95)]
        assert [str(len(known)), *map(str, counts)] == [
            cell.strip(" *")
            for cell in re.search(rf"^\| {group} \|(.*)\|$", METHODS.read_text(), re.MULTILINE)[1].split("|")
        ]
