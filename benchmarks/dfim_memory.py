"""Peak memory of scoring a deep model on long sequences, with a bound: 1,500 bp, 60 sites, `--memory 2GiB`.

An untrained SATORI-deep of the default sizes on a simulated set of the 1,500 bp preset; what it has learned does not
shape its memory. Each method is scored by the command itself, in a process of its own; the peak is what the command
recorded.

    python -m benchmarks.dfim_memory
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import timing
from satori_hpc.config import Dfim, Epistasis, Model, Motifs, Score, Sites, Train
from satori_hpc.parallel import memory
from satori_hpc.run import files, new

METHODS = ("attention", "attribution", "dfim", "epistasis")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--examples", type=int, default=2, help="scored on each side")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dfim_memory.md"))
    options = parser.parse_args()
    lines = ["| method | bytes of one sequence in flight, planned | peak RSS | seconds |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        settings = new.simulated("data-1500", seed=1)
        assert settings.prepare.simulated is not None
        prepare = dataclasses.replace(
            settings.prepare, simulated=dataclasses.replace(settings.prepare.simulated, examples=400)
        )
        config = dataclasses.replace(
            settings,
            prepare=prepare,
            model=Model(architecture="deep"),
            train=Train(epochs=1, batch_size=16),
            motifs=Motifs(min_probability=0.0, min_sites=1),
            score=Score(
                include_mispredicted=True,
                max_examples=options.examples,
                sites=Sites(max_sites=60),
                dfim=Dfim(baselines=1, mutations=1),
                epistasis=Epistasis(mutations=1),
            ),
        )
        new.new(path, config=config)
        for stage in ("prepare", "train", "motifs"):
            call(stage, path)
        for method in METHODS:
            call("set", path, f"score.methods={method}")
            call("score", path, "--memory", options.memory, "--threads", "1")
            record = json.loads((path / "provenance" / "score.json").read_text())
            peak, seconds = record["peak_rss_bytes"], record["summary"][method]["seconds"]
            need = json.loads(call("score", path, "--plan", "--json", "--memory", options.memory, "--threads", "1"))
            planned = need[method]["memory_per_rank"]["slices"]
            lines.append(f"| {method} | {memory.show(planned)} | {memory.show(peak)} | {seconds:.0f} |")
    heading = f"# Peak memory: SATORI-deep, 1,500 bp, 60 sites, --memory {options.memory}"
    text = "\n".join([heading, "", timing.made_with("torch", "numba"), "", *lines, ""])
    files.write_text(options.out, text)
    print(text)


def call(*arguments: object) -> str:
    """Run a command of satori-hpc; return its output."""
    command = [sys.executable, "-m", "satori_hpc", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
