"""Learning, ROC and precision-recall curves."""

import numpy as np
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from satori_hpc.report import figures
from satori_hpc.report.data import Performance, Training

MAX_POINTS = 400


def training(curves: Training) -> str:
    """Draw losses and the validation metric, with the selected epoch marked; an <svg>."""
    with figures.look():
        drawing = figures.figure(7.6, 2.7)
        left, right = drawing.subplots(1, 2)
        looks = {"training": (figures.QUIET, "--"), "validation": (figures.ACCENT, "-")}
        for name, values in curves.losses.items():
            colour, line = looks.get(name, (figures.INK, ":"))
            left.plot(curves.epochs, values, line, color=colour, label=name, marker="o", markersize=2.5)
        left.set(title="Loss", xlabel="epoch")
        left.legend()
        right.plot(curves.epochs, curves.values, color=figures.ACCENT, marker="o", markersize=2.5)
        for (name, value), line in zip(curves.baselines.items(), ("--", ":"), strict=False):
            right.axhline(value, color=figures.QUIET, linestyle=line, linewidth=1, label=f"{name}, {value:.3f}")
        if curves.baselines:
            right.legend(title="without a network", loc="center right")
        best = curves.epochs[curves.best], curves.values[curves.best]
        right.plot(*best, "o", color=figures.WARM, markersize=6)
        right.set(title=f"Validation {curves.metric}", xlabel="epoch")
        right.annotate(
            f"kept: epoch {best[0]}, {best[1]:.3f}",
            best,
            xytext=(0.98, 0.06),
            textcoords="axes fraction",
            ha="right",
            color=figures.WARM,
            fontsize=8,
        )
        for axis in (left, right):
            axis.margins(x=0.03)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figures.to_svg(drawing, "training")


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most MAX_POINTS points of a curve, first and last included."""
    if len(x) <= MAX_POINTS:
        return x, y
    kept = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int))
    return x[kept], y[kept]


def binary(truth: np.ndarray, probability: np.ndarray, *, auroc: float, aupr: float) -> str:
    """Draw ROC and precision-recall curve of one label, both (E,); an <svg>."""
    false, true, _ = roc_curve(truth, probability)
    precision, recall, _ = precision_recall_curve(truth, probability)
    prior = float(truth.mean())
    with figures.look():
        drawing = figures.figure(7.0, 3.3)
        left, right = drawing.subplots(1, 2)
        left.plot([0, 1], [0, 1], ":", color=figures.QUIET, linewidth=1)
        left.plot(*_thin(false, true), color=figures.ACCENT)
        left.set(title=f"ROC: AUROC {auroc:.3f}", xlabel="false positive rate")
        left.set_ylabel("true positive rate")
        right.axhline(prior, linestyle=":", color=figures.QUIET, linewidth=1)
        right.annotate(
            f"fraction of positives {prior:.2f}", (0.02, prior), xytext=(0, 3), textcoords="offset points", fontsize=7.5
        )
        right.plot(*_thin(recall[::-1], precision[::-1]), color=figures.ACCENT)
        right.set(title=f"Precision-recall: AUPR {aupr:.3f}", xlabel="recall")
        right.set_ylabel("precision")
        for axis in (left, right):
            axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
        return figures.to_svg(drawing, "performance")


def multilabel(performance: Performance) -> str:
    """Draw AUROC of every usable label: bars with names when few, a histogram when many; an <svg>."""
    usable = performance.usable
    values = performance.auroc[usable]
    with figures.look():
        if len(usable) > 24:
            drawing = figures.figure(6.4, 2.7)
            axis = drawing.subplots()
            axis.hist(values, bins=25, color=figures.ACCENT, edgecolor="white", linewidth=0.5)
            axis.axvline(float(values.mean()), color=figures.WARM)
            axis.set(xlabel="test AUROC of a label", ylabel="labels", title=f"Mean {values.mean():.3f}")
        else:
            drawing = figures.figure(6.4, 0.8 + 0.22 * len(usable))
            axis = drawing.subplots()
            order = np.argsort(values)
            names = [_short(performance.targets[usable[i]]) for i in order]
            axis.barh(range(len(order)), values[order], color=figures.ACCENT, height=0.7)
            axis.set_yticks(range(len(order)), names)
            axis.set(xlim=(0, 1), xlabel="test AUROC", title=f"Mean {values.mean():.3f}")
            axis.axvline(0.5, linestyle=":", color=figures.QUIET, linewidth=1)
        return figures.to_svg(drawing, "performance")


def _short(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"


def pair_ranking(curves: dict[str, tuple[list[float], list[float]]], base_rate: float) -> str:
    """Draw precision against recall of rankings of TF pairs, with the base rate; an <svg>.

    Args:
        curves: {name: (recall, precision)}; those named "co-occurrence" are drawn as the baseline.
        base_rate: precision of calling every pair.
    """
    with figures.look():
        drawing = figures.figure(6.4, 3.3)
        axis = drawing.subplots()
        axis.axhline(base_rate, linestyle=":", color=figures.QUIET, linewidth=1)
        axis.annotate(f"every pair called: {base_rate:.2f}", (0.99, base_rate), xytext=(0, -10),
                      textcoords="offset points", ha="right", fontsize=7.5)  # fmt: skip
        shades = iter((figures.ACCENT, figures.WARM, "#5b3c88", "#3b7a3b", figures.INK))
        for name, (recall, precision) in curves.items():
            baseline = name == "co-occurrence"
            rises = np.diff(recall, prepend=0.0) > 0  # the steps whose areas sum to the AUPR
            axis.step(
                np.concatenate([[0.0], np.asarray(recall)[rises]]),
                np.concatenate([np.asarray(precision)[rises][:1], np.asarray(precision)[rises]]),
                where="pre",
                color=figures.QUIET if baseline else next(shades, figures.INK),
                linestyle="--" if baseline else "-",
                label=name,
            )
        axis.set(xlim=(0, 1.01), ylim=(0, 1.04), xlabel="recall of the implanted pairs", ylabel="precision")
        axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
        return figures.to_svg(drawing, "ranking")
