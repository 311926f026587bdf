"""The provenance record of a finished stage: written last, so its presence is what makes the stage complete."""

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satori_hpc.errors import ArtefactError
from satori_hpc.stores import atomic

FORMAT_VERSION = 2


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
    atomic.write_text(path, json.dumps(dataclasses.asdict(record), indent=1, sort_keys=True) + "\n")


def read(path: Path) -> Record | None:
    """The record at `path`, or None when there is none.

    Raises:
        ArtefactError: it cannot be read, or is of another format version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not a provenance record ({error}); remove it and run that stage again") from None
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: format version {found}, this program reads {FORMAT_VERSION}; "
            "use the version of satori-hpc that made the run, or make the run again: "
            f"{_again(path)}"
        )
    try:
        return Record(**content)
    except TypeError as error:
        raise ArtefactError(f"{path}: not a provenance record ({error}); remove it and run that stage again") from None


def _again(path: Path) -> str:
    """The commands that make the whole run of a record again; --force would stop at the same record."""
    run = path.parent.parent
    return f"rm -r {shlex.quote(str(path.parent))} && satori-hpc all {shlex.quote(str(run))}"
