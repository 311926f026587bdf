"""The lock of the images: the versions of constraints.txt, every file with its hash, nothing missing."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "containers" / "locked.txt"


def versions(text: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def needed(name: str, extras: frozenset[str], found: set[str]) -> set[str]:
    """All distributions of this environment that one needs, by its metadata."""
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        marks = [{"extra": extra} for extra in extras or [""]]
        if requirement.marker is not None and not any(requirement.marker.evaluate(mark) for mark in marks):
            continue
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        there = any(importlib.metadata.distributions(name=key))  # a torch without CUDA has not its libraries
        if there and key not in found:
            found.add(key)
            needed(key, frozenset(requirement.extras), found)
    return found


def test_versions_are_those_of_the_constraints() -> None:
    constraints, locked = versions((ROOT / "constraints.txt").read_text()), versions(LOCK.read_text())
    both = constraints.keys() & locked.keys()
    assert len(both) > 50
    assert {name: locked[name] for name in both} == {name: constraints[name] for name in both}


def test_all_that_the_image_needs_is_locked() -> None:
    found = needed("satori-hpc", frozenset(("mpi",)), set()) - {"satori-hpc"}
    assert {"torch", "mpich", "jinja2", "tornado"} <= found
    assert found <= versions(LOCK.read_text()).keys()


def test_every_requirement_has_a_hash() -> None:
    entries = LOCK.read_text().replace("\\\n", "").splitlines()[1:]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+", entry) for entry in entries)


def picked(tmp_path: Path, **packages: str) -> subprocess.CompletedProcess[str]:
    report = {"install": [{"metadata": {"name": name, "version": version}} for name, version in packages.items()]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    command = [sys.executable, str(ROOT / "containers" / "locked.py"), "pick", str(tmp_path / "report.json")]
    return subprocess.run(command, capture_output=True, text=True)


def test_what_pip_names_is_picked_with_its_hashes_and_nothing_else(tmp_path: Path) -> None:
    locked = versions(LOCK.read_text())
    done = picked(tmp_path, Jinja2=locked["jinja2"], torch=locked["torch"] + "+cpu", **{"satori-hpc": "0.1.0"})
    assert done.returncode == 0, done.stderr
    assert f"torch=={locked['torch']}+cpu --hash=" in re.sub(" +", " ", done.stdout)  # not the one with CUDA
    assert versions(done.stdout) == {name: locked[name] for name in ("jinja2", "torch")}
    assert done.stdout.count("--hash=sha256:") > 2


def test_what_is_not_locked_is_refused(tmp_path: Path) -> None:
    done = picked(tmp_path, jinja2="0.0.1")
    assert done.returncode == 1
    assert "not in locked.txt: jinja2==0.0.1" in done.stderr
