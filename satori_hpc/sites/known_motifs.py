"""Count the sites of known motifs, which keep their names: those of a network, of a scan, or of a list."""

from collections.abc import Sequence

import numpy as np
import torch

from satori_hpc.data import sequence
from satori_hpc.data.dataset import Dataset
from satori_hpc.log import logger, progress
from satori_hpc.models import predict
from satori_hpc.models.base import TrainableModel
from satori_hpc.motifs import hits as motif_hits
from satori_hpc.motifs import motif
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import STEPS_PER_BIT, Gate, MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.sites.activations import UNKNOWN
from satori_hpc.sites.listed import Listed
from satori_hpc.sites.store import MotifTables

FEW = 10  # a motif with sites in so many sequences or fewer is inactive (SATORI 2.0)
PSEUDOCOUNT = 1.0  # added to every count of a column
LIKE = 0.8  # smallest similarity to its motif with which a trained filter still bears its name


def tables(model: TrainableModel, data: Dataset, rows: np.ndarray, runtime: Runtime) -> MotifTables:
    """Count the sites of the known motifs that a network starts from.

    These are hits that won their place; or, of motifs that are its filters, all positions that pass the gate.

    Args:
        model: that starts from known motifs.
        data: the sequences.
        rows: int64, those whose sites are counted.
        runtime: threads and sizes.
    """
    bank, gate = model.bank, model.gate
    assert bank is not None
    threshold, largest = (each / STEPS_PER_BIT for each in (bank.least(gate), bank.maxima))
    if model.filters:
        threshold = np.zeros(len(bank))
        sites, sequences, letters, largest = count_active(model, data, rows, runtime)
    else:
        sites, sequences, letters = count(bank, gate, data, rows, runtime)
    matrices = [probabilities(scores, bank.background) for scores in model.trained_scores or bank.scores]
    return _tables(
        bank.names, matrices, (sites, sequences, letters), threshold=threshold, largest=largest, examples=len(rows),
        same=_still_like(model, matrices), originals=[probabilities(scores, bank.background) for scores in bank.scores],
    )  # fmt: skip


def of_scan(bank: MotifBank, gate: Gate, data: Dataset, rows: np.ndarray, runtime: Runtime) -> MotifTables:
    """Count the hits of known motifs that won their place.

    Args:
        bank: the motifs. gate: thresholds of a hit.
        data, rows, runtime: as of `tables`.
    """
    counted = count(bank, gate, data, rows, runtime)
    matrices = [probabilities(scores, bank.background) for scores in bank.scores]
    threshold, largest = (each / STEPS_PER_BIT for each in (bank.least(gate), bank.maxima))
    return _tables(bank.names, matrices, counted, threshold=threshold, largest=largest, examples=len(rows))


def of_list(listed: Listed, data: Dataset, rows: np.ndarray, runtime: Runtime) -> MotifTables:
    """Count listed sites; the motif of each name is made from the bases under its sites.

    Args: as of `of_scan`; listed: of all examples.
    """
    table, found = listed.table, len(listed.names)
    widths = np.zeros(found, dtype=np.int64)
    widths[table.motif] = table.end - table.start
    counts = [np.zeros((width, 4)) for width in widths.tolist()]
    sites, sequences, letters = np.zeros(found, np.int64), np.zeros(found, np.int64), np.zeros(5, np.int64)
    for begin in range(0, len(rows), runtime.batch_size):
        some = rows[begin : begin + runtime.batch_size]
        batch = data.tokens[some]
        letters += np.bincount(batch.ravel(), minlength=5)
        mine = table.take(np.flatnonzero(np.isin(table.example, some)))
        place = np.searchsorted(some, mine.example)
        sites += np.bincount(mine.motif, minlength=found)
        sequences += np.bincount(np.unique(place * found + mine.motif) % found, minlength=found)
        opposite = sequence.reverse_complement(batch)
        for row, start, end, number, strand in zip(place, mine.start, mine.end, mine.motif, mine.strand, strict=True):
            bases = batch[row, start:end] if strand > 0 else opposite[row, data.length - end : data.length - start]
            column = np.flatnonzero(bases < UNKNOWN)
            counts[number][column, bases[column]] += 1
    largest = np.zeros(found)
    np.maximum.at(largest, table.motif, table.strength)
    matrices = [motif.probabilities(each, PSEUDOCOUNT) for each in counts]
    return _tables(
        listed.names, matrices, (sites, sequences, letters), threshold=np.zeros(found), largest=largest,
        examples=len(rows),
    )  # fmt: skip


