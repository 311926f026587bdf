"""Designs of simulated sets: which motifs a sequence holds, how they stand, and what makes it positive.

What attention, epistasis and every test of pairs can be fooled by, one thing at a time: motifs that only co-occur,
motifs that only add up, one motif that decides alone, pairs whose presence says nothing and whose distance says all.
Decoys stand as close together as true pairs, and at least as often.

A composition of motifs is kept when it fits into the sequence at its longest, in either class: what is too wide is
drawn again before the class plays a part, so that the motifs say of the class only what the design lets them say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.data.sources.simulate import pool, published
from satori_hpc.data.sources.simulate.instances import Pwm
from satori_hpc.data.sources.simulate.placement import TRIES, Plan, place_blocks
from satori_hpc.data.sources.simulate.pool import Pairs
from satori_hpc.errors import ConfigError

CLASSES = int.from_bytes(b"clas", "big")
LABEL = int.from_bytes(b"labl", "big")
REFERENCE = int.from_bytes(b"refe", "big")

CLOSE = (5, 20)  # gap within a pair, bp
PAIRS = 3  # of a sequence
ROLE_SHARES = (0.25, 0.45, 0.30)  # of true pairs, decoys and others among them
SINGLE_EFFECTS = (1.0, 0.8, 0.6, 0.4, -0.5, -1.0)  # of TFs in turn, logits per instance
PAIR_EFFECT = 5.0  # logits per true pair
ADDITIVE_SCALE = 2.0  # of the logits where there are no pairs: else labels would be hardly better than chance
REFERENCES = 1000  # compositions whose median logit is the middle of the labels
NEAR, FAR = (8, 15), (26, 40)  # arrange: gap within a true pair in positives, and in negatives
APART = 5  # smallest gap to a lone motif, bp
DISTRACTOR_SHARE = 0.5  # one-pair: of the sequences hold each
DECOY_SHARE = 0.6  # one-pair: of the sequences hold both TFs of the decoy; all others one of the two


class Design(Protocol):
    """What `draw` of sequence `example` gives: its label, and its motifs."""

    def draw(self, example: int, rng: np.random.Generator) -> tuple[int, Plan]: ...


def of(pwms: Sequence[Pwm], pairs: Pairs, config: Simulated, *, seed: int) -> Design:
    """The design that `config` names.

    Raises:
        ConfigError: pairs cannot be drawn as the options ask.
    """
    labels = balanced(config.examples, seed=seed)
    if config.design in ("published", "hard", "hard-matched"):
        return published.rules_of(pwms, pairs, config, labels)
    common = _Common(config, np.array([pwm.width for pwm in pwms]), pairs, seed)
    if config.design in ("grammar", "additive"):
        return Grammar(common)
    if config.design == "one-motif":
        return OneMotif(common, labels)
    return Arrange(common, labels) if config.design == "arrange" else OnePair(common, labels)


def balanced(examples: int, *, seed: int) -> np.ndarray:
    """uint8 (examples,), half of them 1, in random order."""
    labels = np.zeros(examples, dtype=np.uint8)
    labels[np.random.default_rng([seed, CLASSES]).permutation(examples)[: examples // 2]] = 1
    return labels


@dataclass(frozen=True)
class _Common:
    """What designs share: the options, widths of the motifs (bp), pairs by role, and the seed."""

    config: Simulated
    widths: np.ndarray
    pairs: Pairs
    seed: int

    def compose(self, draw: Callable[[], np.ndarray], fits: Callable[[np.ndarray], bool]) -> np.ndarray:
        """The first composition that fits of `TRIES` draws.

        Raises:
            ConfigError: none does.
        """
        for _ in range(TRIES):
            if fits(drawn := draw()):
                return drawn
        raise ConfigError(
            f"[prepare.simulated] design = {self.config.design!r}: no motifs that fit into length = "
            f"{self.config.length} were found in {TRIES} draws: raise length, or lower tfs"
        )

    def numbers_by_role(self, *, without: int = -1) -> list[np.ndarray]:
        """Numbers of the pairs of each role, those with the TF `without` left out."""
        usable = ~(self.pairs.all == without).any(axis=1)
        roles = np.array(self.pairs.roles)
        return [np.flatnonzero(usable & (roles == role)) for role in pool.ROLES]

    def place(
        self,
        numbers: np.ndarray,
        gaps: np.ndarray,
        lone: np.ndarray,
        *,
        apart: int,
        rng: np.random.Generator,
    ) -> Plan:
        """Pairs as blocks with these gaps inside, and lone TFs, anywhere at least `apart` bp from each other."""
        members = self.pairs.all[numbers].reshape(-1, 2)
        if self.config.order == "random":
            members = np.where(rng.random(len(members))[:, None] < 0.5, members[:, ::-1], members)
        widths = self.widths[members]
        blocks = np.concatenate([widths.sum(axis=1) + gaps, self.widths[lone]])
        starts = place_blocks(blocks, length=self.config.length, gap=apart, rng=rng)
        assert starts is not None  # `fits` said so
        left, rest = starts[: len(members)], starts[len(members) :]
        paired = np.stack([left, left + widths[:, 0] + gaps], axis=1).ravel()
        return Plan(
            tfs=np.concatenate([members.ravel(), lone]),
            starts=np.concatenate([paired, rest]),
            pair=np.concatenate([np.repeat(numbers, 2), np.full(len(lone), -1)]),
        )

    def fits(self, numbers: np.ndarray, widest_gap: int, lone: np.ndarray, *, apart: int) -> bool:
        """Whether such blocks fit."""
        pairs = self.widths[self.pairs.all[numbers]].sum() + widest_gap * len(numbers)
        between = apart * (len(numbers) + len(lone) - 1)
        return bool(pairs + self.widths[lone].sum() + between <= self.config.length)


def _by_role(of_role: list[np.ndarray], shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Numbers of `PAIRS` pairs, each of a role drawn by share and then any of that role; one may repeat."""
    drawn = rng.choice(len(of_role), size=PAIRS, p=shares)
    return np.array([of_role[role][rng.integers(len(of_role[role]))] for role in drawn])


