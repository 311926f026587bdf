"""The bins that a mutated window changes, and the letters they see."""

import pytest
import torch

from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.scoring import sites
from tests.oracles import sites_oracle

GEOMETRIES = [
    (7, 3, 4, 50),
    (8, 0, 3, 50),
    (8, 7, 3, 41),
    (1, 0, 1, 9),
    (13, 6, 4, 26),
    (13, 6, 6, 300),
    (5, 2, 20, 63),
]


@pytest.mark.parametrize(("width", "padding", "pool", "length"), GEOMETRIES)
def test_a_region_holds_every_bin_that_can_change(width, padding, pool, length):
    bins = length // pool
    size = sites.count(width=width, pool=pool, bins=bins)
    largest = 0
    for j in range(padding, length - width + padding + 1):
        first = int(sites.first_bin(torch.tensor(j), width=width, pool=pool, bins=bins))
        changed = sites_oracle.changed_bins(j, width=width, padding=padding, pool=pool, length=length)
        assert 0 <= first <= bins - size
        assert changed <= set(range(first, first + size))
        largest = max(largest, len(changed))
    # No larger than it must be, where sequences are long enough to show it.
    assert size in (largest, bins)


@pytest.mark.parametrize(("width", "padding", "pool", "length"), GEOMETRIES)
def test_a_valid_convolution_over_the_letters_gives_the_bins(width, padding, pool, length):
    torch.manual_seed(2)
    config = Model(num_filters=6, kernel_size=width, padding=padding, pool=pool, num_heads=1, head_dim=4, mixing_size=4)
    model = models.build(config, length=length, targets=1, task="binary", entropy=0).eval()
    tokens = torch.randint(0, 5, (3, length), dtype=torch.uint8)
    bins = length // pool
    geometry = {"width": width, "pool": pool, "bins": bins}
    size = sites.count(**geometry)
    with torch.inference_mode():
        pooled = model.pooled(tokens)
        weight, bias = model.stem._folded(torch.empty(0))
        for j in (padding, length // 2, length - width + padding):
            first = sites.first_bin(torch.full((3,), j), **geometry)
            letters = sites.letters_of(tokens, first, padding=padding, **geometry)
            image = torch.nn.functional.one_hot(letters.long(), 5)[:, :, :4].float().transpose(1, 2)
            track = model.stem.activation(torch.nn.functional.conv1d(image, weight, bias))
            assert track.shape[2] == size * pool
            found = track.unflatten(2, (size, pool)).amax(3)
            expected = pooled[:, :, int(first[0]) : int(first[0]) + size]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
