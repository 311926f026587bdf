"""Score stores of any size with made-up content: uniform values, sites at random, the same for the same size."""

from pathlib import Path

import numpy as np

from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS, Plan
from satori_hpc.scoring.site_scores import SiteScores, ragged
from satori_hpc.scoring.store import ScoreStore

BINS, POOL = 75, 4  # of 300 bp
AT_A_TIME = 256  # examples, so that what is padded stays small beside a partition


def write(path: Path, *, filters: int, examples: int, present: float) -> ScoreStore:
    """Write the finished store at `path`; an existing one is finished or kept.

    Args:
        path: of the store.
        filters: of which all pairs are scored; each has at most one site in an example.
        examples: on each side.
        present: share of the pairs that an example has.
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
        most=(filters, BINS),
        digests={"made_up": str(present)},
    )
    store = score_store.create_or_resume(path, plan)
    for group, partition in store.pending(verify=False):
        first, last = store.partitions(group)[partition]
        rng = np.random.default_rng([GROUPS.index(group), partition])
        starts = range(0, last - first, AT_A_TIME)
        parts = [sites(rng, min(AT_A_TIME, last - first - start), filters, present) for start in starts]
        store.write_partition(group, partition, SiteScores.join(parts))
    store.finalise()
    return score_store.open_complete(path)


def sites(rng: np.random.Generator, rows: int, filters: int, present: float) -> SiteScores:
    """Draw for each filter a site in a random bin, or none; both filters of a pair have one in `present` examples."""
    bin = rng.integers(0, BINS, (rows, filters))
    example, motif = np.nonzero(rng.random((rows, filters)) < np.sqrt(present))
    occupied = np.zeros((rows, BINS), dtype=bool)
    occupied[example, bin[example, motif]] = True
    place = occupied.cumsum(axis=1) - 1
    used = np.arange(BINS) < occupied.sum(axis=1)[:, None]
    at = np.zeros(used.shape, dtype=np.int64)
    at[used] = POOL * np.nonzero(occupied)[1]
    where = bin[example, motif]
    site = np.stack([example, motif, POOL * where, np.ones_like(where), place[example, where]], axis=1)
    value = rng.random((rows, BINS, BINS), dtype=np.float32) * np.float32(0.1)
    return ragged(site, np.ones(len(site), np.float32), at, used, value)


def make(path: Path, filters: int, examples: int, present: float) -> None:
    """Return `write`, for another process."""
    write(path, filters=filters, examples=examples, present=present)


def block(rng: np.random.Generator, rows: int, columns: int, present: float) -> np.ndarray:
    """Return float32 (rows, columns): made-up scores, NaN where missing."""
    values = rng.random((rows, columns), dtype=np.float32)
    values *= np.float32(0.1)
    values[rng.integers(0, 2**16, values.shape, dtype=np.uint16) >= present * 2**16] = np.nan
    return values


def bytes_on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
