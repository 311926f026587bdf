"""Score test of motif pairs: does a pair within range predict the label beyond the counts of all motifs (Rao 1948)?

Labels are modelled by the counts of every motif, logistic (0 and 1) or linear (graded). The test asks how much a
pair would add, without fitting it: with F = 1 where it is within range, U = F'(y - mu) is the slope of the
log-likelihood at no effect and V its variance given the counts. So one fit serves all pairs, and sequences are read in
blocks: memory grows with the pairs tested, not with pairs times sequences.

U / V is a first estimate of the effect, in the units of the fit. A pair is called when it is above a minimum: where
one motif has a strong effect, its neighbours carry some information beyond its count, and with many sequences
such crumbs are significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse, special, stats

from satori_hpc import pairs
from satori_hpc.motifs.hits import Hits

COUNTED = 3  # a motif counts at most so often in a sequence: long runs of one motif are no stronger
RIDGE = 1e-6
STEPS = 50
LEAST = 10  # sequences with a pair in range that make it worth a test
LEAST_INFORMATION = 5.0  # V below which the normal approximation fails: few sequences, or counts explain nearly all
# Smallest effect, as a share of the larger of the effects of its two motifs, and of the mean effect of a hit. Chosen on
# seed 1 of benchmarks/yardsticks.py: U / V is well below the effect that a fit would find, so a larger share of the
# motifs' own effects loses pairs of motifs that are strong alone.
OF_LARGER = 0.02
OF_MEAN = 0.1
PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Block:
    """Some sequences.

    Attributes:
        examples: how many.
        hits: of motifs in them, after competition, sorted by example and start; `example` counts from 0 in the block.
        labels: (examples,) 0 and 1, or graded.
    """

    examples: int
    hits: Hits
    labels: np.ndarray


@dataclass(frozen=True)
class Fit:
    """The model without pairs.

    Attributes:
        coefficients: float64 (1 + motifs,), the intercept first; (1,) where the counts of motifs are not in it.
        information: float64 (coefficients, coefficients), X'WX with the ridge.
        scale: variance of the residuals of a linear fit; 1 of a logistic one.
        logistic: whether it is one.
        motifs: how many there are.
        mean_effect: mean |coefficient| over all hits.
    """

    coefficients: np.ndarray
    information: np.ndarray
    scale: float
    logistic: bool
    motifs: int
    mean_effect: float

    @property
    def own(self) -> np.ndarray:
        """float64 (motifs,), size of the effect of each motif; 0 where counts are not in the model."""
        return np.abs(self.coefficients[1:]) if len(self.coefficients) > 1 else np.zeros(self.motifs)

    def mean_weight(self, design: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Return mu and W of sequences with these ones and counts, float64 (examples,)."""
        eta = design @ self.coefficients
        if not self.logistic:
            return eta, np.ones(len(eta))
        mean = special.expit(eta)
        return mean, mean * (1 - mean)


@dataclass(frozen=True)
class PairTests:
    """The tested pairs of motifs, one entry each, sorted by first and second.

    Attributes:
        first, second: int64, numbers of the motifs, first < second.
        sequences: int64, in which the pair is within range.
        effect: float64, U / V: log-odds (logistic) or slope (linear) of the pair.
        error: float64, its standard error.
        margin: float64, the smallest effect that counts.
        z: float64, (effect - margin) / error.
        neg_log10_p: float64, one-sided.
        q: float64, Benjamini-Hochberg over the tested pairs.
    """

    first: np.ndarray
    second: np.ndarray
    sequences: np.ndarray
    effect: np.ndarray
    error: np.ndarray
    margin: np.ndarray
    z: np.ndarray
    neg_log10_p: np.ndarray
    q: np.ndarray


def fit(blocks: Sequence[Block], motifs: int, *, logistic: bool, counted: bool = True) -> Fit:
    """Fit labels by the counts of motifs, by Newton's method with halved steps.

    Args:
        blocks: of sequences; read once per step.
        motifs: number of motifs.
        logistic: labels are 0 and 1; else linear.
        counted: put the counts in; False = the intercept only, which compares positives with negatives as they are.
    """
    size = 1 + motifs * counted
    found = Fit(np.zeros(size), np.eye(size), 1.0, logistic, motifs, 0.0)
    loss, slope, information = _derivatives(blocks, found)
    for _ in range(STEPS):
        step = np.linalg.solve(information, slope)
        # Without this, rare motifs that separate the classes would throw the fit about.
        for halving in range(10):
            trial = replace(found, coefficients=found.coefficients + step / 2**halving)
            new_loss, new_slope, new_information = _derivatives(blocks, trial)
            if new_loss <= loss + 1e-9 * abs(loss):
                break
        done = loss - new_loss < 1e-10 * max(abs(loss), 1.0) and float(np.abs(new_slope).max()) < 1e-6 * max(loss, 1.0)
        found, loss, slope, information = trial, new_loss, new_slope, new_information
        if done or not logistic:
            break
    hits, squares, examples = np.zeros(motifs), 0.0, 0
    for block in blocks:
        hits += _counts(block, motifs).sum(axis=0)
        examples += block.examples
        design = _design(block, found)
        squares += float(np.square(block.labels - found.mean_weight(design)[0]).sum())
    total = float(hits.sum())
    freedom = max(1, examples - 1 - int(np.count_nonzero(hits)) * counted)
    return replace(
        found,
        information=information,
        scale=1.0 if logistic else squares / freedom,
        mean_effect=float(found.own @ hits / total) if total else 0.0,
    )


