"""The network of TFs: nodes are TFs, edges are called TF pairs. The layout is ours and draws no random number."""

import numpy as np
import pandas as pd

from satori_hpc.evaluation import calls
from satori_hpc.report import figures, tables

MAX_EDGES = 40
ROUNDS = 400


def strongest_edges(tf_pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the called TF pairs strongest first; at most MAX_EDGES, so that the drawing stays readable."""
    called = tf_pairs[tf_pairs["called"].astype(bool)]
    return tables.strongest_first(called).head(MAX_EDGES)


def layout(nodes: int, edges: np.ndarray) -> np.ndarray:
    """Return positions (nodes, 2) in about the unit square, after Fruchterman and Reingold (1991), from a circle.

    Args:
        nodes: their number.
        edges: int (E, 2) node numbers.
    """
    angle = 2 * np.pi * np.arange(nodes) / max(nodes, 1)
    # A circle that is not quite one: perfect symmetry would leave forces in balance that ought to move.
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + 0.05 * np.sin(7 * np.arange(nodes)))[:, None]
    ideal = 1.6 / np.sqrt(max(nodes, 1))
    for step in np.linspace(0.15, 0.004, ROUNDS):
        apart = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(apart, axis=2), 1e-3)
        push = (apart * (ideal**2 / distance**2)[:, :, None]).sum(axis=1)
        along = places[edges[:, 0]] - places[edges[:, 1]]
        pull = along * (np.linalg.norm(along, axis=1, keepdims=True) / ideal)
        np.add.at(push, edges[:, 0], -pull)
        np.add.at(push, edges[:, 1], pull)
        push -= places * 0.9  # keeps separate parts together
        length = np.maximum(np.linalg.norm(push, axis=1, keepdims=True), 1e-9)
        places = places + push / length * np.minimum(length, step)
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / np.maximum(high - low, 1e-9)


def draw(edges: pd.DataFrame, known: set[tuple[str, str]] | None, *, name: str) -> str:
    """Return the network of `edges` (rows of the TF table); known pairs, if any are known, in the accent colour.

    An <svg>.
    """
    tfs = sorted({*edges["tf_a"], *edges["tf_b"]})
    number = {tf: i for i, tf in enumerate(tfs)}
    ends = np.array([(number[a], number[b]) for a, b in zip(edges["tf_a"], edges["tf_b"], strict=True)])
    places = layout(len(tfs), ends)
    effect = np.clip(edges["auc"].to_numpy(dtype=float) - 0.5, 0, None)
    widths = 0.8 + 4.2 * effect / max(float(effect.max(initial=0.0)), 1e-9)
    degree = np.bincount(ends.ravel(), minlength=len(tfs))
    with figures.look():
        drawing = figures.figure(7.4, 5.4)
        axis = drawing.subplots()
        for (a, b), width, tf_a, tf_b in zip(ends, widths, edges["tf_a"], edges["tf_b"], strict=True):
            right = known is None or calls.key(tf_a, tf_b) in known
            axis.plot(
                *places[[a, b]].T, color=figures.ACCENT if right else "#b9bec6", linewidth=width,
                alpha=0.75, solid_capstyle="round", zorder=2 if right else 1,
            )  # fmt: skip
        axis.scatter(
            places[:, 0],
            places[:, 1],
            s=70 + 26 * degree,
            color="white",
            edgecolor=figures.INK,
            linewidth=1.1,
            zorder=3,
        )
        for tf, (x, y) in zip(tfs, places, strict=True):
            axis.annotate(
                tf, (x, y), xytext=(0, 9 + 0.35 * degree[number[tf]] ** 0.5), textcoords="offset points",
                ha="center", va="bottom", fontsize=8.5, fontweight="bold", zorder=4,
                bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            )  # fmt: skip
        if known is not None:
            axis.plot([], [], color=figures.ACCENT, linewidth=3, label="implanted")
            axis.plot([], [], color="#b9bec6", linewidth=3, label="not implanted")
            axis.legend(loc="lower right")
        axis.set_axis_off()
        axis.margins(0.1)
        return figures.to_svg(drawing, name)
