"""Compute baselines: pairs of known motifs that predict the labels without a network.

The user's own motifs are looked for in all labelled sequences, hits that overlap compete, hits of motifs of one TF are
pooled, and pairs of TFs within range are tested: do they co-occur in positives more often than independent TFs
would (co-occurrence); are they more common in positives than in negatives; do they predict the label beyond the
counts of all TFs (score test)? Compare a network with the last.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

from satori_hpc import pairs
from satori_hpc.data.dataset import Dataset
from satori_hpc.data.zarr_arrays import StoredRows
from satori_hpc.evaluation import cooccurrence, score_test
from satori_hpc.evaluation.score_test import Block, PairTests
from satori_hpc.motifs import configured, families
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.hits import Hits, winners
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store

SAMPLE = int.from_bytes(b"yard", "big")
SEQUENCES = 20_000  # looked at, of larger sets drawn at random: enough for pairs in 1 of 1,000 sequences
LABELS = 20  # of several labels the most common ones
RANGES = (20, 45)  # bp: the range of most TF interactions on DNA, and of DNA between nucleosomes
EXAMPLES_AT_ONCE = 4096
CO_OCCURRENCE, AGAINST_NEGATIVES, SCORE_TEST = "co-occurrence in positives", "positives against negatives", "score test"
UNKNOWN = 255


@dataclass(frozen=True)
class Yardsticks:
    """Results of the baseline tests.

    Attributes:
        tfs: names, in the order of their numbers.
        sequences: looked at. labelled: there are.
        labels: tested one after the other; a pair is reported with its best one.
        hits: of motifs per sequence, after competition.
        collection: title of the motifs.
        tests: {(test, range in bp): pairs of TFs, by number}.
    """

    tfs: list[str]
    sequences: int
    labelled: int
    labels: int
    hits: float
    collection: str
    tests: dict[tuple[str, int], PairTests]


def measure(run: Run, runtime: Runtime) -> Yardsticks:
    """Test all pairs of the TFs that the run can call on the labels of the data set.

    Raises:
        InputError: the motifs cannot be used.
    """
    table = motif_store.read_tf(run.motifs)
    known = configured.candidates(run, set(table.loc[table["named"], "tf"]))
    unit_of = families.namer(run.config.reduce.level)
    names = [unit_of(name) for name in tf_names.of_motifs(known.motifs)]
    tfs, tf_of_motif = np.unique(names, return_inverse=True)
    data = Dataset(run.dataset)
    rows, labels = _sequences(data, seed=run.config.seed)
    blocks = list(hits_of_tfs(data.tokens, rows, known.motifs, tf_of_motif, threads=runtime.cpu_threads()))
    return Yardsticks(
        tfs=tfs.tolist(),
        sequences=len(rows),
        labelled=len(data),
        labels=len(labels),
        hits=sum(len(hits) for hits in blocks) / max(len(rows), 1),
        collection=known.title,
        tests=all_tests(blocks, [column[rows] for column in labels], len(tfs), length=data.length),
    )


def all_tests(hits: list[Hits], labels: list[np.ndarray], tfs: int, *, length: int) -> dict[tuple[str, int], PairTests]:
    """Return all tests at all ranges, over all labels.

    Args:
        hits: of TFs, after competition, in `EXAMPLES_AT_ONCE` sequences each, from 0 in each.
        labels: (sequences,) of each label: 0, 1 or `UNKNOWN`.
        tfs: how many there are.
        length: of the sequences, bp.
    """
    found: dict[tuple[str, int], list[PairTests]] = {}
    for column in labels:
        blocks = [_known(rows, column[k * EXAMPLES_AT_ONCE :][:EXAMPLES_AT_ONCE]) for k, rows in enumerate(hits)]
        if len(np.unique(column[column != UNKNOWN])) < 2:
            continue
        for reach in RANGES:
            together = _together(blocks, tfs, length=length, max_gap=reach)
            found.setdefault((CO_OCCURRENCE, reach), []).append(together)
        for test, counted in ((AGAINST_NEGATIVES, False), (SCORE_TEST, True)):
            model = score_test.fit(blocks, tfs, logistic=True, counted=counted)
            least = {} if counted else {"of_larger": 0.0, "of_mean": 0.0}
            for reach in RANGES:
                tested = score_test.measure(blocks, model, max_gap=reach, **least)
                found.setdefault((test, reach), []).append(tested)
    return {key: best_label(tests, tfs, labels=len(labels)) for key, tests in found.items()}


def _together(blocks: list[Block], tfs: int, *, length: int, max_gap: int) -> PairTests:
    """Return co-occurrence in positives; of a TF the most significant hit of each sequence."""
    parts, examples = [], 0
    for block in blocks:
        positive = _chosen(block, block.labels == 1)
        best = np.lexsort((-positive.hits.neg_log10_p, positive.hits.motif, positive.hits.example))
        key = positive.hits.example[best] * tfs + positive.hits.motif[best]
        lone = positive.hits.take(np.sort(best[np.unique(key, return_index=True)[1]]))
        parts.append(replace(lone, example=lone.example + examples))
        examples += positive.examples
    whole = Hits(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
    found = cooccurrence.measure_lone(whole, examples=examples, length=length, tfs=tfs, max_gap=max_gap)
    tested = np.flatnonzero(~np.isnan(found.z) & (np.maximum(found.observed, found.expected) >= score_test.LEAST))
    expected, z = found.expected[tested], found.z[tested]
    with np.errstate(divide="ignore"):
        effect = np.log(found.observed[tested] / expected)
    return PairTests(
        first=found.tf_a[tested],
        second=found.tf_b[tested],
        sequences=found.observed[tested],
        effect=effect,
        error=np.abs((found.observed[tested] - expected) / np.where(z == 0, 1, z)) / expected,
        margin=np.zeros(len(tested)),
        z=z,
        neg_log10_p=-special.log_ndtr(-z) / np.log(10),
        q=stats.false_discovery_control(found.p[tested], method="bh") if len(tested) else np.zeros(0),
    )


def best_label(tests: list[PairTests], tfs: int, *, labels: int) -> PairTests:
    """Return each pair with its most significant label; its p-value times the number of labels (Bonferroni)."""
    if len(tests) == labels == 1:
        return tests[0]
    columns = {name: np.concatenate([getattr(test, name) for test in tests]) for name in vars(tests[0])}
    columns["neg_log10_p"] = np.maximum(columns["neg_log10_p"] - np.log10(labels), 0.0)
    number = pairs.index(columns["first"], columns["second"], filters=tfs)
    order = np.lexsort((-columns["neg_log10_p"], number))
    best = order[np.unique(number[order], return_index=True)[1]]
    kept = {name: column[best] for name, column in columns.items()}
    p = 10.0 ** -kept["neg_log10_p"]
    kept["q"] = stats.false_discovery_control(p, method="bh") if len(p) else p
    return PairTests(**kept)


def _sequences(data: Dataset, *, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return rows of the sequences to use, sorted, and the columns of labels to test."""
    rows = np.arange(len(data))
    if len(rows) > SEQUENCES:
        rows = np.sort(np.random.default_rng([seed, SAMPLE]).choice(len(rows), size=SEQUENCES, replace=False))
    positives = np.array([np.count_nonzero(data.labels[:, k] == 1) for k in range(data.labels.shape[1])])
    common = np.sort(np.argsort(-positives, kind="stable")[:LABELS])
    return rows, [data.labels[:, k] for k in common]


