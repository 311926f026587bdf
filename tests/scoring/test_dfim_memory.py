"""Memory of a call of DFIM, as a process of its own sees it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("config", [{"architecture": "deep", "conv_residual": True}, {"recurrent": True}])
def test_a_call_needs_no_more_memory_than_it_says(config):
    code = r"""
import re, sys
import numpy as np, torch
from satori_hpc import models
from satori_hpc.config import Dfim, Model, Score, Sites
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.dfim import DfimScorer
torch.set_num_threads(1)
torch.manual_seed(1)

def scorer_of(**config):
    model = models.build(Model(**config), length=300, targets=1, task="binary", entropy=0.0).eval()
    settings = Score(sites=Sites(max_sites=4), dfim=Dfim(baselines=1, mutations=1))
    zero = torch.zeros(model.filters)
    return DfimScorer(model, zero, settings=settings, seed=1, composition=np.full(4, 0.25))

batch = Batch(tokens=torch.randint(0, 4, (1, 300), dtype=torch.uint8), keys=torch.tensor([[0, 1]]))
def peak():  # of this program; what getrusage tells begins with the peak of the process that started it
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])

scorer_of(num_filters=4, num_heads=1, head_dim=4)(batch)  # compiles and loads what any call needs
scorer = scorer_of(**CONFIG)
before = peak()
assert int(scorer(batch).counts[:, 1].min()) == 4
print(peak() - before, scorer.bytes_per_sequence)
""".replace("CONFIG", repr(config))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    grown, said = (int(word) for word in done.stdout.split())
    assert grown <= said
    assert grown >= said / 8  # nor does it frighten
