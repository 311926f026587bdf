"""reduce: from scores by example to tested interactions, a task per block of pairs on Dask.

Sites are pooled by unit in every example before any test: by filter, and by the TF that filters are named after. What a
pair is compared with is the statistic of its method (`interactions.statistics`); some need a pass over the examples
first. The family of tests is determined by counts and cut-off, not by p-values. The published statistic is also
reported. A killed reduction resumes with the finished parts.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.interactions import block, instances, parts, spacing, tables
from satori_hpc.interactions.named import Named, names_of
from satori_hpc.interactions.site_pairs import NONE, Units
from satori_hpc.interactions.statistics import mann_whitney, registry
from satori_hpc.interactions.statistics.base import Rules
from satori_hpc.interactions.statistics.registry import PUBLISHED, statistic_of
from satori_hpc.log import logger
from satori_hpc.parallel import dask_pool
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import ALL_INSTANCES_ENDINGS, DIFFERENTIAL_ENDINGS, INTERACTION_ENDINGS, Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore


def check(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Refuse a statistic that scores were not made for, and a cluster that is not there, before tables are removed.

    Raises:
        ArtefactError: a store cannot be used, or not for this statistic.
        SatoriError: there is no such scheduler file.
    """
    for method in run.config.score.methods:
        store = score_store.open_complete(run.scores(method))
        registry.test_of(statistic_of(run.config, method)).facts(store, run.config.reduce)
    dask_pool.must_exist(runtime)
    return {}


