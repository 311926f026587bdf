"""prepare: one-hot arrays become a set."""

import collections
from typing import Any

import numpy as np

from satori_hpc.core import sequence, splits
from satori_hpc.core.labels import UNKNOWN
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import progress
from satori_hpc.run import Run
from satori_hpc.stages.source import Source, check_length, digests
from satori_hpc.stores import arrays as store
from satori_hpc.stores import dataset, fasta
from satori_hpc.stores.arrays import Arrays, Part
from satori_hpc.stores.dataset import Coordinates, Dataset

SPLIT_NAMES = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "val": 1, "test": 2}


def arrays(run: Run) -> Source:
    """Read all parts, block by block; in their own split, or all in one.

    Raises:
        InputError: the files cannot be used, or have no parts where [prepare] split = "given".
    """
    config = run.config.prepare.arrays
    assert config is not None
    paths = [run.resolve(name) for name in config.files]
    targets = None if config.targets is None else run.resolve(config.targets)
    with store.opened(paths, letters=config.letters, targets=targets) as found:
        first = found.parts[0]
        check_length(run, first.length, path=first.path)
        if first.targets == 1 and config.unknown is not None:
            raise InputError(f"{first.path}: one label, so none can be unknown; remove [prepare.arrays] unknown")
        split = _given(run, found)
        names = _names(found)
        tokens = np.empty((len(names), first.length), dtype=np.uint8)
        labels = np.empty((len(names), first.targets), dtype=np.uint8)
        done = 0
        for part in found.parts:
            for _, some_tokens, some_labels in progress(
                store.blocks(part, unknown=config.unknown), what=part.name or "arrays", unit="block"
            ):
                rows = slice(done, done + len(some_tokens))
                tokens[rows], labels[rows] = some_tokens, some_labels
                done = rows.stop
        orders = {part.x_name: part.letters for part in found.parts}
    if split is None:
        split = np.zeros(len(tokens), dtype=np.uint8)
    elif not (split == splits.VALID).any() and (learns := split == splits.TRAIN).any():
        split[learns] = splits.hold_out(
            splits.group_equal(tokens[learns]),
            valid_fraction=run.config.prepare.valid_fraction,
            seed=run.config.seed,
        )
    whole = Dataset(
        tokens=tokens,
        labels=labels,
        split=split,
        names=names,
        coordinates=_coordinates(names, first.length),
        targets=found.targets,
        task="binary" if len(found.targets) == 1 else "multilabel",
    )
    summary: dict[str, Any] = {
        "letters": orders,
        "letters_not_ACGT": int((tokens == sequence.N).sum()),
        "labels_unknown": int((labels == UNKNOWN).sum()),
        "sources": digests([*paths, *([] if targets is None else [targets])]),
    }
    return Source(whole.stream(), summary)


def _given(run: Run, found: Arrays) -> np.ndarray | None:
    """uint8 (examples,): the part that each is in; None when [prepare] splits them otherwise."""
    if run.config.prepare.split != "given":
        return None
    split = np.empty(sum(part.examples for part in found.parts), dtype=np.uint8)
    done = 0
    for part in found.parts:
        rows = slice(done, done + part.examples)
        split[rows] = dataset.SPLITS.index(part.name) if part.name else _named(run, part)
        done = rows.stop
    return split


def _named(run: Run, part: Part) -> list[int]:
    if part.split is None:
        raise InputError(
            f"{part.path}: {part.x_name} is one set, and there is no array split (0, 1, 2 or train, valid, test per "
            f"sequence); add it, or set split = 'random' in [prepare] of {run.config_file}"
        )
    problems = Problems(f"{part.path}: the array split cannot be used:")
    for row, name in enumerate(part.split):
        if name.lower() not in SPLIT_NAMES:
            problems.add(f"row {row}: {name[:40]!r}; expected 0, 1, 2 or train, valid, test")
    problems.raise_any()
    return [SPLIT_NAMES[name.lower()] for name in part.split]


def _names(found: Arrays) -> list[str]:
    """Headers where the files have them, else part and row."""
    names: list[str] = []
    for part in found.parts:
        names += part.headers or [f"{part.name or 'row'}_{row}" for row in range(part.examples)]
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    problems = Problems(f"{found.parts[0].path}: headers name several sequences each; give every one its own:")
    for name in repeated:
        problems.add(name[:80])
    problems.raise_any()
    return names


def _coordinates(names: list[str], length: int) -> Coordinates:
    """Those in headers CHROM:START-END(STRAND); other sequences lie on a chromosome of their own name."""
    places = [fasta.interval(name) or fasta.Interval(name, 0, length, 1) for name in names]
    return Coordinates(
        chrom=np.array([place.chrom for place in places], dtype=np.str_),
        start=np.array([place.start for place in places], dtype=np.int64),
        end=np.array([place.end for place in places], dtype=np.int64),
        strand=np.array([place.strand for place in places], dtype=np.int8),
    )
