"""A run whose networks name and call some pairs, small enough for tests, and the outcome of its ensemble."""

import dataclasses
from pathlib import Path

from satori_hpc.config import Ensemble
from satori_hpc.run import Run
from satori_hpc.stages import execution
from satori_hpc.world import Runtime
from tests.tiny import make_run, tiny_config

RUNTIME = Runtime(device="cpu", threads=1)
TABLES = ("attention_tf.parquet", "attention_tf.tsv", "ensemble.json")


def ensemble_run(path: Path, *, seeds: int = 3) -> Run:
    """A tiny run whose data are made; filters are named after the implanted motifs, however poor the match."""
    config = tiny_config()
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, filters=16),
        motifs=dataclasses.replace(config.motifs, database="truth/motifs.meme", max_q=1.0, min_match_bits=0.0),
        reduce=dataclasses.replace(
            config.reduce, min_examples=3, statistic="within-sequence", calibration="theoretical", max_distance=0
        ),
        ensemble=Ensemble(seeds=seeds),
    )
    run = make_run(path, config)
    execution.execute(run, "prepare", RUNTIME)
    return run


def outcome(run: Path) -> dict[str, bytes]:
    """The bytes of what an ensemble leaves for people, by name."""
    return {name: (run / "ensemble" / name).read_bytes() for name in TABLES}
