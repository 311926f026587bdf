"""Score stores of any size with made-up content: uniform scores, missing at random, the same for the same size."""

from pathlib import Path

import numpy as np

from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS, Plan
from satori_hpc.scoring.site_scores import SiteScores
from satori_hpc.scoring.store import ScoreStore

PLACES, POOL = 75, 4


def write(path: Path, *, filters: int, examples: int, present: float) -> ScoreStore:
    """The store at `path`, finished; one that is there already is finished or kept.

    Args:
        path: of the store.
        filters: of which all pairs are scored.
        examples: on each side.
        present: share of the scores, but for pairs in one place.
    """
    rows = np.arange(examples)
    plan = Plan(
        method="attention",
        widths=np.full(filters, 13),
        foreground=rows,
        background=rows + examples,
        background_source="dataset",
        dataset_examples=2 * examples,
        shard_examples=0,
        pool=POOL,
        most=(filters, PLACES),
        digests={"made_up": str(present)},
    )
    store = score_store.create_or_resume(path, plan)
    for group, partition in store.pending(verify=False):
        first, last = store.partitions(group)[partition]
        rng = np.random.default_rng([GROUPS.index(group), partition])
        store.write_partition(group, partition, sites(rng, last - first, filters, present))
    store.finalise()
    return score_store.open_complete(path)


def sites(rng: np.random.Generator, examples: int, filters: int, present: float) -> SiteScores:
    """At most one site of each filter in an example, anywhere, and uniform values between all places."""
    there = rng.random((examples, filters)) < np.sqrt(present)
    _, motif = np.nonzero(there)
    place = rng.integers(PLACES, size=len(motif))
    value = rng.random(examples * PLACES * (PLACES - 1) // 2, dtype=np.float32)
    value *= np.float32(0.1)
    return SiteScores(
        counts=np.stack([there.sum(axis=1), np.full(examples, PLACES)], axis=1).astype(np.int32),
        site=np.stack([motif, POOL * place, np.ones_like(motif), place], axis=1).astype(np.int16),
        strength=np.ones(len(motif), np.float32),
        place=np.tile(POOL * np.arange(PLACES), examples).astype(np.int16),
        value=value,
    )


def make(path: Path, filters: int, examples: int, present: float) -> None:
    """`write`, for another process."""
    write(path, filters=filters, examples=examples, present=present)


def block(rng: np.random.Generator, rows: int, columns: int, present: float) -> np.ndarray:
    """float32 (rows, columns): made-up scores, NaN where missing."""
    values = rng.random((rows, columns), dtype=np.float32)
    values *= np.float32(0.1)
    values[rng.integers(0, 2**16, values.shape, dtype=np.uint16) >= present * 2**16] = np.nan
    return values


def bytes_on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
