"""The page of one sequence: Inspected in, one self-contained HTML text out."""

import jinja2
import numpy as np
from markupsafe import Markup

from satori_hpc import __version__
from satori_hpc.report import page as report_page
from satori_hpc.report.data import AttentionMap, Inspected, Site, SiteMap
from satori_hpc.report.figures import attention, logos
from satori_hpc.report.page import Drawing

MOST_ROWS = 14  # of the tables of site pairs


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
        rows=[Markup(row) for row in logos.rows(data.tokens, data.letters, _sites(data), width=data.width)],
        attention=Drawing(
            Markup(attention.heat_map(_marked(data, data.attention))), f"Heat map of attention. {_where(_sites(data))}"
        ),
        attribution=Drawing(
            Markup(attention.attribution_map(_marked(data, data.attention_attribution))),
            f"Heat map of the attribution of attention. {_where(_sites(data))}",
        ),
        dfim=_site_map(
            data.dfim, rows="mutated site", columns="target site", bar="change of its attribution", name="dfim"
        ),
        epistasis=_site_map(data.epistasis, rows="site", columns="site", bar="epistasis", name="epistasis"),
        dfim_rows=attention.strongest(data.dfim, most=MOST_ROWS, ordered=True),
        epistasis_rows=attention.strongest(data.epistasis, most=MOST_ROWS, ordered=False),
    )


def _sites(data: Inspected) -> list[Site]:
    """Return the sites of both methods, by position: nearly always the same ones."""
    return sorted({*data.dfim.sites, *data.epistasis.sites}, key=lambda site: (site.start, site.name))


def _marked(data: Inspected, values: np.ndarray) -> AttentionMap:
    """Mark the bin that contains the midpoint of each site."""
    cells = [((site.start + data.width // 2) // data.pool, site.name) for site in _sites(data)]
    return AttentionMap(
        values=values,
        marks=[(cell, name) for cell, name in cells if 0 <= cell < len(values)],
        pool=data.pool,
        example=data.example,
        why="",
    )


def _where(sites: list[Site]) -> str:
    return "Sites: " + (", ".join(f"{site.name} at {site.start} bp" for site in sites) or "none") + "."


def _site_map(map_: SiteMap, *, rows: str, columns: str, bar: str, name: str) -> Drawing | None:
    if not attention.observed(map_):
        return None
    svg = attention.draw(map_, rows=rows, columns=columns, bar=bar, name=f"{name}-map")
    return Drawing(Markup(svg), f"Map of {len(map_.sites)} sites: {rows} against {columns}. {_where(map_.sites)}")
