"""What a process takes of its machine when others share it."""

import os

import pytest
import torch

from satori_hpc.errors import SatoriError
from satori_hpc.parallel.world import Runtime, World


def placed(*, local_rank: int = 0, ranks_per_cpuset: int = 1) -> World:
    world = World()
    world.local_rank, world.ranks_per_cpuset = local_rank, ranks_per_cpuset
    return world


@pytest.mark.parametrize(
    ("local_rank", "gpus", "device"), [(0, 4, "cuda:0"), (3, 4, "cuda:3"), (5, 4, "cuda:1"), (2, 1, "cuda:0")]
)
def test_every_rank_of_a_node_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, local_rank: int, gpus: int, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert str(Runtime(world=placed(local_rank=local_rank)).torch_device()) == device
    assert str(Runtime(device="cpu", world=placed(local_rank=local_rank)).torch_device()) == "cpu"


def test_without_a_gpu_cuda_is_refused_and_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(Runtime().torch_device()) == "cpu"
    with pytest.raises(SatoriError, match="no CUDA device"):
        Runtime(device="cuda").torch_device()


def test_processes_that_share_processors_divide_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert Runtime().cpu_threads() == 8
    assert Runtime(world=placed(ranks_per_cpuset=3)).cpu_threads() == 2
    assert Runtime(world=placed(ranks_per_cpuset=20)).cpu_threads() == 1
    assert Runtime(threads=5, world=placed(ranks_per_cpuset=3)).cpu_threads() == 5


@pytest.mark.parametrize(
    ("said", "threads"),
    [("1", 1), ("3", 3), ("2,4", 2), (" 2 ", 2), ("64", 4), ("0", 4), ("", 4), ("many", 4), ("-1", 4)],
)
def test_by_default_there_are_no_more_threads_than_omp_num_threads(
    monkeypatch: pytest.MonkeyPatch, said: str, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert Runtime(world=placed(ranks_per_cpuset=2)).cpu_threads() == threads
    assert Runtime(threads=5, world=placed(ranks_per_cpuset=2)).cpu_threads() == 5
