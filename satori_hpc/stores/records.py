"""The provenance record of a finished stage: written last, so its presence is what makes the stage complete.

It carries a digest of all its fields.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satori_hpc.errors import quoted
from satori_hpc.stores import sealed

FORMAT_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a stage did.

    Attributes:
        stage: its name.
        digest: one digest over all its outputs.
        config_digest: digest of the sections of run.toml that it depends on.
        inputs: {stage: digest of that stage's outputs when they were read}.
        sources: {file given by the user: sha256, bytes, mtime_ns}; see provenance.source_entries.
        files: {output, relative to the run: bytes, mtime_ns, sha256}.
        summary: what the stage printed.
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
    """The record at `path`, or None when there is none.

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
