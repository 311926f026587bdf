"""Time forward, raw-attention scoring and the layout of pairs against plain versions, on one thread.

The setting is that of SATORI 1: 200 filters of width 13, 8 heads, 300 bp, sites by its threshold rule (mean + share x
(maximum - mean)); the share is set so that as many (filter, bin) entries are active as in a trained model there.
Compared are

- pair scoring, from attention and pooled activations to scores and distances: sites and values as a store keeps them
  and the pairs laid out from them by the reduction, and two plain loops over the active bins of a sequence and the
  filters in each: `loop, names` keys pairs by the names of the filters, as that code does; `loop, numbers` does the
  same work with as little as Python allows;
- the forward pass: the model with attention, and a plain module with one linear layer per head;
- both together: the scorer, which computes the rows of attention it needs only, with the layout, and plain forward +
  loop.

    python -m benchmarks.pair_scoring
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch

from benchmarks import timing
from satori_hpc import pairs
from satori_hpc.config import Model
from satori_hpc.models import satori
from satori_hpc.models.satori import Satori
from satori_hpc.run import files
from satori_hpc.scoring.attention import AttentionScorer, occupied_bins, of_bins, strength
from tests.fixtures.scores import batch_of, laid_out
from tests.oracles import plain_satori
from tests.oracles.plain_satori import PlainSatori


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="sequences per batch")
    parser.add_argument("--looped", type=int, default=8, help="sequences that the loops score per round")
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--pools", type=int, nargs="+", default=[4, 6])
    parser.add_argument("--sites", type=float, default=240, help="active (filter, bin) entries per sequence")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is not idle")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pair_scoring.md"))
    options = parser.parse_args()
    timing.one_thread()
    lines = [line for pool in options.pools for line in measure(pool, options)]
    text = "\n".join(
        [
            "# Forward and raw-attention pair scoring",
            "",
            timing.made_with("torch", "numpy", "numba"),
            "Times are medians, ms per sequence. What is compared is told in the program.",
            "",
            "| pool | active entries | what | plain | this package | times faster |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
        ]
    )
    files.write_text(options.out, text)
    print(text)


def measure(pool: int, options: argparse.Namespace) -> list[str]:
    """Return the rows of the table for one pool size."""
    torch.manual_seed(0)
    model = satori.build(Model(pool=pool), length=options.length, targets=1, task="binary", entropy=0.0).eval()
    plain = PlainSatori(model).eval()
    plain_satori.copy_weights(model, plain)
    tokens = torch.randint(0, 4, (options.batch, options.length), dtype=torch.uint8)
    threshold = legacy_threshold(model, tokens, sites=options.sites)
    scorer = AttentionScorer(model, threshold)
    batches = [batch_of(part) for part in tokens.split(scorer.slice_size)]
    with torch.inference_mode():
        pooled = model.pooled(tokens)
        active = pooled > threshold[:, None]
        rows = model.attention_rows(pooled, occupied_bins(active))
        attention = model(tokens, attention=True).attention
    assert attention is not None
    some = options.looped
    names = {frozenset(pair): number for number, pair in enumerate(zip(*pairs.filters_of(model.filters), strict=True))}
    keys = {f"filter{min(pair)}<-->filter{max(pair)}": number for pair, number in names.items()}

    @torch.inference_mode()
    def kernel_alone() -> object:
        there = pooled > threshold[:, None]
        bins = occupied_bins(there)
        found = of_bins(strength(rows, bins), pooled, active=there, threshold=threshold, model=model)
        block = laid_out(found, scorer, model.filters)
        return block.score, block.distance()

    def scored() -> object:
        return [laid_out(scorer(part), scorer, model.filters).distance() for part in batches]

    @torch.inference_mode()
    def loop_names() -> object:
        return [by_names(attention[b].numpy(), active[b].numpy(), keys, pool=pool) for b in range(some)]

    @torch.inference_mode()
    def loop_numbers() -> object:
        return [by_numbers(attention[b].numpy(), active[b].numpy(), pool=pool) for b in range(some)]

    @torch.inference_mode()
    def plain_forward() -> object:
        return plain(tokens)

    check(kernel_alone(), loop_names(), loop_numbers(), some)
    found = timing.race(
        {
            "loop, names": loop_names,
            "loop, numbers": loop_numbers,
            "kernel": kernel_alone,
            "plain forward": plain_forward,
            "forward": lambda: forward(model, tokens),
            "scorer": scored,
        },
        rounds=options.rounds,
        clock=options.clock,
    )
    each = {
        name: [1e3 * second / (some if name.startswith("loop") else options.batch) for second in seconds]
        for name, seconds in found.items()
    }
    each["plain forward + loop, names"] = [
        a + b for a, b in zip(each["plain forward"], each["loop, names"], strict=True)
    ]
    entries = float(active.sum()) / options.batch
    compared = [
        ("pair scoring", "loop, names", "kernel"),
        ("pair scoring", "loop, numbers", "kernel"),
        ("forward with attention", "plain forward", "forward"),
        ("forward and pair scoring", "plain forward + loop, names", "scorer"),
    ]
    return [
        f"| {pool} | {entries:.0f} | {what}: {slow} | {statistics.median(each[slow]):.3f} | "
        f"{statistics.median(each[fast]):.3f} | {timing.ratio(each[slow], each[fast])} |"
        for what, slow, fast in compared
    ]


@torch.inference_mode()
def forward(model: Satori, tokens: torch.Tensor) -> object:
    return model(tokens, attention=True)


@torch.inference_mode()
def legacy_threshold(model: Satori, tokens: torch.Tensor, *, sites: float) -> torch.Tensor:
    """Return SATORI 1's rule, mean + share x (maximum - mean), with the share at which `sites` entries are active."""
    activations = model(tokens, activations=True).activations
    assert activations is not None
    mean, highest = activations.mean(dim=(0, 2)), activations.amax(dim=(0, 2))
    pooled = model.pooled(tokens)
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        threshold = mean + share * (highest - mean)
        if float((pooled > threshold[:, None]).sum()) / len(tokens) > sites:
            low = share
        else:
            high = share
    return threshold


