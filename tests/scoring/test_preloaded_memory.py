"""Memory of a call with many pre-loaded motifs, as a process of its own sees it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("method", ["attention", "dfim"])
def test_many_motifs_need_no_more_memory_than_is_said(method: str) -> None:
    code = r"""
import re
import numpy as np, torch
from satori_hpc import models
from satori_hpc.config import Dfim, Epistasis, Model, Score, Sites
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.scoring import registry
from satori_hpc.scoring.base import Batch
torch.set_num_threads(1)
torch.manual_seed(1)
rng = np.random.default_rng(1)

def scorer_of(count):
    ppms = [rng.dirichlet([0.5] * 4, size=width) for width in rng.integers(6, 26, count)]
    bank = MotifBank.from_motifs([Motif(name=f"m{k}", ppm=ppm, sites=30) for k, ppm in enumerate(ppms)])
    config = Model(first_layer="motifs", num_heads=2, head_dim=8, mixing_size=16)
    model = models.build(config, length=300, targets=1, task="binary", entropy=0.0, bank=bank).eval()
    settings = Score(
        sites=Sites(max_sites=8, max_distance=60),
        epistasis=Epistasis(mutations=1),
        dfim=Dfim(baselines=1, mutations=1, steps=2),
    )
    shared = {"settings": settings, "seed": 1, "composition": np.full(4, 0.25)}
    return registry.build("METHOD", model, threshold=torch.zeros(count), **shared)

def peak():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])

keys = torch.tensor([[0, 1], [0, 2]])
batch = Batch(tokens=torch.randint(0, 4, (2, 300), dtype=torch.uint8), keys=keys)
scorer_of(4)(batch)
scorer = scorer_of(500)
before = peak()
assert int(scorer(batch).counts[:, 1].min()) >= 8
print(peak() - before, 2 * scorer.bytes_per_sequence)
""".replace("METHOD", method)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    grown, said = (int(word) for word in done.stdout.split())
    assert grown <= said
    assert grown >= said / 16
