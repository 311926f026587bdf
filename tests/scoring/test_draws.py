"""Random letters follow from seed and example alone, and have the composition they should."""

import numpy as np
import torch

from satori_hpc.scoring import draws


def keys_of(*keys: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(keys, dtype=torch.int64)


def test_an_example_has_its_letters_in_any_batch():
    tokens = torch.randint(0, 5, (4, 50), dtype=torch.uint8)
    keys = keys_of((0, 3), (0, 7), (1, 3), (1, 2**31 - 1))
    whole = draws.replacements(tokens, keys, seed=5, number=3)
    assert (whole.shape, whole.dtype) == ((4, 3, 50), torch.uint8)
    order = torch.tensor([2, 0])
    assert torch.equal(draws.replacements(tokens[order], keys[order], seed=5, number=3), whole[order])
    assert torch.equal(draws.replacements(tokens, keys, seed=5, number=2), whole[:, :2])
    composition = np.full(4, 0.25)
    ours = draws.baselines(keys, seed=5, number=4, length=30, composition=composition)
    assert (ours.shape, ours.dtype) == ((4, 4, 30), torch.uint8)
    again = draws.baselines(keys[order], seed=5, number=2, length=30, composition=composition)
    assert torch.equal(again, ours[order, :2])


def test_every_part_of_the_key_changes_the_letters():
    tokens = torch.arange(4, dtype=torch.uint8).repeat(25)[None]
    composition = np.full(4, 0.25)
    found = [draws.replacements(tokens, keys_of(key), seed=1, number=2)[0] for key in ((0, 1), (1, 1), (0, 2))]
    found.append(draws.replacements(tokens, keys_of((0, 1)), seed=2, number=2)[0])
    found.append(draws.baselines(keys_of((0, 1)), seed=1, number=2, length=100, composition=composition)[0])
    rows = torch.cat(found)  # the draws of one key differ among themselves, too
    alike = (rows[:, None] == rows[None]).float().mean(2)
    assert float((alike - torch.eye(len(rows))).max()) < 0.5


def test_replacements_have_the_composition_of_their_sequence():
    tokens = torch.tensor([[0] * 700 + [3] * 200 + [4] * 100, [1] * 1000, [4] * 1000], dtype=torch.uint8)
    found = draws.replacements(tokens, keys_of((0, 0), (0, 1), (0, 2)), seed=1, number=40).numpy()
    share = [np.bincount(row.ravel(), minlength=5) / row.size for row in found]
    np.testing.assert_allclose(share[0], [7 / 9, 0, 0, 2 / 9, 0], atol=0.01)
    assert share[0][1] == share[0][2] == 0  # a letter that is not there is never drawn
    np.testing.assert_array_equal(share[1], [0, 1, 0, 0, 0])
    np.testing.assert_allclose(share[2], [0.25] * 4 + [0], atol=0.01)  # no known letter


def test_baselines_have_the_composition_asked_for():
    composition = np.array([0.3, 0.2, 0.0, 0.5])
    found = draws.baselines(keys_of((0, 0)), seed=1, number=40, length=1000, composition=composition).numpy()
    np.testing.assert_allclose(np.bincount(found.ravel(), minlength=4) / found.size, composition, atol=0.01)
    assert not (found == 2).any()
