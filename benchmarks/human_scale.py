"""A human genome, 164 peak files and two million windows through the stages up to scoring: time, memory and bytes.

A made-up genome with the names and sizes of GRCh38's chromosomes; peak files at places that several of them share.
`prepare` of all of it with two bounds of memory; the network of the template, trained for an epoch on one chromosome,
predicts all windows; motifs of another one; shuffled controls of all; the plan of scoring all, its first partitions.
What is done is kept in figures.json, so that a command with --keep goes on where it stopped.

    python -m benchmarks.human_scale --keep /scratch/human
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import human_genome, timing
from satori_hpc.parallel import memory
from satori_hpc.run import files

OUT = Path("benchmarks/results/human_scale.md")
SATORI = [sys.executable, "-m", "satori_hpc"]
TRAIN, VALID = "chr21", "chr22"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the genome's size, its places and peaks")
    parser.add_argument("--files", type=int, default=164)
    parser.add_argument("--peaks", type=int, default=120_000, help="drawn for each file")
    parser.add_argument("--places", type=int, default=2_600_000, help="that the files share")
    parser.add_argument("--memory", default="2GiB,1GiB", help="bounds of prepare; the last one's data set is used")
    parser.add_argument(
        "--network", nargs="*", default=[], help="run.toml keys of the network: model.num_filters=100 ..."
    )
    parser.add_argument("--score", type=int, default=100_000, help="sequences that are really scored")
    parser.add_argument("--stop", choices=("prepare", "score"), default="score", help="last step")
    parser.add_argument("--keep", type=Path, help="folder to leave genome, peaks and runs in")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        steps = Steps(folder / "figures.json")
        work(folder, options, steps)
        files.write_text(options.out, "\n".join(page(options, steps.figures)) + "\n")
    print(options.out.read_text())


class Steps:
    """Commands with their time and memory, by name; kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.figures: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def keep(self, name: str, **figures: Any) -> None:
        self.figures[name] = figures
        files.write_text(self.path, json.dumps(self.figures, indent=1))

    def run(self, name: str, command: list[Any], *, made: Path | None = None) -> None:
        """Run a command unless it is done: seconds, largest resident memory, output, and files and bytes of `made`."""
        if name in self.figures:
            return
        print(name, *command[3:], flush=True)
        began = time.monotonic()
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{name} failed:\n{said}")
        files = [file for file in made.rglob("*") if file.is_file()] if made else []
        self.keep(
            name,
            seconds=round(time.monotonic() - began, 1),
            cpu=round(usage.ru_utime + usage.ru_stime, 1),
            rss=usage.ru_maxrss * 1024,
            files=len(files),
            bytes=sum(file.stat().st_size for file in files),
            said=said,
        )


def work(folder: Path, options: argparse.Namespace, steps: Steps) -> None:
    """Make the inputs, and run all that is not done."""
    sizes = human_genome.lengths(options.share)
    if "inputs" not in steps.figures:
        human_genome.write_genome(folder / "genome.fa", sizes)
        count, places = (int(number * options.share) for number in (options.peaks, options.places))
        human_genome.write_peaks(folder, sizes, files=options.files, peaks=count, places=places)
        steps.keep("inputs", letters=sum(sizes.values()))
    for bound in options.memory.split(","):
        run = folder / f"run-{bound}"
        new_run(run, folder, options)
        steps.run(f"prepare --memory {bound}", [*SATORI, "prepare", run, "--memory", bound], made=run / "dataset.zarr")
        if f"digest {bound}" not in steps.figures:
            steps.keep(f"digest {bound}", sha256=digest(run / "dataset.zarr"))
    steps.keep("summary", **summary_of(run, "prepare"))
    if options.stop == "prepare":
        return
    steps.run("train", [*SATORI, "train", run], made=run / "predictions.zarr")
    steps.keep("trained", **summary_of(run, "train"))
    steps.run("motifs", [*SATORI, "motifs", run], made=run / "motifs")
    steps.run("prepare --background", [*SATORI, "prepare", run, "--background"], made=run / "background.zarr")
    score = [*SATORI, "score", run]
    steps.run("score --plan --json", [*score, "--plan", "--json"])
    plan = json.loads(steps.figures["score --plan --json"]["said"])["attention"]
    partitions, examples = (plan[what]["foreground"] for what in ("partitions", "examples"))
    wanted = max(1, -(-options.score * partitions // examples))
    name = f"score --partition 0-{wanted - 1}"
    steps.run(name, [*score, "--partition", f"0-{wanted - 1}"], made=run / "scores")
    steps.keep("scored", partitions=wanted, of=partitions)


def summary_of(run: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "provenance" / f"{stage}.json").read_text())["summary"]
    return found


def new_run(run: Path, folder: Path, options: argparse.Namespace) -> None:
    if (run / "run.toml").exists():
        return
    quoted = ", ".join(f'"{name}"' for name in human_genome.CHROMOSOMES if name not in (TRAIN, VALID))
    keys = [
        'prepare.split="chromosome"',
        f'prepare.valid_chromosomes=["{VALID}"]',
        f"prepare.test_chromosomes=[{quoted}]",
        "train.epochs=1",
        'motifs.split="valid"',
        'score.split="all"',
        "score.include_mispredicted=true",
        "score.max_examples=0",
        *options.network,
    ]
    files = ("--genome", folder / "genome.fa", "--peak-table", folder / "peaks.tsv")
    settings = [part for key in keys for part in ("--set", key)]
    command = [*SATORI, "new", run, "--template", "genome", "--preset", "published", *files, *settings]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)


