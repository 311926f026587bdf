"""Does a search by two MPI ranks find a better configuration than the default, killed in between or not?

A small simulated set and a budget of trials. One search runs undisturbed by one process; another, of the same seed, by
two ranks, of which all are killed (SIGKILL) once half of the trials have ended, and started again. The leaderboards
must agree. The test split, which chose nothing, tells how much of the gain is true.

    python -m benchmarks.search_record --trials 10
"""

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import timing
from satori_hpc.config import Config, Model, Prepare, Simulated, Train
from satori_hpc.config.search import Search
from satori_hpc.run import files, new, provenance
from satori_hpc.run.layout import Run

OUT = Path("benchmarks/results/search_record.md")
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
SETTLED = ("rank", "seconds")  # columns that may differ: time, and with it nothing else


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    config = Config(
        seed=options.seed,
        prepare=Prepare(simulated=Simulated(examples=options.examples, length=200)),
        model=Model(num_filters=64),
        train=Train(epochs=options.epochs, batch_size=64),
        search=Search(trials=options.trials, seed=options.seed),
    )
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = made(Path(folder) / "undisturbed", config)
        began = time.monotonic()
        finish(start(undisturbed, 1))
        alone = time.monotonic() - began
        killed = Run(path=Path(folder) / "killed", config=undisturbed.config)
        shutil.copytree(undisturbed.path, killed.path, ignore=shutil.ignore_patterns("search"))
        began = time.monotonic()
        ended = kill_when(start(killed, 2), killed, trials=options.trials // 2)
        finish(start(killed, 2))
        both = time.monotonic() - began
        first, second = board(undisturbed), board(killed)
        same = [settled(row) for row in first] == [settled(row) for row in second]
        lines = page(killed, second, options)
        lines += [
            "",
            f"One process, undisturbed: {alone:.0f} s. Two ranks, killed (SIGKILL) with {ended} trials trained and "
            f"started again: {both:.0f} s. The leaderboards, but for seconds: {'the same' if same else 'DIFFERENT'}.",
        ]
    files.write_text(options.out, "\n".join(["# A search by two ranks", "", timing.made_with("torch"), "", *lines, ""]))
    print(options.out.read_text())


def made(path: Path, config: Config) -> Run:
    run = new.new(path, config=config)
    subprocess.run([sys.executable, "-m", "satori_hpc", "prepare", str(run.path)], check=True, capture_output=True)
    return run


def start(run: Run, ranks: int) -> subprocess.Popen[bytes]:
    many = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    words = [*many, sys.executable, "-m", "satori_hpc", "search", str(run.path), "--threads", "1"]
    return subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)


def finish(search: subprocess.Popen[bytes]) -> None:
    if search.wait():
        raise SystemExit("the search failed")


def kill_when(search: subprocess.Popen[bytes], run: Run, *, trials: int) -> int:
    """Kill launcher and ranks once so many trials have trained; return how many had."""
    while (ended := sum((run.trial(number) / "provenance" / "train.json").exists() for number in range(99))) < trials:
        if search.poll() is not None:
            raise SystemExit("the search ended before it could be killed")
        time.sleep(0.2)
    os.killpg(search.pid, signal.SIGKILL)
    for process in Path("/proc").glob("[0-9]*"):
        # Ranks lead process groups of their own; they are known by what they run.
        try:
            if str(run.path).encode() in process.joinpath("cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            continue
    search.wait()
    return ended


def board(run: Run) -> list[dict[str, str]]:
    with open(run.path / "search" / "leaderboard.tsv", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def settled(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in SETTLED}


def test_auroc(run: Run, trial: int) -> float:
    record = provenance.read(run.trial(trial) / "provenance" / "train.json")
    assert record is not None
    return float(record.summary["test_auroc"])


def page(run: Run, rows: list[dict[str, str]], options: argparse.Namespace) -> list[str]:
    own = next(row for row in rows if row["trial"] == "0")
    keys = [key for key in rows[0] if "." in key]
    lines = [
        f"{options.examples} simulated sequences of 200 bp (20 TFs, 40 pairs), {options.epochs} epochs; "
        f"{options.trials} trials of the default space, of which trial 0 is the configuration the search began with.",
        "",
        "| rank | trial | validation AUROC | test AUROC | seconds | " + " | ".join(keys) + " |",
        "|---" * (5 + len(keys)) + "|",
    ]
    for row in [each for each in rows if not each["failed"]]:
        figures = [row["rank"], row["trial"], f"{float(row['value']):.4f}", f"{test_auroc(run, int(row['trial'])):.4f}"]
        lines.append("| " + " | ".join([*figures, row["seconds"], *(row[key] for key in keys)]) + " |")
    best = rows[0]
    lines += [
        "",
        f"Best against the default: validation AUROC {float(best['value']):.4f} against {float(own['value']):.4f}; "
        f"test {test_auroc(run, int(best['trial'])):.4f} against {test_auroc(run, 0):.4f}.",
    ]
    return lines


if __name__ == "__main__":
    main()
