"""Slices of sequences scored side by side, so that neither threads nor ranks shape a bit of what comes out.

How many sequences are scored at a time, and on how many threads of torch each, can change the last bit of a score. So a
slice always has the same size, counted from the start of its partition, and runs on one thread of torch; threads are
used by running several slices at a time.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from types import TracebackType

import numpy as np
import torch

from satori_hpc.errors import SatoriError
from satori_hpc.log import logger
from satori_hpc.scoring import Batch, PairScorer, PairScores
from satori_hpc.stores.score_plan import ARRAYS


class Slices:
    """Scores sequences on a pool of threads; use it in a with statement.

    Args:
        scorer: the method.
        size: sequences per slice.
        workers: slices at a time.
        poke: called after each slice, on the thread that calls `score`.
    """

    def __init__(self, scorer: PairScorer, *, size: int, workers: int, poke: Callable[[], None]) -> None:
        self.size = size
        self._scorer = scorer
        self._poke = poke
        self._pool = ThreadPoolExecutor(workers, "slices", initializer=torch.set_num_threads, initargs=(1,))
        self._threads = torch.get_num_threads()

    def __enter__(self) -> "Slices":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def score(self, batch: Batch, arrays: dict[str, np.ndarray]) -> int:
        """Score sequences; the number of active (filter, cell) entries in them.

        Args:
            batch: E sequences.
            arrays: (E,P) of each array of the method, by name; filled.

        Raises:
            SatoriError: not even one sequence at a time fits into the memory.
        """
        spans = [(first, min(first + self.size, len(batch))) for first in range(0, len(batch), self.size)]
        running: dict[Future[int | None], tuple[int, int]] = {
            self._pool.submit(self._slice, *span, batch, arrays): span for span in spans
        }
        sites, too_large = 0, []
        try:
            for future in as_completed(running):
                found = future.result()
                if found is None:
                    too_large.append(running[future])
                else:
                    sites += found
                self._poke()
        finally:
            for future in running:
                future.cancel()
        return sites + sum(self._alone(first, last, batch, arrays) for first, last in sorted(too_large))

    def _slice(self, first: int, last: int, batch: Batch, arrays: dict[str, np.ndarray]) -> int | None:
        """Sites of one slice, whose scores are put in place; None when the memory did not suffice."""
        try:
            found = self._scorer(part(batch, first, last))
            for name, values in arrays.items():
                values[first:last] = _array(found, name).cpu().numpy()
            return int(found.sites.sum())
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            return None

    def _alone(self, first: int, last: int, batch: Batch, arrays: dict[str, np.ndarray]) -> int:
        """Score a slice for which the memory did not suffice: nothing beside it, then in smaller and smaller parts."""
        size = last - first
        while True:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            sites = []
            for begin in range(first, last, size):
                end = min(begin + size, last)
                sites.append(self._pool.submit(self._slice, begin, end, batch, arrays).result())
                self._poke()
                if sites[-1] is None:
                    break
            else:
                if size < min(self.size, last - first):
                    self.size = size
                    logger.warning(
                        "out of memory with %d sequences at a time: from here on %d; the last bits of scores may "
                        "differ from those of a run with more memory",
                        last - first,
                        size,
                    )
                return sum(found for found in sites if found is not None)
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
    """Sequences [first, last) of a batch."""
    targets = None if batch.targets is None else batch.targets[first:last]
    return Batch(batch.tokens[first:last], batch.keys[first:last], targets)


def _array(found: PairScores, name: str) -> torch.Tensor:
    values: torch.Tensor = getattr(found, name) if name in ARRAYS else found.extras[name]
    return values


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory did not suffice, on a device or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
