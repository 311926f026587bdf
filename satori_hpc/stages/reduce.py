"""reduce: from scores by example to tested interactions, a task per block of pairs on Dask.

The family of tests is declared by counts and cut-off, not by p-values; names of TFs are joined last. A reduction that
was killed goes on with the blocks that are finished.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.config import Reduce
from satori_hpc.core import pairs, rank_test, tf_pairs
from satori_hpc.errors import ArtefactError
from satori_hpc.log import logger
from satori_hpc.run import INTERACTION_ENDINGS, Run
from satori_hpc.stages import cluster, outputs, reduce_block
from satori_hpc.stages.reduce_block import Rules
from satori_hpc.stores import atomic, motifs, parts, scores, tables
from satori_hpc.stores.scores import ScoreStore
from satori_hpc.world import Runtime


def reduce(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write interactions/ of every scored method.

    Raises:
        ArtefactError: a store is missing, unfinished, damaged or of another model.
        SatoriError: too little memory, or a cluster that cannot be used.
    """
    settings = run.config.reduce
    summary: dict[str, Any] = {}
    for method in run.config.score.methods:
        for ending in INTERACTION_ENDINGS:
            run.interactions(method).with_name(method + ending).unlink(missing_ok=True)
        store = scores.open_complete(run.scores(method))
        cutoff = store.mean_score() if settings.cutoff == "mean" else float(settings.cutoff)
        folder = run.parts(method)
        columns = reduce_store(store, folder, settings=settings, cutoff=cutoff, runtime=runtime)
        _join_names(columns, run.motifs, filters=store.filters)
        tf_columns = _tf_level(columns)
        tables.write(run.interactions(method), columns)
        tables.write_tf(run.interactions(method), tf_columns)
        table, tf_table = tables.read(run.interactions(method)), tables.read_tf(run.interactions(method))
        told = outputs.write(run, method, table=table, tf_table=tf_table)
        atomic.remove_folder(folder)
        summary[method] = {
            "cutoff": None if np.isnan(cutoff) else cutoff,
            "pairs": store.pairs,
            "observed_pairs": len(columns["q"]),
            "tested_pairs": int(columns["tested"].sum()),
            "called_pairs": int(columns["called"].sum()),
            "tf_pairs": len(tf_columns["q"]),
            "called_tf_pairs": int(tf_columns["called"].sum()),
            **told,
        }
    return summary


def reduce_store(
    store: ScoreStore, folder: Path, *, settings: Reduce, cutoff: float, runtime: Runtime
) -> dict[str, np.ndarray]:
    """Test every pair of a store.

    Args:
        store: finished.
        folder: for the finished blocks; those that it has of the same work are kept. Left to the caller to remove.
        settings: the section [reduce].
        cutoff: of the scores.
        runtime: where the blocks are worked on; does not shape the result.

    Returns:
        the columns of the interaction table save the names, for every pair that was observed at all, sorted by q,
        then AUC falling.
    """
    rules = Rules(
        cutoff=cutoff,
        drop_values=settings.cutoff_rule == "value",
        min_examples=settings.min_examples,
        legacy=settings.legacy,
    )
    digest = hashlib.sha256(json.dumps([store.digest(), dataclasses.asdict(rules)]).encode()).hexdigest()
    blocks = reduce_block.blocks(store)
    rows = [last - first for first, last in blocks]
    pending = parts.prepare(folder, digest=digest, rows=rows)
    if len(pending) < len(blocks):
        logger.info("%s: %d of %d blocks are tested already", store.method, len(blocks) - len(pending), len(blocks))
    if pending:
        rank_test.warm_up()
        least, _ = reduce_block.memory_range(store)
        place = (str(store.path.resolve()), str(folder.resolve()), digest)
        with cluster.pool(runtime, tasks=len(pending), least_bytes=least) as pool:
            tasks = {
                f"testing pairs {blocks[block][0]} to {blocks[block][1] - 1} of {store.method}": (
                    *place,
                    block,
                    rules,
                    pool.task_bytes,
                    pool.keep,
                )
                for block in pending
            }
            try:
                pool.run(reduce_block.work, tasks, f"testing, {store.method}")
            finally:
                reduce_block.release()
    columns = parts.merge(folder, digest=digest, rows=rows)
    columns["filter_a"], columns["filter_b"] = pairs.filters_of(store.filters)
    _decide(columns, alpha=settings.alpha)
    observed = np.flatnonzero(columns["n_fg"] + columns["n_bg"] > 0)
    order = np.lexsort((observed, -columns["auc"][observed], columns["q"][observed]))  # NaN sorts last
    return {name: values[observed[order]] for name, values in columns.items()}


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
