"""Scoring all windows of human_scale, without having predicted all of them: what stands in, and the steps themselves.

With two cores a network takes hours to predict two million windows, and `train` predicts all of a data set. So the
network is trained on a part of the genome, and its plan and its scores are made on the whole: in a run with the
network's files, made-up predictions (score.use_all: they choose nothing), and the windows themselves in place of their
shuffled twins. `satori-hpc score` would refuse such a run; here its stage functions are called.

    python -m benchmarks.human_whole RUN plan
    python -m benchmarks.human_whole RUN 0-48
"""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from satori_hpc.cli_options import Numbers
from satori_hpc.run import Run
from satori_hpc.stages import score
from satori_hpc.stores import dataset, predictions
from satori_hpc.world import Runtime

BLOCK = 2**16


def stand_in(whole: Path, *, windows: Path, network: Path) -> None:
    """Make the run directory `whole` of the data set of one run and the network and settings of another."""
    shutil.copytree(windows / "dataset.zarr", whole / "dataset.zarr", copy_function=os.link)
    shutil.copytree(windows / "dataset.zarr", whole / "background.zarr", copy_function=os.link)
    for name in ("checkpoints", "motifs"):
        shutil.copytree(network / name, whole / name)
    shutil.copy(network / "run.toml", whole / "run.toml")
    found = dataset.read_labels(whole / "dataset.zarr")
    probability = np.empty(found.labels.shape, dtype=np.float32)
    rng = np.random.default_rng(2)
    for first in range(0, len(probability), BLOCK):
        rows = probability[first : first + BLOCK]
        rows[:] = np.round(rng.random(rows.shape, dtype=np.float32), 2)
    predictions.write(whole / "predictions.zarr", probability, probability)


def main() -> None:
    run, what = Run.open(sys.argv[1]), sys.argv[2]
    runtime = Runtime(device="cpu")
    runtime.apply()
    if what == "plan":
        print(json.dumps(score.plan(run, runtime, replace=False), indent=1))
    else:
        print(score.partitions(run, runtime, Numbers().convert(what, None, None)))


if __name__ == "__main__":
    main()
