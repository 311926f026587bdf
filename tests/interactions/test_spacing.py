"""Spacing, order and arrangement tests against slow versions, under the null and with something to find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from satori_hpc.interactions.statistics import spacing

REACH = 60
SPACING = np.arange(-REACH, REACH + 1)
counts = st.lists(st.integers(0, 5), min_size=12, max_size=12)


def histogram(values: np.ndarray) -> np.ndarray:
    return np.bincount(values[np.abs(values) <= REACH] + REACH, minlength=len(SPACING))


def slow_helical(foreground: np.ndarray, background: np.ndarray, at: np.ndarray) -> tuple[float, np.ndarray]:
    """(chi-square, excess) from lists of single sites: means and covariances of drawing without replacement."""
    excess, variance = np.zeros(2), np.zeros((2, 2))
    for stretch in sorted({int(np.floor(d / 21)) for d in at}):
        inside = [k for k, d in enumerate(at) if int(np.floor(d / 21)) == stretch]
        sites = [
            (at[k], side) for side, each in ((1, foreground), (0, background)) for k in inside for _ in range(each[k])
        ]
        n, total = sum(side for _, side in sites), len(sites)
        if total < 2:
            continue
        points = np.array([[np.cos(2 * np.pi * d / 10.5), np.sin(2 * np.pi * d / 10.5)] for d, _ in sites])
        sides = np.array([side for _, side in sites])
        excess += points[sides == 1].sum(axis=0) - n * points.mean(axis=0)
        variance += n * (total - n) / total * np.cov(points.T)
    values, vectors = np.linalg.eigh(variance)
    return float(sum((excess @ vectors[:, k]) ** 2 / values[k] for k in range(2) if values[k] > 1e-9)), excess


@given(counts, counts, st.integers(-30, 20), st.sampled_from([1, 3, 4]))
def test_helical_is_its_definition(a: list[int], b: list[int], first: int, step: int) -> None:
    at = first + step * np.arange(12)
    foreground, background = np.array(a), np.array(b)
    chi_square, excess = slow_helical(foreground, background, at)
    found = spacing.helical(foreground[None], background[None], at)
    if np.isnan(found.p[0]):
        assert chi_square == pytest.approx(0, abs=1e-6)
        return
    freedom = 2 if stats.chi2.sf(chi_square, 2) == pytest.approx(found.p[0], rel=1e-6) else 1
    assert found.p[0] == pytest.approx(stats.chi2.sf(chi_square, freedom), rel=1e-6)
    if np.linalg.norm(excess) > 1e-6:
        angle = np.angle(complex(*excess)) / (2 * np.pi) * 10.5
        assert abs((found.phase[0] - angle + 5.25) % 10.5 - 5.25) < 1e-6


def test_helical_variance_is_that_of_permutations() -> None:
    rng = np.random.default_rng(1)
    values, n = rng.integers(-40, 40, 300), 120
    drawn = np.array([histogram(rng.permutation(values)[:n]) for _ in range(4000)])
    p = spacing.helical(drawn, histogram(values) - drawn, SPACING).p
    assert np.abs(np.mean(p < 0.05) - 0.05) < 0.012
    assert stats.kstest(p, "uniform").statistic < 0.03


def test_excess_is_the_signed_root_of_g() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        table = rng.integers(0, 20, (2, 2))
        if not table.sum(axis=0).all() or not table.sum(axis=1).all():
            continue
        g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")[0]
        (inside, outside), (inside_b, outside_b) = table
        found = spacing._excess(
            np.array([[inside]]), np.array([inside + inside_b]), n=int(inside + outside), total=int(table.sum())
        )[0, 0]
        share, share_b = inside / (inside + outside), inside_b / (inside_b + outside_b)
        assert found == pytest.approx(np.sign(share - share_b) * np.sqrt(g), abs=1e-6)


@settings(deadline=None)
@given(counts, counts, st.integers(1, 4))
def test_the_preferred_window_is_found_by_looking_at_each(a: list[int], b: list[int], window: int) -> None:
    foreground, background = np.array(a), np.array(b)
    if not foreground.any() or not background.any():
        return
    found = spacing.preferred(foreground, background, window=window, draws=50, rng=np.random.default_rng(1))
    n, m = foreground.sum(), background.sum()
    slow = []
    for first in range(len(a) - window + 1):
        x, y = foreground[first : first + window].sum(), background[first : first + window].sum()
        table = np.array([[x, n - x], [y, m - y]])
        g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")[0] if 0 < x + y < n + m else 0.0
        slow.append(np.sign(x / n - y / m) * np.sqrt(g))
    assert slow[found.first] == pytest.approx(max(slow), abs=1e-6)
    assert found.found == foreground[found.first : found.first + window].sum()
    together = (foreground + background)[found.first : found.first + window].sum()
    assert found.expected == pytest.approx(together * n / (n + m))
    assert 0 < found.p <= 1


def sides(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Uneven spacings, alike on both sides, in steps of four as attention tells them."""
    draw = lambda size: (rng.gamma(2, 9, size) * rng.choice([-1, 1], size) / 4).round().astype(int) * 4  # noqa: E731
    return draw(n), draw(m)


