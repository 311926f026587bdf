"""Lock a run directory: two commands that work on one run must not mix their results.

Every holder makes a file of its own in RUN/.lock, named by its mode and a token that is never used again, and then
looks for files of other holders: of two that come at once, at least the later one sees the other, on any file system
whose servers put the creation of files in order; flock is not needed. As no name comes twice, removing the file of a
dead holder never hits one that has just come.

A holder is dead at once when its process has ended on this machine, or when its Slurm job was requeued and this is the
new start of it. Otherwise it is dead without a heartbeat for SILENT_S by the clock of the file system, if none comes
while it is watched either, because clocks of machines differ.

The package filelock cannot replace this: its file locks need flock, or know neither machine nor job; its read-write
lock for shared file systems takes over only after a long silence, does not name the holder, and locks out other users
of a group. Nor can fewer lines: each is here for a process that was killed, requeued, forked, hidden by the kernel or
suspended; tests/run/test_lock.py holds all of these but the hidden one.
"""

import contextlib
import datetime
import errno
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from satori_hpc.errors import RunLockedError, SatoriError, quoted
from satori_hpc.log import logger
from satori_hpc.run import files
from satori_hpc.run.provenance import LOCKS

BEAT_S = 30.0  # between two heartbeats
SILENT_S = 600.0  # without a heartbeat, after which a holder elsewhere counts as dead
YOUNG_S = 5.0  # a younger holder may still withdraw: we try again
TRIES = 12
Holder = dict[str, Any]  # content of a lock file; keys as of `_me`
PROCESS = ("machine", "pid", "started")  # identity of a process, whose number alone is used again


@contextlib.contextmanager
def hold(run_path: Path, *, what: str, shared: bool = False, patient: bool = True) -> Iterator[None]:
    """Lock a run while the block runs. A forked child that leaves the block releases nothing.

    Args:
        run_path: the run directory.
        what: the command, shown to those who find the run locked.
        shared: together with others that share it; else exclusive. On a run that is not writable, a shared lock
            leaves no file, and only checks that there is no exclusive one.
        patient: retry for a few seconds if another process has come at the same time, which may withdraw.

    Raises:
        RunLockedError: another process holds the lock, or this one does already; names the process and the cure.
        SatoriError: the run does not exist or is not writable; or, at the end, the lock was lost, because this
            process was suspended for long.
    """
    owner, done, lost = os.getpid(), threading.Event(), False
    mine = _enter(run_path, _me(what), shared=shared, tries=TRIES if patient else 1)
    if mine is None:
        yield
        return
    heartbeat = threading.Thread(target=_beat, args=(mine, done), name="lock heartbeat", daemon=True)
    try:
        heartbeat.start()
        yield
    finally:
        if os.getpid() == owner:
            done.set()
            heartbeat.join()
            lost = not mine.exists()
            mine.unlink(missing_ok=True)
            files.sweep_partials(mine.parent)
            with contextlib.suppress(OSError):  # another holder is there
                mine.parent.rmdir()
    if lost:
        raise SatoriError(
            f"{mine}: this lock was removed while we worked, because this process was suspended for long or by hand; "
            f"if another job wrote to the run meanwhile, check it: satori-hpc verify {quoted(run_path)}"
        )


def _beat(mine: Path, done: threading.Event) -> None:
    """Touch our lock file until done."""
    while not done.wait(BEAT_S):
        with contextlib.suppress(OSError):  # of the file system, for a while; a lost file is reported at the end
            os.utime(mine)  # no time given: the server of the file system takes its own


def _enter(run_path: Path, me: Holder, *, shared: bool, tries: int) -> Path | None:
    """Return our lock file, once no other is in conflict; None for a check only."""
    for left in reversed(range(tries)):
        mine = _create(run_path, me, shared=shared)
        with contextlib.ExitStack() as withdrawn:
            if mine is not None:
                withdrawn.callback(mine.unlink, missing_ok=True)
            others = _others(run_path / LOCKS, mine, me, shared=shared)
            if not others:
                withdrawn.pop_all()
                return mine
        ours = any(all(holder[key] == me[key] for key in PROCESS) for holder, _ in others.values())
        if ours or not left or all(age > YOUNG_S for _, age in others.values()):
            break
        time.sleep(random.SystemRandom().uniform(0.02, 0.5))  # uneven, so that two do not meet again and again
    raise RunLockedError(_refusal(run_path, others, ours=ours))


def _refusal(run_path: Path, others: dict[Path, tuple[Holder, float]], *, ours: bool) -> str:
    """Return the message of a RunLockedError; `ours`: this process is the holder."""
    found = [f"{holder['who']}, last heartbeat {max(0, round(age))} s ago" for holder, age in others.values()]
    if ours:
        return f"{run_path}: locked by this process already: {'; '.join(found)}"
    lines = [f"{run_path}: locked by another process; two at once would mix their results:"]
    lines += [f"  - {one}" for one in found]
    lines.append(
        "wait for it or end it, then run the same command again; if you know that it is dead, remove "
        f"{' '.join(map(str, others))} (after {SILENT_S / 60:.0f} minutes without a heartbeat it counts as dead)"
    )
    return "\n".join(lines)


