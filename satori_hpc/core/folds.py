"""Training and test folds of several TFs as one set: equal sequences become one example, positives get shuffles.

The files tell nothing of a sequence but what one TF does with it; what the other TFs do is UNKNOWN, unless the
sequence occurs in their files, too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc.core import sequence, splits
from satori_hpc.core.labels import UNKNOWN

PURPOSE = int.from_bytes(b"fold", "big")  # keys the generators of this module


@dataclass(frozen=True)
class Fold:
    """Rows of one file.

    Attributes:
        tokens: uint8 (rows, length).
        bound: uint8 (rows,), 0 or 1; equal sequences have equal ones.
    """

    tokens: np.ndarray
    bound: np.ndarray


@dataclass(frozen=True)
class Joined:
    """Distinct sequences of all files, in the order in which they first occur; training files come before test files.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples, TFs), 0, 1 or UNKNOWN.
        test: bool (examples,).
        first: int64 (examples,), each one's row among those of all training files, then of all test files.
        in_test: int64 (rows,), training rows that were left out because their sequence is in a test file.
        repeats: int64 (rows,), rows of all files that are one example with an earlier row of the same sequence.
    """

    tokens: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    first: np.ndarray
    in_test: np.ndarray
    repeats: np.ndarray


def join(train: Sequence[Fold], test: Sequence[Fold], *, elsewhere: str) -> Joined:
    """Bring the files of all TFs together.

    Test labels come from test files alone, so that a TF is tested on all rows of its own test file and on no others.

    Args:
        train, test: a file per TF, in the order of the labels.
        elsewhere: what a training sequence has for the TFs in whose training files it is not: "unknown" or "absent".
    """
    tokens = np.concatenate([fold.tokens for fold in (*train, *test)])
    bound = np.concatenate([fold.bound for fold in (*train, *test)])
    label = np.concatenate([np.full(len(fold.bound), at) for part in (train, test) for at, fold in enumerate(part)])
    from_test = np.arange(len(tokens)) >= sum(len(fold.bound) for fold in train)
    group = splits.group_equal(tokens)
    in_test = np.zeros(group.max(initial=-1) + 1, dtype=bool)
    in_test[group[from_test]] = True

    counts = from_test | ~in_test[group]
    labels = np.full((len(in_test), len(train)), UNKNOWN, dtype=np.uint8)
    if elsewhere == "absent":
        labels[~in_test] = 0
    labels[group[counts], label[counts]] = bound[counts]
    groups, first = np.unique(group[counts], return_index=True)
    first = np.flatnonzero(counts)[first]
    order = np.argsort(first)
    groups, first = groups[order], first[order]
    return Joined(
        tokens=tokens[first],
        labels=labels[groups],
        test=in_test[groups],
        first=first,
        in_test=np.flatnonzero(~counts),
        repeats=np.setdiff1d(np.flatnonzero(counts), first),
    )


def negatives(joined: Joined, *, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A shuffle of every training sequence that a TF binds, keyed by (seed, example).

    Args:
        joined: the examples.
        kind: "dinucleotide" or "blocks".
        seed: of the run.

    Returns:
        (sequences, uint8 (negatives, length); int64 (negatives,), the example that each is a shuffle of; how many were
        left out because they equal an example or an earlier shuffle).
    """
    parents = np.flatnonzero(~joined.test & (joined.labels == 1).any(axis=1))
    shuffle = SHUFFLES[kind]
    made = np.empty((len(parents), joined.tokens.shape[1]), dtype=np.uint8)
    for row, parent in zip(made, parents.tolist(), strict=True):
        row[:] = shuffle(joined.tokens[parent], np.random.default_rng([seed, PURPOSE, parent]))
    group = splits.group_equal(np.concatenate([joined.tokens, made]))
    _, first = np.unique(group, return_index=True)
    new = np.sort(first[first >= len(joined.tokens)]) - len(joined.tokens)
    return made[new], parents[new], len(parents) - len(new)


def block_shuffle(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sequence cut into blocks of two letters from its start, in random order; an odd last letter is a block, too.

    It is called a dinucleotide shuffle where ChIP-seq folds were published with it (lab-rasool/TFBS),
    but keeps only every other dinucleotide: those that arise between blocks are as chance has it.
    """
    blocks = [tokens[start : start + 2] for start in range(0, len(tokens), 2)]
    return np.concatenate([blocks[at] for at in rng.permutation(len(blocks)).tolist()])


SHUFFLES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "dinucleotide": sequence.dinucleotide_shuffle,
    "blocks": block_shuffle,
}
