"""Two training processes against one, one thread each, as users start them.

The network of SATORI 1's protocol: 200 filters of width 13, pool 4 and 6, batches of 256 (128 for each of two). Every
round trains both from the start; the time is that of the last epoch's steps, which the history tells.

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
from satori_hpc.run import Run
from satori_hpc.stages import new
from satori_hpc.stores import atomic

OUT = Path("benchmarks/results/training_ranks.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=12_288)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    lines = [
        "| pool | one process, sequences / s | two, sequences / s | two / one | range over rounds |",
        "|---|---|---|---|---|",
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
            rates = [(speed(run, 1), speed(run, 2)) for _ in range(options.rounds)]
            ratios = [two / one for one, two in rates]
            one, two = (statistics.median(column) for column in zip(*rates, strict=True))
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            lines.append(f"| {pool} | {one:.0f} | {two:.0f} | {statistics.median(ratios):.2f} | {spread} |")
    heading = "# Training by two processes against one"
    atomic.write_text(options.out, "\n".join([heading, "", timing.made_with("torch"), "", *lines, ""]))
    print(options.out.read_text())


def speed(run: Run, processes: int) -> float:
    """Sequences per second in the last epoch of a training from the start."""
    many = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)) if processes > 1 else ()
    words = [sys.executable, *many, "-m", "satori_hpc", "train", str(run.path), "--threads", "1", "--force"]
    subprocess.run(words, check=True, capture_output=True)
    with open(run.history, newline="", encoding="utf-8") as handle:
        return float(list(csv.DictReader(handle, delimiter="\t"))[-1]["examples_per_s"])


if __name__ == "__main__":
    main()
