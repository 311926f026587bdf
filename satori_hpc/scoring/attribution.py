"""Attention attribution: integrated gradients over the attention matrices, from no attention to all of it.

Attr(A) = A * mean over steps of dF(step * A) / dA (SATORI 2.0, lqaf209, equation 7): all heads are scaled together, and
the values of attention, and the residual path around it, stay those of the sequence. The output of the heads is then
proportional to the step, and so is the layer that mixes them, up to its activation. So convolution, projection,
attention and mixing are computed once, only the later layers at every step, and the backward pass from the mixing layer
to attention once, for the sum over all steps.
"""

import numpy as np
import torch

from satori_hpc.config import Score
from satori_hpc.models import satori
from satori_hpc.models.base import TrainableModel
from satori_hpc.scoring.attention import occupied_bins, of_bins, strength
from satori_hpc.scoring.base import LARGEST, Batch, SiteScores, must_fit
from satori_hpc.scoring.fast import Network, Rule, rules
from satori_hpc.scoring.fast.precision import exactly

CPU_SLICE = 8
CPU_TOGETHER = 24  # nodes in flight after attention: their data stay in the cache
DEVICE_SLICE_BYTES = 1 << 30


class AttributionScorer:
    """Score slices of sequences by attention attribution; see SiteScorer.

    Args:
        model: in evaluation mode, on the device to compute on.
        threshold: float32 (F,): filter f is active in a bin when its pooled activation is above (strictly).
        settings: the section [score].
        seed, composition: not used; nothing is random.

    Raises:
        ConfigError: it is no SATORI network.
        SatoriError: distances of this model's sequences do not fit the store (32,767 bp).
    """

    directed = False
    choose = LARGEST
    extras: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()

    def __init__(
        self, model: TrainableModel, threshold: torch.Tensor, *, settings: Score, seed: int, composition: np.ndarray
    ) -> None:
        self.model = model = satori.require(model, what="attribution of attention")
        must_fit(model.pool * model.bins)
        self.widths, self.pool = model.site_widths.astype(np.int16), model.pool
        self.settings = settings.attribution
        self._net = Network(model, trunk=settings.precision)
        self.device = self._net.device
        self.threshold = threshold.to(self.device)

    @property
    def most(self) -> tuple[int, int]:
        """Maximal number of sites and places of an example: every filter active in every bin."""
        return self.model.filters * self.model.bins, self.model.bins

    @property
    def slice_size(self) -> int:
        """Sequences per call; follows from the model and the kind of device only."""
        if self.device.type == "cpu":
            return CPU_SLICE
        return max(1, DEVICE_SLICE_BYTES // self.bytes_per_sequence)

    @property
    def bytes_per_sequence(self) -> int:
        """Working memory of a call, per sequence: an upper bound."""
        model, config = self.model, self.model.config
        bins, filters = model.bins, model.filters
        features = 3 * filters + 5 * config.num_heads * config.head_dim + 40 * config.recurrent_size * config.recurrent
        first = 4 * (
            32 * (model.length + model.width) + 6 * model.stem.strands * filters * model.length + 2 * features * bins
        )
        attention = 4 * (4 * config.num_heads + 6) * bins**2
        behind = (self.settings.steps + 1) * self._net.bytes_behind
        return first + attention + behind + 160 * filters * bins + 8 * bins**2

    @exactly
    @torch.inference_mode()
    def __call__(self, batch: Batch) -> SiteScores:
        """Score a slice."""
        tokens = batch.tokens.to(self.device)
        pooled = self.model.pooled(tokens)
        active = pooled > self.threshold[:, None]
        bins = occupied_bins(active)
        found = self._maps(pooled, batch.targets, self.settings.steps)[0]
        if self.settings.absolute:
            found = found.abs_()
        rows = bins[:, None, :, None].expand(-1, 1, -1, found.shape[-1])
        value = strength(found.amax(dim=1, keepdim=True).gather(2, rows), bins)
        return of_bins(value, pooled, active=active, threshold=self.threshold, model=self.model, tokens=tokens)

    @exactly
    @torch.inference_mode()
    def maps(self, batch: Batch) -> torch.Tensor:
        """Return attributions of every attention value, float32 (B, heads, n, n)."""
        return self._maps(self.model.pooled(batch.tokens.to(self.device)), batch.targets, self.settings.steps)[0]

    @exactly
    @torch.inference_mode()
    def estimate(self, batch: Batch) -> dict[str, float]:
        """Return the relative errors of a sample.

        Returns:
            completeness: relative difference of the sum of all attributions and the change of the target.
            steps: attributions against those of twice the steps, by root mean squares.
        """
        pooled = self.model.pooled(batch.tokens.to(self.device))
        found, rise = self._maps(pooled, batch.targets, self.settings.steps)
        finer, _ = self._maps(pooled, batch.targets, 2 * self.settings.steps)
        gap = (found.sum(dim=(1, 2, 3)) - rise).abs()
        return {
            "completeness": float(gap.sum() / rise.abs().sum().clamp(min=rules.TINY)),
            "steps": float((found - finer).norm() / finer.norm().clamp(min=rules.TINY)),
        }

    def _maps(
        self, pooled: torch.Tensor, targets: torch.Tensor | None, steps: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attributions (B, heads, n, n), and the change of the target from zero to full attention, (B,)."""
        net, rule = self._net, Rule.of(self.settings.rule, steps)
        values = pooled.transpose(1, 2).contiguous()
        attention, value = net.attention(values)
        read = attention @ value
        end = net.mix(read)
        start = net.mix_bias
        around = net.residual(values)
        weights = net.weights(targets, len(values))
        together = max(1, CPU_TOGETHER // steps) if self.device.type == "cpu" else len(values)
        of_mixed, rise = torch.empty_like(end), end.new_empty(len(end))
        for first in range(0, len(values), together):
            rows = slice(first, first + together)
            of_mixed[rows], rise[rows] = self._behind(
                rule, start, end[rows], None if around is None else around[rows], weights[rows]
            )
        # Heads read values in proportion to the step: their ReLU lets the same ones through all the way.
        of_read = net.mix_back(of_mixed) * (read > 0)
        return (of_read @ value.transpose(-1, -2)).float().mul_(attention), rise

    def _behind(
        self,
        rule: Rule,
        start: torch.Tensor,
        end: torch.Tensor,
        around: torch.Tensor | None,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean multipliers (R, n, D) of the mixing layer on its way from `start` to `end`, and the rise (R,)."""
        net, paths = self._net, len(end)
        mixed = rule.along(start, end)
        logits, back = net.behind(rule, mixed, None if around is None else around.repeat(len(rule.nodes), 1, 1))
        of_logits = self._of_logits(rule, logits, weights)
        met = back(of_logits) * rules.relu_slope(rule, mixed)
        both = torch.cat((start.expand(paths, *end.shape[1:]), end))
        whole, _ = net.behind(rule, both, None if around is None else around.repeat(2, 1, 1))
        explained = self._explained(whole.unflatten(0, (2, paths)), weights)
        return rule.total(met), explained[1] - explained[0]

    def _explained(self, logits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the target of the attribution, (..., R), from logits (..., R, C)."""
        if self.settings.target == "logit":
            return (logits * weights).sum(-1)
        if self.model.config.output == "two":
            return torch.sigmoid((logits * weights).sum(-1))
        return (torch.sigmoid(logits) * weights).sum(-1)

    def _of_logits(self, rule: Rule, logits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return multipliers (S * R, C) of the logits (N * R, C)."""
        repeated = weights.repeat(rule.segments, 1)
        if self.settings.target == "logit":
            return repeated
        if self.model.config.output == "two":
            logits = (logits.unflatten(0, (-1, len(weights))) * weights).sum(-1, keepdim=True).flatten(0, 1)
        return repeated * rules.sigmoid_slope(rule, logits, torch.sigmoid(logits))
