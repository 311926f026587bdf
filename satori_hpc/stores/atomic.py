"""Files and folders that are whole or absent: write beside, flush, rename."""

import contextlib
import errno
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from satori_hpc.errors import SatoriError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sibling(path: Path) -> Path:
    """A name beside `path` that nobody else uses, and that `sweep_partials` knows."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable; file systems that cannot are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def room(path: Path, needs: str = "") -> Iterator[None]:
    """Say which file met a full disk, and what to do; `needs` says how much room it takes.

    Raises:
        SatoriError: the disk or a quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise SatoriError(
            f"{path}: {os.strerror(error.errno)}{needs}; make room and run the same command again, it goes on with "
            "what is missing"
        ) from None


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; when the block ends well it becomes `path` in one step, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = sibling(path)
    try:
        with room(path):
            yield partial
            publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish(partial: Path, path: Path) -> None:
    """Make a file that was written beside `path` durable, and put it there in one step."""
    with open(partial, "rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends well it replaces `path`, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = sibling(path)
    partial.mkdir()
    try:
        with room(path):
            yield partial
            publish_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish_folder(partial: Path, path: Path) -> None:
    """Put a folder that was made beside `path` there, in place of what was there."""
    remove_folder(path)
    os.replace(partial, path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_folder(path: Path) -> None:
    """Remove a folder so that no moment shows it half empty under its own name; of a link to one, the link alone."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
        return
    if not path.exists():
        return
    doomed = sibling(path)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing happens when it is not there."""
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def sweep_partials(folder: Path, *, of: str = "") -> int:
    """Remove what killed writers left in `folder` (not below it), of names that begin with `of`; returns how many."""
    pattern = f".{glob.escape(of)}*.partial*"  # behind it, the ending that the writer of a bigWig wants
    left = list(folder.glob(pattern)) if folder.exists() else []
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)
