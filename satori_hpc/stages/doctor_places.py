"""The part of the doctor that looks at folders, the run directory and the container."""

import errno
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from satori_hpc.stages.doctor import Report

LABELS = Path("/.singularity.d/labels.json")
LOW_GIB = 1.0
CACHES = {
    "MPLCONFIGDIR": "~/.config/matplotlib",
    "NUMBA_CACHE_DIR": "~/.cache/numba",
    "TORCHINDUCTOR_CACHE_DIR": "~/.cache/torchinductor",
}


def image() -> str:
    """The container image that this process runs in; "" outside."""
    return os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER") or ""


def container(report: "Report") -> None:
    """Which image this is, and the revision that it was built from."""
    if not image():
        return
    try:
        revision = json.loads(LABELS.read_text())["org.opencontainers.image.revision"]
    except (OSError, ValueError, KeyError):
        revision = "unknown"
    report.fact("image", f"{image()}, revision {revision}")


def folders(report: "Report") -> None:
    """Folders that commands write to besides the run: space, and whether one can write there."""
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
    """A run directory as the stages need it: there, writable, with locks."""
    run = Path(os.path.abspath(run))
    if not run.exists():
        report.fact("run", f"{run}, not there")
        report.warn(f"{run} is not there; {_elsewhere(run)}")
        return
    report.fact("run", f"{run}, {_space(run):.0f} GiB free, {_file_system(run)}")
    if problem := _problem(run):
        report.warn(f"{run}: {problem}; mend its permissions or quota, or choose another folder")
    elif problem := _lock_problem(run):
        report.warn(
            f"{run}: locks do not work ({problem}); train by several processes needs them: use a file system mounted "
            "with locks (Lustre: -o flock), or satori-hpc train --rendezvous tcp://HOST:PORT"
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
    """GiB free."""
    return shutil.disk_usage(folder).free / 2**30


def _problem(folder: Path) -> str:
    """Why a file cannot be made in a folder; "" if it can. Tried for real: quotas and read-only mounts show only so."""
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
    """Type of the file system that a folder lies on."""
    path, best = os.path.realpath(folder), ("", "unknown file system")
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, where, kind = line.split()[:3]
            where = where.replace("\\040", " ")
            if len(where) >= len(best[0]) and (path + "/").startswith(where.rstrip("/") + "/"):
                best = (where, kind)
    return best[1]
