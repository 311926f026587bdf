"""The score stage under real mpiexec: the same bytes from any number of ranks; nothing is lost when one dies."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zarr
from click.testing import CliRunner, Result

from satori_hpc import config
from satori_hpc.cli import cli
from satori_hpc.run.layout import Run
from tests.fixtures.runs import TinyRun
from tests.fixtures.tiny import change
from tests.parallel import disks

COMMANDS = Path(__file__).with_name("commands.py")
FAULTY = Path(__file__).with_name("faulty_score.py")
SATORI = [sys.executable, "-m", "satori_hpc"]
pytestmark = pytest.mark.mpi


def satori(*arguments: object) -> Result:
    """A command in this process, which is one of one."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def content(run: Path, method: str = "attention") -> dict[str, bytes]:
    """Every file of a score store, and its markers."""
    found = (run / "scores").glob(f"{method}.*/**/*")
    return {path.relative_to(run / "scores").as_posix(): path.read_bytes() for path in found if path.is_file()}


def changed(run: Path, other: Path, method: str) -> list[str]:
    """Files in which the stores of two runs differ; of arrays the places and values, lest a rare cause stay unknown."""
    these, those = content(run, method), content(other, method)
    found = []
    for name in sorted(these.keys() | those.keys()):
        if these.get(name) != those.get(name):
            found.append(name)
            if "/c/" in name:
                array = name.partition("/c/")[0]
                a, b = (zarr.open_array(each / "scores" / array, mode="r")[:].ravel() for each in (run, other))
                places = np.flatnonzero(a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}"))[:20]
                found[-1] += f": at {places.tolist()} {a[places].tolist()} against {b[places].tolist()}"
    return found


