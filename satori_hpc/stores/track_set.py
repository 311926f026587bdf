"""tracks/ as a whole: what a killed command leaves is gone on with, and what is whole says of what it was made.

The files are made in a folder beside it, `<name>.parts`, each of them written in one step, and stay there if the
command is killed; `tracks.json` says for which inputs and settings. When all are there it names them with their
digests, and the folder takes the place of the set.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from satori_hpc import provenance
from satori_hpc.errors import ArtefactError, InputError, quoted
from satori_hpc.stores import atomic, sealed

FORMAT_VERSION = 3
RECORD, SCRATCH = "tracks.json", "scratch"


def whole(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of a set that was made of the same and is as it was written; None: there is no such set.

    Args:
        folder: of the set.
        key: all that shapes the bytes, as JSON has it: inputs, settings, versions.
    """
    content = _read(folder, key)
    if content is None or "files" not in content:
        return None
    for name, entry in content["files"].items():
        if provenance.compare(folder / name, entry)[1]:
            return None
    summary: dict[str, Any] = content["summary"]
    return summary


def begin(folder: Path, key: Mapping[str, Any]) -> Path:
    """The folder to make the files of a set in, with those that are whole already if they were made of the same.

    Args:
        folder: of the set; it stays as it is.
        key: as of `whole`.

    Raises:
        InputError: `folder` holds something else than a set of tracks.
    """
    if folder.exists() and not (folder / RECORD).exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds other things than tracks, and would be replaced; choose another with --out")
    parts = folder.with_name(f"{folder.name}.parts")
    atomic.sweep_partials(folder.parent, of=f"{folder.name}.")
    if _read(parts, key) is None:
        atomic.remove_folder(parts)
        parts.mkdir(parents=True)
        _write(parts, key)
    atomic.sweep_partials(parts)
    return parts


def publish(parts: Path, folder: Path, key: Mapping[str, Any], *, summary: Mapping[str, Any]) -> None:
    """Put finished `parts` in place of `folder`.

    Args:
        parts: from `begin`, with all files.
        folder: of the set.
        key: as of `whole`.
        summary: numbers, for people.
    """
    atomic.remove(parts / SCRATCH)
    atomic.sweep_partials(parts)
    names = sorted(path.name for path in parts.iterdir() if path.name != RECORD)
    _write(parts, key, summary=dict(summary), files={name: provenance.entry(parts / name) for name in names})
    atomic.remove_folder(folder)
    os.replace(parts, folder)
    atomic.sync_folder(folder.parent)


def _write(folder: Path, key: Mapping[str, Any], **more: Any) -> None:
    content = {"format_version": FORMAT_VERSION, "coordinates": "0-based, half-open", **key, **more}
    sealed.write_json(folder / RECORD, content)


def _read(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record in a folder, if it is of the same."""
    try:
        content = read(folder)
    except (FileNotFoundError, ArtefactError):
        return None
    return content if all(name in content and content[name] == key[name] for name in key) else None


def read(folder: Path) -> dict[str, Any]:
    """What a set says of itself.

    Raises:
        FileNotFoundError: there is no set.
        ArtefactError: tracks.json is damaged or of another format version.
    """
    return sealed.read_json(
        folder / RECORD, version=FORMAT_VERSION, mend=f"make it again: satori-hpc tracks {quoted(folder.parent)}"
    )
