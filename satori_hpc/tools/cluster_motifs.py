"""Write the clusters of a motif collection: a MEME file of their representatives, a table, a figure and a record."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.motifs import cluster, collection, names, readers
from satori_hpc.motifs.cluster import Cluster
from satori_hpc.motifs.collection import Collection
from satori_hpc.motifs.motif import UNIFORM, Motif
from satori_hpc.report.figures import clusters as figure
from satori_hpc.run import files, provenance, sealed

FORMAT_VERSION = 1
MEME, TABLE, FIGURE, RECORD = "clusters.meme", "clusters.tsv", "clusters.svg", "clusters.json"
COLUMNS = ("cluster", "motif_id", "tf", "family", "strand", "offset", "similarity", "medoid")
CUTS = (0.6, 0.7, 0.8, 0.9)  # of which the number of clusters is printed


def make(
    out: Path,
    paths: Sequence[Path],
    *,
    release: str,
    groups: tuple[str, ...],
    similarity: float | None,
    count: int | None,
    merged: bool,
) -> dict[str, Any]:
    """Cluster a collection of known motifs; return a summary.

    Args:
        out: folder of the files; others in it are left alone.
        paths: motif files; none: JASPAR.
        release, groups: of JASPAR CORE; no groups: all.
        similarity, count: where the tree is cut, one of them.
        merged: a cluster is represented by the mean of its aligned motifs, not by its medoid.

    Raises:
        InputError: the motifs cannot be used, or are fewer than the clusters.
    """
    if paths:
        known = collection.read_files(paths, key="FILES")
    else:
        known = collection.read("jaspar", Path(), release=release, groups=groups, key="FILES")
    if count is not None and count > len(known.motifs):
        raise InputError(f"--clusters {count}: more than the {len(known.motifs)} motifs of {known.title}")
    began = time.monotonic()
    logger.info("comparing all pairs of %d motifs of %s", len(known.motifs), known.title)
    distance = cluster.distances(known.motifs)
    tree = cluster.linkage(distance)
    chosen = count if similarity is None else cluster.count_at(tree, similarity)
    assert chosen is not None
    found = cluster.cluster(known.motifs, distance, cluster.cut(tree, chosen), merged=merged)
    summary = {
        "collection": known.title,
        "motifs": len(known.motifs),
        "clusters": len(found),
        "motifs alone": sum(len(each.members) == 1 for each in found),
        "motifs of the largest cluster": len(found[0].members),
        "clusters at similarity": {f"{cut:g}": cluster.count_at(tree, cut) for cut in CUTS},
        "seconds": round(time.monotonic() - began, 1),
    }
    settings = {"similarity": similarity, "clusters": count, "representative": "mean" if merged else "medoid"}
    _write(out, known, found, settings, summary)
    return {**summary, "representatives": str(out / MEME), "table": str(out / TABLE), "figure": str(out / FIGURE)}


def _write(
    out: Path, known: Collection, found: Sequence[Cluster], settings: dict[str, Any], summary: dict[str, Any]
) -> None:
    """Write the files, the record last: where it is, all of them belong together."""
    files.remove(out / RECORD)
    readers.write_meme(out / MEME, [each.representative for each in found], UNIFORM)
    files.write_text(out / TABLE, table(found, known.motifs))
    files.write_text(out / FIGURE, figure.draw(found, known.motifs))
    record = {
        "format_version": FORMAT_VERSION,
        "artefact": "satori_hpc motif clusters",
        "collection": known.title,
        "digest": known.digest,
        "sources": known.sources,
        "settings": settings,
        "summary": summary,
        "versions": provenance.versions(),
        "files": {name: provenance.entry(out / name) for name in (MEME, TABLE, FIGURE)},
    }
    sealed.write_json(out / RECORD, record)


def table(found: Sequence[Cluster], motifs: Sequence[Motif]) -> str:
    """Return a row per motif as tab-separated text: clusters in order, members from the most similar to the least."""
    tfs = names.of_motifs(motifs)
    rows = ["\t".join(COLUMNS)]
    for number, each in enumerate(found, start=1):
        for member in each.members:
            item = motifs[member.number]
            texts = (item.identifier or item.name, tfs[member.number], names.family_of(item))
            similarity, medoid = f"{member.similarity:.4f}", str(member.number == each.medoid).lower()
            cells = (number, *texts, member.strand, member.offset, similarity, medoid)
            rows.append("\t".join(str(cell).replace("\t", " ") for cell in cells))
    return "\n".join(rows) + "\n"
