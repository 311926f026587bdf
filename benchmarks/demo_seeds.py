"""The demo for several seeds: how long it takes, how well it predicts, and how well its methods rank the pairs.

python -m benchmarks.demo_seeds --seeds 1 2 3
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import timing
from satori_hpc.run import files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo_seeds.md"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            rows.append(row(seed, Path(folder) / f"seed-{seed}"))
            print(rows[-1], flush=True)
    text = "\n".join(
        [
            "# The demo, seed by seed",
            "",
            f"Made by `python -m benchmarks.demo_seeds --seeds {' '.join(map(str, options.seeds))}` on "
            f"{timing.processor()}, torch {importlib.metadata.version('torch')}. Minutes are of the whole command; the "
            "first run on a machine compiles Tomtom, a minute more.",
            "",
            "| seed | minutes | peak GiB | test AUROC | base rate | raw attention AUPR | F1 | epistasis AUPR | F1 "
            "| call-all F1 | recall ceiling | co-occurrence AUPR |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    files.write_text(options.out, text)


def row(seed: int, run: Path) -> str:
    """Run the demo and return its row of the table."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "satori_hpc", "demo", str(run), "--seed", str(seed), "--no-open"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    minutes = (time.perf_counter() - began) / 60
    found = json.loads((run / "evaluation.json").read_text())
    records = [json.loads(path.read_text()) for path in (run / "provenance").glob("*.json")]
    trained: dict[str, Any] = next(record for record in records if record["stage"] == "train")["summary"]
    peak = max(record["peak_rss_bytes"] for record in records) / 2**30
    figures = " | ".join(
        f"{found['methods'][method][name]:.3f}" for method in ("attention", "epistasis") for name in ("aupr", "f1")
    )
    return (
        f"| {seed} | {minutes:.1f} | {peak:.1f} | {trained['test_auroc']:.3f} | {found['truth']['base_rate']:.3f} "
        f"| {figures} | {found['call_all']['f1']:.3f} "
        f"| {found['truth']['recall_ceiling']:.3f} | {found['cooccurrence']['aupr']:.3f} |"
    )


if __name__ == "__main__":
    main()
