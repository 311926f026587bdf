"""Time the score stage as users start it: one rank against two, and how time and memory grow with the examples.

The network is the published basic one (200 filters of width 13, pool 4, 8 heads, 300 bp), trained for an epoch on a
simulated set; what it finds does not matter here. Every command is started as a user would, on a run directory,
with one thread per rank; the store is removed before each. Times are those of the stage without the start of Python
(torch takes some seconds to load), and, beside them, of the whole command. Memory is the largest resident memory of
any rank, as the kernel tells it.

    python -m benchmarks.scoring_scale --run /scratch/run
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import timing
from satori_hpc import config
from satori_hpc.config import toml
from satori_hpc.run import files, new, provenance
from satori_hpc.run.layout import Run

SATORI = str(Path(sys.executable).with_name("satori-hpc"))
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="make or use this run; default: a temporary one")
    parser.add_argument("--length", type=int, default=300, help="of the sequences, bp")
    parser.add_argument("--examples", type=int, default=2048, help="smallest number of sequences; also 4 and 16 times")
    parser.add_argument("--growth", type=int, default=3, help="how many sizes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of one rank against two")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scoring_scale.md"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.run or Path(folder) / "run"
        sizes = [chosen.examples * 4**step for step in range(chosen.growth)]
        run = prepare(path, examples=sizes[-1], length=chosen.length)
        text = "\n".join([*header(run), *efficiency(run, sizes[-1], chosen.rounds), *growth(run, sizes)])
    files.write_text(chosen.out, text + "\n")
    print(text)


def prepare(path: Path, *, examples: int, length: int) -> Run:
    """Return a run whose network is trained, and of which all sequences may be scored."""
    settings = config.Config(
        prepare=config.Prepare(simulated=config.Simulated(examples=examples, length=length)),
        train=config.Train(epochs=1),
        motifs=config.Motifs(min_probability=0.0),
        score=config.Score(split="all", include_mispredicted=True, max_examples=0),
    )
    run = Run.open(path) if (path / "run.toml").exists() else new.new(path, config=settings)
    for stage in ("prepare", "train", "motifs"):
        subprocess.run([SATORI, stage, str(path)], check=True)
    return run


def header(run: Run) -> list[str]:
    model = run.config.model
    return [
        "# The score stage: ranks, time and memory",
        "",
        timing.made_with("torch", "numpy", "numba", "mpi4py", "mpich").replace("one thread", "one thread per rank"),
        f"{model.num_filters} filters, pool {model.pool}, {run.config.prepare.simulated.length} bp, raw attention.",  # type: ignore[union-attr]
        "",
    ]


def efficiency(run: Run, examples: int, rounds: int) -> list[str]:
    """Compare one rank with two, in turn."""
    times: dict[int, list[float]] = {1: [], 2: []}
    whole: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds + 1):
        for ranks in times:
            stage, command, _, _ = score(run, examples=examples, ranks=ranks)
            if turn:  # the first round fills caches
                times[ranks].append(stage)
                whole[ranks].append(command)
    lines = ["| ranks | sequences | stage, s | ms per sequence and core | whole command, s |", "|---|---|---|---|---|"]
    for ranks, seconds in times.items():
        middle = statistics.median(seconds)
        per_core = 1e3 * middle * ranks / examples
        lines.append(
            f"| {ranks} | {examples:,} | {middle:.2f} | {per_core:.3f} | {statistics.median(whole[ranks]):.2f} |"
        )
    ratios = [one / (2 * two) for one, two in zip(times[1], times[2], strict=True)]
    lines += ["", f"Efficiency of two ranks: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})."]
    return [*lines, ""]


def growth(run: Run, sizes: list[int]) -> list[str]:
    """Return one rank, more and more sequences."""
    lines = [
        "| sequences | stage, s | ms per sequence | peak memory, GiB | store, GiB | files | sites per sequence |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in sizes:
        stage, _, peak, summary = score(run, examples=size, ranks=1)
        files = [file for file in run.scores("attention").parent.glob("attention.*/**/*") if file.is_file()]
        stored = sum(file.stat().st_size for file in files)
        sites = summary["attention"]["foreground"]["mean_sites_per_sequence"]
        lines.append(
            f"| {size:,} | {stage:.2f} | {1e3 * stage / size:.3f} | {peak / 2**30:.2f} | {stored / 2**30:.2f} | "
            f"{len(files)} | {sites:.0f} |"
        )
    return [*lines, ""]


def score(run: Run, *, examples: int, ranks: int) -> tuple[float, float, int, dict[str, Any]]:
    """Return seconds of the stage and of the whole command, peak resident bytes of a rank, and the summary."""
    changed = toml.override(run.config, f"score.max_examples={examples // 2}")
    files.write_text(run.config_file, toml.render(changed))
    shutil.rmtree(run.path / "scores", ignore_errors=True)
    run.record("score").unlink(missing_ok=True)
    os.sync()  # what the last one wrote is not to be paid for by this one
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    began = time.perf_counter()
    subprocess.run(
        [*launcher, SATORI, "score", str(run.path), "--threads", "1", "--device", "cpu"],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    command = time.perf_counter() - began
    record = provenance.read(run.record("score"))
    assert record is not None
    assert record.world_size == ranks, json.dumps(record.summary)
    return record.summary["attention"]["seconds"], command, record.peak_rss_bytes, record.summary


if __name__ == "__main__":
    main()
