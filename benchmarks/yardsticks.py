"""Baselines without a network, on every design of the simulator: python -m benchmarks.yardsticks

Seed 1 served to choose the smallest effect of the score test; seeds 2 and 3 were not looked at before. The motifs are
JASPAR's vertebrates, thinned to a similarity of .8: 157, from which the 12 of each set are drawn. About four minutes on
one core.
"""

import dataclasses
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from satori_hpc.config import Simulated
from satori_hpc.data.sources.simulate import implant, instances, pool
from satori_hpc.evaluation import calls, score_test, yardsticks
from satori_hpc.evaluation.score_test import Block
from satori_hpc.motifs import collection, names, readers
from satori_hpc.motifs.hits import Hits
from satori_hpc.motifs.motif import Motif
from satori_hpc.run import files

OUT = Path(__file__).parent / "results" / "yardsticks.md"
SEEDS = (1, 2, 3)
EXAMPLES = 12_000
ALPHA = 0.05
SETS: dict[str, dict[str, Any]] = {
    "grammar": {"length": 200},
    "additive": {"length": 200},
    "arrange": {"length": 240},
    "one-motif": {"length": 240},
    "one-pair": {"length": 240},
    "hard": {"length": 200, "pairs": 15, "pairs_per_positive_min": 2, "pairs_per_positive_max": 2},
}
SMALLEST = ((0.0, 0.0), (0.0, 0.1), (0.02, 0.1), (0.05, 0.1), (0.1, 0.1), (0.25, 0.1))


@dataclasses.dataclass(frozen=True)
class Made:
    """A set, and the hits of TFs in it."""

    pairs: dict[str, set[calls.Pair]]
    tokens: np.ndarray
    labels: np.ndarray
    hits: list[Hits]
    length: int


def main() -> None:
    known = collection.thin(readers.jaspar(release="JASPAR2026", collection="CORE", groups=("vertebrates",)), 0.8)
    tfs, tf_of_motif = np.unique(names.of_motifs(known), return_inverse=True)
    speed = measured(known, tf_of_motif, len(tfs))
    table, choice = [], []
    for design, options in SETS.items():
        for seed in SEEDS:
            made = make(known, tf_of_motif, design, seed=seed, examples=EXAMPLES, **options)
            table.append(line(made, tfs, design, seed))
            if seed == 1:
                choice.append(f"| {design} | " + " | ".join(smallest_effects(made, tfs)) + " |")
            print(table[-1], flush=True)
    kinds = [f"{test}, {reach} bp" for test in TESTS for reach in yardsticks.RANGES]
    text = [
        "# What is found without a network",
        "",
        f"Made by `python -m benchmarks.yardsticks`, one thread on {timing.processor()}.",
        "",
        f"{EXAMPLES} sequences of 200 or 240 bp, 12 TFs; tested are all pairs of the {len(tfs)} TFs of the thinned "
        f"JASPAR vertebrates. Called (q <= {ALPHA}) / true / decoys of tested, F1. Seed 1 served to choose constants.",
        "",
        f"| set | seed | true, decoys | {' | '.join(kinds)} |",
        "|---" * (3 + len(kinds)) + "|",
        *table,
        "",
        "## The smallest effect of the score test (seed 1)",
        "",
        "Called / true within 20 and 45 bp, by share of the larger effect of the two TFs, and of the mean of all hits.",
        "",
        f"| set | {' | '.join(f'{larger:g}, {mean:g}' for larger, mean in SMALLEST)} |",
        "|---" * (1 + len(SMALLEST)) + "|",
        *choice,
        "",
        "## Time and memory, one thread",
        "",
        *speed,
        "",
    ]
    files.write_text(OUT, "\n".join(text))


TESTS = (yardsticks.CO_OCCURRENCE, yardsticks.AGAINST_NEGATIVES, yardsticks.SCORE_TEST)


