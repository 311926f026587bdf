"""Compute attributions of single bases along paths, and their change in mutants, in bounded memory."""

from collections.abc import Iterator

import numpy as np
import torch

from satori_hpc.scoring import sites
from satori_hpc.scoring.fast import Network, Rule
from satori_hpc.scoring.fast.network import Tokens

CPU_TOGETHER = 13, 21  # nodes in flight: fewer need less memory, more are faster while they fit into the cache
CPU_BYTES = 80 << 20  # bytes assumed to fit into the cache, counted generously
DEVICE_BYTES = 8 << 30


class LetterAttributions:
    """Attributions of the observed bases; baselines are given, so nothing here is random.

    Args:
        net: the network.
        rule: where derivatives are taken.
    """

    def __init__(self, net: Network, rule: Rule) -> None:
        self._net = net
        if net.device.type == "cpu":
            self._nodes = int(np.clip(CPU_BYTES // net.bytes_per_node, *CPU_TOGETHER))
        else:
            self._nodes = max(2, DEVICE_BYTES // net.bytes_per_node)
        self._parts = rule.parts(self._nodes)
        self._rule = rule

    @property
    def bytes_needed(self) -> int:
        """Working memory: an upper bound."""
        largest = max(len(part.nodes) for part in self._parts)
        # The path that others differ from is kept meanwhile, up to its queries, keys and values.
        return largest * (self._together * self._net.bytes_per_node + self._net.bytes_of_tokens)

    @property
    def _together(self) -> int:
        """Paths in flight."""
        return max(1, self._nodes // max(len(part.nodes) for part in self._parts))

    def of(self, start: torch.Tensor, end: torch.Tensor, weights: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Return attributions (R, L) at the bases `at` of paths from `start` to `end`, each with its own start.

        Args:
            start, end: (R, 4, L).
            weights: (1, C) of the logits.
            at: (1, 4, L) bases whose attribution is requested; 0 at unknown ones.
        """
        found = []
        for rows in self._slices(len(end)):
            tracks = self._net.track(start[rows]), self._net.track(end[rows])
            found.append(
                sum(
                    self._read(part, self._net.tokens(part, *tracks), start[rows], end[rows], weights, at)
                    for part in self._parts
                )
            )
        return torch.cat(found)  # type: ignore[arg-type]

    def multipliers(self, start: torch.Tensor, end: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the multipliers of each base on paths from `start` to `end`, (R, 4, L).

        Times (end - start), over all bases and positions, they sum to the change of the target.

        Args:
            start, end: (R, 4, L).
            weights: (1, C) of the logits.
        """
        found = []
        for rows in self._slices(len(end)):
            tracks = self._net.track(start[rows]), self._net.track(end[rows])
            count = len(tracks[1])
            found.append(
                sum(
                    self._net.attributions(part, self._net.tokens(part, *tracks), weights.expand(count, -1))[0]
                    for part in self._parts
                )
            )
        return torch.cat(found)  # type: ignore[arg-type]

    def changes(
        self,
        start: torch.Tensor,
        original: torch.Tensor,
        mutants: torch.Tensor,
        *,
        position: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attributions at the original bases minus those in mutants, (V, L), and those in the original, (L,).

        All from one start.

        Args:
            start, original: (1, 4, L).
            mutants: (V, 4, L), each different in the window of one site only.
            position: int64 (V,), of that site on the activation track.
            weights: (1, C) of the logits.
        """
        net, model = self._net, self._net.model
        shape = {"width": model.width, "pool": model.pool, "bins": model.bins}
        first, count = sites.first_bin(position, **shape), sites.count(**shape)
        start_track, end_track = net.track(start), net.track(original)
        out = torch.zeros(len(mutants), original.shape[2], dtype=original.dtype, device=original.device)
        total = torch.zeros_like(out[:0].sum(dim=0))
        # An unchanged site has exactly zero effect.
        real = (mutants != original).any(dim=2).any(dim=1).nonzero().squeeze(1)
        for part in self._parts:
            tokens = net.tokens(part, start_track, end_track)
            own = self._read(part, tokens, start, original, weights, original)
            total += own[0]
            for piece in self._slices(len(real)):
                rows = real[piece]
                letters = mutants[rows]
                changed = net.tokens_changed(
                    part, start_track, net.track(letters), like=tokens, first=first[rows], count=count
                )
                out[rows] += own - self._read(part, changed, start, letters, weights, original)
        return out, total

    def _slices(self, count: int) -> Iterator[slice]:
        return (slice(first, first + self._together) for first in range(0, count, self._together))

    def _read(
        self,
        part: Rule,
        tokens: Tokens,
        start: torch.Tensor,
        end: torch.Tensor,
        weights: torch.Tensor,
        at: torch.Tensor,
    ) -> torch.Tensor:
        """Return the contribution (R, L) of a part to the attribution."""
        found, _ = self._net.attributions(part, tokens, weights.expand(len(end), -1))
        return (found * (end - start) * at).sum(dim=1)
