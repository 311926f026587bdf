"""Make the background: dinucleotide-shuffled controls of the examples to score, for multi-label sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from satori_hpc.data import dataset, sequence
from satori_hpc.data.dataset import Dataset, Made
from satori_hpc.log import logger
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store

BLOCK = 1024  # examples that are shuffled together


def background(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write background.zarr: a shuffled control of every example of the [score] split, with its name and labels.

    All of the split, not only the examples selected for scoring: that selection follows from the predictions and
    from settings that users vary, and the controls need not be remade for them.

    Raises:
        ArtefactError: the data set or the motifs cannot be used.
    """
    data = Dataset(run.dataset)
    found = list(motif_store.read_motifs(run.motifs).values())
    rows = data.rows(run.config.score.split)
    counted = len(data.rows(run.config.motifs.split))  # with several labels, sites are counted in the whole split
    examples = data.take(rows)
    files.sweep_partials(run.path)
    files.remove(run.background)
    if not found:
        logger.warning("no filter has a motif: the background is shuffled only")
    ppms = [motif.ppm for motif in found]
    sites = np.array([motif.sites for motif in found], dtype=np.int64)
    implants = np.zeros(len(found), dtype=np.int64)

    def block(chosen: slice) -> np.ndarray:
        tokens = np.empty((len(rows[chosen]), data.length), dtype=np.uint8)
        for first in range(0, len(tokens), BLOCK):
            some = rows[chosen][first : first + BLOCK]
            made = shuffled_controls(
                data.tokens[some], some, ppms=ppms, sites=sites, counted=counted, seed=run.config.seed
            )
            tokens[first : first + BLOCK] = made.tokens
            implants[:] += made.implants
        return tokens

    dataset.write(run.background, replace(examples, tokens=Made(examples.tokens.shape, block)))
    return {
        "examples": len(rows),
        "implanted filters": len(found),
        "implants": int(implants.sum()),
        "implants per example": round(float(implants.sum()) / len(rows), 3),
        "mean implants per filter": round(float(implants.mean()), 1) if len(found) else 0.0,
    }


# Shuffled controls with implanted motifs: the background of multi-label sets, which have no negatives.
#
# A control keeps the dinucleotides of its original and holds the filters' motifs as often as real sequences, but at
# random positions and in random combinations (SATORI, Ullah and Ben-Hur 2021; SATORI 2.0, lqaf209).

PURPOSE = int.from_bytes(b"twin", "big")  # keys the generators of this module


@dataclass(frozen=True)
class TwinBatch:
    """Shuffled controls of a batch of examples.

    Attributes:
        tokens: uint8 (examples, length).
        implants: int64 (motifs,), instances placed of each motif, over all these examples.
    """

    tokens: np.ndarray
    implants: np.ndarray


def shuffled_controls(
    tokens: np.ndarray, examples: np.ndarray, *, ppms: Sequence[np.ndarray], sites: np.ndarray, counted: int, seed: int
) -> TwinBatch:
    """Return a dinucleotide shuffle of every sequence, with instances of the motifs implanted.

    The published procedure spreads all sites of a motif over the whole set, each to a sequence drawn with
    replacement; a sequence then holds Binomial(sites, 1 / counted) of them. Here each sequence draws that number for
    itself, from a generator keyed by (seed, example): the totals match in expectation instead of exactly, and a control
    depends on no other example, so any process can make any part of the set.

    An instance starts at any of 0 .. length - width with equal probability; its bases are drawn column by column.
    Instances of later motifs overwrite those of earlier ones, wider ones those of narrower ones.

    Args:
        tokens: uint8 (examples, length), the originals.
        examples: int64 (examples,), their rows in the data set.
        ppms: float64 (width, 4) each, base probabilities; no wider than the sequences.
        sites: int64 (motifs,), sites of each motif in real sequences.
        counted: number of those sequences.
        seed: of the run.
    """
    made = sequence.shuffled_controls(tokens, seed=seed, examples=examples)
    implants = np.zeros(len(ppms), dtype=np.int64)
    widths = np.array([len(ppm) for ppm in ppms], dtype=np.int64)
    of_width = {
        int(width): (rows, np.cumsum([ppms[row] for row in rows.tolist()], axis=2)[:, :, :3])
        for width in np.unique(widths)
        for rows in [np.flatnonzero(widths == width)]
    }
    for control, example in zip(made, examples.tolist(), strict=True):
        rng = np.random.default_rng([seed, PURPOSE, example])
        numbers = rng.binomial(sites, 1 / counted)
        implants += numbers
        for rows, cumulative in of_width.values():
            _implant(control, np.repeat(cumulative, numbers[rows], axis=0), rng)
    return TwinBatch(tokens=made, implants=implants)


def _implant(control: np.ndarray, cumulative: np.ndarray, rng: np.random.Generator) -> None:
    """Implant an instance of each of `cumulative` (instances, width, 3), cumulative chances of A, C, G, in place."""
    instances, width, _ = cumulative.shape
    starts = rng.integers(len(control) - width, endpoint=True, size=instances)
    letters = (rng.random((instances, width, 1)) >= cumulative).sum(axis=2)
    for start, instance in zip(starts.tolist(), letters, strict=True):
        control[start : start + width] = instance
