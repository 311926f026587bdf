"""Set environment variables that depend on the machine; run by every Python of an image at start-up (a .pth file).

Not in %environment: Apptainer evaluates that without the variables of the user, so "unless it is set" cannot be said
there; and like this it holds in every kind of container.
"""

import contextlib
import os
import stat
import tempfile


def _writable(folder: str) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.W_OK)


def _private(folder: str) -> str:
    """Return the folder, created if needed; another one if another user owns it and could plant compiled code."""
    with contextlib.suppress(OSError):
        os.mkdir(folder, 0o700)
    with contextlib.suppress(OSError):
        found = os.lstat(folder)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and _writable(folder):
            return folder
    return tempfile.mkdtemp()


def _set_up() -> None:
    given = os.environ
    if given.get("SATORI_MPI") == "openmpi":
        given.setdefault("MPI4PY_LIBMPI", "/opt/openmpi/lib/libmpi.so.40")
    # At most as many threads as cores that this process may use.
    threads = str(len(os.sched_getaffinity(0)))
    if given.get("SLURM_CPUS_PER_TASK", "").isdigit():
        threads = given["SLURM_CPUS_PER_TASK"]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        given.setdefault(name, threads)
    # The image is read-only: caches go to a folder writable by this user, on this node.
    names = {"MPLCONFIGDIR": "matplotlib", "NUMBA_CACHE_DIR": "numba", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
    if not names.keys() <= given.keys():
        top = given.get("TMPDIR", "/tmp")
        cache = _private(os.path.join(top if _writable(top) else "/tmp", f"satori-hpc-{os.getuid()}"))
        for name, folder in names.items():
            given.setdefault(name, os.path.join(cache, folder))


_set_up()
