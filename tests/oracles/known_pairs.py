"""Known pairs the obvious way: sets, loops and binomial coefficients."""

from fractions import Fraction
from math import comb


def known_pairs(tfs, links):
    """Pairs of places (u < v) some names of which are listed together."""
    either = {frozenset(link) for link in links}
    return {
        (u, v)
        for u in range(len(tfs))
        for v in range(u + 1, len(tfs))
        if any(p != q and frozenset((p, q)) in either for p in tfs[u] for q in tfs[v])
    }


def common_partners(tfs, partners):
    """{(u, v): partners in common that are neither TF}, u < v."""
    found = {}
    for u in range(len(tfs)):
        for v in range(u + 1, len(tfs)):
            every = {
                partner
                for p in tfs[u]
                for q in tfs[v]
                for partner in partners.get(p, ())
                if partner in partners.get(q, ()) and partner not in tfs[u] | tfs[v]
            }
            found[u, v] = len(every)
    return found


def counts(tfs, tested, called, known, order=None):
    """(tested, called, known, both), after TF i was given the names of order[i]."""
    order = order or list(range(len(tfs)))
    found = [0, 0, 0, 0]
    for pair in tested:
        u, v = (order[place] for place in pair)
        if tfs[u] & tfs[v]:
            continue
        is_known, is_called = (min(u, v), max(u, v)) in known, pair in called
        for place, flag in enumerate((True, is_called, is_known, is_known and is_called)):
            found[place] += flag
    return tuple(found)


def excess(tested, called, known, both):
    return Fraction(both, called) - Fraction(known, tested) if called else Fraction(0)


def fisher(tested, called, known, both):
    """Chance of `both` known ones or more among `called` of `tested` pairs, drawn without putting back."""
    ways = sum(comb(known, k) * comb(tested - known, called - k) for k in range(both, min(called, known) + 1))
    return ways / comb(tested, called)
