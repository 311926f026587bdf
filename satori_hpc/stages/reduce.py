"""reduce: from scores by example to tested interactions, in blocks of pairs on Dask's threads.

The family of tests is declared by counts and cut-off, not by p-values; names of TFs are joined last.
"""

from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.config import Reduce
from satori_hpc.core import pairs, rank_test, tf_pairs
from satori_hpc.errors import ArtefactError
from satori_hpc.log import progress
from satori_hpc.run import Run
from satori_hpc.stores import motifs, scores, tables
from satori_hpc.stores.scores import ScoreStore
from satori_hpc.world import Runtime

BLOCKS_PER_WORKER = 8
LEGACY_MINIMUM = 2


def reduce(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write interactions/ of every scored method.

    Raises:
        ArtefactError: a store is missing, unfinished or of another model.
    """
    settings = run.config.reduce
    summary: dict[str, Any] = {}
    for method in run.config.score.methods:
        tables.remove(run.interactions(method))
        store = scores.open_complete(run.scores(method))
        cutoff = store.mean_score() if settings.cutoff == "mean" else float(settings.cutoff)
        columns = reduce_store(store, settings=settings, cutoff=cutoff, threads=runtime.cpu_threads())
        _join_names(columns, run.motifs, filters=store.filters)
        tf_columns = _tf_level(columns)
        tables.write(run.interactions(method), columns)
        tables.write_tf(run.interactions(method), tf_columns)
        summary[method] = {
            "cutoff": None if np.isnan(cutoff) else cutoff,
            "pairs": store.pairs,
            "observed_pairs": len(columns["q"]),
            "tested_pairs": int(columns["tested"].sum()),
            "called_pairs": int(columns["called"].sum()),
            "tf_pairs": len(tf_columns["q"]),
            "called_tf_pairs": int(tf_columns["called"].sum()),
        }
    return summary


def reduce_store(store: ScoreStore, *, settings: Reduce, cutoff: float, threads: int) -> dict[str, np.ndarray]:
    """Test every pair of a store.

    Args:
        store: finished.
        settings: the section [reduce].
        cutoff: of the scores.
        threads: blocks worked on at a time; does not shape the result.

    Returns:
        the columns of the interaction table save the names, for every pair that was observed at all, sorted by q,
        then AUC falling.
    """
    import dask

    rank_test.warm_up()
    starts = range(0, store.pairs, store.chunk_pairs)
    blocks = [(first, min(first + store.chunk_pairs, store.pairs)) for first in starts]
    results: list[dict[str, np.ndarray]] = []
    step = BLOCKS_PER_WORKER * threads
    for first in progress(range(0, len(blocks), step), what=f"testing, {store.method}", unit="round"):
        tasks = [
            dask.delayed(reduce_block, pure=False)(store, begin, end, settings=settings, cutoff=cutoff)
            for begin, end in blocks[first : first + step]
        ]
        results.extend(dask.compute(*tasks, scheduler="threads", num_workers=threads))
    columns = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
    columns["filter_a"], columns["filter_b"] = pairs.filters_of(store.filters)
    _decide(columns, alpha=settings.alpha)
    observed = np.flatnonzero(columns["n_fg"] + columns["n_bg"] > 0)
    order = np.lexsort((observed, -columns["auc"][observed], columns["q"][observed]))  # NaN sorts last
    return {name: values[observed[order]] for name, values in columns.items()}


def reduce_block(store: ScoreStore, first: int, last: int, *, settings: Reduce, cutoff: float) -> dict[str, np.ndarray]:
    """Counts, medians and the test of pairs [first, last), with u, auc and p where the pair belongs to the family."""
    foreground, distance = store.read_pair_block("foreground", first, last)
    background = store.read_scores("background", first, last)
    if settings.cutoff_rule == "value":
        foreground = np.where(foreground >= cutoff, foreground, np.float32(np.nan))
        background = np.where(background >= cutoff, background, np.float32(np.nan))
        distance = np.where(np.isnan(foreground), np.int16(-1), distance)
    compared = _legacy_background(foreground, background) if settings.legacy else background
    found = rank_test.mann_whitney(foreground, compared)
    n_bg = (~np.isnan(background)).sum(axis=0) if settings.legacy else found.n_bg
    least = LEGACY_MINIMUM if settings.legacy else settings.min_examples
    enough = (found.n_fg >= least) & (found.n_bg >= (1 if settings.legacy else least))
    tested = enough & (found.max_fg >= cutoff)
    return {
        "tested": tested,
        "n_fg": found.n_fg,
        "n_bg": n_bg,
        "median_fg": found.median_fg,
        "median_bg": np.where(n_bg > (1 if settings.legacy else 0), found.median_bg, np.nan),
        "max_fg": found.max_fg.astype(np.float64),
        "median_distance": rank_test.medians(distance),
        "u": np.where(tested, found.u, np.nan),
        "auc": np.where(tested, found.auc, np.nan),
        "p": np.where(tested, found.p, np.nan),
    }


def _legacy_background(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """SATORI 1: a background of at most one value becomes as many zeros as the foreground has values."""
    rows = max(len(foreground), len(background))
    replaced = np.full((rows, background.shape[1]), np.nan, dtype=np.float32)
    replaced[: len(background)] = background
    present = ~np.isnan(foreground)
    for column in np.flatnonzero((~np.isnan(background)).sum(axis=0) <= 1):
        replaced[:, column] = np.nan
        replaced[: present[:, column].sum(), column] = 0
    return replaced


def _decide(columns: dict[str, np.ndarray], *, alpha: float) -> None:
    """Add q over the tested family, and what is called."""
    tested = columns["tested"]
    columns["q"] = np.full(len(tested), np.nan)
    columns["q"][tested] = rank_test.q_values(columns["p"][tested])
    columns["called"] = tested & (np.nan_to_num(columns["q"], nan=np.inf) <= alpha)


def _join_names(columns: dict[str, np.ndarray], folder: Path, *, filters: int) -> None:
    """Add the TF and the motif q-value of both filters; "" and NaN where there is none."""
    table = motifs.read_tf(folder)
    if len(table) and int(table["filter"].max()) >= filters:
        raise ArtefactError(
            f"{folder}: names filter {int(table['filter'].max())}, the scores are of {filters} filters; "
            f"make them again: satori-hpc motifs {folder.parent}"
        )
    names = np.full(filters, "", dtype=object)
    motif_q = np.full(filters, np.nan)
    for number, tf, q, named in zip(table["filter"], table["tf"], table["q"], table["named"], strict=True):
        names[number] = tf if named else ""
        motif_q[number] = q
    for side in ("a", "b"):
        columns[f"tf_{side}"] = names[columns[f"filter_{side}"]]
        columns[f"motif_q_{side}"] = motif_q[columns[f"filter_{side}"]]


def _tf_level(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tested = columns["tested"]
    chosen = {name: columns[name][tested] for name in ("q", "p", "auc", "n_fg", "median_distance", "called")}
    return tf_pairs.combine(columns["tf_a"][tested], columns["tf_b"][tested], columns=chosen)