def _tables(
    motifs: Sequence[str],
    matrices: list[np.ndarray],
    counted: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    threshold: np.ndarray,
    largest: np.ndarray,
    examples: int,
    same: np.ndarray | bool = True,
    originals: list[np.ndarray] | None = None,
) -> MotifTables:
    """Return the tables of motifs.

    Args:
        motifs, matrices: their names and base probabilities (w, 4).
        counted: sites and sequences of each, and occurrences of each base, as of `count`.
        threshold, largest: as of MotifTables.
        examples: number of sequences.
        same: whether each may bear its name.
        originals: base probabilities of the known motifs, if training has changed them.
    """
    sites, sequences, letters = counted
    active = sequences > FEW
    names = [tf_names.tf_name(name) or name for name in motifs]
    number = np.arange(len(motifs), dtype=np.int32)
    bits = [float(motif.information(ppm).sum()) for ppm in matrices]
    quiet = [name for name, enough in zip(motifs, active, strict=True) if not enough]
    if quiet:
        logger.warning(
            "%d of %d known motifs have sites in %d sequences or fewer and are not tested: %s%s",
            len(quiet), len(motifs), FEW, ", ".join(quiet[:5]), ", ..." if len(quiet) > 5 else "",
        )  # fmt: skip
    return MotifTables(
        motifs=[Motif(f"filter{k}", ppm, sites=int(sites[k])) for k, ppm in enumerate(matrices)],
        letters=letters,
        filters={
            "filter": number,
            "threshold": threshold.astype(np.float32),
            "maximum": largest.astype(np.float32),
            "sites": sites,
            "sequences": sequences,
            "information": np.array(bits),
            "consensus": [motif.consensus(ppm) for ppm in matrices],
            "written": np.ones(len(motifs), dtype=bool),
        },
        tf={
            "filter": number,
            "tf": names,
            "motif_id": list(motifs),
            "p": [0.0] * len(motifs),
            "q": [0.0] * len(motifs),
            "strand": ["+"] * len(motifs),
            "offset": [0] * len(motifs),
            "ties": [0] * len(motifs),
            "bits": bits,
            "chance": [0.0] * len(motifs),
            "named": (active & same).tolist(),
        },
        known=[Motif(name, ppm, sites=1) for name, ppm in zip(motifs, originals or matrices, strict=True)],
        summary={
            "known motifs": len(motifs),
            "active motifs": int(active.sum()),
            "inactive motifs": ", ".join(quiet) or "none",
            "TFs": len(set(np.array(names, dtype=object)[active & same])),
            "sites per sequence": round(float(sites.sum()) / max(examples, 1), 2),
        },
    )


def _still_like(model: TrainableModel, matrices: list[np.ndarray]) -> np.ndarray:
    """Return bool (motifs,): whether a filter still resembles the motif whose name it bears; warns of others."""
    bank = model.bank
    assert bank is not None
    if model.trained_scores is None:
        return np.ones(len(bank), dtype=bool)
    original = (probabilities(scores, bank.background) for scores in bank.scores)
    same = np.array([motif.similarity(*both) >= LIKE for both in zip(matrices, original, strict=True)], dtype=bool)
    other = [bank.names[k] for k in np.flatnonzero(~same)]
    if other:
        logger.warning(
            "%d of %d filters no longer resemble the motifs that they started as (similarity below %g) and are not "
            "named: %s%s; for exact names set model.preloaded.tuned = false, or train with a lower learning rate",
            len(other), len(bank), LIKE, ", ".join(other[:5]), ", ..." if len(other) > 5 else "",
        )  # fmt: skip
    return same


def count_active(
    model: TrainableModel, data: Dataset, rows: np.ndarray, runtime: Runtime
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count active positions of filters, and sequences with one, int64 (F,); occurrences of each base, int64 (5,).

    The last of the four is the largest activation of each filter, float64 (F,).
    """
    device = runtime.torch_device()
    sites, sequences, letters = np.zeros(model.filters, np.int64), np.zeros(model.filters, np.int64), np.zeros(5, int)
    largest = np.zeros(model.filters)
    size = predict.at_once(model, runtime.batch_size)
    for begin in progress(range(0, len(rows), size), what="sites", unit="batch"):
        batch = data.tokens[rows[begin : begin + size]]
        with torch.inference_mode():
            activations = model.site_activations(torch.from_numpy(batch).to(device))
            active = (activations > 0).sum(dim=2)
        sites += active.sum(dim=0).cpu().numpy()
        sequences += (active > 0).sum(dim=0).cpu().numpy()
        letters += np.bincount(batch.ravel(), minlength=5)
        largest = np.maximum(largest, activations.amax(dim=(0, 2)).double().cpu().numpy())
    return sites, sequences, letters, largest


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
