import numpy as np
import pytest

from satori_hpc.motifs import motif
from tests.oracles import motif_oracle


def random_ppm(rng: np.random.Generator, width: int) -> np.ndarray:
    return rng.dirichlet([0.4] * 4, size=width)


def test_probabilities_add_the_pseudocount_to_every_count() -> None:
    counts = np.array([[9, 0, 0, 0], [1, 2, 3, 3]])
    expected = (counts + 1) / (9 + 4)
    np.testing.assert_allclose(motif.probabilities(counts, 1.0), expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(motif.probabilities(np.zeros((2, 4)), 0.0), np.full((2, 4), 0.25))


def test_information_is_two_bits_for_a_certain_letter_and_none_for_a_flat_column() -> None:
    ppm = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]])
    by_hand = 2 + 0.7 * np.log2(0.7) + 3 * 0.1 * np.log2(0.1)
    np.testing.assert_allclose(motif.information(ppm), [2, 0, 1, by_hand], atol=1e-12)


def test_information_against_a_background_is_the_divergence() -> None:
    background = np.array([0.4, 0.1, 0.1, 0.4])
    rng = np.random.default_rng(0)
    ppm = random_ppm(rng, 6)
    expected = (ppm * np.log2(ppm / background)).sum(axis=1)
    np.testing.assert_allclose(motif.information(ppm, background), expected)
    np.testing.assert_array_equal(motif.information(background[None], background), [0.0])
    with pytest.raises(ValueError, match="sum to 1"):
        motif.information(ppm, np.full(4, 0.5))


def test_core_cuts_flanks_only_and_keeps_all_when_nothing_passes() -> None:
    sharp, flat = np.array([0.97, 0.01, 0.01, 0.01]), np.full(4, 0.25)
    assert motif.core(np.stack([flat, sharp, flat, sharp, flat, flat]), 0.2) == slice(1, 4)
    assert motif.core(np.stack([flat, flat]), 0.2) == slice(0, 2)
    assert motif.core(np.stack([flat, sharp]), 0.0) == slice(0, 2)


def test_consensus() -> None:
    rows = [[1, 0, 0, 0], [0.45, 0, 0.45, 0.1], [0.25] * 4, [0.1, 0.4, 0.1, 0.4], [0.05, 0.05, 0.6, 0.3]]
    assert motif.consensus(np.array(rows)) == "ARNYK"
    assert motif.consensus(np.array([[0.05, 0.0, 0.7, 0.25]])) == "G"


def test_reverse_complement_reads_the_other_strand() -> None:
    ppm = np.eye(4)[[0, 0, 1, 3]]  # AACT
    assert motif.consensus(motif.reverse_complement(ppm)) == "AGTT"


@pytest.mark.parametrize(("wa", "wb"), [(4, 4), (4, 9), (9, 5), (6, 20), (12, 12)])
def test_similarity_against_every_alignment(wa: int, wb: int) -> None:
    rng = np.random.default_rng(wa * 100 + wb)
    shorter = min(wa, wb)
    least = min(shorter, max(5, -(-shorter // 2)))
    for _ in range(5):
        a, b = random_ppm(rng, wa), random_ppm(rng, wb)
        assert motif.similarity(a, b) == pytest.approx(motif_oracle.similarity(a, b, least), abs=1e-12)
        assert motif.similarity(a, b) == pytest.approx(motif.similarity(b, a), abs=1e-12)


def test_similarity_is_one_for_itself_on_either_strand_and_inside_another() -> None:
    rng = np.random.default_rng(3)
    a = random_ppm(rng, 8)
    inside = np.concatenate([np.full((3, 4), 0.25), a, np.full((4, 4), 0.25)])
    assert motif.similarity(a, a) == pytest.approx(1)
    assert motif.similarity(a, motif.reverse_complement(a)) == pytest.approx(1)
    assert motif.similarity(inside, motif.reverse_complement(a)) == pytest.approx(1)
    assert motif.similarity(a, np.full((8, 4), 0.25)) == 0
