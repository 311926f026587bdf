"""Training by several real processes: the same curves and metrics; killed or stopped, the same weights."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from satori_hpc import models
from satori_hpc.config import Model
from satori_hpc.models.predict import predict
from satori_hpc.parallel.world import Runtime, World
from satori_hpc.run import execute
from satori_hpc.run.layout import Run
from satori_hpc.training import checkpoint, predictions
from tests.fixtures.learnable import SMALL_MODEL, learnable
from tests.fixtures.runs import TinyRun
from tests.fixtures.tiny import change
from tests.parallel import worker_stops, worker_train
from tests.parallel.ranks import ROOT, Ranks

SOON = 30
WORKER = Path(__file__).with_name("worker_train.py")
SGD = {"optimiser": "sgd", "learning_rate": 0.05}
DEEP = {"architecture": "deep", "block_widths": (12, 12), "hidden": 12}
# 250 examples in 8 batches of 31 or 32, which neither 2 nor 3 divide; 61 examples to validate by.
CASES = {
    "basic": {},
    "deep": {"model": DEEP},
    "recurrent": {"model": {"recurrent": True, "recurrent_size": 6}, "steps": 8},
    "legacy": {"model": {"readout": "legacy_batchnorm"}, "steps": 8},
    "clipped": {"settings": {"max_grad_norm": 0.05, **SGD}, "steps": 8},
    "micro": {"micro_batch": 5, "steps": 8},
    "micro_deep": {"micro_batch": 5, "model": DEEP, "steps": 8},
    "motif tokens": {
        "tokens": {"pool": 6, "num_filters": 3, "kernel_size": 7, "size": 8, "hit_dropout": 0.3},
        "steps": 8,
    },
    "6-mers": {
        "tokens": {"pool": 6, "num_filters": 3, "kernel_size": 7, "size": 8, "kmers": True},
        "steps": 8,
    },
    "labels": {"targets": 3, "other": 2, "steps": 8},
    "random strands": {"settings": {"reverse_complement": "random"}, "steps": 8},
    "both strands": {"settings": {"reverse_complement": "both"}, "steps": 8},
    "few": {"settings": {"batch_size": 2}, "train": 11, "steps": 8},
    "float32": {"dtype": "float32"},
    "float32_deep": {"dtype": "float32", "model": DEEP, "settings": SGD},
    "float32_deep_adam": {"dtype": "float32", "model": DEEP},
    "bfloat16": {"dtype": "float32", "settings": {"precision": "bfloat16"}, "steps": 8},
}
# Adam divides gradients that are nothing but rounding by their own size: measured 2e-3 in the deep network. Else
# measured: 3e-7 in float32, 8e-4 in bfloat16, 4e-16 in float64.
TOLERANCE = {"float32_deep_adam": 2e-2, "bfloat16": 2e-2}

MEET = """
import sys
from pathlib import Path
from satori_hpc.errors import Preempted, SatoriError, shared
from satori_hpc.parallel import torch_group
try:
    with torch_group.session(Path(sys.argv[1]), join_timeout=60) as world:
        told = f"{world.rank}/{world.size}: {world.all_gather(world.rank)}"
        (Path(sys.argv[1]) / f"told-{world.rank}").write_text(told)  # printed, the lines of two ranks may mix
        if sys.argv[2] == "75":
            raise shared(Preempted("the state is kept"))
