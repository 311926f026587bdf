"""A sequence with made-up maps, for tests of its page."""

import numpy as np

from satori_hpc.report.inspect_data import Inspected, Site, SiteMap

NAMES = ("ARNT", "GATA3", "CTCF", "SPI1", "filter 12", "MAX::MYC", "Nkx2-5")


def inspected(*, names=NAMES, length=300, width=13, pool=4, title="Data-40", example="sim7:0-300(+)", seed=1):
    random = np.random.default_rng(seed)
    gap = (length - width) // max(len(names), 1)
    sites = [Site(2 + gap * number, name) for number, name in enumerate(names)]
    letters = random.normal(0, 0.03, length)
    for site in sites:
        letters[site.start : site.start + width] += random.gamma(2, 0.12, width) * random.choice([1, 1, -0.6])
    count = len(sites)
    epistasis = random.normal(0, 0.2, (count, count))
    epistasis = epistasis + epistasis.T
    far = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    epistasis[(far == 0) | (far > 3)] = np.nan
    dfim = random.normal(0, 0.2, (count, count))
    np.fill_diagonal(dfim, np.nan)
    cells = length // pool
    attention = np.exp(random.normal(0, 1, (cells, cells)))
    return Inspected(
        title=title,
        example=example,
        row=7,
        facts=[("row", "7 of 600, test split"), ("label", "bound"), ("predicted", "bound 0.934")],
        tokens=random.integers(0, 4, length).astype(np.uint8),
        width=width,
        pool=pool,
        attention=(attention / attention.sum(axis=1, keepdims=True)).astype(np.float32),
        attention_attribution=(random.normal(0, 1, (cells, cells)) ** 5).astype(np.float32),
        letters=letters.astype(np.float32),
        dfim=SiteMap(sites=sites, values=dfim.astype(np.float32)),
        epistasis=SiteMap(sites=sites, values=epistasis.astype(np.float32)),
        explained="the log-odds of bound",
        attributed="the log-odds of bound",
        arrays="7.npz",
    )
