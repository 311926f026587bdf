"""Score stores of any size with made-up content: uniform scores, missing at random, the same for the same size."""

from pathlib import Path

import numpy as np

from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS, Plan
from satori_hpc.scoring.store import ScoreStore

MISSING = -(2**15)


def write(path: Path, *, filters: int, examples: int, present: float) -> ScoreStore:
    """The store at `path`, finished; one that is there already is finished or kept.

    Args:
        path: of the store.
        filters: of which all pairs are scored.
        examples: on each side.
        present: share of the scores.
    """
    rows = np.arange(examples)
    plan = Plan(
        method="attention",
        filters=filters,
        foreground=rows,
        background=rows + examples,
        background_source="dataset",
        dataset_examples=2 * examples,
        shard_examples=0,
        chunk_pairs=256,
        digests={"made_up": str(present)},
    )
    store = score_store.create_or_resume(path, plan)
    for group, partition in store.pending(verify=False):
        first, last = store.partitions(group)[partition]
        rng = np.random.default_rng([GROUPS.index(group), partition])
        score = block(rng, last - first, plan.pairs, present)
        distance = rng.integers(-75, 76, score.shape, dtype=np.int16)
        distance *= np.int16(4)
        distance[np.isnan(score)] = MISSING
        store.write_partition(group, partition, score=score, distance=distance, position=distance, sites=0)
    store.finalise()
    return score_store.open_complete(path)


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
