"""What other programs take up: instances of the interactions in genome coordinates, and the network of TFs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc import pairs
from satori_hpc.data import dataset
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions import coordinates, network
from satori_hpc.interactions.coordinates import STRANDS, places
from satori_hpc.interactions.statistics import registry
from satori_hpc.log import progress
from satori_hpc.run import tsv
from satori_hpc.run.layout import OUTPUT_ENDINGS, Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import ARRAYS
from satori_hpc.scoring.store import ScoreStore

# The k largest values of many columns, whose rows come in blocks; memory does not grow with the rows.


class Strongest:
    """The largest values of each column, falling; equal values by row, the first rows before the later ones.

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
        self._least = np.full(columns, below, dtype=np.float32)  # what is not above it cannot get in

    def add(self, block: np.ndarray, columns: np.ndarray, *, first_row: int) -> None:
        """Take in rows that lie behind all rows that came before.

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


def merge(group: np.ndarray, row: np.ndarray, score: np.ndarray, *, keep: int) -> np.ndarray:
    """Choose the `keep` rows of each group that score highest; a row that a group has several times counts once.

    Args:
        group: int64 (n,).
        row: int64 (n,).
        score: float32 (n,); of a row's several entries in a group the largest counts, and of equal ones the first.

    Returns:
        int64, which entries are chosen, by group, then score falling, then row.
    """
    order = np.lexsort((np.arange(len(group)), -score, row, group))
    again = (np.diff(group[order]) == 0) & (np.diff(row[order]) == 0)
    once = order[np.concatenate([np.ones(min(1, len(order)), dtype=bool), ~again])]
    ranked = once[np.lexsort((row[once], -score[once], group[once]))]
    chosen: np.ndarray = ranked[_place_in_run(group[ranked]) < keep]
    return chosen


def _place_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal values; equal values must be beside each other."""
    places = np.arange(len(values))
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = values[1:] != values[:-1]
    return places - np.maximum.accumulate(np.where(starts, places, 0))


@dataclass(frozen=True)
class Chosen:
    """The interactions whose instances are told, and their filter pairs, by interaction, then by the table's order.

    Attributes:
        interaction: int64 (pairs,), rank of the interaction that the filter pair belongs to.
        pair: int64 (pairs,), its number; none comes twice.
        swapped: bool (pairs,), whether filter_b of the pair is the filter of tf_a.
        name, tf_a, tf_b: str (interactions,).
        q: float64 (interactions,).
    """

    interaction: np.ndarray
    pair: np.ndarray
    swapped: np.ndarray
    name: np.ndarray
    tf_a: np.ndarray
    tf_b: np.ndarray
    q: np.ndarray


def paths(run: Run, method: str) -> list[Path]:
    """The files that `write` makes."""
    path = run.interactions(method)
    return [path.with_name(path.name + ending) for ending in OUTPUT_ENDINGS]


def write(run: Run, method: str, *, table: pd.DataFrame, tf_table: pd.DataFrame) -> dict[str, Any]:
    """Write instances and network of a method's interactions; numbers for the summary.

    Args:
        run: its store of scores is finished.
        method: of scoring.
        table: of filter pairs (columns: tables.COLUMNS), sorted by q, then p, then AUC falling.
        tf_table: of TF pairs (columns: tables.TF_COLUMNS), sorted likewise.

    Raises:
        ArtefactError: scores or data set are missing, damaged or unfinished.
    """
    settings = run.config.reduce
    store = score_store.open_complete(run.scores(method))
    chosen = choose(table, tf_table, filters=store.filters, most=settings.bedpe_interactions)
    floor = floor_of(run, method, store)
    found = instances(store, run.dataset, chosen, keep=settings.bedpe_instances, floor=floor)
    nodes, edges = tf_network(table, tf_table)
    write_bedpe(paths(run, method)[0], found)
    network.write(run.interactions(method), nodes=nodes, edges=edges)
    return {
        "bedpe_interactions": len(chosen.q),
        "bedpe_instances": len(found["score"]),
        "network_nodes": len(nodes),
        "network_edges": len(edges),
    }


def floor_of(run: Run, method: str, store: ScoreStore) -> float:
    """Smaller scores of a method count as not observed."""
    settings = run.config.reduce
    if settings.cutoff_rule != "value":
        return -np.inf
    return registry.cutoff_of(settings, registry.statistic_of(run.config, method), store)


