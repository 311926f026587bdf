"""Shuffled controls with implanted motifs."""

from collections import Counter
from itertools import pairwise

import numpy as np

from satori_hpc.data import sequence
from satori_hpc.sites import shuffled_background

LENGTH = 40


def originals(examples: int, *, seed: int = 0, letters: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, letters, (examples, LENGTH)).astype(np.uint8)


def fixed(text: str) -> np.ndarray:
    """The motif, (width, 4), that is always `text`."""
    return np.eye(4)[sequence.encode(text)]


def make(tokens: np.ndarray, motifs: list[np.ndarray], sites: list[int], **more: int) -> shuffled_background.TwinBatch:
    settings = {"counted": len(tokens), "seed": 7, **more}
    width = len(motifs[0]) if motifs else 6
    return shuffled_background.shuffled_controls(
        tokens,
        np.arange(len(tokens)),
        ppms=np.array(motifs).reshape(-1, width, 4),
        sites=np.array(sites, dtype=np.int64),
        **settings,
    )


def test_without_motifs_controls_keep_every_dinucleotide() -> None:
    tokens = originals(50)
    for made in (make(tokens, [], []), make(tokens, [fixed("ACGT")], [0])):
        assert made.tokens.dtype == np.uint8
        assert not made.implants.any()
        assert (made.tokens != tokens).any(axis=1).all()
        for control, original in zip(made.tokens.tolist(), tokens.tolist(), strict=True):
            assert Counter(pairwise(control)) == Counter(pairwise(original))


def test_motifs_of_different_widths_are_implanted_each_at_its_rate() -> None:
    tokens = np.full((2000, LENGTH), sequence.N, dtype=np.uint8)  # so that every implant is seen
    motifs = [fixed("ACGTAC"), fixed("GG"), fixed("TTTT")]
    made = shuffled_background.shuffled_controls(
        tokens, np.arange(2000), ppms=motifs, sites=np.array([500, 400, 0]), counted=2000, seed=1
    )
    texts = ["".join("ACGTN"[token] for token in control) for control in made.tokens.tolist()]
    assert made.implants[2] == 0
    for number, motif, rate in ((0, "ACGTAC", 500), (1, "NGGN", 400)):
        assert abs(made.implants[number] - rate) < 5 * rate**0.5
        assert 0.75 * rate < sum(f"N{text}N".count(motif) for text in texts) < 1.15 * rate


def test_implants_change_nothing_but_what_they_cover() -> None:
    tokens = originals(300)
    plain, made = make(tokens, [], []).tokens, make(tokens, [fixed("ACGT")], [60])
    touched = (plain != made.tokens).any(axis=1)
    assert 30 < touched.sum() <= made.implants[0]
    for before, after in zip(plain[touched], made.tokens[touched], strict=True):
        starts = [s for s in range(LENGTH - 3) if after[s : s + 4].tolist() == [0, 1, 2, 3]]
        covered = np.zeros(LENGTH, dtype=bool)
        for start in starts:
            covered[start : start + 4] = True
        assert (before == after)[~covered].all()


def test_each_motif_is_implanted_at_its_rate_and_spread_as_a_binomial() -> None:
    # N cannot come out of a motif, so in sequences of N every implant is seen.
    tokens = np.full((4000, LENGTH), sequence.N, dtype=np.uint8)
    sites = [400, 100, 25]
    made = make(tokens, [fixed("AAAA"), fixed("CCCC"), fixed("GGGG")], sites, counted=1000)
    expected = np.array(sites) * 4.0
    assert (np.abs(made.implants - expected) < 5 * np.sqrt(expected)).all()
    with_one = np.array([(made.tokens == letter).any(axis=1).sum() for letter in range(3)])
    share = 1 - (1 - 1 / 1000) ** np.array(sites)
    # Rarely an instance is overwritten by a later motif.
    assert (np.abs(with_one - 4000 * share) < 5 * np.sqrt(4000 * share) + 0.02 * 4000 * share).all()


def test_every_start_from_0_to_length_minus_width_is_equally_likely() -> None:
    tokens = np.full((6000, 10), sequence.N, dtype=np.uint8)
    made = shuffled_background.shuffled_controls(
        tokens, np.arange(6000), ppms=fixed("ACGTAC")[None], sites=np.array([1200]), counted=6000, seed=1
    )
    alone = made.tokens[(made.tokens < 4).sum(axis=1) == 6]
    starts = Counter((alone < 4).argmax(axis=1).tolist())
    assert set(starts) == {0, 1, 2, 3, 4}
    each = len(alone) / 5
    assert sum((count - each) ** 2 / each for count in starts.values()) < 25  # chi-square, 4 degrees


def test_a_motif_as_wide_as_the_sequence_fits() -> None:
    tokens = originals(20)
    made = make(tokens, [fixed("ACGT" * 10)], [20_000])
    assert (made.tokens == sequence.encode("ACGT" * 10)).all()


def test_letters_follow_the_columns() -> None:
    tokens = np.full((3000, 2), sequence.N, dtype=np.uint8)
    ppm = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.5, 0.0]])
    made = shuffled_background.shuffled_controls(
        tokens, np.arange(3000), ppms=ppm[None], sites=np.array([30_000]), counted=3000, seed=2
    ).tokens
    for column in range(2):
        found = np.bincount(made[:, column], minlength=5)[:4] / 3000
        np.testing.assert_allclose(found, ppm[column], atol=0.04)
        assert (found[ppm[column] == 0] == 0).all()


def test_later_motifs_overwrite_earlier_ones() -> None:
    tokens = originals(30)
    full = LENGTH // 4
    made = make(tokens, [fixed("ACGT" * full), fixed("TTTT" * full)], [3_000, 3_000])
    assert (made.tokens == sequence.T).all()


def test_a_control_depends_on_seed_and_example_alone() -> None:
    tokens = originals(40)
    motifs = {
        "ppms": np.random.default_rng(1).dirichlet(np.ones(4), (5, 6)),
        "sites": np.array([40, 10, 80, 0, 3]),
        "counted": 40,
    }
    every = shuffled_background.shuffled_controls(tokens, np.arange(40), seed=3, **motifs)
    again = shuffled_background.shuffled_controls(tokens, np.arange(40), seed=3, **motifs)
    np.testing.assert_array_equal(every.tokens, again.tokens)
    some = np.array([31, 2, 17])
    part = shuffled_background.shuffled_controls(tokens[some], some, seed=3, **motifs)
    np.testing.assert_array_equal(part.tokens, every.tokens[some])
    rest = np.setdiff1d(np.arange(40), some)
    assert (
        part.implants + shuffled_background.shuffled_controls(tokens[rest], rest, seed=3, **motifs).implants
        == every.implants
    ).all()
    other = shuffled_background.shuffled_controls(tokens, np.arange(40), seed=4, **motifs)
    assert (other.tokens != every.tokens).any(axis=1).all()
    equal = shuffled_background.shuffled_controls(
        np.repeat(tokens[:1], 40, axis=0), np.arange(40), seed=3, **motifs
    ).tokens
    assert len(np.unique(equal, axis=0)) == 40
