"""A small set that a small network learns in seconds: a motif per label, implanted in its positives."""

import numpy as np

from satori_hpc.config import Config, Model, Train
from satori_hpc.stores.dataset import TEST, TRAIN, VALID, Coordinates, Dataset


def learnable(*, targets: int = 1, train: int = 600, other: int = 150, length: int = 60, seed: int = 0) -> Dataset:
    """`train` + 2 `other` examples; label t is 1 where motif t stands."""
    rng = np.random.default_rng(seed)
    examples = train + 2 * other
    tokens = rng.integers(0, 4, (examples, length)).astype(np.uint8)
    labels = rng.integers(0, 2, (examples, targets)).astype(np.uint8)
    for target in range(targets):
        motif = np.random.default_rng(100 + target).integers(0, 4, 8)
        for example in np.flatnonzero(labels[:, target]):
            start = rng.integers(0, length - 8)
            tokens[example, start : start + 8] = motif
    names = [f"sim{number}" for number in range(examples)]
    return Dataset(
        tokens=tokens,
        labels=labels,
        split=np.repeat([TRAIN, VALID, TEST], [train, other, other]).astype(np.uint8),
        names=names,
        coordinates=Coordinates(
            chrom=np.array(names),
            start=np.zeros(examples, np.int64),
            end=np.full(examples, length, np.int64),
            strand=np.ones(examples, np.int8),
        ),
        targets=[f"label{target}" for target in range(targets)],
        task="binary" if targets == 1 else "multilabel",
    )


SMALL_MODEL = {"filters": 16, "width": 9, "heads": 2, "head_size": 8, "mixing_size": 16}


def small_config(*, seed: int = 1, model: dict | None = None, **train: object) -> Config:
    """A small network, trained in a few short epochs unless told otherwise."""
    settings = {"epochs": 5, "batch_size": 64, "learning_rate": 3e-3, **train}
    return Config(seed=seed, model=Model(**{**SMALL_MODEL, **(model or {})}), train=Train(**settings))