def choose(table: pd.DataFrame, tf_table: pd.DataFrame, *, filters: int, most: int) -> Chosen:
    """The strongest called interactions: of TFs, or of filters where no two TFs are named.

    Args:
        table, tf_table: as in `write`.
        filters: F.
        most: interactions to take.
    """
    called = table[table["called"].astype(bool)]
    by_tf = len(tf_table) > 0
    top = (tf_table[tf_table["called"].astype(bool)] if by_tf else called).head(most)
    names = list(zip(called["tf_a"], called["tf_b"], strict=True))
    if by_tf:
        rank = {both: place for place, both in enumerate(zip(top["tf_a"], top["tf_b"], strict=True))}
        place = np.array([rank.get((min(both), max(both)), -1) for both in names], dtype=np.int64)
    else:
        place = np.where(np.arange(len(called)) < most, np.arange(len(called)), -1)
    order = np.argsort(place, kind="stable")[np.count_nonzero(place < 0) :]
    swapped = np.array([by_tf and first > second for first, second in names], dtype=bool)
    first, second = (called[name].to_numpy(np.int64)[order] for name in ("filter_a", "filter_b"))
    shown, word = (("tf_a", "tf_b"), "") if by_tf else (("filter_a", "filter_b"), "filter")
    return Chosen(
        interaction=place[order],
        pair=pairs.index(first, second, filters=filters),
        swapped=swapped[order],
        name=np.array(
            [f"{word}{a}|{word}{b}" for a, b in zip(*(top[name] for name in shown), strict=True)], dtype=object
        ),
        tf_a=top["tf_a"].to_numpy(object),
        tf_b=top["tf_b"].to_numpy(object),
        q=top["q"].to_numpy(np.float64),
    )


def instances(
    store: ScoreStore, dataset_path: Path, chosen: Chosen, *, keep: int, floor: float = -np.inf
) -> dict[str, np.ndarray]:
    """The foreground examples in which each interaction scores highest, with the letters of its two sites.

    An example counts once per interaction, with the filter pair that scores highest in it.

    Args:
        store: finished.
        dataset_path: the data set that the foreground comes from.
        chosen: the interactions.
        keep: instances of each.
        floor: smaller scores are no instances.

    Returns:
        the columns of bedpe.COLUMNS, by interaction, then score falling, then example.
    """
    numbers = np.sort(chosen.pair)
    best = strongest(store, numbers, keep=keep, floor=floor)
    mine = np.searchsorted(numbers, chosen.pair)  # by interaction, so that ties go to its best filter pair
    there = np.isfinite(best.score[mine])
    owner = np.nonzero(there)[0]
    score, row = best.score[mine][there], best.row[mine][there]
    take = merge(chosen.interaction[owner], row, score, keep=keep)
    owner, score, row = owner[take], score[take], row[take]

    position, distance = (entries(store, name, chosen.pair[owner], row) for name in ("position", "distance"))
    cells = np.stack([position, position + distance], axis=1)  # of the smaller and of the larger filter
    filters = np.stack(pairs.filters_of(store.filters), axis=1)[chosen.pair[owner]]
    swapped = chosen.swapped[owner]
    cells[swapped], filters[swapped] = cells[swapped, ::-1], filters[swapped, ::-1]

    interaction = chosen.interaction[owner]
    return _located(store, dataset_path, row, cells) | {
        "name": chosen.name[interaction],
        "score": score,
        "tf_a": chosen.tf_a[interaction],
        "tf_b": chosen.tf_b[interaction],
        "filter_a": filters[:, 0],
        "filter_b": filters[:, 1],
        "distance": cells[:, 1] - cells[:, 0],
        "q": chosen.q[interaction],
    }


