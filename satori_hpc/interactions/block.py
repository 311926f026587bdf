"""The work of one task of the reduction: a block of pairs from the shards of a score store to a part of the table.

Dask's workers import this module, wherever they run; it must load neither torch nor anything else of the network.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions import parts
from satori_hpc.interactions.columns import Columns, buffer_size, needed_bytes
from satori_hpc.interactions.statistics import mann_whitney, permuted, signed_rank
from satori_hpc.interactions.statistics.permuted import Gaussian
from satori_hpc.interactions.statistics.registry import BACKGROUND, NULL, WITHIN
from satori_hpc.interactions.statistics.signed_rank import Middles
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides which pairs are tested, and on which values; see [reduce].

    Attributes:
        statistic: background, within-sequence or null.
        cutoff: of the scores; NaN = there are none.
        drop_values: whether values below the cut-off are dropped, and not only pairs that never reach it.
        min_examples: values that each side needs, or where the background is not tested, the foreground.
        legacy: as SATORI 1 did.
        max_distance: values of sites further apart, bp, only serve for comparison; 0 = none.
    """

    statistic: str = BACKGROUND
    cutoff: float
    drop_values: bool
    min_examples: int
    legacy: bool
    max_distance: int = 0

    @property
    def least(self) -> float:
        """Smaller values are dropped."""
        return self.cutoff if self.drop_values else -np.inf


COLUMNS_VERSION = 3  # of what parts hold: those of an older program are made again
CONTRASTS, FAR = 2, 3  # the sides of what is made of the foreground; FAR: of sites too far apart to be tested
Rows = Middles | Gaussian | None  # what the statistic needs to know of the rows


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


def memory_range(store: ScoreStore, statistic: str = BACKGROUND) -> tuple[int, int]:
    """(least, most) bytes that a task can work with, and that it can make use of."""
    total = _values(store, statistic)
    rows = max(store.shard_rows(group) for group in GROUPS)
    # A chunk of scores and one of distances: each decoded, as read, and as read without its checksum; sizes of the
    # distances. Then the sorted values of the two sides, and both merged.
    fixed = rows * store.chunk_pairs * (3 * 4 + 4 * 2) + 2 * 4 * total
    if statistic == WITHIN:  # the middles of the rows, their parts, and what reading these leaves behind; far contrasts
        fixed += 4 * store.partitions("foreground")[-1][1] * (4 + 3 * 8) + rows * store.chunk_pairs * (4 + 2)
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
        opened = _open(store, digest)
        rows = _rows(opened, folder, digest, rules)
        columns = test_block(opened, block, rules=rules, memory=memory, rows=rows)
    except ArtefactError as error:
        raise ArtefactError(
            f"{error}; what else is damaged, and what mends it: satori-hpc verify {quoted(Path(store).parent.parent)}"
        ) from None
    finally:
        if not keep:
            release()
    parts.write(Path(folder), block, columns, digest=digest)
    return int(columns["tested"].sum())


def test_block(store: ScoreStore, block: int, *, rules: Rules, memory: int, rows: Rows) -> dict[str, np.ndarray]:
    """Counts, medians and the test of a block of pairs, with what the test says where the pair belongs to the family.

    Args:
        store: of the scores.
        block: its number.
        rules: of the tests.
        memory: bytes to work with.
        rows: the middles of all foreground rows for within-sequence, the null for null.
    """
    first, last = blocks(store)[block]
    values = _values(store, rules.statistic)
    memory -= memory_range(store, rules.statistic)[0] - needed_bytes(1, rows=values)
    found, done, width = [], 0, last - first
    space = _space(store, values, memory)
    while done < last - first:
        width = min(width, last - first - done)
        columns = Columns(width, rows=values, first=done, least=rules.least, memory=memory, buffer=space.values)
        _gather(store, block, columns=columns, rows=rows, rules=rules, space=space)
        found.append(_judge(columns, rules, rows))
        done += columns.width
        width = columns.width  # where the memory was full once, it would be again
    _spare.append(space)
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def release() -> None:
    """Give the memory back that tasks of this process keep for the next."""
    _spare.clear()


def _gather(store: ScoreStore, block: int, *, columns: Columns, rows: Rows, rules: Rules, space: _Space) -> None:
    for side, group in enumerate(GROUPS):
        score, distance = space.score[: store.shard_rows(group)], space.distance[: store.shard_rows(group)]
        for partition, (begin, end) in enumerate(store.partitions(group)):
            with store.shard(group, "score", partition) as shard:
                shard.read(block, score)
            there, apart = score[: end - begin], distance[: end - begin]
            if group == "foreground" or rules.max_distance:
                with store.shard(group, "distance", partition) as shard:
                    shard.read(block, distance)
            far = _take_far(there, apart, rules.max_distance) if rules.max_distance else None
            if group == "background":
                columns.add(side, there)
                continue
            columns.add(side, there, apart)
            if isinstance(rows, Middles):
                here = Middles(*(values[begin:end] for values in rows))
                for number, each in ((CONTRASTS, there), (FAR, far)):
                    if each is not None:
                        signed_rank.subtract(each, here, least=rules.least)
                        columns.add(number, each, least=-np.inf)


