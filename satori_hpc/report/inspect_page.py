"""The page of one sequence: Inspected in, one self-contained HTML text out."""

from dataclasses import dataclass

import jinja2
import numpy as np
from markupsafe import Markup

from satori_hpc import __version__
from satori_hpc.config.score import METHODS
from satori_hpc.registry import load
from satori_hpc.report import page as report_page
from satori_hpc.report.data import AttentionMap, Inspected, Site, SiteMap
from satori_hpc.report.figures import attention, logos
from satori_hpc.report.page import Drawing
from satori_hpc.report.pictures import Picture

MOST_ROWS = 14  # of the tables of site pairs


@dataclass(frozen=True)
class Section:
    """The section of a method: its texts, the drawing and the strongest pairs of sites."""

    name: str
    heading: str
    link: str
    caption: str
    drawing: Drawing | None
    pair: tuple[str, str, str]
    pairs: list[tuple[Site, Site, float]]


def page(data: Inspected) -> str:
    """Return the page; it runs nothing and loads nothing, as its content security policy states."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(report_page.resource("inspect.html.j2"))
    return template.render(
        data=data,
        version=__version__,
        style=Markup(report_page.resource("report.css")),
        shapes=Markup(logos.letters()),
        rows=[Markup(row) for row in logos.rows(data.tokens, data.letters, _sites(data))],
        sections=[_section(data, method, load(METHODS[method].picture)) for method in data.maps],
    )


def _section(data: Inspected, method: str, picture: Picture) -> Section:
    found = data.maps[method]
    pairs: list[tuple[Site, Site, float]] = []
    drawing: Drawing | None
    if isinstance(found, SiteMap):
        drawing = _site_map(found, picture, name=f"{method}-map")
        pairs = attention.strongest(found, most=MOST_ROWS, ordered=picture.directed)
    else:
        draw = attention.attribution_map if picture.signed else attention.heat_map
        svg = draw(_marked(data, found), bar=picture.bar, name=f"{method}-map")
        drawing = Drawing(Markup(svg), f"Heat map: {picture.heading}. {_where(_sites(data))}")
    caption = picture.caption.format(explained=data.explained, attributed=data.attributed)
    return Section(method, picture.heading, picture.link, caption, drawing, picture.pair, pairs)


def _sites(data: Inspected) -> list[Site]:
    """Return the sites of all methods, by position: nearly always the same ones."""
    every = {site for found in data.maps.values() if isinstance(found, SiteMap) for site in found.sites}
    return sorted(every, key=lambda site: (site.start, site.name))


def _marked(data: Inspected, values: np.ndarray) -> AttentionMap:
    """Mark the bin that contains the midpoint of each site."""
    bins = [((site.start + site.width // 2) // data.pool, site.name) for site in _sites(data)]
    return AttentionMap(
        values=values,
        marks=[(bin, name) for bin, name in bins if 0 <= bin < len(values)],
        pool=data.pool,
        example=data.example,
        why="",
    )


def _where(sites: list[Site]) -> str:
    return "Sites: " + (", ".join(f"{site.name} at {site.start} bp" for site in sites) or "none") + "."


def _site_map(map_: SiteMap, picture: Picture, *, name: str) -> Drawing | None:
    if not attention.observed(map_):
        return None
    rows, columns = picture.rows, picture.columns
    svg = attention.draw(map_, rows=rows, columns=columns, bar=picture.bar, name=name)
    return Drawing(Markup(svg), f"Map of {len(map_.sites)} sites: {rows} against {columns}. {_where(map_.sites)}")
