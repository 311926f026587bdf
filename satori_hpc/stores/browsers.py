"""What has a genome browser load a set of tracks at once: an IGV session, and a UCSC track hub."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from satori_hpc.stores import atomic, tsv

HINT = "intervals of all files are 0-based and half-open"


@dataclass(frozen=True)
class Track:
    """A file beside the session.

    Attributes:
        name: of letters, digits and underscores.
        file: its name.
        kind: as a track hub tells it: bigBed 6 + 5, bigInteract, bigWig.
        label: for people.
        settings: further lines of a track hub.
    """

    name: str
    file: str
    kind: str
    label: str
    settings: tuple[str, ...] = ()


def write_igv(path: Path, tracks: list[Track], *, genome: str, locus: str) -> None:
    """Write an IGV session; files are named relative to it.

    Args:
        path: of the session.
        tracks: to load.
        genome: what IGV knows it by, or a file beside the session.
        locus: what to show first, such as chr1:100-200 (1-based, as people write it).
    """
    session = ElementTree.Element("Session", {"genome": genome, "locus": locus, "version": "8"})
    session.append(ElementTree.Comment(f" {HINT} "))
    resources = ElementTree.SubElement(session, "Resources")
    for track in tracks:
        ElementTree.SubElement(
            resources, "Resource", {"name": track.label, "path": track.file, "type": track.kind.split()[0].lower()}
        )
    ElementTree.indent(session)
    text = ElementTree.tostring(session, encoding="unicode")
    atomic.write_text(path, '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n' + text + "\n")


def write_hub(path: Path, tracks: list[Track], *, genome: str, title: str) -> None:
    """Write a track hub in one file, to be put on a web server with the files beside it.

    Args:
        path: of the hub.
        tracks: to load.
        genome: name of the assembly at UCSC, such as hg19, or of an assembly hub.
        title: of the hub.
    """
    name = tsv.escape(title)
    blocks = [
        ["hub satori_hpc", f"shortLabel {name[:17]}", f"longLabel {name[:80]}", "useOneFile on", "email none"],
        [f"genome {tsv.escape(genome)}"],
        *(
            [
                f"track {track.name}",
                f"bigDataUrl {track.file}",
                f"shortLabel {track.label[:17]}",
                f"longLabel {track.label[:80]}",
                f"type {track.kind}",
                *track.settings,
            ]
            for track in tracks
        ),
    ]
    atomic.write_text(path, f"# {HINT}\n" + "\n\n".join("\n".join(block) for block in blocks) + "\n")
