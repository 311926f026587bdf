"""Make a simulated data set: JASPAR motifs implanted in random bases, with known truth."""

import functools
from typing import Any

import numpy as np

from satori_hpc.config import Simulated
from satori_hpc.data.dataset import Coordinates, Examples
from satori_hpc.data.source import Source
from satori_hpc.data.sources.simulate import implant, instances, pool, truth
from satori_hpc.errors import ConfigError, Problems
from satori_hpc.log import logger
from satori_hpc.motifs import collection, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run


def make(run: Run, runtime: Runtime) -> Source:
    """Draw pool and pairs, implant them, and have the truth written once the set is split.

    Raises:
        ConfigError: the rules of the set cannot be obeyed.
    """
    config, seed = run.config.prepare.simulated, run.config.seed
    assert config is not None
    known = readers.jaspar(release=readers.RELEASE, collection=readers.COLLECTION, groups=config.jaspar_groups)
    motifs = pool.select(collection.thin(known, config.jaspar_similarity_max), config, seed=seed)
    pairs = pool.draw_roles(config, seed=seed)
    made = implant.simulate(_pwms(motifs, config), pairs, config, seed=seed)
    if made.mended:
        logger.info("%d of %d instances were mended towards the consensus", made.mended, len(made.instances.tf))
    count, length = made.tokens.shape
    whole = Examples(
        tokens=made.tokens,
        labels=made.labels[:, None],
        names=[truth.header(example, length) for example in range(count)],
        targets=["label"],
        coordinates=Coordinates.of_names([truth.sequence_id(example) for example in range(count)], length),
    )
    summary: dict[str, Any] = {
        "design": config.design,
        "tfs": config.tfs,
        "pairs": len(pairs.true),
        "decoys": len(pairs.decoy),
        "instances": len(made.instances.tf),
        "instances_mended": made.mended,
    }
    if config.design == "one-motif":
        summary["deciding_tf"] = motifs[pool.deciding_tf(config.tfs, seed=seed)].name
    write_truth = functools.partial(
        truth.write,
        run.truth,
        motifs,
        pairs=pairs,
        tokens=made.tokens,
        instances=made.instances,
        background=config.base_frequencies,
    )
    return Source(whole, summary, finish=write_truth)


def _pwms(motifs: list[Motif], config: Simulated) -> list[instances.Pwm]:
    problems = Problems("[prepare.simulated] these motifs cannot be implanted:", ConfigError)
    made = []
    for motif in motifs:
        assert motif.counts is not None  # the pool takes no others
        try:
            made.append(instances.make_pwm(motif.name, motif.counts, background=np.asarray(config.base_frequencies)))
        except ValueError as error:
            problems.add(f"{error}; raise motif_information_min")
    problems.raise_any()
    return made
