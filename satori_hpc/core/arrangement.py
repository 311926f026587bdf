"""Which motifs a simulated sequence holds, and where: the rules of both designs of negatives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.core import balance, layout, pairs
from satori_hpc.core.instances import Pwm
from satori_hpc.errors import ConfigError


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


def rules(pwms: Sequence[Pwm], listed: np.ndarray, config: Simulated) -> Rules:
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
        shares = balance.matched_shares(unlisted, np.bincount(listed.ravel(), minlength=len(pwms)))
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
    chosen = balance.draw(shares, count, rng) if shares is not None else _any(len(choices), count, rng)
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
    starts = layout.place_blocks(rules.widths[tfs], length=config.length, gap=config.negative_gap, rng=rng)
    return None if starts is None else Plan(tfs, starts, np.full(count, -1))


def _holds_listed(rules: Rules, plan: Plan) -> bool:
    """Is any listed pair in range? Only when the gaps between blocks are set smaller than those within pairs."""
    gaps = layout.gaps_between(plan.starts, plan.starts + rules.widths[plan.tfs])
    return bool((rules.is_listed[plan.tfs[:, None], plan.tfs[None, :]] & (gaps <= rules.config.pair_gap_max)).any())
