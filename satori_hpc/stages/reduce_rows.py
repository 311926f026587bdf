"""The work of one task on rows: what the tests of columns need to know of the examples of a partition.

For the within-sequence statistic that is the middle of every example's scores; for the null statistic, the moments of
the scores of permuted sequences. Like the blocks of pairs, partitions are parts on disk that a killed reduction keeps.
Dask's workers import this module, wherever they run; it must load neither torch nor anything else of the network.
"""

import functools
from pathlib import Path

import numpy as np

from satori_hpc.core import contrasts, null_test
from satori_hpc.core.contrasts import Middles
from satori_hpc.core.null_test import Gaussian
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.stages.statistic import NULL, WITHIN
from satori_hpc.stores import parts
from satori_hpc.stores.scores import ScoreStore

LEAST_ROWS = 256  # gathered at once; each time all chunks of the partition are read
SIDE = "foreground"


def folder_of(folder: Path) -> Path:
    """Where the parts of rows lie in the folder of parts."""
    return folder / "rows"


def sizes(store: ScoreStore, statistic: str) -> list[int]:
    """Lines of each part; no part where the statistic asks for nothing of the rows."""
    found = {WITHIN: [last - first for first, last in store.partitions(SIDE)], NULL: [1] * len(store.partitions(SIDE))}
    return found.get(statistic, [])


def least_bytes(store: ScoreStore, statistic: str) -> int:
    """Memory without which a task on rows cannot work."""
    rows = store.shard_rows(SIDE)
    chunk = rows * store.chunk_pairs * 3 * 4  # decoded, as read, and as read without its checksum
    if statistic == NULL:
        return chunk + rows * store.chunk_pairs * 3 * 8  # in float64, and squared
    return chunk + (min(rows, LEAST_ROWS) + 2) * store.pairs * 4


def work(store: str, folder: str, digest: str, partition: int, statistic: str, least: float, memory: int) -> None:
    """Describe the rows of a partition of the foreground and write the part.

    Args:
        store: path of the scores.
        folder: of the parts.
        digest: of the work.
        partition: its number.
        statistic: within-sequence or null.
        least: smaller scores are dropped as if missing.
        memory: bytes to work with.

    Raises:
        ArtefactError: a shard is missing or damaged.
    """
    try:
        opened = ScoreStore(Path(store))
        if statistic == NULL:
            columns = null_moments(opened, partition)
        else:
            rows = middles(opened, partition, least=least, memory=memory)
            columns = rows._asdict()
    except ArtefactError as error:
        raise ArtefactError(
            f"{error}; what else is damaged, and what mends it: satori-hpc verify {quoted(Path(store).parent.parent)}"
        ) from None
    parts.write(folder_of(Path(folder)), partition, columns, digest=digest)


def middles(store: ScoreStore, partition: int, *, least: float, memory: int) -> Middles:
    """The middles of all rows of a partition, as many rows at once as the memory takes."""
    first, last = store.partitions(SIDE)[partition]
    chunk = np.empty((store.shard_rows(SIDE), store.chunk_pairs), np.float32)
    spare = memory - 3 * chunk.nbytes - 2 * store.pairs * 4
    step = max(1, min(last - first, spare // (4 * store.pairs)))
    rows = np.empty((step, store.pairs), np.float32)
    found = []
    for begin in range(0, last - first, step):
        end = min(begin + step, last - first)
        with store.shard(SIDE, "score", partition) as shard:
            for number in range(store.chunks):
                left = number * store.chunk_pairs
                right = min(left + store.chunk_pairs, store.pairs)
                shard.read(number, chunk)
                rows[: end - begin, left:right] = chunk[begin:end, : right - left]
        found.append(contrasts.middles(rows[: end - begin], least=least))
    return Middles(*(np.concatenate(values) for values in zip(*found, strict=True)))


def null_moments(store: ScoreStore, partition: int) -> dict[str, np.ndarray]:
    """Moments of a partition's scores of permuted sequences, as columns of one line."""
    first, last = store.partitions(SIDE)[partition]
    chunk = np.empty((store.shard_rows(SIDE), store.chunk_pairs), np.float32)
    found = []
    with store.shard(SIDE, "null", partition) as shard:
        for number in range(store.chunks):
            shard.read(number, chunk)
            values = chunk[: last - first, : store.pairs - number * store.chunk_pairs]
            found.append(null_test.moments(values[~np.isnan(values)]))
    count, mean, squares = null_test.merge(*(np.array(each) for each in zip(*found, strict=True)))
    return {"count": np.array([count]), "mean": np.array([mean]), "squares": np.array([squares])}


@functools.lru_cache(maxsize=2)
def load(folder: str, digest: str, lines: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The columns of all parts, read once per process.

    Raises:
        ArtefactError: parts are missing or damaged.
    """
    found = parts.merge(folder_of(Path(folder)), digest=digest, rows=list(lines))
    # What Parquet gives may not be written to, which compiled loops would take for another type.
    return {name: values if values.flags.writeable else values.copy() for name, values in found.items()}


def load_middles(folder: str, digest: str, lines: tuple[int, ...]) -> Middles:
    return Middles(**load(folder, digest, lines))


def load_null(folder: str, digest: str, lines: tuple[int, ...]) -> Gaussian:
    found = load(folder, digest, lines)
    return null_test.fit(found["count"], found["mean"], found["squares"])
