"""Which score finds the pairs? Every method on simulated sets, with the published and the within-sequence statistic.

python -m benchmarks.usefulness train --folder F [RUN ...]     make, train and name the filters of the runs
python -m benchmarks.usefulness score --folder F [RUN ...]     score, reduce and evaluate; one JSON file for each run
python -m benchmarks.usefulness table                          the table of all JSON files that are there

What is finished stays, so each of them may be stopped and called again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import usefulness_table
from satori_hpc.run import files

RESULTS = Path("benchmarks/results/usefulness")
TABLE = Path("benchmarks/results/usefulness.md")
READING = RESULTS / "reading.md"  # what the table shows, in words, written by hand
STATISTICS = ("published", "within-sequence")

COMMON = {
    "prepare.simulated.length": "200",
    "prepare.simulated.motif_information_min": "12",
    "prepare.simulated.jaspar_similarity_max": "0.8",
    "motifs.database_similarity_max": "0.8",
    "model.kernel_size": "15",
    # Exponential activations and a wide pooling make whole motifs of first-layer filters, few filters no duplicates.
    "model.activation": "exp",
    "model.pool": "8",
    "motifs.threshold": "0.2",
    "model.num_heads": "4",
    "model.head_dim": "16",
    "model.mixing_size": "64",
    "model.dropout": "0.1",
    "model.attention_dropout": "0.1",
    "train.learning_rate": "0.003",
    "train.schedule": "onecycle",
    "train.batch_size": "64",
    "train.precision": "bfloat16",
    "train.patience": "0",
}
ARCHITECTURES = {
    "basic": {"model.architecture": "basic"},
    "deep": {
        "model.architecture": "deep",
        "model.block_widths": "[64,64]",
        "model.block_dropout": "0.1",
        "model.dilations": "[2,4]",
        "model.hidden": "64",
        "model.conv_residual": "true",
    },
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One simulated set and the network trained on it."""

    group: str
    design: str
    architecture: str
    seed: int
    tfs: int
    pairs: int
    examples: int
    epochs: int
    filters: int = 32
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.group}-{self.architecture}-{self.seed}"

    def settings(self) -> dict[str, str]:
        """Return the differences from the defaults of run.toml."""
        return {
            "prepare.simulated.design": self.design,
            "prepare.simulated.tfs": str(self.tfs),
            "prepare.simulated.pairs": str(self.pairs),
            "prepare.simulated.examples": str(self.examples),
            "train.epochs": str(self.epochs),
            "model.num_filters": str(self.filters),
            **COMMON,
            **ARCHITECTURES[self.architecture],
            **self.changes,
        }


def _group(group: str, seeds: tuple[int, ...], architectures: tuple[str, ...], **values: Any) -> list[Trained]:
    return [
        Trained(group=group, architecture=architecture, seed=seed, **values)
        for architecture in architectures
        for seed in seeds
    ]


