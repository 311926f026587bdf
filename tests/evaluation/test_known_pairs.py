"""Known pairs: names, counts, Fisher's test and permuted names, against slow versions and in simulations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satori_hpc.evaluation import known as evaluation_known
from satori_hpc.evaluation.known import Counts, Pairs
from tests.oracles import known_pairs

NAMES = list("abcdefgh")


def names_of(*identifiers, renamed=None, case=False):
    return evaluation_known.names_of(identifiers, renamed or {}, case=case)


def test_names_lose_versions_and_case():
    assert names_of("FOXM1(var.2)") == names_of("Foxm1") == {"foxm1"}
    assert names_of("MA0148.5") == {"ma0148"}
    assert names_of("Hoxa9", case=True) == {"Hoxa9"} != names_of("HOXA9", case=True)
    assert names_of("FOXM1(var.2)", case=True) == {"FOXM1"}
    assert names_of("GATA1_HUMAN.H11MO.0.A") == {"gata1_human", "gata1"}
    assert names_of("GATA1_HUMAN", "2623") == {"gata1_human", "gata1", "2623"}
    assert names_of(" ", "-x") == {"-x"}


def test_a_file_of_names_comes_before_the_entry_names_of_uniprot():
    renamed = {"2623": frozenset({"gata1"}), "p53_human": frozenset({"tp53"})}
    assert names_of("P53_HUMAN", "7157", renamed=renamed) == {"p53_human", "7157", "tp53"}
    assert names_of("X_HUMAN", "2623", renamed=renamed) == {"x_human", "2623", "gata1"}


def test_composites_are_their_parts_or_a_name_of_their_own():
    assert evaluation_known.parts("GATA1::TAL1", composites="parts") == ["GATA1::TAL1", "GATA1", "TAL1"]
    assert evaluation_known.parts("GATA1", composites="parts") == ["GATA1"]
    assert evaluation_known.parts("GATA1::TAL1", composites="literal") == ["GATA1::TAL1"]


def test_a_composite_is_known_by_any_part_and_no_pair_with_its_own_part():
    tfs = [frozenset({"gata1", "tal1"}), frozenset({"tal1"}), frozenset({"lmo2"}), frozenset({"gata1"})]
    known = evaluation_known.listed(tfs, [("tal1", "lmo2"), ("gata1", "tal1")])
    assert known[0, 2]
    assert known[1, 2]
    assert not known[2, 3]
    assert known[1, 3]
    two = evaluation_known.distinct(tfs)
    assert not two[0, 1]
    assert not two[0, 3]
    assert two[0, 2]
    pairs = Pairs(first=np.array([0, 0, 1]), second=np.array([1, 2, 3]), called=np.array([True, True, False]))
    assert evaluation_known.count(pairs, known, two) == Counts(tested=2, called=1, known=2, both=1)


@st.composite
def networks(draw):
    """TFs of one to three names, links and partners, tested and called pairs, and an order."""
    tfs = draw(st.lists(st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=3), min_size=2, max_size=6))
    name = st.sampled_from(NAMES)
    links = draw(st.lists(st.tuples(name, name).filter(lambda link: link[0] != link[1]), max_size=8))
    partners = draw(st.dictionaries(name, st.sets(st.sampled_from("abcwxyz")), max_size=6))
    every = [(u, v) for u in range(len(tfs)) for v in range(u + 1, len(tfs))]
    tested = draw(st.lists(st.sampled_from(every), unique=True))
    called = [pair for pair in tested if draw(st.booleans())]
    return tfs, links, partners, tested, called, draw(st.permutations(range(len(tfs))))


def arrays(tested, called):
    places = np.array(tested, dtype=np.int64).reshape(-1, 2)
    flags = np.array([pair in called for pair in tested], dtype=bool)
    return Pairs(first=places[:, 0], second=places[:, 1], called=flags)


@settings(max_examples=150, deadline=None)
@given(networks())
def test_counts_equal_the_slow_version(network):
    tfs, links, partners, tested, called, order = network
    direct, shared = evaluation_known.listed(tfs, links), evaluation_known.in_common(tfs, partners)
    known = known_pairs.known_pairs(tfs, links)
    assert {(u, v) for u, v in zip(*np.nonzero(direct), strict=True) if u < v} == {
        pair for pair in known if direct[pair]
    }
    np.testing.assert_array_equal(direct, direct.T)
    for pair, expected in known_pairs.common_partners(tfs, partners).items():
        assert shared[pair] == expected
        assert direct[pair] == (pair in known)
    two, pairs = evaluation_known.distinct(tfs), arrays(tested, called)
    for given_order in (None, order):
        found = evaluation_known.count(pairs, direct, two, None if given_order is None else np.array(given_order))
        expected = known_pairs.counts(tfs, tested, called, known, given_order)
        assert (found.tested, found.called, found.known, found.both) == expected
        assert found.excess == pytest.approx(float(known_pairs.excess(*expected)), abs=1e-15)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_fishers_test_equals_the_slow_version_and_scipy(data):
    tested = data.draw(st.integers(1, 40))
    called, known = data.draw(st.integers(0, tested)), data.draw(st.integers(0, tested))
    both = data.draw(st.integers(max(0, called + known - tested), min(called, known)))
    found = evaluation_known.enrichment(Counts(tested=tested, called=called, known=known, both=both))
    assert found.p == pytest.approx(known_pairs.fisher(tested, called, known, both), rel=1e-9)
    table = [[both, called - both], [known - both, tested - called - known + both]]
    assert found.p == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue, rel=1e-9)
    if found.odds_ratio is not None and found.odds_low is not None:
        assert found.odds_low <= found.odds_ratio
        assert found.odds_high is None or found.odds_high >= found.odds_ratio


def test_nothing_called_and_nothing_tested_have_figures():
    nothing = evaluation_known.enrichment(Counts(tested=0, called=0, known=0, both=0))
    assert (nothing.precision, nothing.base_rate, nothing.fold, nothing.odds_ratio, nothing.p) == (0, 0, None, None, 1)
    uncalled = evaluation_known.enrichment(Counts(tested=9, called=0, known=3, both=0))
    assert (uncalled.precision, uncalled.fold, uncalled.p) == (0, 0, 1)
    assert Counts(tested=9, called=0, known=3, both=0).excess == 0
    every = evaluation_known.enrichment(Counts(tested=9, called=3, known=3, both=3))
    assert every.odds_ratio is None  # infinite
    assert every.odds_low > 1
    assert every.odds_high is None


def random_network(rng, *, tfs=24, calls=0.3, links=0.3):
    """A network of calls and one of links, made independently of each other, both with hubs."""

    def symmetric(rate):
        weight = rng.gamma(1, 1, tfs)
        upper = np.triu(rng.random((tfs, tfs)) < rate * np.outer(weight, weight), 1)
        return upper | upper.T

    first, second = np.triu_indices(tfs, 1)
    called = symmetric(calls)[first, second]
    return Pairs(first=first, second=second, called=called), symmetric(links), ~np.eye(tfs, dtype=bool)


def permutation_test(pairs, known, two, *, seed, draws):
    """(p-value, the same with ties of the draws decided by lot)."""
    null = np.array([evaluation_known.permuted(pairs, known, two, seed=seed, draw=k) for k in range(draws)])
    observed = evaluation_known.count(pairs, known, two).excess
    ties = np.abs(null - observed) <= evaluation_known.TOLERANCE
    above = np.count_nonzero((null > observed) & ~ties)
    by_lot = (above + np.random.default_rng(seed).random() * (1 + ties.sum())) / (1 + draws)
    return evaluation_known.permutation_p(observed, null), by_lot


def test_without_enrichment_p_values_of_permuted_names_are_uniform_and_fishers_too_small_where_there_are_hubs():
    permuted, by_lot, fisher = [], [], []
    for seed in range(400):
        pairs, known, two = random_network(np.random.default_rng([1, seed]))
        p, lot = permutation_test(pairs, known, two, seed=seed, draws=99)
        found = evaluation_known.count(pairs, known, two)
        permuted.append(p)
        by_lot.append(lot)
        fisher.append(stats.hypergeom.sf(found.both - 1, found.tested, found.known, found.called))
    assert stats.kstest(by_lot, "uniform").pvalue > 0.01
    assert np.all(np.array(permuted) >= np.array(by_lot))  # ties count against the calls
    assert np.mean(np.array(permuted) <= 0.05) < 0.07
    assert np.mean(np.array(fisher) <= 0.05) > 0.1


def test_an_implanted_enrichment_is_found():
    for seed in range(10):
        rng = np.random.default_rng([2, seed])
        pairs, _, two = random_network(rng)
        known = np.zeros_like(two)
        chosen = pairs.called & (rng.random(len(pairs.called)) < 0.3)
        known[pairs.first[chosen], pairs.second[chosen]] = True
        known |= known.T
        assert permutation_test(pairs, known, two, seed=seed, draws=199)[0] == 1 / 200
        assert evaluation_known.enrichment(evaluation_known.count(pairs, known, two)).p < 1e-6


def test_drawn_orders_agree_with_all_orders():
    rng = np.random.default_rng(4)
    pairs, known, two = random_network(rng, tfs=6, calls=0.5, links=0.4)
    observed = evaluation_known.count(pairs, known, two).excess
    every = [evaluation_known.count(pairs, known, two, np.array(order)).excess for order in permutations(range(6))]
    exact = np.mean(np.array(every) >= observed - evaluation_known.TOLERANCE)
    assert permutation_test(pairs, known, two, seed=1, draws=4000)[0] == pytest.approx(exact, abs=0.03)


def test_draws_are_keyed():
    pairs, known, two = random_network(np.random.default_rng(5))
    values = [evaluation_known.permuted(pairs, known, two, seed=3, draw=k) for k in (0, 1, 0)]
    assert values[0] == values[2] != values[1]
    assert evaluation_known.permuted(pairs, known, two, seed=4, draw=0) != values[0]
