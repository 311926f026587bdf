"""Find sites from activations: thresholds of the filters, active positions, and the bases under the filter there.

Position j of the activation track is the filter laid on tokens[j - P : j - P + W], P being the padding on the left.
SATORI 1 cut tokens[j : j + W] instead, so that its motifs lacked their first P columns.
"""

from dataclasses import dataclass

import numpy as np
import torch

from satori_hpc.data import sequence

UNKNOWN = 4
SITES_AT_ONCE = 1 << 17


class Extremes:
    """Running maximum and mean of every filter over batches of activations; memory does not grow with the set."""

    def __init__(self, filters: int) -> None:
        self.maximum = np.full(filters, -np.inf, dtype=np.float32)
        self._sum = np.zeros(filters, dtype=np.float64)
        self._values = 0

    def add(self, activations: torch.Tensor) -> None:
        """Add activations (B, F, L')."""
        examples, _, positions = activations.shape
        if not examples:
            return
        self.maximum = np.maximum(self.maximum, activations.amax(dim=(0, 2)).float().cpu().numpy())
        # Sums are added example by example, so that the cut into batches cannot change the last bit of the mean.
        for row in activations.sum(dim=2, dtype=torch.float64).cpu().numpy():
            self._sum += row
        self._values += examples * positions

    @property
    def mean(self) -> np.ndarray:
        """Mean activation (F,) float64; zeros if nothing was added."""
        return self._sum / max(self._values, 1)


def thresholds(maximum: np.ndarray, mean: np.ndarray, *, share: float, rule: str) -> np.ndarray:
    """Return the activation above which (strictly) a position is a site.

    Args:
        maximum: (F,) largest activation of each filter.
        mean: (F,) mean activation of each filter; used by the legacy rule only.
        share: of the maximum, such as 0.65.
        rule: "maximum": share * maximum (SATORI 2.0, lqaf209); "legacy": mean + share * (maximum - mean), the code
            of SATORI 1.

    Returns:
        (F,) float32; +inf for a dead filter (its maximum is not above 0), which thus has no site.
    """
    base = np.asarray(mean, dtype=np.float64) if rule == "legacy" else np.zeros(len(maximum))
    with np.errstate(invalid="ignore"):
        values = base + share * (np.asarray(maximum, dtype=np.float64) - base)
    return np.where(np.asarray(maximum) > 0, values, np.inf).astype(np.float32)


def locate(activations: torch.Tensor, threshold: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return active positions: activation strictly above the filter's threshold.

    Args:
        activations: (B, F, L').
        threshold: (F,) on the same device.

    Returns:
        int64 arrays (example of the batch, filter, position), ordered by example, filter, position.
    """
    example, filter_, position = torch.nonzero(activations > threshold[None, :, None], as_tuple=True)
    return example.cpu().numpy(), filter_.cpu().numpy(), position.cpu().numpy()


def windows(
    tokens: np.ndarray, example: np.ndarray, position: np.ndarray, *, padding: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bases under the filter at each site: tokens[j - padding : j - padding + width].

    Args:
        tokens: (B, L) uint8.
        example, position: (S,) row of `tokens` and position j on the activation track.
        padding, width: of the filter, bp.

    Returns:
        kept: (S,) bool, False where the window extends beyond the sequence or holds an unknown base.
        letters: (kept.sum(), width) uint8, each 0..3, in the order of the sites.
    """
    start = position - padding
    kept = (start >= 0) & (start + width <= tokens.shape[1])
    inside = np.flatnonzero(kept)
    letters = tokens[example[inside, None], start[inside, None] + np.arange(width)]
    known = (letters < UNKNOWN).all(axis=1)
    kept[inside[~known]] = False
    return kept, letters[known]


@dataclass(frozen=True)
class SiteCounts:
    """Count the bases under the sites of every filter, as integers: the order of the batches does not matter.

    Attributes:
        letters: (F, W, 4) int64, sites with the base at the column.
        sites: (F,) int64, windows counted.
        sequences: (F,) int64, examples with at least one of them.
    """

    letters: np.ndarray
    sites: np.ndarray
    sequences: np.ndarray

    @staticmethod
    def empty(filters: int, width: int) -> "SiteCounts":
        return SiteCounts(
            letters=np.zeros((filters, width, 4), dtype=np.int64),
            sites=np.zeros(filters, dtype=np.int64),
            sequences=np.zeros(filters, dtype=np.int64),
        )

    def add(self, tokens: np.ndarray, activations: torch.Tensor, threshold: torch.Tensor, *, padding: int) -> None:
        """Count the sites of a batch; an example must not be spread over several calls.

        Args:
            tokens: (B, L) uint8.
            activations: (B, F, L') of these tokens, on any device.
            threshold: (F,) on the device of `activations`.
            padding: of the filters, bp.
        """
        self.sequences[:] += self._counted(tokens, activations, threshold, padding=padding).sum(axis=0)

    def add_strands(self, tokens: np.ndarray, strands: torch.Tensor, threshold: torch.Tensor) -> None:
        """Count the sites of filters that see both strands; bases are those of the strand that the filter sees.

        Args:
            tokens: (B, L) uint8.
            strands: (B, 2, F, L) activations of the strand as given and of the other one; column j belongs to the
                window whose middle is j. The width is odd.
            threshold: (F,) on the device of `strands`.
        """
        forward, reverse = strands.unbind(dim=1)
        middle = self.letters.shape[1] // 2
        opposite = sequence.reverse_complement(tokens)
        given = self._counted(tokens, forward * (forward >= reverse), threshold, padding=middle)
        other = self._counted(opposite, (reverse * (reverse > forward)).flip(2), threshold, padding=middle)
        self.sequences[:] += (given | other).sum(axis=0)

    def _counted(
        self, tokens: np.ndarray, activations: torch.Tensor, threshold: torch.Tensor, *, padding: int
    ) -> np.ndarray:
        """Add the windows of a batch up; bool (B, F): which examples have one."""
        filters, width, _ = self.letters.shape
        example, filter_, position = locate(activations, threshold)
        present = np.zeros((len(tokens), filters), dtype=bool)
        columns = np.arange(width) * 4
        # In pieces: a low threshold on a large batch would make windows larger than the activations themselves.
        for begin in range(0, len(example), SITES_AT_ONCE):
            piece = slice(begin, begin + SITES_AT_ONCE)
            kept, letters = windows(tokens, example[piece], position[piece], padding=padding, width=width)
            owner = filter_[piece][kept]
            cells = owner[:, None] * (4 * width) + columns + letters
            self.letters.reshape(-1)[:] += np.bincount(cells.ravel(), minlength=self.letters.size)
            self.sites[:] += np.bincount(owner, minlength=filters)
            present[example[piece][kept], owner] = True
        return present
