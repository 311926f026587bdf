"""The TFs of a simulated set and the pairs of them that interact."""

import re
from collections.abc import Sequence

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.core import collection, motif, pairs
from satori_hpc.core.motif import Motif
from satori_hpc.errors import ConfigError

POOL = int.from_bytes(b"pool", "big")
PAIRS = int.from_bytes(b"pair", "big")
DRAWS = 1000
SWAPS_PER_PAIR = 50


def tf_key(name: str) -> str:
    """What makes two TF names the same TF: case does not, nor does the number of a variant, as in NR1H4(var.2)."""
    return re.sub(r"\(VAR\.\d+\)$", "", name.strip().upper())


def select(motifs: Sequence[Motif], config: Simulated, *, seed: int) -> list[Motif]:
    """Draw the pool: motifs in random order, each taken when it fits the options and resembles none before it.

    Args:
        motifs: of the database, with counts.
        config: width, information and similarity limits; the number of TFs.

    Returns:
        `config.tfs` motifs of different TFs, sorted by TF name.

    Raises:
        ConfigError: the database cannot fill the pool under these limits.
    """
    usable = [
        item
        for item in motifs
        if config.motif_width_min <= item.width <= config.motif_width_max
        and float(motif.information(item.ppm).sum()) >= config.motif_information_min
        and item.counts is not None
    ]
    chosen: list[Motif] = []
    keys: set[str] = set()
    for index in np.random.default_rng([seed, POOL]).permutation(len(usable)):
        item = usable[index]
        if tf_key(item.name) in keys:
            continue
        alike = collection.similarities(item.ppm, [other.ppm for other in chosen])
        if np.any(alike > config.motif_similarity_max):
            continue
        chosen.append(item)
        keys.add(tf_key(item.name))
        if len(chosen) == config.tfs:
            return sorted(chosen, key=lambda each: each.name)
    raise ConfigError(
        f"[prepare.simulated] tfs = {config.tfs}: only {len(chosen)} motifs of different TFs were found among "
        f"{len(motifs)} ({len(usable)} within motif_width_min .. motif_width_max and motif_information_min); "
        "raise motif_similarity_max, widen the other limits, or lower tfs"
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
