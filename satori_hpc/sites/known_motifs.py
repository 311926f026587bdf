"""Count the hits of the known motifs of a network that starts from them; they keep their names."""

import numpy as np

from satori_hpc.data.dataset import Dataset
from satori_hpc.log import logger, progress
from satori_hpc.models.base import TrainableModel
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs import motif
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import STEPS_PER_BIT, Gate, MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.sites.store import MotifTables

FEW = 10  # a motif with winning hits in so many sequences or fewer is inactive (SATORI 2.0)


def tables(model: TrainableModel, data: Dataset, rows: np.ndarray, runtime: Runtime) -> MotifTables:
    """Count the hits of the known motifs that a network starts from.

    Args:
        model: that starts from known motifs.
        data: the sequences.
        rows: int64, those whose hits are counted.
        runtime: threads and sizes.
    """
    bank, gate = model.bank, model.gate
    assert bank is not None
    sites, sequences, letters = count(bank, gate, data, rows, runtime)
    matrices = [probabilities(scores, bank.background) for scores in bank.scores]
    active = sequences > FEW
    names = [tf_names.tf_name(name) or name for name in bank.names]
    number = np.arange(len(bank), dtype=np.int32)
    bits = [float(motif.information(ppm).sum()) for ppm in matrices]
    if not active.all():
        quiet = [bank.names[k] for k in np.flatnonzero(~active)]
        logger.warning(
            "%d of %d known motifs have hits in %d sequences or fewer and are not tested: %s%s",
            len(quiet), len(bank), FEW, ", ".join(quiet[:5]), ", ..." if len(quiet) > 5 else "",
        )  # fmt: skip
    return MotifTables(
        motifs=[Motif(f"filter{k}", ppm, sites=int(sites[k])) for k, ppm in enumerate(matrices)],
        letters=letters,
        filters={
            "filter": number,
            "threshold": (bank.least(gate) / STEPS_PER_BIT).astype(np.float32),
            "maximum": (bank.maxima / STEPS_PER_BIT).astype(np.float32),
            "sites": sites,
            "sequences": sequences,
            "information": np.array(bits),
            "consensus": [motif.consensus(ppm) for ppm in matrices],
            "written": np.ones(len(bank), dtype=bool),
        },
        tf={
            "filter": number,
            "tf": names,
            "motif_id": list(bank.names),
            "p": [0.0] * len(bank),
            "q": [0.0] * len(bank),
            "strand": ["+"] * len(bank),
            "offset": [0] * len(bank),
            "ties": [0] * len(bank),
            "bits": bits,
            "chance": [0.0] * len(bank),
            "named": active.tolist(),
        },
        known=[Motif(name, ppm, sites=1) for name, ppm in zip(bank.names, matrices, strict=True)],
        summary={
            "known motifs": len(bank),
            "active motifs": int(active.sum()),
            "TFs": len(set(np.array(names, dtype=object)[active])),
            "hits per sequence": round(float(sites.sum()) / max(len(rows), 1), 2),
        },
    )


def count(
    bank: MotifBank, gate: Gate, data: Dataset, rows: np.ndarray, runtime: Runtime
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count winning hits and sequences with one, int64 (motifs,), and the occurrences of each base, int64 (5,)."""
    sites, sequences, letters = np.zeros(len(bank), np.int64), np.zeros(len(bank), np.int64), np.zeros(5, np.int64)
    begins = range(0, len(rows), runtime.batch_size)
    for begin in progress(begins, what="hits", unit="batch"):
        batch = data.tokens[rows[begin : begin + runtime.batch_size]]
        found = motif_hits.winners(bank.scan(batch, gate, threads=runtime.cpu_threads()))
        sites += np.bincount(found.motif, minlength=len(bank))
        once = np.unique(found.example * len(bank) + found.motif)
        sequences += np.bincount(once % len(bank), minlength=len(bank))
        letters += np.bincount(batch.ravel(), minlength=5)
    return sites, sequences, letters


def probabilities(scores: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return base probabilities (w, 4) of log-odds in hundredths of a bit."""
    found: np.ndarray = background * 2.0 ** (scores / STEPS_PER_BIT)
    return found / found.sum(axis=1, keepdims=True)
