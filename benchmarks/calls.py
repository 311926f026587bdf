"""Do calls mean interactions? The product from `new` to `evaluate` on simulated designs.

    python -m benchmarks.calls run --folder F [--network NAME] [--design NAME ...] [--seed N ...]
    python -m benchmarks.calls table --folder F      write benchmarks/results/calls.md, or --out

`run` leaves alone what is complete. Networks: `motifs`, the 157 motifs known to the network; `both`, these and 32
learned filters; `default`, these and the regression on 6-mers, as preset `motifs` for files; `hidden`, like `both`
without the implanted motifs, which only filters can find; `learned`, a small
network of 64 learned filters, named after the 157; `dfim`, the same, scored by DFIM. Designs: docs/methods.md, and
`permuted`, the sequences of grammar as a FASTA file with their labels permuted. The constants of the statistics were
chosen on seed 1 of a prototype; seeds 4, 5 and 6 are reported.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.data.dataset import Dataset
from satori_hpc.data.sources.simulate import pool
from satori_hpc.interactions import tables
from satori_hpc.motifs import collection, readers
from satori_hpc.sites import store as motif_store

TABLE = Path("benchmarks/results/calls.md")
DESIGNS = ("grammar", "arrange", "hard-matched", "one-pair", "additive", "one-motif", "permuted")
PERMUTED = "grammar"  # the design whose labels are permuted
SEEDS = (4, 5, 6)
SET = {
    "prepare.simulated.examples": "12000",
    "prepare.simulated.length": "240",
    "prepare.simulated.tfs": "12",
    "prepare.simulated.pairs": "12",
    "prepare.simulated.jaspar_similarity_max": "0.8",
    "motifs.database_similarity_max": "0.8",
}
LEARNED = {
    "model.num_filters": "64",
    "model.kernel_size": "15",
    "model.num_heads": "4",
    "model.head_dim": "16",
    "model.mixing_size": "64",
    "train.epochs": "20",
    "train.patience": "0",
    "train.learning_rate": "0.003",
    "train.schedule": "onecycle",
    "train.batch_size": "64",
}
NETWORKS: dict[str, tuple[str, dict[str, str]]] = {  # name: preset, and what else is set
    "motifs": ("demo", {}),
    "both": ("demo", {"model.motif-tokens.num_filters": "32"}),
    "default": ("demo", {"model.motif-tokens.num_filters": "32", "model.motif-tokens.kmers": "true"}),
    "hidden": ("demo", {"model.motif-tokens.num_filters": "32", "model.motif-tokens.similarity_max": "1"}),
    "learned": ("data-40", {**LEARNED, "score.methods": '["attention", "epistasis"]', "score.max_examples": "0"}),
    "dfim": ("data-40", {**LEARNED, "score.methods": '["dfim"]', "score.max_examples": "200"}),
}
STAGES = ("prepare", "train", "motifs", "score")
STATISTICS = ("published", "contrasts-two-way", "auto")  # of attention; auto is the last, and that of epistasis
OF_DFIM = ("published", "within-sequence", "auto")
HEAD = """\
# Calls on simulated designs

`python -m benchmarks.calls`: 12,000 sequences of 240 bp, 12 TFs, 12 listed pairs and decoys. Network `motifs`: it
starts from the 157 JASPAR vertebrate motifs that are left at similarity .8, without learned filters, and all their
pairs are tested; `both`: with 32 learned filters; `default`: and with the regression on 6-mers beside the network, as
in preset `motifs`; `hidden`: like `both`, without the motifs that are implanted; `learned`: 64 filters, 20 epochs,
named after the same 157 motifs. The 1,200 test sequences are interpreted, positives
against negatives; the tests without a network (the last columns) see all 12,000, and the same 157 motifs. additive,
one-motif, permuted (the sequences of grammar, their labels in random order; every test sequence is interpreted): no
pair is true. Called / correct / of these decoys, and F1, of TF pairs; a pair with a TF that is not implanted is a false
call. `tested`: TF pairs. In bold the default. CPU seconds are of one thread. `learned` on hard-matched and arrange is
no row: it learns nothing, and `motifs` refuses it (no positive predicted above .65).

"""

BESIDE = """\
## Pairs of two learned filters beside known motifs

Called of tested pairs of filters, named or not. In grammar some of the pairs are true, elsewhere none.

| network | design | seed | attention, published | attention, contrasts-two-way | epistasis, minimum effect |
|---|---|---|---|---|---|
"""
DFIM = """\
## DFIM

The networks of `learned`, 200 positives and 200 negatives. Called / correct / decoys, F1, of TF pairs.