def test_nothing_is_found_where_both_sides_are_alike() -> None:
    rng = np.random.default_rng(7)
    helical, preferred, order, arranged = [], [], [], []
    for _ in range(400):
        first, second = sides(rng, 150, 200)
        foreground, background = histogram(first), histogram(second)
        helical.append(spacing.helical(foreground[None], background[None], SPACING).p[0])
        preferred.append(spacing.preferred(foreground, background, window=8, draws=199, rng=rng).p)
        order.append(spacing.order_p(*(np.array([np.sum(x > 0), np.sum(x < 0)]) for x in (first, second))))
        strands = [np.bincount(rng.choice(4, size, p=[0.5, 0.3, 0.15, 0.05]), minlength=4) for size in (40, 60)]
        arranged.append(spacing.arrangement_p(*strands, draws=199, rng=rng))
    for p in (helical, preferred, order, arranged):
        for level in (0.05, 0.2):
            assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)
    for p in (helical, preferred):
        assert np.mean(np.array(p) <= 0.2) >= 0.2 - 3 * np.sqrt(0.16 / 400)
        assert stats.kstest(p, "uniform").statistic < 0.08


def test_a_closer_foreground_is_not_helical_and_an_implanted_phase_is() -> None:
    rng = np.random.default_rng(8)
    far = histogram(rng.integers(-60, 61, 3000))
    near = histogram((rng.normal(0, 25, 1500)).round().astype(int))
    alike = spacing.helical(near[None], far[None], SPACING)
    assert alike.p[0] > 0.001
    turns = 10.5 * rng.integers(-5, 6, 400) + 3 + rng.normal(0, 1.2, 400)
    mixed = np.concatenate([turns.round().astype(int), rng.integers(-60, 61, 600)])
    found = spacing.helical(histogram(mixed)[None], far[None], SPACING)
    assert found.p[0] < 1e-10
    assert abs(found.phase[0] - 3) < 0.7
    coarse = spacing.helical(
        histogram(mixed // 4 * 4)[None], histogram(rng.integers(-60, 61, 3000) // 4 * 4)[None], SPACING
    )
    assert coarse.p[0] < 1e-4  # cells of four letters blur it, and leave enough


def test_an_implanted_spacing_is_found() -> None:
    rng = np.random.default_rng(9)
    for place in (-34, 12, 25):
        first, second = sides(rng, 150, 200)
        first[:25] = place + rng.integers(-1, 2, 25)
        found = spacing.preferred(histogram(first), histogram(second), window=3, draws=999, rng=rng)
        assert found.p == 1 / 1000
        assert abs(SPACING[found.first] + 1 - place) <= 2  # its middle
        assert found.found > 1.5 * found.expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A+B+", "tandem_ab"), ("B-A-", "tandem_ab"), ("B+A+", "tandem_ba"), ("A-B-", "tandem_ba"),
        ("A+B-", "convergent"), ("B+A-", "convergent"), ("A-B+", "divergent"), ("B-A+", "divergent"),
    ],
)  # fmt: skip
def test_arrangements_are_the_same_from_either_strand(text: str, expected: str) -> None:
    def told(text: str) -> str:
        at = {letter: text.index(letter) for letter in "AB"}
        strand = {letter: 1 if text[at[letter] + 1] == "+" else -1 for letter in "AB"}
        found = spacing.arrangement(np.array([at["B"] - at["A"]]), np.array([strand["A"]]), np.array([strand["B"]]))[0]
        return spacing.ARRANGEMENTS[found]

    turned = (text[2:] + text[:2]).translate(str.maketrans("+-", "-+"))
    assert told(text) == told(turned) == expected
    nothing = spacing.arrangement(np.array([0, 5, 5]), np.array([1, 0, 1]), np.array([1, 1, 0]))
    assert nothing.tolist() == [-1, -1, -1]


def test_order_is_fishers_and_empty_margins_have_no_p() -> None:
    assert spacing.order_p(np.array([8, 2]), np.array([3, 9])) == stats.fisher_exact([[8, 2], [3, 9]]).pvalue
    assert np.isnan(spacing.order_p(np.array([8, 0]), np.array([3, 0])))
    rng = np.random.default_rng(1)
    assert np.isnan(spacing.arrangement_p(np.array([5, 0, 0, 0]), np.array([7, 0, 0, 0]), draws=99, rng=rng))
    assert spacing.arrangement_p(np.array([40, 0, 5, 0]), np.array([5, 0, 40, 0]), draws=99, rng=rng) == 0.01
