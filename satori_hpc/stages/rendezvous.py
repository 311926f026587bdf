"""Where the processes of a training job find each other: who started us, and the store that all of them can reach.

Under Slurm the store is a file in the run directory, which all nodes see anyway: no port has to be free, and no name
of a node to be found out. It is named after job, restart and step, so a requeued job never reads a stale one.

What the processes must share and nobody else may know, the job's secret, also lies in the run directory: in a folder
that only its owner can read. A port can be reached by everybody on the node: who does not know the secret finds no key
in the store there (`Meeting`), and is not believed where he connects all the same (`messages.seal`).
"""

import contextlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import socket
import stat
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

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
FOLDER = ".rendezvous-"  # in a run; followed by the number of the user
LEADER, SECRET = "leader", "secret"  # keys of the store
FORGOTTEN_S = 86_400.0  # a file as old as this was left by a job that was killed
TRY = timedelta(seconds=5)  # to connect, before the leader's note is read again
CURE = (
    "give all of them --rendezvous tcp://HOST:PORT, HOST being where rank 0 runs and PORT one that is free there, or 0"
)


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


@dataclass(frozen=True)
class Meeting:
    """Where the processes of a job have met.

    Attributes:
        store: that they share.
        secret: that they know, and nobody else.
        file: in a folder of the run directory, both of which `remove` removes.
        interface: of the network, that their connections are to use; None = as torch chooses.
    """

    store: "Store"
    secret: bytes
    file: Path
    interface: str | None

    def keep(self) -> None:
        """Show that the file is in use: others remove those that nobody has touched for a day."""
        with contextlib.suppress(OSError):
            os.utime(self.file)

    def remove(self) -> None:
        """Remove the file, when no process needs it any more."""
        _remove(self.file)


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
    return _folder_of(run_path) / word


def meet(run_path: Path, where: Place, *, rendezvous: str | None, name: str, timeout: timedelta) -> Meeting:
    """Wait until all processes of the job are there.

    Args:
        run_path: the run directory.
        where: this process.
        rendezvous: "file", "tcp://HOST:PORT" (PORT 0: a free one), or None: what MASTER_ADDR and MASTER_PORT say, else
            the file.
        name: of this process, in words.
        timeout: how long to wait.

    Raises:
        SatoriError: some have not come in time, `rendezvous` is none of these or cannot be reached, or the run
            directory cannot keep a secret.
    """
    master = (os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT"))
    if rendezvous is None and all(master):
        rendezvous = f"tcp://{master[0]}:{master[1]}"
    toward: tuple[str, int] | None = None
    if rendezvous in (None, "file"):
        path = file_of(run_path, where)
        store, secret = _file_store(path, where), b""
    else:
        path = _note_of(run_path, where, str(rendezvous))
        join = _lead if where.rank == 0 else _find_leader
        store, secret, toward = join(path, where, str(rendezvous), timeout=timeout)
    try:
        _wait_for_all(store, where, name=name, timeout=timeout)
        return Meeting(store, secret or store.get(SECRET), path, _interface(store, where, toward))
    except BaseException:
        if where.rank == 0:
            _remove(path)
        raise


def address(rendezvous: str) -> tuple[str, int]:
    """Host and port of tcp://HOST:PORT.

    Raises:
        SatoriError: it is no such thing.
    """
    try:
        parts = urlsplit(rendezvous)
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None and not parts.path.strip("/"):
            return parts.hostname, parts.port
    except ValueError:  # a port that is none
        pass
    raise shared(SatoriError(f"--rendezvous {rendezvous!r}: expected file or tcp://HOST:PORT"))


def _file_store(path: Path, where: Place) -> "Store":
    """The store in a file, made such that nobody else can read it; the leader puts the secret into it."""
    import torch.distributed as dist

    os.close(_open_private(path, os.O_RDWR | os.O_CREAT))
    found: Store = dist.FileStore(str(path), where.size)
    if where.rank == 0:
        found.set(SECRET, secrets.token_hex())
    return found


def _lead(note: Path, where: Place, rendezvous: str, *, timeout: timedelta) -> tuple["Store", bytes, tuple[str, int]]:
    """The store at a port of this node, which is the leader's, the secret, and where the port is.

    Everybody may connect there, so all keys begin with a word that follows from the secret. Address and secret go into
    the note, for the other processes. Under torchrun its agent listens, else the leader: at the address of HOST alone.
    """
    import torch.distributed as dist

    host, port = address(rendezvous)
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    listening: dict[str, Any] = {}
    try:
        if not agent:
            with _listen(host, port) as made:
                host, port = made.getsockname()[:2]
                listening = {"is_master": True, "master_listen_fd": made.detach()}
        found = dist.TCPStore(host, port, timeout=timeout, wait_for_workers=False, **listening)
    except (OSError, RuntimeError, ValueError) as error:
        raise SatoriError(
            f"rank 0 cannot {'reach' if agent else 'listen at'} {rendezvous} ({_first_line(error)}): HOST must be a "
            "name or an address of the node of rank 0, PORT free there, or 0 for any; or use --rendezvous file"
        ) from None
    secret = secrets.token_hex()
    store = dist.PrefixStore(_hidden(secret), found)
    store.set(LEADER, "here")
    _write_note(note, {"host": host, "port": port, "secret": secret})
    return store, secret.encode(), (host, port)


def _find_leader(
    note: Path, where: Place, rendezvous: str, *, timeout: timedelta
) -> tuple["Store", bytes, tuple[str, int]]:
    """What `_lead` gives, for the other processes.

    A killed job may have left a note: it counts when the leader's key is found by it.
    """
    import torch.distributed as dist

    deadline = time.monotonic() + timeout.total_seconds()
    why = f"it has left no address in {note}, so it has not come, or does not see this run directory"
    while time.monotonic() < deadline:
        said = _read_note(note)
        if said is not None:
            host, port, secret = said["host"], int(said["port"]), said["secret"]
            why = f"no process of this job answers at tcp://{host}:{port}"
            with contextlib.suppress(RuntimeError):
                found = dist.TCPStore(host, port, timeout=TRY, wait_for_workers=False)
                store = dist.PrefixStore(_hidden(secret), found)
                if store.check([LEADER]):
                    found.set_timeout(timeout)
                    return store, secret.encode(), (host, port)
        time.sleep(0.1)
    raise SatoriError(
        f"rank {where.rank} cannot reach rank 0 by {rendezvous} in {timeout.total_seconds():g} s: {why}. HOST must be "
        "a name or an address of the node of rank 0 by which the other nodes reach it; or use --rendezvous file"
    )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address of a host, and nowhere else."""
    family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = ipaddress.ip_address(at[0])
    if found.is_unspecified:
        raise ValueError(f"{host} means all networks")
    if found.is_loopback and host == socket.gethostname():
        # Some systems have 127.0.1.1 for their own name, by which other nodes know them at another address.
        with contextlib.suppress(OSError):
            family, at = socket.AF_INET, (_own_address("192.0.2.1", 9), port)  # of documents, so far away
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(at)
        made.listen(1024)
    except BaseException:
        made.close()
        raise
    return made


def _own_address(host: str, port: int) -> str:
    """This node's address on the way to another one; nothing is sent."""
    family, _, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(at)
        return str(probe.getsockname()[0])


def _interface(store: "Store", where: Place, toward: tuple[str, int] | None) -> str | None:
    """The loopback when all processes are on one node, else the interface by which the leader's port is reached."""
    if where.rank == 0:
        nodes = {store.get(f"node-{rank}") for rank in range(where.size)}
        store.set("nodes", str(len(nodes)))
    if store.get("nodes") == b"1":
        mine = "127.0.0.1"
    elif toward is not None:
        mine = _own_address(*toward)
    else:
        return None
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == mine for each in addresses):
            return name
    return None


