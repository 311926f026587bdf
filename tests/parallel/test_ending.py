"""How commands end by a signal: soon, with the status of shells, and nothing temporary stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from satori_hpc.parallel import signals
from tests.fixtures.tiny import make_run
from tests.parallel.ranks import LAUNCHERS, ROOT

SOON = 30  # seconds on a busy machine; one or two otherwise
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM", signal.SIGHUP: "stopped by SIGHUP"}
IN_C = """
import ctypes, time
from satori_hpc.parallel import signals
@ctypes.CFUNCTYPE(None)
def called_by_c():
    print("ready", flush=True)
    time.sleep(60)
with signals.serial():
    called_by_c()
    time.sleep(60)
"""
IN_A_FINALISER = """
import time
from satori_hpc.parallel import signals
class Thing:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)
with signals.serial():
    thing = Thing()
    del thing
    time.sleep(60)
"""
BESIDE_A_THREAD = """
import sys, threading, time
from satori_hpc import cli
def busy(*args, **kwargs):
    threading.Thread(target=time.sleep, args=(60,)).start()
    print("ready", flush=True)
    time.sleep(60)
cli.pipeline.states = busy
sys.argv[1:] = ["status", sys.argv[1]]
cli.main()
"""


def started(argv: list[object], **env: str) -> "subprocess.Popen[str]":
    outside = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    return subprocess.Popen(
        [sys.executable, *map(str, argv)],
        env={**outside, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_signals,
    )


def _heed_signals() -> None:
    """Let a process be ended where the tests themselves run under nohup or in the background of a shell."""
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


def ended(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Send a signal; the process ends soon, with the status and the words for it."""
    try:
        process.send_signal(number)
        _, said = process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == STATUS[number], said
    assert said == f"{WORDS[number]}; {signals.AGAIN}\n"


@pytest.mark.parametrize("code", [IN_C, IN_A_FINALISER], ids=["C", "finaliser"])
@pytest.mark.parametrize("number", STATUS)
def test_a_signal_is_heard_where_python_cannot_raise_its_exception(code: str, number: signal.Signals) -> None:
    process = started(["-c", code])
    assert process.stdout.readline() == "ready\n"
    ended(process, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_threads_that_compute_are_not_waited_for(tmp_path: Path, number: signal.Signals) -> None:
    run = make_run(tmp_path / "run")
    process = started(["-c", BESIDE_A_THREAD, run.path])
    assert process.stdout.readline() == "ready\n"
    ended(process, number)


@pytest.mark.parametrize("number", STATUS)
def test_processes_of_dask_leave_no_temporary_folder(tmp_path: Path, number: signal.Signals) -> None:
    scratch, notes = tmp_path / "scratch", tmp_path / "notes"
    scratch.mkdir()
    notes.mkdir()
    code = f"from tests.fixtures import tasks as helpers_tasks; helpers_tasks.sleep_on_processes({str(notes)!r})"
    process = started(["-c", code], TMPDIR=str(scratch), SLURM_TMPDIR="")
    until = time.monotonic() + 60
    while len(list(notes.iterdir())) < 2:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    assert list(scratch.iterdir())
    ended(process, number)
    assert list(scratch.iterdir()) == []
    assert not any(psutil.pid_exists(int(note.read_text())) for note in notes.iterdir())


def test_nohup_is_heeded() -> None:
    process = started(["-c", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + IN_C])
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    ended(process, signal.SIGTERM)
