"""Write instances of the interactions in genome coordinates (BEDPE), and the TF network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from satori_hpc import pairs
from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions import block, coordinates, network
from satori_hpc.interactions.coordinates import STRANDS, places
from satori_hpc.interactions.site_pairs import ROWS, PairBlock, Space, Units
from satori_hpc.interactions.statistics.base import Rules
from satori_hpc.log import progress
from satori_hpc.run import files, tsv
from satori_hpc.run.layout import ALL_INSTANCES_ENDINGS, OUTPUT_ENDINGS, Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.store import ScoreStore

WIDTH = 2048  # pairs that are laid out at a time
ALL_ROWS, ALL_INSTANCES = 16, 2**16  # examples that are laid out, and instances that are written, at a time

# The k largest values of many columns, whose rows come in blocks; memory does not grow with the rows.


class Strongest:
    """Keep the largest values of each column, in descending order; ties by row, earlier rows first.

    Args:
        columns: how many there are.
        keep: k, values to keep of each.
        floor: smaller values do not count.

    Attributes:
        score: float32 (columns, keep), -inf where a column has fewer values.
        row: int64 (columns, keep), -1 there.
    """

    def __init__(self, columns: int, keep: int, *, floor: float = -np.inf) -> None:
        self.keep = keep
        self.score = np.full((columns, keep), -np.inf, dtype=np.float32)
        self.row = np.full((columns, keep), -1, dtype=np.int64)
        below = np.nextafter(np.float32(floor), np.float32(-np.inf))
        self._least = np.full(columns, below, dtype=np.float32)  # smaller values cannot enter

    def add(self, block: np.ndarray, columns: np.ndarray, *, first_row: int) -> None:
        """Add rows that follow all rows added before.

        Args:
            block: float32 (rows, n), NaN = no value.
            columns: int64 (n,), which columns these are, each once.
            first_row: number of the block's first row.
        """
        hits = block > self._least[columns]
        crowded = np.flatnonzero(hits.sum(axis=0) > self.keep)
        if len(crowded):  # few of them can stay; finding their least first is faster than to sort all
            values = np.where(hits[:, crowded], block[:, crowded], np.float32(-np.inf))
            place = len(values) - self.keep
            hits[:, crowded] &= block[:, crowded] >= np.partition(values, place, axis=0)[place]
        column, row = np.nonzero(hits.T)
        if not len(column):
            return
        touched, owner = np.unique(column, return_inverse=True)
        numbers = columns[touched]
        owners = np.concatenate([np.repeat(np.arange(len(touched)), self.keep), owner])
        scores = np.concatenate([self.score[numbers].ravel(), block[row, column]])
        rows = np.concatenate([self.row[numbers].ravel(), first_row + row])
        order = np.lexsort((rows, -scores, owners))
        best = order[_place_in_run(owners[order]) < self.keep]
        self.score[numbers] = scores[best].reshape(-1, self.keep)
        self.row[numbers] = rows[best].reshape(-1, self.keep)
        self._least[numbers] = np.maximum(self._least[numbers], self.score[numbers, -1])


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """Return 0, 1, 2, ... within each run of equal values, which must be adjacent."""
    places = np.arange(len(values))
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = values[1:] != values[:-1]
    return places - np.maximum.accumulate(np.where(starts, places, 0))


@dataclass(frozen=True)
class Chosen:
    """The strongest called interactions, in the order of the table.

    Attributes:
        pair: int64 (n,), numbers of the pairs of units.
        name, tf_a, tf_b: str (n,).
        q: float64 (n,).
    """

    pair: np.ndarray
    name: np.ndarray
    tf_a: np.ndarray
    tf_b: np.ndarray
    q: np.ndarray


def paths(run: Run, method: str) -> list[Path]:
    """Return the files written by `write`."""
    path = run.interactions(method)
    return [path.with_name(path.name + ending) for ending in OUTPUT_ENDINGS]


def write(
    run: Run,
    method: str,
    *,
    table: pd.DataFrame,
    tf_table: pd.DataFrame,
    tfs: Sequence[str],
    rules: Rules,
    cutoff: float,
) -> dict[str, Any]:
    """Write instances and network of a method's interactions; numbers for the summary.

    Args:
        run: its store of scores is finished.
        method: of scoring.
        table: of filter pairs (columns: tables.COLUMNS), sorted by q, then p, then AUC falling.
        tf_table: of TF pairs (columns: tables.TF_COLUMNS), sorted likewise.
        tfs: the units that are TFs.
        rules: of the tests of TF pairs, or where there are none, of filter pairs.
        cutoff: of the scores.

    Raises:
        ArtefactError: scores or data set are missing, damaged or unfinished.
    """
    settings = run.config.reduce
    store = score_store.open_complete(run.scores(method))
    chosen = choose(table, tf_table, tfs=tfs, units=rules.units, most=settings.bedpe_interactions)
    found = instances(
        store, Dataset(run.dataset), chosen, keep=settings.bedpe_instances, rules=rules, floor=rules.with_cutoff(cutoff)
    )
    nodes, edges = tf_network(table, tf_table)
    write_bedpe(paths(run, method)[0], found)
    network.write(run.interactions(method), nodes=nodes, edges=edges)
    return {
        "bedpe_interactions": len(chosen.q),
        "bedpe_instances": len(found["score"]),
        "network_nodes": len(nodes),
        "network_edges": len(edges),
    }


def write_all(
    run: Run,
    method: str,
    *,
    table: pd.DataFrame,
    tf_table: pd.DataFrame,
    tfs: Sequence[str],
    rules: Rules,
    cutoff: float,
) -> int:
    """Write the sites that represent every tested pair in every foreground example; how many instances there are.

    As Parquet and BEDPE (columns: COLUMNS), by example, then in the order of the table; memory does not grow with them.
    Arguments and errors: as of `write`.
    """
    store, data = score_store.open_complete(run.scores(method)), Dataset(run.dataset)
    chosen = choose(table, tf_table, tfs=tfs, units=rules.units, most=None)
    parquet, bedpe = (run.interactions(method).with_name(method + ending) for ending in ALL_INSTANCES_ENDINGS)
    total = 0
    with (
        files.atomic_file(parquet) as table_part,
        files.atomic_file(bedpe) as text_part,
        pq.ParquetWriter(table_part, _schema(), compression="zstd") as writer,
    ):
        for some in _gathered(every_instance(store, chosen, rules=rules, floor=rules.with_cutoff(cutoff))):
            columns = _columns(store, data, chosen, *some)
            writer.write_table(pa.table(columns, schema=_schema()))
            tsv.append(text_part, columns, names=COLUMNS, mark="#")
            total += len(some[0])
    return total


def _gathered(parts: Iterator[tuple[np.ndarray, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield instances in tables of `ALL_INSTANCES` or more; the last one has fewer, perhaps none."""
    numbers, sites = np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    empty = (numbers, numbers, np.zeros(0, np.float32), sites, sites)
    waiting: list[tuple[np.ndarray, ...]] = [empty]
    for part in parts:
        waiting.append(part)
        if sum(len(each[0]) for each in waiting) >= ALL_INSTANCES:
            yield tuple(np.concatenate(each) for each in zip(*waiting, strict=True))
            waiting = [empty]
    yield tuple(np.concatenate(each) for each in zip(*waiting, strict=True))