except SatoriError as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 1, 2 and 3 processes made of all cases."""
    folder = tmp_path_factory.mktemp("curves")
    (folder / "cases.json").write_text(json.dumps(CASES))
    for name, case in CASES.items():
        np.savez(folder / f"{name}-1", **worker_train.train(case, World()))
    for size in (2, 3):
        codes, _, said = Ranks(size, [WORKER, folder, folder, folder / "cases.json"]).finish()
        assert codes == [0] * size, said
    assert not list(folder.glob(".rendezvous*"))
    return folder


@pytest.mark.parametrize("name", CASES)
def test_curves_and_metrics_do_not_depend_on_the_number_of_ranks(curves, name):
    one, *others = (np.load(curves / f"{name}-{size}.npz") for size in (1, 2, 3))
    assert len(one["losses"]) >= CASES[name].get("steps", 30)
    assert one["losses"][0, 0] > 0
    assert one["losses"][0, 1] > 0
    rtol = TOLERANCE.get(name, 1e-5)
    for other in others:
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=rtol)
        for key in one.files if one["weight output.bias"].dtype == np.float64 else []:
            np.testing.assert_allclose(other[key], one[key], rtol=1e-5, atol=1e-8, err_msg=key)


@pytest.mark.parametrize("name", ["basic", "deep"])
def test_forward_passes_of_a_few_sequences_add_up_to_the_same_step(curves, name):
    whole = np.load(curves / f"{name}-1.npz")["losses"]
    cut = np.load(curves / f"{'micro' if name == 'basic' else 'micro_deep'}-1.npz")["losses"]
    np.testing.assert_allclose(cut, whole[: len(cut)], rtol=1e-5)


def test_metrics_are_those_of_sklearn_over_exactly_the_examples_of_the_split(curves):
    for size in (1, 2, 3):
        found = np.load(curves / f"labels-{size}.npz")
        model = models.build(Model(**SMALL_MODEL), length=60, targets=3, task="multilabel", entropy=1e-3).double()
        model.load_state_dict({name[7:]: torch.from_numpy(found[name]) for name in found if name.startswith("weight")})
        data = learnable(train=250, other=2, targets=3)
        rows = data.rows("valid")
        logits, labels = predict(model, data.tokens[rows], batch_size=64), data.labels[rows]
        usable = [column for column in (0, 2) if len(set(labels[:, column])) == 2]
        assert usable
        for key, of in (("valid_auroc", roc_auc_score), ("valid_aupr", average_precision_score)):
            expected = np.mean([of(labels[:, column], logits[:, column]) for column in usable])
            assert found[key] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2])
def test_stopped_at_random_steps_it_ends_like_an_undisturbed_run(tmp_path, size):
    """Ten trials: SIGTERM or SIGUSR2 to a random rank at a random step, several times; the same bytes in the end."""
    if size == 1:
        found = [worker_stops.trial(tmp_path, number, World()) for number in range(11)]
    else:
        codes, out, said = Ranks(size, [worker_stops.__file__, tmp_path, 10]).finish()
        assert codes == [0] * size, said
        found = json.loads(out[0].splitlines()[-1])
    assert len(found) == 11
    assert len({digest for digest, _ in found}) == 1, found
    assert sum(stops for _, stops in found) >= 10


@pytest.fixture(scope="module")
def prepared(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run to be trained in some hundred steps, with checkpoints in between."""
    run = tiny_run("prepare", tmp_path_factory.mktemp("prepared") / "run")
    return change(run, train={"epochs": 16, "patience": 0, "checkpoint_every": 4})


def copy(run: Run, path: Path) -> Run:
    shutil.copytree(run.path, path)
    return Run(path=path, config=run.config)


def newest_step(run: Run) -> int:
    return max((int(path.stem[5:]) for path in checkpoint.step_files(run.checkpoints)), default=0)


