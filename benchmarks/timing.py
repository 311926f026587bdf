"""Shared parts of the timing programs: interleaved rounds, one thread, and a description of the machine."""

import importlib.metadata
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]


def one_thread() -> None:
    """Limit torch and the thread pools of BLAS to one thread."""
    import threadpoolctl  # type: ignore[import-untyped]
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def race(works: dict[str, Work], *, rounds: int, clock: str = "wall") -> dict[str, list[float]]:
    """Return seconds of each work in each round; every round runs all of them, after one round that does not count.

    Args:
        works: by name.
        rounds: that count.
        clock: "wall", or "cpu" (time of this process) on a machine that is not idle.
    """
    now = time.perf_counter if clock == "wall" else time.process_time
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            began = now()
            work()
            if turn:
                found[name].append(now() - began)
    return found


def ratio(slow: list[float], fast: list[float]) -> str:
    """Return median over rounds of slow / fast, and its range."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def made_with(*libraries: str) -> str:
    """Return command, processor, threads and versions, as Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    name = Path(sys.argv[0]).stem
    command = " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]])
    return (
        f"Made by `{command}`, one thread on {processor()}, Python {platform.python_version()}, {versions}. "
        "Rounds are interleaved; ratios are medians over rounds, with their range."
    )


def processor() -> str:
    """Return the processor's name and how many of it this process may use."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
