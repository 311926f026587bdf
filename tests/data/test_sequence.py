"""Tokens, strands and shuffles."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.data import sequence

dna = st.text(alphabet="ACGTNacgtnRYSWKMBDHVryu", max_size=200)
known = st.text(alphabet="ACGTN", min_size=1, max_size=120)


def slow_encode(text: str) -> list[int]:
    return [{"A": 0, "C": 1, "G": 2, "T": 3}.get(letter.upper(), 4) for letter in text]


@given(dna)
def test_encode_is_the_obvious_loop(text):
    tokens = sequence.encode(text)
    assert tokens.dtype == np.uint8
    assert tokens.tolist() == slow_encode(text)
    assert sequence.encode(text.encode()).tolist() == tokens.tolist()


@given(known)
def test_decode_undoes_encode(text):
    assert sequence.decode(sequence.encode(text)) == text


@pytest.mark.parametrize(
    ("text", "place"),
    [("AC-GT", "'-' at position 3"), ("ACG ", "' ' at position 4"), ("1", "'1'"), ("ACé", "position 3")],
)
def test_encode_names_what_is_not_a_letter(text, place):
    with pytest.raises(ValueError, match="not a letter") as error:
        sequence.encode(text)
    assert place in str(error.value)


def test_encode_takes_every_letter_and_no_other_byte():
    for byte in range(256):
        raw = bytes([byte])
        if raw.isalpha():
            assert sequence.encode(raw)[0] <= 4
        else:
            with pytest.raises(ValueError, match="not a letter"):
                sequence.encode(raw)


@given(known)
def test_reverse_complement_twice_is_the_sequence(text):
    tokens = sequence.encode(text)
    assert sequence.reverse_complement(sequence.reverse_complement(tokens)).tolist() == tokens.tolist()


def test_reverse_complement_of_a_batch():
    tokens = np.stack([sequence.encode("AACGN"), sequence.encode("TTTCA")])
    assert [sequence.decode(row) for row in sequence.reverse_complement(tokens)] == ["NCGTT", "TGAAA"]


@given(known, st.integers(0, 2**31))
@settings(max_examples=300)
def test_shuffle_keeps_dinucleotides_and_ends(text, seed):
    tokens = sequence.encode(text)
    shuffled = sequence.dinucleotide_shuffle(tokens, np.random.default_rng(seed))
    assert shuffled.dtype == np.uint8
    assert shuffled[0] == tokens[0]
    assert shuffled[-1] == tokens[-1]
    assert Counter(pairwise(shuffled.tolist())) == Counter(pairwise(tokens.tolist()))


def all_walks(text: str) -> set[str]:
    """Every sequence with the dinucleotides of `text` and its first letter, by trying all orders."""
    found = set()

    def extend(walk: str, left: Counter) -> None:
        if not left:
            found.add(walk)
        for pair in list(left):
            if pair[0] == walk[-1]:
                rest = left.copy()
                rest[pair] -= 1
                extend(walk + pair[1], +rest)

    extend(text[0], Counter(a + b for a, b in pairwise(text)))
    return found


@pytest.mark.parametrize("text", ["ACGTACAT", "AACCAGACA", "NANCANNA", "AAACAAGA"])
def test_every_shuffle_is_equally_likely(text):
    walks = all_walks(text)
    assert len(walks) > 3
    rng = np.random.default_rng(5)
    tokens = sequence.encode(text)
    draws = 300 * len(walks)
    seen = Counter(sequence.decode(sequence.dinucleotide_shuffle(tokens, rng)) for _ in range(draws))
    assert set(seen) == walks
    chi_square = sum((seen[walk] - 300) ** 2 / 300 for walk in walks)
    freedom = len(walks) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_controls_are_keyed_by_seed_and_example():
    tokens = np.random.default_rng(0).integers(0, 5, (6, 80), dtype=np.uint8)
    controls = sequence.shuffled_controls(tokens, seed=3)
    np.testing.assert_array_equal(controls[:2], sequence.shuffled_controls(tokens[:2], seed=3))
    assert (controls != tokens).any(axis=1).all()
    assert (controls != sequence.shuffled_controls(tokens, seed=4)).any()
