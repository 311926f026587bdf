"""Simulated sequences: background letters with implanted motifs, listed pairs of which make a sequence positive.

Data-40, -60 and -80 of SATORI 2.0 (lqaf209) are the default rules with 20, 25 and 30 TFs. There a negative holds one
to three lone motifs, so counting motifs tells the classes apart. In the hard design a negative holds as many motifs
as a positive, as close together, but in pairs that are not listed.

All randomness of a sequence is keyed by (seed, its number): neither the number of sequences made at once nor that of
processes changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.core import instances, layout, pairs, sequence
from satori_hpc.core.instances import Pwm
from satori_hpc.errors import ConfigError

CLASSES = int.from_bytes(b"clas", "big")
SEQUENCE = int.from_bytes(b"seqn", "big")


@dataclass(frozen=True)
class Instances:
    """Every implanted motif, one entry each, by sequence and then by start.

    Attributes:
        example: number of the sequence.
        tf: number of the TF in the pool.
        start, end: 0-based, half-open.
        strand: 1 forward, -1 reverse.
        pair: row of the list of interacting pairs, -1 in negatives.
    """

    example: np.ndarray
    tf: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    pair: np.ndarray


@dataclass(frozen=True)
class SimulatedSet:
    """What `simulate` makes.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples,), 1 = positive; exactly half are.
        instances: what was implanted where.
        mended: instances that were mended because no draw scored high enough.
    """

    tokens: np.ndarray
    labels: np.ndarray
    instances: Instances
    mended: int


@dataclass(frozen=True)
class _Plan:
    """The motifs of one sequence: TF numbers, starts, pair numbers; int64, one entry per motif."""

    tfs: np.ndarray
    starts: np.ndarray
    pair: np.ndarray


@dataclass(frozen=True)
class _Rules:
    """The options, and what follows from them for every sequence."""

    config: Simulated
    widths: np.ndarray
    listed: np.ndarray
    unlisted: np.ndarray
    is_listed: np.ndarray
    cumulative: np.ndarray


def simulate(pwms: Sequence[Pwm], listed: np.ndarray, config: Simulated, *, seed: int) -> SimulatedSet:
    """Make a labelled set.

    Args:
        pwms: the pool.
        listed: int (pairs, 2), the interacting pairs as numbers of TFs of the pool.
        config: the rules.

    Raises:
        ConfigError: the motifs do not fit into a sequence, or no negative obeys the rules.
    """
    rules = _rules(pwms, listed, config)
    labels = np.zeros(config.examples, dtype=np.uint8)
    order = np.random.default_rng([seed, CLASSES]).permutation(config.examples)
    labels[order[: config.examples // 2]] = 1
    tokens = np.empty((config.examples, config.length), dtype=np.uint8)
    rows: list[tuple[int, int, int, int, int, int]] = []
    mended = 0
    for example in range(config.examples):
        rng = np.random.default_rng([seed, SEQUENCE, example])
        plan = _plan(rules, bool(labels[example]), rng)
        row = np.searchsorted(rules.cumulative, rng.random(config.length), side="right").astype(np.uint8)
        for tf, start, pair in sorted(
            zip(*map(np.ndarray.tolist, (plan.tfs, plan.starts, plan.pair)), strict=True), key=lambda motif: motif[1]
        ):
            site, was_mended = instances.draw(
                pwms[tf], rng, fraction=config.min_score_fraction, tries=config.instance_tries
            )
            mended += was_mended
            strand = 1
            if config.strand == "both" and rng.random() < 0.5:
                strand, site = -1, sequence.reverse_complement(site)
            row[start : start + len(site)] = site
            rows.append((example, tf, start, start + len(site), strand, pair))
        tokens[example] = row
    columns = np.array(rows, dtype=np.int64).reshape(-1, 6).T
    return SimulatedSet(tokens, labels, Instances(*columns), mended)


def _rules(pwms: Sequence[Pwm], listed: np.ndarray, config: Simulated) -> _Rules:
    first, second = pairs.filters_of(len(pwms))
    everything = np.stack([first, second], axis=1).astype(np.int64)
    is_listed = np.zeros((len(pwms), len(pwms)), dtype=bool)
    is_listed[listed[:, 0], listed[:, 1]] = True
    is_listed |= is_listed.T
    cumulative = np.cumsum(np.asarray(config.base_frequencies, dtype=np.float64))[:3]
    return _Rules(
        config=config,
        widths=np.array([pwm.width for pwm in pwms]),
        listed=listed,
        unlisted=everything[~is_listed[first, second]],
        is_listed=is_listed,
        cumulative=cumulative,
    )


def _plan(rules: _Rules, positive: bool, rng: np.random.Generator) -> _Plan:
    """Draw motifs and places until they obey the rules."""
    config = rules.config
    for _ in range(config.placement_tries):
        if positive:
            plan = _pairs_plan(rules, rules.listed, rng)
        elif config.design == "hard":
            plan = _pairs_plan(rules, rules.unlisted, rng)
        else:
            plan = _lone_plan(rules, rng)
        if plan is None:
            continue
        if positive:
            return plan
        if not _holds_listed(rules, plan):
            return _Plan(plan.tfs, plan.starts, np.full(len(plan.tfs), -1))
    kind = "positive" if positive else "negative"
    raise ConfigError(
        f"[prepare.simulated] no {kind} sequence that obeys the rules was found in placement_tries = "
        f"{config.placement_tries} draws of its motifs: raise length or tfs, or lower gaps or motifs per sequence"
    )


def _pairs_plan(rules: _Rules, choices: np.ndarray, rng: np.random.Generator) -> _Plan | None:
    """Some of the pairs in `choices`, each as one block of two motifs; None when they share a TF or do not fit."""
    config = rules.config
    count = int(rng.integers(config.pairs_per_positive_min, config.pairs_per_positive_max + 1))
    chosen = rng.choice(len(choices), size=count, replace=False)
    members = choices[chosen]
    if not config.shared_tfs and len(np.unique(members)) < members.size:
        return None
    if config.order == "random":
        turned = rng.random(count) < 0.5
        members = np.where(turned[:, None], members[:, ::-1], members)
    gaps = rng.integers(config.pair_gap_min, config.pair_gap_max + 1, size=count)
    widths = rules.widths[members]
    blocks = layout.place_blocks(widths.sum(axis=1) + gaps, length=config.length, gap=config.between_pairs_gap, rng=rng)
    if blocks is None:
        return None
    starts = np.stack([blocks, blocks + widths[:, 0] + gaps], axis=1)
    return _Plan(members.ravel(), starts.ravel(), np.repeat(chosen, 2))


def _lone_plan(rules: _Rules, rng: np.random.Generator) -> _Plan | None:
    """Lone motifs far from each other; None when they do not fit."""
    config = rules.config
    count = int(rng.integers(config.negative_motifs_min, config.negative_motifs_max + 1))
    if count > len(rules.widths) and not config.negative_repeats:
        return None
    tfs = rng.choice(len(rules.widths), size=count, replace=config.negative_repeats)
    starts = layout.place_blocks(rules.widths[tfs], length=config.length, gap=config.negative_gap, rng=rng)
    return None if starts is None else _Plan(tfs, starts, np.full(count, -1))


def _holds_listed(rules: _Rules, plan: _Plan) -> bool:
    """Is any listed pair in range? Only when the gaps between blocks are set smaller than those within pairs."""
    gaps = layout.gaps_between(plan.starts, plan.starts + rules.widths[plan.tfs])
    return bool((rules.is_listed[plan.tfs[:, None], plan.tfs[None, :]] & (gaps <= rules.config.pair_gap_max)).any())
