"""Sequences per second of every scoring method on one device, SATORI-deep of the default sizes, in each precision.

For each method: sequences per second, errors of lower precision against float32, and what 80,000 sequences would take
on this device alone. For DFIM also captum's IntegratedGradients (50 nodes, a baseline of its own for every mutant) on
the same device, and the share of the matrix peak, which is measured by the product of two square matrices. Without
--run the network is not trained and the sequences are random; speed does not depend on that, the errors of lower
precision do.

    python -m benchmarks.scoring_device --device cuda
    python -m benchmarks.scoring_device --device cpu --sequences 4 --run /tmp/satori_hpc_benchmark_dfim/deep
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import timing
from benchmarks.dfim import COMPOSITION, SITES, Margin, captum_map, even_sites
from satori_hpc.config import Model, Score, Sites
from satori_hpc.data.dataset import Dataset
from satori_hpc.models import satori
from satori_hpc.models.satori import Satori
from satori_hpc.parallel import memory
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.scoring import registry
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.fast.precision import Product, precision
from satori_hpc.training import checkpoint

METHODS = ("attention", "attribution", "dfim", "epistasis")
MANY = 80_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--length", type=int, default=600)
    parser.add_argument("--sequences", type=int, default=8, help="per method; raw attention takes 64 times as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--run", type=Path, help="a run with a trained deep model, whose positives of the test are scored"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device == "cpu":
        timing.one_thread()
        memory.keep_freed()
    device = torch.device(options.device)
    model, tokens = make(options, device)
    lines = [
        "| method | precision | sequences / s | hours for 80,000 | error against float32 | share of the matrix peak |",
        "|---|---|---|---|---|---|",
        *(line for method in METHODS for line in rows(method, model, tokens, options)),
        captum_row(model, tokens, options),
    ]
    name = torch.cuda.get_device_name() if device.type == "cuda" else timing.processor()
    weights = "a trained network" if options.run else "random weights"
    heading = f"# Scoring on {name}: SATORI-deep, {model.length} bp, at most {SITES} sites, {weights}"
    text = "\n".join([heading, "", timing.made_with("torch", "captum"), "", *lines, ""])
    files.write_text(options.out or Path(f"benchmarks/results/scoring_device_{options.device}.md"), text)
    print(text)


def make(options: argparse.Namespace, device: torch.device) -> tuple[Satori, torch.Tensor]:
    """Return the network, and more than enough sequences."""
    count = 64 * options.sequences
    if options.run:
        run = Run.open(options.run)
        data = Dataset(run.dataset)
        rows = [row for row in data.rows("test") if data.labels[row, 0] == 1][:count]
        model = satori.require(checkpoint.load(run.best, device)[0], what="this benchmark")
        return model, torch.from_numpy(np.ascontiguousarray(data.tokens[np.array(rows)]))
    torch.manual_seed(0)
    config = Model(architecture="deep", conv_residual=True)
    model = satori.build(config, length=options.length, targets=1, task="binary", entropy=0).eval().to(device)
    return model, torch.randint(0, 4, (count, options.length), dtype=torch.uint8)


def batch_of(tokens: torch.Tensor, count: int) -> Batch:
    return Batch(tokens[:count], torch.stack((torch.zeros(count), torch.arange(count)), dim=1).long())


def rows(method: str, model: Satori, tokens: torch.Tensor, options: argparse.Namespace) -> list[str]:
    """Return a line for each precision."""
    count = min(len(tokens), options.sequences * (64 if method == "attention" else 1))
    batch, exact = batch_of(tokens, count), None
    device = next(model.parameters()).device
    with torch.inference_mode():
        tracks = model.stem.activations(batch.tokens[:4].to(device)).transpose(0, 1).flatten(1)
    threshold = tracks.float().quantile(0.99, dim=1)
    lines = []
    for name in ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16"):
        if method == "attention" and name != "float32":
            continue  # nothing lies behind it
        settings = Score(precision=name, sites=Sites(max_sites=SITES, max_distance=0))
        scorer = registry.build(
            method, model, threshold=threshold, settings=settings, seed=1, composition=np.asarray(COMPOSITION)
        )

        def work(scorer: registry.SiteScorer = scorer) -> torch.Tensor:
            size = scorer.slice_size
            parts = range(0, count, size)
            found = [scorer(Batch(batch.tokens[i : i + size], batch.keys[i : i + size])).value for i in parts]
            return torch.from_numpy(np.concatenate(found))

        seconds, found = clock(work, options.rounds, device)
        exact = found if exact is None else exact
        there = ~exact.isnan()
        error = float((found[there] - exact[there]).norm() / exact[there].norm())
        told = "" if found is exact else f"{error:.2g}"
        rate = count / seconds
        share = f"{flops(work, device) / seconds / peak(device, name):.0%}"
        lines.append(f"| {method} | {name} | {rate:.3g} | {MANY / rate / 3600:.3g} | {told} | {share} |")
    return lines


def captum_row(model: Satori, tokens: torch.Tensor, options: argparse.Namespace) -> str:
    device = next(model.parameters()).device
    plain, batch = Margin(model).to(device), batch_of(tokens, 1)
    on_device = Batch(batch.tokens.to(device), batch.keys.to(device))
    places = even_sites(model, SITES)

    def work() -> torch.Tensor:
        return captum_map(plain, on_device, places, together=1)

    seconds, _ = clock(work, options.rounds, device)
    return f"| captum, one baseline, one mutation | float32 | {1 / seconds:.3g} | {MANY * seconds / 3600:.3g} | | |"


def clock(work: Callable[[], torch.Tensor], rounds: int, device: torch.device) -> tuple[float, torch.Tensor]:
    """Return median seconds of a round after a warm-up, and the result."""
    found, seconds = work(), []
    for _ in range(rounds):
        wait(device)
        began = time.perf_counter()
        found = work()
        wait(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), found


def flops(work: Callable[[], torch.Tensor], device: torch.device) -> float:
    """Return operations of convolutions and matrix products in a round."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: _product_flops}) as counter:
        work()
    return float(counter.get_total_flops())


def _product_flops(values: torch.Size, weight: torch.Size, *_: object, out_shape: torch.Size, **__: object) -> int:
    """Return the FLOPs of the product used by scoring on the CPU, which torch does not count."""
    return 2 * values.numel() * out_shape[-1]


def peak(device: torch.device, name: str) -> float:
    """Return operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device)
    product = Product(matrix)  # on the CPU faster than what torch does by default
    with precision(device, name), torch.inference_mode():
        seconds, _ = clock(lambda: product(matrix), 5, device)
    return 2 * size**3 / seconds


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
