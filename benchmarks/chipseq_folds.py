"""Three TFs of ENCODE, a training and a test fold each, as one set: test AUROC per TF, and what the motifs do together.

FOLDER holds, per TF, NAME_AC.seq.gz (training, bound peaks only) and NAME_B.seq.gz (test, as many bound as unbound
rows); NAME begins with the TF and an underscore. Each TF is judged by the rows of its own test file. The variants
differ in one setting; the first goes on to the report, and its strongest interactions are listed. Intervals are
percentiles of 1,000 bootstrap samples of the test rows. A run that was stopped goes on where it was.

    python -m benchmarks.chipseq_folds FOLDER WORK
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks import timing
from satori_hpc import options
from satori_hpc.config import Config
from satori_hpc.core.labels import known
from satori_hpc.run import Run
from satori_hpc.stages import execution, new, pipeline
from satori_hpc.stores import atomic, dataset, predictions, records, tables
from satori_hpc.world import Runtime

OUT = Path("benchmarks/results/chipseq_folds.md")
VARIANTS = {
    "dinucleotide": {},
    "blocks": {"prepare.folds.negatives": "blocks"},
    "absent": {"prepare.folds.elsewhere": "absent"},
}
# results/evaluation_summary.csv of lab-rasool/TFBS: the 500 + 500 rows, dropout off; and as published, on a set of one
# quarter positives, most negatives shuffled by blocks, dropout on.
PUBLISHED = {
    "mixture of experts, 500 + 500 rows": {"ARID3A": 0.697, "FOXM1": 0.696, "GATA3": 0.713},
    "mixture of experts, as published (other test set)": {"ARID3A": 0.715, "FOXM1": 0.801, "GATA3": 0.715},
    "own experts, as published (other test set)": {"ARID3A": 0.780, "FOXM1": 0.805, "GATA3": 0.766},
}
SHOWN = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path, help="folder for the runs")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, help="default: of the preset")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    files = pairs(given.folder)
    runtime = Runtime(device="cpu", threads=given.threads)
    runs = {}
    for place, name in enumerate(given.variants):
        run = runs[name] = opened(given.work / name, configuration(files, VARIANTS[name], given.epochs))
        for stage in pipeline.pending(run) if place == 0 else ("prepare", "train"):
            execution.execute(run, stage, runtime)
    text = page(files, runs)
    atomic.write_text(given.out, text)
    print(text)


def pairs(folder: Path) -> list[tuple[str, str, str]]:
    """Name, training file and test file of every TF."""
    found = []
    for train in sorted(folder.glob("*_AC.seq.gz")):
        test = train.with_name(train.name.replace("_AC.seq.gz", "_B.seq.gz"))
        found.append((train.name.split("_")[0], str(train.resolve()), str(test.resolve())))
    if not found:
        raise SystemExit(f"{folder}: no file *_AC.seq.gz")
    return found


def configuration(files: list[tuple[str, str, str]], changes: dict[str, str], epochs: int | None) -> Config:
    config = new.folds(files, seed=1)
    for key, value in changes.items():
        config = options.replace(config, key, value)
    return config if epochs is None else options.replace(config, "train.epochs", epochs)


def opened(path: Path, config: Config) -> Run:
    return Run.open(path) if (path / "run.toml").exists() else new.new(path, config=config)


def page(files: list[tuple[str, str, str]], runs: dict[str, Run]) -> str:
    names = [label for label, _, _ in files]
    lines = [
        "# ChIP-seq folds of three TFs as one set",
        "",
        f"Made by `python -m benchmarks.chipseq_folds FOLDER WORK` on {timing.processor()}, torch {version('torch')}. "
        "Preset `short`, seed 1. Test: the rows of each TF's own test file, half of them bound, the others "
        "shuffles of these that keep all dinucleotides. In brackets 95 % bootstrap intervals.",
        "",
        "| network | epochs | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for name, run in runs.items():
        record = records.read(run.record("train"))
        assert record is not None
        cells = " | ".join(auroc(run, label) for label in names)
        lines.append(f"| {name} | {record.summary['epochs']} | {cells} |")
    for name, figures in PUBLISHED.items():
        cells = " | ".join(f"{figures[label]:.3f}" if label in figures else "" for label in names)
        lines.append(f"| published: {name} | | {cells} |")
    first = next(iter(runs.values()))
    return "\n".join([*lines, *about_set(first), *about_pairs(first), ""])


def auroc(run: Run, label: str) -> str:
    """Test AUROC of a label over the rows where it is known, with its interval."""
    data = dataset.read_labels(run.dataset)
    column = data.targets.index(label)
    logits, _ = predictions.read(run.predictions)
    rows = data.rows("test")
    rows = rows[known(data.labels[rows, column])]
    truth, score = data.labels[rows, column], logits[rows, column]
    rng = np.random.default_rng(1)
    drawn = [rng.integers(len(rows), size=len(rows)) for _ in range(1000)]
    low, high = np.percentile([roc_auc_score(truth[each], score[each]) for each in drawn], [2.5, 97.5])
    return f"{roc_auc_score(truth, score):.3f} ({low:.3f}-{high:.3f})"


def about_set(run: Run) -> list[str]:
    record = records.read(run.record("prepare"))
    assert record is not None
    keys = (
        "rows_train",
        "rows_test",
        "rows_train_left_out_as_in_test",
        "equal_rows_merged",
        "shuffled_negatives",
        "labels_unknown",
        "train",
        "valid",
        "test",
    )
    return ["", "The set: " + ", ".join(f"{key.replace('_', ' ')} {record.summary[key]:,}" for key in keys) + "."]


def about_pairs(run: Run) -> list[str]:
    """The strongest pairs of TFs by raw attention."""
    if not run.report.exists():
        return []
    path = run.interactions("attention").with_suffix(".tf.parquet")
    table = pd.read_parquet(path)
    called = table[table["called"]].sort_values("neg_log10_p", ascending=False)
    filters = tables.read(run.interactions("attention"))
    lines = [
        "",
        f"## Strongest interactions, raw attention ({next(iter(VARIANTS))})",
        "",
        f"{int(filters['called'].sum()):,} of {int(filters['tested'].sum()):,} tested filter pairs called, "
        f"{len(called):,} of {len(table):,} TF pairs; against shuffled twins of the same sequences. Filters are named "
        "by Tomtom after their best match in JASPAR (vertebrates), so a name stands for a family.",
        "",
        "| TFs | -log10 p | AUC | filter pairs called | median distance, bp |",
        "|---|---|---|---|---|",
    ]
    for _, row in called.head(SHOWN).iterrows():
        lines.append(
            f"| {row['tf_a']} - {row['tf_b']} | {row['neg_log10_p']:.0f} | {row['auc']:.3f} "
            f"| {row['called_filter_pairs']} of {row['filter_pairs']} | {row['median_distance']:.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
