"""Record the provenance of results: versions, digests, time and memory."""

import dataclasses
import hashlib
import importlib.metadata
import os
import platform
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from satori_hpc import __version__
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.run import sealed

LOCKS = ".lock"  # the folder of a run that says who is at work on it
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "zarr",
    "dask",
    "pandas",
    "pyarrow",
    "memelite",
    "pyjaspar",
    "mpi4py",
)


def versions() -> dict[str, str]:
    """Return versions of this package, Python and the libraries that affect numbers."""
    found = {"satori-hpc": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def slurm() -> dict[str, str]:
    """Return the Slurm ids of this process, if any; no host names."""
    return {
        key: os.environ[key] for key in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_NTASKS") if key in os.environ
    }


def file_digest(path: Path) -> str:
    """Return SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return all files at or below `paths`, sorted; leftovers of killed writers and locks do not count."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(p for p in path.rglob("*") if p.is_file() and _counts(p.relative_to(path)))
        elif path.exists():
            found.append(path)
    return sorted(found)


def _counts(name: Path) -> bool:
    """Return whether a file is part of an artefact; folders left by killed writers are not, nor their contents."""
    return name.parts[0] != LOCKS and not any(part.endswith(".partial") for part in name.parts)


def digest_of(files: dict[str, dict[str, Any]]) -> str:
    """Return one digest over a listing of files: {relative path: {"sha256": ...}}."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{files[name]['sha256']}\n".encode())
    return total.hexdigest()


