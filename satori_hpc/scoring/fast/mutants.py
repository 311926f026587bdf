"""Many mutants of one sequence through the network, forward only, each step computed once for all that share it.

A mutated window changes few pooling bins, and a bin is the same in every mutant in which its input bases are
the same. So a table holds the bins of the sequence and, for every mutant with new bins, its region: each row
is convolved and projected once. A variant is then a list of n rows. Attention and all later layers are computed in
full, for a few variants at a time, so that on the CPU the data stay in the cache between steps.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from satori_hpc.models.preloaded import OUTSIDE
from satori_hpc.models.satori import Satori
from satori_hpc.scoring import sites
from satori_hpc.scoring.fast.precision import Product, precision

SCORES_IN_CACHE = 3 << 17
BINS_ON_CPU = 1200  # enough to amortise the layout of the weights of the convolutions after attention
DEVICE_BYTES = 1 << 30


@dataclass(frozen=True)
class Table:
    """Inputs of the downstream layers for each of R bins; None where they need none.

    Attributes:
        bins: float32 (R,F), pooled activations; for a recurrent network.
        heads: float32 (3,h,R,d), query, key and value; of the others.
        residual: (R,mixing), residual path around attention.
    """

    bins: torch.Tensor | None
    heads: torch.Tensor | None
    residual: torch.Tensor | None


class Variants:
    """Logits of the mutants of a sequence.

    Args:
        model: in evaluation mode, on the device to compute on.
        trunk: precision of the layers after attention (see `precision`).
    """

    def __init__(self, model: Satori, *, trunk: str) -> None:
        config = model.config
        self.model = model
        self.trunk = trunk
        self.device = next(model.parameters()).device
        self.count = sites.count(width=model.width, pool=model.pool, bins=model.bins)
        with torch.no_grad():
            weight, self.filter_bias = model.stem.folded(torch.float32)
            self.blocked = model.stem.blocked()
            self.filter = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
            # Queries are scaled here, once, instead of the scores.
            scale = torch.ones_like(model.attention.project.bias)
            scale[: config.num_heads * config.head_dim] = 1 / math.sqrt(config.head_dim)
            project = model.attention.project
            self.project = Product(project.weight * scale[:, None], project.bias * scale)
            self.mix = Product(model.attention.mix.weight, model.attention.mix.bias)

    @property
    def at_once(self) -> int:
        """Variants that go through the network together; follows from the model and the kind of device only."""
        if self.device.type != "cpu":
            return max(1, DEVICE_BYTES // self._bytes_per_variant)
        return max(1, BINS_ON_CPU // self.model.bins)

    @property
    def bytes_at_once(self) -> int:
        """Working memory of these variants: an upper bound."""
        readout = self.model.readout
        fixed = 8 * max(SCORES_IN_CACHE // 4, self.model.bins**2) if self.device.type == "cpu" else 0
        fixed += 16 * readout.kernel * max(readout.widths, default=0) ** 2  # weights, laid out again for each call
        return self.at_once * self._bytes_per_variant + fixed

    @property
    def _bytes_per_variant(self) -> int:
        model, config = self.model, self.model.config
        size = config.num_heads * config.head_dim
        values = 5 * size + 3 * config.mixing_size
        if self.device.type != "cpu":
            values += 2 * config.num_heads * model.bins  # on the CPU a few score matrices are reused
        if config.recurrent:
            values += 2 * model.filters + 24 * config.recurrent_size + 6 * size
        values += 6 * max(model.readout.widths, default=0)
        return 4 * model.bins * values

    @property
    def bytes_per_row(self) -> int:
        """Memory to compute a row of the table, including its input bases: an upper bound."""
        model, config = self.model, self.model.config
        convolved = 64 * (model.pool + model.width) + 4 * model.filters * (model.stem.strands * model.pool + 3)
        projected = 12 * model.filters + 28 * config.num_heads * config.head_dim + 8 * config.mixing_size
        return max(convolved, projected)

    def table(self, pooled: torch.Tensor, mutants: torch.Tensor, first: torch.Tensor) -> Table:
        """Return rows 0 .. n - 1, the sequence's own bins, then, for each mutant, the k bins of its region.

        Args:
            pooled: float32 (n,F), of the sequence itself.
            mutants: uint8 (m,L), mutated sequences.
            first: int64 (m,), first bin of the region of each.
        """
        model = self.model
        bins = torch.cat((pooled, self._region_bins(mutants, first).flatten(0, 1)))
        residual = None
        if model.residual is not None:
            with precision(self.device, self.trunk):
                residual = model.residual(bins)
        if model.recurrent is not None:
            return Table(bins=bins, heads=None, residual=residual)
        tokens = bins
        if model.positions is not None:
            changed = first[:, None] + torch.arange(self.count, device=self.device)
            numbers = torch.cat((torch.arange(model.bins, device=self.device), changed.flatten()))
            tokens = bins + model.positions.table[numbers]
        return Table(bins=None, heads=self._heads(tokens), residual=residual)

    def logits(self, table: Table, index: torch.Tensor) -> torch.Tensor:
        """Return logits (V,C) float32 of the variants.

        Args:
            table: of their sequence.
            index: int64 (V,n), the row of each bin.
        """
        rooms = _Rooms(self, most=min(self.at_once, len(index)))
        return torch.cat([self._some(table, part, rooms) for part in index.split(self.at_once)])

    def _some(self, table: Table, index: torch.Tensor, rooms: "_Rooms") -> torch.Tensor:
        model, config = self.model, self.model.config
        count, bins = index.shape
        rows = index.flatten()
        if table.heads is None:
            assert table.bins is not None
            assert model.recurrent is not None
            tokens = model.recurrent(table.bins.index_select(0, rows).view(count, bins, -1))
            if model.positions is not None:
                tokens = model.positions(tokens)
            heads = self._heads(tokens.flatten(0, 1))
        else:
            heads = torch.index_select(table.heads, 2, rows, out=rooms.heads(count))
        query, key, value = heads.view(3, config.num_heads * count, bins, config.head_dim)
        read = rooms.read(count)
        for start in range(0, len(query), rooms.matrices):
            some = slice(start, start + rooms.matrices)
            scores = torch.bmm(query[some], key[some].transpose(1, 2), out=rooms.scores(len(query[some])))
            weights = torch._softmax(scores, -1, False, out=rooms.weights(len(scores)))
            torch.bmm(weights, value[some], out=read[some])
        by_bin = read.view(config.num_heads, count, bins, config.head_dim).permute(1, 2, 0, 3)
        activated = torch.clamp(by_bin, min=0, out=rooms.activated(count))
        with precision(self.device, self.trunk):
            mixed = self.mix(activated.flatten(2)).relu_()
            if table.residual is not None:
                mixed = mixed + table.residual.index_select(0, rows).view(count, bins, -1)
            logits: torch.Tensor = model.output(model.readout(mixed)).float()
        return logits

    def _region_bins(self, mutants: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        """Return pooled activations (m,k,F) of the region of each mutant."""
        model = self.model
        letters = sites.letters_of(
            mutants, first, width=model.width, padding=model.padding, pool=model.pool, bins=model.bins
        )
        codes = torch.arange(4, dtype=letters.dtype, device=self.device)
        image = (letters[:, :, None] == codes).float().permute(0, 2, 1).unsqueeze(2)  # channels last
        track = F.conv2d(image, self.filter, self.filter_bias).squeeze(2).transpose(1, 2)
        track = track.reshape(len(mutants), self.count, -1, model.filters)
        if self.blocked is not None:
            bins = first[:, None] + torch.arange(self.count, device=self.device)
            track = track.masked_fill(self.blocked[bins], OUTSIDE)
        pooled = track.amax(dim=2)  # faster here than max pooling
        activated: torch.Tensor = model.stem.activation(pooled)
        return activated

    def _heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return query, key and value (3,h,R,d) of tokens (R,size)."""
        config = self.model.config
        by_row = self.project(tokens).unflatten(1, (3, config.num_heads, config.head_dim))
        return by_row.permute(1, 2, 0, 3).contiguous()


