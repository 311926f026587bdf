"""What this machine offers, and what on it is known to go wrong."""

import os
import shutil
import site
import sys
import tempfile
from pathlib import Path

import psutil

from satori_hpc import provenance
from satori_hpc.stages import launch

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def doctor() -> tuple[list[tuple[str, str]], list[str]]:
    """Facts as (name, value) and warnings in words."""
    warnings: list[str] = []
    facts = [(name, version) for name, version in provenance.versions().items()]
    facts += _processors()
    facts += _devices()
    facts += _mpi(warnings)
    facts += [(f"Slurm {key}", value) for key, value in provenance.slurm().items()]
    facts += _folders(warnings)
    if site.ENABLE_USER_SITE and any(path.startswith(site.getusersitepackages()) for path in sys.path):
        warnings.append("packages in ~/.local shadow installed ones; set PYTHONNOUSERSITE=1")
    return facts, warnings


def memory_limit_bytes() -> int:
    """Memory this process may use: the control group's limit if there is one, else the machine's."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return total


def _processors() -> list[tuple[str, str]]:
    usable = len(os.sched_getaffinity(0))
    free = psutil.virtual_memory().available / 2**30
    return [
        ("processors", f"{usable} usable of {os.cpu_count()}"),
        ("memory", f"{memory_limit_bytes() / 2**30:.1f} GiB limit, {free:.1f} GiB free"),
    ]


def _devices() -> list[tuple[str, str]]:
    import torch  # here: every command imports this module, few need torch

    threads = ("torch threads", str(torch.get_num_threads()))
    if not torch.cuda.is_available():
        return [threads, ("devices", "cpu (torch sees no CUDA device)")]
    facts = [threads, ("devices", f"cpu, {torch.cuda.device_count()} CUDA"), ("CUDA", str(torch.version.cuda))]
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        facts.append((f"cuda:{number}", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"))
    return facts


def _mpi(warnings: list[str]) -> list[tuple[str, str]]:
    try:
        from mpi4py import MPI
    except ImportError:
        return [("MPI", "mpi4py is not installed; pip install 'satori-hpc[mpi]'")]
    except RuntimeError as error:
        return [("MPI", f"mpi4py finds no MPI library ({error}); pip install mpich, or set MPI4PY_LIBMPI")]
    world = MPI.COMM_WORLD
    library = MPI.Get_library_version().strip("\0 \n").splitlines()[0]
    expected = launch.expected_ranks()
    if expected not in (None, world.Get_size()):
        warnings.append(
            f"the launcher started {expected} processes, yet MPI sees a world of {world.Get_size()}: launcher and MPI "
            "library do not speak to each other; try srun --mpi=pmi2, or the mpiexec of the same MPI"
        )
    return [
        ("MPI", library),
        ("MPI library file", _mpi_file()),
        ("MPI rank", f"{world.Get_rank()} of {world.Get_size()}"),
    ]


def _mpi_file() -> str:
    """Path of the libmpi that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return "unknown"
    found = [line.split()[-1] for line in lines if "libmpi" in line]
    return found[0] if found else "unknown"


def _folders(warnings: list[str]) -> list[tuple[str, str]]:
    facts = []
    for name, folder in (("temporary folder", tempfile.gettempdir()), ("current folder", os.getcwd())):
        writable = os.access(folder, os.W_OK)
        facts.append((name, f"{folder}, {shutil.disk_usage(folder).free / 2**30:.0f} GiB free"))
        if not writable:
            warnings.append(f"{folder} is not writable")
    return facts
