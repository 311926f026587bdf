"""Worlds of many processes under real launchers: the work is shared out once, and all end when one does."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from satori_hpc.errors import SatoriError
from satori_hpc.parallel import mpi, signals

WORKER = str(Path(__file__).parent / "worker_world.py")
SOON = 25  # seconds for all to be gone on a busy machine; a second or two otherwise
RANK_1 = "rank 1 of 2 (host "
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def doing(rank: int) -> str:
    return f"scoring, foreground partition {rank + 5}"


@pytest.fixture
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*SIZES, *mpi.SAID_NOTHING):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.mpi
@pytest.mark.parametrize("size", [2, 3])
def test_work_is_led_gathered_and_shared_out_once(mpi, tmp_path, size) -> None:  # type: ignore[no-untyped-def]
    done = mpi.run(size, [WORKER, "work", str(tmp_path), str(size)])
    assert done.returncode == 0, done.stderr
    seen = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(size)]
    for rank, saw in enumerate(seen):
        assert saw["world"][:3] == [rank, size, rank]
        assert 1 <= saw["world"][3] <= size
        assert saw["led"] == "from the leader"
        assert saw["leader"] == (rank == 0)
        assert saw["large"] == 20_000 * 255 * 128
        assert saw["gathered"]
        assert saw["static 23"] == [f"item {k}" for k in range(rank, 23, size)]
    for schedule in ("static", "dynamic"):
        for count in (0, 1, 23):
            taken = [item for saw in seen for item in saw[f"{schedule} {count}"]]
            assert sorted(taken) == sorted(f"item {k}" for k in range(count))
    assert len(seen[0]["dynamic 23"]) > len(seen[-1]["dynamic 23"])  # the last rank was the slowest


@pytest.mark.mpi
def test_an_error_of_the_leader_is_told_once(mpi, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = mpi.run(2, [WORKER, "fail_on_root", str(tmp_path)], timeout=SOON)
    assert done.returncode == 1
    assert done.stderr.count("scores: unfinished; run: satori-hpc score") == 1
    assert "Traceback" not in done.stderr
    assert ", while " not in done.stderr, "no rank reports a failure of its own"
    for rank in range(2):
        assert (tmp_path / f"rank-{rank}.txt").read_text() == "True: scores: unfinished; run: satori-hpc score"


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("action", "status", "said"),
    [
        ("fail_on_rank_1", 1, "ValueError: rank 1 cannot"),
        ("fail_plainly_on_rank_1", 1, ": partition 3: no memory; give --memory"),
        ("fail_in_thread_on_rank_1", 1, "ZeroDivisionError"),
        ("exit_on_rank_0", 3, "left the common work early (exit status 3)"),
    ],
)
def test_a_failure_of_one_rank_ends_all(mpi, tmp_path, action, status, said) -> None:  # type: ignore[no-untyped-def]
    done = mpi.run(2, [WORKER, action, str(tmp_path)], timeout=SOON)
    assert done.returncode == status
    rank = 0 if action == "exit_on_rank_0" else 1
    text = done.stderr.replace(f": {doing(rank)}\n", "")  # what all have said before
    who, _, rest = text[text.index(f"rank {rank} of 2 (host ") :].partition(", while ")
    assert who.endswith(")")
    assert rest.startswith(f"{doing(rank)}: ")
    assert said in rest
    assert ("Traceback" in done.stderr) == ("Error" in said)


@pytest.mark.mpi
def test_a_killed_rank_ends_all_and_is_named(mpi, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = mpi.run(2, [WORKER, "die_on_rank_1", str(tmp_path)], timeout=SOON)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if " of 2 (host " in line and ", while " not in line]
    pids = {}
    for rank in range(2):
        line = next(line for line in said if line.startswith(f"rank {rank} of 2 "))
        assert line.endswith(f"): {doing(rank)}")
        pids[rank] = line.partition("pid ")[2].partition(")")[0]
    launcher = "\n".join([done.stdout, *(line for line in done.stderr.splitlines() if line not in said)])
    if mpi.name == "mpich":  # kills the others at once, and names whichever of the dead it meets first
        assert any(pid in launcher for pid in pids.values())
        assert "KILLED BY SIGNAL: 9" in launcher or "EXIT CODE: 9" in launcher
    else:
        assert pids[1] in launcher, "the launcher says that it was killed"
    assert "run the same command again" in done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize("target", ["launcher", "rank 1"])
def test_sigterm_ends_all(mpi, tmp_path, target) -> None:  # type: ignore[no-untyped-def]
    process = mpi.start(2, [WORKER, "sleep", str(tmp_path)])
    while not all((tmp_path / f"pid-{rank}").exists() for rank in range(2)):
        assert process.poll() is None
        time.sleep(0.05)
    pid = process.pid if target == "launcher" else int((tmp_path / "pid-1").read_text())
    psutil.Process(pid).send_signal(signal.SIGTERM)
    done = mpi.finish(process, timeout=SOON)
    assert done.returncode != 0
    assert (tmp_path / "tidy-1").exists()  # it left by an exception: locks and open files are put in order
    if target == "launcher" and mpi.name == "openmpi":
        return  # its launcher forwards nothing that ranks say once it was told to stop
    told = next(line for line in done.stderr.splitlines() if RANK_1 in line and ", while " in line)
    assert told.endswith(", while scoring, foreground partition 6: stopped by SIGTERM; " + signals.AGAIN)


@pytest.mark.mpi
def test_a_lone_process_that_should_be_one_of_two_refuses(mpi, tmp_path) -> None:  # type: ignore[no-untyped-def]
    work = [WORKER, "work", str(tmp_path)]
    for argv, env, said in (
        ([*work, "2"], {}, "--expect-ranks says 2, yet MPI has a world of 1"),
        (work, {"PMI_SIZE": "2"}, "the launcher started 2 processes, yet MPI has a world of 1"),
        (work, {"SLURM_STEP_NUM_TASKS": "2"}, "the launcher started 2 processes, yet MPI has a world of 1"),
    ):
        done = mpi.run(0, argv, env=env, timeout=SOON)
        assert done.returncode == 1
        assert said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.mpi
def test_ranks_that_are_not_as_many_as_expected_refuse(mpi, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = mpi.run(2, [WORKER, "work", str(tmp_path), "3"], timeout=SOON)
    assert done.returncode == 1
    assert done.stderr.count("--expect-ranks says 3, yet MPI has a world of 2") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.mpi
def test_doctor_names_the_library_and_the_rank(mpi) -> None:  # type: ignore[no-untyped-def]
    done = mpi.run(2, ["doctor"])
    assert done.returncode == 0, done.stderr
    assert {"mpich": "MPICH", "openmpi": "Open MPI"}[mpi.name] in done.stdout
    for rank in range(2):
        assert f"{rank} of 2" in done.stdout
    assert "the launcher started" not in done.stdout
    if mpi.name == "mpich":
        alone = mpi.run(0, ["doctor"], env={"SLURM_STEP_NUM_TASKS": "2"})
        assert "the launcher started 2 processes, yet MPI sees a world of 1" in alone.stdout


def test_the_launcher_counts(no_launcher: pytest.MonkeyPatch) -> None:
    assert mpi.expected_ranks() is None
    no_launcher.setenv("SLURM_NTASKS", "4")  # of the job, not of a step: sbatch sets it for a single process
    assert mpi.expected_ranks() is None
    no_launcher.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert mpi.expected_ranks() == 2
    no_launcher.setenv("OMPI_COMM_WORLD_SIZE", "3")
    assert mpi.expected_ranks() == 3
    no_launcher.setenv("PMI_SIZE", "none")
    assert mpi.expected_ranks() == 3
    no_launcher.setenv("PMI_SIZE", "4")
    assert mpi.expected_ranks() == 4


def test_commands_of_one_process_refuse_many(no_launcher: pytest.MonkeyPatch) -> None:
    mpi.refuse_many("reduce")
    no_launcher.setenv("PMI_SIZE", "1")
    mpi.refuse_many("reduce")
    no_launcher.setenv("PMI_SIZE", "2")
    with pytest.raises(SatoriError, match="started 2 processes, and satori-hpc reduce works in one"):
        mpi.refuse_many("reduce")


def test_one_process_needs_no_mpi(no_launcher: pytest.MonkeyPatch) -> None:
    code = """
import sys
sys.modules["mpi4py"] = None
from satori_hpc.parallel import signals, mpi
for expect in (None, 1):
    with mpi.session(expect_ranks=expect) as world:
        assert (world.rank, world.size) == (0, 1)
        assert list(world.my_items(range(3), schedule="dynamic")) == [0, 1, 2]
"""
    for extra in ({}, {"PMI_SIZE": "1"}):
        for name, value in extra.items():
            no_launcher.setenv(name, value)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_many_processes_without_mpi4py_are_told_what_to_install(no_launcher: pytest.MonkeyPatch) -> None:
    code = """
import sys
sys.modules["mpi4py"] = None
from satori_hpc.parallel import signals, mpi
from satori_hpc.errors import SatoriError
try:
    with mpi.session(expect_ranks=None):
        pass
except SatoriError as error:
    sys.exit(str(error))
"""
    no_launcher.setenv("PMI_SIZE", "2")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'satori-hpc[mpi]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_sigterm_stops_a_process_alone(tmp_path: Path, no_launcher: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, WORKER, "sleep", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "pid-0").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate(timeout=SOON)
    assert process.returncode == 143
    assert said == f"stopped by SIGTERM; {signals.AGAIN}\n"
    assert (tmp_path / "tidy-0").exists()
