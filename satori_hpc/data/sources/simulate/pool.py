"""Draw the TF panel of a simulated set, and the pairs that interact."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc import pairs
from satori_hpc.config import Simulated
from satori_hpc.errors import ConfigError
from satori_hpc.motifs import collection, motif, names
from satori_hpc.motifs.motif import Motif

POOL = int.from_bytes(b"pool", "big")
PAIRS = int.from_bytes(b"pair", "big")
DECOYS = int.from_bytes(b"deco", "big")
DECIDER = int.from_bytes(b"deci", "big")
ROLES = ("true", "decoy", "other")
NARROWEST, WIDEST = 6, 20  # motifs drawn, bp
DRAWS = 1000
SWAPS_PER_PAIR = 50


def select(motifs: Sequence[Motif], config: Simulated, *, seed: int) -> list[Motif]:
    """Draw the pool: motifs in random order, each taken when it fits the options and resembles none before it.

    Args:
        motifs: of the database, with counts.
        config: information and similarity limits; the number of TFs.

    Returns:
        `config.tfs` motifs of different TFs, sorted by TF name.

    Raises:
        ConfigError: the database cannot fill the pool under these limits.
    """
    usable = [
        item
        for item in motifs
        if NARROWEST <= item.width <= WIDEST
        and float(motif.information(item.ppm).sum()) >= config.motif_information_min
        and item.counts is not None
    ]
    chosen: list[Motif] = []
    keys: set[str] = set()
    for index in np.random.default_rng([seed, POOL]).permutation(len(usable)):
        item = usable[index]
        if names.compared(item.name) in keys:
            continue
        alike = collection.similarities(item.ppm, [other.ppm for other in chosen])
        if np.any(alike > config.motif_similarity_max):
            continue
        chosen.append(item)
        keys.add(names.compared(item.name))
        if len(chosen) == config.tfs:
            return sorted(chosen, key=lambda each: each.name)
    raise ConfigError(
        f"[prepare.simulated] tfs = {config.tfs}: only {len(chosen)} motifs of different TFs were found among "
        f"{len(motifs)} ({len(usable)} of {NARROWEST} to {WIDEST} bp and motif_information_min bits); "
        "raise motif_similarity_max, or lower motif_information_min or tfs"
    )


def draw_pairs(tfs: int, count: int, *, seed: int) -> np.ndarray:
    """Draw the interacting pairs, uniformly from all sets of pairs in which every TF occurs.

    Sets are drawn until one covers every TF. When the set is so small that this hardly happens, a covering set is
    built and mixed by random swaps of one pair that keep it covering.

    Args:
        tfs: number of TFs.
        count: number of pairs, at least tfs / 2.

    Returns:
        int64 (count, 2), first < second, in row-major order.
    """
    rng = np.random.default_rng([seed, PAIRS])
    first, second = pairs.filters_of(tfs)
    total = len(first)
    for _ in range(DRAWS):
        chosen = np.sort(rng.choice(total, size=count, replace=False))
        if len(np.union1d(first[chosen], second[chosen])) == tfs:
            break
    else:
        chosen = np.sort(_swapped(_cover(tfs, count, rng), first, second, rng))
    return np.stack([first[chosen], second[chosen]], axis=1).astype(np.int64)


@dataclass(frozen=True)
class Pairs:
    """All pairs of the pool, by role; each int64 (pairs, 2), first < second.

    Attributes:
        true: they interact.
        decoy: they stand as close together as true pairs, and at least as often, and do not interact.
        other: all the rest.
    """

    true: np.ndarray
    decoy: np.ndarray
    other: np.ndarray

    @staticmethod
    def of(tfs: int, true: np.ndarray, decoy: np.ndarray | None = None) -> "Pairs":
        """What is neither true nor decoy among `tfs` TFs is other."""
        decoy = np.zeros((0, 2), dtype=np.int64) if decoy is None else decoy
        role = np.full(pairs.count(tfs), 2)
        for number, members in ((1, decoy), (0, true)):
            role[pairs.index(members[:, 0], members[:, 1], filters=tfs)] = number
        return Pairs(true, decoy, np.stack(pairs.filters_of(tfs), axis=1).astype(np.int64)[role == 2])

    @property
    def all(self) -> np.ndarray:
        """int64 (pairs, 2): true ones, then decoys, then others; a row is the pair's number."""
        return np.concatenate([self.true, self.decoy, self.other])

    @property
    def roles(self) -> list[str]:
        """Role of each row of `all`."""
        counts = (len(self.true), len(self.decoy), len(self.other))
        return [role for role, count in zip(ROLES, counts, strict=True) for _ in range(count)]


