"""Memory of the score stage: planned, bounded, and what happens when it does not suffice."""

import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from satori_hpc.data import prepare
from satori_hpc.errors import SatoriError
from satori_hpc.parallel import memory
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.scoring import batches
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.base import Batch, SiteScores
from satori_hpc.sites import stage as sites_stage
from satori_hpc.training import stage as training_stage
from tests.fixtures import tiny
from tests.fixtures.scores import of_pairs, store_digest

RUNTIME = Runtime(device="cpu", threads=1)


class Tight:
    """A scorer in a memory that holds `most` sequences, or one call at a time."""

    def __init__(self, real: Any, *, most: int = 1 << 30, calls: int = 1 << 30) -> None:
        self.real, self.sequences, self.calls = real, most, calls
        self.running, self.sizes = 0, []  # type: ignore[var-annotated]
        self.slice_size, self.bytes_per_sequence = real.slice_size, real.bytes_per_sequence
        self.estimate = real.estimate
        for name in ("directed", "choose", "extras", "effects", "most", "widths", "pool"):
            setattr(self, name, getattr(real, name))

    def __call__(self, batch: Batch) -> SiteScores:
        self.running += 1
        try:
            if len(batch) > self.sequences or self.running > self.calls:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            self.sizes.append(len(batch))
            found: SiteScores = self.real(batch)
            return found
        finally:
            self.running -= 1


def tight(monkeypatch: pytest.MonkeyPatch, **limits: int) -> list[Tight]:
    made: list[Tight] = []
    honest = score_plan.registry.build

    def build(*args: Any, **more: Any) -> Tight:
        made.append(Tight(honest(*args, **more), **limits))
        return made[-1]

    monkeypatch.setattr(score_plan.registry, "build", build)
    return made