def make(known: list[Motif], tf_of_motif: np.ndarray, design: str, *, seed: int, examples: int, **options: Any) -> Made:
    """Simulate a set and look for the motifs in it."""
    defaults = {"tfs": 12, "pairs": 12, "motif_information_min": 12.0, "jaspar_similarity_max": 0.8}
    config = Simulated(**{"design": design, "examples": examples, **defaults, **options})
    found = list(config.problems())
    assert not found, found
    motifs = pool.select(known, config, seed=seed)
    background = np.array(config.base_frequencies)
    pwms = [
        instances.make_pwm(item.name, item.counts, background=background) for item in motifs if item.counts is not None
    ]
    pairs = pool.draw_roles(config, seed=seed)
    made = implant.simulate(pwms, pairs, config, seed=seed)
    of_role: dict[str, set[calls.Pair]] = {role: set() for role in pool.ROLES}
    for (a, b), role in zip(pairs.all.tolist(), pairs.roles, strict=True):
        of_role[role].add(calls.key(motifs[a].name, motifs[b].name))
    rows = np.arange(examples)
    hits = list(yardsticks.hits_of_tfs(made.tokens, rows, known, tf_of_motif, threads=1))
    return Made(of_role, made.tokens, made.labels, hits, config.length)


def line(made: Made, tfs: np.ndarray, design: str, seed: int) -> str:
    found = yardsticks.all_tests(made.hits, [made.labels], len(tfs), length=made.length)
    true, decoys = len(made.pairs["true"]), len(made.pairs["decoy"])
    cells = [cell(made, tfs, found[test, reach]) for test in TESTS for reach in yardsticks.RANGES]
    return f"| {design} | {seed} | {true}, {decoys} | {' | '.join(cells)} |"


def cell(made: Made, tfs: np.ndarray, found: score_test.PairTests) -> str:
    called, right, decoys = counts(made, tfs, found)
    true = len(made.pairs["true"])
    return f"{called}/{right}/{decoys} of {len(found.z)}" + (f", {2 * right / (called + true):.2f}" if true else "")


def counts(made: Made, tfs: np.ndarray, found: score_test.PairTests) -> tuple[int, int, int]:
    """Return pairs called, true ones and decoys among them."""
    rows = np.flatnonzero(found.q <= ALPHA)
    called = {calls.key(tfs[found.first[row]], tfs[found.second[row]]) for row in rows}
    return len(called), len(called & made.pairs["true"]), len(called & made.pairs["decoy"])


def blocks_of(made: Made) -> list[Block]:
    parts = np.split(made.labels.astype(np.float64), np.arange(1, len(made.hits)) * yardsticks.EXAMPLES_AT_ONCE)
    return [Block(len(labels), hits, labels) for labels, hits in zip(parts, made.hits, strict=True)]


def smallest_effects(made: Made, tfs: np.ndarray) -> Iterator[str]:
    blocks = blocks_of(made)
    model = score_test.fit(blocks, len(tfs), logistic=True)
    for larger, mean in SMALLEST:
        each = [
            counts(made, tfs, score_test.measure(blocks, model, max_gap=reach, of_larger=larger, of_mean=mean))
            for reach in yardsticks.RANGES
        ]
        yield ", ".join(f"{called}/{right}" for called, right, _ in each)


def measured(known: list[Motif], tf_of_motif: np.ndarray, tfs: int) -> list[str]:
    """Return CPU seconds and memory of the score test of all pairs in 20,000 sequences of 200 bp."""
    lines = ["| 20,000 x 200 bp, 157 motifs | CPU s | pairs tested | peak RSS so far, MiB |", "|---|---|---|---|"]

    def add(what: str, seconds: float, tested: object = "") -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines.append(f"| {what} | {seconds:.1f} | {tested} | {peak:.0f} |")

    begin = time.process_time()
    made = make(known, tf_of_motif, "grammar", seed=1, examples=20_000, length=200)
    add("simulate, scan (with compilation), compete", time.process_time() - begin)
    begin = time.process_time()
    model = score_test.fit(blocks_of(made), tfs, logistic=True)
    add("fit the counts", time.process_time() - begin)
    for reach in yardsticks.RANGES:
        begin = time.process_time()
        found = score_test.measure(blocks_of(made), model, max_gap=reach)
        add(f"score test within {reach} bp", time.process_time() - begin, len(found.z))
    begin = time.process_time()
    hits = list(yardsticks.hits_of_tfs(made.tokens, np.arange(20_000), known, tf_of_motif, threads=1))
    every = yardsticks.all_tests(hits, [made.labels], tfs, length=made.length)
    tested = sum(len(found.z) for found in every.values())
    add("scan, compete, all three tests at both ranges", time.process_time() - begin, tested)
    return lines


if __name__ == "__main__":
    main()
