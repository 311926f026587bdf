"""Shuffled twins with implanted motifs: what multi-label sets are compared with, because they have no negatives.

A twin keeps the dinucleotides of its original and holds the filters' motifs as often as real sequences do, but at
random places and in random company (SATORI, Ullah and Ben-Hur 2021; SATORI 2.0, lqaf209).
"""

from dataclasses import dataclass

import numpy as np

from satori_hpc.core import sequence

PURPOSE = int.from_bytes(b"twin", "big")  # keys the generators of this module


@dataclass(frozen=True)
class Twins:
    """Twins of some examples.

    Attributes:
        tokens: uint8 (examples, length).
        implants: int64 (motifs,), instances placed of each motif, over all these examples.
    """

    tokens: np.ndarray
    implants: np.ndarray


def twins(
    tokens: np.ndarray, examples: np.ndarray, *, ppms: np.ndarray, sites: np.ndarray, counted: int, seed: int
) -> Twins:
    """A dinucleotide shuffle of every sequence, with instances of the motifs implanted.

    The published procedure spreads all sites of a motif over the whole set, each to a sequence drawn with
    replacement; a sequence then holds Binomial(sites, 1 / counted) of them. Here each sequence draws that number for
    itself, from a generator keyed by (seed, example): the totals match in expectation instead of exactly, and a twin
    depends on no other example, so any process can make any part of the set.

    An instance starts at any of 0 .. length - width with equal chance; its letters are drawn column by column.
    Instances of later motifs overwrite those of earlier ones.

    Args:
        tokens: uint8 (examples, length), the originals.
        examples: int64 (examples,), their rows in the data set.
        ppms: float64 (motifs, width, 4), letter probabilities; no wider than the sequences.
        sites: int64 (motifs,), sites of each motif in real sequences.
        counted: number of those sequences.
        seed: of the run.
    """
    made = sequence.shuffled_twins(tokens, seed=seed, examples=examples)
    implants = np.zeros(len(ppms), dtype=np.int64)
    cumulative = np.cumsum(ppms, axis=2)[:, :, :3]
    for twin, example in zip(made, examples.tolist(), strict=True):
        rng = np.random.default_rng([seed, PURPOSE, example])
        numbers = rng.binomial(sites, 1 / counted)
        implants += numbers
        _implant(twin, cumulative[np.repeat(np.arange(len(ppms)), numbers)], rng)
    return Twins(tokens=made, implants=implants)


def _implant(twin: np.ndarray, cumulative: np.ndarray, rng: np.random.Generator) -> None:
    """Write an instance of each of `cumulative` (instances, width, 3), chances of A, A or C, A, C or G, in place."""
    instances, width, _ = cumulative.shape
    starts = rng.integers(len(twin) - width, endpoint=True, size=instances)
    letters = (rng.random((instances, width, 1)) >= cumulative).sum(axis=2)
    for start, instance in zip(starts.tolist(), letters, strict=True):
        twin[start : start + width] = instance