def hits_of_tfs(
    tokens: StoredRows | np.ndarray,
    rows: np.ndarray,
    motifs: Sequence[Motif],
    tf_of_motif: np.ndarray,
    *,
    threads: int,
) -> Iterator[Hits]:
    """Return hits of TFs after competition, of `EXAMPLES_AT_ONCE` sequences at a time.

    Args:
        tokens: uint8 (examples, length). rows: of the sequences to look at.
        motifs: of the collection. tf_of_motif: int (motifs,), number of the TF of each.
    """
    cuts = [rows[first : first + EXAMPLES_AT_ONCE] for first in range(0, len(rows), EXAMPLES_AT_ONCE)]
    letters = np.ones(5, dtype=np.int64)  # a base that never occurs would make the background useless
    for cut in cuts:
        letters += np.bincount(np.minimum(tokens[cut], 4).ravel(), minlength=5)
    bank = MotifBank.from_motifs(motifs, background=letters[:4] / letters[:4].sum())
    for cut in cuts:
        kept = winners(bank.scan(tokens[cut], threads=threads))
        yield replace(kept, motif=tf_of_motif[kept.motif])


def _known(hits: Hits, labels: np.ndarray) -> Block:
    """Return the sequences whose label is known."""
    return _chosen(Block(len(labels), hits, labels.astype(np.float64)), labels != UNKNOWN)


def _chosen(block: Block, chosen: np.ndarray) -> Block:
    """Select sequences of a block and renumber them."""
    if chosen.all():
        return block
    kept = block.hits.take(chosen[block.hits.example])
    place = np.cumsum(chosen) - 1
    return Block(int(chosen.sum()), replace(kept, example=place[kept.example]), block.labels[chosen])