def strongest(store: ScoreStore, numbers: np.ndarray, *, keep: int, floor: float) -> Strongest:
    """The examples in which some pairs score highest; every inner chunk that holds one of them is read once.

    Args:
        store: finished.
        numbers: int64, pairs, rising; the columns of what comes back.
        keep, floor: as in `instances`.
    """
    found = Strongest(len(numbers), keep, floor=floor)
    chunk = np.empty((store.shard_rows("foreground"), store.chunk_pairs), dtype=ARRAYS["score"])
    spans = list(runs(numbers // store.chunk_pairs))
    partitions = store.partitions("foreground") if len(numbers) else []
    for partition, (first, last) in enumerate(progress(partitions, what="instances", unit="partition")):
        with store.shard("foreground", "score", partition) as shard:
            for begin, end in spans:
                block = int(numbers[begin]) // store.chunk_pairs
                shard.read(block, chunk)
                values = chunk[: last - first, numbers[begin:end] - block * store.chunk_pairs]
                found.add(values, np.arange(begin, end), first_row=first)
    return found


def entries(store: ScoreStore, name: str, numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 (n,): what an array of the foreground holds at some pairs and rows; an inner chunk is read once."""
    out = np.empty(len(rows), dtype=np.int64)
    firsts = np.array([first for first, _ in store.partitions("foreground")])
    partition, block = np.searchsorted(firsts, rows, side="right") - 1, numbers // store.chunk_pairs
    order = np.lexsort((block, partition))
    chunk = np.empty((store.shard_rows("foreground"), store.chunk_pairs), dtype=ARRAYS[name])
    for begin, end in runs(partition[order]):
        with store.shard("foreground", name, int(partition[order[begin]])) as shard:
            for left, right in runs(block[order[begin:end]]):
                some = order[begin + left : begin + right]
                shard.read(int(block[some[0]]), chunk)
                out[some] = chunk[rows[some] - firsts[partition[some]], numbers[some] - block[some] * store.chunk_pairs]
    return out


def tf_network(table: pd.DataFrame, tf_table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes (columns: network.NODES, by name) and edges (network.EDGES, strongest first) of the called TF pairs."""
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


def _located(store: ScoreStore, dataset_path: Path, row: np.ndarray, cells: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that say where instances lie; cells: (n, 2), starts of the cells of both sites, bp."""
    at = places(dataset_path, store.examples("foreground")[row])
    strand = np.where(at.own, 0, at.strand)
    columns: dict[str, np.ndarray] = {"example": at.names}
    for number, position in enumerate(cells.T, start=1):
        start, end = coordinates.letters(
            position,
            pool=store.attributes["pool"],
            padding=store.attributes["padding"],
            width=store.attributes["width"],
            length=dataset.read_length(dataset_path),
        )
        start, end = coordinates.on_genome(start, end, example_start=at.start, example_end=at.end, strand=strand)
        columns[f"chrom{number}"] = at.chrom
        columns |= {f"start{number}": start, f"end{number}": end, f"strand{number}": STRANDS[strand]}
    return columns


def runs(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """[begin, end) of each run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    if len(values):
        yield from zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True)


# interactions/<method>.bedpe: where in the genome the strongest instances of the interactions lie.
#
# BEDPE as bedtools defines it, with a header and columns of our own behind the ten standard ones; intervals are 0-based
# and half-open. End 1 is the site of tf_a, end 2 that of tf_b.

COLUMNS: dict[str, str] = {
    "chrom1": "chromosome of site 1; the example's name where its interval is not as long as its sequence",
    "start1": "first letter that the filter may cover there, 0-based",
    "end1": "behind the last such letter",
    "chrom2": "as chrom1, of site 2",
    "start2": "as start1, of site 2",
    "end2": "as end1, of site 2",
    "name": "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named",
    "score": "score of this instance",
    "strand1": "strand of the example in its data set: + or -, . = not told",
    "strand2": "the same",
    "tf_a": "TF of site 1, the first of the two in alphabetical order; empty = none",
    "tf_b": "TF of site 2",
    "filter_a": "filter of site 1",
    "filter_b": "filter of site 2",
    "example": "name of the example",
    "distance": "start of site 2's cell minus start of site 1's, bp, along the sequence as the network read it",
    "q": "q-value of the interaction",
}


def write_bedpe(path: Path, columns: Mapping[str, Any]) -> None:
    """Write instances (columns: COLUMNS) atomically."""
    tsv.write(path, columns, names=COLUMNS, mark="#")


def read_bedpe(path: Path) -> pd.DataFrame:
    """Instances (columns: COLUMNS), names escaped as they stand in the file.

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
