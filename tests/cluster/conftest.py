"""`slurm`: a real two-node Slurm cluster; `image`: a real Apptainer image. Tests that need them skip without."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.jobs import Jobs

HERE = Path(__file__).parent
LOCAL_SLURM = HERE / "local-slurm"


@pytest.fixture(scope="session")
def slurm() -> dict[str, str]:
    """The environment of commands of Slurm, with the cluster's SLURM_CONF; no job's variables are in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    conf = os.environ.get("SLURM_CONF") or _local_conf()
    environment["SLURM_CONF"] = conf
    if shutil.which("sinfo") and Path(conf).exists() and _controlled(environment):
        for _ in range(30):  # a node that is just cleaning up after a job of another test is back in a moment
            if _nodes(environment) >= 2:
                return environment
            time.sleep(2)
    pytest.skip("no Slurm: tests/cluster/local-slurm up")


def _controlled(environment: dict[str, str]) -> bool:
    """Whether there is a controller; one that is down keeps `sinfo` waiting for a minute."""
    return subprocess.run(["scontrol", "ping"], env=environment, capture_output=True).returncode == 0


def _nodes(environment: dict[str, str]) -> int:
    """How many take jobs."""
    asked = ["sinfo", "--noheader", "--states=idle,alloc,mix", "--format=%D"]
    try:
        found = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return 0
    return sum(map(int, found.stdout.split())) if found.returncode == 0 else 0


def _local_conf() -> str:
    line = subprocess.run([LOCAL_SLURM, "env"], capture_output=True, text=True, check=True).stdout
    return line.strip().partition("SLURM_CONF=")[2]


@pytest.fixture(scope="module")
def jobs(slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """The scripts of jobs/ with this virtual environment; jobs that a failed test has left are cancelled."""
    found = Jobs(slurm, tmp_path_factory.mktemp("site") / "site.env")
    found.set_up(SATORI_VENV=sys.prefix)
    yield found
    found.end()


@pytest.fixture(scope="session")
def image() -> Path:
    """The image to be tested."""
    named = os.environ.get("SATORI_TEST_IMAGE", "")
    if not (named and Path(named).is_file() and shutil.which("apptainer")):
        pytest.skip("no image: containers/build cpu FILE.sif, then SATORI_TEST_IMAGE=FILE.sif")
    return Path(named).resolve()