| design | seed | tested | published | tested | within-sequence | tested | minimum effect |
|---|---|---|---|---|---|---|---|
"""


def folder_of(root: Path, network: str, design: str, seed: int) -> Path:
    return root / f"{network}-{design}-{seed}"


def run(root: Path, network: str, design: str, seed: int) -> None:
    """Make a run and evaluate it by every statistic; stages that are complete are left alone."""
    path = folder_of(root, network, design, seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "satori_hpc"]
    if not path.exists():
        preset, more = NETWORKS[network]
        settings = {"prepare.simulated.design": design, **SET, **more}
        files: list[str] = []
        if design == "one-pair":
            del settings["prepare.simulated.pairs"]
        if design == "permuted":
            # No network is sure of such labels: every example is interpreted.
            settings = {"motifs.database_similarity_max": "0.8", "score.include_mispredicted": "true", **more}
            settings["motifs.min_probability"] = "0"
            files, preset = permuted(root, seed), {"demo": "motifs", "data-40": "small"}[preset]
            if network == "motifs":
                settings |= {"model.motif-tokens.num_filters": "0"}
            if network in ("motifs", "both", "hidden"):
                settings |= {"model.motif-tokens.kmers": "false"}
        if network == "hidden":
            settings["model.motif-tokens.motifs"] = str(others(root, design, seed))
        given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        command = [*program, "new", str(path), "--preset", preset, "--seed", str(seed), *files, *given]
        subprocess.run(command, check=True, env=environment)
    for stage in STAGES:
        began = os.times()
        subprocess.run([*program, stage, str(path)], check=True, env=environment)
        ended = os.times()
        spent = ended.children_user + ended.children_system - began.children_user - began.children_system
        note = path / "cpu_seconds.json"
        times = json.loads(note.read_text()) if note.exists() else {}
        if stage not in times:
            note.write_text(json.dumps({**times, stage: round(spent, 1)}))
    for statistic in OF_DFIM if network == "dfim" else STATISTICS:
        kept = path / f"evaluation.{statistic}.json"
        if not kept.exists():
            for command in (["set", str(path), f"reduce.statistic={statistic}"], ["reduce", str(path)]):
                subprocess.run([*program, *command], check=True, env=environment)
            subprocess.run([*program, "evaluate", str(path)], check=True, env=environment)
            found = json.loads((path / "evaluation.json").read_text())
            reduced = json.loads((path / "provenance" / "reduce.json").read_text())["summary"]
            tested = {method: told["tf_pairs"] for method, told in reduced.items() if "tf_pairs" in told}
            if not found["truth"]:  # of permuted labels
                found |= {"methods": {method: _nothing_true(path, method) for method in tested}}
            beside = network in ("both", "default", "hidden")
            learned = {method: _of_filters(path, method) for method in tested if beside}
            kept.write_text(json.dumps({**found, "tested": tested, "learned": learned}))


def permuted(root: Path, seed: int) -> list[str]:
    """Write the sequences of a set with their labels in random order; return the options of `new` that read them."""
    source = root / f"{PERMUTED}-{seed}"
    if not source.exists():
        given = [part for key, value in SET.items() for part in ("--set", f"{key}={value}")]
        design = ["--set", f"prepare.simulated.design={PERMUTED}"]
        for command in (
            ["new", str(source), "--preset", "demo", "--seed", str(seed), *design, *given],
            ["prepare", str(source)],
        ):
            subprocess.run([sys.executable, "-m", "satori_hpc", *command], check=True)
    data = Dataset(source / "dataset.zarr")
    labels = np.random.default_rng([seed, *b"permuted"]).permutation(data.labels[:, 0])
    rows = [f"sim{example}\t0\t{data.length}\t{label}\n" for example, label in enumerate(labels.tolist())]
    (source / "permuted.txt").write_text("".join(rows))
    return [
        *("--template", "fasta", "--fasta", str(source / "truth" / "seqs.fa")),
        *("--table", str(source / "permuted.txt")),
    ]  # fmt: skip


def others(root: Path, design: str, seed: int) -> Path:
    """Write the motifs that a set does not implant, and return the file."""
    known = collection.thin(readers.jaspar(release=readers.RELEASE, collection="CORE", groups=("vertebrates",)), 0.8)
    config = Simulated(design=design, examples=12_000, length=240, tfs=12, jaspar_similarity_max=0.8)
    implanted = {motif.name for motif in pool.select(known, config, seed=seed)}
    path = root / f"others-{design}-{seed}.meme"
    readers.write_meme(path, [motif for motif in known if motif.name not in implanted], np.full(4, 0.25))
    return path


def _nothing_true(path: Path, method: str) -> dict[str, Any]:
    return _none(int(tables.read_tf(path / "interactions" / method)["called"].sum()))


def _none(called: int) -> dict[str, Any]:
    """Return the scores of calls where no pair is true."""
    return {"called": called, "correct": 0, "decoys": 0, "f1": None}


def _of_filters(path: Path, method: str) -> tuple[int, int]:
    """Return how many pairs of two learned filters are tested, and called, in a network that also knows motifs."""
    table = tables.read(path / "interactions" / method)
    filters = motif_store.read_filters(path / "motifs")["filter"]
    known = len(filters) - int(NETWORKS["both"][1]["model.motif-tokens.num_filters"])
    learned = table[(table["filter_a"] >= known) & table["tested"]]
    return len(learned), int(learned["called"].sum())


def line(root: Path, network: str, design: str, seed: int) -> str:
    """Return a row of the table."""
    path = folder_of(root, network, design, seed)
    every = {name: json.loads((path / f"evaluation.{name}.json").read_text()) for name in STATISTICS}
    found = every["auto"]
    times = json.loads((path / "cpu_seconds.json").read_text())
    train = json.loads((path / "provenance" / "train.json").read_text())["summary"]
    cells = [network, design, str(seed), f"{train['test_auroc']:.3f}", f"{times['train']:.0f}"]
    chosen = found["methods"]["attention"]
    for name in STATISTICS[:-1]:
        told = every[name]["methods"]["attention"]
        said = _said(told)
        cells += [str(every[name]["tested"]["attention"]), f"**{said}**" if told == chosen else said]
    cells += [str(found["tested"]["epistasis"]), f"**{_said(found['methods']['epistasis'])}**"]
    cells.append(_said(found["cooccurrence"]) if found.get("cooccurrence") else "")
    cells += [_said(test.get("scores") or _none(test["called"])) for test in found["yardsticks"]["tests"]]
    return "| " + " | ".join(cells) + " |"


def _said(found: dict[str, Any]) -> str:
    said = f"{found['called']} / {found['correct']} / {found['decoys']}"
    return said + (f", {found['f1']:.2f}" if found["f1"] is not None else "")


def table(root: Path, out: Path) -> None:
    """Write the tables of all runs that are evaluated."""
    there = [
        each
        for each in itertools.product(NETWORKS, DESIGNS, range(100))
        if (folder_of(root, *each) / "evaluation.auto.json").exists()
    ]
    dfim = [each for each in there if each[0] == "dfim"]
    there = [each for each in there if each[0] != "dfim"]
    tests = json.loads((folder_of(root, *there[0]) / "evaluation.json").read_text())["yardsticks"]["tests"]
    names = [f"{test['test']}, {test['range_bp']} bp" for test in tests]
    head = ["network", "design", "seed", "test AUROC", "training, CPU s"]
    for name in STATISTICS[:-1]:
        head += ["tested", f"attention, {name}"]
    head += ["tested", "epistasis, minimum effect", "co-occurrence", *names]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *(line(root, *each) for each in there)]
    beside = [each for each in there if each[0] in ("both", "default", "hidden")]
    parts = [HEAD + "\n".join(lines)]
    parts += [BESIDE + "\n".join(_beside(root, *each) for each in beside)] if beside else []
    parts += [DFIM + "\n".join(_dfim_line(root, *each) for each in dfim)] if dfim else []
    out.write_text("\n\n".join([*parts, f"Made on {time.strftime('%Y-%m-%d')}.\n"]))


def _beside(root: Path, network: str, design: str, seed: int) -> str:
    """Return a row on pairs of two learned filters beside known motifs."""
    path = folder_of(root, network, design, seed)
    told = [json.loads((path / f"evaluation.{name}.json").read_text())["learned"] for name in STATISTICS]
    cells = [f"{called} of {tested}" for tested, called in (each["attention"] for each in told[:-1])]
    tested, called = told[-1]["epistasis"]
    return "| " + " | ".join([network, design, str(seed), *cells, f"{called} of {tested}"]) + " |"


def _dfim_line(root: Path, network: str, design: str, seed: int) -> str:
    """Return a row on DFIM."""
    path = folder_of(root, network, design, seed)
    cells = [design, str(seed)]
    for name in OF_DFIM:
        found = json.loads((path / f"evaluation.{name}.json").read_text())
        said = _said(found["methods"]["dfim"])
        cells += [str(found["tested"]["dfim"]), f"**{said}**" if name == "auto" else said]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--design", action="append", choices=DESIGNS)
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--out", type=Path, default=TABLE, help="file of the tables")
    asked = parser.parse_args()
    if asked.what == "table":
        table(asked.folder, asked.out)
        return
    for each in itertools.product(asked.network or NETWORKS, asked.design or DESIGNS, asked.seed or SEEDS):
        run(asked.folder, *each)


if __name__ == "__main__":
    main()
