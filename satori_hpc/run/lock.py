"""Who is at work on a run: two jobs on one run directory must not mix.

Every holder keeps a file of its own in RUN/.lock, named after its kind and a token that is never used again. It makes
the file first and looks for others then: of two that come at once, at least the later one sees the other, on any file
system whose servers put the making of files in order (no locking service is needed). And since no name comes twice,
removing the file of a holder that is gone can never hit one that has just come.

A holder touches its file now and then. It is gone when its process is (on this machine), when its Slurm job was
requeued, or when it has not touched its file for long; the age is told by the file system's clock.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from satori_hpc.errors import HeldError, SatoriError, quoted
from satori_hpc.log import logger
from satori_hpc.run.provenance import LOCKS

BEAT_S = 30.0  # between two signs of life
SILENT_S = 600.0  # without a sign of life, after which a holder elsewhere counts as gone
BLANK_S = 60.0  # age at which a file without content was left by a killed process; filling it takes milliseconds
YOUNG_S = 5.0  # a holder as young as this may still withdraw: we try again
TRIES = 12


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What a lock file tells of the process that made it.

    Attributes:
        what: the command.
        host: for people.
        machine: same machine since its start, and same process numbers: the kernel's boot id and process namespace.
        pid, started: the process; `started` in clock ticks since the machine's start, for numbers are used again.
        job, cluster, restarts: of Slurm; "" outside.
        since: when it came, UTC.
    """

    what: str
    host: str
    machine: str
    pid: int
    started: str
    job: str
    cluster: str
    restarts: int
    since: str

    def __str__(self) -> str:
        job = f", Slurm job {self.job}" if self.job else ""
        return f"{self.what} (host {self.host}, pid {self.pid}{job}, since {self.since})"

    @property
    def here(self) -> bool:
        """Whether this very process is the holder."""
        return (self.machine, self.pid, self.started) == (_machine(), os.getpid(), _started(os.getpid()))


@dataclass(frozen=True)
class _Rival:
    """A lock file that is not ours; `holder` is None when it cannot be read, `age_s` counts from its last touch."""

    path: Path
    holder: Holder | None
    age_s: float
    blank: bool

    def __str__(self) -> str:
        who = str(self.holder) if self.holder else "a process that has just come, or was killed as it came"
        return f"{who}, last sign of life {max(0, round(self.age_s))} s ago"


@contextlib.contextmanager
def hold(run_path: Path, *, what: str, shared: bool = False, patient: bool = True) -> Iterator[None]:
    """Hold a run while the block works on it. A forked child that leaves the block lets nothing go.

    Args:
        run_path: the run directory.
        what: the command, for those who find the run held.
        shared: together with others that share it; else alone. On a run that cannot be written, one that shares
            leaves no file, and only looks whether somebody holds the run alone.
        patient: try again for a few seconds when somebody else has come at the same time, who may withdraw.

    Raises:
        HeldError: somebody else holds the run, or this process does already; names the process and what to do.
        SatoriError: the run is not there or cannot be written; or it was taken from us in the end, because this
            process did not run for long.
    """
    owner = os.getpid()
    mine = _enter(run_path, what=what, shared=shared, tries=TRIES if patient else 1)
    if mine is None:
        yield
        return
    beat = _Heartbeat(mine)
    try:
        beat.start()
        yield
    finally:
        if os.getpid() == owner:
            beat.stop()
            mine.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody else is there
                mine.parent.rmdir()
    if beat.lost and os.getpid() == owner:
        raise SatoriError(beat.complaint)


def _enter(run_path: Path, *, what: str, shared: bool, tries: int) -> Path | None:
    """Our lock file, once nobody is in the way; None when we only look."""
    folder, text = run_path / LOCKS, json.dumps(dataclasses.asdict(_me(what)), indent=1) + "\n"
    rivals: list[_Rival] = []
    for left in reversed(range(tries)):
        mine = _create(run_path, text, shared=shared)
        entered = False
        try:
            rivals = _rivals(folder, mine, shared=shared)
            entered = not rivals
        finally:
            if mine is not None and not entered:
                mine.unlink(missing_ok=True)
        if entered:
            return mine
        if left == 0 or not any(_may_withdraw(rival) for rival in rivals):
            break
        time.sleep(random.SystemRandom().uniform(0.02, 0.5))  # uneven, so that two do not meet again and again
    raise HeldError(_refusal(run_path, rivals))


def _may_withdraw(rival: _Rival) -> bool:
    return rival.age_s < YOUNG_S and not (rival.holder and rival.holder.here)


def _refusal(run_path: Path, rivals: list[_Rival]) -> str:
    if any(rival.holder and rival.holder.here for rival in rivals):
        return f"{run_path}: this very process holds this run already: {'; '.join(map(str, rivals))}"
    lines = [f"{run_path}: somebody is at work on this run; two at once would mix their results:"]
    lines += [f"  - {rival}" for rival in rivals]
    files = " ".join(str(rival.path) for rival in rivals)
    lines.append(
        f"wait for it or end it, then run the same command again; if you know that it is gone, remove {files} "
        f"(after {SILENT_S / 60:.0f} minutes without a sign of life it counts as gone)"
    )
    return "\n".join(lines)


