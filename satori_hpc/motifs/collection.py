"""Collections of known motifs: JASPAR or a file, without near-duplicates.

JASPAR holds many motifs of one family that a filter cannot distinguish (GATA2 and GATA3, or the members of
most zinc-finger and bHLH families). In a deduplicated collection a name represents its family.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.errors import InputError, Problems
from satori_hpc.motifs import motif, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.run import files, provenance


@dataclass(frozen=True)
class Collection:
    """Known motifs.

    Attributes:
        motifs: in the order of the source.
        title: for people.
        digest: SHA-256 of the content read.
        sources: {file: its SHA-256}, of files.
    """

    motifs: list[Motif]
    title: str
    digest: str
    sources: dict[str, str]

    def thinned(self, limit: float) -> "Collection":
        """Deduplicate a collection: remove motifs more similar than this to one that is kept; see `thin`."""
        return dataclasses.replace(self, motifs=thin(self.motifs, limit))


def read(source: str, path: Path, *, release: str, groups: tuple[str, ...], key: str) -> Collection:
    """Read a collection.

    Args:
        source: "jaspar", or the user's name of the file. path: of that file.
        release, groups: of JASPAR CORE.
        key: of run.toml that names it, for messages.

    Raises:
        InputError: there is no such file, or it or JASPAR cannot be used.
    """
    if source == "jaspar":
        known = readers.jaspar(release=release, collection=readers.COLLECTION, groups=groups)
        total = hashlib.sha256()
        for item in known:
            total.update(f"{item.identifier}\0{item.name}\0{item.width}\n".encode())
            total.update(np.ascontiguousarray(item.ppm, dtype="<f8").tobytes())
        return Collection(
            known, f"{release} {readers.COLLECTION} ({', '.join(groups) or 'all groups'})", total.hexdigest(), {}
        )
    if not path.is_file():
        raise InputError(f"{key} = {source!r}: no file {path}")
    known = readers.read(path, key=key.rpartition(": ")[2])
    digest = provenance.file_digest(path)
    return Collection(known, Path(source).name, digest, {str(path): digest})


def read_files(paths: Sequence[Path], *, key: str) -> Collection:
    """Read the motifs of several files as one collection; files whose motifs have no matrix are skipped.

    Args:
        paths: of motif files, at least one.
        key: that names them, for messages.

    Raises:
        InputError: a file cannot be used, two of them give one identifier and name to different matrices, or there is
            no motif.
    """
    motifs: dict[tuple[str, str], tuple[Motif, Path]] = {}
    problems = Problems("these motif files cannot be used together:")
    for path in paths:
        for item in readers.read(path, key=key, may_be_empty=True):
            other, first = motifs.setdefault((item.identifier, item.name), (item, path))
            if other.ppm.shape != item.ppm.shape or not np.allclose(other.ppm, item.ppm, atol=1e-6):
                problems.add(
                    f"motif {(item.identifier or item.name)[:60]!r} of {path} has another matrix in {first}; give each "
                    "an identifier of its own"
                )
    problems.raise_any()
    if not motifs:
        raise InputError(f"no motif with a matrix in the {len(paths)} files; {files.fix(key)}")
    sources = {str(path): provenance.file_digest(path) for path in paths}
    digest = hashlib.sha256("\n".join(sources.values()).encode()).hexdigest()
    title = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
    return Collection([item for item, _ in motifs.values()], title, digest, sources)


def thin(motifs: Sequence[Motif], limit: float) -> list[Motif]:
    """Keep a motif when it resembles none that is kept before it.

    Args:
        motifs: in order of preference.
        limit: the largest `motif.similarity` allowed between two kept motifs; 1 or more keeps all.
    """
    if limit >= 1 or not motifs:
        return list(motifs)
    columns, widths = _stacked([item.ppm for item in motifs])
    left = np.arange(len(motifs))
    kept = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(motifs[first])
        left = left[_similarities(motifs[first].ppm, columns[left], widths[left]) <= limit]
    return kept


def similarities(query: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return `motif.similarity` of one motif to each of many, float64 (others,).

    Args:
        query: (w, 4) base probabilities.
        others: base probabilities, each (its width, 4).
    """
    return _similarities(query, *_stacked(others))


def _stacked(ppms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return directions of all columns, zero beyond each motif's width, (motifs, widest, 4), and the widths."""
    widths = np.array([len(ppm) for ppm in ppms])
    columns = np.zeros((len(ppms), int(widths.max(initial=0)), 4))
    for row, ppm in zip(columns, ppms, strict=True):
        row[: len(ppm)] = motif.directions(ppm)
    return columns, widths


def _similarities(query: np.ndarray, columns: np.ndarray, widths: np.ndarray) -> np.ndarray:
    width, (count, widest) = len(query), columns.shape[:2]
    shorter = np.minimum(width, widths)
    least = np.minimum(shorter, np.maximum(5, np.ceil(shorter / 2)))
    offsets = np.arange(1 - width, widest)
    overlap = np.minimum(width, widths[:, None] - offsets) - np.maximum(0, -offsets)
    best = np.full(count, -math.inf)
    for strand in (query, motif.reverse_complement(query)):
        # products[m, i, width - 1 + j] compares column i of the query with column j of motif m; 0 beyond the ends.
        products = np.zeros((count, width, widest + 2 * (width - 1)))
        products[:, :, width - 1 : width - 1 + widest] = np.einsum("ic,mjc->mij", motif.directions(strand), columns)
        sums = sum(products[:, i, i : i + len(offsets)] for i in range(width))
        means = np.where(overlap >= least[:, None], sums / np.maximum(overlap, 1), -math.inf)
        best = np.maximum(best, means.max(axis=1, initial=-math.inf))
    return best
