"""How `inspect` draws what a method scores in one sequence; the registry of methods names these."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A map of one sequence, as the `maps` of a method's scorer gives it.

    Texts may hold {explained} and {attributed}, what sites and attention are said to add to, in words.

    Attributes:
        heading: of its section. link: the same in few words.
        caption: below the drawing.
        bar: at the scale of colours.
        sites: whether it is a map of sites, drawn around 0; else of bins: (B, heads, n, n), the value of the largest
            size over heads is drawn.
        signed: of bins: values are drawn around 0; else on a logarithmic scale.
        rows, columns: of sites: what stands at the axes. pair: headings of the table of the strongest pairs: the first
            site, the second, the value.
        directed: of sites: two sites have two values.
    """

    heading: str
    link: str
    caption: str
    bar: str
    sites: bool
    signed: bool = True
    rows: str = "site"
    columns: str = "site"
    pair: tuple[str, str, str] = ("site", "site", "value")
    directed: bool = False


EPISTASIS = Picture(
    sites=True,
    heading="Double mutants: epistasis between sites",
    link="Double mutants",
    caption="Joint effect of two sites on {explained} minus the sum of their single effects. Blue: synergy; brown: "
    "redundancy or antagonism. Grey: no pair, because the sites are too far apart, overlap or are the same.",
    bar="epistasis",
    pair=("site", "site", "epistasis"),
)
DFIM = Picture(
    sites=True,
    heading="DFIM: effect of mutating one site on the attribution of another",
    link="Mutation and attribution",
    caption="The site of the row is mutated; colour shows the decrease (blue) or increase (brown) of the attribution "
    "of the site of the column. The two directions of a pair may differ. Grey: no pair.",
    bar="change of its attribution",
    rows="mutated site",
    columns="target site",
    pair=("mutated", "target", "change"),
    directed=True,
)
ATTENTION = Picture(
    sites=False,
    signed=False,
    heading="Attention",
    link="Attention",
    caption="Maximum over heads; rows are query positions, columns key positions. Names mark the sites.",
    bar="attention, largest over heads",
)
ATTRIBUTION = Picture(
    sites=False,
    heading="Attribution of attention",
    link="Attribution of attention",
    caption="Contribution of the attention between two positions to {attributed} (integrated gradients from zero to "
    "full attention); the value with the largest magnitude over heads.",
    bar="attribution, largest in magnitude over heads",
)
