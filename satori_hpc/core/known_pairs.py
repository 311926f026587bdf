"""Called TF pairs against known interactions: how many are known, how many more than among all tested pairs, and how
often as many would be if the TFs had each other's names.

SATORI 2.0 (lqaf209) compares with HIPPIE, SATORI 1 with TRRUST as well; there a pair counts as supported when its TFs
have a partner or target in common. Both readings are offered here: listed as partners, and a partner in common.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from satori_hpc.core import tf_names
from satori_hpc.core.tf_names import COMPOSITE

NAMES = 0x4E414D  # key of the random permutations
TOLERANCE = 1e-12  # two shares that differ by less are equal


def names_of(identifiers: Iterable[str], renamed: Mapping[str, frozenset[str]], *, case: bool) -> frozenset[str]:
    """Everything that a gene with these identifiers may be called, as it is compared.

    Names of motifs stand for their TFs (`tf_names.entry`), in lower case unless `case`. Where `renamed` knows none of
    the identifiers, an entry name of UniProt ("GATA1_HUMAN") stands for what is before the underscore, too.

    Args:
        identifiers: such as an Entrez number and a symbol.
        renamed: {identifier, as compared: names, as compared}.
        case: upper and lower case differ.
    """
    found = {tf_names.entry(text, case=case) for text in identifiers} - {""}
    more = set().union(*(renamed.get(name, frozenset()) for name in found))
    return frozenset(found | (more or {tf_names.compared(name, case=case) for name in found}))


def parts(name: str, *, composites: str) -> list[str]:
    """What the name of a motif stands for: GATA1::TAL1 for both of its TFs, and for itself.

    Args:
        name: of a motif.
        composites: "parts", or "literal": for itself alone.
    """
    return list(dict.fromkeys([name, *name.split(COMPOSITE)])) if composites == "parts" else [name]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Tested pairs of TFs.

    Attributes:
        first, second: int64 (P,), places in a list of n TFs.
        called: bool (P,).
    """

    first: np.ndarray
    second: np.ndarray
    called: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pairs of two distinct TFs: tested ones, called ones among them, known ones among them, and both."""

    tested: int
    called: int
    known: int
    both: int

    @property
    def excess(self) -> float:
        """Share of known pairs among called ones less that among tested ones; 0 where nothing is called."""
        return self.both / self.called - self.known / self.tested if self.called else 0.0


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """Whether called pairs are known more often than tested ones.

    Attributes:
        precision: both / called; 0 where nothing is called.
        base_rate: known / tested; 0 where nothing is tested.
        fold: precision / base_rate; None where that is 0.
        odds_ratio: known to unknown among called pairs over the same among the others (conditional maximum likelihood).
        odds_low, odds_high: its exact 95 % confidence interval; None = not defined, or without bound.
        p: Fisher's exact test, one-sided: so many known ones or more among as many pairs drawn from the tested ones.
    """

    precision: float
    base_rate: float
    fold: float | None
    odds_ratio: float | None
    odds_low: float | None
    odds_high: float | None
    p: float


def distinct(tfs: Sequence[frozenset[str]]) -> np.ndarray:
    """bool (n, n): TFs that have no name in common. GATA1::TAL1 and TAL1 have, so they are no pair of two TFs."""
    places = _incidence(tfs)
    return np.asarray((places @ places.T).toarray() == 0)


def listed(tfs: Sequence[frozenset[str]], links: Iterable[tuple[str, str]]) -> np.ndarray:
    """bool (n, n), symmetric: some name of the one is listed with some name of the other."""
    owners: dict[str, list[int]] = {}
    for place, names in enumerate(tfs):
        for name in names:
            owners.setdefault(name, []).append(place)
    known = np.zeros((len(tfs), len(tfs)), dtype=bool)
    for a, b in links:
        for u in owners.get(a, ()):
            known[u, owners.get(b, [])] = True
    return known | known.T


def in_common(tfs: Sequence[frozenset[str]], partners: Mapping[str, set[str]]) -> np.ndarray:
    """int64 (n, n): how many partners two TFs have in common that are neither of them.

    All names of a TF are taken together: TAL1, a partner of GATA1 and of LMO2, is a third to these two, but not to
    GATA1::TAL1 and LMO2.
    """
    places = _incidence([partners_of(names, partners) for names in tfs])
    return np.asarray((places @ places.T).toarray(), dtype=np.int64)


def partners_of(names: frozenset[str], partners: Mapping[str, set[str]]) -> frozenset[str]:
    """The partners of a TF of these names, without itself."""
    return frozenset().union(*(partners.get(name, ()) for name in names)) - names


def _incidence(sets: Sequence[frozenset[str]]) -> sparse.csr_array:
    """(n, items) of 1 where a set holds an item."""
    number: dict[str, int] = {}
    rows = [row for row, items in enumerate(sets) for _ in items]
    columns = [number.setdefault(item, len(number)) for items in sets for item in items]
    return sparse.csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=(len(sets), len(number)))


def count(pairs: Pairs, known: np.ndarray, distinct: np.ndarray, order: np.ndarray | None = None) -> Counts:
    """Count tested, called and known pairs.

    Args:
        pairs: the tested ones.
        known, distinct: bool (n, n), symmetric.
        order: int64 (n,): TF i bears the names of TF order[i]; None = its own.
    """
    a, b = (pairs.first, pairs.second) if order is None else (order[pairs.first], order[pairs.second])
    two = distinct[a, b]
    hit = two & known[a, b]
    return Counts(
        tested=int(two.sum()), called=int((two & pairs.called).sum()), known=int(hit.sum()),
        both=int((hit & pairs.called).sum()),
    )  # fmt: skip


def enrichment(counts: Counts) -> Enrichment:
    """Fisher's exact test of called against other tested pairs. It takes pairs to be independent of each other."""
    called, known, both, tested = counts.called, counts.known, counts.both, counts.tested
    precision = both / called if called else 0.0
    base_rate = known / tested if tested else 0.0
    odds: tuple[float | None, ...] = (None, None, None)
    if 0 < called < tested and 0 < known < tested:
        found = stats.contingency.odds_ratio([[both, called - both], [known - both, tested - called - known + both]])
        bounds = found.confidence_interval(0.95)
        odds = tuple(_finite(value) for value in (found.statistic, bounds.low, bounds.high))
    return Enrichment(
        precision=precision,
        base_rate=base_rate,
        fold=precision / base_rate if base_rate else None,
        odds_ratio=odds[0],
        odds_low=odds[1],
        odds_high=odds[2],
        p=min(1.0, float(stats.hypergeom.sf(both - 1, tested, known, called))),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def permuted(pairs: Pairs, known: np.ndarray, distinct: np.ndarray, *, seed: int, draw: int) -> float:
    """`Counts.excess` where the TFs have each other's names; who is called with whom stays.

    Which TFs are hubs, in the calls and in the table, thus stays too: unlike Fisher's test this one does not take the
    pairs of a hub to be independent. Keyed by seed and number of the draw.
    """
    order = np.random.default_rng([seed, NAMES, draw]).permutation(len(known))
    return count(pairs, known, distinct, order).excess


def permutation_p(observed: float, null: np.ndarray) -> float:
    """(1 + draws that reach what was observed) / (1 + draws)."""
    return float((1 + np.count_nonzero(null >= observed - TOLERANCE)) / (1 + len(null)))