def _gaps(limits: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(limits[0], limits[1] + 1, size=count)


NOBODY = np.zeros(0, dtype=np.int64)


class Grammar:
    """grammar: three close pairs; the logit adds effects of single TFs, and one of every true pair. additive: none."""

    def __init__(self, common: _Common) -> None:
        self.common = common
        self.additive = common.config.design == "additive"
        self.of_role = common.numbers_by_role()
        self.effects = np.resize(SINGLE_EFFECTS, len(common.widths))
        self.shares = _without_true(ROLE_SHARES) if self.additive else ROLE_SHARES
        logits = [
            self.logit(self._compose(np.random.default_rng([common.seed, REFERENCE, number])))
            for number in range(REFERENCES)
        ]
        self.middle = float(np.median(logits))

    def _compose(self, rng: np.random.Generator) -> np.ndarray:
        return self.common.compose(
            lambda: _by_role(self.of_role, self.shares, rng),
            lambda numbers: self.common.fits(numbers, CLOSE[1], NOBODY, apart=CLOSE[1] + 1),
        )

    def logit(self, numbers: np.ndarray) -> float:
        """Of a sequence with these pairs, before the middle is taken off."""
        single = float(self.effects[self.common.pairs.all[numbers]].sum())
        if self.additive:
            return ADDITIVE_SCALE * single
        return single + PAIR_EFFECT * int((numbers < len(self.common.pairs.true)).sum())

    def draw(self, example: int, rng: np.random.Generator) -> tuple[int, Plan]:
        numbers = self._compose(rng)
        plan = self.common.place(numbers, _gaps(CLOSE, PAIRS, rng), NOBODY, apart=CLOSE[1] + 1, rng=rng)
        chance = 1 / (1 + np.exp(self.middle - self.logit(numbers)))
        uniform = np.random.default_rng([self.common.seed, LABEL, example]).random()
        return int(uniform < chance), plan


def _without_true(shares: Sequence[float]) -> tuple[float, ...]:
    return (0.0, shares[0] + shares[1], shares[2])


class OneMotif:
    """one-motif: three close pairs as in `additive`, and in positives one TF more, alone: it decides."""

    def __init__(self, common: _Common, labels: np.ndarray) -> None:
        self.common, self.labels = common, labels
        self.decider = np.array([pool.deciding_tf(len(common.widths), seed=common.seed)])
        self.of_role = common.numbers_by_role(without=int(self.decider[0]))

    def draw(self, example: int, rng: np.random.Generator) -> tuple[int, Plan]:
        common, label = self.common, int(self.labels[example])
        numbers = common.compose(
            lambda: _by_role(self.of_role, _without_true(ROLE_SHARES), rng),
            lambda drawn: common.fits(drawn, CLOSE[1], self.decider, apart=APART),
        )
        lone = self.decider if label else NOBODY
        return label, common.place(numbers, _gaps(CLOSE, PAIRS, rng), lone, apart=APART, rng=rng)


class Arrange:
    """arrange: two true pairs and a decoy in every sequence; true pairs stand near in positives and far in negatives.

    Decoys stand near or far in both. There are half as many of them, so that each is near as often as a true pair.
    """

    def __init__(self, common: _Common, labels: np.ndarray) -> None:
        self.common, self.labels = common, labels

    def draw(self, example: int, rng: np.random.Generator) -> tuple[int, Plan]:
        common, label = self.common, int(self.labels[example])
        true, decoys = len(common.pairs.true), len(common.pairs.decoy)
        apart = NEAR[1] + 1
        numbers = common.compose(
            lambda: np.append(rng.choice(true, size=2, replace=False), true + rng.integers(decoys)),
            lambda drawn: common.fits(drawn, FAR[1], NOBODY, apart=apart),
        )
        near = (bool(label), bool(label), bool(rng.integers(2)))
        gaps = np.array([_gaps(NEAR if one else FAR, 1, rng)[0] for one in near])
        return label, common.place(numbers, gaps, NOBODY, apart=apart, rng=rng)


class OnePair:
    """one-pair: positives hold both TFs of the true pair, negatives one of them, at any distance (DFIM's own set).

    The decoy is a pair like it of which all sequences hold both or one, whatever their class; other TFs distract.
    """

    def __init__(self, common: _Common, labels: np.ndarray) -> None:
        self.common, self.labels = common, labels
        true, decoy = common.pairs.true[0], common.pairs.decoy[0]
        self.distractors = np.setdiff1d(np.arange(len(common.widths)), [*true, *decoy])

    def draw(self, example: int, rng: np.random.Generator) -> tuple[int, Plan]:
        common, label = self.common, int(self.labels[example])
        true, decoy = common.pairs.true[0], common.pairs.decoy[0]
        there = common.compose(
            lambda: self.distractors[rng.random(len(self.distractors)) < DISTRACTOR_SHARE],
            lambda drawn: common.fits(NOBODY, 0, np.concatenate([true, decoy, drawn]), apart=APART),
        )
        both = (label == 1, rng.random() < DECOY_SHARE)
        present = [_one_or_both(pair, flag, rng) for pair, flag in zip((true, decoy), both, strict=True)]
        plan = common.place(NOBODY, NOBODY, np.concatenate([*present, there]), apart=APART, rng=rng)
        pair = np.full(len(plan.tfs), -1)
        for number, found in enumerate(present):
            if len(found) == 2:
                pair[np.isin(plan.tfs, found)] = number
        return label, Plan(plan.tfs, plan.starts, pair)


def _one_or_both(pair: np.ndarray, both: bool, rng: np.random.Generator) -> np.ndarray:
    return pair if both else pair[[int(rng.integers(2))]]
