"""What this machine offers, and what on it is known to go wrong."""

import importlib.util
import os
import site
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from satori_hpc import memory, provenance
from satori_hpc.stages import doctor_devices, doctor_places, launch, mpi

SHADOWED = ("torch", "numpy", "scipy", "zarr", "dask", "mpi4py", "pandas", "numba", "satori_hpc")
# Package -> (extra that installs it, what needs it); everything else is a dependency.
OPTIONAL = {
    "mpi4py": ("mpi", "prepare, score, search and ensemble by several processes"),
    "h5py": ("arrays", "HDF5 files of arrays"),
    "optuna": ("search", "search"),
    "pybigtools": ("tracks", "tracks"),
    "snakemake": ("workflow", "the Snakemake workflow of jobs/"),
}


@dataclass
class Report:
    """Facts in the order in which they were found, and warnings that name a cure.

    Attributes:
        told: called with each fact at once, for the next check may end the process (MPI libraries do).
    """

    told: Callable[[str, str], None] = lambda name, value: None
    facts: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def fact(self, name: str, value: object) -> None:
        self.facts[name] = str(value)
        self.told(name, str(value))

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def as_dict(self) -> dict[str, Any]:
        return {"facts": self.facts, "warnings": self.warnings, "verdict": self.verdict()}

    def verdict(self) -> str:
        """Sum up the warnings in one line."""
        count = len(self.warnings)
        return f"{count} warning{'s' * (count > 1)}: see above" if count else "ready: no known trap found"


def doctor(report: Report, run: Path | None = None) -> Report:
    """Look at everything; MPI comes last, for a library that does not suit its launcher may end the process.

    Args:
        report: is filled and returned.
        run: a run directory, or the folder that is to hold one, to look at as well.
    """
    for name, version in provenance.versions().items():
        report.fact(name, version)
    for name, (extra, use) in OPTIONAL.items():
        report.fact(f"optional {name}", _optional(name, extra, use))
    doctor_places.container(report)
    _shadows(report)
    _processors(report)
    doctor_devices.devices(report)
    for key, value in provenance.slurm().items():
        report.fact(f"Slurm {key}", value)
    doctor_places.folders(report)
    if run is not None:
        doctor_places.run_directory(report, run)
    world = _mpi(report)
    if run is not None and world is not None and world.Get_size() > 1:
        seen = mpi.MpiWorld(world).gather((run.exists(), os.uname().nodename))
        if len({there for there, _ in seen}) > 1:
            without = sorted({node for there, node in seen if not there})
            report.warn(
                f"{run} is not there on {', '.join(without)}; runs must lie on a file system that all nodes share"
            )
    return report


def _shadows(report: Report) -> None:
    """Packages that come from elsewhere than this environment."""
    leaks = [("PYTHONPATH", Path(folder)) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if site.ENABLE_USER_SITE:
        leaks.append(("your home", Path(site.getusersitepackages())))
    cures = {"PYTHONPATH": "unset PYTHONPATH (module unload ...)", "your home": "set PYTHONNOUSERSITE=1"}
    for source, folder in leaks:
        found = [name for name in SHADOWED if _origin(name).is_relative_to(folder.resolve()) and not _own(name)]
        # A checkout of this package on PYTHONPATH is how it is developed.
        if found and found != ["satori_hpc"]:
            report.warn(f"{', '.join(found)} of {folder} ({source}) hide those of this environment; {cures[source]}")


def _optional(name: str, extra: str, use: str) -> str:
    """Version of an optional package, or how to install it and what for."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"not installed, needed for {use}: pip install 'satori-hpc[{extra}]'"


def _own(name: str) -> bool:
    """Whether a package is of this environment, which may lie inside a checkout that is on PYTHONPATH."""
    return _origin(name).is_relative_to(Path(sys.prefix).resolve())


def _origin(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve() if spec and spec.origin else Path("/")


def _processors(report: Report) -> None:
    usable = len(os.sched_getaffinity(0))
    free = psutil.virtual_memory().available / 2**30
    report.fact("processors", f"{usable} usable of {os.cpu_count()}")
    report.fact("memory", f"{memory.limit_bytes() / 2**30:.1f} GiB limit, {free:.1f} GiB free")
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if asked.isdigit() and int(asked) > usable:
        report.warn(
            f"the job asked for {asked} processors per task and this process may use {usable}; start it by "
            f"srun --cpus-per-task={asked}, which srun does not take from the job since Slurm 22.05"
        )


def _mpi(report: Report) -> Any:
    """The communicator of all ranks; None without MPI."""
    try:
        from mpi4py import MPI
    except ImportError:
        report.fact("MPI", "mpi4py is not installed; pip install 'satori-hpc[mpi]'")
        return None
    except RuntimeError as error:
        report.fact("MPI", f"mpi4py finds no MPI library ({error}); pip install mpich, or set MPI4PY_LIBMPI")
        return None
    world = MPI.COMM_WORLD
    report.fact("MPI", MPI.Get_library_version().strip("\0 \n").splitlines()[0])
    report.fact("MPI library file", _mpi_file())
    report.fact("MPI rank", f"{world.Get_rank()} of {world.Get_size()}")
    expected = launch.expected_ranks()
    if expected not in (None, world.Get_size()):
        report.warn(
            f"the launcher started {expected} processes, yet MPI sees a world of {world.Get_size()}: launcher and MPI "
            f"library do not speak to each other; {launch.CURE}"
        )
    return world


def _mpi_file() -> str:
    """Path of the libmpi that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return "unknown"
    found = [line.split(maxsplit=5)[5] for line in lines if "/libmpi" in line]
    return found[0] if found else "unknown"
