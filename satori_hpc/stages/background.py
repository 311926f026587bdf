"""background: shuffled twins of the examples to score, for sets with several labels."""

from typing import Any

import numpy as np

from satori_hpc.core import background as core
from satori_hpc.core.motif import Motif
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stores import atomic, dataset, motifs
from satori_hpc.stores.examples import Coded, Examples
from satori_hpc.world import Runtime

BLOCK = 1024  # examples that are shuffled together


def background(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write background.zarr: a twin of every example of the split that [score] names, with its name and labels.

    All of the split, not only the examples selected for scoring: that selection follows from the predictions and
    from settings that users try out, and the twins need not be made again for them.

    Raises:
        ArtefactError: the data set or the motifs cannot be used.
    """
    data = dataset.read_labels(run.dataset)
    found = list(motifs.read_motifs(run.motifs).values())
    rows = data.rows(run.config.score.split)
    counted = len(data.rows(run.config.motifs.split))  # with several labels, sites are counted in the whole split
    atomic.sweep_partials(run.path)
    atomic.remove(run.background)
    if not found:
        logger.warning("no filter has a motif: the background is shuffled only")
    twins = Twins(run, rows, found, length=data.length, counted=counted)
    at = dataset.read_coordinates(run.dataset, rows)
    dataset.write(
        run.background,
        Examples(
            tokens=twins,
            labels=data.labels if len(rows) == data.examples else data.labels[rows],
            split=data.split[rows],
            names=list(dataset.read_names(run.dataset, rows)),
            chrom=Coded.of(at.chrom),
            start=at.start,
            end=at.end,
            strand=at.strand,
            targets=data.targets,
            task=data.task,
        ),
    )
    implants = twins.implants
    return {
        "examples": len(rows),
        "implanted filters": len(found),
        "implants": int(implants.sum()),
        "implants per example": round(float(implants.sum()) / len(rows), 3),
        "mean implants per filter": round(float(implants.mean()), 1) if len(found) else 0.0,
    }


class Twins:
    """Sequences of the twins of `rows` of the data set, made as they are asked for, once each.

    Attributes:
        implants: int64 (motifs,), instances placed so far.
    """

    def __init__(self, run: Run, rows: np.ndarray, found: list[Motif], *, length: int, counted: int) -> None:
        self._run, self._rows, self._counted = run, rows, counted
        self._ppms = np.array([motif.ppm for motif in found]).reshape(-1, run.config.model.width, 4)
        self._sites = np.array([motif.sites for motif in found], dtype=np.int64)
        self.implants = np.zeros(len(found), dtype=np.int64)
        self.shape = (len(rows), length)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """uint8 (rows, length)."""
        chosen = self._rows[rows]
        tokens = np.empty((len(chosen), self.shape[1]), dtype=np.uint8)
        for first in range(0, len(chosen), BLOCK):
            examples = chosen[first : first + BLOCK]
            made = core.twins(
                dataset.read_tokens(self._run.dataset, examples),
                examples,
                ppms=self._ppms,
                sites=self._sites,
                counted=self._counted,
                seed=self._run.config.seed,
            )
            tokens[first : first + BLOCK] = made.tokens
            self.implants += made.implants
        return tokens
