"""Two training processes against one, one thread each, as users start them.

The network of SATORI 1's protocol: 200 filters of width 13, pool 4 and 6, batches of 256 (128 for each of two). Every
round trains both from the start; the time is that of the last epoch's steps, which the history tells. Two trainings
that know nothing of each other, side by side, tell what two processes can be worth on this machine: their processors
share memory and clock, and the slower of two decides when they wait for each other.

    python -m benchmarks.training_ranks
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import timing
from satori_hpc.config import Config, Model, Prepare, Simulated, Train
from satori_hpc.run import files, new
from satori_hpc.run.layout import Run

OUT = Path("benchmarks/results/training_ranks.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=12_288)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    lines = [
        "| pool | one process, sequences / s | two together | two separate | together / one | separate / one |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for pool in (4, 6):
            config = Config(
                prepare=Prepare(simulated=Simulated(examples=options.examples)),
                model=Model(pool=pool),
                train=Train(epochs=2),
            )
            run = new.new(Path(folder) / f"pool-{pool}", config=config)
            subprocess.run([sys.executable, "-m", "satori_hpc", "prepare", str(run.path)], check=True)
            twin = new.new(Path(folder) / f"twin-{pool}", config=config)
            subprocess.run([sys.executable, "-m", "satori_hpc", "prepare", str(twin.path)], check=True)
            rates = []
            for _ in range(options.rounds):
                rates.append((speed({run: 1}), speed({run: 2}), speed({run: 1, twin: 1})))
            one, two, apart = (statistics.median(column) for column in zip(*rates, strict=True))
            lines.append(
                f"| {pool} | {one:.0f} | {two:.0f} | {apart:.0f} | {spread([b / a for a, b, _ in rates])} | "
                f"{spread([c / a for a, _, c in rates])} |"
            )
    heading = "# Training by two processes against one"
    files.write_text(options.out, "\n".join([heading, "", timing.made_with("torch"), "", *lines, ""]))
    print(options.out.read_text())


def speed(processes: dict[Run, int]) -> float:
    """Return sequences per second in the last epoch of trainings from the start, side by side, added up."""
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
    trainings = []
    for run, count in processes.items():
        words = [sys.executable, *((*many, str(count)) if count > 1 else ()), "-m", "satori_hpc", "train"]
        words += [str(run.path), "--threads", "1", "--force"]
        trainings.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for training in trainings:
        training.wait()
    if any(training.returncode for training in trainings):
        raise SystemExit("a training failed")
    return sum(last_rate(run) for run in processes)


def last_rate(run: Run) -> float:
    with open(run.history, newline="", encoding="utf-8") as handle:
        return float(list(csv.DictReader(handle, delimiter="\t"))[-1]["examples_per_s"])


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
