"""Training on one device: sequences per second, basic and deep, in each precision, and the share of its matrix peak.

The peak is measured by the product of two square matrices in the same precision; operations are those of convolutions
and matrix products, forwards and backwards. The last column is an epoch of 80,000 sequences of that length. The network
and batches are those of the publication; weights and sequences are random, which does not change the speed.

    python -m benchmarks.training_device --device cuda
    python -m benchmarks.training_device --device cpu --steps 2 --length 300
"""

import argparse
from pathlib import Path

import torch

from benchmarks import timing
from benchmarks.scoring_device import MANY, clock, flops, peak
from satori_hpc import models
from satori_hpc.config import Model, Train
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import World
from satori_hpc.run import files
from satori_hpc.scoring.fast.precision import precision
from satori_hpc.training.step import Stepper

ARCHITECTURES = ("basic", "deep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--length", type=int, default=600)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device == "cpu":
        timing.one_thread()
        memory.keep_freed()
    device = torch.device(options.device)
    lines = [
        "| network | precision | sequences / s | share of the matrix peak | minutes for an epoch of 80,000 |",
        "|---|---|---|---|---|",
        *(row(name, exactness, options, device) for name in ARCHITECTURES for exactness in exactnesses(device)),
    ]
    name = torch.cuda.get_device_name() if device.type == "cuda" else timing.processor()
    heading = f"# Training on {name}: {options.length} bp, batches of {options.batch}"
    text = "\n".join([heading, "", timing.made_with("torch"), "", *lines, ""])
    files.write_text(options.out or Path(f"benchmarks/results/training_device_{options.device}.md"), text)
    print(text)


def exactnesses(device: torch.device) -> tuple[str, ...]:
    return ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16")


def row(architecture: str, exactness: str, options: argparse.Namespace, device: torch.device) -> str:
    torch.manual_seed(0)
    config = Train(precision="bfloat16" if exactness == "bfloat16" else "float32")
    model = models.build(
        Model(architecture=architecture), length=options.length, targets=1, task="binary", entropy=config.entropy
    ).to(device)
    stepper = Stepper(model, config, seed=1, steps=10_000, world=World(), micro_batch=0)
    tokens = torch.randint(0, 4, (options.batch, options.length), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 2, (options.batch, 1), dtype=torch.uint8, device=device)
    number = 0

    def work() -> torch.Tensor:
        nonlocal number
        for _ in range(options.steps):
            found = stepper.step(tokens, labels, count=options.batch, first=0, key=(0, number), number=number)
            number += 1
        return found

    with precision(device, "tf32" if exactness == "tf32" else "float32"):
        seconds, _ = clock(work, options.rounds, device)
        operations = flops(work, device)
    rate = options.steps * options.batch / seconds
    share = f"{operations / seconds / peak(device, exactness):.0%}"
    return f"| {architecture} | {exactness} | {rate:.4g} | {share} | {MANY / rate / 60:.3g} |"


if __name__ == "__main__":
    main()
