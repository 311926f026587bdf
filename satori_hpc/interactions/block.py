"""The work of one task of the reduction: a block of pairs, or a partition of examples, from a score store to a part.

Dask's workers import this module, wherever they run; it must load neither torch nor anything else of the network.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions import parts, site_pairs
from satori_hpc.interactions.columns import Columns, buffer_size, needed_bytes
from satori_hpc.interactions.site_pairs import ROWS, PairBlock, Partition, Space, Units
from satori_hpc.interactions.statistics import mann_whitney, registry, signed_rank
from satori_hpc.interactions.statistics.base import BACKGROUND, FOREGROUND, Described, Rules
from satori_hpc.interactions.statistics.within_sequence import LAID_OUT
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore

COLUMNS_VERSION = 6  # of the parts: those of an older program are remade
BLOCKS = 16  # tasks at least, if their blocks have LEAST_WIDTH pairs
LEAST_WIDTH = 32
BLOCK_BYTES = 2**28  # of the values of a block, at most, if every pair is observed in every example
SAMPLE_LAID_OUT = 2**23  # scores that are looked at for a sample
SAMPLE_SCORES = 200_000
ROW_BYTES = 4 * 8  # that the columns of a described example take, at most
SITE_BYTES = 72  # of a site in memory: as stored, as sorted, and while it is sorted
PAIR_BYTES = 12 + 32  # of a pair in an example, with its temporaries
READERS = 2**23  # of Zarr and Arrow, once they have read something
PLACES_BYTES = 12  # of a pair of places of the example that is laid out: its value and its key
UNIT_BYTES = 8  # of a place and a unit of it

_spare: list[np.ndarray] = []  # left by finished tasks, because fresh memory costs as much as a fifth of the work
Rows = dict[str, Described]  # the statistic's description of the examples, by group


def blocks(store: ScoreStore, rules: Rules) -> list[tuple[int, int]]:
    """Return [first, last) pairs of each block, as determined by the store and the rules."""
    every = rules.units.pairs
    most = BLOCK_BYTES // (4 * max(1, _values(store, rules)))
    width = max(LEAST_WIDTH, min(most, -(-every // BLOCKS)))
    return [(first, min(first + width, every)) for first in range(0, every, width)]


def open_partition(store: ScoreStore, units: Units, group: str, partition: int, *, max_distance: int = 0) -> Partition:
    """Read a partition of a store; sites further apart than max_distance (bp, 0 = any distance) are no pair in it.

    Raises:
        ArtefactError: a shard is missing or damaged.
    """
    scores = store.read(group, partition)
    return Partition(scores, units, choose=store.choose, directed=store.directed, max_distance=max_distance)


def laid_out(
    store: ScoreStore, units: Units, group: str, first: int, last: int, *, space: Space | None = None
) -> Iterator[tuple[int, PairBlock]]:
    """Yield the pairs [first, last) of all examples of a group in blocks, with the number of the first example."""
    space = space or Space(ROWS, last - first)
    for partition, (begin, _) in enumerate(store.partitions(group)):
        for block in open_partition(store, units, group, partition).blocks(first, last, space=space):
            yield begin + block.rows.start, block


def read_scores(store: ScoreStore, units: Units, group: str, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores float32 and distances int16 of pairs [first, last), (examples, last - first)."""
    found = [(block.score.copy(), block.distance()) for _, block in laid_out(store, units, group, first, last)]
    score, distance = zip(*found, strict=True)
    return np.concatenate(score), np.concatenate(distance)


