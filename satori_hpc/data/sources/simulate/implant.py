"""Simulate sequences: background bases with implanted motifs, and labels given by a design.

All randomness of a sequence is keyed by (seed, its number), given its class: no other sequence
and no number of processes changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.data import sequence
from satori_hpc.data.sources.simulate import designs, instances
from satori_hpc.data.sources.simulate.instances import Pwm
from satori_hpc.data.sources.simulate.pool import Pairs

SEQUENCE = int.from_bytes(b"seqn", "big")


@dataclass(frozen=True)
class Instances:
    """Every implanted motif, one entry each, by sequence and then by start.

    Attributes:
        example: number of the sequence.
        tf: number of the TF in the pool.
        start, end: 0-based, half-open.
        strand: 1 forward, -1 reverse.
        pair: number of the pair it was implanted with, a row of `pool.Pairs.all`; -1 = alone.
    """

    example: np.ndarray
    tf: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    pair: np.ndarray


@dataclass(frozen=True)
class SimulatedSet:
    """Output of `simulate`.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples,), 1 = positive.
        instances: what was implanted where.
        mended: instances that were mended because no draw scored high enough.
    """

    tokens: np.ndarray
    labels: np.ndarray
    instances: Instances
    mended: int


def simulate(pwms: Sequence[Pwm], pairs: Pairs, config: Simulated, *, seed: int) -> SimulatedSet:
    """Make a labelled set.

    Args:
        pwms: the pool.
        pairs: of the TFs of the pool, by role.
        config: the rules.

    Raises:
        ConfigError: the motifs do not fit into a sequence, or no negative obeys the rules.
    """
    design = designs.of(pwms, pairs, config, seed=seed)
    labels = np.zeros(config.examples, dtype=np.uint8)
    letters = np.cumsum(np.asarray(config.base_frequencies, dtype=np.float64))[:3]
    tokens = np.empty((config.examples, config.length), dtype=np.uint8)
    rows: list[tuple[int, ...]] = []
    mended = 0
    for example in range(config.examples):
        rng = np.random.default_rng([seed, SEQUENCE, example])
        labels[example], plan = design.draw(example, rng)
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
    """Return (bases as in the sequence, strand, whether they were repaired)."""
    site, mended = instances.draw(pwm, rng, fraction=config.min_score_fraction, tries=config.instance_tries)
    if config.strand == "both" and rng.random() < 0.5:
        return sequence.reverse_complement(site), -1, mended
    return site, 1, mended