BOTH = ("deep", "basic")
# Forty pairs are learned more slowly: a smaller learning rate, and less dropout because nothing is overfitted.
LARGE = {
    "train.learning_rate": "0.002",
    "model.dropout": "0.05",
    "model.attention_dropout": "0",
    "model.block_dropout": "0.05",
}
RUNS = {
    run.name: run
    for run in (
        *_group(
            "large",
            (1,),
            ("deep",),
            design="hard",
            tfs=20,
            pairs=40,
            examples=60_000,
            epochs=14,
            filters=64,
            changes=LARGE,
        ),
        *_group("hard", (1, 2, 3), BOTH, design="hard", tfs=12, pairs=15, examples=20_000, epochs=16),
        *_group(
            "published", (1, 2, 3), BOTH, design="published", tfs=20, pairs=40, examples=20_000, epochs=8, filters=48
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Methods that are scored together: their names in the table, and the number of examples of each side."""

    methods: dict[str, str]
    examples: int
    settings: dict[str, str] = field(default_factory=dict)


ANY = {"reduce.max_distance": "0"}  # tested, too, at any distance
PASSES = {
    "attention": Pass(methods={"attention": "attention", "attribution": "attribution"}, examples=400),
    "legacy": Pass(methods={"dfim": "DFIM legacy"}, examples=100, settings={"score.dfim.legacy": "true"}),
    "dfim": Pass(methods={"dfim": "DFIM"}, examples=100),
    "legacy-400": Pass(
        methods={"dfim": "DFIM legacy, 400 examples"}, examples=400, settings={"score.dfim.legacy": "true"}
    ),
    "dfim-400": Pass(methods={"dfim": "DFIM, 400 examples"}, examples=400),
    "few": Pass(methods={"epistasis": "epistasis, 100 examples"}, examples=100),
    "epistasis": Pass(methods={"epistasis": "epistasis"}, examples=400),
    "any": Pass(methods={"epistasis": "epistasis, tested at any distance"}, examples=400, settings=ANY),
    "attention-many": Pass(
        methods={"attention": "attention, 1500 examples", "attribution": "attribution, 1500 examples"}, examples=1500
    ),
    "many": Pass(methods={"epistasis": "epistasis, 1500 examples"}, examples=1500),
    "many-any": Pass(
        methods={"epistasis": "epistasis, tested at any distance, 1500 examples"}, examples=1500, settings=ANY
    ),
}
USUAL = ("attention", "legacy", "dfim", "few", "epistasis")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "score", "table"))
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(RUNS)}; default: all")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/usefulness"), help="where the runs are")
    parser.add_argument("--passes", nargs="+", choices=tuple(PASSES), default=list(USUAL), help="which methods")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.what == "table":
        files.write_text(TABLE, usefulness_table.text(usefulness_table.read(RESULTS), READING.read_text()))
        return
    for name in options.runs or RUNS:
        run = RUNS[name]
        if options.what == "train":
            train(run, options.folder, threads=options.threads)
        else:
            for which in options.passes:
                score(run, which, options.folder, threads=options.threads)


def train(run: Trained, folder: Path, *, threads: int) -> None:
    """Create the run directory and train its network; finished stages are kept."""
    path = folder / run.name
    if not (path / "run.toml").exists():
        new_run(path, run.settings(), seed=run.seed)
    for stage in ("prepare", "train", "motifs"):
        command(stage, path, *(() if stage == "prepare" else ("--threads", str(threads))))


def score(run: Trained, which: str, folder: Path, *, threads: int) -> None:
    """Score a trained run in one pass and add its figures to the JSON file of the run; skip existing ones."""
    wanted = PASSES[which]
    if set(wanted.methods.values()) <= set(_content(run, folder)["scores"]):
        return
    path = _copy(run, which, folder)
    command("score", path, "--threads", str(threads))
    scored = json.loads((path / "provenance" / "score.json").read_text())["summary"]
    found: dict[str, Any] = {
        name: {"examples": wanted.examples, "settings": wanted.settings, "scored": scored[method]}
        for method, name in wanted.methods.items()
    }
    baselines: dict[str, Any] = {}
    for statistic in STATISTICS:
        command("set", path, f"reduce.statistic={statistic}")
        command("reduce", path, "--threads", str(threads))
        command("evaluate", path)
        evaluation = json.loads((path / "evaluation.json").read_text())
        for method, name in wanted.methods.items():
            found[name][statistic] = _without_curve(evaluation["methods"][method])
            print(run.name, name, statistic, *(round(found[name][statistic][key], 3) for key in ("aupr", "f1")))
        baselines = {key: evaluation[key] for key in ("truth", "call_all", "cooccurrence")}
        baselines["cooccurrence"] = _without_curve(baselines["cooccurrence"])
    content = _content(run, folder)  # read again: another process may have added its pass meanwhile
    content.update(baselines)
    content["scores"].update(found)
    RESULTS.mkdir(parents=True, exist_ok=True)
    files.write_text(RESULTS / f"{run.name}.json", json.dumps(content, indent=1) + "\n")


def _content(run: Trained, folder: Path) -> dict[str, Any]:
    target = RESULTS / f"{run.name}.json"
    found: dict[str, Any] = json.loads(target.read_text()) if target.exists() else _about(run, folder / run.name)
    return found


def _without_curve(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key != "curve"}


def _about(run: Trained, path: Path) -> dict[str, Any]:
    def summary(stage: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((path / "provenance" / f"{stage}.json").read_text())["summary"]
        return found

    return {
        "name": run.name,
        "group": run.group,
        "design": run.design,
        "architecture": run.architecture,
        "seed": run.seed,
        "tfs": run.tfs,
        "pairs": run.pairs,
        "examples": run.examples,
        "settings": run.settings(),
        "train": summary("train"),
        "motifs": summary("motifs"),
        "scores": {},
    }


def _copy(run: Trained, which: str, folder: Path) -> Path:
    """Copy the trained run by hard links into a separate run directory, with a run.toml for the scores of a pass."""
    wanted = PASSES[which]
    path = folder / "scored" / run.name / which
    done = path / "copied"
    if done.exists():
        return path
    shutil.rmtree(path, ignore_errors=True)
    methods = ", ".join(f'"{method}"' for method in wanted.methods)
    settings = {"score.methods": f"[{methods}]", "score.max_examples": str(wanted.examples), **wanted.settings}
    new_run(path, {**run.settings(), **settings}, seed=run.seed)
    for part in ("dataset.zarr", "truth", "checkpoints", "predictions.zarr", "motifs", "provenance"):
        shutil.copytree(folder / run.name / part, path / part, copy_function=os.link)
    done.touch()
    return path


def new_run(path: Path, settings: dict[str, str], *options: str, seed: int) -> None:
    """Make a run directory with these settings."""
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command("new", path, "--seed", str(seed), *sets, *options)


def command(stage: str, path: Path, *options: str) -> None:
    """Run a command of the package on a run directory."""
    words = [sys.executable, "-m", "satori_hpc", stage, str(path), *options]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
