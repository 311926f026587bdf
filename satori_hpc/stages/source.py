"""What a source of sequences hands to `prepare`."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import provenance
from satori_hpc.errors import InputError, Problems
from satori_hpc.run import Run
from satori_hpc.stores.examples import Examples
from satori_hpc.stores.left_out import LeftOut

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Source:
    """Examples, and numbers about them for people.

    Attributes:
        whole: the examples; in their parts when [prepare] split = "given", else all in the training part.
        summary: the numbers.
        groups: int64 (examples,), the same number for equal sequences; None: to be told from the tokens.
        finish: what is to be done when they are split, before they are written: the truth of simulated sets.
        left_out: rows of the user's files that were dropped or changed; None: the source leaves none out, or has
            listed them itself.
    """

    whole: Examples
    summary: dict[str, Any]
    groups: np.ndarray | None = None
    finish: Callable[[], None] | None = None
    left_out: LeftOut | None = None


def digests(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of the user's files, for the record of the stage."""
    return {str(path): provenance.file_digest(path) for path in paths}


def check_there(files: Mapping[str, Iterable[Path]]) -> None:
    """Tell all files that are missing before the first is read; `files`: by the key of run.toml that names them.

    Raises:
        InputError: some are.
    """
    problems = Problems("files that are named for this run are not there:")
    for key, paths in files.items():
        section, _, name = key.rpartition(".")
        for path in paths:
            try:
                os.stat(path)
            except (OSError, ValueError) as error:  # ValueError: NUL in a name
                told = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
                problems.add(f"{path}: {told}; correct [{section}] {name} in run.toml")
    problems.raise_any()


def check_names(run: Run, **found: Iterable[str]) -> None:
    """Refuse names that would tear tables apart or act on a terminal; `found`: names by what they are of.

    Raises:
        InputError: some hold control characters.
    """
    problems = Problems(f"{run.config_file}: names hold line ends, tabs or other control characters; change them:")
    for what, names in found.items():
        for name in filter(CONTROL.search, names):
            problems.add(f"{what} {name[:60]!r}")
    problems.raise_any()


def check_length(run: Run, length: int, *, path: Path) -> None:
    """Refuse sequences, of the file `path`, that are shorter than a filter or a cell of the network.

    Raises:
        InputError: they are.
    """
    needed = max(run.config.model.width, run.config.model.pool)
    if length < needed:
        raise InputError(
            f"{path}: the sequences are {length} bp long; expected at least {needed} bp, the larger of "
            f"[model] width = {run.config.model.width} and pool = {run.config.model.pool} in {run.config_file}; "
            "use longer sequences or lower these"
        )