def sample(store: ScoreStore, units: Units, group: str) -> np.ndarray:
    """Return the observed scores of an evenly spaced sample of examples, thinned evenly; always the same sample."""
    total = store.partitions(group)[-1][1]
    wanted = max(1, min(total, SAMPLE_LAID_OUT // max(units.pairs, 1)))
    rows = np.unique(np.linspace(0, total - 1, wanted).round().astype(np.int64))
    found = []
    for partition, (begin, end) in enumerate(store.partitions(group)):
        mine = rows[(rows >= begin) & (rows < end)] - begin
        if len(mine):
            opened = open_partition(store, units, group, partition)
            for row in mine.tolist():
                score = opened.block(0, units.pairs, slice(row, row + 1)).score
                values = score[~np.isnan(score)]
                found.append(values[:: max(1, len(values) * len(rows) // SAMPLE_SCORES)])
    return np.concatenate(found)


def memory_range(store: ScoreStore, rules: Rules) -> tuple[int, int]:
    """Return (least, most) bytes that a task can work with, and that it can make use of.

    Computed rather than measured: too little is refused, and the tasks of a worker are counted, before any runs.
    """
    total, width = _values(store, rules), max(last - first for first, last in blocks(store, rules))
    # A partition, read and sorted; the pairs of some examples; sorted values of two sides, both merged; described rows.
    fixed = READERS + _partition_bytes(store) + ROWS * width * PAIR_BYTES + 2 * 4 * total
    fixed += sum(store.partitions(group)[-1][1] for group in registry.test_of(rules.statistic).groups) * 4 * ROW_BYTES
    return fixed + needed_bytes(1, rows=total), fixed + needed_bytes(width, rows=total)


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
        rows = load(folder, digest, tuple(sizes(opened, rules)), rules, opened)
        columns = test_block(opened, block, rules=rules, memory=memory, rows=rows)
    except ArtefactError as error:
        raise ArtefactError(
            f"{error}; to find other damage, and its repair: satori-hpc verify {quoted(Path(store).parent.parent)}"
        ) from None
    finally:
        if not keep:
            release()
    parts.write(Path(folder), block, columns, digest=digest)
    return int(columns["tested"].sum())


def test_block(store: ScoreStore, block: int, *, rules: Rules, memory: int, rows: Rows) -> dict[str, np.ndarray]:
    """Return counts, medians and the test of a block of pairs, with the test's result where a pair is in the family.

    Args:
        store: of the scores.
        block: its number.
        rules: of the tests.
        memory: bytes to work with.
        rows: the statistic's description of the examples.
    """
    first, last = blocks(store, rules)[block]
    values, test = _values(store, rules), registry.test_of(rules.statistic)
    memory -= memory_range(store, rules)[0] - needed_bytes(1, rows=values)
    cutoff = cutoff_of(rules, rows)
    described = rows.get("foreground", {})
    found, done, width = [], first, last - first
    buffer = _buffer(buffer_size(width, rows=values, memory=memory))
    while done < last:
        width = min(width, last - done)
        columns = Columns(width, rows=values, least=rules.with_cutoff(cutoff), memory=memory, buffer=buffer)
        _gather(store, done, columns=columns, rows=rows, rules=rules)
        found.append(test.test(columns, described, rules, cutoff))
        done += columns.width
        width = columns.width  # where the memory was full once, it would be again
    _spare.append(buffer)
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def cutoff_of(rules: Rules, rows: Rows) -> float:
    """Return the cut-off of the scores; NaN where it is their mean and there are none."""
    if rules.cutoff is not None:
        return rules.cutoff
    observed, total = (sum(rows["foreground"][name].tolist()) for name in ("observed", "total"))
    return total / observed if observed else float("nan")


def release() -> None:
    """Release the memory that tasks of this process keep for the next task."""
    _spare.clear()


def _gather(store: ScoreStore, first: int, *, columns: Columns, rows: Rows, rules: Rules) -> None:
    """Gather the values of pairs from `first` on; columns that do not fit into memory are dropped on the way."""
    test = registry.test_of(rules.statistic)
    space = Space(ROWS, columns.width)
    for side, group in ((FOREGROUND, "foreground"), (BACKGROUND, "background")):
        lines = rows.get(group) if test.per_example else None
        for partition, (begin, _) in enumerate(store.partitions(group)):
            opened = open_partition(store, rules.units, group, partition, max_distance=rules.max_distance)
            for start in range(0, len(opened), ROWS):
                some = slice(start, min(start + ROWS, len(opened)))
                block = opened.block(first, first + columns.width, some, space)
                mine = slice(begin + some.start, begin + some.stop)
                described = {name: values[mine] for name, values in lines.items()} if lines else None
                test.add(columns, side, block, described, rules)


def _values(store: ScoreStore, rules: Rules) -> int:
    """Return the maximal number of values of a column on all sides."""
    foreground, background = (store.partitions(group)[-1][1] for group in GROUPS)
    own = {"contrasts of the background": background, "background": background}
    return sum(own.get(side, foreground) for side in registry.test_of(rules.statistic).sides)


def _partition_bytes(store: ScoreStore) -> int:
    """Return the bytes of the largest partition in memory, including its temporaries while it is read and sorted."""
    arrays, places = store.arrays, store.attributes["most"][1]
    most = 0
    for group in GROUPS:
        for marker in store.markers(group):
            held = sum(
                marker.entries[name] * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
                for name, (dtype, shape) in arrays.items()
            )
            file = max(entry["bytes"] for entry in marker.files.values())
            most = max(most, held + 2 * file + SITE_BYTES * marker.entries["site"])
    return most + places * (PLACES_BYTES * places + UNIT_BYTES * store.motifs)


def warm_up() -> None:
    """Compile now all that tasks run."""
    mann_whitney.warm_up()
    signed_rank.warm_up()
    site_pairs.warm_up()


def _buffer(size: int) -> np.ndarray:
    while _spare:
        try:
            found = _spare.pop()
        except IndexError:  # another thread was faster
            break
        if len(found) >= size:
            return found
    return np.empty(size, np.float32)


@functools.lru_cache(maxsize=2)
def _open(path: str, digest: str) -> ScoreStore:
    """Return the store, opened once per process; `digest` detects a store that replaced it."""
    return ScoreStore(Path(path))


# The first pass: the statistic describes the examples of a partition. Like the blocks of pairs, partitions
# are parts on disk that a killed reduction keeps.


def folder_of(folder: Path) -> Path:
    """Return the folder of the parts that describe examples."""
    return folder / "examples"


def described_items(store: ScoreStore, rules: Rules) -> list[tuple[str, int]]:
    """Return the (group, partition) items of the statistic's first pass."""
    test = registry.test_of(rules.statistic)
    if test.mean_cutoff and rules.cutoff is not None:  # the mean is all that would be found
        return []
    return [item for item in store.items() if item[0] in test.groups]


def sizes(store: ScoreStore, rules: Rules) -> list[int]:
    """Return the number of rows of each part of examples."""
    each = registry.test_of(rules.statistic).per_example
    return [
        np.diff(store.partitions(group)[partition]).item() if each else 1
        for group, partition in described_items(store, rules)
    ]


def least_bytes(store: ScoreStore, rules: Rules) -> int:
    """Return the minimal memory of a task on examples."""
    most = max(last - first for group in GROUPS for first, last in store.partitions(group))
    laid_out = min(max(LAID_OUT, ROWS * rules.units.pairs), most * rules.units.pairs)
    return READERS + _partition_bytes(store) + laid_out * PAIR_BYTES


def work_examples(store: str, folder: str, digest: str, number: int, rules: Rules) -> None:
    """Describe the examples of a partition and write the part.

    Args:
        store: path of the scores.
        folder: of the parts.
        digest: of the work.
        number: of the partition in `described_items`.
        rules: of the tests.

    Raises:
        ArtefactError: a shard is missing or damaged.
    """
    try:
        opened = ScoreStore(Path(store))
        group, partition = described_items(opened, rules)[number]
        columns = registry.test_of(rules.statistic).describe(
            open_partition(opened, rules.units, group, partition), rules
        )
    except ArtefactError as error:
        raise ArtefactError(
            f"{error}; to find other damage, and its repair: satori-hpc verify {quoted(Path(store).parent.parent)}"
        ) from None
    parts.write(folder_of(Path(folder)), number, columns, digest=digest)


@functools.lru_cache(maxsize=2)
def load(folder: str, digest: str, lines: tuple[int, ...], rules: Rules, store: ScoreStore) -> Rows:
    """Return the statistic's description of the examples, read once per process.

    Raises:
        ArtefactError: parts are missing or damaged.
    """
    found: Rows = {}
    items = described_items(store, rules)
    for group in GROUPS:
        mine = [number for number, item in enumerate(items) if item[0] == group]
        if mine:
            columns = parts.merge(folder_of(Path(folder)), digest=digest, rows=list(lines), numbers=mine)
            # Arrays from Parquet are read-only, which compiled loops treat as another type.
            found[group] = {k: v if v.flags.writeable else v.copy() for k, v in columns.items()}
    return found
