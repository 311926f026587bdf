"""Logistic regression on counts of 6-mers beside a network, fitted before it: what the composition of a sequence says.

The network is trained on what is left, so that its attention need not explain single words; a sum over words has no
interaction between sites that lie further apart than a word.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

K = 6
WORDS = 4**K
FOLDS = 3
FOLD = 16  # purpose of random numbers


class KmerRegression(nn.Module):
    """Map sequences to log-odds: the sum of the weights of their 6-mers, the mean over regressions.

    Each regression was fitted to the training examples outside of its fold; so the examples inside have log-odds that
    did not see their labels, which are the ones to train a network beside.

    Args:
        targets: T.

    Attributes:
        weight: (folds, 4^6, T), by the code of a word, A, C, G, T = 0..3, first letter highest; equal for a word and
            its reverse complement.
        bias: (folds, T).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(FOLDS, WORDS, targets))
        self.register_buffer("bias", torch.zeros(FOLDS, targets))

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return log-odds (B, T) of uint8 codes (B, L), or of (B, 4, L) of a float type, with a gradient.

        A word with an unknown base has no weight. A mixture of bases has the expected weight of words drawn from it.
        """
        weight, bias = self.weight.mean(dim=0), self.bias.mean(dim=0)
        return _mixed(sequences, weight, bias) if sequences.is_floating_point() else _sums(sequences, weight, bias)

    def out_of_fold(self, tokens: torch.Tensor, fold: np.ndarray) -> torch.Tensor:
        """Return log-odds (E, T) of examples (E, L) by the regression that was fitted without their fold (E,)."""
        found = self.bias.new_zeros(len(tokens), self.bias.shape[1])
        for number in range(FOLDS):
            rows = torch.from_numpy(np.flatnonzero(fold == number)).to(tokens.device)
            for some in rows.split(1024):
                found[some] = _sums(tokens[some], self.weight[number], self.bias[number])
        return found


def folds(examples: int, seed: int) -> np.ndarray:
    """Return the fold of each training example, int64 (examples,), of equal sizes, drawn by the seed."""
    return np.random.default_rng([seed, FOLD]).permutation(examples) % FOLDS


def _sums(tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    if tokens.shape[1] < K:
        return bias.expand(len(tokens), -1)
    letters = tokens.long().unfold(1, K, 1)
    places = 4 ** torch.arange(K - 1, -1, -1, device=tokens.device)
    code = torch.where((letters > 3).any(dim=2), WORDS, (letters * places).sum(dim=2))
    return F.embedding_bag(code, F.pad(weight, (0, 0, 0, 1)), mode="sum") + bias


def _mixed(letters: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """As `_sums`, of the expected counts of words: products of the probabilities of their halves."""
    weight, bias = weight.to(letters.dtype), bias.to(letters.dtype)
    count, half = letters.shape[2] - K + 1, K // 2
    if count < 1:
        return bias.expand(len(letters), -1)
    halves = []
    for first in (0, half):
        words = letters.new_ones(len(letters), 1, count)
        for place in range(first, first + half):
            words = (words[:, :, None] * letters[:, None, :, place : place + count]).flatten(1, 2)
        halves.append(words)
    counts = halves[0] @ halves[1].transpose(1, 2)
    return counts.flatten(1) @ weight + bias