def measure(
    blocks: Sequence[Block],
    model: Fit,
    *,
    max_gap: int,
    of_larger: float = OF_LARGER,
    of_mean: float = OF_MEAN,
) -> PairTests:
    """Test every pair of different motifs that is within range in enough sequences.

    Two hits are within range when they do not overlap and the gap, end of the left one to start of the right one, is at
    most `max_gap` bp. Tested is whether the effect is above max(`of_mean` x the mean effect of a hit, `of_larger` x the
    larger of the effects of the two motifs).

    Args:
        blocks: those that were fitted.
        model: the fit.
        max_gap: bp.
        of_larger, of_mean: 0 = any effect above 0.
    """
    motifs = model.motifs
    sequences = np.zeros(pairs.count(motifs), dtype=np.int64)
    for block in blocks:
        sequences += np.bincount(within(block.hits, motifs, max_gap)[1], minlength=len(sequences))
    tested = np.flatnonzero(sequences >= LEAST)
    first, second = (members[tested].astype(np.int64) for members in pairs.filters_of(motifs))
    slope, variance = np.zeros(len(tested)), np.zeros(len(tested))
    for begin in range(0, len(tested), PAIRS_AT_ONCE):
        part = slice(begin, begin + PAIRS_AT_ONCE)
        slope[part], variance[part] = _slopes(blocks, model, tested[part], max_gap)
    enough = np.flatnonzero(variance >= LEAST_INFORMATION)
    tested, first, second = tested[enough], first[enough], second[enough]
    slope, variance = slope[enough], variance[enough]
    own = model.own
    margin = np.maximum(of_mean * model.mean_effect, of_larger * np.maximum(own[first], own[second]))
    effect, error = slope / variance, np.sqrt(model.scale / variance)
    z = (effect - margin) / error
    return PairTests(
        first=first,
        second=second,
        sequences=sequences[tested],
        effect=effect,
        error=error,
        margin=margin,
        z=z,
        neg_log10_p=-special.log_ndtr(-z) / np.log(10),
        q=stats.false_discovery_control(stats.norm.sf(z), method="bh") if len(tested) else np.zeros(0),
    )


def _derivatives(blocks: Sequence[Block], model: Fit) -> tuple[float, np.ndarray, np.ndarray]:
    """Return penalised loss (negative log-likelihood, or half the squares), minus its slope, and its curvature."""
    beta, size = model.coefficients, len(model.coefficients)
    penalty = RIDGE * np.eye(size)
    loss, slope, information = RIDGE / 2 * float(beta @ beta), -RIDGE * beta, penalty
    for block in blocks:
        design = _design(block, model)
        mean, weight = model.mean_weight(design)
        residual = block.labels - mean
        if model.logistic:
            eta = design @ beta
            loss += float((np.logaddexp(0, eta) - block.labels * eta).sum())
        else:
            loss += float(residual @ residual) / 2
        slope = slope + design.T @ residual
        information = information + (design.T @ (design * weight[:, None])).toarray()
    return loss, slope, information


def _counts(block: Block, motifs: int) -> sparse.csr_array:
    """Return capped counts, float64 (examples, motifs)."""
    hits = block.hits
    table = sparse.csr_array((np.ones(len(hits)), (hits.example, hits.motif)), shape=(block.examples, motifs))
    table.sum_duplicates()
    table.data = np.minimum(table.data, COUNTED)
    return table


def _design(block: Block, model: Fit) -> sparse.csr_array:
    """Return X: ones, and the counts where they are in the model."""
    ones = sparse.csr_array(np.ones((block.examples, 1)))
    if len(model.coefficients) == 1:
        return ones
    return sparse.csr_array(sparse.hstack([ones, _counts(block, model.motifs)], format="csr"))


def within(hits: Hits, motifs: int, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (example, number of the pair) of pairs of different motifs within range, each once, sorted.

    Args:
        hits: sorted by example and start.
        motifs: how many there are.
        max_gap: bp, from the end of the left hit to the start of the right one; hits that overlap are not in range.
    """
    found = [np.zeros(0, dtype=np.int64)]
    reach = max_gap + int((hits.end - hits.start).max(initial=0))
    for ahead in range(1, len(hits)):
        left, right = slice(0, len(hits) - ahead), slice(ahead, len(hits))
        near = (hits.example[left] == hits.example[right]) & (hits.start[right] - hits.start[left] <= reach)
        if not near.any():
            break
        gap = hits.start[right] - hits.end[left]
        row = np.flatnonzero(near & (gap >= 0) & (gap <= max_gap) & (hits.motif[left] != hits.motif[right]))
        a, b = hits.motif[row], hits.motif[row + ahead]
        number = pairs.index(np.minimum(a, b), np.maximum(a, b), filters=motifs)
        found.append(hits.example[row] * pairs.count(motifs) + number)
    example, number = np.divmod(np.unique(np.concatenate(found)), max(pairs.count(motifs), 1))
    return example, number


def _slopes(blocks: Sequence[Block], model: Fit, tested: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Return U, and V without the scale, of some pairs."""
    motifs, count = model.motifs, len(tested)
    slope, own, cross = np.zeros(count), np.zeros(count), np.zeros((count, len(model.coefficients)))
    for block in blocks:
        example, number = within(block.hits, motifs, max_gap)
        place = np.minimum(np.searchsorted(tested, number), count - 1)
        kept = tested[place] == number
        there = sparse.csr_array(
            (np.ones(int(kept.sum())), (place[kept], example[kept])), shape=(count, block.examples)
        )
        design = _design(block, model)
        mean, weight = model.mean_weight(design)
        slope += there @ (block.labels - mean)
        own += there @ weight
        cross += (there @ (design * weight[:, None])).toarray()
    return slope, own - np.einsum("pm,mp->p", cross, np.linalg.solve(model.information, cross.T))
