"""Draw clusters of motifs: the logos of their members below each other, aligned."""

import html
from collections import Counter
from collections.abc import Sequence

from satori_hpc.motifs import motif, names
from satori_hpc.motifs.cluster import Cluster
from satori_hpc.motifs.motif import Motif
from satori_hpc.report import figures
from satori_hpc.report.figures import logos

CLUSTERS, MEMBERS = 300, 12  # drawn: the largest clusters, and the members nearest to the representative
BLOCKS = 5  # next to each other
LABEL, LOGO, GAP = 118.0, 170.0, 22.0  # widths, px
ROW, TITLE = 34.0, 30.0  # heights, px
LOGO_HEIGHT = 28.0  # of two bits, px
TEXT = 24  # characters of a name that are shown


def draw(clusters: Sequence[Cluster], motifs: Sequence[Motif]) -> str:
    """Return an SVG file with the clusters of two or more motifs, the largest first.

    The representative stands above its members, which are drawn in the orientation and at the offset of their
    alignment with it.

    Args:
        clusters: of `cluster.cluster`.
        motifs: the collection.
    """
    several = [(number, each) for number, each in enumerate(clusters, start=1) if len(each.members) > 1]
    bottoms = [TITLE] * BLOCKS
    parts = []
    for number, each in several[:CLUSTERS]:
        block = bottoms.index(min(bottoms))
        x = GAP + block * (LABEL + LOGO + GAP)
        drawn, height = _block(number, each, motifs)
        parts.append(f'<g transform="translate({x:g} {bottoms[block]:g})">{drawn}</g>')
        bottoms[block] += height
    told = f"{len(motifs):,} motifs, {len(clusters):,} clusters; {len(clusters) - len(several):,} motifs are alone"
    if len(several) > CLUSTERS:
        told += f"; drawn are the {CLUSTERS} largest clusters"
    width, height = GAP + BLOCKS * (LABEL + LOGO + GAP), max(bottoms)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="sans-serif" font-size="10" fill="{figures.INK}">'
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>{logos.letters()}'
        f"{_text(GAP, 18, told, size=13)}{''.join(parts)}</svg>\n"
    )


def _block(number: int, cluster: Cluster, motifs: Sequence[Motif]) -> tuple[str, float]:
    """Return the drawing of a cluster, and its height in px."""
    members = cluster.members[:MEMBERS]
    first = min(0, *(member.offset for member in members))
    last = max(member.offset + motifs[member.number].width for member in members)
    scale = min(0.5, LOGO / (logos.COLUMN * (max(last, cluster.representative.width) - first)))
    families = Counter(family for member in cluster.members if (family := names.family_of(motifs[member.number])))
    title = f"{number} · {len(cluster.members)} motifs" + "".join(
        f" · {family}" for family, _ in families.most_common(1)
    )
    parts = [_text(0, 12, _short(title, 46), bold=True)]
    y = 18.0
    mean = cluster.representative is not motifs[cluster.medoid]
    if mean:
        parts.append(_row(y, "mean of all", "", cluster.representative, -first, scale, bold=True))
        y += ROW
    for member in members:
        item = motifs[member.number]
        label = names.tf_name(item.name, item.identifier) or item.name
        detail = f"{item.identifier} {member.strand} {member.similarity:.2f}".strip()
        shown = item if member.strand == "+" else Motif(item.name, motif.reverse_complement(item.ppm), item.sites)
        bold = not mean and member.number == cluster.medoid
        parts.append(_row(y, label, detail, shown, member.offset - first, scale, bold=bold))
        y += ROW
    if len(cluster.members) > MEMBERS:
        parts.append(_text(0, y + 9, f"and {len(cluster.members) - MEMBERS} more", colour=figures.QUIET))
        y += 14
    return "".join(parts), y + 20


def _row(y: float, label: str, detail: str, item: Motif, before: int, scale: float, *, bold: bool) -> str:
    across, down = f"{scale:.4g}", f"{LOGO_HEIGHT / logos.HEIGHT:.4g}"
    return (
        _text(0, y + 14, _short(label, TEXT), bold=bold)
        + _text(0, y + 26, _short(detail, TEXT), colour=figures.QUIET)
        + f'<g transform="translate({LABEL:g} {y:g}) scale({across} {down})">{logos.stacks(item.ppm, before)}</g>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(x: float, y: float, text: str, *, size: float = 10, bold: bool = False, colour: str = figures.INK) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{weight}>{html.escape(text)}</text>'
