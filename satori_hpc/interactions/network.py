"""interactions/<method>.graphml, .nodes.tsv and .edges.tsv: the network of the TFs that were called to interact."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from satori_hpc.run import files, tsv

NODES: dict[str, str] = {
    "id": "the TF",
    "filters": "filters whose motif matches it",
    "filter_names": "these filters, with commas between",
    "degree": "TFs that it interacts with",
    "best_q": "smallest q-value of its interactions",
}
EDGES: dict[str, str] = {
    "source": "first TF in alphabetical order",
    "target": "second TF",
    "q": "q-value of the TF pair",
    "p": "its p-value",
    "auc": "its AUC",
    "filter_pairs": "tested filter pairs of these two TFs",
    "called_filter_pairs": "called ones among them",
    "n_fg": "foreground examples in which the TF pair was observed",
    "median_distance": "median distance of its scoring sites in the foreground, bp",
}


def write(path: Path, *, nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    """Write `path`.graphml, `path`.nodes.tsv and `path`.edges.tsv (`path` has no ending), each atomically.

    Args:
        path: without ending.
        nodes: columns NODES.
        edges: columns EDGES; their ends are nodes.
    """
    import networkx  # here: processes that only read or write scores need not wait for it

    graph = networkx.Graph()
    for node in nodes[list(NODES)].to_dict("records"):
        graph.add_node(tsv.escape(node.pop("id")), **_attributes(node))
    for edge in edges[list(EDGES)].to_dict("records"):
        ends = tsv.escape(edge.pop("source")), tsv.escape(edge.pop("target"))
        graph.add_edge(*ends, **_attributes(edge))
    with files.atomic_file(path.with_name(path.name + ".graphml")) as partial:
        networkx.write_graphml(graph, partial, encoding="utf-8")
    for ending, table, names in ((".nodes.tsv", nodes, NODES), (".edges.tsv", edges, EDGES)):
        tsv.write(path.with_name(path.name + ending), table, names=names)


def _attributes(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the attributes of a node or an edge as plain Python values, without missing ones."""
    return {str(name): value for name, value in row.items() if not (isinstance(value, float) and math.isnan(value))}
