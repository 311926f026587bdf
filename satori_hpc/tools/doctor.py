"""Report the capabilities of this machine, and known problems with their cures."""

import errno
import fcntl
import importlib.util
import json
import os
import shutil
import site
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from satori_hpc.parallel import memory, mpi
from satori_hpc.run import provenance

SHADOWED = ("torch", "numpy", "scipy", "zarr", "dask", "mpi4py", "pandas", "numba", "satori_hpc")
# Package -> (extra that installs it, its purpose); everything else is a dependency.
OPTIONAL = {
    "mpi4py": ("mpi", "prepare, score, search and ensemble by several processes"),
    "h5py": ("arrays", "HDF5 files of arrays"),
    "pybigtools": ("tracks", "tracks"),
    "snakemake": ("workflow", "the Snakemake workflow of jobs/"),
}


@dataclass
class Report:
    """Facts in the order in which they were found, and warnings with cures.

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
    """Check everything; MPI comes last, because a library that does not match its launcher may end the process.

    Args:
        report: is filled and returned.
        run: a run directory, or the folder that is to hold one, to be checked as well.
    """
    for name, version in provenance.versions().items():
        report.fact(name, version)
    for name, (extra, use) in OPTIONAL.items():
        report.fact(f"optional {name}", _optional(name, extra, use))
    container(report)
    _shadows(report)
    _processors(report)
    devices(report)
    for key, value in provenance.slurm().items():
        report.fact(f"Slurm {key}", value)
    folders(report)
    if run is not None:
        run_directory(report, run)
    world = _mpi(report)
    if run is not None and world is not None and world.Get_size() > 1:
        seen = mpi.MpiWorld(world).all_gather((run.exists(), os.uname().nodename))
        if len({there for there, _ in seen}) > 1:
            without = sorted({node for there, node in seen if not there})
            report.warn(
                f"{run} is not there on {', '.join(without)}; runs must be on a file system that all nodes share"
            )
    return report


def _shadows(report: Report) -> None:
    """Return packages loaded from outside this environment."""
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
    """Return the version of an optional package, or how to install it and its purpose."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"not installed, needed for {use}: pip install 'satori-hpc[{extra}]'"


def _own(name: str) -> bool:
    """Return whether a package belongs to this environment, which may be inside a checkout on PYTHONPATH."""
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
    """Return the communicator of all ranks; None without MPI."""
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
    expected = mpi.expected_ranks()
    if expected not in (None, world.Get_size()):
        report.warn(
            f"the launcher started {expected} processes, yet MPI sees a world of {world.Get_size()}: launcher and MPI "
            f"library do not speak to each other; {mpi.CURE}"
        )
    return world


def _mpi_file() -> str:
    """Return path of the libmpi that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return "unknown"
    found = [line.split(maxsplit=5)[5] for line in lines if "/libmpi" in line]
    return found[0] if found else "unknown"


# The part of the doctor that looks for GPUs, and for why torch does not see one that was asked for.

NODES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/version")
INJECTED = Path("/.singularity.d/libs")  # where apptainer --nv puts the driver's libraries
ASKED = (
    *("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK"),
    *("SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"),
)
NONE = ("", "0:0", "-1", "NoDevFiles")


def devices(report: "Report") -> None:
    """Report GPUs and their free memory; warn if one is requested or present but not visible to torch."""
    import torch  # here: every command imports this module, few need torch

    report.fact("torch threads", torch.get_num_threads())
    if torch.cuda.is_available():
        report.fact("devices", f"cpu, {torch.cuda.device_count()} CUDA")
        report.fact("CUDA", torch.version.cuda)
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            report.fact(f"cuda:{number}", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
        return
    report.fact("devices", "cpu (torch sees no CUDA device)")
    why = asked_for()
    if why:
        report.warn(f"{why}, yet torch sees none and would compute on the CPU: {_cause()}")


def asked_for() -> str:
    """Explain why a GPU is expected here; "" if it is not."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in NONE:  # hidden on purpose
        return ""
    for name in ASKED:
        value = os.environ.get(name, "")
        if value not in NONE and not (name.startswith("SLURM_GPUS") and value.rpartition(":")[2] == "0"):
            return f"a GPU was asked for ({name}={value})"
    found = sorted(path.name for path in NODES.glob("nvidia[0-9]*"))
    return f"this machine has GPUs ({', '.join(found)})" if found else ""