def every_instance(
    store: ScoreStore, chosen: Chosen, *, rules: Rules, floor: float
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the instances of some foreground examples after the other, by example, then interaction.

    Args:
        store, chosen, rules, floor: as in `instances`.

    Yields:
        int64 (n,) interaction and example; float32 (n,) score; int64 (n, 3) twice, as of `sites_at`.
    """
    order = np.argsort(chosen.pair, kind="stable")
    spans = [order[begin:end] for begin, end in runs(chosen.pair[order] // WIDTH)]
    space = Space(ALL_ROWS, WIDTH)
    partitions = store.partitions("foreground") if spans else []
    for partition, (begin, _) in enumerate(progress(partitions, what="all instances", unit="partition")):
        opened = block.open_partition(store, rules.units, "foreground", partition, max_distance=rules.max_distance)
        for start in range(0, len(opened), ALL_ROWS):
            found = []
            for span in spans:
                first = int(chosen.pair[span[0]]) // WIDTH * WIDTH
                some = slice(start, min(start + ALL_ROWS, len(opened)))
                laid = opened.block(first, min(first + WIDTH, rules.units.pairs), some, space)
                at = chosen.pair[span] - first
                score = laid.score[:, at]
                row, column = np.nonzero(score >= np.float32(floor))
                sites = [laid.scores.site[side[row, at[column]], :3] for side in (laid.first, laid.second)]
                found.append((span[column], begin + start + row, score[row, column], *map(np.int64, sites)))
            together = [np.concatenate(each) for each in zip(*found, strict=True)]
            by_example = np.lexsort((together[0], together[1]))
            yield tuple(each[by_example] for each in together)


def choose(
    table: pd.DataFrame, tf_table: pd.DataFrame, *, tfs: Sequence[str], units: Units, most: int | None
) -> Chosen:
    """Return the strongest called interactions: of TFs, or of filters where no two TFs are tested.

    Args:
        table, tf_table, tfs: as in `write`.
        units: of TFs, or of filters.
        most: interactions to take; None = all tested pairs, called or not.
    """
    by_tf = len(tf_table) > 0
    top = tf_table if by_tf else table
    top = top[~top["q"].isna()] if most is None else top[top["called"].astype(bool)].head(most)
    shown, word = (("tf_a", "tf_b"), "") if by_tf else (("filter_a", "filter_b"), "filter")
    number: Mapping[Any, int] = {name: place for place, name in enumerate(tfs)} if by_tf else {}
    first, second = (np.array([number.get(one, one) for one in top[name]], dtype=np.int64) for name in shown)
    return Chosen(
        pair=pairs.index(first, second, filters=units.count),
        name=np.array(
            [f"{word}{a}|{word}{b}" for a, b in zip(*(top[name] for name in shown), strict=True)], dtype=object
        ),
        tf_a=top["tf_a"].to_numpy(object),
        tf_b=top["tf_b"].to_numpy(object),
        q=top["q"].to_numpy(np.float64),
    )


def instances(
    store: ScoreStore, data: Dataset, chosen: Chosen, *, keep: int, rules: Rules, floor: float = -np.inf
) -> dict[str, np.ndarray]:
    """Return the foreground examples in which each interaction scores highest, with its two sites there.

    Args:
        store: finished.
        data: the data set that the foreground comes from.
        chosen: the interactions.
        keep: instances of each.
        rules: which pairs of sites are tested.
        floor: smaller scores are no instances.

    Returns:
        the columns of COLUMNS, by interaction, then score falling, then example.
    """
    best = strongest(store, chosen.pair, keep=keep, rules=rules, floor=floor)
    interaction, _ = np.nonzero(np.isfinite(best.score))
    there = np.isfinite(best.score)
    score, row = best.score[there], best.row[there]
    return _columns(
        store, data, chosen, interaction, row, score, *sites_at(store, rules, chosen.pair[interaction], row)
    )


def _columns(
    store: ScoreStore,
    data: Dataset,
    chosen: Chosen,
    interaction: np.ndarray,
    row: np.ndarray,
    score: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the columns of COLUMNS; arguments as `every_instance` yields them."""
    return _located(store, data, row, (first, second)) | {
        "name": chosen.name[interaction],
        "score": score,
        "tf_a": chosen.tf_a[interaction],
        "tf_b": chosen.tf_b[interaction],
        "filter_a": first[:, 0],
        "filter_b": second[:, 0],
        "distance": second[:, 1] - first[:, 1],
        "q": chosen.q[interaction],
    }


def strongest(store: ScoreStore, numbers: np.ndarray, *, keep: int, rules: Rules, floor: float) -> Strongest:
    """Return the examples in which some pairs score highest.

    Args:
        store: finished.
        numbers: int64, pairs of units, in any order; the columns of the result.
        keep, rules, floor: as in `instances`.
    """
    found = Strongest(len(numbers), keep, floor=floor)
    for start, columns, _, scores in chosen_blocks(store, rules, numbers, "foreground", near=True):
        found.add(scores, columns, first_row=start)
    return found


def chosen_blocks(
    store: ScoreStore, rules: Rules, numbers: np.ndarray, group: str, *, near: bool
) -> Iterator[tuple[int, np.ndarray, PairBlock, np.ndarray]]:
    """Return scores of some pairs in all examples of a group, some at a time; a partition is read once.

    Args:
        store: finished.
        rules: which sites are pooled.
        numbers: int64, pairs of units.
        group: "foreground" or "background".
        near: exclude sites that the rules say are too far apart.

    Yields:
        number of the first example; int64 (n,), positions in `numbers`; their block; their scores (rows, n).
    """
    order = np.argsort(numbers, kind="stable")
    spans = [order[begin:end] for begin, end in runs(numbers[order] // WIDTH)]
    space = Space(ROWS, WIDTH)
    partitions = store.partitions(group) if len(numbers) else []
    for partition, (begin, _) in enumerate(progress(partitions, what=f"instances, {group}", unit="partition")):
        opened = block.open_partition(
            store, rules.units, group, partition, max_distance=rules.max_distance if near else 0
        )
        for span in spans:
            first = int(numbers[span[0]]) // WIDTH * WIDTH
            for laid in opened.blocks(first, min(first + WIDTH, rules.units.pairs), space=space):
                yield begin + laid.rows.start, span, laid, laid.score[:, numbers[span] - first]


def sites_at(store: ScoreStore, rules: Rules, pair: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 (n, 3) twice: motif, start (bp) and strand of the two sites that represent a pair in an example.

    Args:
        store: finished.
        rules: which sites are pooled.
        pair: int64 (n,), pairs of units.
        row: int64 (n,), the examples, in which these pairs are observed.
    """
    out = np.zeros((2, len(row), 3), dtype=np.int64)
    firsts = np.array([first for first, _ in store.partitions("foreground")])
    partition = np.searchsorted(firsts, row, side="right") - 1
    order = np.argsort(partition, kind="stable")
    for begin, end in runs(partition[order]):
        number = int(partition[order[begin]])
        opened = block.open_partition(store, rules.units, "foreground", number, max_distance=rules.max_distance)
        for entry in order[begin:end].tolist():
            place = int(row[entry] - firsts[number])
            laid = opened.block(int(pair[entry]), int(pair[entry]) + 1, slice(place, place + 1))
            for side, site in enumerate((laid.first[0, 0], laid.second[0, 0])):
                out[side, entry] = opened.scores.site[site, :3]
    return out[0], out[1]


def tf_network(table: pd.DataFrame, tf_table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return nodes (columns: network.NODES, by name) and edges (network.EDGES, strongest first) of called TF pairs."""
    edges = tf_table[tf_table["called"].astype(bool)].rename(columns={"tf_a": "source", "tf_b": "target"})
    best: dict[str, list[float]] = {}
    for source, target, q in zip(edges["source"], edges["target"], edges["q"], strict=True):
        best.setdefault(source, []).append(q)
        best.setdefault(target, []).append(q)
    filters: dict[str, set[int]] = {name: set() for name in sorted(best)}
    for side in ("a", "b"):
        for name, number in zip(table[f"tf_{side}"], table[f"filter_{side}"], strict=True):
            if name in filters:
                filters[name].add(int(number))
    rows = [
        (name, len(found), ",".join(f"filter{number}" for number in sorted(found)), len(best[name]), min(best[name]))
        for name, found in filters.items()
    ]
    nodes = pd.DataFrame(rows, columns=list(network.NODES))
    return nodes, edges[list(network.EDGES)]


def _located(
    store: ScoreStore, data: Dataset, row: np.ndarray, sites: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return columns with the positions of instances; sites: (n, 3) each, motif, start and strand in the example."""
    at = places(data, store.examples("foreground")[row])
    strand = np.where(at.own, 0, at.strand)
    widths = store.widths().astype(np.int64)
    columns: dict[str, np.ndarray] = {"example": at.names}
    for number, site in enumerate(sites, start=1):
        start, end = coordinates.letters(site[:, 1], pool=store.pool, width=widths[site[:, 0]], length=data.length)
        start, end = coordinates.on_genome(start, end, example_start=at.start, example_end=at.end, strand=strand)
        columns[f"chrom{number}"] = at.chrom
        columns |= {f"start{number}": start, f"end{number}": end, f"strand{number}": STRANDS[strand * site[:, 2]]}
    return columns


def runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Return [begin, end) of each run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    if len(values):
        yield from zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True)


# interactions/<method>.bedpe: genome coordinates of the strongest instances of the interactions.
#
# BEDPE as bedtools defines it, with a header and own columns after the ten standard ones; intervals are 0-based
# and half-open. End 1 is the site of tf_a, end 2 that of tf_b.

COLUMNS: dict[str, str] = {
    "chrom1": "chromosome of site 1; the example's name where its interval is not as long as its sequence",
    "start1": "first letter that the filter may cover there, 0-based",
    "end1": "one past the last such position",
    "chrom2": "as chrom1, of site 2",
    "start2": "as start1, of site 2",
    "end2": "as end1, of site 2",
    "name": "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named",
    "score": "score of this instance",
    "strand1": "strand of site 1: of its motif in the example, on the strand that the example has in its data set; . = "
    "unknown",
    "strand2": "as strand1, of site 2",
    "tf_a": "TF of site 1, the first of the two in alphabetical order; empty = none",
    "tf_b": "TF of site 2",
    "filter_a": "filter of site 1, one of those named tf_a",
    "filter_b": "filter of site 2",
    "example": "name of the example",
    "distance": "start of site 2 minus start of site 1 (of their bins, for attention), bp, along the sequence as the "
    "network read it",
    "q": "q-value of the interaction",
}


def _schema() -> pa.Schema:
    """Return the columns of <method>.instances.parquet."""
    number = dict.fromkeys(("start1", "end1", "start2", "end2", "filter_a", "filter_b", "distance"), pa.int64())
    number |= {"score": pa.float32(), "q": pa.float64()}
    return pa.schema(
        [pa.field(name, number.get(name, pa.string()), metadata={"meaning": text}) for name, text in COLUMNS.items()]
    )


def write_bedpe(path: Path, columns: Mapping[str, Any]) -> None:
    """Write instances (columns: COLUMNS) atomically."""
    tsv.write(path, columns, names=COLUMNS, mark="#")


def read_bedpe(path: Path) -> pd.DataFrame:
    """Read instances (columns: COLUMNS), with names escaped as in the file.

    Raises:
        ArtefactError: missing or damaged.
    """
    texts = dict.fromkeys(("#chrom1", "chrom2", "name", "strand1", "strand2", "tf_a", "tf_b", "example"), str)
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=texts)
    except (OSError, ValueError) as error:
        mend = f"make it: satori-hpc reduce {quoted(path.parent.parent)} --force"
        raise ArtefactError(f"{path}: cannot be read ({error}); {mend}") from None
    if list(table.columns) != ["#chrom1", *list(COLUMNS)[1:]]:
        raise ArtefactError(
            f"{path}: other columns than expected; satori-hpc reduce {quoted(path.parent.parent)} --force"
        )
    return table.rename(columns={"#chrom1": "chrom1"})
