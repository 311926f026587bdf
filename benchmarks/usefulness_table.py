"""The table of benchmarks.usefulness: from the JSON file of each run to one page."""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import timing

Content = dict[str, Any]

ORDER = (
    "attention",
    "attention, 1500 examples",
    "attribution",
    "attribution, 1500 examples",
    "DFIM legacy",
    "DFIM legacy, 400 examples",
    "DFIM",
    "DFIM, 400 examples",
    "epistasis, 100 examples",
    "epistasis",
    "epistasis, 1500 examples",
    "epistasis, tested at any distance",
    "epistasis, tested at any distance, 1500 examples",
)
GROUPS = ("large", "hard", "published")
COLUMNS = (
    "set",
    "network (test AUROC, recall ceiling)",
    "score",
    "AUPR, background",
    "F1, background",
    "AUPR, within-sequence",
    "F1, within-sequence",
    "examples a side, at most",
    "seeds",
)
STATISTICS = {"published": "background", "within-sequence": "within-sequence"}  # and as older records name them


def read(folder: Path) -> list[Content]:
    """Return the runs that have results, sorted by name."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def text(runs: Sequence[Content], reading: str) -> str:
    """Return the page.

    Args:
        runs: of `read`.
        reading: what the table shows, in words.
    """
    groups: dict[tuple[str, str], list[Content]] = {}
    for run in runs:
        groups.setdefault((run["group"], run["architecture"]), []).append(run)
    lines = [
        "# Which score finds the pairs",
        "",
        "Made by `python -m benchmarks.usefulness train`, `score` and `table`, torch "
        f"{importlib.metadata.version('torch')}, {timing.processor()}. Each figure is the mean over the seeds, with "
        "the smallest and the largest in brackets where there are several. The first rows of a set need no network. "
        "AUPR ranks all pairs of the pool; F1 is of the pairs called at q <= 0.05.",
        "",
        reading.strip(),
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    described = ""
    for key in sorted(groups, key=lambda names: (GROUPS.index(names[0]), names[1])):
        if key[0] != described:
            described = key[0]
            lines += _baselines([run for (group, _), found in groups.items() if group == described for run in found])
        lines += _methods(groups[key])
    return "\n".join([*lines, "", "## The runs", "", *_runs(runs), ""])


def _baselines(runs: Sequence[Content]) -> list[str]:
    """Return rows of a set that need no network; runs on the same data count once."""
    once = list({run["seed"]: run for run in runs}.values())
    name = _name(runs[0])
    return [
        _row(
            name,
            "none",
            "every pair called",
            _spread([run["truth"]["base_rate"] for run in once]),
            _spread([run["call_all"]["f1"] for run in once]),
            "",
            "",
            "",
            str(len(once)),
        ),
        _row(
            name,
            "none",
            "co-occurrence of known motifs",
            _spread([run["cooccurrence"]["aupr"] for run in once]),
            _spread([run["cooccurrence"]["f1"] for run in once]),
            "",
            "",
            _spread([run["cooccurrence"]["sequences"] for run in once], digits=0),
            str(len(once)),
        ),
    ]


def _methods(runs: Sequence[Content]) -> list[str]:
    network = (
        f"{runs[0]['architecture']} ({_spread([run['train']['test_auroc'] for run in runs])}, "
        f"{_spread([run['truth']['recall_ceiling'] for run in runs])})"
    )
    rows = []
    for variant in sorted({name for run in runs for name in run["scores"]}, key=ORDER.index):
        having = [run["scores"][variant] for run in runs if variant in run["scores"]]
        cells = [
            _spread([found.get(statistic, found.get(older))[figure] for found in having])
            for statistic, older in STATISTICS.items()
            for figure in ("aupr", "f1")
        ]
        examples = _spread([found["examples"] for found in having], digits=0)
        rows.append(_row(_name(runs[0]), network, variant, *cells, examples, str(len(having))))
    return rows


def _runs(runs: Sequence[Content]) -> list[str]:
    """Tabulate the performance of each network, before any pair is scored."""
    lines = [
        "| run | TFs | pairs | sequences | test AUROC | TFs named by a filter | recall ceiling | base rate |",
        "|" + "---|" * 8,
    ]
    for run in runs:
        truth = run["truth"]
        lines.append(
            f"| {run['name']} | {run['tfs']} | {run['pairs']} | {run['examples']} | {run['train']['test_auroc']:.3f} "
            f"| {truth['named_tfs']} of {truth['tfs']} | {truth['recall_ceiling']:.3f} | {truth['base_rate']:.3f} |"
        )
    return lines


def _name(run: Content) -> str:
    return f"{run['group']}: {run['tfs']} TFs, {run['pairs']} pairs, {run['examples']} sequences"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(values: Sequence[float], *, digits: int = 3) -> str:
    """Return mean (smallest-largest)."""
    mean = f"{sum(values) / len(values):.{digits}f}"
    least, most = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return mean if least == most else f"{mean} ({least}-{most})"
