"""Known motifs from JASPAR. The releases come inside the pyjaspar package: no network."""

import functools

import numpy as np

from satori_hpc.core import motif
from satori_hpc.core.motif import Motif
from satori_hpc.errors import InputError


def jaspar(*, release: str, collection: str, groups: tuple[str, ...]) -> list[Motif]:
    """The newest version of every motif of a JASPAR release, collection and set of taxonomic groups.

    Args:
        release: as pyjaspar names it, such as "JASPAR2026".
        collection: such as "CORE"; any case.
        groups: taxonomic groups such as "vertebrates", any case; empty = all of them.

    Returns:
        motifs sorted by identifier, with their counts. A TF with several profiles occurs several times.

    Raises:
        InputError: the release, the collection or a group does not exist (the message lists those that do), or
            the three together hold no motif.
    """
    return list(_fetch(release, collection.upper(), tuple(sorted({group.lower() for group in groups}))))


@functools.lru_cache(maxsize=4)
def _fetch(release: str, collection: str, groups: tuple[str, ...]) -> tuple[Motif, ...]:
    # Imported here: pyjaspar brings Biopython, which only the two stages that read a database need.
    import pyjaspar

    releases = list(pyjaspar.jaspar_releases)
    if release not in releases:
        raise InputError(f"JASPAR release {release!r} does not exist here; known: " + ", ".join(sorted(releases)))
    database = pyjaspar.jaspardb(release=release)
    try:
        _must_exist(collection, _values(database, "SELECT DISTINCT COLLECTION FROM MATRIX"), f"{release}: collection")
        known = _values(database, "SELECT DISTINCT VAL FROM MATRIX_ANNOTATION WHERE TAG = 'tax_group'")
        for group in groups:
            _must_exist(group, known, f"{release}: taxonomic group")
        found = database.fetch_motifs(collection=collection, tax_group=list(groups) or None)
    finally:
        database.conn.close()
    if not found:
        raise InputError(f"{release}: no motif in collection {collection} of {', '.join(groups) or 'any group'}")
    return tuple(sorted((_convert(record) for record in found), key=lambda item: item.identifier))


def _values(database: object, query: str) -> list[str]:
    return sorted(str(row[0]) for row in database.conn.execute(query) if row[0])  # type: ignore[attr-defined]


def _must_exist(name: str, known: list[str], what: str) -> None:
    if name not in known:
        raise InputError(f"{what} {name!r} does not exist; known: " + ", ".join(known))


def _convert(record: object) -> Motif:
    counts = np.array([record.counts[letter] for letter in motif.LETTERS], dtype=np.float64).T  # type: ignore[attr-defined]
    counts.setflags(write=False)  # the cache hands the same arrays to everyone
    ppm = motif.probabilities(counts, 0.0)
    ppm.setflags(write=False)
    # Columns of one JASPAR profile may hold different numbers of sites; the first one is what JASPAR itself reports.
    sites = max(1, round(float(counts[0].sum())))
    return Motif(name=record.name, ppm=ppm, sites=sites, identifier=record.matrix_id, counts=counts)  # type: ignore[attr-defined]