def _take_far(score: np.ndarray, distance: np.ndarray, max_distance: int) -> np.ndarray:
    """The scores of sites too far apart to be tested, which become missing among the others."""
    away = np.abs(distance) > max_distance
    far = np.where(away, score, np.float32(np.nan))
    score[away] = np.nan
    return far


def _judge(columns: Columns, rules: Rules, rows: Rows) -> dict[str, np.ndarray]:
    if isinstance(rows, Middles):
        return _within(columns, rules)
    if isinstance(rows, Gaussian):
        return _against_null(columns, rules, rows)
    found = mann_whitney.compare(columns, replace_rare=rules.legacy)
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
        **_where(
            tested,
            statistic=found.u,
            auc=found.auc,
            effect=found.median_fg - found.median_bg,
            p=found.p,
            neg_log10_p=found.neg_log10_p,
        ),
    }


def _within(columns: Columns, rules: Rules) -> dict[str, np.ndarray]:
    """The signed-rank test of the contrasts; the background is only described."""
    described = _described(columns)
    found, far = signed_rank.test(columns, CONTRASTS), signed_rank.test(columns, FAR)
    enough = far.n >= rules.min_examples
    tested = (found.n >= rules.min_examples) & (described["max_fg"] >= rules.cutoff)
    return {
        "tested": tested,
        **described,
        **_where(
            tested,
            statistic=found.w_plus,
            auc=found.auc,
            effect=found.median,
            p=found.p,
            neg_log10_p=found.neg_log10_p,
            auc_error=found.auc_error,
        ),
        "nonzero": found.nonzero,
        "far_nonzero": np.where(enough, far.nonzero, 0),
        **_where(enough, far_auc=far.auc, far_error=far.auc_error),
    }


def _against_null(columns: Columns, rules: Rules, null: Gaussian) -> dict[str, np.ndarray]:
    """Scores against those of permuted sequences; the background is only described."""
    described = _described(columns)
    found = permuted.test(columns, 0, null)
    tested = (described["n_fg"] >= rules.min_examples) & (described["max_fg"] >= rules.cutoff) & ~np.isnan(found.p)
    return {
        "tested": tested,
        **described,
        **_where(
            tested,
            statistic=np.full(columns.width, np.nan),
            auc=found.auc,
            effect=described["median_fg"] - null.mean,
            p=found.p,
            neg_log10_p=found.neg_log10_p,
        ),
    }


def _described(columns: Columns) -> dict[str, np.ndarray]:
    median_fg, max_fg = columns.medians_and_largest(0)
    median_bg, _ = columns.medians_and_largest(1)
    return {
        "n_fg": columns.counts(0),
        "n_bg": columns.counts(1),
        "median_fg": median_fg,
        "median_bg": median_bg,
        "max_fg": max_fg,
        "median_distance": columns.median_distances(),
    }


def _where(tested: np.ndarray, **columns: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that are told of tested pairs only."""
    return {name: np.where(tested, values, np.nan) for name, values in columns.items()}


def _values(store: ScoreStore, statistic: str) -> int:
    """Values of a column on all sides, at most."""
    foreground, background = (store.partitions(group)[-1][1] for group in GROUPS)
    return foreground * (3 if statistic == WITHIN else 1) + background


def _rows(store: ScoreStore, folder: str, digest: str, rules: Rules) -> Rows:
    load: dict[str, Callable[..., Rows]] = {WITHIN: load_middles, NULL: load_null}
    if rules.statistic not in load:
        return None
    return load[rules.statistic](folder, digest, tuple(sizes(store, rules.statistic)))


def warm_up() -> None:
    """Compile now all that tasks run."""
    mann_whitney.warm_up()
    signed_rank.warm_up()


def _space(store: ScoreStore, values: int, memory: int) -> _Space:
    size = buffer_size(store.chunk_pairs, rows=values, memory=memory)
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


# The work of one task on rows: what the tests of columns need to know of the examples of a partition.
#
# For the within-sequence statistic that is the middle of every example's scores; for the null statistic, the moments of
# the scores of permuted sequences. Like the blocks of pairs, partitions are parts on disk that a killed reduction
# keeps.
# Dask's workers import this module, wherever they run; it must load neither torch nor anything else of the network.

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


def work_rows(store: str, folder: str, digest: str, partition: int, statistic: str, least: float, memory: int) -> None:
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
        found.append(signed_rank.middles(rows[: end - begin], least=least))
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
            found.append(permuted.moments(values[~np.isnan(values)]))
    count, mean, squares = permuted.merge(*(np.array(each) for each in zip(*found, strict=True)))
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
    return permuted.fit(found["count"], found["mean"], found["squares"])
