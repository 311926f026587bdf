"""The doctor finds each trap for real, in a process of its own, and names the cure."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from satori_hpc.tools import doctor as doctor_module
from satori_hpc.tools.doctor import Report

ROOT = Path(__file__).parent.parent.parent
OUTSIDE = ("SLURM_", "PMI_", "PMIX_", "OMPI_", "CUDA_", "APPTAINER_", "SINGULARITY_", "PYTHON")


def doctor(
    *arguments: object, prefix: tuple[str, ...] = (), cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(OUTSIDE)}
    command = [*prefix, sys.executable, "-m", "satori_hpc", "doctor", *map(str, arguments)]
    plain |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=plain | env, cwd=cwd)


def warnings(*arguments: object, prefix: tuple[str, ...] = (), **env: str) -> list[str]:
    done = doctor(*arguments, "--json", prefix=prefix, **env)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)["warnings"]
    return found


def test_a_sound_machine_gets_facts_and_no_warning(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("torch", "processors", "memory", "devices", "MPI library file", "temporary folder", "home", "run  "):
        assert any(line.startswith(name) for line in done.stdout.splitlines()), name
    assert "warning" not in done.stdout
    assert done.stdout.splitlines()[-1].split(maxsplit=1) == ["verdict", "ready: no known trap found"]
    for name in ("mpi4py", "h5py", "pybigtools", "snakemake"):
        assert f"optional {name}" in done.stdout
    assert str(tmp_path) in done.stdout


def test_many_traps_at_once_are_all_named_with_their_cures(tmp_path: Path) -> None:
    """A job that asked for a GPU and more cores, a launcher that started two, TMPDIR of another machine."""
    env = {
        "SLURM_JOB_GPUS": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_CPUS_PER_TASK": "4096",
        "TMPDIR": str(tmp_path / "of-another-node"),
    }
    done = doctor(tmp_path / "run", "--strict", **env)
    assert done.returncode == 1
    found = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    for said in (
        "a GPU was asked for (SLURM_JOB_GPUS=0), yet torch sees none",
        "the launcher started 2 processes, yet MPI sees a world of 1",
        "--mpi=pmi2",
        "srun --cpus-per-task=4096",
        "of-another-node cannot be used",
        "satori-hpc new",
    ):
        assert any(said in line for line in found), (said, found)
    assert len(found) == 5


def test_packages_from_elsewhere_are_named(tmp_path: Path) -> None:
    """A stray package of a name that we use, on PYTHONPATH or in the home of the user."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "pandas.py").write_text("")
    found = warnings(PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path / 'elsewhere'}")
    assert len(found) == 1
    assert found[0].startswith(f"pandas of {tmp_path / 'elsewhere'} (PYTHONPATH)")
    assert "unset PYTHONPATH" in found[0]


def test_the_processors_that_srun_left_out() -> None:
    found = warnings(prefix=("taskset", "-c", str(min(os.sched_getaffinity(0)))), SLURM_CPUS_PER_TASK="2")
    assert ["srun --cpus-per-task=2" in line for line in found] == [True]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """/proc takes no files, whoever asks, like a read-only bind."""
    report = Report()
    doctor_module.run_directory(report, Path("/proc"))
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("/proc: ")
    found = warnings(HOME="/proc", NUMBA_CACHE_DIR="/proc/cache")
    assert [line.split(":")[0] for line in found] == ["/proc (home)", "NUMBA_CACHE_DIR=/proc/cache"]


def test_facts_are_told_before_mpi_can_end_the_process() -> None:
    done = doctor(MPI4PY_LIBMPI="/nowhere/libmpi.so")
    assert done.returncode == 0
    assert "mpi4py finds no MPI library" in done.stdout


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({}, False),
        ({"CUDA_VISIBLE_DEVICES": ""}, False),
        ({"CUDA_VISIBLE_DEVICES": "-1", "SLURM_JOB_GPUS": "0"}, False),
        ({"CUDA_VISIBLE_DEVICES": "0"}, True),
        ({"SLURM_GPUS_PER_NODE": "a100:0"}, False),
        ({"SLURM_GPUS_PER_NODE": "a100:2"}, True),
        ({"SLURM_GPUS_ON_NODE": "1"}, True),
    ],
)
def test_whether_a_gpu_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, env: dict[str, str], asked: bool
) -> None:
    for name in doctor_module.ASKED:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(doctor_module, "NODES", tmp_path)
    assert bool(doctor_module.asked_for()) == asked


def test_every_extra_is_listed_with_what_it_is_for() -> None:
    with (ROOT / "pyproject.toml").open("rb") as handle:
        extras = tomllib.load(handle)["project"]["optional-dependencies"]
    assert {extra for extra, _ in doctor_module.OPTIONAL.values()} == extras.keys() - {"test"}
    for name, (extra, _) in doctor_module.OPTIONAL.items():
        assert any(requirement.startswith(name) for requirement in extras[extra])


def test_an_optional_package_that_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor_module.OPTIONAL, "no-such-package", ("tracks", "tracks"))
    monkeypatch.setattr(doctor_module, "_mpi", lambda report: None)
    told = doctor_module.doctor(Report()).facts["optional no-such-package"]
    assert told == "not installed, needed for tracks: pip install 'satori-hpc[tracks]'"


def test_what_the_main_command_shows_needs_no_extra() -> None:
    """In a process that finds none of the optional packages, all of a run's stages can be imported."""
    code = (
        "import sys\n"
        f"for name in {sorted(doctor_module.OPTIONAL)}: sys.modules[name] = None\n"
        "from satori_hpc.run import pipeline\n"
        "[stage.function() for stage in pipeline.STAGES]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    with (ROOT / "pyproject.toml").open("rb") as handle:
        needed = " ".join(tomllib.load(handle)["project"]["dependencies"])
    assert "matplotlib" in needed
    assert "jinja2" in needed