def _create(run_path: Path, me: Holder, *, shared: bool) -> Path | None:
    """Create our lock file atomically; None for a shared lock of a run that is not writable."""
    path = run_path / LOCKS / f"{'shared' if shared else 'exclusive'}-{uuid.uuid4().hex}.json"
    while run_path.is_dir():
        try:
            with contextlib.suppress(FileExistsError):  # exist_ok would look again, when it may be gone
                path.parent.mkdir()
            partial = files.sibling(path)
            with files.room(path):
                partial.write_text(json.dumps(me, indent=1) + "\n")
            os.replace(partial, path)
            return path
        except FileNotFoundError:
            continue  # the last of the others has just tidied up
        except OSError as error:
            if shared and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return None
            raise SatoriError(
                f"{run_path}: cannot be written ({error.strerror}), so no work can be done on it"
            ) from None
    raise SatoriError(f"{run_path}: no such run; make one with: satori-hpc new {quoted(run_path)}")


def _others(folder: Path, mine: Path | None, me: Holder, *, shared: bool) -> dict[Path, tuple[Holder, float]]:
    """Return conflicting holders, by lock file, with seconds since their last heartbeat; remove files of dead ones."""
    found = {}
    for path in sorted(folder.glob("exclusive-*.json" if shared else "*.json")):
        now = mine.stat().st_mtime if mine else time.time()
        if path == mine or (read := _read(path, me)) is None:
            continue
        holder, touched = read
        reason = _gone(path, holder, touched, me, now)
        if not reason:
            found[path] = holder, now - touched
            continue
        logger.warning("taking over from %s: %s", holder["who"], reason)
        if mine is not None:
            path.unlink(missing_ok=True)
    return found


def _read(path: Path, me: Holder) -> tuple[Holder, float] | None:
    """Read a lock file: the holder, and its modification time; None when it does not exist."""
    try:
        with open(path, "rb") as handle:  # network file systems look at the server's times when a file is opened
            content, touched = handle.read(), os.fstat(handle.fileno()).st_mtime
    except FileNotFoundError:
        return None
    with contextlib.suppress(ValueError, AttributeError):
        holder = json.loads(content)
        if {key: type(value) for key, value in holder.items()} == {key: type(value) for key, value in me.items()}:
            return holder, touched
    # Damaged, or of another version of this program: only its age counts.
    return {key: type(value)() for key, value in me.items()} | {"who": f"a process that {path} does not name"}, touched


def _gone(path: Path, holder: Holder, touched: float, me: Holder, now: float) -> str:
    """Return why a holder counts as dead, or nothing."""
    started = _started(holder["pid"]) if holder["machine"] == me["machine"] else None
    if started is not None:
        return "" if started == holder["started"] else "that process has ended"
    if me["job"] and me["job"] == holder["job"] and me["restarts"] > holder["restarts"]:
        return "its job was requeued, and this is the new start of it"
    if now - touched <= SILENT_S:
        return ""
    logger.info("%s has no recent heartbeat; watching it for %.0f s to be sure", path, 2.5 * BEAT_S)
    ends = time.monotonic() + 2.5 * BEAT_S
    while time.monotonic() < ends:
        time.sleep(min(1.0, BEAT_S / 10))
        seen = _read(path, me)
        if seen is None:
            return "it has just ended"
        if seen[1] != touched:
            return ""  # it only looked old, for clocks of machines differ
    return f"no heartbeat for {(now - touched) / 60:.0f} minutes"


def _me(what: str) -> Holder:
    """Describe this process, for its lock file."""
    env, host, pid = os.environ, os.uname().nodename, os.getpid()
    job, restarts = env.get("SLURM_JOB_ID", ""), env.get("SLURM_RESTART_COUNT", "")
    try:  # process numbers can be compared where this is equal; a host's name is shared by many containers
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        machine = host
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "who": f"{what} (host {host}, pid {pid}{job and f', Slurm job {job}'}, since {since})",
        "machine": machine,
        "pid": pid,
        "started": _started(pid) or "",
        "job": job and f"{job} {env.get('SLURM_CLUSTER_NAME', '')}".strip(),
        "restarts": int(restarts) if restarts.isdigit() else 0,
    }


def _started(pid: int) -> str | None:
    """Return the start time of a process, in clock ticks; "" when it has ended, None when the system hides it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except OSError:
        with contextlib.suppress(PermissionError):  # there, but hidden from us
            try:
                os.kill(pid, 0)
            except (ProcessLookupError, OverflowError):
                return ""
        return None
