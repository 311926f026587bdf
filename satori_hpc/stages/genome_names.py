"""Names of chromosomes in files, and what the genome calls them."""

import re
from pathlib import Path

import numpy as np

from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.stores.genome import Genome


def places(path: Path, names: list[str], genome: Genome) -> tuple[np.ndarray, bool]:
    """Number in the genome of each chromosome of a file, -1 = none; and whether they are called otherwise there.

    Raises:
        InputError: none of them is there, with or without "chr".
    """
    known = {name: number for number, name in enumerate(genome.names)}
    place = np.array([known.get(name, -1) for name in names], dtype=np.int64)
    if (place >= 0).any():
        return place, False
    short: dict[str, int] = {}
    for number, name in enumerate(genome.names):
        # hg19 has chrM and chrMT: neither is taken for MT.
        short[_short(name)] = -1 if _short(name) in short else number
    place = np.array([short.get(_short(name), -1) for name in names], dtype=np.int64)
    if (place < 0).all():
        raise InputError(
            f"{path}: none of its chromosomes ({_some(names)}) is in {genome.path} ({_some(genome.names)}); "
            "use files of one genome"
        )
    logger.warning("%s: its chromosomes (%s) are called otherwise in the genome", path, _some(names))
    return place, True


def _short(name: str) -> str:
    name = re.sub("^chr", "", name, flags=re.IGNORECASE)
    return "M" if name in ("MT", "Mt", "mt") else name


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
