"""A tiny process that outlives its rank, to tell what the rank was doing when it was killed without a word.

The rank sends lines down a pipe. Their end without a farewell means that the rank is gone. This file is also the
program of the watcher, run without any installed package, so it imports the standard library alone.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LINGER = 0.8  # seconds
JOINING = "joining MPI"


class Watch:
    """The rank's end. Start it before MPI or torch are loaded; nothing here ever waits for the watcher's work.

    Args:
        who: the process in words: "rank 1 of 3 (host node7, pid 4711)".
    """

    def __init__(self, who: str) -> None:
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        # A session of its own: launchers clean up the process groups and sessions of their ranks.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(reading)
        self.who(who)

    def who(self, text: str) -> None:
        """How to name this process."""
        self._send("who", text)

    def job(self, key: str) -> None:
        """A word that all processes of the job share and no other job has."""
        self._send("job", key)

    def doing(self, what: str) -> None:
        """What the process works on; "" = nothing in particular."""
        self._send("doing", what)

    def failed(self) -> None:
        """The process tells by itself why it ends; others of this node that end with it need not guess."""
        self._send("failed", "yes")

    def end(self) -> None:
        """All is well: let the watcher go."""
        self._send("ended", "yes")
        os.close(self._pipe)
        self._process.wait()

    def _send(self, name: str, value: str) -> None:
        line = f"{name} {' '.join(value.split())}\n".encode()
        with contextlib.suppress(OSError):  # the watcher was killed, or is behind: never hold up the work for it
            os.write(self._pipe, line)


def watch() -> None:
    """The watcher: listen until the rank is gone."""
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    told = {"who": "a process", "job": "", "doing": "", "failed": "", "ended": ""}
    first: socket.socket | None = None
    for line in sys.stdin:
        name, _, value = line.rstrip("\n").partition(" ")
        told[name] = value
        if name == "failed":
            first = _claim(told["job"])
    if told["ended"]:
        return
    if not told["failed"]:
        first = _claim(told["job"])
        with contextlib.suppress(OSError):
            os.write(2, (_words(told, first=first is not None) + "\n").encode())
    os.close(2)  # launchers wait until nobody can write any more
    if first is not None:
        time.sleep(LINGER)  # the name stays taken while the launcher ends the others


def _words(told: dict[str, str], *, first: bool) -> str:
    while_doing = f" while {told['doing']}" if told["doing"] else ""
    text = f"{told['who']} ended without a word{while_doing}"
    if told["doing"] == JOINING:
        return (
            f"{text}: stopped, or its launcher and its MPI library do not belong together (satori-hpc doctor, run "
            "without the launcher, shows the library)"
        )
    if not first:
        return f"{text}, after another one of this node"
    return (
        f"{text}: killed, perhaps for using too much memory (or by the launcher, if one on another node ended first); "
        "run the same command again to go on"
    )


def _claim(job: str) -> socket.socket | None:
    """Be the first of this node that sees a rank of the job end, or None; ends with this process, leaves no file."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0satori-hpc {job}")
    except OSError:
        claim.close()
        return None
    return claim


if __name__ == "__main__":
    watch()
