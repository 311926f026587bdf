"""Score stores with known content, for tests of what reads them."""

from pathlib import Path

import numpy as np
import torch

from satori_hpc import provenance
from satori_hpc.core import pairs
from satori_hpc.run import Run
from satori_hpc.scoring import Batch
from satori_hpc.stores import scores
from satori_hpc.stores.score_plan import GROUPS, Plan
from satori_hpc.stores.scores import ScoreStore


def make_store(
    path: Path,
    foreground: np.ndarray,
    background: np.ndarray,
    *,
    filters: int,
    shard_examples: int = 64,
    chunk_pairs: int = 7,
    method: str = "attention",
    apart: np.ndarray | None = None,
    **extras: tuple[np.ndarray, np.ndarray],
) -> ScoreStore:
    """A finished store with these scores; the distance of an entry is 4 x its row, negative in every second row.

    apart: distances (rows, pairs) in place of 4 x row, without signs, for both sides.
    extras: other arrays of the method, each of foreground and background.
    """
    sides = {"foreground": foreground, "background": background}
    plan = Plan(
        method=method,
        extras=tuple(extras),
        filters=filters,
        foreground=np.arange(len(foreground)),
        background=np.arange(len(background)),
        background_source="background",
        dataset_examples=len(foreground),
        shard_examples=shard_examples,
        chunk_pairs=chunk_pairs,
        pool=4,
        padding=6,
        width=13,
        selection={},
        digests={},
    )
    store = scores.create_or_resume(path, plan)
    for group, partition in store.pending():
        first, last = store.partitions(group)[partition]
        part = sides[group][first:last]
        rows = np.arange(first, last)[:, None]
        missing = np.isnan(part)
        away = 4 * rows % 30_000 if apart is None else apart[first:last]
        distance = np.where(missing, -(2**15), away * np.where(rows % 2, -1, 1)).astype(np.int16)
        position = np.where(missing, -(2**15), np.maximum(0, -distance)).astype(np.int16)
        more = {name: values[GROUPS.index(group)][first:last] for name, values in extras.items()}
        store.write_partition(group, partition, score=part, distance=distance, position=position, sites=0, **more)
    store.finalise()
    return scores.open_complete(path)


def batch_of(tokens: torch.Tensor, *, first: int = 0) -> Batch:
    """Foreground sequences of a binary set, in rows `first`, `first` + 1, ... of it."""
    rows = torch.arange(first, first + len(tokens))
    return Batch(tokens, torch.stack([torch.zeros_like(rows), rows], dim=1))


def sample(rng: np.random.Generator, rows: int, filters: int, *, present: float = 0.5) -> np.ndarray:
    """float32 (rows, pairs): uniform scores, NaN where missing."""
    out = rng.random((rows, pairs.count(filters)), dtype=np.float32)
    out[rng.random(out.shape) > present] = np.nan
    return out


def store_digest(run: Run) -> str:
    """One digest over every file of the store of a run."""
    path = run.scores("attention")
    return provenance.digest_of(provenance.listing(path, [path]))
