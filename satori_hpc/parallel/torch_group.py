"""Join several training processes by torch.distributed: gloo on CPUs, NCCL on GPUs."""

import contextlib
import hmac
import ipaddress
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satori_hpc.errors import Preempted, SatoriError, shared
from satori_hpc.parallel import messages, mpi, signals
from satori_hpc.parallel.world import World, node

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store

# The rendezvous of a training: a file in the run directory, torch's file://, or MASTER_ADDR and MASTER_PORT, torch's
# env://.
#
# The file is the default: all nodes see it anyway, so it needs no free port and no host name. And it keeps other
# users out: torch's TCPStore has no authentication, so every user of the node can change its keys and connect in place
# of a rank, while a file can be readable by its owner alone. With env:// the secret that authenticates messages
# (`messages.seal`) is in such a file, too; tests/parallel/test_strangers.py holds that no stranger gets in.

# (what started us, our rank, number of processes), the first that is there counts: torchrun runs under srun, and
# mpiexec inside a Slurm job inherits the variables of the step that carries its helpers.
LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE"),
    ("mpiexec", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
PREFIX = ".rendezvous-"  # of files in a run
SECRET = "secret"  # its key in a store that is a file
FORGOTTEN_S = 86_400.0  # a file as old as this was left by a job that was killed
EXCHANGE = timedelta(minutes=60)  # longest wait in one exchange: rank 0 may be writing to a slow disk
BEAT = 2.0  # seconds between two checks whether another rank has failed
GRACE = 3.0  # seconds that the main thread then has to end by itself
FAILED = "failed"  # key of the store: a rank has failed and reported it
CURE = "set MASTER_ADDR to the node of rank 0 and MASTER_PORT to a port that is free there, the same for all processes"


@dataclass(frozen=True)
class Place:
    """This process among those that the launcher started."""

    launcher: str
    rank: int
    size: int


def place() -> Place | None:
    """Read rank and size from the variables of the launcher; None without a launcher."""
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


def file_of(run_path: Path, where: Place) -> Path:
    """Name the rendezvous file of this job step, which no other step uses.

    Of Slurm it has job, restart and step, so a requeued job never reads a stale one. The processes of an mpiexec agree
    on a name by MPI, which they leave again.

    Raises:
        SatoriError: there is no MPI, or it does not know of the others; or the launcher gives no common name.
    """
    if where.launcher == "srun":
        names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
        return run_path / f"{PREFIX}{'-'.join(os.environ.get(name) or '0' for name in names)}"
    if where.launcher == "mpiexec":
        return run_path / f"{PREFIX}{mpi.draw_word(where.size)}"
    raise shared(SatoriError(f"RANK and WORLD_SIZE are set, yet they do not say where rank 0 is: {CURE}"))


@dataclass(frozen=True)
class Meeting:
    """Completed rendezvous of the processes of a job.

    Attributes:
        store: the shared key-value store.
        file: in the run directory, readable by its owner only.
        secret: shared by these processes only.
    """

    store: "Store"
    file: Path
    secret: bytes


def meet(run_path: Path, where: Place, *, timeout: timedelta) -> Meeting:
    """Wait for all processes of the job (rendezvous).

    Args:
        run_path: the run directory.
        where: this process.
        timeout: how long to wait.

    Raises:
        SatoriError: some have not come in time, rank 0 cannot be reached, or others can read the file.
    """
    for old in run_path.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > FORGOTTEN_S:
                old.unlink()
    if os.environ.get("MASTER_ADDR") and os.environ.get("MASTER_PORT"):
        store, path, secret = _store_at_port(run_path, where, timeout)
    else:
        path = file_of(run_path, where)
        store, secret = _store_in_file(path, where), b""
    try:
        _wait_for_all(store, where, timeout=timeout)
        return Meeting(store, path, secret or store.get(SECRET))
    except BaseException:
        if where.rank == 0:
            path.unlink(missing_ok=True)
        raise


def _store_in_file(path: Path, where: Place) -> "Store":
    """Share a store in a file; rank 0 puts the secret into it."""
    import torch.distributed as dist

    os.close(open_private(path, os.O_RDWR | os.O_CREAT))
    store = dist.FileStore(str(path), where.size)
    if where.rank == 0:
        store.set(SECRET, secrets.token_hex())
    return store


def _store_at_port(run_path: Path, where: Place, timeout: timedelta) -> tuple["Store", Path, bytes]:
    """Share a store in the memory of rank 0 or of torchrun's agent, and a file with the secret, which the store names.

    Whoever reaches the port can write there, so all other keys begin with a word that follows from the secret.
    """
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    listens = where.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    listening: dict[str, Any] = {}
    try:
        if listens:
            listening = {"is_master": True, "master_listen_fd": _listen(host, port)}
        store = dist.TCPStore(host, int(port), timeout=timeout, wait_for_workers=False, **listening)
    except (OSError, RuntimeError, ValueError) as error:
        raise SatoriError(
            f"rank {where.rank} cannot {'listen at' if listens else 'reach rank 0 at'} MASTER_ADDR={host}, MASTER_PORT="
            f"{port} ({_first_line(error)}): {CURE}; other nodes must know that node by this address"
        ) from None
    key = f"file-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if where.rank == 0:
        word = secrets.token_hex(8)
        with open(open_private(run_path / f"{PREFIX}{word.encode().hex()}", os.O_WRONLY | os.O_CREAT), "w") as file:
            file.write(secrets.token_hex())
        store.set(key, word)
    path = run_path / f"{PREFIX}{store.get(key).hex()}"  # a name in RUN, whatever another user may have written
    with open(open_private(path, os.O_RDONLY), "rb") as private:
        secret = private.read()
    return dist.PrefixStore(hmac.digest(secret, b"keys of the store", "sha256").hex(), store), path, secret


def _listen(host: str, port: str) -> int:
    """Open a socket that listens at the address of a host alone; torch's own listens on all networks."""
    family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    if ipaddress.ip_address(address[0]).is_unspecified:
        raise ValueError(f"{host} means all networks")
    return socket.create_server(address, family=family, backlog=1024).detach()


def open_private(path: Path, flags: int) -> int:
    """Open a file that nobody else can read.

    Raises:
        SatoriError: another user owns it or may read it, or it does not exist and `flags` do not create it.
    """
    try:
        opened = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise SatoriError(
            f"{path} is not there, though rank 0 has made it: all processes must see the same run directory"
        ) from None
    found = os.fstat(opened)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(opened)
        raise SatoriError(
            f"{path} keeps the secret of a job, which no other user may read; found owner {found.st_uid} "
            f"and mode {stat.S_IMODE(found.st_mode):03o}, expected owner {os.geteuid()} and no rights for others: "
            "remove it, or put the run on a file system that keeps owners and modes"
        )
    return opened


def _wait_for_all(store: "Store", where: Place, *, timeout: timedelta) -> None:
    """Wait until all processes have arrived.

    Raises:
        SatoriError: some are not, in time; names them.
    """
    store.set(f"here-{where.rank}", node())
    keys = [f"here-{rank}" for rank in range(where.size)]
    deadline = time.monotonic() + timeout.total_seconds()
    while not store.check(keys):
        late = time.monotonic() > deadline
        if late and (missing := [rank for rank, each in enumerate(keys) if not store.check([each])]):
            error = SatoriError(
                f"after {timeout.total_seconds():g} s, {len(missing)} of {where.size} processes have not arrived (rank "
                f"{', '.join(map(str, missing))}): they failed at their start, wait in a queue, or look at another "
                "rendezvous; see their output, or wait longer with --join-timeout"
            )
            # The lowest rank that has arrived reports it for all.
            raise error if set(range(where.rank)) <= set(missing) else shared(error)
        time.sleep(0.1)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class LostError(SatoriError):
    """A collective operation failed, as another process is gone."""


@contextlib.contextmanager
def session(run_path: Path, *, join_timeout: float) -> Iterator[World]:
    """Join the world of a training command: one process, or all that torchrun, srun or mpiexec started.

    An exception that leaves the block on one process ends all of them, as in `mpi.session`; an error with `shared`
    is raised by rank 0, and the others exit with its status. Stopped by a signal, the status is that of Preempted.

    Args:
        run_path: the run directory.
        join_timeout: seconds to wait for all processes to come.

    Raises:
        SatoriError: the processes do not find each other.
    """
    where = place()
    if where is None:
        mpi.refuse_unknown("train", CURE)
    if where is None or where.size == 1:
        with signals.serial(signals.SIGNALS, status=Preempted.status):
            yield World()
        return
    try:
        world = _join(run_path, where, timeout=timedelta(seconds=join_timeout))
    except SatoriError as error:
        if error.shared and where.rank > 0:
            raise SystemExit(error.status) from None
        raise
    with signals.together(world, signals.SIGNALS, status=Preempted.status):
        yield world


def _join(run_path: Path, where: Place, *, timeout: timedelta) -> "TorchWorld":
    """Return the world of this process after the rendezvous of the job."""
    if not run_path.is_dir():
        raise shared(SatoriError(f"{run_path}: no such run directory"))
    try:
        met = meet(run_path, where, timeout=timeout)
    except RuntimeError as error:
        raise SatoriError(
            f"rank {where.rank} lost the others before all had come, or the file system of {run_path} has no locks "
            f"({_first_line(error)}): run it again, or {CURE}"
        ) from None
    try:
        return _connect(where, met, timeout=max(EXCHANGE, timeout))
    except BaseException:
        if where.rank == 0:
            met.file.unlink(missing_ok=True)
        raise


def _connect(where: Place, met: Meeting, *, timeout: timedelta) -> "TorchWorld":
    """Initialise the process group: processes of one node connect by loopback, out of reach of other machines."""
    import torch
    import torch.distributed as dist

    if where.rank == 0:
        met.store.set("nodes", str(len({met.store.get(f"here-{rank}") for rank in range(where.size)})))
    if met.store.get("nodes") == b"1":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "=lo")  # "=": this one, not all that begin so
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("group", met.store),
            rank=where.rank,
            world_size=where.size,
            timeout=timeout,
        )
    except RuntimeError as error:
        raise SatoriError(
            f"the processes cannot connect to each other ({_first_line(error)}): name the network "
            "interface to use in GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME), see: ip -brief address"
        ) from error
    return TorchWorld(where, met)


