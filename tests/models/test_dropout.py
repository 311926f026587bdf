"""Dropout by key: an example's mask follows from its place in the global batch, whoever computes it."""

import pytest
import torch

from satori_hpc.config import Model
from satori_hpc.models import build, dropout
from satori_hpc.models.dropout import Dropout, Key


def masks(values: torch.Tensor, *, seed: int = 7, first: int = 0, p: float = 0.3, channels_last: bool = False):
    layer = Dropout(p, channels_last=channels_last).train()
    layer.key = Key(seed=seed, first=first)
    return layer(values) != 0


@pytest.mark.parametrize(("shape", "channels_last"), [((9, 5, 7), False), ((9, 6, 1, 11), True), ((9, 4), False)])
def test_masks_do_not_depend_on_the_cut_of_the_batch(shape, channels_last):
    values = torch.ones(shape)
    if channels_last:
        values = values.contiguous(memory_format=torch.channels_last)
    whole = masks(values, channels_last=channels_last)
    for cuts in ([4, 5], [1, 0, 8], [1] * 9):
        parts, first = [], 0
        for part in values.split(cuts):
            parts.append(masks(part, first=first, channels_last=channels_last))
            first += len(part)
        assert torch.equal(torch.cat(parts), whole)


def test_places_layers_and_steps_have_masks_of_their_own():
    values = torch.ones(64, 1001)
    found = masks(values)
    assert float(found.float().mean()) == pytest.approx(0.7, abs=0.005)
    for other in (masks(values, seed=8), masks(values, first=64), found.roll(1, 0)):
        # Independent masks agree in 0.7^2 + 0.3^2 of their elements.
        assert float((found == other).float().mean()) == pytest.approx(0.58, abs=0.01)
    assert torch.equal(masks(values[:3], first=5), found[5:8])


def test_all_layers_of_a_network_are_keyed():
    deep = {"architecture": "deep", "recurrent": True, "recurrent_size": 4, "num_filters": 8, "block_widths": (6, 7)}
    model = build(Model(num_heads=2, head_dim=4, mixing_size=6, **deep), length=60, targets=1, task="binary", entropy=0)
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert len(layers) > 5
    assert all(isinstance(layer, Dropout) for layer in layers)
    tokens = torch.randint(0, 4, (6, 60), dtype=torch.uint8)
    moments = model.stem.moments(model.stem.window_sums(tokens), tokens.numel())

    def logits(part: slice) -> torch.Tensor:
        dropout.place(layers, seeds=list(range(len(layers))), first=part.start)
        return model(tokens[part], moments=moments).logits

    torch.manual_seed(0)
    parts = torch.cat([logits(slice(0, 1)), logits(slice(1, 6))])
    torch.manual_seed(1)
    torch.testing.assert_close(parts, logits(slice(0, 6)), rtol=1e-5, atol=1e-6)


def test_hashed_words_look_random():
    words = dropout.hashed(Key(seed=2**62 + 12345, first=3), 200, 500, "cpu")
    assert torch.equal(dropout.hashed(Key(seed=2**62 + 12345, first=13), 5, 500, "cpu"), words[10:15])
    assert len(words.unique()) == words.numel()
    bits = torch.stack([(words >> bit) & 1 for bit in range(64)]).double()
    assert float((bits.mean(dim=(1, 2)) - 0.5).abs().max()) < 5 * 0.5 / 100_000**0.5
    for moved in (bits.roll(1, 0), bits.roll(1, 1), bits.roll(1, 2)):  # the next bit, example and word
        assert float(((bits == moved).double().mean(dim=(1, 2)) - 0.5).abs().max()) < 5 * 0.5 / 100_000**0.5


def test_hashed_is_splitmix64():
    """The first words of SplitMix64 with seed 0, from its reference implementation."""
    found = [word % 2**64 for word in dropout.hashed(Key(seed=0, first=0), 1, 4, "cpu")[0].tolist()]
    assert found[1:] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
