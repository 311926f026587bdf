"""Time DFIM, epistasis and attention attribution on one thread against captum as in SATORI 1, and measure errors.

A model with the default sizes (200 filters of width 13, pool 4, 8 heads of 32; deep: the default blocks) is trained
on a small simulated set of 300 bp first, and kept in --work. Then, for the same sequences, the same 24 sites, one
baseline and one mutation of each site:

- `captum`: IntegratedGradients, 50 nodes, of a plain network by autograd, a random baseline for the sequence and
  another one for each mutant; 12 sequences at a time (600 evaluations in flight), and 1 at a time;
- `legacy`: the same nodes, baselines and mutations in this package;
- `secant`: one baseline shared by sequence and mutants, S segments;
- `epistasis`: all double mutants of the 24 sites, forward passes only.

Errors are those of FIS (windows' sums, source x target), relative to 4,096 midpoint nodes in float64, from the same
shared baselines, on a part of the sites.

    python -m benchmarks.dfim --architecture basic
    python -m benchmarks.dfim --architecture deep
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients

from benchmarks import timing
from satori_hpc.config import Attribution, Config, Dfim, Epistasis, Model, Prepare, Score, Simulated, Sites, Train
from satori_hpc.data.dataset import Dataset
from satori_hpc.models import satori
from satori_hpc.models.satori import Satori
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import execute, files, new
from satori_hpc.run.layout import Run
from satori_hpc.scoring import draws, sites
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring.attention import AttentionScorer
from satori_hpc.scoring.attribution import AttributionScorer
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.dfim import DfimScorer
from satori_hpc.scoring.epistasis import EpistasisScorer
from satori_hpc.training import checkpoint
from tests.oracles.soft_satori import SoftSatori, one_hot

SITES = 24
SEGMENTS = (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 32)
TRUTH_NODES = 4096
COMPOSITION = np.array([0.295, 0.205, 0.205, 0.295])
PEER = {"basic": 18.6, "deep": 199.0}  # seconds per sequence of SATORI 1's own code, as its users measured it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=["basic", "deep"], default="basic")
    parser.add_argument("--work", type=Path, default=Path("/tmp/satori_hpc_benchmark_dfim"))
    parser.add_argument("--sequences", type=int, default=2, help="timed, one after the other")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that is not idle")
    parser.add_argument("--error-sites", type=int, default=4, help="sites whose errors are measured")
    parser.add_argument("--error-sequences", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model, batch, threshold = trained(options)
    timing.one_thread()
    memory.keep_freed()
    lines = [*times(model, batch, threshold, options), "", *errors(model, batch, threshold, options)]
    out = options.out or Path(f"benchmarks/results/dfim_{options.architecture}.md")
    heading = f"# DFIM, epistasis and attribution: SATORI-{options.architecture}, 300 bp"
    files.write_text(out, "\n".join([heading, "", timing.made_with("torch", "captum", "numba"), "", *lines, ""]))
    print(out.read_text())


def trained(options: argparse.Namespace) -> tuple[Satori, Batch, torch.Tensor]:
    """Return the model, positives of the test split that it gets right, and thresholds of its filters."""
    path = options.work / options.architecture
    config = Config(
        prepare=Prepare(
            source="simulated",
            simulated=Simulated(examples=12_000),
        ),
        model=Model(architecture=options.architecture, conv_residual=options.architecture == "deep" or None),
        train=Train(
            epochs=16 if options.architecture == "basic" else 6,
            schedule="onecycle",
            learning_rate=2e-3 if options.architecture == "basic" else 5e-4,
            batch_size=64,
        ),
    )
    run = Run.open(path) if (path / "run.toml").exists() else new.new(path, config=config)
    for stage in ("prepare", "train", "motifs"):
        execute.execute(run, stage, Runtime())
    model = satori.require(checkpoint.load(run.best, "cpu")[0], what="this benchmark")
    data = Dataset(run.dataset)
    rows = [row for row in data.rows("test") if data.labels[row, 0] == 1][:256]
    tokens = torch.from_numpy(np.ascontiguousarray(data.tokens[np.array(rows)]))
    with torch.inference_mode():
        order = model(tokens).logits[:, 0].argsort(descending=True)[: max(options.sequences, 16)].numpy()
    keys = torch.tensor([[0, rows[number]] for number in order])
    return model, Batch(tokens[order], keys), torch.from_numpy(score_plan.thresholds(run, model))


def even_sites(model: Satori, count: int) -> torch.Tensor:
    """Return int64 (count,): sites spread evenly over the sequence."""
    last = model.length - model.width + model.padding
    return torch.linspace(model.padding, last, count).round().long()


def found_sites(model: Satori, count: int) -> sites.Sites:
    members = torch.zeros(1, count, model.filters, dtype=torch.bool)
    members[0, torch.arange(count), torch.arange(count)] = True
    return sites.Sites(even_sites(model, count)[None], torch.ones(1, count, dtype=torch.bool), members)


def one(batch: Batch, row: int) -> Batch:
    return Batch(batch.tokens[row : row + 1], batch.keys[row : row + 1])


def scorer(
    model: Satori,
    threshold: torch.Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    precision: str = "float32",
    **settings: Any,
) -> DfimScorer:
    dfim = Dfim(**{"baselines": 1, "mutations": 1, **settings})
    score = Score(dfim=dfim, sites=Sites(max_sites=SITES, max_distance=0), precision=precision)
    return DfimScorer(model, threshold, settings=score, seed=1, composition=COMPOSITION, dtype=dtype)


class Margin(torch.nn.Module):
    def __init__(self, model: Satori) -> None:
        super().__init__()
        self.soft = SoftSatori(model, dtype=torch.float32)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.soft(letters)[:, 0]
        return logits


def captum_map(model: Margin, batch: Batch, places: torch.Tensor, *, together: int) -> torch.Tensor:
    """Return FIS of one sequence as SATORI 1 computes it."""
    plain, count = model.soft.model, len(places)
    tokens, keys = batch.tokens, batch.keys
    drawn = draws.replacements(tokens, keys, seed=1, number=1)[0, 0]
    every = tokens.repeat(1 + count, 1)
    starts = (places - plain.padding).tolist()
    for number, start in enumerate(starts):
        every[1 + number, start : start + plain.width] = drawn[start : start + plain.width]
    bases = draws.baselines(keys, seed=1, number=1 + count, length=plain.length, composition=COMPOSITION)[0]
    ends, begins = one_hot(every, torch.float32), one_hot(bases, torch.float32)
    explain = IntegratedGradients(model)
    parts = [
        explain.attribute(ends[first : first + together], baselines=begins[first : first + together], n_steps=50)
        for first in range(0, len(ends), together)
    ]
    letters = (torch.cat(parts).detach() * ends[:1]).sum(1)
    change = letters[:1] - letters[1:]
    windows = torch.tensor(starts)[:, None] + torch.arange(plain.width)
    return change[:, windows].sum(-1)


def times(model: Satori, batch: Batch, threshold: torch.Tensor, options: argparse.Namespace) -> list[str]:
    """Return the table of times."""
    plain, places, found = Margin(model), even_sites(model, SITES), found_sites(model, SITES)
    count = options.sequences
    legacy = scorer(model, threshold, legacy=True)
    secants = {
        f"secant, S = {steps}{also}": scorer(model, threshold, steps=steps, precision=precision)
        for precision, also in precisions(options)
        for steps in (2, 4, 8, 12, 16, 20, 24)
    }
    common: dict[str, Any] = {"seed": 1, "composition": COMPOSITION}
    doubles = EpistasisScorer(
        model,
        threshold,
        settings=Score(sites=Sites(max_sites=SITES, max_distance=0), epistasis=Epistasis(mutations=1)),
        **common,
    )
    default = DfimScorer(model, threshold, settings=Score(sites=Sites(max_sites=SITES)), **common)
    whole = Batch(batch.tokens[:16], batch.keys[:16])
    raw = AttentionScorer(model, threshold)
    attributions = {
        "attribution, 20 steps (right)": AttributionScorer(model, threshold, settings=Score(), **common),
        "attribution, 2 secants": AttributionScorer(
            model,
            threshold,
            settings=Score(attribution=Attribution(rule="secant", steps=2)),
            **common,
        ),
    }

    def each(work):  # type: ignore[no-untyped-def]
        return lambda: [work(one(batch, row)) for row in range(count)]

    def forward() -> None:
        with torch.inference_mode():
            model(whole.tokens, attention=True)
        raw(whole)

    works = {
        "captum, 12 at a time": each(lambda x: captum_map(plain, x, places, together=12)),
        "captum, 1 at a time": each(lambda x: captum_map(plain, x, places, together=1)),
        "legacy": each(lambda x: legacy.map_sites(x, found)),
        **{name: each(lambda x, made=made: made.map_sites(x, found)) for name, made in secants.items()},
        "epistasis": each(lambda x: doubles.map_sites(x, found)),
        "DFIM as configured by default": each(lambda x: default.map_sites(x, found)),
        "raw attention": lambda: raw(whole),
        "forward with logits, and raw attention": forward,
        **{name: (lambda made=made: made(whole)) for name, made in attributions.items()},
    }
    found_times = timing.race(works, rounds=options.rounds, clock=options.clock)
    heads = ["what", "ms per sequence", "captum, 12 at a time / this", "captum, 1 at a time / this"]
    heads += ["this / raw attention", "this / forward with logits and raw attention"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    raw_times, both_times = found_times["raw attention"], found_times["forward with logits, and raw attention"]
    for name, seconds in found_times.items():
        few = name in attributions or "raw" in name
        per = statistics.median(seconds) / (len(whole) if few else count) * 1e3
        cells = [timing.ratio(found_times[f"captum, {n} at a time"], seconds) if not few else "" for n in (12, 1)]
        more = [timing.ratio(seconds, base) if few else "" for base in (raw_times, both_times)]
        lines.append(f"| {name} | {per:.1f} | " + " | ".join(cells + more) + " |")
    own = statistics.median(found_times["DFIM as configured by default"]) / count
    peer = PEER[options.architecture]
    lines += [
        "",
        f"SATORI 1's own code took {peer} s per sequence ({options.architecture}; another run, 155 sites), DFIM as "
        f"configured by default takes {own:.2f} s with {SITES} sites: {peer / own:.0f} times less.",
    ]
    return lines


def errors(model: Satori, batch: Batch, threshold: torch.Tensor, options: argparse.Namespace) -> list[str]:
    """Return the table of errors against truth."""
    found = found_sites(model, options.error_sites)
    batches = [one(batch, row) for row in range(options.error_sequences)]
    truths = [
        scorer(model, threshold, dtype=torch.float64, rule="midpoint", steps=TRUTH_NODES).map_sites(x, found).double()
        for x in batches
    ]

    def error(**settings: Any) -> str:
        made, off = scorer(model, threshold, **settings), []
        for x, truth in zip(batches, truths, strict=True):
            there = ~truth.isnan()
            off.append(float((made.map_sites(x, found).double()[there] - truth[there]).norm() / truth[there].norm()))
        return f"{statistics.median(off):.3f} ({min(off):.3f} to {max(off):.3f})"

    lines = ["| rule | error against truth: median of the sequences (range) |", "|---|---|"]
    for rule in ("gauss-legendre", "midpoint"):
        lines.append(f"| {rule}, 50 nodes | {error(rule=rule, steps=50)} |")
    return lines + [
        f"| secant, S = {steps}{also} | {error(steps=steps, precision=precision)} |"
        for precision, also in precisions(options)
        for steps in SEGMENTS
    ]


def precisions(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the precisions of the layers after attention: the name of each, and its mark in the tables."""
    return [("float32", ""), ("bfloat16", ", bfloat16 trunk")][: 2 if options.architecture == "deep" else 1]


if __name__ == "__main__":
    main()
