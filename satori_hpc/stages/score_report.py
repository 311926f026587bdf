"""What scoring takes, told before, and what is in the stores, told after."""

from typing import Any

import numpy as np

from satori_hpc import provenance
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stages.score_memory import Need
from satori_hpc.stores.score_plan import GROUPS
from satori_hpc.stores.scores import ScoreStore

SATURATED = 0.5  # share of scores at the maximum beyond which the median of a pair is the maximum, whatever it does
NEAR = 1e-3  # of the maximum: scores so close to it are at it


def needed(store: ScoreStore, need: Need) -> dict[str, Any]:
    """What scoring a store takes, for people and programs."""
    examples = {group: store.partitions(group)[-1][1] for group in GROUPS}
    parts = {group: len(store.partitions(group)) for group in GROUPS}
    rows = {group: store.shard_rows(group) for group in GROUPS}
    uncompressed = sum(parts[group] * rows[group] for group in GROUPS) * store.pairs * store.pair_bytes
    return {
        "partitions": parts,
        "examples": examples,
        "pairs": store.pairs,
        "shard_examples": rows,
        "bytes_uncompressed": uncompressed,
        "bytes_expected": uncompressed // 2,  # measured: .48 to .56, two thirds of the pairs observed
        "files": store.expected_files(),
        "workers": need.workers,
        "slice": need.slice,
        "memory_per_rank": need.as_dict(),
        # Of the leader, and of every task of a job array: they choose the examples first.
        "memory_while_planning": provenance.process_peak_rss_bytes(),
    }


def summary(run: Run, done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is in the finished stores; warns of few examples and of scores at their maximum.

    Args:
        run: whose stores they are.
        done: {method: what else to say of it}.

    Returns:
        examples of both sides, what is in the store of each method, and "files": {shard relative to the run: size and
        SHA-256}.
    """
    stores = {method: ScoreStore(run.scores(method)) for method in done}
    any_store = next(iter(stores.values()))
    examples = {group: any_store.partitions(group)[-1][1] for group in GROUPS}
    _warn_of_few(run, examples)
    saturated = {method: _saturated_shares(store) for method, store in stores.items()}
    return {
        **{f"{group}_examples": count for group, count in examples.items()},
        **{
            method: {**_content(store), "share_at_maximum": saturated[method], **done[method]}
            for method, store in stores.items()
        },
        "files": {
            (store.path.relative_to(run.path) / name).as_posix(): entry
            for store in stores.values()
            for name, entry in store.files().items()
        },
    }


def _warn_of_few(run: Run, examples: dict[str, int]) -> None:
    least = run.config.reduce.min_examples
    for group, count in examples.items():
        if count < least:
            logger.warning(
                "only %d %s examples are scored; reduce.min_examples asked for %d on each side. Take more: [score] "
                "split (now %r), use_all, max_examples and the bounds on predictions say which are taken",
                count,
                group,
                least,
                run.config.score.split,
            )


def _saturated_shares(store: ScoreStore) -> dict[str, float | None]:
    """Share of each side's observed scores that are at the largest one of both, from a sample; warns of many."""
    sample = {group: store.sample(group) for group in GROUPS}
    most = float(max((values.max(initial=-np.inf) for values in sample.values()), default=-np.inf))
    shares = {
        group: float((values >= most - NEAR * abs(most)).mean()) if len(values) else None
        for group, values in sample.items()
    }
    if max(share or 0 for share in shares.values()) > SATURATED:
        logger.warning(
            "%s is saturated: %s scores are at the maximum, %.4g; above %.0f %% the median of a pair is the maximum, "
            "whatever the pair does, and ranks are mostly ties. Score by another method too (epistasis, dfim), or "
            "train with a smaller train.entropy or learning_rate",
            store.method,
            " and ".join(f"{100 * (share or 0):.0f} % of the {group}" for group, share in shares.items()),
            most,
            100 * SATURATED,
        )
    return shares


def _content(store: ScoreStore) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for group in GROUPS:
        markers = store.markers(group)
        examples = store.partitions(group)[-1][1]
        observed = sum(marker.observed for marker in markers)
        found[group] = {
            "observed_share": round(observed / (examples * store.pairs), 6),
            "mean_score": store.mean_score(group) if observed else None,
            "mean_sites_per_sequence": round(sum(marker.sites for marker in markers) / examples, 3),
            "bytes": sum(entry["bytes"] for marker in markers for entry in marker.files.values()),
        }
    estimate = {"estimate": store.estimate} if store.estimate else {}
    return {"pairs": store.pairs, **found, **estimate, "partitions": len(store.items())}
