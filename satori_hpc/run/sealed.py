"""Files that carry a SHA-256 of themselves: a byte that changed since they were written is an error when they are read.

JSON has it as its last key; other content has it at the end of the file, where zip readers ignore it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from satori_hpc.errors import ArtefactError
from satori_hpc.run import files

KEY = "sha256"
_TRAILER = b"\nsha256 %s\n"
_TRAILER_BYTES = len(_TRAILER % bytes(64))


def text(content: Mapping[str, Any], **layout: Any) -> str:
    """Return `content` (not empty) as JSON text with the digest of the text before it; `layout`: of json.dumps."""
    body = json.dumps(content, **layout).removesuffix("}").rstrip()
    return f'{body},\n "{KEY}": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def parse(sealed: str) -> dict[str, Any]:
    """Return the content of a sealed JSON text, without its digest.

    Raises:
        ValueError: it is not as it was written.
    """
    body, _, end = sealed.rpartition(f',\n "{KEY}": "')
    if end != f'{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n':
        raise ValueError("it is not as it was written")
    content: dict[str, Any] = json.loads(body + "}")
    return content


def write_json(path: Path, content: Mapping[str, Any], **layout: Any) -> None:
    """Write a JSON artefact atomically."""
    files.write_text(path, text(content, **{"indent": 1, **layout}))


def read_json(path: Path, *, version: int, mend: str, outdated: str = "") -> dict[str, Any]:
    """Return the content of a JSON artefact.

    Args:
        path: of the file.
        version: the `format_version` that it must have.
        mend: the command that rebuilds it, for the message.
        outdated: the cure for another version; default: `mend`.

    Raises:
        FileNotFoundError: there is none.
        ArtefactError: it is not as it was written, or of another format version.
    """
    raw = _bytes(path, mend)
    try:
        content = parse(raw.decode("utf-8"))
        found = content.get("format_version")
    except ValueError:
        found = _version(raw)
        if found in (None, version):
            raise ArtefactError(f"{path}: damaged (not as it was written); {mend}") from None
    if found != version:
        raise ArtefactError(f"{path}: format version {found}, this program reads {version}; {outdated or mend}")
    return content


def _version(raw: bytes) -> int | None:
    """Return the format version in a JSON file without digest, as written by older programs."""
    try:
        found = json.loads(raw)["format_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if isinstance(found, int) else None


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically, followed by its digest."""
    digest = hashlib.sha256(content).hexdigest().encode()
    with files.atomic_file(path) as partial, open(partial, "wb") as handle:
        handle.write(content)
        handle.write(_TRAILER % digest)


def read_bytes(path: Path, *, mend: str) -> memoryview:
    """Read the content of a file written by `write_bytes`.

    Raises:
        FileNotFoundError: there is none.
        ArtefactError: it is not as it was written.
    """
    raw = memoryview(_bytes(path, mend))
    content, trailer = raw[:-_TRAILER_BYTES], raw[-_TRAILER_BYTES:]
    if trailer != _TRAILER % hashlib.sha256(content).hexdigest().encode():
        raise ArtefactError(
            f"{path}: damaged, cut short, or written by another version of this program (its last line is not the "
            f"SHA-256 of what stands before it); {mend}"
        )
    return content


def _bytes(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror}); {mend}") from None
