"""Sites of the filters in genome coordinates, each once, in bounded memory."""

from dataclasses import dataclass
from typing import IO

import numpy as np
import torch

from satori_hpc.data.dataset import Dataset
from satori_hpc.interactions import coordinates
from satori_hpc.interactions.coordinates import STRANDS, Places
from satori_hpc.interactions.tracks import files as track_files
from satori_hpc.log import progress
from satori_hpc.models.base import TrainableModel
from satori_hpc.run.layout import Run
from satori_hpc.scoring import plan as score_plan
from satori_hpc.sites import activations as sites_activations
from satori_hpc.sites import store as motif_store

Columns = dict[str, np.ndarray]
KEYS = ("chrom", "start", "filter", "strand")


def write(handle: IO[str], run: Run, model: TrainableModel, *, rows: np.ndarray, at: Places, batch_size: int) -> int:
    """Write the sites of some examples (columns: tracks.SITES), sorted; how many there are.

    A site is defined as in `motifs`: a position where a filter is above its threshold, whose window is in the sequence
    and holds no unknown base. Windows shared by overlapping examples are listed once, with the largest activation.

    Args:
        handle: to write to.
        run: with motifs.
        model: in evaluation mode, on the device to compute on.
        rows: int64, the examples, in the order of `Places.in_order`.
        at: their places, escaped.
        batch_size: examples at a time.
    """
    table, data = track_files.Rows(handle, list(track_files.SITES)), Dataset(run.dataset)
    threshold = torch.from_numpy(score_plan.thresholds(run, model)).to(next(model.parameters()).device)
    chroms, chrom = np.unique(at.chrom.astype(str), return_inverse=True)
    name, reads, largest = _filters(run, model.filters)

    def told(found: Columns) -> Columns:
        keep, count = distinct(*(found[key] for key in KEYS), strength=found["activation"])
        found = {key: values[keep] for key, values in found.items()}
        share = found["activation"] / largest[found["filter"]]
        return {
            **found,
            "chrom": chroms[found["chrom"]],
            "end": found["start"] + model.site_widths[found["filter"]],
            "name": name[found["filter"]],
            "score": np.clip(np.rint(1000 * share), 0, 1000).astype(np.int64),
            "strand": STRANDS[found["strand"] * reads[found["filter"]]],
            "filter_strand": STRANDS[found["strand"]],
            "examples": count,
            "example": at.names[found["example"]],
        }

    waiting: Columns | None = None
    for begin in progress(range(0, len(rows), batch_size), what="sites", unit="batch"):
        end = min(begin + batch_size, len(rows))
        tokens = data.tokens[rows[begin:end]]
        found = _of_batch(model, tokens, threshold, at=at, chrom=chrom, first=begin)
        if waiting is not None:
            found = {key: np.concatenate([waiting[key], values]) for key, values in found.items()}
        # A later example has no site left of its own start.
        final = np.ones(len(found["start"]), dtype=bool)
        if end < len(rows):
            final = (found["chrom"] < chrom[end]) | (found["start"] < at.start[end])
        table.add(told({key: values[final] for key, values in found.items()}))
        waiting = {key: values[~final] for key, values in found.items()}
    return table.count


def _of_batch(
    model: TrainableModel, tokens: np.ndarray, threshold: torch.Tensor, *, at: Places, chrom: np.ndarray, first: int
) -> Columns:
    """Return the sites of some examples, which are `first`, `first` + 1, ... among all."""
    with torch.inference_mode():
        activations = model.site_activations(torch.from_numpy(tokens).to(threshold.device))
    example, filter_, position = sites_activations.locate(activations, threshold)
    width, kept = model.site_widths[filter_], np.zeros(len(example), dtype=bool)
    for bp in np.unique(width):
        some = np.flatnonzero(width == bp)
        kept[some], _ = sites_activations.windows(
            tokens, example[some], position[some], padding=model.padding, width=int(bp)
        )
    example, filter_, position, width = example[kept], filter_[kept], position[kept], width[kept]
    reads = model.strand_at(torch.from_numpy(tokens), example, filter_, position - model.padding)
    value = activations[example, filter_, position].float().cpu().numpy()
    example = example + first
    begin = position - model.padding
    start, _ = coordinates.on_genome(
        begin,
        begin + width,
        example_start=at.start[example],
        example_end=at.end[example],
        strand=at.strand[example],
    )
    return {
        "chrom": chrom[example],
        "start": start,
        "filter": filter_,
        "strand": at.strand[example].astype(np.int64) * reads,
        "activation": value,
        "example": example,
    }


def _filters(run: Run, filters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for every filter its name, 1 or -1 (reads its TF's motif reversed), and its largest activation."""
    name = np.array([f"filter{number}" for number in range(filters)], dtype=object)
    reads = np.ones(filters, dtype=np.int64)
    named = motif_store.read_tf(run.motifs).query("named")
    name[named["filter"]] = named["tf"]
    reads[named["filter"]] = np.where(named["strand"] == "-", -1, 1)
    largest = motif_store.read_filters(run.motifs).sort_values("filter")["maximum"].to_numpy(np.float64)
    return name, reads, np.maximum(largest, 1e-30)  # a dead filter has no site to divide


# Values of overlapping windows at the same position, combined from left to right.
#
# Windows come in order of their starts, in blocks. Positions left of the next window are final; the rest waits.
# So memory follows from the windows that overlap, not from the chromosome.


@dataclass(frozen=True)
class Depth:
    """Accumulate values of single bases over the windows that cover them.

    Attributes:
        position: int64 (n,), rising.
        total: float64 (n,), sum of the values there.
        count: int64 (n,), how many there are.
    """

    position: np.ndarray
    total: np.ndarray
    count: np.ndarray

    @staticmethod
    def empty() -> "Depth":
        return Depth(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    def add(self, start: np.ndarray, values: np.ndarray) -> "Depth":
        """Add further windows; sums are accumulated in window order, for any number at a time.

        Args:
            start: int64 (windows,), start of each.
            values: float (windows, length).
        """
        covered = (start[:, None] + np.arange(values.shape[1])).ravel()
        position, place = np.unique(np.concatenate([self.position, covered]), return_inverse=True)
        total = np.bincount(place, np.concatenate([self.total, values.ravel().astype(np.float64)]), len(position))
        count = np.bincount(place[len(self.position) :], minlength=len(position))
        count[place[: len(self.position)]] += self.count
        return Depth(position, total, count)

    def split(self, before: int | None) -> tuple["Depth", "Depth"]:
        """Split into (windows left of a position, the rest); None: all, nothing."""
        cut = len(self.position) if before is None else int(np.searchsorted(self.position, before))
        left, right = (
            Depth(self.position[part], self.total[part], self.count[part]) for part in (slice(cut), slice(cut, None))
        )
        return left, right


def distinct(*keys: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries to keep so that no key occurs twice.

    Args:
        keys: (n,) each; the first sorts first.
        strength: float (n,); of equal keys the largest stays, and of equal ones the first.

    Returns:
        int64, entries to keep, by key; int64, how many entries have that key.
    """
    order = np.lexsort((np.arange(len(strength)), -strength, *keys[::-1]))
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    first = np.flatnonzero(new)
    return order[first], np.diff(np.append(first, len(order)))
