"""The world of many processes that train together: torch.distributed, by gloo on CPUs and NCCL on GPUs."""

import contextlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from satori_hpc.errors import Requeue, SatoriError, shared
from satori_hpc.parallel import messages, mpi, signals
from satori_hpc.parallel.watch import Watch
from satori_hpc.parallel.world import Joined, World

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store

# Where the processes of a training job find each other: who started us, and the store that all of them can reach.
#
# Under Slurm the store is a file in the run directory, which all nodes see anyway: no port has to be free, and no name
# of a node to be found out. It is named after job, restart and step, so a requeued job never reads a stale one.
#
# What the processes must share and nobody else may know, the job's secret, also lies in the run directory: in a folder
# that only its owner can read. A port can be reached by everybody on the node: who does not know the secret finds no
# key
# in the store there (`Meeting`), and is not believed where he connects all the same (`messages.seal`).

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


EXCHANGE = timedelta(minutes=60)  # longest wait in one exchange: the leader may be writing to a slow disk
BEAT = 2.0  # seconds between two looks whether somebody has failed
GRACE = 3.0  # seconds that the main thread gets to end by itself then
AFTER_YOU = 0.5  # seconds by which the leader leaves first: launchers end all when one has ended
FAILED = "failed"
SIZE_BYTES = 8  # the size of a message, which goes ahead of it


class LostError(SatoriError):
    """An exchange did not come about."""


@contextlib.contextmanager
def session(run_path: Path, *, meeting: str | None, join_timeout: float) -> Iterator[World]:
    """The world of a training command: one process, or all that torchrun, srun or mpiexec started.

    An exception that leaves the block on one process ends all of them, as in `mpi.session`; an error with `shared`
    is raised by the leader, and the others exit with its status. Stopped by a signal, the status is that of Requeue.

    Args:
        run_path: the run directory.
        meeting: "file", "tcp://HOST:PORT" or None, see `meet`.
        join_timeout: seconds to wait for all processes to come.

    Raises:
        SatoriError: the processes do not find each other.
    """
    where = place()
    if where is None:
        mpi.refuse_unknown("train", CURE)
    if where is None or where.size == 1:
        with signals.serial(signals.SIGNALS, status=Requeue.status):
            yield World()
        return
    name = signals.name_of(where.rank, where.size)
    watch = Watch(name)
    watch.doing("joining the other processes")
    try:
        world = _join(run_path, where, meeting=meeting, timeout=timedelta(seconds=join_timeout))
    except BaseException as error:
        watch.failed()
        watch.end()
        if isinstance(error, SatoriError) and error.shared and where.rank > 0:
            raise SystemExit(error.status) from None
        raise
    watch.job(world.lead(lambda: os.urandom(8).hex()))
    watch.doing("")
    world.listen(watch.doing)
    try:
        with signals.together(world, watch, signals.SIGNALS, status=Requeue.status):
            yield world
            world.doing("waiting for the others at the end")
            world.close()
    except SatoriError as error:
        for number in signals.SIGNALS:  # launchers signal those who are left when the first has ended
            signal.signal(number, signal.SIG_IGN)
        world.leave()
        if world.rank == 0:
            raise
        time.sleep(AFTER_YOU)
        raise SystemExit(error.status) from None
    finally:
        watch.end()


def _join(run_path: Path, where: Place, *, meeting: str | None, timeout: timedelta) -> "TorchWorld":
    """Become one of the processes of the job."""
    if not run_path.is_dir():
        raise shared(SatoriError(f"{run_path}: no such run directory"))
    try:
        met = meet(run_path, where, rendezvous=meeting, name=signals.name_of(where.rank), timeout=timeout)
    except RuntimeError as error:
        raise SatoriError(
            f"rank {where.rank} lost the others before all had come, or the file system of {run_path} has no locks "
            f"({_first_line(error)}): run it again, or {CURE}"
        ) from None
    try:
        return _connect(where, met, timeout=max(EXCHANGE, timeout))
    except BaseException:
        if where.rank == 0:
            met.remove()
        raise


def _connect(where: Place, met: Meeting, *, timeout: timedelta) -> "TorchWorld":
    """Connect the processes that have met."""
    import torch
    import torch.distributed as dist

    if met.interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", met.interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={met.interface}")  # "=": this one, not all that begin so
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