def reduce(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write interactions/ of every scored method.

    Raises:
        ArtefactError: a store is missing, unfinished, damaged or of another model.
        SatoriError: too little memory, or a cluster that cannot be used.
    """
    summary: dict[str, Any] = {}
    run.record("differential").unlink(missing_ok=True)  # its tables are of the old ones, and go with them
    for method in run.config.score.methods:
        store = score_store.open_complete(run.scores(method))
        summary[method] = _reduce_method(run, store, method, runtime)
    return summary


def _reduce_method(run: Run, store: ScoreStore, method: str, runtime: Runtime) -> dict[str, Any]:
    settings, statistic, folder = run.config.reduce, statistic_of(run.config, method), run.parts(method)
    named = names_of(run.motifs, store, level=settings.level)
    widths = () if settings.legacy else tuple(store.widths().tolist())

    def tested(units: Units, level: str, statistic: str) -> Reduced:
        return reduce_store(store, folder / level, settings=settings, runtime=runtime, statistic=statistic, units=units)

    by_filter = tested(Units.motifs(store.motifs, settings.combine), "filters", statistic)
    by_tf = tested(named.units(settings.combine, widths), "tfs", statistic)
    published = by_filter if statistic == PUBLISHED else tested(Units.motifs(store.motifs), "published", PUBLISHED)

    columns = named.join(by_filter.columns)
    _join_published(columns, published.columns, motifs=store.motifs)
    tf_columns = _tf_table(by_tf.columns, named, columns, alpha=settings.alpha)
    for ending in INTERACTION_ENDINGS + DIFFERENTIAL_ENDINGS + ALL_INSTANCES_ENDINGS:
        run.interactions(method).with_name(method + ending).unlink(missing_ok=True)
    tables.write(run.interactions(method), columns, {"statistic": statistic, **by_filter.told})
    about = {"statistic": statistic, "level": settings.level, **by_tf.told}
    tables.write_tf(run.interactions(method), tf_columns, about)
    table, tf_table = tables.read(run.interactions(method)), tables.read_tf(run.interactions(method))
    _warn_of_untested(run, store, by_filter, named, tf_pairs=len(tf_columns["q"]))
    shown = by_tf if len(tf_table) else by_filter
    _warn_of_many(store, shown)
    chosen: dict[str, Any] = {"table": table, "tf_table": tf_table, "tfs": named.tfs}
    told = instances.write(run, method, **chosen, rules=shown.rules, cutoff=shown.cutoff)
    told |= spacing.write(run, method, **chosen, rules=shown.rules, cutoff=shown.cutoff)
    if settings.instances == "all":
        told["instances"] = instances.write_all(run, method, **chosen, rules=shown.rules, cutoff=shown.cutoff)
    files.remove_folder(folder)
    return {
        "statistic": statistic,
        "share_at_maximum": saturated_shares(store, entropy=run.config.train.entropy),
        **shown.told,  # of filters where no two TFs are named
        "cutoff": by_filter.cutoff if np.isfinite(by_filter.cutoff) else None,
        "pairs": pairs.count(store.motifs),
        "observed_pairs": len(columns["q"]),
        "tested_pairs": int(columns["tested"].sum()),
        "called_pairs": int(columns["called"].sum()),
        "published_called_pairs": int(np.sum(columns["published_q"] <= settings.alpha)),
        "tf_pairs": len(tf_columns["q"]),
        "called_tf_pairs": int(tf_columns["called"].sum()),
        "published_called_tf_pairs": int(tf_columns["published_called"].sum()),
        **told,
    }


@dataclass(frozen=True)
class Reduced:
    """Tests of all pairs of units of a store.

    Attributes:
        columns: of the interaction table save the names, and unit_a, unit_b, for every pair that was observed at all,
            sorted by q, then p, then AUC falling.
        cutoff: of the scores; NaN where it is their mean and there are none.
        told: the statistic's summary of all pairs.
        rules: of the tests.
    """

    columns: dict[str, np.ndarray]
    cutoff: float
    told: dict[str, Any]
    rules: Rules


def reduce_store(
    store: ScoreStore,
    folder: Path,
    *,
    settings: Reduce,
    runtime: Runtime,
    statistic: str = PUBLISHED,
    units: Units | None = None,
) -> Reduced:
    """Test every pair of units of a store.

    Args:
        store: finished.
        folder: for the finished blocks; those that it has of the same work are kept. Left to the caller to remove.
        settings: the section [reduce].
        runtime: where the blocks are computed; does not change the result.
        statistic: its name.
        units: whose pairs are tested; default: the motifs.

    Raises:
        ArtefactError: the store lacks arrays that the statistic needs, or is damaged.
    """
    rules = registry.rules_of(store, settings, statistic, units or Units.motifs(store.motifs, settings.combine))
    if not rules.units.pairs:
        return Reduced(_nothing(rules), rules.cutoff if rules.cutoff is not None else float("nan"), {}, rules)
    told = [block.COLUMNS_VERSION, store.digest(), dataclasses.asdict(rules)]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    rows = [last - first for first, last in block.blocks(store, rules)]
    _work(store, folder, digest=digest, rules=rules, runtime=runtime)
    columns = parts.merge(folder, digest=digest, rows=rows)
    columns["unit_a"], columns["unit_b"] = pairs.filters_of(rules.units.count)
    about = registry.test_of(statistic).conclude(columns, settings, rules)
    for name in ("redundancy_q", "auc_low", "auc_high"):
        columns.setdefault(name, np.full(len(columns["p"]), np.nan))
    _decide(columns, alpha=settings.alpha)
    share = mann_whitney.share_true(columns["p"][columns["tested"]])
    about = {"share_true": None if share is None else round(share, 3), **about}  # some statistics know better
    observed = np.flatnonzero(columns["n_fg"] + columns["n_bg"] > 0)
    keys = [-columns[name][observed] for name in ("auc", "neg_log10_p")]
    order = np.lexsort((observed, *keys, columns["q"][observed]))  # NaN sorts last
    cutoff = block.cutoff_of(
        rules, block.load(str(folder.resolve()), digest, tuple(block.sizes(store, rules)), rules, store)
    )
    return Reduced({name: values[observed[order]] for name, values in columns.items()}, cutoff, about, rules)


def _nothing(rules: Rules) -> dict[str, np.ndarray]:
    """Return empty columns."""
    whole = ("unit_a", "unit_b", "n_fg", "n_bg")
    names = (*whole, *tables.NUMBERS, "redundancy_q", "q")
    columns = {name: np.zeros(0, np.int64 if name in whole else np.float64) for name in names}
    return columns | {name: np.zeros(0, bool) for name in ("tested", "called")}


def _work(store: ScoreStore, folder: Path, *, digest: str, rules: Rules, runtime: Runtime) -> None:
    """Run the unfinished tasks: partitions of examples, if the statistic needs them, then the blocks of pairs."""
    blocks = block.blocks(store, rules)
    pending = parts.prepare(folder, digest=digest, rows=[last - first for first, last in blocks])
    if len(pending) < len(blocks):
        logger.info("%s: %d of %d blocks are tested already", store.method, len(blocks) - len(pending), len(blocks))
    if not pending:
        return
    lines = block.sizes(store, rules)
    examples = parts.prepare(block.folder_of(folder), digest=digest, rows=lines) if lines else []
    block.warm_up()
    least, _ = block.memory_range(store, rules)
    if examples:
        least = max(least, block.least_bytes(store, rules))
    place = (str(store.path.resolve()), str(folder.resolve()), digest)
    with dask_pool.pool(runtime, tasks=max(len(pending), len(examples)), least_bytes=least) as pool:
        if examples:
            items = block.described_items(store, rules)
            tasks: dask_pool.Tasks = {
                f"examples of {items[number][0]} partition {items[number][1]} of {store.method}": (
                    *place,
                    number,
                    rules,
                )
                for number in examples
            }
            pool.run(block.work_examples, tasks, f"examples, {store.method}")
        tasks = {
            f"testing pairs {blocks[number][0]} to {blocks[number][1] - 1} of {store.method}": (
                *place,
                number,
                rules,
                pool.task_bytes,
                pool.keep,
            )
            for number in pending
        }
        try:
            pool.run(block.work, tasks, f"testing, {store.method}")
        finally:
            block.release()


def _join_published(columns: dict[str, np.ndarray], published: dict[str, np.ndarray], *, motifs: int) -> None:
    """Add p and q of the published test of the same filter pairs; NaN where it does not test them."""
    number = pairs.index(*(columns[f"filter_{side}"].astype(np.int64) for side in "ab"), filters=motifs)
    theirs = pairs.index(*(published[f"unit_{side}"].astype(np.int64) for side in "ab"), filters=motifs)
    for name in ("p", "q", "neg_log10_p", "auc"):
        every = np.full(pairs.count(motifs), np.nan)
        every[theirs] = published[name]
        columns[f"published_{name}"] = every[number]


def _tf_table(
    columns: dict[str, np.ndarray], named: Named, by_filter: dict[str, np.ndarray], *, alpha: float
) -> dict[str, np.ndarray]:
    """Return the table of TF pairs: the tested ones of pooled sites, with filter pairs and the calls as published.

    As published a TF pair is called when any of its filter pairs is: with many filters per TF false calls accumulate.
    """
    columns = {name: values[columns["tested"]] for name, values in columns.items()}
    tfs = np.array([*named.tfs, ""], dtype=object)
    unit_a, unit_b = (columns.pop(f"unit_{side}").astype(np.int64) for side in "ab")
    number = pairs.index(unit_a, unit_b, filters=len(named.tfs))
    first, second = (named.unit[by_filter[f"filter_{side}"]] for side in "ab")
    mine = (first != NONE) & (second != NONE) & (first != second)
    owner = pairs.index(np.minimum(first, second)[mine], np.maximum(first, second)[mine], filters=len(named.tfs))
    every = pairs.count(len(named.tfs))
    q = np.full(every, np.inf)
    np.minimum.at(q, owner, np.nan_to_num(by_filter["published_q"][mine], nan=np.inf))
    for name, of in (("filter_pairs", "tested"), ("called_filter_pairs", "called")):
        columns[name] = np.bincount(owner, by_filter[of][mine], minlength=every).astype(np.int64)[number]
    columns["published_q"] = np.where(np.isfinite(q), q, np.nan)[number]
    return columns | {"published_called": q[number] <= alpha, "tf_a": tfs[unit_a], "tf_b": tfs[unit_b]}


def _warn_of_untested(run: Run, store: ScoreStore, found: Reduced, named: Named, *, tf_pairs: int) -> None:
    """Warn where no TF pair was tested, with the numbers and the setting that decides it.

    Args:
        run: its settings.
        store: the scores.
        found: the tests of the filter pairs that were observed at all.
        named: the names of the filters.
        tf_pairs: tested ones.
    """
    tested = found.columns["tested"]
    if not tested.any() and not tf_pairs:
        logger.warning(
            "%s: nothing is tested: %s", store.method, _why_untested(found, store, settings=run.config.reduce)
        )
    elif not tf_pairs:
        logger.warning(
            "%s: %d filter pairs are tested, but no pair of two different TFs: %d of %d filters are named after a TF. "
            "[motifs] max_match_q, min_match_bits and database decide which are",
            store.method,
            tested.sum(),
            int(np.sum(named.tf != "")),
            store.motifs,
        )


def _warn_of_many(store: ScoreStore, found: Reduced) -> None:
    """Warn where most tested pairs look true: then the test hardly tells interactions from something more common."""
    share = found.told.get("share_true") or 0.0
    if share > mann_whitney.MOST:
        logger.warning(
            "%s: about %.0f %% of the %d tested pairs look true to the test %s (share of the null %.0f %%). That is "
            "rare among pairs of motifs; the test may see what single motifs do. Compare with the tests without a "
            "network (evaluate), and with another reduce.statistic or score.methods",
            store.method, 100 * share, found.columns["tested"].sum(), found.rules.statistic, 100 * (1 - share),
        )  # fmt: skip


def _why_untested(found: Reduced, store: ScoreStore, *, settings: Reduce) -> str:
    """Explain how far pairs got on the way to a test, up to the step that none passed, and the deciding setting."""
    columns, rules, cutoff = found.columns, found.rules, found.cutoff
    both = registry.test_of(rules.statistic).both_sides and not rules.legacy
    least = 2 if rules.legacy else settings.min_examples
    most = [
        f"{columns[name].max(initial=0)} of the {store.partitions(group)[-1][1]} {group} examples"
        for name, group in zip(("n_fg", "n_bg"), GROUPS, strict=True)
    ]
    enough = (np.minimum(columns["n_fg"], columns["n_bg"]) if both else columns["n_fg"]) >= least
    reached = enough & (columns["max_fg"] >= cutoff)
    near = f" at most {rules.max_distance} bp apart" if rules.max_distance else ""
    above = " with scores from the cut-off on" if settings.cutoff_rule == "value" and np.isfinite(cutoff) else ""
    steps = (
        (
            len(enough),
            f"{len(enough)} of {rules.units.pairs} filter pairs are observed in any example{near}{above}",
            "[motifs] threshold decides where filters are active" + (", reduce.max_distance what is near" * bool(near)),
        ),
        (
            enough.sum(),
            f"{enough.sum()} of them in at least {least} {'on each side' if both else 'of the foreground'} (the most: "
            f"{' and '.join(most if both else most[:1])})",
            "reduce.min_examples decides; lower it, or score more examples ([score] split, include_mispredicted, "
            "and the bounds on "
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


SATURATED = 0.5  # share of scores at the maximum beyond which the median of any pair is the maximum
NEAR = 1e-3  # of the maximum: scores so close to it are at it


def saturated_shares(store: ScoreStore, *, entropy: float) -> dict[str, float | None]:
    """Return the share of each side's filter-pair scores at the maximum of both, from a sample; warn if it is large.

    Args:
        store: finished.
        entropy: weight of the entropy loss in training; a smaller one might help.
    """
    units = Units.motifs(store.motifs)
    sample = {group: block.sample(store, units, group) for group in GROUPS}
    most = float(max((values.max(initial=-np.inf) for values in sample.values()), default=-np.inf))
    shares = {
        group: float((values >= most - NEAR * abs(most)).mean()) if len(values) else None
        for group, values in sample.items()
    }
    if max(share or 0 for share in shares.values()) > SATURATED:
        logger.warning(
            "%s is saturated: %s scores are at the maximum, %.4g; above %.0f %% the median of a pair is the maximum, "
            "whatever the pair does, and ranks are mostly ties. Score by another method too (epistasis, dfim), or "
            "train with a smaller %slearning_rate",
            store.method,
            " and ".join(f"{100 * (share or 0):.0f} % of the {group}" for group, share in shares.items()),
            most,
            100 * SATURATED,
            "train.entropy or " if entropy else "",
        )
    return shares


def _decide(columns: dict[str, np.ndarray], *, alpha: float) -> None:
    """Add q over the tested family, and the calls."""
    tested = columns["tested"]
    columns["q"] = np.full(len(tested), np.nan)
    columns["q"][tested] = mann_whitney.q_values(columns["p"][tested])
    columns["called"] = tested & (np.nan_to_num(columns["q"], nan=np.inf) <= alpha)
