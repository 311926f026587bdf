"""Reduce score stores of cluster size: time, memory, and how much faster than a loop over scipy.

The main store holds 19,900 pairs (200 filters) of 80,000 foreground and 80,000 background examples, 30 % of the scores
present. All that the stage reduce does with scores, from the shards to q-values, runs in a process of its own; wall
time, processor time of all its threads and peak resident memory are told. Beside it

- the loop over scipy.stats.mannwhitneyu(alternative="greater", method="asymptotic") on some columns of the same store,
  once with the columns in memory (float64, nothing read), once read and laid out as pairs, 256 at a time;
- stores of N, 4 N and 16 N examples in a fixed memory: time should grow in line, memory stay;
- 505 filters (127,260 pairs) in the same memory as the main store.

    python -m benchmarks.reduction_scale --folder /scratch/me
    python -m benchmarks.reduction_scale --store made-before.zarr       (a main store is kept where --store names it)
"""

import argparse
import dataclasses
import multiprocessing
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import made_up_scores, timing
from satori_hpc import pairs
from satori_hpc.config import Reduce
from satori_hpc.interactions import block
from satori_hpc.interactions import stage as interactions_stage
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.statistics import mann_whitney
from satori_hpc.log import logger
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import markers_of
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS

LIBRARIES = ("numpy", "scipy", "numba", "zarr", "dask")


@dataclasses.dataclass(frozen=True)
class Measured:
    """A reduction: seconds of wall and processor, peak resident bytes, pairs tested."""

    wall: float
    cpu: float
    peak: int
    tested: int
    examples: int
    pairs: int
    size: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=200)
    parser.add_argument("--examples", type=int, default=80_000, help="on each side")
    parser.add_argument("--present", type=float, default=0.3, help="share of the scores that is present")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=memory.parse, default=memory.parse("3G"), help="bound of each reduction")
    parser.add_argument("--looped", type=int, default=48, help="pairs that the loop tests")
    parser.add_argument("--growth", type=int, default=5_000, help="N, examples on each side")
    parser.add_argument("--growth-filters", type=int, default=100)
    parser.add_argument("--growth-memory", type=memory.parse, default=memory.parse("768M"))
    parser.add_argument("--many-filters", type=int, default=505)
    parser.add_argument("--many-examples", type=int, default=4_000)
    parser.add_argument("--store", type=Path, help="keep the main store here, or use the one that is here")
    parser.add_argument("--folder", type=Path, help="for the stores; default: the system's folder for temporary files")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reduction_scale.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder)
        with store(options.store or place / "main.zarr", options.filters, options.examples, options) as path:
            main_row = reduced(path, threads=options.threads, bound=options.memory)
            loop, reading = fresh(loop_seconds, path, options.looped)
        growth = []
        for factor in (1, 4, 16):
            name, examples = place / f"growth{factor}.zarr", factor * options.growth
            with store(name, options.growth_filters, examples, options) as path:
                growth.append(reduced(path, threads=options.threads, bound=options.growth_memory))
        with store(place / "many.zarr", options.many_filters, options.many_examples, options) as path:
            many = reduced(path, threads=options.threads, bound=options.memory)
    text = report(options, main_row, loop, reading, growth, many)
    files.write_text(options.out, text)
    print(text)


