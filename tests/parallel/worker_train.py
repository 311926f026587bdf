"""A rank of the tests of training: builds trainers directly, and leaves what they did in a folder.

    worker_train.py FOLDER RUN CASES.json

Of every case: the losses of its first steps, its metrics, and its weights.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from satori_hpc import models
from satori_hpc.config import Model, Train
from satori_hpc.config.motif_tokens import MotifTokens
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.parallel import torch_group
from satori_hpc.parallel.signals import StopRequest
from satori_hpc.parallel.world import World
from satori_hpc.training.loop import Trainer
from tests.fixtures.learnable import SMALL_MODEL, known_motifs, learnable


def main() -> None:
    folder, run, cases = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    with torch_group.session(run, join_timeout=60) as world:
        for name, case in json.loads(cases.read_text()).items():
            found = train(case, world)
            if world.rank == 0:
                np.savez(folder / f"{name}-{world.size}", **found)


def train(case: dict[str, object], world: World) -> dict[str, np.ndarray]:
    data = learnable(train=case.get("train", 250), other=case.get("other", 61), targets=case.get("targets", 1))
    torch.manual_seed(5)
    config = Model(**{**SMALL_MODEL, **case.get("model", {})})
    if "tokens" in case:
        config = Model(architecture="motif-tokens", guests={"motif-tokens": MotifTokens(**case["tokens"])})
    model = models.build(
        config,
        length=data.length,
        targets=len(data.targets),
        task=data.task,
        entropy=1e-3,
        bank=MotifBank.from_motifs(known_motifs()) if "tokens" in case else None,
    ).to(getattr(torch, case.get("dtype", "float64")))
    splits = []
    for split in ("train", "valid"):
        rows = data.rows(split)
        labels = data.labels[rows].copy()
        if split == "valid" and labels.shape[1] > 1:
            labels[:, 1] = 0  # a label of a single class
        splits.append((data.tokens[rows], labels))
    trainer = Trainer(
        model,
        Train(**{"batch_size": 32, "entropy": 1e-3, "learning_rate": 3e-3, "epochs": 8, **case.get("settings", {})}),
        seed=1,
        train=splits[0],
        valid=splits[1],
        batch_size=case.get("batch_size", 16),
        world=world,
        micro_batch=case.get("micro_batch", 0),
    )
    if model.kmers is not None:
        model.kmers.weight.normal_(generator=torch.Generator().manual_seed(3)).mul_(0.1)
        trainer.train_beside(model.kmers)
    losses = []
    while len(losses) < case.get("steps", 30):
        trainer.progress.step = 0
        for rows in trainer.batches(trainer.progress.epoch):
            sums = trainer._step(rows, StopRequest())
            losses.append((sums[:2] / len(rows)).tolist())
            trainer.progress.step += 1
            trainer.progress.total_steps += 1
        trainer.progress.epoch += 1
    metrics = trainer.validate()
    weights = {f"weight {name}": value.numpy() for name, value in model.state_dict().items()}
    return {"losses": np.array(losses), **{name: np.array(value) for name, value in metrics.items()}, **weights}


if __name__ == "__main__":
    main()
