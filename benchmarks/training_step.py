"""Time a training step and a forward pass against a plain module, in interleaved rounds.

The plain module (tests/oracles/plain_satori.py) has one linear layer per head, works at full length and keeps all
attention; both hold the same weights. Both take the same step with dropout: forward, loss, backward, clip, Adam.

    python -m benchmarks.training_step --threads 1
"""

import argparse
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks import timing
from satori_hpc.config import Model
from satori_hpc.models import losses, satori
from satori_hpc.models.satori import Satori
from satori_hpc.run import files
from tests.oracles import plain_satori
from tests.oracles.plain_satori import PlainSatori


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--pools", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds, after one that does not count")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is not idle")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training_step.md"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for pool in options.pools:
        for name, fast, plain in cases(pool, batch=options.batch, length=options.length):
            times = timing.race({"ours": fast, "plain": plain}, rounds=options.rounds, clock=options.clock)
            rows.append(row(f"{name}, pool {pool}", times, options.batch))
            print(rows[-1], flush=True)
    text = page(rows, options)
    files.write_text(options.out, text)
    print(f"written to {options.out}")


def cases(pool: int, *, batch: int, length: int) -> list[tuple[str, timing.Work, timing.Work]]:
    """Return (name, work of the fused model, the same work of the plain one)."""
    torch.manual_seed(0)
    model = satori.build(Model(pool=pool), length=length, targets=1, task="binary", entropy=0)
    plain = PlainSatori(model)
    plain_satori.copy_weights(model, plain)
    tokens = torch.randint(0, 4, (batch, length), dtype=torch.uint8)
    labels = torch.randint(0, 2, (batch, 1), dtype=torch.uint8)
    return [
        ("training step", fused_step(model, tokens, labels, 0.0), plain_step(plain, tokens, labels, 0.0)),
        (
            "training step with entropy loss",
            fused_step(model, tokens, labels, 1e-3),
            plain_step(plain, tokens, labels, 1e-3),
        ),
        ("forward with attention", forward(model, tokens, attention=True), forward(plain, tokens)),
        ("forward, attention not kept", forward(model, tokens, attention=False), forward(plain, tokens)),
    ]


def fused_step(model: Satori, tokens: torch.Tensor, labels: torch.Tensor, weight: float) -> timing.Work:
    optimiser = torch.optim.Adam(model.parameters())

    def step() -> None:
        model.train()
        output = model(tokens, entropy=weight > 0)
        loss = losses.classification_loss(output.logits, labels, task="binary", output="one")
        if output.entropy is not None:
            loss = loss + weight * output.entropy.mean()
        finish(model, optimiser, loss)

    return step


def plain_step(plain: PlainSatori, tokens: torch.Tensor, labels: torch.Tensor, weight: float) -> timing.Work:
    optimiser = torch.optim.Adam(plain.parameters())

    def step() -> None:
        plain.train()
        logits, attention = plain(tokens)
        loss = F.binary_cross_entropy_with_logits(logits, labels.float())
        if weight > 0:
            entropy = -(attention * torch.log(attention + 1e-9)).sum(3).mean(2).sum(1)
            loss = loss + weight * entropy.mean()
        finish(plain, optimiser, loss)

    return step


def finish(model: torch.nn.Module, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def forward(model: torch.nn.Module, tokens: torch.Tensor, **options: bool) -> timing.Work:
    @torch.inference_mode()
    def run() -> object:
        model.eval()
        return model(tokens, **options)

    return run


def row(name: str, times: dict[str, list[float]], batch: int) -> str:
    ours, plain = (statistics.median(times[which]) / batch * 1e3 for which in ("ours", "plain"))
    return f"| {name} | {ours:.3f} | {plain:.3f} | {1e3 / ours:.0f} | {timing.ratio(times['plain'], times['ours'])} |"


def page(rows: list[str], options: argparse.Namespace) -> str:
    lines = [
        "# Training step and forward pass against a plain module",
        "",
        "Written by `benchmarks/training_step.py`: do not edit. Command:",
        "",
        f"    python -m benchmarks.training_step {' '.join(sys.argv[1:])}".rstrip(),
        "",
        f"{timing.processor()}, {options.threads} thread(s), torch {torch.__version__}, float32, {options.clock} time. "
        f"Batch {options.batch}, {options.length} bp, the default network (200 filters of 13 bp, 8 heads of 32). "
        f"Medians of {options.rounds} interleaved rounds; times faster: median of plain / ours over them, and its "
        "range.",
        "",
        "| work | ours, ms per sequence | plain, ms per sequence | ours, sequences/s | times faster |",
        "|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
