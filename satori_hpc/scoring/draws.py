"""Draw random bases of mutations and baselines, keyed by the run's seed and the example, not by its batch."""

import numpy as np
import torch

REPLACEMENTS, BASELINES, PERMUTATIONS = 0x3E71, 0xBA5E, 0x9E2  # the purpose of a draw is part of its key
LETTERS = 4


def replacements(tokens: torch.Tensor, keys: torch.Tensor, *, seed: int, number: int) -> torch.Tensor:
    """Draw replacement bases from the composition of each sequence, uint8 (B,number,L).

    The first draws stay the same when more are requested. A sequence without any known base gets all four equally.

    Args:
        tokens: uint8 (B,L).
        keys: int64 (B,2), side and row (see Batch).
        seed: of the run.
        number: how many draws for each sequence.
    """
    codes = tokens.cpu().numpy()
    out = np.empty((len(codes), number, codes.shape[1]), dtype=np.uint8)
    for draws, row, key in zip(out, codes, keys.tolist(), strict=True):
        counts = np.bincount(row, minlength=LETTERS)[:LETTERS]
        weights = counts if counts.any() else np.ones(LETTERS)
        _draw(draws, weights.astype(np.float64), key=[seed, REPLACEMENTS, *key])
    return torch.from_numpy(out).to(tokens.device)


def baselines(keys: torch.Tensor, *, seed: int, number: int, length: int, composition: np.ndarray) -> torch.Tensor:
    """Draw random sequences of a given composition, uint8 (B,number,length) on the keys' device.

    The first draws stay the same when more are asked for.

    Args:
        keys: int64 (B,2), side and row (see Batch).
        seed: of the run.
        number: how many for each key.
        length: bp.
        composition: float64 (4,), base frequencies.
    """
    out = np.empty((len(keys), number, length), dtype=np.uint8)
    for draws, key in zip(out, keys.tolist(), strict=True):
        _draw(draws, np.asarray(composition, dtype=np.float64), key=[seed, BASELINES, *key])
    return torch.from_numpy(out).to(keys.device)


def permutations(keys: torch.Tensor, *, seed: int, length: int) -> torch.Tensor:
    """Return a random order of positions for each key, int64 (B,length) on the keys' device.

    Args:
        keys: int64 (B,2), side and row (see Batch).
        seed: of the run.
        length: bp.
    """
    orders = [np.random.default_rng([seed, PERMUTATIONS, *key]).permutation(length) for key in keys.tolist()]
    return torch.from_numpy(np.array(orders, dtype=np.int64).reshape(-1, length)).to(keys.device)


def _draw(out: np.ndarray, weights: np.ndarray, *, key: list[int]) -> None:
    """Draw bases (number, length) with these weights."""
    cumulative = np.cumsum(weights)
    chance = np.random.default_rng(key).random(out.shape) * cumulative[-1]
    # A base of weight 0 has an empty interval, so it is never drawn; rounding up gives the last base.
    last = int(np.flatnonzero(weights)[-1])
    out[:] = np.minimum(np.searchsorted(cumulative, chance, side="right"), last)
