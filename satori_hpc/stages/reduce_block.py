"""The work of one task of the reduction: a block of pairs from the shards of a score store to a part of the table.

Dask's workers import this module, wherever they run; it must load neither torch nor anything else of the network.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from satori_hpc.core import rank_test
from satori_hpc.core.columns import Columns, buffer_size, needed_bytes
from satori_hpc.errors import ArtefactError
from satori_hpc.stores import parts
from satori_hpc.stores.score_plan import GROUPS
from satori_hpc.stores.scores import ScoreStore


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides which pairs are tested, and on which values; see [reduce].

    Attributes:
        cutoff: of the scores; NaN = there are none.
        drop_values: whether values below the cut-off are dropped, and not only pairs that never reach it.
        min_examples: values that each side needs.
        legacy: as SATORI 1 did.
    """

    cutoff: float
    drop_values: bool
    min_examples: int
    legacy: bool


class _Space(NamedTuple):
    """What a task works in: gathered values, a chunk of scores and one of distances."""

    values: np.ndarray
    score: np.ndarray
    distance: np.ndarray


_spare: list[_Space] = []  # left by finished tasks, because fresh memory costs as much as a fifth of the work


def blocks(store: ScoreStore) -> list[tuple[int, int]]:
    """[first, last) pairs of each block; a block is an inner chunk of the store."""
    width = store.chunk_pairs
    return [(first, min(first + width, store.pairs)) for first in range(0, store.pairs, width)]


def memory_range(store: ScoreStore) -> tuple[int, int]:
    """(least, most) bytes that a task can work with, and that it can make use of."""
    total = sum(store.partitions(group)[-1][1] for group in GROUPS)
    rows = max(store.shard_rows(group) for group in GROUPS)
    # A chunk of scores and one of distances: each decoded, as read, and as read without its checksum; sizes of the
    # distances. Then the sorted values of the two sides, and both merged.
    fixed = rows * store.chunk_pairs * (3 * 4 + 4 * 2) + 2 * 4 * total
    return fixed + needed_bytes(1, rows=total), fixed + needed_bytes(store.chunk_pairs, rows=total)


def work(store: str, folder: str, digest: str, block: int, rules: Rules, memory: int, keep: bool) -> int:
    """Test a block and write its part; the number of pairs tested.

    Args:
        store: path of the scores.
        folder: of the parts.
        digest: of the work.
        block: its number.
        rules: of the tests.
        memory: bytes to work with.
        keep: whether the process may keep them for the next task.

    Raises:
        ArtefactError: a shard is missing or damaged.
    """
    try:
        columns = test_block(_open(store, digest), block, rules=rules, memory=memory)
    except ArtefactError as error:
        raise ArtefactError(
            f"{error}; what else is damaged, and what mends it: satori-hpc verify {Path(store).parent.parent}"
        ) from None
    finally:
        if not keep:
            release()
    parts.write(Path(folder), block, columns, digest=digest)
    return int(columns["tested"].sum())


def test_block(store: ScoreStore, block: int, *, rules: Rules, memory: int) -> dict[str, np.ndarray]:
    """Counts, medians and the test of a block of pairs, with u, auc and p where the pair belongs to the family."""
    first, last = blocks(store)[block]
    memory -= memory_range(store)[0] - needed_bytes(1, rows=_rows(store))
    found, done, width = [], 0, last - first
    space = _space(store, memory)
    while done < last - first:
        width = min(width, last - first - done)
        columns = _gather(store, block, first=done, width=width, rules=rules, memory=memory, space=space)
        found.append(_judge(columns, rules))
        done += columns.width
        width = columns.width  # where the memory was full once, it would be again
    _spare.append(space)
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def release() -> None:
    """Give the memory back that tasks of this process keep for the next."""
    _spare.clear()


def _gather(
    store: ScoreStore, block: int, *, first: int, width: int, rules: Rules, memory: int, space: _Space
) -> Columns:
    least = rules.cutoff if rules.drop_values else -np.inf
    columns = Columns(width, rows=_rows(store), first=first, least=least, memory=memory, buffer=space.values)
    for side, group in enumerate(GROUPS):
        score, distance = space.score[: store.shard_rows(group)], space.distance[: store.shard_rows(group)]
        for partition, (begin, end) in enumerate(store.partitions(group)):
            with store.shard(group, "score", partition) as shard:
                shard.read(block, score)
            if group == "foreground":
                with store.shard(group, "distance", partition) as shard:
                    shard.read(block, distance)
                columns.add(side, score[: end - begin], distance[: end - begin])
            else:
                columns.add(side, score[: end - begin])
    return columns


def _judge(columns: Columns, rules: Rules) -> dict[str, np.ndarray]:
    found = rank_test.compare(columns, replace_rare=rules.legacy)
    # In legacy only the foreground counts: a background that is too small was replaced.
    least, counts = (2, found.n_fg) if rules.legacy else (rules.min_examples, np.minimum(found.n_fg, found.n_bg))
    tested = (counts >= least) & (found.max_fg >= rules.cutoff)
    return {
        "tested": tested,
        "n_fg": found.n_fg,
        "n_bg": found.n_bg,
        "median_fg": found.median_fg,
        "median_bg": found.median_bg,
        "max_fg": found.max_fg.astype(np.float64),
        "median_distance": columns.median_distances(),
        "u": np.where(tested, found.u, np.nan),
        "auc": np.where(tested, found.auc, np.nan),
        "p": np.where(tested, found.p, np.nan),
    }


def _rows(store: ScoreStore) -> int:
    return sum(store.partitions(group)[-1][1] for group in GROUPS)


def _space(store: ScoreStore, memory: int) -> _Space:
    size = buffer_size(store.chunk_pairs, rows=_rows(store), memory=memory)
    chunk = (max(store.shard_rows(group) for group in GROUPS), store.chunk_pairs)
    while _spare:
        try:
            found = _spare.pop()
        except IndexError:  # another thread was faster
            break
        if len(found.values) >= size and found.score.shape == chunk:
            return found
    return _Space(np.empty(size, np.float32), np.empty(chunk, np.float32), np.empty(chunk, np.int16))


@functools.lru_cache(maxsize=2)
def _open(path: str, digest: str) -> ScoreStore:
    """The store, opened once per process; `digest` tells one that took its place from it."""
    return ScoreStore(Path(path))
