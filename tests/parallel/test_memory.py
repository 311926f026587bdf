"""How much memory a job has: sizes as people write them, and the least of what limits it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from satori_hpc.errors import SatoriError
from satori_hpc.parallel import memory

GIB = 2**30


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE", "MEM_PER_GPU", "GPUS_ON_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine without control groups; its memory."""
    monkeypatch.setattr(memory, "_control_groups", list)
    return int(psutil.virtual_memory().total)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000000", 1_000_000),
        ("0", 0),
        ("4G", 4 * GIB),
        ("4g", 4 * GIB),
        ("4GB", 4 * GIB),
        ("4 GiB", 4 * GIB),
        (" 1.5 GB ", 3 * GIB // 2),
        ("512MiB", 512 * 2**20),
        ("64K", 64 * 2**10),
        ("2T", 2 * 2**40),
        ("7B", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert memory.parse(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "4X", "4Gi b", "1e9", "1,5G", "4G4", "nan", "inf", "0x10", "4G\n5"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SatoriError, match="not a size of memory; expected a number with K, M, G or T, such as 4G"):
        memory.parse(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.0 MiB"),
        (200 * 2**10, "0.2 MiB"),
        (12 * 2**20, "12.0 MiB"),
        (1.5 * GIB, "1.50 GiB"),
        (3 * 2**40, "3.00 TiB"),
    ],
)
def test_sizes_are_shown_in_a_fitting_unit(size: float, text: str) -> None:
    assert memory.show(size) == text


def test_the_machine_limits_a_job_without_other_limits(unlimited: int) -> None:
    assert memory.limit_bytes() == unlimited


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ({"SLURM_MEM_PER_NODE": "300"}, 300 * 2**20),
        ({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "2"}, 200 * 2**20),
        ({"SLURM_MEM_PER_NODE": "150", "SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "2"}, 150 * 2**20),
        ({"SLURM_MEM_PER_GPU": "1000", "SLURM_GPUS_ON_NODE": "2"}, 2000 * 2**20),
        ({"SLURM_MEM_PER_GPU": "1000M", "SLURM_GPUS_ON_NODE": "1"}, 1000 * 2**20),
        ({"SLURM_MEM_PER_GPU": "1G", "SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_ON_NODE": "8"}, 2 * 2**30),
        ({"SLURM_MEM_PER_NODE": "1G"}, 2**30),
        ({"SLURM_MEM_PER_CPU": "512M", "SLURM_CPUS_ON_NODE": "2"}, 2**30),
        ({"SLURM_MEM_PER_GPU": "1000"}, None),  # of no GPUs that we know of
        ({"SLURM_MEM_PER_GPU": "0", "SLURM_GPUS_ON_NODE": "2"}, None),
        ({"SLURM_MEM_PER_NODE": "0"}, None),  # Slurm's word for all of the node
        ({"SLURM_MEM_PER_NODE": ""}, None),
        ({"SLURM_MEM_PER_CPU": "100"}, None),
        ({"SLURM_MEM_PER_CPU": "0", "SLURM_CPUS_ON_NODE": "2"}, None),
        ({"SLURM_MEM_PER_NODE": str(2**30)}, None),  # more than there is
    ],
)
def test_what_slurm_grants_limits_a_job(
    unlimited: int, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], limit: int | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert memory.limit_bytes() == (unlimited if limit is None else limit)


def groups(root: Path, monkeypatch: pytest.MonkeyPatch, lines: str, files: dict[str, str]) -> list[int]:
    """The limits of a process whose /proc/self/cgroup holds `lines`, in a tree of control groups."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    (root / "self").write_text(lines)
    monkeypatch.setattr(memory, "CGROUPS", root)
    monkeypatch.setattr(memory, "OWN_CGROUPS", root / "self")
    return memory._control_groups()


def test_every_group_above_limits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "memory.max": "9000",
        "slurm/job_1/memory.max": "5000",
        "slurm/job_1/step_0/memory.max": "max",
        "slurm/job_2/memory.max": "1",
    }
    found = groups(tmp_path, monkeypatch, "0::/slurm/job_1/step_0\n", files)
    assert sorted(found) == [5000, 9000], "not that of another job, and max is no limit"


def test_groups_of_version_1_are_those_of_the_memory_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "memory/job/memory.limit_in_bytes": "700",
        "memory/memory.limit_in_bytes": str(2**63 - 4096),
        "cpu/job/memory.limit_in_bytes": "1",
    }
    lines = "11:cpu,cpuacct:/job\n7:memory:/job\n1:name=systemd:/job:with:colons\n0::/\n"
    assert min(groups(tmp_path, monkeypatch, lines, files)) == 700


def test_a_container_sees_its_group_as_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path told is that of the host, which is not there; the limit stands at the root."""
    assert groups(tmp_path, monkeypatch, "0::/system.slice/docker-1.scope\n", {"memory.max": "4000"}) == [4000]
    assert groups(tmp_path, monkeypatch, "0::/../..\n", {"memory.max": "4000"}) == [4000]


def test_a_system_without_groups_has_no_such_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "absent")
    assert memory._control_groups() == []
    assert groups(tmp_path, monkeypatch, "no such format\n", {}) == []


def test_the_least_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups(tmp_path, monkeypatch, "0::/job\n", {"job/memory.max": str(90 * 2**20)})
    assert memory.limit_bytes() == 90 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "80")
    assert memory.limit_bytes() == 80 * 2**20


def test_freed_memory_is_kept_for_the_next_allocation() -> None:
    """Page faults of taking and freeing 20 MB many times, in a process of its own."""
    code = """
import resource, sys
import numpy as np
from satori_hpc.parallel import memory
if sys.argv[1] == "keep":
    memory.keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    kept = [np.ones(20 << 20, np.uint8) for _ in range(3)]
work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""
    faults = {}
    for how in ("keep", "give"):
        done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["keep"] < faults["give"] / 5, faults