class TorchWorld(Joined):
    """The processes of torch's default group; see World for what each method promises.

    Connections of gloo are not authenticated, so every message is sealed by the job's secret; the first one proves
    that all processes are of this job. Sums of gradients are not: numbers, of which no code can be made.

    Args:
        where: this process.
        met: how it met the others; the leader removes the files of that in the end.
    """

    def __init__(self, where: Place, met: Meeting) -> None:
        self.rank, self.size = where.rank, where.size
        self._store = met.store
        self._met = met
        self._exchanges = 0
        self._over = threading.Event()
        mine = (socket.gethostname(), sorted(os.sched_getaffinity(0)))
        node = [(rank, cores) for rank, (host, cores) in enumerate(self.gather(mine)) if host == mine[0]]
        self.local_rank = sum(rank < self.rank for rank, _ in node)
        self.sharers = sum(not set(mine[1]).isdisjoint(cores) for _, cores in node)
        self._guard = threading.Thread(target=self._look_after_others, daemon=True)
        self._guard.start()

    def barrier(self) -> None:
        self.gather(None)

    def add_up(self, values: "torch.Tensor") -> None:
        import torch.distributed as dist

        with _exchange():
            dist.all_reduce(values)

    def close(self) -> None:
        import torch.distributed as dist

        self._over.set()
        self._guard.join()
        self.barrier()  # who still looked into the file would wait for it to come back
        self.leave()
        dist.destroy_process_group()

    def leave(self) -> None:
        """What is left to do when nobody waits for anybody any more."""
        self._over.set()
        self._guard.join(timeout=1)
        if self.rank == 0:
            self._met.remove()

    def abort(self, status: int) -> None:
        """Tell the others, who end themselves: their connections break, or their guard hears of it."""
        self._store.set(FAILED, str(self.rank))

    def explains(self, error: BaseException) -> bool:
        if not isinstance(error, LostError):
            return False
        deadline = time.monotonic() + GRACE
        try:
            while time.monotonic() < deadline:
                if self._store.check([FAILED]):
                    return True
                time.sleep(0.05)
            return bool(self._store.add("lost", 1) > 1)  # it was killed: one of those who are left tells
        except RuntimeError:
            return False  # the store went with the leader

    def _somebody_failed(self) -> bool:
        try:
            return bool(self._store.check([FAILED]))
        except RuntimeError:
            return True  # the store went with the leader

    def _look_after_others(self) -> None:
        """End this process when another one has failed: a GPU would wait for it for ever."""
        while not self._over.wait(BEAT):
            if self.rank == 0:
                self._met.keep()
            if self._somebody_failed() and not self._over.wait(GRACE):
                os._exit(1)

    def _all_gather(self, message: bytes) -> list[bytes]:
        sizes = self._gather_sized(_size(message), [SIZE_BYTES] * self.size)
        return self._gather_sized(message, [int.from_bytes(size, "little") for size in sizes])

    def _broadcast(self, message: bytes) -> bytes:
        size = self._broadcast_sized(_size(message), SIZE_BYTES)
        return self._broadcast_sized(message, int.from_bytes(size, "little"))

    def _gather_sized(self, message: bytes, sizes: list[int]) -> list[bytes]:
        """The messages of all processes, whose sizes are known."""
        import torch
        import torch.distributed as dist

        mine = self._seal(message)
        longest = max(sizes) + messages.TAG_BYTES
        found = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
        with _exchange():
            dist.all_gather(found, torch.nn.functional.pad(mine, (0, longest - len(mine))))
        return [self._unseal(each, size, rank) for rank, (each, size) in enumerate(zip(found, sizes, strict=True))]

    def _broadcast_sized(self, message: bytes, size: int) -> bytes:
        """The leader's message, whose size is known."""
        import torch
        import torch.distributed as dist

        mine = self._seal(message)
        found = mine if self.rank == 0 else torch.empty(size + messages.TAG_BYTES, dtype=torch.uint8)
        with _exchange():
            dist.broadcast(found, 0)
        return self._unseal(found, size, 0)

    def _seal(self, message: bytes) -> "torch.Tensor":
        """A message for the next exchange; all processes are at the same one."""
        import torch

        self._exchanges += 1
        sealed = messages.seal(message, self._met.secret, number=self._exchanges, rank=self.rank)
        return torch.frombuffer(bytearray(sealed), dtype=torch.uint8)

    def _unseal(self, sealed: "torch.Tensor", size: int, rank: int) -> bytes:
        """The message of a process in this exchange."""
        content = sealed[: messages.TAG_BYTES + size].numpy().tobytes()
        return messages.unseal(content, self._met.secret, number=self._exchanges, rank=rank)


@contextlib.contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            f"lost another process, which was killed, or whose node or network failed ({_first_line(error)}); "
            f"{signals.AGAIN}"
        ) from None


def _size(message: bytes) -> bytes:
    return len(message).to_bytes(SIZE_BYTES, "little")