def report(
    options: argparse.Namespace, main_row: Measured, loop: float, reading: float, growth: list[Measured], many: Measured
) -> str:
    """Return the results as Markdown."""
    own = main_row.cpu / main_row.pairs

    def row(what: str, found: Measured, bound: int) -> str:
        return (
            f"| {what} | {found.pairs:,} | {found.examples:,} | {memory.show(found.size)} | {found.wall:.1f} "
            f"| {found.cpu:.1f} | {1e3 * found.cpu / found.pairs:.2f} | {memory.show(found.peak)} "
            f"| {memory.show(bound)} |"
        )

    return "\n".join(
        [
            f"# Reduction at scale, {options.threads} threads, {options.present:.0%} of the scores present",
            "",
            f"Made by `{' '.join(['python -m benchmarks.reduction_scale', *sys.argv[1:]])}` on {timing.processor()}, "
            f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in LIBRARIES)}.",
            "",
            "| store | pairs | examples per side | on disk | wall s | CPU s | CPU ms per pair | peak memory | bound |",
            "|---|---|---|---|---|---|---|---|---|",
            row("main", main_row, options.memory),
            *(row(f"growth x {4**step}", found, options.growth_memory) for step, found in enumerate(growth)),
            row(f"{options.many_filters} filters", many, options.memory),
            "",
            "CPU time is that of all threads of the process, its start and the compiling of its loops left out; peak "
            "memory is that of the whole process, from the kernel. Disk counts sites and values.",
            "",
            "| per pair of the main store, ms of CPU | loop over mannwhitneyu | this package | times faster per core |",
            "|---|---|---|---|",
            f"| columns in memory, nothing read; ours reads | {1e3 * loop:.2f} | {1e3 * own:.2f} | {loop / own:.1f} |",
            f"| columns read and laid out | {1e3 * (loop + reading):.2f} | {1e3 * own:.2f} | "
            f"{(loop + reading) / own:.1f} |",
            "",
            f"The loop tested {options.looped} pairs, dropping missing values; its counts, U and p agree with ours. "
            f"{main_row.tested:,} pairs of the main store were tested.",
            "",
        ]
    )


@contextmanager
def store(path: Path, filters: int, examples: int, options: argparse.Namespace) -> Iterator[Path]:
    """Return a made-up store; removed afterwards unless it is the one to keep."""
    fresh(made_up_scores.make, path, filters, examples, options.present)
    yield path
    if path != options.store:
        shutil.rmtree(path)
        shutil.rmtree(markers_of(path))


def fresh(function: Any, *arguments: Any) -> Any:
    """Call a function in a separate process, so that memory and CPU time are measured for it alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(function, arguments)
        pool.close()
        pool.join()
    return result


def reduced(path: Path, *, threads: int, bound: int) -> Measured:
    found: Measured = fresh(reduction, path, threads, bound)
    return found


def reduction(path: Path, threads: int, bound: int) -> Measured:
    """Reduce a store in this process."""
    logger.setLevel("WARNING")
    block.warm_up()
    wall, cpu = time.perf_counter(), time.process_time()
    opened = score_store.open_complete(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        found = interactions_stage.reduce_store(
            opened, Path(folder) / "parts", settings=Reduce(), runtime=Runtime(threads=threads, memory=bound)
        )
    return Measured(
        wall=time.perf_counter() - wall,
        cpu=time.process_time() - cpu,
        peak=peak_rss_bytes(),
        tested=int(found.columns["tested"].sum()),
        examples=opened.partitions("foreground")[-1][1],
        pairs=pairs.count(opened.motifs),
        size=made_up_scores.bytes_on_disk(path),
    )


def loop_seconds(path: Path, looped: int) -> tuple[float, float]:
    """Return processor seconds per pair of the loop in memory, and of reading a block of pairs and laying it out."""
    opened = score_store.open_complete(path)
    units = Units.motifs(opened.motifs)
    width = min(256, units.pairs)
    block.warm_up()
    began = time.process_time()
    sides = [block.read_scores(opened, units, group, 0, width)[0] for group in GROUPS]
    reading = (time.process_time() - began) / width
    looped = min(looped, width)
    found = mann_whitney.mann_whitney(*(np.ascontiguousarray(side[:, :looped]) for side in sides))
    in_memory = [[side[:, column].astype(np.float64) for column in range(looped)] for side in sides]
    del sides
    began = time.process_time()
    expected = [
        # In float64: scipy would compute the p-value of float32 values in float32.
        stats.mannwhitneyu(x[~np.isnan(x)], y[~np.isnan(y)], alternative="greater", method="asymptotic")
        for x, y in zip(*in_memory, strict=True)
    ]
    seconds = (time.process_time() - began) / looped
    np.testing.assert_array_equal(found.u, [test.statistic for test in expected])
    np.testing.assert_allclose(found.p, [test.pvalue for test in expected], rtol=1e-12)
    return seconds, reading


def peak_rss_bytes() -> int:
    """Return largest resident memory of this process; ru_maxrss would count that of the process which started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
