"""background: shuffled twins of the examples to score, for sets with several labels."""

from typing import Any

import numpy as np

from satori_hpc.core import background as core
from satori_hpc.log import logger, progress
from satori_hpc.run import Run
from satori_hpc.stores import atomic, dataset, motifs
from satori_hpc.world import Runtime

BLOCK = 1024  # examples between two looks at the progress


def background(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write background.zarr: a twin of every example of the split that [score] names, with its name and labels.

    All of the split, not only the examples selected for scoring: that selection follows from the predictions and
    from settings that users try out, and the twins need not be made again for them.

    Raises:
        ArtefactError: the data set or the motifs cannot be used.
    """
    data = dataset.read(run.dataset)
    found = list(motifs.read_motifs(run.motifs).values())
    rows = data.rows(run.config.score.split)
    counted = len(data.rows(run.config.motifs.split))  # with several labels, sites are counted in the whole split
    ppms = np.array([motif.ppm for motif in found]).reshape(-1, run.config.model.width, 4)
    sites = np.array([motif.sites for motif in found], dtype=np.int64)
    atomic.sweep_partials(run.path)
    atomic.remove(run.background)
    if not found:
        logger.warning("no filter has a motif: the background is shuffled only")

    tokens = np.empty((len(rows), data.length), dtype=np.uint8)
    implants = np.zeros(len(found), dtype=np.int64)
    for first in progress(range(0, len(rows), BLOCK), what="twins", unit="block"):
        examples = rows[first : first + BLOCK]
        made = core.twins(
            data.tokens[examples], examples, ppms=ppms, sites=sites, counted=counted, seed=run.config.seed
        )
        tokens[first : first + BLOCK] = made.tokens
        implants += made.implants
    dataset.write(run.background, data.take(rows, tokens=tokens))
    return {
        "examples": len(rows),
        "implanted filters": len(found),
        "implants": int(implants.sum()),
        "implants per example": round(float(implants.sum()) / len(rows), 3),
        "mean implants per filter": round(float(implants.mean()), 1) if len(found) else 0.0,
    }
