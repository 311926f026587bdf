"""Instances, placement, the pool, pairs, and what the simulator makes of them."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from satori_hpc.config import Simulated
from satori_hpc.data.sources.simulate import implant, instances, placement, pool, published
from satori_hpc.errors import ConfigError
from satori_hpc.motifs.motif import Motif

BACKGROUND = np.array([0.295, 0.205, 0.205, 0.295])


def motif(name: str, consensus: str, *, strength: float = 97, identifier: str = "") -> Motif:
    counts = np.full((len(consensus), 4), 1.0)
    for column, letter in enumerate(consensus):
        counts[column, "ACGT".index(letter)] = strength
    return Motif(
        name=name,
        ppm=counts / counts.sum(axis=1, keepdims=True),
        sites=int(counts[0].sum()),
        identifier=identifier or f"X{name}",
        counts=counts,
    )


def pwm(counts, name: str = "x") -> instances.Pwm:
    return instances.make_pwm(name, np.asarray(counts, dtype=float), background=BACKGROUND)


def test_scores_are_log_odds_of_padded_counts():
    made = pwm([[8, 1, 1, 0], [0, 0, 10, 0]])
    expected = [
        [np.log2((count + 0.8 * b) / 10.8 / b) for count, b in zip(column, BACKGROUND, strict=True)]
        for column in ([8, 1, 1, 0], [0, 0, 10, 0])
    ]
    np.testing.assert_allclose(made.scores, expected, rtol=1e-12)
    assert made.maximum == pytest.approx(expected[0][0] + expected[1][2])
    assert instances.score(made, np.array([[0, 2], [3, 1]])).tolist() == pytest.approx(
        [made.maximum, expected[0][3] + expected[1][1]]
    )


def test_a_flat_motif_is_refused():
    with pytest.raises(ValueError, match="flat"):
        instances.make_pwm("dull", np.tile(BACKGROUND * 100, (6, 1)), background=BACKGROUND)


def test_drawn_instances_follow_the_ppm_given_that_they_pass():
    made = pwm([[10, 5, 3, 2], [2, 12, 4, 2], [1, 1, 16, 2]])
    rng = np.random.default_rng(1)
    drawn = Counter(tuple(instances.draw(made, rng, fraction=0.3, tries=1000)[0].tolist()) for _ in range(6000))
    chance = {}
    for site in np.ndindex(4, 4, 4):
        if sum(made.scores[k, a] for k, a in enumerate(site)) > 0.3 * made.maximum:
            chance[site] = np.prod([made.probabilities[k, a] for k, a in enumerate(site)])
    total = sum(chance.values())
    assert set(drawn) <= set(chance)
    expected = np.array([chance[site] / total * 6000 for site in chance])
    assert expected.min() > 5
    assert stats.chisquare([drawn[site] for site in chance], expected).pvalue > 1e-3


def test_a_site_that_never_passes_is_mended_towards_the_consensus():
    # Half the maximum lies far above what this weak motif usually gives.
    made = pwm(np.tile([30, 24, 24, 22], (12, 1)))
    site, mended = instances.draw(made, np.random.default_rng(0), fraction=0.94, tries=3)
    assert mended
    assert float(instances.score(made, site)) > 0.94 * made.maximum
    strong = pwm(np.tile([100, 0, 0, 0], (6, 1)))
    assert instances.draw(strong, np.random.default_rng(0), fraction=0.5, tries=3)[1] is False


def test_mending_replaces_the_greatest_loss_first_and_no_more_than_needed():
    made = pwm([[90, 4, 4, 2], [90, 4, 4, 2], [40, 30, 20, 10]])
    poor = np.array([3, 0, 3], dtype=np.uint8)
    mended = instances._mended(made, poor, 0.4 * made.maximum)
    assert mended.tolist() == [0, 0, 3]
    assert poor.tolist() == [3, 0, 3]


def test_blocks_keep_their_distance_and_every_placement_is_equally_likely():
    rng = np.random.default_rng(2)
    widths = np.array([2, 3])
    seen = Counter()
    for _ in range(20_000):
        starts = placement.place_blocks(widths, length=10, gap=2, rng=rng)
        seen[tuple(starts.tolist())] += 1
    possible = [(a, b) for a in range(9) for b in range(8) if max(a, b) - min(a + 2, b + 3) >= 2]
    assert set(seen) == set(possible)
    assert stats.chisquare([seen[place] for place in possible]).pvalue > 1e-3


def test_blocks_that_do_not_fit_and_that_just_fit():
    rng = np.random.default_rng(0)
    assert placement.place_blocks(np.array([5, 5]), length=11, gap=2, rng=rng) is None
    assert sorted(placement.place_blocks(np.array([5, 5]), length=12, gap=2, rng=rng).tolist()) == [0, 7]
    assert placement.place_blocks(np.zeros(0, dtype=int), length=5, gap=2, rng=rng).tolist() == []


def test_pool_obeys_its_limits():
    items = [
        motif("Abc", "ACGTACGTA"),
        motif("ABC(var.2)", "TTTTTGGGG"),
        motif("near", "ACGTACGTC"),
        motif("short", "ACGT"),
        motif("dull", "ACCATTGAC", strength=2),
        motif("other", "GGAATTCAT"),
        motif("third", "CATGCCTTG"),
    ]
    config = Simulated(tfs=3, pairs=2, motif_similarity_max=0.7)
    for seed in range(20):
        names = [item.name for item in pool.select(items, config, seed=seed)]
        assert names == sorted(names)
        assert not {"short", "dull"} & set(names)
        assert not {"Abc", "ABC(var.2)"} <= set(names)
        assert not {"Abc", "near"} <= set(names)
    draws = {tuple(item.name for item in pool.select(items, config, seed=seed)) for seed in range(20)}
    assert len(draws) > 2
    with pytest.raises(ConfigError, match=r"only \d motifs .* among 7 \(5 of 6 to 20 bp"):
        pool.select(items, Simulated(tfs=5, pairs=5, motif_similarity_max=0.7), seed=1)


@pytest.mark.parametrize(("tfs", "count"), [(4, 3), (12, 15), (10, 5), (9, 5), (20, 40), (5, 10)])
def test_pairs_cover_every_tf(tfs, count):
    for seed in range(10):
        drawn = pool.draw_pairs(tfs, count, seed=seed)
        assert drawn.shape == (count, 2)
        assert (drawn[:, 0] < drawn[:, 1]).all()
        assert len({tuple(pair) for pair in drawn.tolist()}) == count
        assert set(drawn.ravel().tolist()) == set(range(tfs))


@pytest.mark.parametrize("draws", [pool.DRAWS, 0])
def test_every_covering_set_of_pairs_is_equally_likely(monkeypatch, draws):
    monkeypatch.setattr(pool, "DRAWS", draws)
    monkeypatch.setattr(pool, "SWAPS_PER_PAIR", 15)
    everything = list(combinations(range(4), 2))
    covering = [chosen for chosen in combinations(everything, 3) if len({tf for pair in chosen for tf in pair}) == 4]
    seen = Counter(tuple(tuple(pair) for pair in pool.draw_pairs(4, 3, seed=seed).tolist()) for seed in range(1200))
    assert set(seen) == set(covering)
    assert stats.chisquare([seen[chosen] for chosen in covering]).pvalue > 1e-3


def test_matched_shares_give_every_tf_its_share():
    listed = pool.draw_pairs(12, 15, seed=3)
    every = {tuple(pair) for pair in combinations(range(12), 2)}
    unlisted = np.array(sorted(every - {tuple(pair) for pair in listed.tolist()}))
    degree = np.bincount(listed.ravel(), minlength=12)
    shares = published.matched_shares(unlisted, degree)
    found = np.zeros(12)
    for (a, b), share in zip(unlisted.tolist(), shares, strict=True):
        found[a] += share / 2
        found[b] += share / 2
    np.testing.assert_allclose(found, degree / degree.sum(), atol=2e-6)
    assert shares.min() > 0


def test_matched_shares_that_do_not_exist_are_refused():
    # TF 0 is in every listed pair; unlisted pairs do not hold it.
    with pytest.raises(ValueError, match="^0$"):
        published.matched_shares(np.array([[1, 2], [1, 3], [2, 3]]), np.array([3, 1, 1, 1]))


def test_draws_by_share_have_exactly_these_chances():
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    rng = np.random.default_rng(0)
    seen = np.zeros(5)
    for _ in range(20_000):
        chosen = published.draw_choices(shares, 3, rng)
        assert len(set(chosen.tolist())) == 3
        seen[chosen] += 1
    np.testing.assert_allclose(seen / 20_000, 3 * shares, atol=0.015)


NAMES = ("ACGTTA", "GGATCC", "TTGACA", "CCATGA", "GATTGC", "AGGCTT")


def small(**options) -> tuple[list[instances.Pwm], pool.Pairs, Simulated]:
    config = Simulated(
        **{
            "examples": 200,
            "length": 160,
            "tfs": 6,
            "pairs": 5,
            "pairs_per_positive_min": 2,
            "pairs_per_positive_max": 2,
            "negative_motifs_max": 2,
            **options,
        }
    )
    pwms = [pwm(motif(f"T{k}", consensus).counts, f"T{k}") for k, consensus in enumerate(NAMES)]
    return pwms, pool.draw_roles(config, seed=1), config


def test_same_seed_same_set_another_seed_another_set():
    pwms, pairs, config = small(design="hard", strand="both")
    first, again = (implant.simulate(pwms, pairs, config, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (implant.simulate(pwms, pairs, config, seed=6).tokens != first.tokens).any()


def test_classes_are_balanced_and_in_random_order():
    pwms, pairs, config = small()
    made = implant.simulate(pwms, pairs, config, seed=1)
    assert made.labels.sum() == 100
    assert 25 < made.labels[:100].sum() < 75
    odd = Simulated(**{**vars(config), "examples": 41})
    assert implant.simulate(pwms, pairs, odd, seed=1).labels.sum() == 20


def test_background_letters_follow_the_base_frequencies():
    frequencies = (0.1, 0.2, 0.3, 0.4)
    pwms, pairs, config = small(base_frequencies=frequencies, negative_motifs_min=0, negative_motifs_max=0)
    made = implant.simulate(pwms, pairs, config, seed=1)
    counts = np.bincount(made.tokens[made.labels == 0].ravel(), minlength=4)
    assert stats.chisquare(counts, counts.sum() * np.array(frequencies)).pvalue > 1e-3


@pytest.mark.parametrize(
    "options",
    [{"length": 40}, {"design": "hard", "length": 40}, {"negative_motifs_min": 7, "negative_motifs_max": 7}],
)
def test_rules_that_cannot_be_obeyed_are_refused(options):
    pwms, pairs, config = small(**options)
    with pytest.raises(ConfigError, match="found in 200 draws"):
        implant.simulate(pwms, pairs, config, seed=1)


def test_pairs_that_all_share_a_tf_cannot_be_disjoint():
    pwms, _, config = small(shared_tfs=False)
    star = pool.Pairs.of(6, np.array([[0, other] for other in range(1, 6)]))
    with pytest.raises(ConfigError, match="positive"):
        implant.simulate(pwms, star, config, seed=1)


def test_hard_negatives_hold_no_listed_pair_even_when_blocks_may_touch():
    pwms, pairs, config = small(design="hard", between_pairs_gap=0, pair_gap_max=40, examples=400)
    made = implant.simulate(pwms, pairs, config, seed=1)
    listed = {tuple(pair) for pair in pairs.true.tolist()}
    found = made.instances
    for example in np.flatnonzero(made.labels == 0):
        rows = np.flatnonzero(found.example == example)
        for a, b in combinations(rows.tolist(), 2):
            distance = max(found.start[a], found.start[b]) - min(found.end[a], found.end[b])
            assert distance > 40 or tuple(sorted((int(found.tf[a]), int(found.tf[b])))) not in listed


@pytest.mark.parametrize(("design", "alike"), [("hard", False), ("hard-matched", True)])
def test_matched_negatives_hold_every_tf_as_often_as_positives(design, alike):
    pwms, _, config = small(design=design, examples=6000)
    pairs = pool.Pairs.of(6, np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]))
    made = implant.simulate(pwms, pairs, config, seed=1)
    positive = made.labels[made.instances.example] == 1
    table = np.stack([np.bincount(made.instances.tf[side], minlength=6) for side in (positive, ~positive)])
    pvalue = stats.chi2_contingency(table).pvalue
    assert (pvalue > 1e-3) if alike else (pvalue < 1e-9)
