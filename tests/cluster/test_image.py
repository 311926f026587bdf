"""The image as a user meets it: closed to what leaks in, read-only, documented; and the recipes that make it."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEFINITIONS = (ROOT / "Apptainer.def", ROOT / "containers" / "cpu.def")
OURS = ("SLURM_", "PMI_", "PMIX_", "OMPI_", "MPI4PY_", "SATORI_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "NUMBA_", "MPL")
OURS += ("TORCH",)
Apptainer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def apptainer(image: Path, tmp_path: Path) -> Apptainer:
    """Runs `apptainer COMMAND [options] IMAGE ...` in tmp_path; the word IMAGE stands for the image."""

    def run(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith((*OURS, "PYTHON"))}
        command = ["apptainer", *(str(image) if word == "IMAGE" else str(word) for word in words)]
        return subprocess.run(command, env=plain | env, capture_output=True, text=True, timeout=300, cwd=tmp_path)

    return run


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_labels_help_and_version(apptainer: Apptainer) -> None:
    labels = json.loads(said(apptainer("inspect", "--json", "--labels", "IMAGE")))["data"]["attributes"]["labels"]
    named = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", named["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", named["created"])
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for library in ("torch", "mpi4py", "mpich"):
        assert labels[f"satori-hpc.{library}"].partition("+")[0] == pins[library]
    assert "satori-hpc demo" in said(apptainer("run-help", "IMAGE")).replace("IMAGE.sif demo", "satori-hpc demo")
    version = said(apptainer("run", "IMAGE", "--version"))
    assert version == f"satori-hpc, version {named['version']}\n"


def test_nothing_of_the_build_is_left(apptainer: Apptainer) -> None:
    """Neither compilers, caches and tests nor what the machine of the build told pip and apt."""
    script = """
        for name in gcc cc g++ make; do ! command -v $name; done
        [ -z "$(ls -A /var/lib/apt/lists /media /tmp/pip /opt/build /root/.cache 2>/dev/null | grep -v :)" ]
        [ -z "$(find /opt/satori /opt/openmpi -type d -name tests)" ]
        ! find /etc /opt -name 'pip.conf' | grep .
        ! touch /opt/satori/here 2>/dev/null
        command -v ps satori-hpc python dask torchrun mpiexec
    """
    done = apptainer("exec", "--no-mount", "tmp,home", "IMAGE", "bash", "-ec", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/opt/satori/bin/dask" in done.stdout


def test_packages_of_the_user_stay_outside(apptainer: Apptainer, tmp_path: Path) -> None:
    """Neither ~/.local nor a module's PYTHONPATH hides what the image holds."""
    for version in ("3.11", "3.12", "3.13"):
        (tmp_path / f".local/lib/python{version}/site-packages").mkdir(parents=True)
        (tmp_path / f".local/lib/python{version}/site-packages/numpy.py").write_text("raise SystemExit('of the home')")
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "torch.py").write_text("raise SystemExit('of the module')")
    leaks = {"PYTHONPATH": str(tmp_path / "module"), "PYTHONHOME": str(tmp_path)}
    report = json.loads(said(apptainer("run", "--home", tmp_path, "IMAGE", "doctor", "--json", **leaks)))
    assert report["warnings"] == []
    assert report["facts"]["home"].startswith(f"{tmp_path},")
    assert report["facts"]["image"].endswith(f", revision {report['facts']['image'].rpartition(' ')[2]}")


CACHED = """
import os, pathlib, numba, matplotlib

@numba.njit(cache=True)
def add(a, b):
    return a + b

assert add(1, 2) == 3
compiled = list(pathlib.Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbi"))
print(len(compiled), os.environ["NUMBA_CACHE_DIR"], matplotlib.get_cachedir(), os.environ["TORCHINDUCTOR_CACHE_DIR"])
print(os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"])
"""


