"""Co-occurrence by loops over hits, and its null by all permutations."""

import itertools

import numpy as np


def in_range(left, right, max_gap):
    """Are two intervals (start, end) apart by a gap of 0 .. max_gap?"""
    gap = max(right[0] - left[1], left[0] - right[1])
    return 0 <= gap <= max_gap


def meeting(hits_a, hits_b, max_gap):
    return any(in_range(a, b, max_gap) for a in hits_a for b in hits_b)


def by_all_permutations(sequences_a, sequences_b, max_gap):
    """(observed, mean, variance) with lists of intervals per sequence; only for a handful of sequences."""
    n = len(sequences_a)
    meets = [[meeting(a, b, max_gap) for b in sequences_b] for a in sequences_a]
    counts = [sum(meets[i][order[i]] for i in range(n)) for order in itertools.permutations(range(n))]
    return sum(meets[i][i] for i in range(n)), float(np.mean(counts)), float(np.var(counts))