def draw_roles(config: Simulated, *, seed: int) -> Pairs:
    """Draw which pairs interact, and which are decoys, as the design has them."""
    tfs, count = config.tfs, config.pairs
    if config.design == "one-pair":
        four = np.random.default_rng([seed, PAIRS]).permutation(tfs)[:4].reshape(2, 2)
        true, decoy = np.sort(four, axis=1)[:, None, :]
        return Pairs.of(tfs, true, decoy)
    if config.design == "one-motif":
        decider = deciding_tf(tfs, seed=seed)
        others = np.delete(np.arange(tfs), decider)
        drawn = others[draw_pairs(tfs - 1, count, seed=seed)]
        with_decider = np.sort(np.stack([others, np.full(tfs - 1, decider)], axis=1), axis=1)
        return Pairs.of(tfs, drawn[:0], np.concatenate([drawn, with_decider]))
    listed = draw_pairs(tfs, count, seed=seed)
    if config.design in ("published", "hard", "hard-matched"):
        return Pairs.of(tfs, listed)
    unlisted = Pairs.of(tfs, listed).other
    # In arrange a decoy is near in half of its sequences: half as many decoys are near as often as true pairs.
    wanted = (count + 1) // 2 if config.design == "arrange" else count
    chosen = np.random.default_rng([seed, DECOYS]).choice(len(unlisted), size=wanted, replace=False)
    decoys = unlisted[np.sort(chosen)]
    if config.design == "additive":
        return Pairs.of(tfs, listed[:0], np.concatenate([listed, decoys]))
    return Pairs.of(tfs, listed, decoys)


def deciding_tf(tfs: int, *, seed: int) -> int:
    """Number of the TF that decides the label in the design one-motif."""
    return int(np.random.default_rng([seed, DECIDER]).integers(tfs))


def _cover(tfs: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of `count` pairs in which every TF occurs: couples of a random order, then any others."""
    order = rng.permutation(tfs)
    if tfs % 2:
        order = np.append(order, rng.choice(order[:-1]))
    couples = np.sort(order.reshape(-1, 2), axis=1)
    chosen = pairs.index(couples[:, 0], couples[:, 1], filters=tfs)
    others = np.setdiff1d(np.arange(pairs.count(tfs)), chosen)
    return np.concatenate([chosen, rng.choice(others, size=count - len(chosen), replace=False)])


def _swapped(chosen: np.ndarray, first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chosen = chosen.copy()
    others = np.setdiff1d(np.arange(len(first)), chosen)
    degree = np.bincount(np.concatenate([first[chosen], second[chosen]]))
    if not len(others):
        return chosen
    for _ in range(SWAPS_PER_PAIR * len(chosen)):
        out, into = rng.integers(len(chosen)), rng.integers(len(others))
        leaving, entering = chosen[out], others[into]
        degree[[first[leaving], second[leaving]]] -= 1
        degree[[first[entering], second[entering]]] += 1
        if degree.min() > 0:
            chosen[out], others[into] = entering, leaving
        else:
            degree[[first[leaving], second[leaving]]] += 1
            degree[[first[entering], second[entering]]] -= 1
    return chosen