def test_caches_lie_in_tmpdir_and_threads_are_bounded(apptainer: Apptainer, tmp_path: Path) -> None:
    (tmp_path / "cached.py").write_text(CACHED)
    (tmp_path / "scratch").mkdir()
    words = ("exec", "--bind", tmp_path, "--pwd", tmp_path, "IMAGE", "python", "cached.py")
    first, second = said(apptainer(*words, TMPDIR=str(tmp_path / "scratch"), OPENBLAS_NUM_THREADS="3")).splitlines()
    count, *folders = first.split()
    assert int(count) == 1
    own = tmp_path / "scratch" / f"satori-hpc-{os.getuid()}"
    assert all(Path(folder).is_relative_to(own) for folder in folders)
    assert own.stat().st_mode & 0o777 == 0o700
    assert second == f"{len(os.sched_getaffinity(0))} 3"
    assert said(apptainer(*words, SLURM_CPUS_PER_TASK="1", OMP_NUM_THREADS="2")).splitlines()[1] == "2 1"


def test_a_cache_folder_of_somebody_else_is_not_used(apptainer: Apptainer, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a folder away needs root")
    (tmp_path / "satori-hpc-0").mkdir(mode=0o777)
    os.chown(tmp_path / "satori-hpc-0", 12345, 12345)
    code = "import os; print(os.environ['NUMBA_CACHE_DIR'])"
    used = said(apptainer("exec", "--bind", tmp_path, "IMAGE", "python", "-c", code, TMPDIR=str(tmp_path)))
    assert "satori-hpc-0/" not in used


def test_doctor_explains_a_missing_gpu_and_a_wrong_bind(apptainer: Apptainer, tmp_path: Path) -> None:
    """On a machine without GPU, in a job that asked for one, with a run directory that nobody has bound."""
    run = tmp_path / "scratch" / "run"
    run.mkdir(parents=True)
    words = ("run", "--contain", "--workdir", tmp_path, "IMAGE", "doctor", run, "--strict")
    done = apptainer(*words, SLURM_JOB_GPUS="0")
    assert done.returncode == 1
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2, done.stdout
    assert "SLURM_JOB_GPUS=0" in warnings[0]
    assert "built without CUDA; use the CUDA image" in warnings[0]
    assert f"{run} is not there; in a container only bound folders are seen" in warnings[1]
    assert f"--bind {run.parent} --pwd {run.parent}" in warnings[1]
    # The cure, as it was given.
    cured = apptainer("run", "--contain", "--bind", run.parent, "--pwd", run.parent, "IMAGE", "doctor", run, "--strict")
    assert cured.returncode == 0, cured.stdout
    # A bind that is read-only.
    closed = apptainer("run", "--contain", "--bind", f"{run.parent}:{run.parent}:ro", "IMAGE", "doctor", run)
    assert f"{run}: not writable (Read-only file system)" in said(closed)


def test_definitions_differ_in_their_headers_only() -> None:
    sections = [re.split(r"(?m)^(?=%)", path.read_text())[1:] for path in DEFINITIONS]
    names = [section.split()[0] for section in sections[0]]
    assert names == ["%arguments", "%help", "%labels", "%environment", "%files", "%post", "%runscript", "%test"]
    without = [re.sub(r"(?m)^ +BASE=.*\n", "", "".join(found)) for found in sections]
    assert without[0] == without[1]
    for path in DEFINITIONS:
        header = path.read_text().partition("%arguments")[0]
        assert len(re.findall(r"(?m)^Bootstrap: ", header)) == 1
    bases = [
        re.search(r"BASE=(\S+)", (ROOT / name).read_text()) for name in ("Apptainer.def", "containers/Containerfile")
    ]
    assert bases[0] is not None
    assert bases[1] is not None
    assert bases[0][1] == bases[1][1]


def test_apptainer_reads_the_definition_for_users(image: Path, tmp_path: Path) -> None:
    """No registry is needed to see that it is well-formed: the build gets as far as asking the one that is named."""
    command = [str(ROOT / "containers" / "build"), "cuda", "x.sif", "--build-arg", "BASE=127.0.0.1:9/none:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode != 0
    assert "127.0.0.1:9" in done.stderr
    assert not (tmp_path / "x.sif").exists()