def begun(run: Run, ranks: Ranks, *, beyond: int) -> None:
    """Wait until training has left a checkpoint behind this step."""
    limit = time.monotonic() + 240
    while newest_step(run) <= beyond:
        assert time.monotonic() < limit
        assert all(process.poll() is None for process in ranks.processes), ranks.finish()
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_stopped_and_resumed_by_the_command(tmp_path, prepared, monkeypatch, caplog):
    """Two ranks by torchrun, undisturbed; two as of srun, killed, and stopped by a file: the same bytes."""
    whole, broken = copy(prepared, tmp_path / "whole"), copy(prepared, tmp_path / "broken")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    train = ["train", broken.path, "--device", "cpu", "--threads", 1]
    done = subprocess.run(
        [*torchrun, "-m", "satori_hpc", "train", whole.path, "--device", "cpu", "--threads", "1"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr

    ranks = Ranks(2, train)
    begun(broken, ranks, beyond=0)
    ranks.send(signal.SIGKILL, 1)
    codes, _, said = ranks.finish(SOON)
    step = newest_step(broken)
    assert codes == [1, -signal.SIGKILL]
    assert re.search(r"rank 0 of 2 \(.*\), while training, epoch \d+: lost another process, which was killed", said[0])
    assert said[0].count("lost another process") == 1
    assert "Traceback" not in said[0]

    broken.stop.touch()  # meant for a job before this one
    ranks = Ranks(2, train)
    begun(broken, ranks, beyond=step)
    assert not broken.stop.exists()
    broken.stop.touch()
    codes, _, said = ranks.finish(SOON)
    assert codes == [75, 75], said
    assert not broken.stop.exists()
    assert "training resumes after" in said[0]
    assert said[0].count("training stopped after") == 1
    assert str(broken.stop) in said[0]
    assert "stopped" not in said[1]

    alone = copy(broken, tmp_path / "alone")
    newest = checkpoint.step_files(broken.checkpoints)[0]
    newest.write_bytes(newest.read_bytes()[:2000])
    codes, _, said = Ranks(2, train).finish()
    assert codes == [0, 0], said
    assert f"{newest}: damaged, cut short" in said[0]
    assert broken.best.read_bytes() == whole.best.read_bytes()
    for name in ("model", "optimiser"):
        states = [
            checkpoint.load_training(checkpoint.step_files(run.checkpoints)[0])[1][name] for run in (whole, broken)
        ]
        for one, other in zip(*map(torch.utils._pytree.tree_leaves, states), strict=True):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other

    # One process may go on from there as well; the results differ by rounding, and it says so.
    monkeypatch.setattr(logging.getLogger("satori_hpc"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="satori_hpc"):
        execute.execute(alone, "train", Runtime(device="cpu", threads=1))
    assert "saved by 2 processes, resumed by 1" in caplog.text
    logits = [predictions.read(run.predictions)[0] for run in (whole, alone)]
    np.testing.assert_allclose(*logits, atol=0.02)


def test_a_rank_that_fails_ends_all_with_one_message(tmp_path):
    program = tmp_path / "fail.py"
    program.write_text(
        "from pathlib import Path; import sys\n"
        "from satori_hpc.parallel import torch_group as process_group\n"
        "with process_group.session(Path(sys.argv[1]), join_timeout=60) as world:\n"
        "    world.set_status('training')\n"
        "    if world.rank == 1: raise OSError(28, 'No space left', '/scratch/x')\n"
        "    world.barrier()\n"
    )
    codes, _, said = Ranks(3, [program, tmp_path]).finish(SOON)
    assert codes == [1, 1, 1]
    assert said[0] == said[2] == ""
    assert said[1].count("\n") == 1
    assert said[1].startswith("rank 1 of 3")
    assert said[1].endswith("while training: /scratch/x: No space left\n")


def test_ranks_that_do_not_come_are_named(tmp_path, prepared):
    lonely = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "3"}
    codes, _, said = Ranks(1, ["train", prepared.path, "--join-timeout", 1], env=lonely).finish(SOON)
    assert codes == [1]
    assert "2 of 3 processes have not arrived (rank 1, 2)" in said[0]
    assert "--join-timeout" in said[0]


@pytest.mark.mpi
@pytest.mark.parametrize("status", [0, 75])
def test_processes_of_mpiexec_find_each_other_by_mpi_and_end_together(mpi: Any, tmp_path: Path, status: int) -> None:
    program = tmp_path / "meet.py"
    program.write_text(MEET)
    done = mpi.run(2, [program, tmp_path, status])
    assert done.returncode == status, done.stderr
    assert [(tmp_path / f"told-{rank}").read_text() for rank in range(2)] == ["0/2: [0, 1]", "1/2: [0, 1]"]
    assert done.stderr.count("the state is kept") == (status == 75)
    assert not list(tmp_path.glob(".rendezvous*"))