def _cause() -> str:
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; use the CUDA image, or install torch's CUDA wheel"
    if INJECTED.parent.is_dir() and not list(INJECTED.glob("libcuda.so*")):
        return "the container has no driver library; start it with apptainer exec --nv"
    try:
        torch.cuda.init()
        said = "no device"
    except Exception as error:  # report its message, whatever the error
        said = str(error).splitlines()[0]
    driver = DRIVER.read_text().splitlines()[0] if DRIVER.exists() else "no NVIDIA driver is loaded"
    return f"{said} (torch for CUDA {torch.version.cuda}; {driver}); the driver may be too old, or this no GPU node"


# The part of the doctor that looks at folders, the run directory and the container.

LABELS = Path("/.singularity.d/labels.json")
LOW_GIB = 1.0
CACHES = {
    "MPLCONFIGDIR": "~/.config/matplotlib",
    "NUMBA_CACHE_DIR": "~/.cache/numba",
    "TORCHINDUCTOR_CACHE_DIR": "~/.cache/torchinductor",
}


def image() -> str:
    """Return the container image that this process runs in; "" outside."""
    return os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER") or ""


def container(report: "Report") -> None:
    """Return the image and its revision."""
    if not image():
        return
    try:
        revision = json.loads(LABELS.read_text())["org.opencontainers.image.revision"]
    except (OSError, ValueError, KeyError):
        revision = "unknown"
    report.fact("image", f"{image()}, revision {revision}")


def folders(report: "Report") -> None:
    """Return folders that commands write to besides the run: space, and whether one can write there."""
    wanted = os.environ.get("TMPDIR")
    if wanted and Path(wanted) != Path(tempfile.gettempdir()):
        bind = f"; in a container: --bind {wanted}" if image() else ""
        report.warn(f"TMPDIR={wanted} cannot be used, {tempfile.gettempdir()} is used instead{bind}")
    _folder(report, "temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to a folder with space on this node")
    _folder(report, "current folder", Path.cwd(), "give run directories by a path that can be written to")
    _folder(report, "home", Path.home(), "caches and settings cannot be kept there: set those of the caches, or HOME")
    for name, usual in CACHES.items():
        place = Path(os.environ.get(name) or usual).expanduser()
        there = next((folder for folder in (place, *place.parents) if folder.exists()), Path("/"))
        report.fact(name, place)
        if name in os.environ and (problem := _problem(there)):
            report.warn(f"{name}={place}: {problem}; set it to a folder that can be written to")


def run_directory(report: "Report", run: Path) -> None:
    """Return a run directory as the stages need it: there, writable, with locks."""
    run = Path(os.path.abspath(run))
    if not run.exists():
        report.fact("run", f"{run}, not there")
        report.warn(f"{run} is not there; {_elsewhere(run)}")
        return
    report.fact("run", f"{run}, {_space(run):.0f} GiB free, {_file_system(run)}")
    if problem := _problem(run):
        report.warn(f"{run}: {problem}; fix its permissions or quota, or choose another folder")
    elif problem := _lock_problem(run):
        report.warn(
            f"{run}: locks do not work ({problem}); train by several processes needs them: use a file system mounted "
            "with locks (Lustre: -o flock), or set MASTER_ADDR and MASTER_PORT for satori-hpc train"
        )


def _elsewhere(run: Path) -> str:
    if not image():
        return "check the path, or make it: satori-hpc new"
    there = next(folder for folder in run.parents if folder.exists())
    return (
        f"in a container only bound folders are seen, and of this path only {there} is there: "
        f"start it with apptainer exec --bind {run.parent} --pwd {run.parent}"
    )


def _folder(report: "Report", name: str, folder: Path, cure: str) -> None:
    if not folder.is_dir():
        report.fact(name, f"{folder}, not there")
        report.warn(f"{name} {folder} is not there; {cure}")
        return
    space = _space(folder)
    report.fact(name, f"{folder}, {space:.0f} GiB free")
    if problem := _problem(folder):
        report.warn(f"{folder} ({name}): {problem}; {cure}")
    elif space < LOW_GIB:
        report.warn(f"{folder} ({name}): only {space:.2f} GiB are free; {cure}")


def _space(folder: Path) -> float:
    """Return GiB free."""
    return shutil.disk_usage(folder).free / 2**30


def _problem(folder: Path) -> str:
    """Explain why a file cannot be made in a folder.

    "" if it can. Writes a file, to detect quotas and read-only mounts.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"not writable ({error.strerror})"
        return error.strerror or str(error)
    return ""


def _lock_problem(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _file_system(folder: Path) -> str:
    """Return the file system type of a folder."""
    path, best = os.path.realpath(folder), ("", "unknown file system")
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, where, kind = line.split()[:3]
            where = where.replace("\\040", " ")
            if len(where) >= len(best[0]) and (path + "/").startswith(where.rstrip("/") + "/"):
                best = (where, kind)
    return best[1]
