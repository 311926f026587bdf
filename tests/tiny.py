"""A run small enough for tests: every stage is real, only the sizes are small."""

import dataclasses
from pathlib import Path

from satori_hpc import config
from satori_hpc.config import Config
from satori_hpc.run import Run
from satori_hpc.stages import new


def tiny_config(*, seed: int = 1) -> Config:
    """Six TFs, four pairs, 600 sequences of 120 bp, a network of 12 filters, two epochs."""
    return Config(
        seed=seed,
        prepare=config.Prepare(
            test_fraction=0.3,
            simulated=config.Simulated(
                examples=600,
                length=120,
                tfs=6,
                pairs=4,
                pairs_per_positive_min=1,
                pairs_per_positive_max=1,
                negative_motifs_max=1,
            ),
        ),
        model=config.Model(filters=12, width=9, heads=2, head_size=8, mixing_size=16),
        train=config.Train(epochs=2, batch_size=64, learning_rate=5e-3),
        motifs=config.Motifs(min_probability=0.0),
        score=config.Score(use_all=True, shard_examples=50, chunk_pairs=16),
    )


def make_run(path: Path, settings: Config | None = None) -> Run:
    """A new run directory at `path`."""
    return new.new(path, config=settings or tiny_config())


def change(run: Run, **sections: dict[str, object]) -> Run:
    """Rewrite run.toml with some keys of some sections changed."""
    changed = {
        name: dataclasses.replace(getattr(run.config, name), **keys)  # type: ignore[arg-type]
        for name, keys in sections.items()
    }
    from satori_hpc import options

    run.config_file.write_text(options.render(dataclasses.replace(run.config, **changed)))  # type: ignore[arg-type]
    return Run.open(run.path)
