"""The network is read back by networkx and pandas, whatever the names hold."""

from pathlib import Path

import networkx
import numpy as np
import pandas as pd
import pytest

from satori_hpc.interactions import network
from satori_hpc.run import tsv


def tables(names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(2)
    ends = [(a, b) for k, a in enumerate(names) for b in names[k + 1 :]]
    nodes = pd.DataFrame(
        [(name, k + 1, f"filter{k},filter{k + 9}", len(names) - 1, rng.random()) for k, name in enumerate(names)],
        columns=list(network.NODES),
    )
    edges = pd.DataFrame(
        [(*pair, rng.random() * 1e-12, 1e-300, rng.random(), 3, 2, 71, 12.5) for pair in ends],
        columns=list(network.EDGES),
    )
    return nodes, edges


def test_networkx_and_pandas_read_the_same(tmp_path: Path) -> None:
    nodes, edges = tables(["GATA1", "TAL1::TCF3", "a<b>&\"c'", "tab\there", "bell\x07", "bell\x08", " Ω\uffff "])
    network.write(tmp_path / "attention", nodes=nodes, edges=edges)
    graph = networkx.read_graphml(tmp_path / "attention.graphml")
    assert list(graph.nodes) == [
        "GATA1", "TAL1::TCF3", "a<b>&\"c'", "tab\\there", "bell\\x07", "bell\\x08", " Ω\\uffff "
    ]  # fmt: skip
    assert not graph.is_directed()
    read = {kind: pd.read_csv(tmp_path / f"attention.{kind}.tsv", sep="\t") for kind in ("nodes", "edges")}
    assert list(read["edges"].columns) == list(network.EDGES)
    assert list(read["edges"].columns[:2]) == ["source", "target"]
    assert list(read["nodes"].columns) == list(network.NODES)
    assert graph.number_of_edges() == len(edges) == len(read["edges"])
    for place, row in read["edges"].iterrows():
        for name in list(network.EDGES)[2:]:
            assert row[name] == edges.loc[place, name] == graph.edges[row["source"], row["target"]][name]
    for place, row in read["nodes"].iterrows():
        for name in list(network.NODES)[1:]:
            assert row[name] == nodes.loc[place, name] == graph.nodes[row["id"]][name]
    assert isinstance(graph.edges["GATA1", "tab\\there"]["n_fg"], int)


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    nodes, edges = tables(["A", "B"])
    edges["median_distance"] = np.nan
    network.write(tmp_path / "m", nodes=nodes, edges=edges)
    assert "median_distance" not in networkx.read_graphml(tmp_path / "m.graphml").edges["A", "B"]
    assert pd.read_csv(tmp_path / "m.edges.tsv", sep="\t")["median_distance"].isna().all()


def test_nothing_called_leaves_valid_files(tmp_path: Path) -> None:
    nodes, edges = tables([])
    network.write(tmp_path / "m", nodes=nodes, edges=edges)
    assert networkx.read_graphml(tmp_path / "m.graphml").number_of_nodes() == 0
    for kind, names in (("nodes", network.NODES), ("edges", network.EDGES)):
        read = pd.read_csv(tmp_path / f"m.{kind}.tsv", sep="\t")
        assert (len(read), list(read.columns)) == (0, list(names))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("text", "safe"), [("plain Ω 𝄞", "plain Ω 𝄞"), ("\x1f\x7f\x85", "\\x1f\x7f\x85"), ("\ud800", "\\ud800")]
)
def test_escape(text: str, safe: str) -> None:
    assert tsv.escape(text) == safe