class TorchWorld(World):
    """The processes of torch's default group.

    Connections of gloo are not authenticated, so every message is sealed by the job's secret; the first one proves
    that all processes are of this job. Sums of gradients are not: numbers, of which no code can be made.

    Args:
        where: this process.
        met: how it met the others; rank 0 removes the file of that in the end.
    """

    def __init__(self, where: Place, met: Meeting) -> None:
        self.rank, self.size = where.rank, where.size
        self._met = met
        self._exchanges = 0
        self._over = threading.Event()
        self._find_neighbours()
        self._guard = threading.Thread(target=self._look_after_others, daemon=True)
        self._guard.start()

    def barrier(self) -> None:
        self._all_gather(b"")

    def all_reduce_sum(self, values: "torch.Tensor") -> None:
        import torch.distributed as dist

        with _exchange():
            dist.all_reduce(values)

    def close(self) -> None:
        self._over.set()
        self._guard.join()
        self.barrier()  # a process that still polls the file would wait for it to come back
        self.leave()

    def leave(self) -> None:
        import torch.distributed as dist

        self._over.set()
        self._guard.join(timeout=1)
        if self.rank == 0:
            self._met.file.unlink(missing_ok=True)
        dist.destroy_process_group()  # else a thread of gloo may give back a tensor when Python is gone, and abort

    def abort(self, status: int) -> None:
        """Make the other processes end themselves: their connections break, or their watchdog thread notices."""
        self._met.store.set(FAILED, str(self.rank))

    def explains(self, error: BaseException) -> bool:
        if not isinstance(error, LostError):
            return False
        deadline = time.monotonic() + GRACE
        try:
            while time.monotonic() < deadline:
                if self._met.store.check([FAILED]):
                    return True
                time.sleep(0.05)
            return bool(self._met.store.add("lost", 1) > 1)  # it was killed: a process that is left reports it
        except RuntimeError:
            return False  # the store went with rank 0

    def _somebody_failed(self) -> bool:
        try:
            return bool(self._met.store.check([FAILED]))
        except RuntimeError:
            return True  # the store went with rank 0

    def _look_after_others(self) -> None:
        """Watchdog: end this process when another one has failed, as a GPU would wait for it for ever."""
        while not self._over.wait(BEAT):
            if self.rank == 0:
                with contextlib.suppress(OSError):
                    os.utime(self._met.file)  # other jobs remove files untouched for a day
            if self._somebody_failed() and not self._over.wait(GRACE):
                os._exit(1)

    def _all_gather(self, message: bytes) -> list[bytes]:
        import torch
        import torch.distributed as dist

        mine = self._seal(message)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _exchange():
            dist.all_gather(found, mine)
        return [self._unseal(each, rank) for rank, each in enumerate(found)]

    def _broadcast(self, message: bytes) -> bytes:
        import torch.distributed as dist

        sealed = self._seal(message)
        with _exchange():
            dist.broadcast(sealed, 0)
        return self._unseal(sealed, 0)

    def _seal(self, message: bytes) -> "torch.Tensor":
        """Authenticate a message for the next exchange, which has the same number on all processes."""
        import torch

        self._exchanges += 1
        sealed = messages.seal(message, self._met.secret, number=self._exchanges, rank=self.rank)
        return torch.frombuffer(bytearray(sealed), dtype=torch.uint8)

    def _unseal(self, sealed: "torch.Tensor", rank: int) -> bytes:
        """Verify and return the message of a process in this exchange."""
        return messages.unseal(sealed.numpy().tobytes(), self._met.secret, number=self._exchanges, rank=rank)


@contextlib.contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            f"lost another process, which was killed, or whose node or network failed ({_first_line(error)}); "
            f"{signals.AGAIN}"
        ) from None
