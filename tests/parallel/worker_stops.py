"""A rank that is stopped by real signals at random steps and goes on in the same process, trial after trial.

    worker_stops.py FOLDER TRIALS

The leader prints of the undisturbed run and of every trial the digest of what it ends with, and how often it stopped.
"""

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from satori_hpc.data import dataset
from satori_hpc.errors import Preempted
from satori_hpc.parallel import torch_group
from satori_hpc.parallel.signals import SIGNALS
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint
from satori_hpc.training.loop import Trainer
from satori_hpc.training.stage import train
from tests.fixtures.learnable import learnable, small_config

CONFIG = small_config(epochs=2, entropy=1e-3, entropy_warmup=0.5, schedule="cosine", warmup=0.1, batch_size=32)

Step = Callable[..., torch.Tensor]


def main() -> None:
    folder, trials = Path(sys.argv[1]), int(sys.argv[2])
    with torch_group.session(folder, join_timeout=60) as world:
        found = [trial(folder, number, world) for number in range(trials + 1)]
        if world.rank == 0:
            print(json.dumps(found))


def trial(folder: Path, number: int, world: World) -> tuple[str, int]:
    """Train to the end, stopped now and then, but for trial 0; digest of the last state, and how often."""
    data = learnable(train=330, other=50)
    run = Run(path=folder / f"run{number}", config=CONFIG)
    world.run_on_root(lambda: dataset.write(run.dataset, data))
    draws, stops = random.Random(number), 0  # the same on every rank
    original = Trainer._step
    while True:
        if number:
            Trainer._step = struck(original, draws, world)
        try:
            train(run, Runtime(device="cpu", threads=1, world=world))
        except Preempted:
            stops += 1
            continue
        finally:
            Trainer._step = original
        world.barrier()
        return digest(run), stops


def struck(original: Step, draws: random.Random, world: World) -> Step:
    """The step, in which a random rank is signalled after a random number of steps."""
    left, victim, number = draws.randint(0, 14), draws.randrange(world.size), draws.choice(SIGNALS)

    def step(*args: Any) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left == -1 and world.rank == victim:
            os.kill(os.getpid(), number)
        return original(*args)

    return step


def digest(run: Run) -> str:
    """Of weights, optimiser and best weights after the last step."""
    total = hashlib.sha256()
    for leaf in torch.utils._pytree.tree_leaves(checkpoint.load_training(checkpoint.step_files(run.checkpoints)[0])[1]):
        total.update(leaf.numpy().tobytes() if isinstance(leaf, torch.Tensor) else str(leaf).encode())
    return total.hexdigest()


if __name__ == "__main__":
    main()
