"""How much memory a scoring process needs, by parts, and how the work shrinks to what it may have."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil

from satori_hpc import memory
from satori_hpc.errors import SatoriError
from satori_hpc.log import logger
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import Batch, PairScorer
from satori_hpc.stages.score_slices import out_of_memory
from satori_hpc.stores.score_plan import GROUPS
from satori_hpc.stores.scores import ScoreStore

CHUNKS_HELD = 5  # by a thread that encodes: the chunk, its code, its code with the checksum, and two codes to write


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes of a process while it scores.

    Attributes:
        process: the program and its libraries.
        model: weights.
        buffers: all arrays and the sequences of the largest partition.
        chunk: inner chunks on their way to disk. Nothing is scored meanwhile, so that on the CPU those of all threads
            but one find room where the slices were.
        slices: working memory of all slices at a time.
        workers: slices at a time.
        encoders: threads that encode what is written.
        slice: sequences per slice.
    """

    process: int
    model: int
    buffers: int
    chunk: int
    slices: int
    workers: int
    encoders: int
    slice: int

    @property
    def total(self) -> int:
        return self.process + self.model + self.buffers + self.chunk + self.slices

    def as_dict(self) -> dict[str, Any]:
        """{part: bytes}, with the total."""
        parts = asdict(self)
        return {
            **{part: parts[part] for part in ("process", "model", "buffers", "chunk", "slices")},
            "total": self.total,
        }


def need(store: ScoreStore, model: Satori, scorer: PairScorer, *, sample: Batch, workers: int, limit: int) -> Need:
    """What this process needs, made small enough for `limit`: fewer workers first, then smaller slices.

    Args:
        store: whose partitions are written.
        model: on its device; loaded in this process.
        scorer: of that model.
        sample: a sequence that will be scored.
        workers: slices at a time that the processors allow.
        limit: bytes; 0 = as much as it takes.

    Raises:
        SatoriError: not even one sequence at a time fits.
    """
    device = next(model.parameters()).device
    _warm_up(scorer, sample)
    weights = sum(part.nbytes for part in (*model.parameters(), *model.buffers())) if device.type == "cpu" else 0
    rows = max(store.shard_rows(group) for group in GROUPS)
    each = scorer.bytes_per_sequence if device.type == "cpu" else store.pair_bytes * store.pairs
    encoders = 1 if device.type == "cpu" else workers
    chunk = rows * store.chunk_pairs * max(np.dtype(dtype).itemsize for dtype in store.arrays.values())
    fixed = {
        "process": max(0, psutil.Process().memory_info().rss - weights),
        "model": weights,
        "buffers": rows * (store.pair_bytes * store.pairs + model.length),
        "chunk": encoders * CHUNKS_HELD * chunk,
    }
    workers = workers if device.type == "cpu" else 1
    fitting = fit(limit - sum(fixed.values()), each=each, workers=workers, size=scorer.slice_size) if limit else None
    if limit and fitting is None:
        least = sum(fixed.values()) + each
        raise SatoriError(
            f"--memory {memory.show(limit)} is too little to score {store.pairs} pairs: at least {memory.show(least)} "
            f"are needed (program and model {memory.show(fixed['process'] + weights)}, a partition of {rows} examples "
            f"{memory.show(fixed['buffers'] + fixed['chunk'])}, one sequence {memory.show(each)}); "
            "give more memory, or make score.shard_examples in run.toml smaller"
        )
    chosen, size = fitting or (workers, scorer.slice_size)
    if size < scorer.slice_size:
        logger.warning(
            "--memory allows %d sequences per slice instead of %d: the last bits of scores may differ from those of "
            "a run with more memory",
            size,
            scorer.slice_size,
        )
    found = Need(**fixed, slices=chosen * size * each, workers=chosen, encoders=max(chosen, encoders), slice=size)
    if not limit and found.total > memory.limit_bytes():
        logger.warning(
            "scoring needs up to %s, this job has %s; give --memory, or make score.shard_examples in run.toml smaller",
            memory.show(found.total),
            memory.show(memory.limit_bytes()),
        )
    return found


def _warm_up(scorer: PairScorer, sample: Batch) -> None:
    """Score one sequence: what compilers and libraries keep from then on belongs to the process."""
    try:
        scorer(sample)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise SatoriError(
            f"out of memory with a single sequence ({error}); use a device with more, or --device cpu"
        ) from None


def fit(room: int, *, each: int, workers: int, size: int) -> tuple[int, int] | None:
    """(workers, sequences per slice) whose working memory is at most `room`, or None.

    A smaller slice is a power of two, so that processes with a little more or less room take the same.

    Args:
        room: bytes.
        each: bytes per sequence.
        workers, size: wanted.
    """
    if room < each:
        return None
    workers = max(1, min(workers, room // (size * each)))
    if workers * size * each <= room:
        return workers, size
    return 1, 1 << ((room // each).bit_length() - 1)
