"""Which examples are scored: foreground that the network got right, and a background to compare it with."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from satori_hpc.config import Score
from satori_hpc.data.splits import known
from satori_hpc.errors import SatoriError

PURPOSE = 0x5E1EC7  # keys the generators of this module
BLOCK = 2**14  # examples
FOREGROUND, BACKGROUND = 0, 1


class Rows(Protocol):
    """An array or reader that returns the rows of ascending indices."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Selection:
    """Selected rows of the dataset, int64, ascending."""

    foreground: np.ndarray
    background: np.ndarray


def binary(label: np.ndarray, probability: np.ndarray, *, rows: np.ndarray, settings: Score, seed: int) -> Selection:
    """Return foreground: positives predicted as such; background: negatives predicted as such (SATORI 2.0, lqaf209).

    Args:
        label: uint8 (E,), 0 or 1.
        probability: float32 (E,), of being positive.
        rows: int64, the examples of the split.
        settings: the section [score].
        seed: of the run.

    Raises:
        SatoriError: a side is empty; says how many were considered and which options to change.
    """
    positive, negative = rows[label[rows] == 1], rows[label[rows] == 0]
    right_positive, right_negative = positive, negative
    if not settings.include_mispredicted:
        right_positive = positive[probability[positive] > settings.positive_probability]
        right_negative = negative[probability[negative] < settings.negative_probability]
    if not len(right_positive) or not len(right_negative):
        raise SatoriError(
            f"nothing to compare: of {len(positive)} positives in the {settings.split} split {len(right_positive)} are "
            f"foreground (probability > {settings.positive_probability}), of {len(negative)} negatives "
            f"{len(right_negative)} are background (probability < {settings.negative_probability}). Train a better "
            "model, or change positive_probability, negative_probability, include_mispredicted or split in [score] "
            "of run.toml"
        )
    return Selection(
        foreground=_draw(right_positive, settings.max_examples, seed=seed, side=FOREGROUND),
        background=_draw(right_negative, settings.max_examples, seed=seed, side=BACKGROUND),
    )


def multilabel(labels: np.ndarray, probability: Rows, *, rows: np.ndarray, settings: Score, seed: int) -> np.ndarray:
    """Return foreground rows: examples whose predicted labels are right to a share of at least `min_precision`.

    The background is their shuffled controls, in a separate dataset.

    Args:
        labels: uint8 (E,T) of 0, 1 and UNKNOWN, which counts neither as right nor as wrong.
        probability: float32 (E,T); some rows are asked for at a time.
        rows, settings, seed: as in `binary`.

    Raises:
        SatoriError: no example is left; says which options to change.
    """
    chosen = rows
    if not settings.include_mispredicted:
        right = np.concatenate(
            [precision(labels[some], probability[some], settings.label_probability) for some in _blocks(rows)]
        )
        chosen = rows[right >= settings.min_precision]
    if not len(chosen):
        raise SatoriError(
            f"nothing to score: of {len(rows)} examples in the {settings.split} split none has predicted labels that "
            f"are right to a share of {settings.min_precision} (predicted: probability >= "
            f"{settings.label_probability}). Train a better model, or change min_precision, label_probability, "
            "include_mispredicted "
            "or split in [score] of run.toml"
        )
    return _draw(chosen, settings.max_examples, seed=seed, side=FOREGROUND)


def precision(labels: np.ndarray, probability: np.ndarray, label_probability: float) -> np.ndarray:
    """Return float64 (E,): share of each example's predicted and known labels that are right; 0 when there are none."""
    predicted = (probability >= label_probability) & known(labels)
    right = (predicted & (labels == 1)).sum(axis=1)
    return right / np.maximum(predicted.sum(axis=1), 1)


def true_positives(labels: np.ndarray, probability: np.ndarray, label_probability: float) -> np.ndarray:
    """Return uint8 (E,T): 1 = the label is predicted, and it is true."""
    return ((probability >= label_probability) & (labels == 1)).view(np.uint8)


def record(settings: Score, *, task: str, seed: int) -> dict[str, Any]:
    """Return the settings that choose the examples of a "binary" or "multilabel" set, as plain values."""
    keys = ["split", "include_mispredicted", "max_examples"]
    if task == "multilabel":
        keys += ["label_probability"] if settings.include_mispredicted else ["label_probability", "min_precision"]
    elif not settings.include_mispredicted:
        keys += ["positive_probability", "negative_probability"]
    return {"task": task, **{key: getattr(settings, key) for key in keys}, "seed": seed}


def true_positives_of(rows: np.ndarray, labels: np.ndarray, probability: Rows, label_probability: float) -> np.ndarray:
    """Return `true_positives` of some rows."""
    found = np.empty((len(rows), labels.shape[1]), dtype=np.uint8)
    first = 0
    for some in _blocks(rows):
        found[first : first + len(some)] = true_positives(labels[some], probability[some], label_probability)
        first += len(some)
    return found


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    """Yield the rows in blocks whose temporaries are small compared with the labels of all; at least one block."""
    return np.array_split(rows, -(-len(rows) // BLOCK) or 1)


def _draw(rows: np.ndarray, most: int, *, seed: int, side: int) -> np.ndarray:
    """Sample at most `most` of the rows, ascending; 0 = all."""
    if not most or len(rows) <= most:
        return np.sort(rows)
    return np.sort(np.random.default_rng([seed, PURPOSE, side]).choice(rows, size=most, replace=False))