def test_slices_too_large_for_the_memory_are_retried_smaller(
    trained: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scoring_stage.score(trained, RUNTIME)
    whole = of_pairs(score_store.open_complete(trained.scores("attention")))
    files.remove(trained.scores("attention"))
    made = tight(monkeypatch, most=5)
    with caplog.at_level(logging.WARNING, logger="satori_hpc"):
        scoring_stage.score(trained, RUNTIME)
    assert max(made[-1].sizes) == 4
    assert "from here on 4" in caplog.text
    assert caplog.text.count("from here on") == 1
    found = of_pairs(score_store.open_complete(trained.scores("attention")))
    np.testing.assert_allclose(found, whole, rtol=1e-5)


def test_a_slice_that_fits_when_alone_keeps_its_bytes(
    trained: Run, expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tight(monkeypatch, calls=1)
    scoring_stage.score(trained, dataclasses.replace(RUNTIME, threads=4))
    assert store_digest(trained) == expected
    assert "out of memory" not in caplog.text


def test_a_memory_that_holds_no_sequence_says_what_was_tried(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tight(monkeypatch, most=0)
    with pytest.raises(SatoriError, match="out of memory with a single sequence"):
        scoring_stage.score(trained, RUNTIME)
    monkeypatch.setattr(batches, "_warm_up", lambda scorer, sample: None)
    with pytest.raises(
        SatoriError, match="scoring, foreground partition 0 of attention: out of memory: tried 16 sequences at a time"
    ):
        scoring_stage.score(trained, RUNTIME)


def test_little_memory_means_fewer_threads_then_smaller_slices_then_a_refusal(trained: Run) -> None:
    fit = batches.fit
    assert fit(10**9, each=1000, workers=4, size=16) == (4, 16)
    assert fit(40_000, each=1000, workers=4, size=16) == (2, 16)
    assert fit(16_000, each=1000, workers=4, size=16) == (1, 16)
    assert fit(15_999, each=1000, workers=4, size=16) == (1, 8)
    assert fit(1_000, each=1000, workers=4, size=16) == (1, 1)
    assert fit(999, each=1000, workers=4, size=16) is None
    with pytest.raises(
        SatoriError, match=r"--memory 64.0 MiB is too little to score attention: at least .* score.shard_examples"
    ):
        scoring_stage.plan(trained, dataclasses.replace(RUNTIME, memory=memory.parse("64M")), replace=False)
    told = scoring_stage.plan(
        trained, dataclasses.replace(RUNTIME, memory=memory.parse("100G"), threads=3), replace=False
    )
    assert (told["attention"]["workers"], told["attention"]["slice"]) == (3, 16)
    need = told["attention"]["memory_per_rank"]
    assert need["total"] == sum(need[part] for part in ("process", "model", "buffers", "chunk", "slices"))
    limit = need["total"] - need["slices"] // 2
    less = scoring_stage.plan(trained, dataclasses.replace(RUNTIME, memory=limit, threads=3), replace=False)[
        "attention"
    ]
    assert less["workers"] < 3
    assert less["memory_per_rank"]["total"] <= limit


MEASURED = """
import json, sys
from pathlib import Path
from satori_hpc.run.layout import Run
from satori_hpc.scoring import stage as scoring_stage
from satori_hpc.parallel.world import Runtime
run, runtime = Run.open(sys.argv[1]), Runtime(device="cpu", threads=2)
told = scoring_stage.plan(run, runtime, replace=True)["attention"]["memory_per_rank"]
scoring_stage.score(run, runtime)
# Not getrusage: its figure begins with that of the process which started this one.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([told, 1024 * int(peak.split()[1])]))
"""


def test_the_planned_memory_bounds_the_measured(tmp_path: Path) -> None:
    """With buffers that weigh something: room for every one of 150 filters in every bin of 256 sequences."""
    run = tiny.make_run(tmp_path / "run")
    run = tiny.change(
        run,
        model={"num_filters": 150},
        train={"epochs": 1},
        prepare={"test_fraction": 0.8},
        score={"shard_examples": 256, "include_mispredicted": True},
    )
    for stage in (prepare.prepare, training_stage.train, sites_stage.motifs):
        stage(run, RUNTIME)
    done = subprocess.run([sys.executable, "-c", MEASURED, str(run.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, peak = json.loads(done.stdout.splitlines()[-1])
    assert told["buffers"] > 15 * 2**20
    assert 0.8 * told["total"] < peak < 1.1 * told["total"]


FULL = """
import sys
from pathlib import Path
import numpy as np, torch
from satori_hpc.scoring import batches, store as score_store
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.batches import CHUNKS_HELD, COPIES, ENTRY, Slices
from satori_hpc.scoring.layout import CHUNK, Plan
from satori_hpc.scoring.site_scores import SiteScores

SITES, PLACES, ROWS, SLICE = 20_000, 100, 192, 16

def full(batch):  # every filter in every bin
    many, between = len(batch), PLACES * (PLACES - 1) // 2
    return SiteScores(
        counts=np.full((many, 2), (SITES, PLACES), np.int32),
        site=np.random.default_rng(1).integers(0, 100, (many * SITES, 4), dtype=np.int16),
        strength=np.ones(many * SITES, np.float32),
        place=np.zeros(many * PLACES, np.int16),
        value=np.ones(many * between, np.float32),
    )

def peak():  # of this program; what getrusage tells begins with the peak of the process that started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

plan = Plan(
    method="attention", widths=np.full(200, 13), foreground=np.arange(2 * ROWS), background=np.arange(1),
    background_source="background", dataset_examples=2 * ROWS, shard_examples=ROWS, most=(SITES, PLACES), digests={},
)
store = score_store.create_or_resume(Path(sys.argv[1]), plan)
batch = Batch(torch.zeros((ROWS, 10), dtype=torch.uint8), torch.zeros((ROWS, 2), dtype=torch.int64))
with Slices(full, size=SLICE, workers=1, progress=lambda: None) as slices:
    few = Batch(batch.tokens[:1], batch.keys[:1])
    store.stage_partition("background", 0, slices.score(few))()  # loads what any partition needs
    before = peak()
    for partition in range(2):
        scores = slices.score(batch)
        finish = store.stage_partition("foreground", partition, scores)
        del scores
        finish()
print(peak() - before, ROWS * COPIES * store.example_bytes + CHUNKS_HELD * CHUNK * ENTRY, SLICE * store.example_bytes)
"""


def test_a_partition_full_of_sites_takes_no_more_than_the_buffers_that_are_planned(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "a.zarr")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, buffers, of_a_slice = (int(word) for word in done.stdout.split())
    assert grown <= buffers + of_a_slice
    assert grown >= buffers / 2  # nor does it frighten
