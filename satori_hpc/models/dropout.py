"""Dropout layers with keyed masks, by the position of each example, so that ranks do not matter."""

from dataclasses import dataclass

import torch
from torch import nn

_LEVELS = 2**16
_ODD = 0x9E3779B1  # times a place it never repeats within 2^32 places


@dataclass(frozen=True)
class Key:
    """Key of the masks of one layer in one forward pass.

    Attributes:
        seed: of this layer at this step, 0 .. 2^63 - 1.
        first: place of the first example of the pass in the global batch.
    """

    seed: int
    first: int


class Keyed(nn.Module):
    """A layer with random choices, keyed by `key` and the example's position, or from torch's generator.

    Attributes:
        key: set by `place`; None: torch's global generator.
    """

    key: Key | None = None

    def words(self, rows: int, words: int, device: torch.device) -> torch.Tensor:
        """Return random 64-bit words, (rows, words) int64."""
        if self.key is None:
            return torch.empty(rows, words, dtype=torch.int64, device=device).random_(-(2**63), None)
        if device.type != "cpu":
            return hashed(self.key, rows, words, device)
        drawn, generator = torch.empty(rows, words, dtype=torch.int64), torch.Generator()
        for place, row in enumerate(drawn, start=self.key.first):
            generator.manual_seed((self.key.seed + place * _ODD) % 2**32)  # it looks at 32 bits only
            row.random_(-(2**63), None, generator=generator)
        return drawn


class Coin(Keyed):
    """A coin per example, bool (rows,); False outside training."""

    def forward(self, rows: int, device: torch.device) -> torch.Tensor:
        if not self.training:
            return torch.zeros(rows, dtype=torch.bool, device=device)
        return self.words(rows, 1, device)[:, 0] < 0


class Dropout(nn.Dropout, Keyed):
    """Dropout that spends 16 random bits per element; p is rounded to a multiple of 2^-16.

    Kept values are scaled by the inverse of the share that is really kept, so the mean is exact. With a `key` the mask
    of an example follows from the key and its place; without one from torch's global generator.

    Args:
        p: share that is dropped.
        channels_last: the input is (B, C, 1, n) with channels last in memory; its mask is made in that order.
    """

    def __init__(self, p: float, *, channels_last: bool = False) -> None:
        super().__init__(p)
        self.channels_last = channels_last

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return values
        if self.channels_last:
            return self._drop(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self._drop(values)

    def _drop(self, values: torch.Tensor) -> torch.Tensor:
        levels = round(self.p * _LEVELS)
        size = values[0].numel() if len(values) else 0
        words = self.words(len(values), -(-size // 4), values.device)
        kept = words.view(torch.int16)[:, :size].reshape(values.shape) >= levels - _LEVELS // 2
        return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - levels))


def place(layers: list[Keyed], *, seeds: list[int], first: int) -> None:
    """Key the layers for the next forward pass.

    Args:
        layers: all of a network, in its order.
        seeds: one for each, of this step.
        first: place of the first example of the pass in the global batch.
    """
    for layer, seed in zip(layers, seeds, strict=True):
        layer.key = Key(seed=seed, first=first)


def hashed(key: Key, rows: int, words: int, device: torch.device | str) -> torch.Tensor:
    """Return random words (rows, words) int64 without a generator: SplitMix64 of the position and the word number.

    For devices where a generator per example would be a kernel per example (Steele et al. 2014 for the function).
    """
    place = torch.arange(key.first, key.first + rows, dtype=torch.int64, device=device)
    counter = (place << 32)[:, None] + torch.arange(words, dtype=torch.int64, device=device)
    mixed = counter.mul_(_signed(0x9E3779B97F4A7C15)).add_(key.seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = mixed.bitwise_xor_(_shifted(mixed, shift)).mul_(_signed(factor))
    return mixed.bitwise_xor_(_shifted(mixed, 31))


def _shifted(values: torch.Tensor, by: int) -> torch.Tensor:
    """Shift bits right, filling with zeros: torch's own shift repeats the sign."""
    return (values >> by).bitwise_and_(2 ** (64 - by) - 1)


def _signed(word: int) -> int:
    """Return the int64 with the bits of a 64-bit word whose top bit is set."""
    return word - 2**64