def _create(run_path: Path, text: str, *, shared: bool) -> Path | None:
    """Make our lock file; None when we share a run that cannot be written."""
    path = run_path / LOCKS / f"{'shared' if shared else 'exclusive'}-{uuid.uuid4().hex}.json"
    while True:
        if not run_path.is_dir():
            raise SatoriError(f"{run_path}: no such run; make one with: satori-hpc new {quoted(run_path)}")
        try:
            path.parent.mkdir(exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            break
        except FileNotFoundError:
            continue  # the last of the others has just removed the folder
        except OSError as error:
            if shared and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None
            raise SatoriError(
                f"{run_path}: cannot be written ({error.strerror}), so no work can be done on it"
            ) from None
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise SatoriError(f"{path}: {error.strerror}; make room and run the same command again") from None
    return path


def _rivals(folder: Path, mine: Path | None, *, shared: bool) -> list[_Rival]:
    """The living holders that are in our way; the files of those that are gone are removed."""
    found = []
    for path in sorted(folder.glob("exclusive-*.json" if shared else "*.json")):
        if path == mine:
            continue
        rival = _look(path, now=mine.stat().st_mtime if mine else time.time())
        if rival is None:
            continue
        gone = _gone(rival)
        if not gone:
            found.append(rival)
            continue
        logger.warning("taking over from %s: %s", rival.holder or path, gone)
        if mine is not None:
            path.unlink(missing_ok=True)
    return found


def _look(path: Path, *, now: float) -> _Rival | None:
    """What a lock file tells; None when it has just gone."""
    try:
        with open(path, "rb") as handle:  # network file systems look at the server's times when a file is opened
            content, touched = handle.read(), os.fstat(handle.fileno()).st_mtime
    except FileNotFoundError:
        return None
    try:
        holder = _holder(content)
    except (ValueError, TypeError):
        holder = None  # killed between making and filling it; damaged; or of another version of this program
    return _Rival(path, holder, now - touched, blank=not content)


def _holder(content: bytes) -> Holder:
    """What a lock file says. Raises ValueError or TypeError where it is none."""
    holder = Holder(**json.loads(content))
    for field in dataclasses.fields(Holder):
        if type(getattr(holder, field.name)) is not field.type:
            raise TypeError(f"{field.name} is not of type {field.type}")
    if not 0 < holder.pid < 2**31:
        raise ValueError(f"no process has the number {holder.pid}")
    return holder


def _gone(rival: _Rival) -> str:
    """Why a holder counts as gone, or nothing."""
    holder, me = rival.holder, _me("")
    if holder is None:
        if rival.blank and rival.age_s > BLANK_S:
            return f"its lock file has been without content for {rival.age_s:.0f} s"
    else:
        started = _started(holder.pid) if holder.machine == me.machine else None
        if started is not None:
            return "" if started == holder.started else "that process has ended"
        if me.job and (me.job, me.cluster) == (holder.job, holder.cluster) and me.restarts > holder.restarts:
            return "its job was requeued, and this is the new start of it"
    if rival.age_s > SILENT_S and not _beats(rival.path):
        return f"no sign of life for {rival.age_s / 60:.0f} minutes"
    return ""


def _beats(path: Path) -> bool:
    """Whether a lock file is touched while we watch: old it may only look, where clocks of machines differ."""
    first = _look(path, now=0.0)
    logger.info("%s seems to be left over; watching it for %.0f s to be sure", path, 2.5 * BEAT_S)
    ends = time.monotonic() + 2.5 * BEAT_S
    while time.monotonic() < ends:
        time.sleep(min(1.0, BEAT_S / 10))
        now = _look(path, now=0.0)
        if first is None or now is None:
            return False
        if now.age_s != first.age_s:
            return True
    return False


class _Heartbeat:
    """Touches a lock file until stopped; `lost` when somebody has removed it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = False
        self.complaint = (
            f"{path}: this lock was taken from us while we worked, because this process did not run for long or by "
            "hand; if another job wrote to the run meanwhile, see whether all is well: "
            f"satori-hpc verify {quoted(path.parent.parent)}"
        )
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock heartbeat", daemon=True)
        self.start = self._thread.start

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                os.utime(self.path)  # no time given: the server of the file system takes its own
            except FileNotFoundError:
                self.lost = True
                logger.error("%s", self.complaint)
                return
            except OSError:
                continue  # a file system that stumbles; the next beat will do

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self.lost = self.lost or not self.path.exists()


def _me(what: str) -> Holder:
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return Holder(
        what=what,
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        job=os.environ.get("SLURM_JOB_ID", ""),
        cluster=os.environ.get("SLURM_CLUSTER_NAME", ""),
        restarts=int(restarts) if restarts.isdigit() else 0,
        since=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _machine() -> str:
    """Process numbers can be compared where this is equal; the host's name alone is shared by many containers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a living process started, in clock ticks; "" when there is none, None when the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass  # there, but hidden from us
        return None
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
