"""The designs of SATORI 2.0 and their harder forms: listed pairs make a sequence positive.

Data-40, -60 and -80 (lqaf209) are the default rules with 20, 25 and 30 TFs. There a negative holds one to three lone
motifs, so counting motifs tells the classes apart. In the hard designs a negative holds as many motifs as a positive,
as close together, but in pairs that are not listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.data.sources.simulate.instances import Pwm
from satori_hpc.data.sources.simulate.placement import TRIES, Plan, gaps_between, place_blocks
from satori_hpc.data.sources.simulate.pool import Pairs
from satori_hpc.errors import ConfigError


@dataclass(frozen=True)
class Rules:
    """The options, and what follows from them for every sequence.

    Attributes:
        config: the options.
        widths: int (tfs,), of the motifs, bp.
        listed, unlisted: int (pairs, 2), pairs of TFs that interact and that do not.
        unlisted_shares: (pairs,) how often each unlisted pair is drawn; None = all alike.
        is_listed: bool (tfs, tfs).
        labels: uint8 (examples,), 1 = positive.
    """

    config: Simulated
    widths: np.ndarray
    listed: np.ndarray
    unlisted: np.ndarray
    unlisted_shares: np.ndarray | None
    is_listed: np.ndarray
    labels: np.ndarray

    def draw(self, example: int, rng: np.random.Generator) -> tuple[int, Plan]:
        """Label and motifs of a sequence, drawn until they obey the rules.

        Raises:
            ConfigError: none of `TRIES` draws did.
        """
        positive = bool(self.labels[example])
        return int(positive), _draw(self, positive=positive, rng=rng)


def rules_of(pwms: Sequence[Pwm], pairs: Pairs, config: Simulated, labels: np.ndarray) -> Rules:
    """What the options mean for this pool and these interacting pairs.

    Raises:
        ConfigError: unlisted pairs cannot be drawn as the options ask.
    """
    listed = pairs.true
    is_listed = np.zeros((len(pwms), len(pwms)), dtype=bool)
    is_listed[listed[:, 0], listed[:, 1]] = True
    return Rules(
        config=config,
        widths=np.array([pwm.width for pwm in pwms]),
        listed=listed,
        unlisted=pairs.other,
        unlisted_shares=_unlisted_shares(pwms, listed, pairs.other, config),
        is_listed=is_listed | is_listed.T,
        labels=labels,
    )


def _unlisted_shares(
    pwms: Sequence[Pwm], listed: np.ndarray, unlisted: np.ndarray, config: Simulated
) -> np.ndarray | None:
    """How often each unlisted pair is drawn for a hard negative; None = all alike."""
    if config.design != "hard-matched":
        return None
    advice = "use design = 'hard', lower pairs, raise tfs, or change seed"
    try:
        shares = matched_shares(unlisted, np.bincount(listed.ravel(), minlength=len(pwms)))
    except ValueError as error:
        raise ConfigError(
            f"[prepare.simulated] design = 'hard-matched': {pwms[int(str(error))].name} is in so many listed pairs "
            f"that unlisted ones cannot make it as common in negatives; {advice}"
        ) from None
    if shares.max() * config.pairs_per_positive_max > 1:
        a, b = unlisted[int(shares.argmax())].tolist()
        raise ConfigError(
            f"[prepare.simulated] design = 'hard-matched': {pwms[a].name} with {pwms[b].name} would have to occur "
            f"more than once in a negative; {advice}"
        )
    return shares


def _draw(rules: Rules, *, positive: bool, rng: np.random.Generator) -> Plan:
    config = rules.config
    for _ in range(TRIES):
        if positive:
            plan = _pairs_plan(rules, rules.listed, None, rng)
        elif config.design == "published":
            plan = _lone_plan(rules, rng)
        else:
            plan = _pairs_plan(rules, rules.unlisted, rules.unlisted_shares, rng, first=len(rules.listed))
        if plan is not None and (positive or not _holds_listed(rules, plan)):
            return plan
    kind = "positive" if positive else "negative"
    raise ConfigError(
        f"[prepare.simulated] no {kind} sequence that obeys the rules was found in {TRIES} draws of its motifs: "
        "raise length or tfs, or lower gaps or motifs per sequence"
    )


def _pairs_plan(
    rules: Rules, choices: np.ndarray, shares: np.ndarray | None, rng: np.random.Generator, *, first: int = 0
) -> Plan | None:
    """Some of the pairs in `choices`, each as one block of two motifs; None when they share a TF or do not fit.

    `first` is the number of the first of these pairs.
    """
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
    return Plan(members.ravel(), starts.ravel(), np.repeat(first + chosen, 2))


def _any(choices: int, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(choices, size=count, replace=False)


def _lone_plan(rules: Rules, rng: np.random.Generator) -> Plan | None:
    """Lone motifs far from each other; None when they do not fit."""
    config = rules.config
    count = int(rng.integers(config.negative_motifs_min, config.negative_motifs_max + 1))
    if count > len(rules.widths):
        return None
    tfs = rng.choice(len(rules.widths), size=count, replace=False)
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