def listing(
    root: Path, paths: Iterable[Path], *, known: dict[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return {path relative to root: size, modification time in ns, SHA-256} of every file at or below `paths`.

    Args:
        root: folder to which the names are relative.
        paths: files and folders.
        known: {path relative to root: {"bytes", "sha256"}} of files that are not to be read again.

    Raises:
        ArtefactError: a known file has another size.
    """
    known = known or {}
    entries = {}
    for path in files_of(paths):
        name, stat = path.relative_to(root).as_posix(), path.stat()
        if name in known and known[name]["bytes"] != stat.st_size:
            raise ArtefactError(
                f"{path}: expected {known[name]['bytes']} bytes, as were written, found {stat.st_size}; "
                f"see what is damaged: satori-hpc verify {quoted(root)}"
            )
        entries[name] = {
            "bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": known[name]["sha256"] if name in known else file_digest(path),
        }
    return entries


def source_entries(digests: dict[str, str], *, since_ns: int) -> dict[str, dict[str, Any]]:
    """Return the record entries of the user's input files, so that they are read again only when touched.

    Args:
        digests: {path: SHA-256 of the content read}.
        since_ns: when the reading stage began, ns since the epoch. A file modified later may have been so after it
            was read: its time is kept as 0, so that its content is always compared.
    """
    entries = {}
    for name, digest in digests.items():
        path = Path(name)
        stat = path.stat() if path.exists() else None
        settled = stat is not None and stat.st_mtime_ns < since_ns
        entries[str(name)] = {
            "sha256": digest,
            "bytes": stat.st_size if stat else 0,
            "mtime_ns": stat.st_mtime_ns if stat and settled else 0,
        }
    return entries


def source_changed(path: Path, entry: dict[str, Any]) -> bool:
    """Return whether an input file has other content than was read; a missing one has not changed."""
    if not path.exists():
        return False
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) == (entry["bytes"], entry["mtime_ns"]):
        return False
    return file_digest(path) != entry["sha256"]


def entry(path: Path) -> dict[str, Any]:
    """Return {"bytes", "sha256"} of a file, for `compare`."""
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def compare(path: Path, entry: dict[str, Any]) -> tuple[int, str]:
    """Return the bytes read of a file and its damage, if any; compares every byte, regardless of size and time.

    Args:
        path: of the file.
        entry: {"bytes", "sha256"} as written.
    """
    try:
        size = path.stat().st_size
        if size < entry["bytes"]:
            return 0, f"is truncated to {size} bytes of {entry['bytes']}"
        if size > entry["bytes"]:
            return 0, f"has {size} bytes, expected {entry['bytes']}"
        if file_digest(path) != entry["sha256"]:
            return size, "has other content than was written"
    except FileNotFoundError:
        return 0, "is missing"
    except OSError as error:
        return 0, f"cannot be read ({error.strerror})"
    return size, ""


def is_chunk(name: str) -> bool:
    """Return whether a file is a chunk of a Zarr array; it carries a checksum, which is compared when it is read."""
    return re.search(r"\.zarr/(.+/)?c/", name) is not None


def changed(root: Path, paths: Iterable[Path], recorded: dict[str, dict[str, Any]]) -> list[str]:
    """Describe the differences between `recorded` and the files at or below `paths`; reads files only if touched."""
    found = {path.relative_to(root).as_posix(): path for path in files_of(paths)}
    differences = [f"{name} is missing" for name in sorted(recorded.keys() - found.keys())]
    differences += [f"{name} was not there" for name in sorted(found.keys() - recorded.keys())]
    for name in sorted(found.keys() & recorded.keys()):
        stat = found[name].stat()
        entry = recorded[name]
        if (stat.st_size, stat.st_mtime_ns) == (entry["bytes"], entry["mtime_ns"]):
            continue
        if stat.st_size != entry["bytes"] or file_digest(found[name]) != entry["sha256"]:
            differences.append(f"{name} has other content")
    return differences


class Measure:
    """Elapsed time and peak resident memory of a block.

    The peak is sampled twice a second, because the kernel's own figure never falls again within a process.
    """

    def __enter__(self) -> "Measure":
        self.began = time.monotonic()
        self.peak_rss_bytes = psutil.Process().memory_info().rss
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def _sample(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.5):
            self.peak_rss_bytes = max(self.peak_rss_bytes, process.memory_info().rss)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._sampler.join()
        self.elapsed_s = time.monotonic() - self.began
        self.peak_rss_bytes = max(self.peak_rss_bytes, psutil.Process().memory_info().rss)


def process_peak_rss_bytes() -> int:
    """Return peak resident memory of this process since it started its program, from the kernel (Linux)."""
    # Not getrusage: its figure begins with that of the process which started this one.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


# The provenance record of a finished stage: written last, so its presence is what makes the stage complete.
#
# It carries a digest of all its fields.

FORMAT_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record of a stage.

    Attributes:
        stage: its name.
        digest: one digest over all its outputs.
        config_digest: digest of the sections of run.toml that it depends on.
        inputs: {stage: digest of that stage's outputs when they were read}.
        sources: {file given by the user: sha256, bytes, mtime_ns}; see provenance.source_entries.
        files: {output, relative to the run: bytes, mtime_ns, sha256}.
        summary: as printed by the stage.
    """

    stage: str
    digest: str
    config_digest: str
    config: dict[str, Any]
    inputs: dict[str, str]
    sources: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]
    summary: dict[str, Any]
    versions: dict[str, str]
    slurm: dict[str, str]
    seed: int
    world_size: int
    device: str
    elapsed_s: float
    peak_rss_bytes: int
    finished: str
    format_version: int = FORMAT_VERSION


def write(path: Path, record: Record) -> None:
    """Write a record atomically."""
    sealed.write_json(path, dataclasses.asdict(record), sort_keys=True)


def read(path: Path) -> Record | None:
    """Return the record at `path`, or None when there is none.

    Raises:
        ArtefactError: it is not as it was written, or of another format version.
    """
    run, record = quoted(path.parent.parent), quoted(path)
    try:
        content = sealed.read_json(
            path,
            version=FORMAT_VERSION,
            mend=f"remove it and run that stage again: rm {record} && satori-hpc all {run}",
            # The other records of the run are of that version, too, and --force would stop at the same one.
            outdated="use the version of satori-hpc that made the run, or make the run again: "
            f"rm -r {quoted(path.parent)} && satori-hpc all {run}",
        )
    except FileNotFoundError:
        return None
    return Record(**content)