def by_names(
    attention: np.ndarray, active: np.ndarray, keys: dict[str, int], *, pool: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score every pair of active bins, for every pair of filters in them; pairs are looked up by name."""
    score = np.full(len(keys), -1.0)
    distance = np.full(len(keys), -1)
    largest = attention.max(axis=0)
    filters_in = filters_by_bin(active)
    for i, filters_a in filters_in.items():
        for u, filters_b in filters_in.items():
            if i == u:
                continue
            value = largest[i, u]
            for f in filters_a:
                for g in filters_b:
                    if f == g:
                        continue
                    name = f"filter{f}<-->filter{g}"
                    number = keys[name] if name in keys else keys[f"filter{g}<-->filter{f}"]
                    if value > score[number]:
                        score[number] = value
                        distance[number] = pool * abs(i - u)
    return score, distance


def by_numbers(attention: np.ndarray, active: np.ndarray, *, pool: int) -> dict[tuple[int, int], tuple[float, int]]:
    """Return the same in plain numbers and one dictionary, each pair of filters once."""
    largest = attention.max(axis=0)
    matrix = np.maximum(largest, largest.T).tolist()
    filters_in = filters_by_bin(active)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i, filters_a in filters_in.items():
        for u, filters_b in filters_in.items():
            if i == u:
                continue
            value = matrix[i][u]
            for f in filters_a:
                for g in filters_b:
                    if f < g and ((f, g) not in best or value > best[f, g][0]):
                        best[f, g] = (value, pool * abs(i - u))
    return best


def filters_by_bin(active: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for bin, number in np.argwhere(active.T).tolist():
        found.setdefault(bin, []).append(number)
    return found


def check(ours: object, named: object, numbered: object, some: int) -> None:
    """Check that all three found the same scores, up to rounding."""
    for b in range(some):
        score = ours[0][b]  # type: ignore[index]
        first = named[b][0]  # type: ignore[index]
        np.testing.assert_array_equal(np.isnan(score), first < 0)
        np.testing.assert_allclose(score[first >= 0], first[first >= 0], rtol=1e-5)
        assert len(numbered[b]) == (first >= 0).sum()  # type: ignore[index]


if __name__ == "__main__":
    main()
