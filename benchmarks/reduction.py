"""Time the reduction of a score store against a loop over scipy.stats.mannwhitneyu, on one thread.

The store holds 19,900 pairs (200 filters) of 5,000 foreground and 5,000 background examples; 30 % of the scores are
present.

- tests: in memory, every pair's counts, medians, U and p; against the loop, which drops the missing values of each pair
  and calls mannwhitneyu(alternative="greater", method="asymptotic"). Each round takes the next block of pairs; the
  loop, some pairs of it.
- all pairs: both matrices in memory, to q-values, in a process of its own whose peak memory is told.
- the whole stage: from the store on disk to q-values, with medians of distances, in a process of its own whose peak
  memory is told; against the loop's time for as many pairs, without any reading.

    python -m benchmarks.reduction
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import made_up_scores, timing
from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.interactions import block
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.statistics import mann_whitney
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.provenance import process_peak_rss_bytes
from satori_hpc.scoring import store as score_store

BLOCK = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=200)
    parser.add_argument("--examples", type=int, default=5000, help="on each side")
    parser.add_argument("--present", type=float, default=0.3, help="share of the scores that is present")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--looped", type=int, default=64, help="pairs that the loop tests per round")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is not idle")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reduction.md"))
    options = parser.parse_args()
    timing.one_thread()
    number = pairs.count(options.filters)
    ours, loop, ratio = tests(options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.zarr"
        made_up_scores.write(path, filters=options.filters, examples=options.examples, present=options.present)
        size = made_up_scores.bytes_on_disk(path)
        # A fresh process, so that its peak memory is that of the reduction alone.
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            seconds, peak, tested = pool.apply(whole_stage, (path, options.clock))
            memory_seconds, memory_peak = pool.apply(in_memory, (options,))
    text = "\n".join(
        [
            f"# Reduction of {number:,} pairs, 2 x {options.examples:,} examples, {options.present:.0%} present",
            "",
            timing.made_with("numpy", "scipy", "numba", "zarr", "dask"),
            "",
            "| what | loop over mannwhitneyu | this package | times faster |",
            "|---|---|---|---|",
            f"| tests in memory, us per pair | {1e6 * loop:.0f} | {1e6 * ours:.1f} | {ratio} |",
            f"| all pairs in memory, with q-values, s; the loop without | {loop * number:.1f} | {memory_seconds:.2f} "
            f"| {loop * number / memory_seconds:.1f} |",
            f"| whole stage from disk ({size / 2**30:.2f} GiB), s; the loop reads nothing | {loop * number:.1f} | "
            f"{seconds:.2f} | {loop * number / seconds:.1f} |",
            "",
            f"Peak memory: {memory_peak / 2**30:.2f} GiB in memory, both matrices included; {peak / 2**30:.2f} GiB for "
            f"the whole stage. {tested:,} pairs tested. The times of the loop are those of its pairs x {number:,}.",
            "",
        ]
    )
    files.write_text(options.out, text)
    print(text)


def tests(options: argparse.Namespace) -> tuple[float, float, str]:
    """Return median seconds per pair of ours and of the loop, and their ratio in words."""
    rng = np.random.default_rng(1)
    columns = 256
    foreground, background = (made_up_scores.block(rng, options.examples, columns, options.present) for _ in range(2))
    found = mann_whitney.mann_whitney(foreground, background)  # compiles

    def loop() -> object:
        results = []
        for column in range(options.looped):
            x, y = foreground[:, column], background[:, column]
            # In float64: scipy would compute the p-value of float32 values in float32.
            x, y = x[~np.isnan(x)].astype(np.float64), y[~np.isnan(y)].astype(np.float64)
            results.append(stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic"))
        return results

    expected = loop()
    np.testing.assert_array_equal(found.u[: options.looped], [test.statistic for test in expected])  # type: ignore[attr-defined]
    np.testing.assert_allclose(found.p[: options.looped], [test.pvalue for test in expected], rtol=1e-12)  # type: ignore[attr-defined]
    times = timing.race(
        {"loop": loop, "ours": lambda: mann_whitney.mann_whitney(foreground, background)},
        rounds=options.rounds,
        clock=options.clock,
    )
    slow = [second / options.looped for second in times["loop"]]
    fast = [second / columns for second in times["ours"]]
    return statistics.median(fast), statistics.median(slow), timing.ratio(slow, fast)


def in_memory(options: argparse.Namespace) -> tuple[float, int]:
    """Return seconds to test all pairs of two matrices in memory, with q-values, and the peak resident bytes."""
    timing.one_thread()
    mann_whitney.warm_up()
    number = pairs.count(options.filters)
    sides = [np.empty((options.examples, number), dtype=np.float32) for _ in range(2)]
    spans = [slice(first, min(first + BLOCK, number)) for first in range(0, number, BLOCK)]
    for side, matrix in enumerate(sides):
        for span in spans:
            rng = np.random.default_rng([side, span.start])
            matrix[:, span] = made_up_scores.block(rng, options.examples, span.stop - span.start, options.present)
    now = time.perf_counter if options.clock == "wall" else time.process_time
    began = now()
    found = [mann_whitney.mann_whitney(sides[0][:, span], sides[1][:, span]) for span in spans]
    mann_whitney.q_values(np.concatenate([each.p for each in found]))
    return now() - began, process_peak_rss_bytes()


def whole_stage(path: Path, clock: str) -> tuple[float, int, int]:
    """Return seconds of the reduction, peak resident bytes of its process, and pairs tested."""
    timing.one_thread()
    block.warm_up()
    now = time.perf_counter if clock == "wall" else time.process_time
    began = now()
    store = score_store.open_complete(path)
    found = interactions_stage.reduce_store(
        store, path.with_name("parts"), settings=Reduce(), runtime=Runtime(threads=1)
    )
    return now() - began, process_peak_rss_bytes(), int(found.columns["tested"].sum())


if __name__ == "__main__":
    main()
