"""Where the processes of a training job find each other: who started us, and the store that all of them can reach.

Under Slurm the store is a file in the run directory, which all nodes see anyway: no port has to be free, and no name
of a node to be found out. It is named after job, restart and step, so a requeued job never reads a stale one.
"""

import os
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from satori_hpc.errors import SatoriError, shared

if TYPE_CHECKING:
    from torch.distributed import Store

# (what started us, our rank, number of processes), the first that is there counts: torchrun runs under srun, and
# mpiexec inside a Slurm job inherits the variables of the step that carries its helpers.
LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE"),
    ("mpiexec", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
PREFIX = ".rendezvous-"
FORGOTTEN_S = 86_400.0  # a file as old as this was left by a job that was killed
CURE = "give all of them --rendezvous tcp://HOST:PORT, HOST being where rank 0 runs and PORT one that is free there"


@dataclass(frozen=True)
class Place:
    """This process among those that the launcher started."""

    launcher: str
    rank: int
    size: int


def place() -> Place | None:
    """What the launcher says; None when there is none."""
    found = []
    for launcher, rank, size in LAUNCHERS:
        said = (os.environ.get(rank, ""), os.environ.get(size, ""))
        if all(value.isdigit() for value in said):
            found.append(Place(launcher, int(said[0]), int(said[1])))
    if not found:
        return None
    first, last = found[0], found[-1]
    # srun --mpi=pmi2 sets the variables of mpiexec, too.
    return last if (first.launcher, last) == ("mpiexec", Place("srun", first.rank, first.size)) else first


def key(where: Place) -> str | None:
    """A word that all processes of this job step share and no other has; None when the launcher gives none."""
    if where.launcher == "srun" and os.environ.get("SLURM_JOB_ID"):
        names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
        return "-".join(os.environ.get(name) or "0" for name in names)
    name = os.environ.get("PMIX_NAMESPACE") if where.launcher == "mpiexec" else None
    return re.sub(r"[^A-Za-z0-9]+", "-", name) if name else None


def file_of(run_path: Path, where: Place) -> Path:
    """The file of the file rendezvous.

    Raises:
        SatoriError: the launcher gives no word to name it by.
    """
    word = key(where)
    if word is None:
        raise shared(
            SatoriError(
                f"{where.launcher} started {where.size} processes and gave them no word in common, after which to name "
                f"the file by which they find each other (srun gives one, and Open MPI's mpiexec): {CURE}"
            )
        )
    return run_path / f"{PREFIX}{word}"


def store(run_path: Path, where: Place, *, rendezvous: str | None, timeout: timedelta) -> tuple["Store", Path | None]:
    """The store that all processes share, and its file if it is one.

    Args:
        run_path: the run directory.
        where: this process.
        rendezvous: "file", "tcp://HOST:PORT", or None: what MASTER_ADDR and MASTER_PORT say, else the file.
        timeout: how long to wait for it.

    Raises:
        SatoriError: it cannot be reached, or `rendezvous` is none of these.
    """
    import torch.distributed as dist

    master = (os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT"))
    if rendezvous is None and all(master):
        rendezvous = f"tcp://{master[0]}:{master[1]}"
    if rendezvous in (None, "file"):
        path = file_of(run_path, where)
        _sweep(run_path)
        return dist.FileStore(str(path), where.size), path
    host, port = address(str(rendezvous))
    agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # then torchrun listens, and no rank does
    try:
        found: Store = dist.TCPStore(host, port, where.size, where.rank == 0 and not agents, timeout)
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        doing = "listen at" if where.rank == 0 and not agents else "reach"
        raise SatoriError(
            f"rank {where.rank} cannot {doing} {rendezvous} ({first}): HOST must be the name of the node of rank 0, "
            "PORT free there; or use --rendezvous file"
        ) from None
    return dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", found), None


def address(rendezvous: str) -> tuple[str, int]:
    """Host and port of tcp://HOST:PORT.

    Raises:
        SatoriError: it is no such thing.
    """
    try:
        parts = urlsplit(rendezvous)
        if parts.scheme == "tcp" and parts.hostname and parts.port and not parts.path.strip("/"):
            return parts.hostname, parts.port
    except ValueError:  # a port that is none
        pass
    raise shared(SatoriError(f"--rendezvous {rendezvous!r}: expected file or tcp://HOST:PORT"))


def meet(store: "Store", where: Place, *, name: str, timeout: timedelta) -> None:
    """Wait until all processes are there.

    Raises:
        SatoriError: some are not, in time; names them.
    """
    store.set(f"here-{where.rank}", name)
    keys = [f"here-{rank}" for rank in range(where.size)]
    deadline = time.monotonic() + timeout.total_seconds()
    pause = 0.01
    while not store.check(keys):
        if time.monotonic() > deadline:
            missing = [str(rank) for rank, each in enumerate(keys) if not store.check([each])]
            if not missing:
                return
            error = SatoriError(
                f"after {timeout.total_seconds():g} s, {len(missing)} of {where.size} processes have not arrived (rank "
                f"{', '.join(missing)}): they failed at their start, wait in a queue, or look at another rendezvous; "
                "see their output, or wait longer with --join-timeout"
            )
            # The first of those who came tells it for them.
            raise error if all(str(rank) in missing for rank in range(where.rank)) else shared(error)
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


def _sweep(run_path: Path) -> None:
    """Remove files that killed jobs have left."""
    for path in run_path.glob(f"{PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime > FORGOTTEN_S:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