def _node() -> str:
    """A word for this node, or for the container on it that has a network of its own."""
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        words.append(str(Path("/proc/self/ns/net").stat().st_ino))
    return " ".join(words)


def _wait_for_all(store: "Store", where: Place, *, name: str, timeout: timedelta) -> None:
    """Wait until all processes are there.

    Raises:
        SatoriError: some are not, in time; names them.
    """
    store.set(f"node-{where.rank}", _node())
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


def _hidden(secret: str) -> str:
    """What all keys of the job begin with: it follows from the secret, which does not follow from it."""
    return hmac.digest(secret.encode(), b"keys of the store", "sha256").hex()


def _folder_of(run_path: Path) -> Path:
    return run_path / f"{FOLDER}{os.geteuid()}"


def _note_of(run_path: Path, where: Place, rendezvous: str) -> Path:
    """Where the leader leaves address and secret of a rendezvous at a port."""
    host, port = address(rendezvous)
    words = (key(where) or "job", host, str(port), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return _folder_of(run_path) / f"{re.sub('[^A-Za-z0-9]+', '-', ' '.join(words))}.json"


def _open_private(path: Path, flags: int) -> int:
    """Open a file of ours in a folder of ours, into which nobody else can look; made when they are not there.

    Raises:
        SatoriError: they are somebody else's, or others may read them.
    """
    folder = path.parent
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        _require_private(folder, folder.lstat())
        for old in folder.iterdir():  # left by jobs that were killed
            with contextlib.suppress(FileNotFoundError):
                if time.time() - old.stat().st_mtime > FORGOTTEN_S:
                    old.unlink()
        with contextlib.suppress(FileNotFoundError):  # a job that ends has removed the folder just now
            opened = os.open(path, flags | os.O_NOFOLLOW, 0o600)
            _require_private(path, os.fstat(opened))
            return opened


def _require_private(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SatoriError(
            f"{path} keeps what the processes of a job must share and nobody else may know; found owner {found.st_uid} "
            f"and mode {stat.S_IMODE(found.st_mode):03o}, expected owner {os.geteuid()} and no rights for others: "
            "remove it, or put the run on a file system that keeps owners and modes"
        )


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # files of another job are in it
        path.parent.rmdir()


def _write_note(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with open(_open_private(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
        json.dump(content, file)
    partial.replace(path)


def _read_note(path: Path) -> dict[str, Any] | None:
    """What the leader has written; None when it has not yet."""
    try:
        _require_private(path.parent, path.parent.lstat())
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            _require_private(path, os.fstat(file.fileno()))
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and {"host", "port", "secret"} <= found.keys() else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
