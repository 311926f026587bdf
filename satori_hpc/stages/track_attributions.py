"""Attributions of single letters: along the genome, and as the arrays that TF-MoDISco takes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from satori_hpc.core import selection
from satori_hpc.core.overlaps import Depth
from satori_hpc.errors import ArtefactError
from satori_hpc.log import progress
from satori_hpc.models.satori import Satori
from satori_hpc.run import Run
from satori_hpc.scoring import Batch
from satori_hpc.scoring.dfim import DfimScorer
from satori_hpc.stages import score_plans
from satori_hpc.stages.places import Places
from satori_hpc.stores import dataset, sealed, tracks

AT_ONCE = 64  # examples between two looks at the disk


def compute(
    run: Run, model: Satori, *, rows: np.ndarray, targets: np.ndarray | None, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Attributions of examples, (N, L) float32, and their hypothetical contributions, (N, 4, L) float32.

    Both lie on disk, in `folder`, and are only mapped into memory. What a killed command has finished there is kept.

    Args:
        run: trained, with motifs.
        model: in evaluation mode, on the device to compute on.
        rows: int64 (N,), the examples; random baselines are those of `inspect` and of foreground scores.
        targets: uint8 (N, T), the labels whose logits are explained; None of binary sets.
        folder: to write to; what is in it is of the same network and examples.
    """
    scorer = DfimScorer(
        model,
        torch.from_numpy(score_plans.thresholds(run, model)),
        settings=run.config.score,
        seed=run.config.seed,
        composition=score_plans.composition(run, dataset.read_labels(run.dataset)),
    )
    marker = folder / "attributed"
    try:
        done = int(bytes(sealed.read_bytes(marker, mend="begin anew")))
    except (FileNotFoundError, ArtefactError):
        done = 0
    letters = tracks.mapped(folder / "letters.npy", (len(rows), model.length), goes_on=done > 0)
    hypothetical = tracks.mapped(folder / "hypothetical.npy", (len(rows), 4, model.length), goes_on=done > 0)
    for begin in progress(range(done, len(rows), AT_ONCE), what="attributions", unit=f"{AT_ONCE} examples"):
        piece = slice(begin, min(begin + AT_ONCE, len(rows)))
        keys = np.stack([np.full(piece.stop - begin, selection.FOREGROUND), rows[piece]], axis=1)
        found = scorer.contributions(
            Batch(
                tokens=torch.from_numpy(dataset.read_tokens(run.dataset, rows[piece])),
                keys=torch.from_numpy(keys),
                targets=None if targets is None else torch.from_numpy(targets[piece]),
            )
        )
        letters[piece], hypothetical[piece] = (each.cpu().numpy() for each in found)
        letters.flush()
        hypothetical.flush()
        sealed.write_bytes(marker, b"%d" % piece.stop)  # these are on disk, and are not computed again
    return letters, hypothetical


def along_genome(letters: np.ndarray, at: Places) -> Iterator[tuple[str, int, int, float]]:
    """(chromosome, start, end, attribution) of every letter that an example covers: the mean where several do.

    Args:
        letters: float32 (N, L), in the order of `Places.in_order`, along each example as the network read it.
        at: the examples, escaped.
    """
    waiting = Depth.empty()
    for begin in range(0, len(letters), AT_ONCE):
        values = np.asarray(letters[begin : begin + AT_ONCE])
        backwards = at.strand[begin : begin + AT_ONCE] < 0
        values = np.where(backwards[:, None], values[:, ::-1], values)
        chrom = at.chrom[begin : begin + AT_ONCE]
        edges = [0, *(1 + np.flatnonzero(chrom[1:] != chrom[:-1])).tolist(), len(chrom)]
        for first, last in zip(edges, edges[1:], strict=False):
            waiting = waiting.add(at.start[begin + first : begin + last], values[first:last])
            following = begin + last
            more = following < len(letters) and at.chrom[following] == chrom[first]
            done, waiting = waiting.split(int(at.start[following]) if more else None)
            name = str(chrom[first])
            for position, mean in zip(done.position.tolist(), done.mean.tolist(), strict=True):
                yield name, position, position + 1, mean


def one_hot(path: Path, run: Run, rows: np.ndarray, scratch: Path) -> None:
    """Write the letters of examples as (N, 4, L) int8, A, C, G, T; nothing at unknown ones."""
    out = tracks.mapped(scratch, (len(rows), 4, dataset.read_length(run.dataset)), np.int8)
    for begin in range(0, len(rows), AT_ONCE):
        tokens = dataset.read_tokens(run.dataset, rows[begin : begin + AT_ONCE])
        out[begin : begin + AT_ONCE] = tokens[:, None, :] == np.arange(4, dtype=np.uint8)[:, None]
    tracks.write_arrays(path, out)
