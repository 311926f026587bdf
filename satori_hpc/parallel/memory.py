"""Find the memory limit of a job: the least of the control group's (cgroup), Slurm's and the machine's."""

import ctypes
import os
import re
from pathlib import Path

import psutil

from satori_hpc.errors import SatoriError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def parse(text: str) -> int:
    """Return bytes of "4G", "512MiB", "1.5 GB" or "1000000"; units are powers of 1,024.

    Raises:
        SatoriError: not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, flags=re.IGNORECASE)
    if found is None:
        raise SatoriError(f"{text!r} is not a size of memory; expected a number with K, M, G or T, such as 4G")
    return int(float(found[1]) * UNITS[found[2].upper()])


def show(size: float) -> str:
    """Return a size for people: "1.50 GiB", "12.0 MiB"."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size / 2**20:.1f} MiB"


def keep_freed() -> None:
    """Configure malloc to keep freed memory for reuse, instead of returning it to the system.

    A forward pass frees and allocates the same megabytes for every slice. If returned in between, their pages are
    zeroed each time, which took as long as the pass itself (measured on glibc; other C libraries are left alone).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most that glibc takes; larger blocks are still mapped one by one
        mallopt(M_TRIM_THRESHOLD, 2**30)


def limit_bytes() -> int:
    """Return memory that this job may use on this node."""
    return min([int(psutil.virtual_memory().total), *_control_groups(), *_slurm()])


def _control_groups() -> list[int]:
    """Return the limits of this process's control group and all above it (versions 1 and 2)."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        root, name = (CGROUPS, "memory.max") if not controllers else (CGROUPS / "memory", "memory.limit_in_bytes")
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            found += _number(place / name)
            if place == root:
                break
    return found


def _number(file: Path) -> list[int]:
    try:
        return [int(file.read_text())]  # "max" is no number: no limit
    except (OSError, ValueError):
        return []


def _slurm() -> list[int]:
    """Return the memory that Slurm grants on this node: per node, per core, or per GPU."""
    counts = {
        "SLURM_MEM_PER_NODE": 1,
        "SLURM_MEM_PER_CPU": _number_in("SLURM_CPUS_ON_NODE"),
        "SLURM_MEM_PER_GPU": _number_in("SLURM_GPUS_ON_NODE"),
    }
    granted = [_granted(name) * count for name, count in counts.items()]
    return [size for size in granted if size]


def _granted(name: str) -> int:
    """Return bytes that a variable of Slurm's grants, MiB unless it has a unit.

    0 when it is not there, or means all.
    """
    text = os.environ.get(name, "").strip()
    try:
        return parse(f"{text}M" if text.isdecimal() else text)
    except SatoriError:
        return 0


def _number_in(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