class _Rooms:
    """Memory of one call, used again and again: fresh memory would cost as much as the computing.

    Attributes:
        matrices: (n,n) matrices of scores computed together, of any variant and head.
    """

    def __init__(self, variants: Variants, *, most: int) -> None:
        model, config = variants.model, variants.model.config
        self.shape = config.num_heads, model.bins, config.head_dim
        self.matrices = most * config.num_heads
        if variants.device.type == "cpu":
            self.matrices = max(1, min(self.matrices, SCORES_IN_CACHE // (4 * model.bins**2)))
        square = self.matrices * model.bins**2
        long = most * model.bins * config.num_heads * config.head_dim
        sizes = (3 * long, square, square, long, long)
        self.blocks = [torch.empty(size, device=variants.device) for size in sizes]

    def heads(self, count: int) -> torch.Tensor:
        h, n, d = self.shape
        return self._view(0, 3, h, count * n, d)

    def scores(self, matrices: int) -> torch.Tensor:
        return self._view(1, matrices, self.shape[1], self.shape[1])

    def weights(self, matrices: int) -> torch.Tensor:
        return self._view(2, matrices, self.shape[1], self.shape[1])

    def read(self, count: int) -> torch.Tensor:
        h, n, d = self.shape
        return self._view(3, h * count, n, d)

    def activated(self, count: int) -> torch.Tensor:
        h, n, d = self.shape
        return self._view(4, count, n, h, d)

    def _view(self, block: int, *shape: int) -> torch.Tensor:
        return self.blocks[block][: math.prod(shape)].view(shape)
