"""MPICH and Open MPI, in the image and outside, under srun and mpiexec: one world, the same bytes, or a refusal."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from satori_hpc.parallel.world import Runtime
from satori_hpc.run.layout import Run
from tests.fixtures.runs import TinyRun
from tests.fixtures.scores import store_digest
from tests.parallel.open_mpi import ROOT, open_mpi

LIBRARY = {"mpich": "libmpi.so.12", "openmpi": "libmpi.so.40"}
RUNTIME = Runtime(device="cpu", threads=1)
PATIENCE = 300  # seconds, on a machine that does much else
TOGETHER = [("mpich", "pmi2"), ("openmpi", "pmix")]
APART = [("mpich", "none"), ("openmpi", "none"), ("openmpi", "pmi2")]


class Site:
    """How to start ranks here: outside with the interpreter of a family, inside with the image.

    Attributes:
        home: environments with the wheel of each family.
    """

    def __init__(self, slurm: dict[str, str], openmpi: Path) -> None:
        self.home = {"mpich": Path(sys.prefix), "openmpi": openmpi}
        ours = ("PMI_", "PMIX_", "OMPI_", "MPI4PY_", "SATORI_MPI")
        self.environment = {name: value for name, value in slurm.items() if not name.startswith(ours)}
        self.environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def outside(self, family: str) -> list[str]:
        return [str(self.home[family] / "bin" / "python"), "-m", "satori_hpc"]

    def run(self, *command: object, **env: str) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        environment = self.environment | env
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE, cwd="/tmp")


def srun(pmi: str) -> list[str]:
    return ["srun", f"--mpi={pmi}", "--nodes=2", "--ntasks=2", "--kill-on-bad-exit=1", "--quiet"]


def inside(image: Path, *binds: object) -> list[str]:
    return ["apptainer", "exec", *(word for bind in binds for word in ("--bind", str(bind))), str(image)]


@pytest.fixture(scope="module")
def site(slurm: dict[str, str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    cache = request.config.cache if hasattr(request.config, "cache") else None
    return Site(slurm, open_mpi(Path(cache.mkdir("mpi")) if cache is not None else tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def base(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A tiny run up to its motifs, and the digest of its scores by one process."""
    digest = store_digest(tiny_run("score", tmp_path_factory.mktemp("scored") / "run"))
    return tiny_run("motifs", tmp_path_factory.mktemp("families") / "run"), digest


@pytest.fixture
def run(base: tuple[Run, str], tmp_path: Path) -> Run:
    shutil.copytree(base[0].path, tmp_path / "run")
    return Run(path=tmp_path / "run", config=base[0].config)


def scored(run: Run) -> list[object]:
    return ["score", run.path, "--device", "cpu"]


@pytest.mark.parametrize(("family", "pmi"), TOGETHER)
def test_srun_outside_the_image_makes_one_world(
    site: Site, base: tuple[Run, str], run: Run, family: str, pmi: str
) -> None:
    done = site.run(*srun(pmi), *site.outside(family), *scored(run))
    assert done.returncode == 0, done.stderr
    assert store_digest(run) == base[1]


@pytest.mark.parametrize(("family", "pmi"), TOGETHER)
def test_srun_starts_the_image_on_two_nodes_as_one_world(
    site: Site, image: Path, base: tuple[Run, str], run: Run, family: str, pmi: str
) -> None:
    bound = f"{run.path.parent}:{run.path.parent}"
    done = site.run(*srun(pmi), *inside(image, bound), "satori-hpc", *scored(run), SATORI_MPI=family)
    assert done.returncode == 0, done.stderr
    assert store_digest(run) == base[1]


@pytest.mark.parametrize("family", ["mpich", "openmpi"])
def test_mpiexec_in_the_image_makes_one_world(site: Site, image: Path, family: str) -> None:
    done = site.run(*inside(image), "mpiexec", "-n", "2", "satori-hpc", "doctor", SATORI_MPI=family)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert f"{rank} of 2" in done.stdout  # lines of two ranks may mix
    assert done.stdout.count(LIBRARY[family]) == 2


@pytest.mark.parametrize(("family", "pmi"), TOGETHER)
def test_an_mpi_of_the_machine_bound_into_the_image(
    site: Site, image: Path, tmp_path: Path, family: str, pmi: str
) -> None:
    """Ours lies in an environment outside; it is seen at a path that the image does not have."""
    host = site.home[family] / "lib"
    library = f"/host-mpi/{LIBRARY[family]}"
    command = [*inside(image, f"{host}:/host-mpi"), "satori-hpc", "doctor", "--json"]
    # The image's own is of the other family: naming the library must be enough.
    other = {"mpich": "openmpi", "openmpi": "mpich"}[family]
    done = site.run(*srun(pmi), "--output", tmp_path / "%t.json", *command, SATORI_MPI=other, MPI4PY_LIBMPI=library)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        text = (tmp_path / f"{rank}.json").read_text()
        report = json.loads(text[text.index("{\n") :])
        assert report["facts"]["MPI rank"] == f"{rank} of 2"
        assert report["facts"]["MPI library file"].startswith("/host-mpi/")
        assert report["warnings"] == []


@pytest.mark.parametrize("where", ["outside", "inside"])
@pytest.mark.parametrize(("family", "pmi"), APART)
def test_ranks_that_are_worlds_of_their_own_refuse(
    site: Site, request: pytest.FixtureRequest, run: Run, where: str, family: str, pmi: str
) -> None:
    if where == "inside":
        image = request.getfixturevalue("image")
        command = [*inside(image, f"{run.path.parent}:{run.path.parent}"), "satori-hpc"]
    else:
        command = site.outside(family)
    done = site.run(*srun(pmi), *command, *scored(run), SATORI_MPI=family)
    assert done.returncode != 0
    assert "the launcher started 2 processes, yet MPI has a world of 1" in done.stderr
    assert {"mpich": "--mpi=pmi2 for MPICH", "openmpi": "--mpi=pmix for Open MPI"}[family] in done.stderr
    assert not run.scores("attention").exists()
