"""Simulated sequences: background letters with implanted motifs, listed pairs of which make a sequence positive.

Data-40, -60 and -80 of SATORI 2.0 (lqaf209) are the default rules with 20, 25 and 30 TFs. There a negative holds one
to three lone motifs, so counting motifs tells the classes apart. In the hard design a negative holds as many motifs
as a positive, as close together, but in pairs that are not listed.

All randomness of a sequence is keyed by (seed, its number), given its class: no other sequence
and no number of processes changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc import pairs
from satori_hpc.config import Simulated
from satori_hpc.data import sequence
from satori_hpc.data.sources.simulate import instances
from satori_hpc.data.sources.simulate.instances import Pwm
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


def simulate(pwms: Sequence[Pwm], listed: np.ndarray, config: Simulated, *, seed: int) -> SimulatedSet:
    """Make a labelled set.

    Args:
        pwms: the pool.
        listed: int (pairs, 2), the interacting pairs as numbers of TFs of the pool.
        config: the rules.

    Raises:
        ConfigError: the motifs do not fit into a sequence, or no negative obeys the rules.
    """
    rules = rules_of(pwms, listed, config)
    labels = np.zeros(config.examples, dtype=np.uint8)
    order = np.random.default_rng([seed, CLASSES]).permutation(config.examples)
    labels[order[: config.examples // 2]] = 1
    letters = np.cumsum(np.asarray(config.base_frequencies, dtype=np.float64))[:3]
    tokens = np.empty((config.examples, config.length), dtype=np.uint8)
    rows: list[tuple[int, ...]] = []
    mended = 0
    for example in range(config.examples):
        rng = np.random.default_rng([seed, SEQUENCE, example])
        plan = draw(rules, positive=bool(labels[example]), rng=rng)
        tokens[example] = np.searchsorted(letters, rng.random(config.length), side="right")
        for motif in np.argsort(plan.starts).tolist():
            tf, start = int(plan.tfs[motif]), int(plan.starts[motif])
            site, strand, was_mended = _site(pwms[tf], config, rng)
            tokens[example, start : start + len(site)] = site
            rows.append((example, tf, start, start + len(site), strand, int(plan.pair[motif])))
            mended += was_mended
    columns = np.array(rows, dtype=np.int64).reshape(-1, 6).T
    return SimulatedSet(tokens, labels, Instances(*columns), mended)


def _site(pwm: Pwm, config: Simulated, rng: np.random.Generator) -> tuple[np.ndarray, int, bool]:
    """(letters as the sequence will read them, strand, whether they were mended)."""
    site, mended = instances.draw(pwm, rng, fraction=config.min_score_fraction, tries=config.instance_tries)
    if config.strand == "both" and rng.random() < 0.5:
        return sequence.reverse_complement(site), -1, mended
    return site, 1, mended


# Which motifs a simulated sequence holds, and where: the rules of both designs of negatives.


@dataclass(frozen=True)
class Plan:
    """The motifs of one sequence: TF numbers, starts, pair numbers; int64, one entry per motif."""

    tfs: np.ndarray
    starts: np.ndarray
    pair: np.ndarray


@dataclass(frozen=True)
class Rules:
    """The options, and what follows from them for every sequence.

    Attributes:
        config: the options.
        widths: int (tfs,), of the motifs, bp.
        listed, unlisted: int (pairs, 2), pairs of TFs that interact and that do not.
        unlisted_shares: (pairs,) how often each unlisted pair is drawn; None = all alike.
        is_listed: bool (tfs, tfs).
    """

    config: Simulated
    widths: np.ndarray
    listed: np.ndarray
    unlisted: np.ndarray
    unlisted_shares: np.ndarray | None
    is_listed: np.ndarray


def rules_of(pwms: Sequence[Pwm], listed: np.ndarray, config: Simulated) -> Rules:
    """What the options mean for this pool and these interacting pairs.

    Raises:
        ConfigError: unlisted pairs cannot be drawn as the options ask.
    """
    first, second = pairs.filters_of(len(pwms))
    everything = np.stack([first, second], axis=1).astype(np.int64)
    is_listed = np.zeros((len(pwms), len(pwms)), dtype=bool)
    is_listed[listed[:, 0], listed[:, 1]] = True
    is_listed |= is_listed.T
    unlisted = everything[~is_listed[first, second]]
    return Rules(
        config=config,
        widths=np.array([pwm.width for pwm in pwms]),
        listed=listed,
        unlisted=unlisted,
        unlisted_shares=_unlisted_shares(pwms, listed, unlisted, config),
        is_listed=is_listed,
    )


def _unlisted_shares(
    pwms: Sequence[Pwm], listed: np.ndarray, unlisted: np.ndarray, config: Simulated
) -> np.ndarray | None:
    """How often each unlisted pair is drawn for a hard negative; None = all alike."""
    if config.design != "hard" or config.negative_tfs != "matched":
        return None
    advice = "use negative_tfs = 'uniform', lower pairs, raise tfs, or change seed"
    try:
        shares = matched_shares(unlisted, np.bincount(listed.ravel(), minlength=len(pwms)))
    except ValueError as error:
        raise ConfigError(
            f"[prepare.simulated] negative_tfs = 'matched': {pwms[int(str(error))].name} is in so many listed pairs "
            f"that unlisted ones cannot make it as common in negatives; {advice}"
        ) from None
    if shares.max() * config.pairs_per_positive_max > 1:
        a, b = unlisted[int(shares.argmax())].tolist()
        raise ConfigError(
            f"[prepare.simulated] negative_tfs = 'matched': {pwms[a].name} with {pwms[b].name} would have to occur "
            f"more than once in a negative; {advice}"
        )
    return shares


def draw(rules: Rules, *, positive: bool, rng: np.random.Generator) -> Plan:
    """Draw motifs and places of one sequence until they obey the rules.

    Raises:
        ConfigError: none of `placement_tries` draws did.
    """
    config = rules.config
    for _ in range(config.placement_tries):
        if positive:
            plan = _pairs_plan(rules, rules.listed, None, rng)
        elif config.design == "hard":
            plan = _pairs_plan(rules, rules.unlisted, rules.unlisted_shares, rng)
        else:
            plan = _lone_plan(rules, rng)
        if plan is None:
            continue
        if positive:
            return plan
        if not _holds_listed(rules, plan):
            return Plan(plan.tfs, plan.starts, np.full(len(plan.tfs), -1))
    kind = "positive" if positive else "negative"
    raise ConfigError(
        f"[prepare.simulated] no {kind} sequence that obeys the rules was found in placement_tries = "
        f"{config.placement_tries} draws of its motifs: raise length or tfs, or lower gaps or motifs per sequence"
    )


def _pairs_plan(rules: Rules, choices: np.ndarray, shares: np.ndarray | None, rng: np.random.Generator) -> Plan | None:
    """Some of the pairs in `choices`, each as one block of two motifs; None when they share a TF or do not fit."""
    config = rules.config
    count = int(rng.integers(config.pairs_per_positive_min, config.pairs_per_positive_max + 1))
    chosen = draw_choices(shares, count, rng) if shares is not None else _any(len(choices), count, rng)
    members = choices[chosen]
    if not config.shared_tfs and len(np.unique(members)) < members.size:
        return None
    if config.order == "random":
        turned = rng.random(count) < 0.5
        members = np.where(turned[:, None], members[:, ::-1], members)
    gaps = rng.integers(config.pair_gap_min, config.pair_gap_max + 1, size=count)
    widths = rules.widths[members]
    blocks = place_blocks(widths.sum(axis=1) + gaps, length=config.length, gap=config.between_pairs_gap, rng=rng)
    if blocks is None:
        return None
    starts = np.stack([blocks, blocks + widths[:, 0] + gaps], axis=1)
    return Plan(members.ravel(), starts.ravel(), np.repeat(chosen, 2))


def _any(choices: int, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(choices, size=count, replace=False)


def _lone_plan(rules: Rules, rng: np.random.Generator) -> Plan | None:
    """Lone motifs far from each other; None when they do not fit."""
    config = rules.config
    count = int(rng.integers(config.negative_motifs_min, config.negative_motifs_max + 1))
    if count > len(rules.widths) and not config.negative_repeats:
        return None
    tfs = rng.choice(len(rules.widths), size=count, replace=config.negative_repeats)
    starts = place_blocks(rules.widths[tfs], length=config.length, gap=config.negative_gap, rng=rng)
    return None if starts is None else Plan(tfs, starts, np.full(count, -1))


def _holds_listed(rules: Rules, plan: Plan) -> bool:
    """Is any listed pair in range? Only when the gaps between blocks are set smaller than those within pairs."""
    gaps = gaps_between(plan.starts, plan.starts + rules.widths[plan.tfs])
    return bool((rules.is_listed[plan.tfs[:, None], plan.tfs[None, :]] & (gaps <= rules.config.pair_gap_max)).any())


# Unlisted pairs drawn so that a TF is as common among them as among the listed ones.
#
# Drawn alike, unlisted pairs rarely hold a TF that has many listed pairs: which TFs a sequence holds, in any
# arrangement, then tells the classes apart with an AUROC of 0.7 to 0.9 (12 to 30 TFs), and a network need not look at
# pairs at all.

ROUNDS = 5000
TOLERANCE = 1e-6


def matched_shares(choices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Shares of pairs under which every TF has its wanted share; of all such the most even (largest entropy).

    They have the form x_a * x_b, found by iterative proportional fitting.

    Args:
        choices: int (pairs, 2), the pairs that may be drawn.
        wanted: (tfs,), how common each TF must be, on any scale.

    Returns:
        float64 (pairs,), sums to 1.

    Raises:
        ValueError: no shares do this; the message is the number of the TF that stays rarest.
    """
    wanted = wanted / wanted.sum()
    first, second = choices[:, 0], choices[:, 1]
    factors = wanted.copy()
    shares = np.full(len(choices), 1 / len(choices))
    for _ in range(ROUNDS):
        shares = factors[first] * factors[second]
        shares = shares / shares.sum()
        found = (np.bincount(first, shares, len(wanted)) + np.bincount(second, shares, len(wanted))) / 2
        if np.abs(found - wanted).max() < TOLERANCE:
            return shares
        # The root damps the alternation that a symmetric fit falls into otherwise.
        factors = factors * np.sqrt(np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0))
        # What cannot be fitted drifts to 0; it must not get there, or all shares would.
        factors = np.maximum(factors / factors.max(), 1e-150)
    raise ValueError(str(int((wanted - found).argmax())))


