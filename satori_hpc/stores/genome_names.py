"""Chromosomes of the user's files: what the genome calls them, and how much of a file lies on others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from satori_hpc.core import chromosomes
from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.stores.genome import Genome

TOLD, REFUSED = 0.01, 0.5  # shares of a file on chromosomes that are not there
SHOWN, LONGEST = 10, 60  # names in a message, and letters of each
ALLOW = "allow_missing_chromosomes = true in [prepare.genome] (new: --allow-missing-chromosomes)"


def places(
    path: Path, rows: Mapping[str, int], genome: Genome, *, allow_missing: bool, unit: str = "rows", told: float = TOLD
) -> tuple[np.ndarray, bool]:
    """Find the chromosomes of a file in the genome, each name for itself.

    Args:
        path: of the file.
        rows: how much of it is on each of its chromosomes.
        genome: open.
        allow_missing: whether more than half of it may be on chromosomes that are not there.
        unit: what is counted.
        told: share of it above which those are named in a warning.

    Returns:
        int64 (chromosomes,), their numbers in the genome, -1 = not there; and whether some are called otherwise there.

    Raises:
        InputError: none of it is on a chromosome of the genome, or less than half.
    """
    names = list(rows)
    found = list(chromosomes.candidates(names, genome.names))
    place = np.array([each[0] if len(each) == 1 else -1 for each in found], dtype=np.int64)
    others = [
        f"{short(name)} = {short(genome.names[at])}"
        for name, at in zip(names, place.tolist(), strict=True)
        if at >= 0 and genome.names[at] != name
    ]
    if others:
        logger.warning("%s: chromosomes are called otherwise in the genome: %s", path, _listed(others))
    missing = {
        name + (f" ({' or '.join(short(genome.names[at]) for at in each)}?)" if each else ""): rows[name]
        for name, each in zip(names, found, strict=True)
        if len(each) != 1
    }
    count, total = sum(missing.values()), sum(rows.values())
    if total and count == total:
        raise InputError(
            f"{path}: none of its chromosomes ({shown(names)}) is in {genome.path} ({shown(genome.names)}); "
            "use files of one genome"
        )
    if count > told * total:
        lies = f"{count:,} of {total:,} {unit} are on chromosomes that are not in {genome.path} ({shown(genome.names)})"
        each = _listed(
            [f"{short(name)}: {size:,}" for name, size in sorted(missing.items(), key=lambda item: -item[1])]
        )
        too_many(f"{path}: {lies}: {each}", count > REFUSED * total, allow=allow_missing)
    return place, bool(others)


def too_many(message: str, refused: bool, *, allow: bool) -> None:
    """Warn that much of a file is not used.

    Raises:
        InputError: so much that it is `refused`, unless that is allowed.
    """
    if refused and not allow:
        raise InputError(f"{message}; use files of one genome, or set {ALLOW}")
    logger.warning("%s", message)


def among(names: Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """What `known` calls the chromosomes of a setting; and the names that are not there, or not of one of them."""
    found = list(chromosomes.candidates(names, known))
    return [known[each[0]] for each in found if len(each) == 1], [
        name for name, each in zip(names, found, strict=True) if len(each) != 1
    ]


def shown(names: Sequence[str]) -> str:
    """The first names of many."""
    return _listed([short(name) for name in names])


def short(name: str) -> str:
    """A name of bearable length."""
    return name if len(name) <= LONGEST else name[:LONGEST] + "..."


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (f", ... ({len(texts)} in all)" if len(texts) > SHOWN else "")
