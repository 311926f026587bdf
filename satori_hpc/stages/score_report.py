"""What scoring takes, told before, and what is in the stores, told after."""

from typing import Any

from satori_hpc import provenance
from satori_hpc.run import Run
from satori_hpc.stages.score_memory import Need
from satori_hpc.stores.score_plan import GROUPS
from satori_hpc.stores.scores import ScoreStore


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
    """What is in the finished stores.

    Args:
        run: whose stores they are.
        done: {method: what else to say of it}.

    Returns:
        examples of both sides, what is in the store of each method, and "files": {shard relative to the run: size and
        SHA-256}.
    """
    stores = {method: ScoreStore(run.scores(method)) for method in done}
    any_store = next(iter(stores.values()))
    return {
        **{f"{group}_examples": any_store.partitions(group)[-1][1] for group in GROUPS},
        **{method: {**_content(store), **done[method]} for method, store in stores.items()},
        "files": {
            (store.path.relative_to(run.path) / name).as_posix(): entry
            for store in stores.values()
            for name, entry in store.files().items()
        },
    }


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
