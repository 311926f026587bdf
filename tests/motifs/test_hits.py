import numpy as np
import pytest

from satori_hpc.motifs import motif, scan
from tests.oracles import motif_oracle


def ppm_of(word: str, share: float = 0.97) -> np.ndarray:
    ppm = np.full((len(word), 4), (1 - share) / 3)
    ppm[np.arange(len(word)), [motif.LETTERS.index(letter) for letter in word]] = share
    return ppm


def encode(text: str) -> np.ndarray:
    return np.array([["ACGTN".index(letter) for letter in text]], dtype=np.uint8)


@pytest.mark.parametrize("p", [0.3, 0.01, 1e-3, 1 / 4**5, 1e-9])
@pytest.mark.parametrize("background", [[0.25] * 4, [0.4, 0.1, 0.15, 0.35]])
def test_threshold_is_exact(p: float, background: list[float]) -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        table = scan.scores(rng.dirichlet([0.5] * 4, size=5), np.array(background))
        limit = scan.score_threshold(table, np.array(background), p)
        assert motif_oracle.tail(table, np.array(background), limit) <= p * (1 + 1e-6)
        # One step lower would let in too much.
        if limit > table.min(axis=1).sum():
            assert motif_oracle.tail(table, np.array(background), limit - 1) > p


def test_every_window_against_loops() -> None:
    rng = np.random.default_rng(2)
    tokens = rng.integers(0, 4, size=(30, 40)).astype(np.uint8)
    tokens[rng.random(tokens.shape) < 0.03] = 4
    background = np.array([0.3, 0.2, 0.15, 0.35])
    motifs = [rng.dirichlet([0.5] * 4, size=width) for width in (3, 5, 8, 41)]
    expected = set()
    for m, ppm in enumerate(motifs):
        for strand, oriented in ((1, ppm), (-1, motif.reverse_complement(ppm))):
            table = scan.scores(oriented, background)
            limit = scan.score_threshold(table, background, 0.02)
            for e in range(30):
                for start in range(40 - len(ppm) + 1):
                    word = tokens[e, start : start + len(ppm)]
                    if (word < 4).all() and table[np.arange(len(ppm)), word].sum() >= limit:
                        expected.add((e, start, m, strand))
    found = scan.hits(tokens, motifs, p=0.02, background=background)
    rows = list(zip(*(column.tolist() for column in found), strict=True))
    assert rows == sorted(rows)
    assert set(rows) == expected
    assert len(rows) == len(expected) > 50
    forward = scan.hits(tokens, motifs, p=0.02, background=background, both_strands=False)
    assert set(zip(*(c.tolist() for c in forward), strict=True)) == {row for row in expected if row[3] == 1}


def test_the_first_and_the_last_window_are_looked_at() -> None:
    word = "GATTACAG"
    for text in (word + "CCCCC", "CCCCC" + word, word):
        example, start, number, strand = scan.hits(encode(text), [ppm_of(word)], p=1e-4)
        assert (example.tolist(), start.tolist(), number.tolist(), strand.tolist()) == (
            [0], [text.index(word)], [0], [1],
        )  # fmt: skip
    back = "CTGTAATC"
    assert scan.hits(encode("CC" + back), [ppm_of(word)], p=1e-4)[3].tolist() == [-1]


def test_share_of_random_windows_that_hit_is_p() -> None:
    rng = np.random.default_rng(9)
    tokens = rng.integers(0, 4, size=(600, 300)).astype(np.uint8)
    motifs = [rng.dirichlet([0.6] * 4, size=9) for _ in range(4)]
    found = scan.hits(tokens, motifs, p=1e-2, both_strands=False)
    rates = np.bincount(found[2], minlength=4) / (600 * 292)
    assert (rates < 0.0112).all()
    assert (rates > 0.0085).all()


def test_each_motif_may_have_its_own_p() -> None:
    """A 6-mer is no rarer than 4**-6, so a hit at 1e-4 needs a p of its own; hits of the other motif do not change."""
    tokens = encode("TTACGTCATTGGATTACAGGTT")
    motifs = [ppm_of("ACGTCA"), ppm_of("GGATTACAGG")]
    alike = scan.hits(tokens, motifs, p=1e-4, both_strands=False)
    own = scan.hits(tokens, motifs, p=np.array([4.0**-6, 1e-4]), both_strands=False)
    assert list(zip(alike[2].tolist(), alike[1].tolist(), strict=True)) == [(1, 10)]
    assert list(zip(own[2].tolist(), own[1].tolist(), strict=True)) == [(0, 2), (1, 10)]


def test_nothing_to_find() -> None:
    empty = scan.hits(np.zeros((0, 20), dtype=np.uint8), [ppm_of("ACGT")], p=0.1)
    assert [len(column) for column in empty] == [0, 0, 0, 0]
    assert len(scan.hits(encode("ACGTACGT"), [], p=0.1)[0]) == 0
    assert len(scan.hits(encode("ACGT"), [ppm_of("ACGT")], p=1e-9)[0]) == 0  # no 4-mer is that rare
