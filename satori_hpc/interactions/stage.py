"""reduce: from scores by example to tested interactions, a task per block of pairs on Dask.

What a pair is compared with is the statistic of its method (`interactions.statistics.registry`): its scores in the
background, the other pairs of the same sequences, or permuted sequences; the latter two need a pass over the rows
first. The family of tests is declared by counts and cut-off, not by p-values; names of TFs are joined last. A reduction
that was killed goes on with what is finished.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions import block, instances, parts, spacing, tables, tf_pairs
from satori_hpc.interactions.block import Rules
from satori_hpc.interactions.statistics import mann_whitney, signed_rank
from satori_hpc.interactions.statistics.registry import BACKGROUND, NULL, WITHIN, cutoff_of, statistic_of
from satori_hpc.interactions.statistics.signed_rank import Null
from satori_hpc.log import logger
from satori_hpc.parallel import dask_pool
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import DIFFERENTIAL_ENDINGS, INTERACTION_ENDINGS, Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store


def check(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Refuse a statistic that scores were not made for, and a cluster that is not there, before tables are removed.

    Raises:
        ArtefactError: a store cannot be used, or not for this statistic.
        SatoriError: there is no such scheduler file.
    """
    for method in run.config.score.methods:
        _must_suffice(score_store.open_complete(run.scores(method)), statistic_of(run.config, method))
    dask_pool.must_exist(runtime)
    return {}