@pytest.fixture(scope="module")
def motifs_made(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is ready to be scored, in many partitions."""
    run = tiny_run("motifs", tmp_path_factory.mktemp("ranks") / "run")
    return change(run, score={"shard_examples": 16, "include_mispredicted": True}).path


@pytest.fixture(scope="module")
def undisturbed(motifs_made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store that one process writes without MPI."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(motifs_made, run)
    done = satori("score", run, "--threads", 2)
    assert done.exit_code == 0, done.output
    found = content(run)
    assert sum(name.startswith("attention.markers/foreground-") for name in found) > 4
    return found


@pytest.fixture
def run(motifs_made: Path, tmp_path: Path) -> Path:
    shutil.copytree(motifs_made, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def several(motifs_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with three methods in small, scored by one process."""
    path = tmp_path_factory.mktemp("several") / "run"
    shutil.copytree(motifs_made, path)
    run = Run.open(path)
    small = {
        "split": "valid",
        "sites": config.Sites(max_sites=3),
        "dfim": config.Dfim(steps=2, baselines=1, mutations=1, null=True),
        "epistasis": config.Epistasis(mutations=2),
    }
    change(run, score=small)
    shutil.copytree(path, path.with_name("ready"))
    done = satori("set", path, "score.methods=attention,epistasis,dfim")
    assert done.exit_code == 0, done.output
    done = satori("score", path, "--threads", 2)
    assert done.exit_code == 0, done.output
    return path


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_bytes_do_not_depend_on_ranks_schedule_or_library(
    mpi: Any, ranks: int, motifs_made: Path, undisturbed: dict[str, bytes], several: Path, tmp_path: Path
) -> None:
    """Those of attention by both schedules, then those of every array of every method."""
    schedules = ("static", "dynamic") if ranks > 1 else ("static",)
    commands: list[object] = []
    for schedule in schedules:
        shutil.copytree(motifs_made, tmp_path / schedule)
        commands += ["score", tmp_path / schedule, "--schedule", schedule, "--expect-ranks", ranks, "--"]
    run = tmp_path / "several"
    shutil.copytree(several.with_name("ready"), run)
    satori("set", run, "score.methods=attention,dfim,epistasis")
    commands += ["score", run, "--schedule", "dynamic" if ranks == 3 else "static"]

    done = mpi.run(ranks, [COMMANDS, *commands], timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("score:") == len(schedules) + 1, "one summary of each command, whoever computes"
    for schedule in schedules:
        assert content(tmp_path / schedule) == undisturbed
        assert Run.open(tmp_path / schedule).record("score").exists()
    assert Run.open(run).config.score.methods == ("attention", "dfim", "epistasis")
    for method in ("attention", "epistasis", "dfim"):
        assert changed(run, several, method) == []
    for method, array in (("dfim", "null"), ("epistasis", "single")):
        assert (
            len([name for name in content(run, method) if name.startswith(f"{method}.zarr/foreground/{array}/c/")]) > 2
        )
    assert Run.open(run).record("score").exists()


def named(text: str) -> bool:
    """Whether a message names a rank and what it was doing."""
    return any(re.search(r"rank \d of \d .*while .*partition \d", line) for line in text.splitlines())


def left(folder: Path) -> list[psutil.Process]:
    """Processes that still work on a run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(folder) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["kill", "between", "raise"])
def test_a_failing_rank_ends_all_and_the_same_command_goes_on(
    mpi: Any, fault: str, run: Path, undisturbed: dict[str, bytes]
) -> None:
    began = time.monotonic()
    done = mpi.run(2, [FAULTY, fault, 1, "score", run], timeout=120)
    assert done.returncode != 0
    if fault == "raise":
        assert named(done.stderr + done.stdout), done.stderr
    else:  # it cannot speak: it has said before what it does, and its launcher says which process was killed
        status = re.compile(r"rank 1 of 2 \(.*\): scoring, .*partition")
        begun = [line for line in done.stderr.splitlines() if status.match(line)]
        assert len(begun) >= 3, done.stderr
        pid = begun[-1].partition("pid ")[2].partition(")")[0]
        words = [line for line in (done.stderr + done.stdout).splitlines() if line not in begun]
        assert pid in " ".join(words), words
    assert time.monotonic() - began < 60
    assert not left(run)
    assert not Run.open(run).record("score").exists()
    refused = satori("reduce", run)
    assert refused.exit_code == 1
    assert f"satori-hpc score {run}" in refused.stderr
    markers = list((run / "scores" / "attention.markers").glob("*ground-*.json"))
    assert markers, "what was done before is not lost"
    before = {path: path.stat().st_mtime_ns for path in markers}

    again = mpi.run(3, ["-m", "satori_hpc", "score", run])
    assert again.returncode == 0, again.stderr
    assert content(run) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in markers} == before, "what was done is not done again"


def test_sigterm_ends_all_ranks_and_the_same_command_goes_on(
    mpi: Any, run: Path, undisturbed: dict[str, bytes]
) -> None:
    started = mpi.start(2, [FAULTY, "slow", 1, "score", run])
    while started.poll() is None:  # until a rank is in its third partition
        if "third" in (started.stdout.readline() if started.stdout else ""):
            break
    second = satori("score", run)
    assert second.exit_code == 1, "two jobs on one run do not mix"
    assert "locked by another process" in second.stderr
    began = time.monotonic()
    ranks = [process for process in left(run) if process.pid != started.pid]
    ranks[-1].send_signal(signal.SIGTERM)  # not to the launcher: Open MPI's then drops what the ranks say
    _, errors = started.communicate(timeout=60)
    assert started.returncode != 0
    assert "SIGTERM" in errors
    assert named(errors), errors
    while left(run) and time.monotonic() - began < 60:
        time.sleep(0.2)
    assert not left(run)

    again = mpi.run(2, ["-m", "satori_hpc", "score", run])
    assert again.returncode == 0, again.stderr
    assert content(run) == undisturbed


def test_a_full_disk_is_told_and_nothing_is_lost(mpi: Any, run: Path, undisturbed: dict[str, bytes]) -> None:
    with disks.small(run / "scores", size="128k") as disk:
        done = mpi.run(2, ["-m", "satori_hpc", "score", run], timeout=120)
        assert done.returncode != 0
        assert "No space left on device" in done.stderr
        assert "needs" in done.stderr
        assert "partition" in done.stderr
        done_before = len(list(run.glob("scores/attention.markers/*ground-*.json")))
        disk.resize("64m")
        again = mpi.run(2, ["-m", "satori_hpc", "score", run])
        assert again.returncode == 0, again.stderr
        assert content(run) == undisturbed
        assert done_before < sum("ground-" in name for name in undisturbed)


def test_a_job_array_gives_the_same_store(run: Path, undisturbed: dict[str, bytes]) -> None:
    refused = satori("score", run, "--partition", 0)
    assert refused.exit_code == 1
    assert "--plan" in refused.stderr
    plan = json.loads(satori("score", run, "--plan", "--json").stdout)["attention"]
    total = sum(plan["partitions"].values())
    half = total // 2
    tasks = [
        subprocess.Popen([*SATORI, "score", str(run), "--partition", numbers], stderr=subprocess.PIPE, text=True)
        for numbers in (f"0-{half - 1}", f"{half}-{total - 2}")
    ]
    for task in tasks:
        _, errors = task.communicate(timeout=300)
        assert task.returncode == 0, errors
    early = satori("score", run, "--finalise")
    assert early.exit_code == 1
    assert "background" in early.stderr
    assert satori("score", run, "--partition", total).exit_code == 1, "there is no such partition"
    assert satori("score", run, "--partition", total - 1).exit_code == 0
    closed = satori("score", run, "--finalise")
    assert closed.exit_code == 0, closed.output
    assert content(run) == undisturbed
    assert satori("reduce", run).exit_code == 0


def test_verify_finds_damage_and_its_command_repairs_just_that(run: Path, undisturbed: dict[str, bytes]) -> None:
    assert satori("score", run).exit_code == 0
    assert satori("verify", run).exit_code == 0
    store = run / "scores"
    shards = sorted(store.glob("attention.zarr/foreground/value/c/*/0"))
    times = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    damaged = shards[2].read_bytes()
    shards[2].write_bytes(damaged[: len(damaged) // 2])
    shards[3].unlink()
    found = satori("verify", run)
    assert found.exit_code == 1
    assert f"satori-hpc score {run} --partition 2,3" in found.stdout
    repaired = satori("score", run, "--partition", "2,3")
    assert repaired.exit_code == 0, repaired.output
    assert content(run) == undisturbed
    assert satori("verify", run).exit_code == 0
    untouched = [
        path
        for path in times
        if {"2", "3"}.isdisjoint(path.relative_to(store).parts)
        and path.name not in ("foreground-2.json", "foreground-3.json")
    ]
    assert all(path.stat().st_mtime_ns == times[path] for path in untouched)
    assert "up to date" in satori("score", run).stdout, "the record still holds"
