"""Two jobs on one run directory do not mix: real processes hold, share, race and are killed."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from satori_hpc.errors import SatoriError
from satori_hpc.run import lock

HOLD = """
import sys
from pathlib import Path
from satori_hpc.run import lock
with lock.hold(Path(sys.argv[1]), what="satori-hpc score", shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.readline()
"""
# Goes for the lock round after round, all at the same moment; inside, a folder that only one can make stands.
RACE = """
import os, sys, time
from pathlib import Path
from satori_hpc.errors import SatoriError
from satori_hpc.run import lock
run, rounds = Path(sys.argv[1]), int(sys.argv[2])
lock.TRIES = int(sys.argv[3])
won = 0
for number in range(rounds):
    (run / f"ready-{number}-{os.getpid()}").touch()
    while len(list(run.glob(f"ready-{number}-*"))) < 2:
        pass
    try:
        with lock.hold(run, what="race"):
            os.mkdir(run / "inside")
            time.sleep(0.01)
            os.rmdir(run / "inside")
            won += 1
    except SatoriError:
        pass
    (run / f"done-{number}-{os.getpid()}").touch()
    while len(list(run.glob(f"done-{number}-*"))) < 2:
        time.sleep(0.001)
print(won)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@contextlib.contextmanager
def holder(run: Path, kind: str = "alone", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        with contextlib.suppress(OSError):
            process.stdin.write("\n")
            process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


def files(run: Path) -> list[Path]:
    return sorted((run / ".lock").glob("*.json"))


def rewrite(path: Path, *, age_s: float = 0.0, **changes: object) -> None:
    """Let a lock file tell something else, and be older."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    then = time.time() - age_s
    os.utime(path, (then, then))


def leave(run: Path, *, age_s: float = 0.0, kind: str = "exclusive", **changes: object) -> Path:
    """The lock file of a holder who is not there any more."""
    with lock.hold(run, what="satori-hpc score"):
        content = files(run)[0].read_text()
    path = run / ".lock" / f"{kind}-0.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    rewrite(path, age_s=age_s, **changes)
    return path


def test_a_held_run_is_refused_by_name_and_free_afterwards(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TRIES", 2)
    with holder(run, SLURM_JOB_ID="77") as process:
        for shared in (False, True):
            with pytest.raises(SatoriError) as refused, lock.hold(run, what="reduce", shared=shared):
                pass
            for word in ("satori-hpc score", f"pid {process.pid}", "Slurm job 77", str(files(run)[0])):
                assert word in str(refused.value)
        assert len(files(run)) == 1, "who was refused leaves nothing"
    with lock.hold(run, what="reduce"):
        assert len(files(run)) == 1
    assert not (run / ".lock").exists()


def test_a_lock_file_that_has_changed_keeps_others_out_or_is_taken_over(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    path = leave(run, pid=os.getpid())
    content = json.loads(path.read_text())
    strange: list[object] = [None, 7, -1, 0, 10**30, 1.5, "1", True, [], {}]
    texts = [json.dumps({**content, name: value}).encode() for name in content for value in strange]
    raw = path.read_bytes()
    flips = [raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :] for at in range(0, len(raw), 3)]
    outcomes = set()
    for text in [*texts, *flips, b"[]", b"7", b"{}", b"\xff\xfe"]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
        try:
            with lock.hold(run, what="reduce"):
                outcomes.add("taken over")
        except SatoriError as error:
            outcomes.add("refused" if str(error).startswith(str(run)) else str(error))
    assert outcomes == {"taken over", "refused"}


def test_those_who_share_get_in_together_and_keep_others_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TRIES", 2)
    with holder(run, "shared"), holder(run, "shared"), lock.hold(run, what="partition 3", shared=True):
        assert len(files(run)) == 3
        with pytest.raises(SatoriError, match="locked by this process already"), lock.hold(run, what="x"):
            pass
    with (
        holder(run, "shared"),
        holder(run, "shared"),
        pytest.raises(SatoriError, match="(?s)locked by another process.*  - satori.*  - satori"),
        lock.hold(run, what="x"),
    ):
        pass


def test_the_next_gets_in_at_once_when_the_holder_was_killed(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with holder(run) as process:
        process.kill()  # not waited for: a zombie holds nothing either
        time.sleep(0.2)
        assert files(run)
        began = time.monotonic()
        with caplog.at_level(logging.WARNING, "satori_hpc"), lock.hold(run, what="reduce"):
            assert len(files(run)) == 1
        assert time.monotonic() - began < 2
    assert f"pid {process.pid}" in caplog.text
    assert "that process has ended" in caplog.text


def test_a_process_number_used_again_is_not_the_holder(run: Path) -> None:
    leave(run, started="1")  # our own number, of a process that started with the machine
    with lock.hold(run, what="reduce"):
        pass


def test_an_exception_lets_go_and_a_signal_is_found_out(run: Path) -> None:
    with pytest.raises(KeyError), lock.hold(run, what="reduce"):
        raise KeyError
    assert not files(run)
    with holder(run) as process:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        with lock.hold(run, what="reduce"):
            pass


def test_nobody_holds_a_run_twice(run: Path) -> None:
    refusals: list[str] = []

    def enter() -> None:
        with contextlib.suppress(SatoriError), lock.hold(run, what="inner"):
            refusals.append("got in")

    with lock.hold(run, what="outer"):
        began = time.monotonic()
        with pytest.raises(SatoriError, match="locked by this process already: outer"):
            lock.hold(run, what="inner").__enter__()
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert time.monotonic() - began < 1, "refused at once, not after waiting for ourselves"
        assert len(files(run)) == 1
    assert not refusals


@pytest.mark.parametrize("tries", [1, 12])
def test_of_two_that_race_never_both_get_in(run: Path, tries: int) -> None:
    rounds = 15
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(run), str(rounds), str(tries)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    won = []
    try:
        for racer in racers:
            out, errors = racer.communicate(timeout=60)
            assert racer.returncode == 0, errors  # mkdir fails when both are in
            won.append(int(out))
    finally:
        for racer in racers:  # one whose rival has failed would wait for it for ever
            racer.kill()
            racer.wait()
    if tries > 1:
        assert sum(won) >= rounds, "one that meets another tries again"


def test_two_that_find_a_dead_holder_do_not_both_take_over(run: Path) -> None:
    for number in range(15):
        leave(run, started="1", kind=f"exclusive-{number}")
    test_of_two_that_race_never_both_get_in(run, 12)


def test_a_holder_on_another_machine_lives_while_it_gives_signs_of_life(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    path = leave(run, machine="another", who="satori-hpc score (host node7)", age_s=590.0)
    with pytest.raises(SatoriError, match=r"host node7.*last heartbeat 590 s ago"), lock.hold(run, what="reduce"):
        pass
    rewrite(path, age_s=610.0)
    with caplog.at_level(logging.WARNING, "satori_hpc"), lock.hold(run, what="reduce"):
        pass
    assert "no heartbeat for 10 minutes" in caplog.text


def test_a_clock_that_differs_makes_no_living_holder_dead(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    monkeypatch.setattr(lock, "BEAT_S", 0.4)
    path = leave(run, machine="another", age_s=5000.0)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.2):
            then = time.time() - 5000.0
            os.utime(path, (then, then))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(SatoriError, match="locked by another process"), lock.hold(run, what="reduce"):
            pass
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("job", "restarts", "enters"), [("5", "1", True), ("5", "0", False), ("6", "1", False), ("", "1", False)]
)
def test_a_requeued_job_takes_over_from_its_first_start(
    run: Path, monkeypatch: pytest.MonkeyPatch, job: str, restarts: str, enters: bool
) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    leave(run, machine="another", who="satori-hpc score (Slurm job 5)", job="5", restarts=0)
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    expected = contextlib.nullcontext() if enters else pytest.raises(SatoriError, match="Slurm job 5")
    with expected, lock.hold(run, what="score"):
        assert enters


@pytest.mark.parametrize(
    ("content", "age_s", "enters"), [("", 5, False), ("", 590, False), ("", 610, True), ("{", 590, False)]
)
def test_a_lock_file_that_names_nobody_counts_by_its_age(
    run: Path, monkeypatch: pytest.MonkeyPatch, content: str, age_s: float, enters: bool
) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    path = run / ".lock" / "exclusive-1.json"
    path.parent.mkdir()
    path.write_text(content)
    os.utime(path, (time.time() - age_s,) * 2)
    expected = (
        contextlib.nullcontext() if enters else pytest.raises(SatoriError, match="a process that .* does not name")
    )
    with expected, lock.hold(run, what="score"):
        assert not path.exists()


def test_the_holder_gives_signs_of_life(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    with lock.hold(run, what="score"):
        rewrite(files(run)[0], age_s=1000.0)
        time.sleep(0.5)
        assert time.time() - files(run)[0].stat().st_mtime < 5


@pytest.mark.parametrize("beat_s", [0.05, 30.0])
def test_a_lock_that_was_taken_away_is_an_error_in_the_end(
    run: Path, monkeypatch: pytest.MonkeyPatch, beat_s: float
) -> None:
    monkeypatch.setattr(lock, "BEAT_S", beat_s)
    held = lock.hold(run, what="score")
    held.__enter__()
    files(run)[0].unlink()
    time.sleep(0.2)
    with pytest.raises(SatoriError, match="removed while we worked.*satori-hpc verify"):
        held.__exit__(None, None, None)


def test_a_forked_child_does_not_let_go(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "TRIES", 1)
    with lock.hold(run, what="score"):
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                held = lock.hold(run, what="inner", shared=True)
                held.__enter__()
            os._exit(0)
        os.waitpid(child, 0)
        assert len(files(run)) == 1
    with lock.hold(run, what="score"):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            assert len(files(run)) == 1
    if not pid:  # the child has left the block too
        os._exit(0)


def test_a_run_that_cannot_be_written_can_be_read() -> None:
    code = (
        "import os, sys; from pathlib import Path; from satori_hpc.run import lock;"
        "os.getuid() or os.setuid(65534);"
        "lock.hold(Path(sys.argv[1]), what='status', shared=sys.argv[2] == 'shared').__enter__()"
    )
    run = Path(tempfile.mkdtemp())  # not below pytest's folder, which root alone may enter

    def enter(kind: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(run), kind], capture_output=True, text=True, cwd=Path(__file__).parents[2]
        ).stderr

    run.chmod(0o555)
    try:
        assert enter("shared") == ""
        assert "cannot be written (Permission denied)" in enter("alone")
    finally:
        run.chmod(0o755)
    with lock.hold(run, what="satori-hpc score"):
        run.chmod(0o555)
        (run / ".lock").chmod(0o555)
        try:
            assert "RunLockedError" in (said := enter("shared"))
            assert "satori-hpc score" in said
        finally:
            run.chmod(0o755)
            (run / ".lock").chmod(0o755)
    run.rmdir()


def test_what_a_process_left_that_was_killed_as_it_came_is_tidied_up(run: Path) -> None:
    path = run / ".lock" / ".exclusive-1.json.12345678.partial"
    path.parent.mkdir()
    path.touch()
    with lock.hold(run, what="score"):
        pass
    assert not path.parent.exists()


def test_no_run_no_lock(tmp_path: Path) -> None:
    with pytest.raises(SatoriError, match="no such run"), lock.hold(tmp_path / "absent", what="score"):
        pass
    assert not (tmp_path / "absent").exists()