def reduce(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write interactions/ of every scored method.

    Raises:
        ArtefactError: a store is missing, unfinished, damaged or of another model.
        SatoriError: too little memory, or a cluster that cannot be used.
    """
    settings = run.config.reduce
    summary: dict[str, Any] = {}
    run.record("differential").unlink(missing_ok=True)  # its tables are of the old ones, and go with them
    for method in run.config.score.methods:
        store = score_store.open_complete(run.scores(method))
        statistic = statistic_of(run.config, method)
        cutoff = cutoff_of(settings, statistic, store)
        folder = run.parts(method)
        columns, null = reduce_store(
            store, folder, settings=settings, cutoff=cutoff, runtime=runtime, statistic=statistic
        )
        for ending in INTERACTION_ENDINGS + DIFFERENTIAL_ENDINGS:
            run.interactions(method).with_name(method + ending).unlink(missing_ok=True)
        _join_names(columns, run.motifs, filters=store.filters)
        tf_columns = _tf_level(columns, pooled=statistic != BACKGROUND, alpha=settings.alpha)
        tables.write(run.interactions(method), columns)
        tables.write_tf(run.interactions(method), tf_columns)
        table, tf_table = tables.read(run.interactions(method)), tables.read_tf(run.interactions(method))
        _warn_of_untested(run, store, columns, tf_pairs=len(tf_columns["q"]), cutoff=cutoff, statistic=statistic)
        told = instances.write(run, method, table=table, tf_table=tf_table)
        told |= spacing.write(run, method, table=table, tf_table=tf_table)
        files.remove_folder(folder)
        summary[method] = {
            "statistic": statistic,
            **({"calibration": _in_words(settings, null)} if statistic == WITHIN else {}),
            "cutoff": cutoff if np.isfinite(cutoff) else None,
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
    store: ScoreStore, folder: Path, *, settings: Reduce, cutoff: float, runtime: Runtime, statistic: str = BACKGROUND
) -> tuple[dict[str, np.ndarray], Null | None]:
    """Test every pair of a store.

    Args:
        store: finished.
        folder: for the finished blocks; those that it has of the same work are kept. Left to the caller to remove.
        settings: the section [reduce].
        cutoff: of the scores.
        runtime: where the blocks are worked on; does not shape the result.
        statistic: background, within-sequence or null.

    Returns:
        the columns of the interaction table save the names, for every pair that was observed at all, sorted by q,
        then p, then AUC falling; and the empirical null where p-values are held against one.
    """
    _must_suffice(store, statistic)
    rules = Rules(
        statistic=statistic,
        cutoff=cutoff,
        drop_values=settings.cutoff_rule == "value",
        min_examples=settings.min_examples,
        legacy=settings.legacy,
        max_distance=settings.max_distance if statistic == WITHIN else 0,
    )
    told = [block.COLUMNS_VERSION, store.digest(), dataclasses.asdict(rules)]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    rows = [last - first for first, last in block.blocks(store)]
    _work(store, folder, digest=digest, rules=rules, runtime=runtime)
    columns = parts.merge(folder, digest=digest, rows=rows)
    columns["filter_a"], columns["filter_b"] = pairs.filters_of(store.filters)
    null = _calibrate(columns, settings) if statistic == WITHIN else None
    _decide(columns, alpha=settings.alpha)
    observed = np.flatnonzero(columns["n_fg"] + columns["n_bg"] > 0)
    keys = [-columns[name][observed] for name in ("auc", "neg_log10_p")]
    order = np.lexsort((observed, *keys, columns["q"][observed]))  # NaN sorts last
    return {name: values[observed[order]] for name, values in columns.items()}, null


def _must_suffice(store: ScoreStore, statistic: str) -> None:
    if statistic == NULL and "null" not in store.arrays:
        run_path = store.path.parent.parent
        raise ArtefactError(
            f"{store.path}: has no scores of permuted sequences, which reduce.statistic = 'null' needs; set "
            f"null = true in [score.dfim] of run.toml, then: satori-hpc score {quoted(run_path)} && "
            f"satori-hpc reduce {quoted(run_path)}"
        )


def _work(store: ScoreStore, folder: Path, *, digest: str, rules: Rules, runtime: Runtime) -> None:
    """Do what is not done: first partitions of rows, where the statistic asks for them, then the blocks of pairs."""
    blocks = block.blocks(store)
    pending = parts.prepare(folder, digest=digest, rows=[last - first for first, last in blocks])
    if len(pending) < len(blocks):
        logger.info("%s: %d of %d blocks are tested already", store.method, len(blocks) - len(pending), len(blocks))
    if not pending:
        return
    lines = block.sizes(store, rules.statistic)
    rows = parts.prepare(block.folder_of(folder), digest=digest, rows=lines) if lines else []
    block.warm_up()
    least, _ = block.memory_range(store, rules.statistic)
    if rows:
        least = max(least, block.least_bytes(store, rules.statistic))
    place = (str(store.path.resolve()), str(folder.resolve()), digest)
    with dask_pool.pool(runtime, tasks=max(len(pending), len(rows)), least_bytes=least) as pool:
        if rows:
            tasks: dask_pool.Tasks = {
                f"examples of foreground partition {partition} of {store.method}": (
                    *place,
                    partition,
                    rules.statistic,
                    rules.least,
                    pool.task_bytes,
                )
                for partition in rows
            }
            pool.run(block.work_rows, tasks, f"examples, {store.method}")
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
            pool.run(block.work, tasks, f"testing, {store.method}")
        finally:
            block.release()


def _warn_of_untested(
    run: Run, store: ScoreStore, columns: dict[str, np.ndarray], *, tf_pairs: int, cutoff: float, statistic: str
) -> None:
    """Warn where no TF pair was tested, with the numbers and the setting that decides it.

    Args:
        run: its settings.
        store: the scores.
        columns: of the table, of the pairs that were observed at all.
        tf_pairs: tested ones.
        cutoff, statistic: of the method.
    """
    tested = columns["tested"]
    if not tested.any():
        why = _why_untested(columns, store, settings=run.config.reduce, cutoff=cutoff, statistic=statistic)
        logger.warning("%s: nothing is tested: %s", store.method, why)
    elif not tf_pairs:
        named = {int(f) for side in "ab" for f in columns[f"filter_{side}"][columns[f"tf_{side}"] != ""]}
        logger.warning(
            "%s: %d filter pairs are tested, but no pair of two different TFs: %d of %d filters are named after a TF. "
            "[motifs] max_q, min_match_bits and database decide which are",
            store.method,
            tested.sum(),
            len(named),
            store.filters,
        )


def _why_untested(
    columns: dict[str, np.ndarray], store: ScoreStore, *, settings: Reduce, cutoff: float, statistic: str
) -> str:
    """How far pairs got on the way to a test (`reduce_block`), up to the step that none passed, and what decides it."""
    legacy = settings.legacy and statistic == BACKGROUND
    both = statistic == BACKGROUND and not legacy
    least = 2 if legacy else settings.min_examples
    most = [
        f"{columns[name].max(initial=0)} of the {store.partitions(group)[-1][1]} {group} examples"
        for name, group in zip(("n_fg", "n_bg"), GROUPS, strict=True)
    ]
    enough = (np.minimum(columns["n_fg"], columns["n_bg"]) if both else columns["n_fg"]) >= least
    reached = enough & (columns["max_fg"] >= cutoff)
    near = f" at most {settings.max_distance} bp apart" if statistic == WITHIN and settings.max_distance else ""
    above = " with scores from the cut-off on" if settings.cutoff_rule == "value" and np.isfinite(cutoff) else ""
    steps = (
        (
            len(enough),
            f"{len(enough)} of {store.pairs} filter pairs are observed in any example{near}{above}",
            "[motifs] threshold decides where filters are active" + (", reduce.max_distance what is near" * bool(near)),
        ),
        (
            enough.sum(),
            f"{enough.sum()} of them in at least {least} {'on each side' if both else 'of the foreground'} (the most: "
            f"{' and '.join(most if both else most[:1])})",
            "reduce.min_examples decides; lower it, or score more examples ([score] split, use_all, and the bounds on "
            "predictions)",
        ),
        (reached.sum(), f"{reached.sum()} of them reach the cut-off, {cutoff:.3g}", "reduce.cutoff decides"),
        (
            0,
            "0 of them in as many sequences with three observed pairs or more, as a comparison within sequences needs",
            "[motifs] threshold decides how many are observed, reduce.statistic what they are compared with",
        ),
    )
    last = next(place for place, (count, _, _) in enumerate(steps) if not count)
    return f"{', '.join(said for _, said, _ in steps[: last + 1])}. {steps[last][2]}"


def _calibrate(columns: dict[str, np.ndarray], settings: Reduce) -> Null | None:
    """Hold p-values of the signed-rank test against the scatter of the effects of pairs that do nothing of their own.

    These are the pairs where their sites are too far apart to be tested, or if any distance is, most tested pairs.
    """
    near = [columns["auc"], columns.pop("auc_error"), columns.pop("nonzero")]
    far = [columns.pop(f"far_{name}") for name in ("auc", "error", "nonzero")]
    if settings.calibration != "empirical":
        return None
    family = np.flatnonzero(columns["tested"] & (near[2] > 0))
    effect, error = signed_rank.effects(*(values[family] for values in near))
    far_effect, far_error = signed_rank.effects(*(values[far[2] > 0] for values in far))
    null = signed_rank.fit(far_effect, far_error) if settings.max_distance else signed_rank.fit(effect, error)
    if null is not None:
        # Never less strict than the test itself: a pair must do more than nothing, and more than most pairs do.
        level = signed_rank.neg_log10_p(effect, error, null)
        p, log_p = columns["p"].copy(), columns["neg_log10_p"].copy()  # what Parquet gives may not be written to
        p[family] = np.maximum(p[family], 10.0**-level)
        log_p[family] = np.minimum(log_p[family], level)
        columns |= {"p": p, "neg_log10_p": log_p}
    return null


def _in_words(settings: Reduce, null: Null | None) -> str:
    if settings.calibration != "empirical":
        return "theoretical"
    what = "far pairs" if settings.max_distance else "tested pairs"
    if null is None:
        return f"theoretical, for there are fewer than {signed_rank.LEAST_PAIRS} {what}"
    return f"empirical, effects of {what} {null.centre:.3f} +- {null.scale:.3f} standard deviations"


def _decide(columns: dict[str, np.ndarray], *, alpha: float) -> None:
    """Add q over the tested family, and what is called."""
    tested = columns["tested"]
    columns["q"] = np.full(len(tested), np.nan)
    columns["q"][tested] = mann_whitney.q_values(columns["p"][tested])
    columns["called"] = tested & (np.nan_to_num(columns["q"], nan=np.inf) <= alpha)


def _join_names(columns: dict[str, np.ndarray], folder: Path, *, filters: int) -> None:
    """Add the TF and the motif q-value of both filters; "" and NaN where there is none."""
    table = motif_store.read_tf(folder)
    if len(table) and int(table["filter"].max()) >= filters:
        raise ArtefactError(
            f"{folder}: names filter {int(table['filter'].max())}, the scores are of {filters} filters; "
            f"make them again: satori-hpc motifs {quoted(folder.parent)}"
        )
    names = np.full(filters, "", dtype=object)
    motif_q = np.full(filters, np.nan)
    for number, tf, q, named in zip(table["filter"], table["tf"], table["q"], table["named"], strict=True):
        names[number] = tf if named else ""
        motif_q[number] = q
    for side in ("a", "b"):
        columns[f"tf_{side}"] = names[columns[f"filter_{side}"]]
        columns[f"motif_q_{side}"] = motif_q[columns[f"filter_{side}"]]


def _tf_level(columns: dict[str, np.ndarray], *, pooled: bool, alpha: float) -> dict[str, np.ndarray]:
    """The TF pairs; pooled: tested as a family of their own, else called with any of their filter pairs."""
    tested = columns["tested"]
    chosen = {name: columns[name][tested] for name in tf_pairs.COLUMNS}
    first, second = columns["tf_a"][tested], columns["tf_b"][tested]
    return tf_pairs.combine(first, second, columns=chosen, pooled_alpha=alpha if pooled else None)
