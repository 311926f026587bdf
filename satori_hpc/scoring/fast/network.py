"""A network with frozen weights, forward along paths and back."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from satori_hpc.errors import ConfigError
from satori_hpc.models.preloaded import OUTSIDE
from satori_hpc.models.satori import Recurrent, Satori
from satori_hpc.scoring.fast import rules, stem
from satori_hpc.scoring.fast import trunk as fast_trunk
from satori_hpc.scoring.fast.heads import Heads, Projection
from satori_hpc.scoring.fast.precision import Product, precision
from satori_hpc.scoring.fast.recurrent import Lstm
from satori_hpc.scoring.fast.rules import Rule
from satori_hpc.scoring.fast.stem import Pooled


@dataclass(frozen=True)
class Tokens:
    """Queries, keys and values of the nodes of some paths, and the activations before them.

    Attributes:
        pooled: the first block.
        projected: (3, N * R, heads, n, size).
        back: multipliers of tokens (S * R, n, inputs) -> of pooled activations (S * R, n, F).
    """

    pooled: Pooled
    projected: torch.Tensor
    back: Callable[[torch.Tensor], torch.Tensor]


class Network:
    """The layers of a model along integration paths; never changes the model.

    Raises:
        ConfigError: the model is not of the SATORI family.

    Args:
        model: in evaluation mode.
        dtype: to compute in; float64 for references.
        trunk: precision of the convolutions after attention, as in [score]; float32 = as `dtype`.
    """

    def __init__(self, model: Satori, *, dtype: torch.dtype = torch.float32, trunk: str = "float32") -> None:
        if not model.has_fast_paths:
            raise ConfigError(
                f"{type(model).__name__}: this reads the parts of a SATORI network ([model] architecture 'basic' or "
                "'deep'), another family has none of them"
            )
        self.model = model
        self.dtype = dtype
        self.device = next(model.parameters()).device
        self.exp = model.config.activation == "exp"
        self._products = "tf32" if trunk == "tf32" else "float32"  # what else there is, types tell
        with torch.no_grad():
            weight, bias = model.stem.folded(dtype)
            self._scale = model.stem.scale(dtype)
        self._weight, self._bias, self._blocked = weight, bias, model.stem.blocked()
        self._lstm = None if model.recurrent is None else Lstm(model.recurrent.lstm, dtype)
        self.projection = Projection(model.attention, dtype)
        weight, self.mix_bias = (
            each.detach().to(dtype) for each in (model.attention.mix.weight, model.attention.mix.bias)
        )
        self._mix, self._mix_back = Product(weight, self.mix_bias), Product(weight.T)
        self._around: tuple[Product, Product] | None = None
        if isinstance(model.residual, torch.nn.Linear):
            weight = model.residual.weight.detach().to(dtype)
            self._around = Product(weight), Product(weight.T)
        steps = fast_trunk.reading(model.readout, dtype, inner=torch.bfloat16 if trunk == "bfloat16" else dtype)
        self._behind = [*steps, fast_trunk.linear(model.output, dtype)]

    @property
    def bytes_behind(self) -> int:
        """Working memory of `behind` and its backward pass, per node: an upper bound."""
        readout = self.model.readout
        values = 8 * self.model.config.mixing_size
        if readout.widths:
            values += 10 * sum(readout.widths) + 4 * readout.dilations * readout.widths[-1]
        return self._weight.element_size() * self.model.bins * values

    @property
    def bytes_of_tokens(self) -> int:
        """Memory used and returned by `tokens`, per node: an upper bound."""
        model, config = self.model, self.model.config
        values = model.filters * (2 * model.stem.strands * model.pool + 4) + 6 * config.num_heads * config.head_dim
        if config.recurrent:
            values += 2 * Recurrent.layers * 24 * config.recurrent_size
        return self._weight.element_size() * model.bins * values

    @property
    def bytes_per_node(self) -> int:
        """Working memory of a path and the way back, per node: an upper bound."""
        model, config = self.model, self.model.config
        values = 4 * model.filters + 8 * config.num_heads * config.head_dim + 9 * config.num_heads * model.bins
        return self.bytes_of_tokens + self._weight.element_size() * model.bins * values + self.bytes_behind

    def one_hot(self, tokens: torch.Tensor) -> torch.Tensor:
        """Convert uint8 codes (B, L) to one-hot (B, 4, L); unknown bases are zero columns."""
        letters = torch.arange(4, dtype=tokens.dtype, device=tokens.device)
        return (tokens[:, None, :] == letters[:, None]).to(self.dtype)

    def track(self, letters: torch.Tensor) -> torch.Tensor:
        """Convolve (R, 4, L) and apply batch norm; return values by pooling bin, (R, n, pool, F).

        Of filters that read both strands, a position has two values in its bin: (R, n, 2 * pool, F).
        """
        model = self.model
        padded = F.pad(letters, (model.padding, model.width - 1 - model.padding))
        padded = padded[:, :, : model.bins * model.pool + model.width - 1]
        image = padded.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        values = F.conv2d(image, self._weight.unsqueeze(2), self._bias)
        by_bin = values.squeeze(2).transpose(1, 2).contiguous().view(len(letters), model.bins, -1, model.filters)
        return by_bin if self._blocked is None else by_bin.masked_fill_(self._blocked, OUTSIDE)

    def tokens(self, rule: Rule, start: torch.Tensor, end: torch.Tensor) -> Tokens:
        """Compute queries, keys and values from convolution values at both ends of paths, (R or 1, n, pool, F)."""
        pooled = Pooled(rule, start, end, exp=self.exp, scale=self._scale)
        attended, back = self._attended(rule, pooled.values)
        return Tokens(pooled, self.projection(attended), back)

    def tokens_changed(
        self, rule: Rule, start: torch.Tensor, end: torch.Tensor, *, like: Tokens, first: torch.Tensor, count: int
    ) -> Tokens:
        """Do the same for paths that differ from another path in a few bins: the rest is copied from there.

        Args:
            rule: of the paths.
            start: (1, n, pool, F), of that path, too.
            end: (R, n, pool, F).
            like: tokens of that path, R = 1.
            first: int64 (R,), first bin in which a path differs.
            count: number of bins that may differ from there on.
        """
        if self._lstm is not None:  # everything differs
            return self.tokens(rule, start, end)
        nodes, paths = len(rule.nodes), len(end)
        pooled = Pooled(rule, start, end, exp=self.exp, scale=self._scale)
        bins = (first[:, None] + torch.arange(count, device=first.device)).repeat(nodes, 1)  # (N * R, k)
        rows = pooled.values.gather(1, bins[:, :, None].expand(-1, -1, pooled.values.shape[2]))
        if self.model.positions is not None:
            rows = rows + self.model.positions.table.to(self.dtype)[bins]
        changed = self.projection(rows)
        projected = like.projected.repeat_interleave(paths, dim=1)
        projected.scatter_(3, bins[None, :, None, :, None].expand_as(changed), changed)
        return Tokens(pooled, projected, like.back)

    def _attended(
        self, rule: Rule, pooled: torch.Tensor
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Return tokens that attention sees, (N * R, n, inputs)."""
        back: Callable[[torch.Tensor], torch.Tensor] = lambda multipliers: multipliers  # noqa: E731
        if self._lstm is not None:
            lstm = self._lstm
            pooled, saved = lstm.forward(pooled)
            back = lambda multipliers: lstm.back(rule, multipliers, saved)  # noqa: E731
        if self.model.positions is not None:
            pooled = pooled + self.model.positions.table.to(self.dtype)
        return pooled, back

    def attention(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention (B, heads, n, n) and values (B, heads, n, size) of pooled activations."""
        query, key, value = self.projection(self._attended(rules.POINT, pooled)[0])
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
        return torch.softmax(scores.to(self.dtype), dim=-1), value

    def mix(self, read: torch.Tensor) -> torch.Tensor:
        """Mix head outputs (N, heads, n, size) into (N, n, D), before the activation."""
        return self._mix(read.transpose(1, 2).flatten(2).clamp(min=0))

    def mix_back(self, multipliers: torch.Tensor) -> torch.Tensor:
        """Propagate multipliers (N, n, D) of mixed heads -> of activated heads (N, heads, n, size)."""
        heads = self.projection.heads
        return self._mix_back(multipliers).unflatten(2, (heads, -1)).transpose(1, 2)

    def residual(self, pooled: torch.Tensor) -> torch.Tensor | None:
        """Return the residual path of pooled activations (N * R, n, F), (N * R, n, D); None if there is none."""
        if self.model.residual is None:
            return None
        return pooled if self._around is None else self._around[0](pooled)

    def residual_back(self, multipliers: torch.Tensor) -> torch.Tensor | None:
        """Propagate multipliers of the residual path (S * R, n, D) back to (S * R, n, F); None if there is none."""
        if self.model.residual is None:
            return None
        return multipliers if self._around is None else self._around[1](multipliers)

    def behind(
        self, rule: Rule, mixed: torch.Tensor, residual: torch.Tensor | None
    ) -> tuple[torch.Tensor, fast_trunk.Back]:
        """Compute logits (N * R, C) from mixed heads before their activation (N * R, n, D) and the residual path.

        The backward pass ends after the activation, where both paths join: multipliers (S * R, n, D).
        """
        values = mixed.clamp(min=0)
        if residual is not None:
            values = values + residual
        with precision(self.device, self._products):
            logits, back = fast_trunk.chain(self._behind, rule, values)

        def back_with_precision(multipliers: torch.Tensor) -> torch.Tensor:
            with precision(self.device, self._products):
                return back(multipliers)

        return logits, back_with_precision

    def weights(self, targets: torch.Tensor | None, count: int) -> torch.Tensor:
        """Return the weights of the logits in the explained sum, (count, C).

        Args:
            targets: uint8 (count, T), or None for the one of a binary model.
            count: sequences.
        """
        if self.model.config.output == "two":
            return torch.tensor([[-1.0, 1.0]], dtype=self.dtype, device=self.device).expand(count, -1)
        if targets is None:
            return torch.ones(count, self.model.targets, dtype=self.dtype, device=self.device)
        return targets.to(self.device, self.dtype)

    def attributions(self, rule: Rule, tokens: Tokens, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return multipliers of the bases, for all segments together, and the target at every node.

        Args:
            rule: of the paths.
            tokens: of the paths.
            weights: (R, C) of the logits.

        Returns:
            (R, 4, L), (N * R,).
        """
        heads = Heads(rule, tokens.projected)
        mixed = self.mix(heads.read)
        logits, back_behind = self.behind(rule, mixed, self.residual(tokens.pooled.values))
        explained = (logits.unflatten(0, (-1, len(weights))) * weights).sum(-1).flatten()

        met = back_behind(weights.repeat(rule.segments, 1))
        around = self.residual_back(met)
        of_read = self.mix_back(met * rules.relu_slope(rule, mixed)) * rules.relu_slope(rule, heads.read)
        of_tokens = self.projection.back(heads.back(of_read))
        of_pooled = tokens.back(of_tokens)
        if around is not None:
            of_pooled = of_pooled + around
        of_track = tokens.pooled.back(of_pooled)
        model = self.model
        letters = stem.to_letters(of_track, self._weight, length=model.length, padding=model.padding)
        return letters, explained
