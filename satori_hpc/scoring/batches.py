"""Score slices of sequences in parallel; results are bit-identical for any number of threads and ranks.

How many sequences are scored at a time, and on how many threads of torch each, can change the last bit of a score. So a
slice always has the same size, counted from the start of its partition, and runs on one thread of torch; threads are
used by running several slices at a time.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import psutil
import torch

from satori_hpc.errors import SatoriError
from satori_hpc.log import logger
from satori_hpc.models.base import TrainableModel
from satori_hpc.parallel import memory
from satori_hpc.scoring.base import Batch, SiteScorer, SiteScores
from satori_hpc.scoring.layout import CHUNK, GROUPS
from satori_hpc.scoring.store import ScoreStore


class Slices:
    """Scores sequences on a pool of threads; use it in a with statement.

    Args:
        scorer: the method.
        size: sequences per slice.
        workers: slices at a time.
        progress: called after each slice, on the thread that calls `score`.
    """

    def __init__(self, scorer: SiteScorer, *, size: int, workers: int, progress: Callable[[], None]) -> None:
        self.size = size
        self._scorer = scorer
        self._progress = progress
        self._pool = ThreadPoolExecutor(workers, "slices", initializer=torch.set_num_threads, initargs=(1,))
        self._threads = torch.get_num_threads()

    def __enter__(self) -> "Slices":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def score(self, batch: Batch) -> SiteScores:
        """Score sequences.

        Raises:
            SatoriError: not even one sequence at a time fits into the memory.
        """
        spans = [(first, min(first + self.size, len(batch))) for first in range(0, len(batch), self.size)]
        running = {self._pool.submit(self._slice, *span, batch): span for span in spans}
        found: dict[tuple[int, int], SiteScores] = {}
        try:
            for future in as_completed(running):
                scores = future.result()
                if scores is not None:
                    found[running[future]] = scores
                self._progress()
        finally:
            for future in running:
                future.cancel()
        return SiteScores.join([found[span] if span in found else self._alone(*span, batch) for span in spans])

    def _slice(self, first: int, last: int, batch: Batch) -> SiteScores | None:
        """Score one slice; None if it ran out of memory."""
        try:
            return self._scorer(part(batch, first, last))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            return None

    def _alone(self, first: int, last: int, batch: Batch) -> SiteScores:
        """Score a slice that ran out of memory: first without other slices in flight, then in ever smaller parts."""
        size = last - first
        while True:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            found: list[SiteScores] = []
            for begin in range(first, last, size):
                end = min(begin + size, last)
                scores = self._pool.submit(self._slice, begin, end, batch).result()
                self._progress()
                if scores is None:
                    break
                found.append(scores)
            else:
                if size < min(self.size, last - first):
                    self.size = size
                    logger.warning(
                        "out of memory with %d sequences at a time: from here on %d; the last bits of scores may "
                        "differ from those of a run with more memory",
                        last - first,
                        size,
                    )
                return SiteScores.join(found)
            if size == 1:
                raise SatoriError(
                    f"out of memory: tried {last - first} sequences at a time, and fewer, down to a single one; "
                    "free memory on the device, use one with more, or --device cpu"
                )
            size = -(-size // 2)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of torch, as slices do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def part(batch: Batch, first: int, last: int) -> Batch:
    """Return sequences [first, last) of a batch."""
    targets = None if batch.targets is None else batch.targets[first:last]
    return Batch(batch.tokens[first:last], batch.keys[first:last], targets)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception is an out-of-memory error, on a device or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


# Memory of a scoring process, itemised, and how the work shrinks to fit a limit.

CHUNKS_HELD = 5  # by a thread that encodes: the chunk, its code, its code with the checksum, and two codes to write
ENTRY = 8  # bytes of the largest entry, a site
COPIES = 2  # of a partition's scores: as slices and joined


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes of a process while it scores.

    Attributes:
        process: the program and its libraries.
        model: weights.
        buffers: the scores and the sequences of the largest partition, if every example has all that it can have.
        chunk: inner chunks on their way to disk. Nothing is scored meanwhile, so that on the CPU those of all threads
            but one find room where the slices were.
        slices: working memory of all slices at a time.
        workers: slices at a time.
        encoders: threads that encode the output.
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
        """Return {part: bytes}, with the total."""
        parts = asdict(self)
        return {
            **{part: parts[part] for part in ("process", "model", "buffers", "chunk", "slices")},
            "total": self.total,
        }


def need(
    store: ScoreStore, model: TrainableModel, scorer: SiteScorer, *, sample: Batch, workers: int, limit: int
) -> Need:
    """Return the memory of this process, reduced to `limit`: fewer workers first, then smaller slices.

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
    each = scorer.bytes_per_sequence if device.type == "cpu" else store.example_bytes
    encoders = 1 if device.type == "cpu" else workers
    fixed = {
        "process": max(0, psutil.Process().memory_info().rss - weights),
        "model": weights,
        "buffers": rows * (COPIES * store.example_bytes + model.length),
        "chunk": encoders * CHUNKS_HELD * CHUNK * ENTRY,
    }
    workers = workers if device.type == "cpu" else 1
    fitting = fit(limit - sum(fixed.values()), each=each, workers=workers, size=scorer.slice_size) if limit else None
    if limit and fitting is None:
        least = sum(fixed.values()) + each
        raise SatoriError(
            f"--memory {memory.show(limit)} is too little to score {store.method}: at least {memory.show(least)} "
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


def _warm_up(scorer: SiteScorer, sample: Batch) -> None:
    """Score one sequence, so that memory retained by compilers and libraries counts as part of the process."""
    try:
        scorer(sample)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise SatoriError(
            f"out of memory with a single sequence ({error}); use a device with more, or --device cpu"
        ) from None


def fit(room: int, *, each: int, workers: int, size: int) -> tuple[int, int] | None:
    """Return (workers, sequences per slice) whose working memory is at most `room`, or None.

    A smaller slice is a power of two, so that processes with slightly different memory take the same.

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
