"""prepare: ChIP-seq folds of one or several TFs become one set."""

from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.core import folds as core
from satori_hpc.core import sequence, splits
from satori_hpc.core.labels import UNKNOWN
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stages.room import Room
from satori_hpc.stages.source import Source, check_length, digests
from satori_hpc.stores import folds as store
from satori_hpc.stores.dataset import Coordinates, Dataset
from satori_hpc.stores.folds import Rows
from satori_hpc.stores.left_out import CHANGED, DROPPED, LeftOut


def folds(run: Run, room: Room) -> Source:
    """Training files, with shuffled negatives, train and validate; test files test.

    Raises:
        InputError: a file cannot be used, or they do not go together.
        SatoriError: they do not fit into memory.
    """
    config, seed = run.config.prepare.folds, run.config.seed
    assert config is not None
    paths = [[run.resolve(name) for name in names] for names in (config.train, config.test)]
    files = [
        [
            store.read(path, key=f"[prepare.folds] {part}", alphabet=run.config.prepare.alphabet, check=room.check_file)
            for path in named
        ]
        for part, named in zip(("train", "test"), paths, strict=True)
    ]
    _check_lengths(paths, files)
    check_length(run, files[0][0].tokens.shape[1], path=paths[0][0])
    train, test = [[core.Fold(rows.tokens, rows.bound) for rows in part] for part in files]
    joined = core.join(train, test, elsewhere=config.elsewhere)
    names = [
        f"{label}.{part}.{event}"
        for part, found in zip(("train", "test"), files, strict=True)
        for label, rows in zip(config.labels, found, strict=True)
        for event in rows.events
    ]
    if len(joined.in_test):
        shown = ", ".join(names[row] for row in joined.in_test[:5].tolist())
        logger.warning(
            "%d training rows hold a sequence of a test file and are left out (%s lists them): %s",
            len(joined.in_test),
            run.left_out.name,
            shown,
        )
    shuffles, parents, repeats = np.empty((0, joined.tokens.shape[1]), np.uint8), np.empty(0, np.int64), 0
    if config.negatives != "none":
        shuffles, parents, repeats = core.negatives(joined, kind=config.negatives, seed=seed)
    examples = [names[row] for row in joined.first.tolist()]
    examples += [f"{examples[parent]}.shuffled" for parent in parents.tolist()]
    labels = np.concatenate([joined.labels, np.zeros((len(shuffles), len(config.labels)), dtype=np.uint8)])
    # A shuffle goes where its original goes.
    family = np.concatenate([np.arange(len(joined.test)), parents])
    split = np.full(len(labels), splits.TEST, dtype=np.uint8)
    learns = ~np.concatenate([joined.test, np.zeros(len(parents), dtype=bool)])
    if learns.any():
        split[learns] = splits.hold_out(
            np.unique(family[learns], return_inverse=True)[1],
            valid_fraction=run.config.prepare.valid_fraction,
            seed=seed,
        )
    whole = Dataset(
        tokens=np.concatenate([joined.tokens, shuffles]),
        labels=labels,
        split=split,
        names=examples,
        coordinates=own_coordinates(examples, joined.tokens.shape[1]),
        targets=list(config.labels),
        task="binary" if len(config.labels) == 1 else "multilabel",
    )
    rows = sum(len(part.events) for part in files[0]), sum(len(part.events) for part in files[1])
    summary: dict[str, Any] = {
        "rows_train": rows[0],
        "rows_test": rows[1],
        "rows_train_left_out_as_in_test": len(joined.in_test),
        "equal_rows_merged": len(joined.repeats),
        "shuffled_negatives": len(shuffles),
        "shuffled_negatives_left_out_as_repeats": repeats,
        "labels_unknown": int((labels == UNKNOWN).sum()),
        "letters_not_ACGT": int((whole.tokens == sequence.N).sum()),
        "sources": digests(path for part in paths for path in part),
    }
    read = list(zip([*paths[0], *paths[1]], [*files[0], *files[1]], strict=True))
    return Source(whole.stream(), summary, left_out=_left_out(joined, names, read))


def _left_out(joined: core.Joined, names: list[str], files: list[tuple[Path, Rows]]) -> LeftOut:
    """The rows that make no example of their own; `names` and `files` are those of all training, then test files."""
    left_out, begin = LeftOut(), 0
    chrom = np.array(names, dtype=object)
    for number, (path, rows) in enumerate(files):
        end = begin + len(rows.events)
        for at, chosen, done, reason in (
            (0, joined.in_test, DROPPED, "its sequence is in a test file"),
            (1, joined.repeats, CHANGED, "one example with an earlier row of the same sequence"),
        ):
            mine = chosen[(chosen >= begin) & (chosen < end)]
            start = np.zeros(len(mine), dtype=np.int64)
            line = rows.lines[mine - begin]
            length = rows.tokens.shape[1]
            columns = chrom[mine], start, start + length
            left_out.add(*columns, place=(number, at), reason=reason, file=path.name, line=line, done=done)
        begin = end
    return left_out


def own_coordinates(names: list[str], length: int) -> Coordinates:
    """Of sequences without a place in a genome: each lies on a chromosome of its own name."""
    return Coordinates(
        chrom=np.array(names, dtype=np.str_),
        start=np.zeros(len(names), dtype=np.int64),
        end=np.full(len(names), length, dtype=np.int64),
        strand=np.ones(len(names), dtype=np.int8),
    )


def _check_lengths(paths: list[list[Path]], files: list[list[Rows]]) -> None:
    """All files must have sequences of one length."""
    lengths = {
        path: rows.tokens.shape[1]
        for named, found in zip(paths, files, strict=True)
        for path, rows in zip(named, found, strict=True)
    }
    first, expected = next(iter(lengths.items()))
    problems = Problems(f"the sequences of {first} are {expected} bp long; those of other files are not:", InputError)
    for path, length in lengths.items():
        if length != expected:
            problems.add(f"{path}: {length} bp; cut all to one length")
    problems.raise_any()