def draw_choices(shares: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of `count` different pairs; pair k is among them with probability count * shares[k], exactly.

    Systematic sampling over a random order: equally spaced marks on the running sum.

    Args:
        shares: (pairs,), sums to 1, none above 1 / count.
    """
    order = rng.permutation(len(shares))
    marks = (rng.random() + np.arange(count)) / count
    places = np.searchsorted(np.cumsum(shares[order]), marks, side="right")
    return order[np.minimum(places, len(shares) - 1)]


# Where the motifs of one sequence go.


def place_blocks(widths: np.ndarray, *, length: int, gap: int, rng: np.random.Generator) -> np.ndarray | None:
    """Starts of blocks on a sequence, at least `gap` bp between neighbours; uniform over all such placements.

    The free positions are shared out directly, so no try is wasted and crowded sequences are not biased towards
    narrow motifs, as drawing starts until they are apart would be.

    Args:
        widths: int (blocks,), bp.
        length: of the sequence, bp.
        gap: least distance, end of one block to start of the next, bp.

    Returns:
        int64 (blocks,) in the order of `widths`, which along the sequence is random; None when they do not fit.
    """
    blocks = len(widths)
    free = length - int(np.sum(widths)) - gap * max(blocks - 1, 0)
    if free < 0:
        return None
    order = rng.permutation(blocks)
    # Bars among stars: every way to share `free` positions over the blocks + 1 spaces has the same chance.
    bars = np.sort(rng.choice(free + blocks, size=blocks, replace=False)) - np.arange(blocks)
    ahead = np.concatenate([[0], np.cumsum(widths[order])[:-1]]) if blocks else np.zeros(0, dtype=np.int64)
    starts = np.empty(blocks, dtype=np.int64)
    starts[order] = bars + ahead + gap * np.arange(blocks)
    return starts


def gaps_between(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Gap of every two intervals, (k, k) bp: end of the left one to start of the right one; negative = overlap."""
    return np.maximum(starts[:, None], starts[None, :]) - np.minimum(ends[:, None], ends[None, :])