def digest(folder: Path) -> str:
    """Return SHA-256 over all files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as handle:
            total.update(hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()


def page(options: argparse.Namespace, figures: dict[str, dict[str, Any]]) -> list[str]:
    """Return the results, as Markdown."""
    summary = figures["summary"]
    digests = {found["sha256"] for name, found in figures.items() if name.startswith("digest ")}
    lines = [
        "# A human genome and two million windows",
        "",
        timing.made_with("torch", "numpy", "zarr").split(" Rounds are")[0].replace("one thread on", "all threads, on"),
        "",
        f"{figures['inputs']['letters'] / 1e9:.2f} Gb, {options.files} files with {summary['peak_rows']:,} peaks, "
        f"{summary['windows']:,} windows of 600 bp with {summary['test_labels_per_example']} labels each. "
        f"The data sets made with different bounds have {'the same bytes' if len(digests) == 1 else 'OTHER BYTES'}.",
        "Other work may share the machine: CPU seconds tell more than seconds.",
        *network(options, figures),
        "",
        "| command | seconds | CPU seconds | peak memory, GiB | files | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures.items():
        if "rss" in found:
            lines.append(
                f"| {name} | {found['seconds']:.0f} | {found['cpu']:.0f} | {found['rss'] / 2**30:.2f} | "
                f"{found['files']} | {found['bytes'] / 2**20:.0f} |"
            )
    if "score --plan --json" in figures:
        lines += ["", "What `score --plan --json` prints:", "", "```json"]
        lines += [figures["score --plan --json"]["said"].strip(), "```"]
    if "scored" in figures:
        lines += ["", *projection(figures)]
    return lines


def network(options: argparse.Namespace, figures: dict[str, dict[str, Any]]) -> list[str]:
    """Describe the machine on which the network was trained."""
    if "trained" not in figures:
        return []
    summary, trained = figures["summary"], figures["trained"]
    changed = f" ({', '.join(options.network)})" if options.network else ""
    return [
        "",
        f"The network is that of the template{changed}, trained on {TRAIN} ({summary['train']:,} windows) for an epoch "
        f"({trained['examples_per_s']:.0f} windows/s). `train` predicts all windows and measures them by label (mean "
        f"test AUROC {trained['test_auroc']:.3f}: letters and peaks are random). Scoring takes all windows "
        "(score.include_mispredicted) and their shuffled controls.",
    ]


def projection(figures: dict[str, dict[str, Any]]) -> list[str]:
    """Return all partitions, from those that were scored."""
    plan = json.loads(figures["score --plan --json"]["said"])["attention"]
    scored = figures["scored"]
    took = next(found for name, found in figures.items() if name.startswith("score --partition"))
    share = scored["partitions"] / scored["of"]
    sequences = round(plan["examples"]["foreground"] * share)
    stored = took["bytes"]
    whole = 2 / share  # foreground and background
    return [
        f"Scored: {scored['partitions']} partitions, {sequences:,} sequences, {1e3 * took['seconds'] / sequences:.2f} "
        f"ms and {stored / sequences / 2**10:.1f} KiB each. All of them, foreground and background, would take "
        f"{took['seconds'] * whole / 3600:.1f} hours on this machine and {memory.show(stored * whole)} of disk.",
    ]


if __name__ == "__main__":
    main()
