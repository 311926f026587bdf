import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satori_hpc.motifs import hits, motif, scan
from satori_hpc.motifs.hits import Hits
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import Gate, MotifBank
from tests.oracles import motif_oracle

SKEWED = np.array([0.35, 0.15, 0.15, 0.35])


def ppm_of(word: str, share: float = 0.97) -> np.ndarray:
    ppm = np.full((len(word), 4), (1 - share) / 3)
    ppm[np.arange(len(word)), [motif.LETTERS.index(letter) for letter in word]] = share
    return ppm


def bank_of(*ppms: np.ndarray, background: np.ndarray = motif.UNIFORM, sites: int = 100) -> MotifBank:
    motifs = [Motif(name=f"m{number}", ppm=ppm, sites=sites) for number, ppm in enumerate(ppms)]
    return MotifBank.from_motifs(motifs, background=background)


def encode(*texts: str) -> np.ndarray:
    return np.array([["ACGTN".index(letter) for letter in text] for text in texts], dtype=np.uint8)


def rows(found: Hits) -> list[tuple[float, ...]]:
    return list(zip(*(getattr(found, field.name).tolist() for field in dataclasses.fields(found)), strict=True))


def random_bank(rng: np.random.Generator, widths: list[int], background: np.ndarray = SKEWED) -> MotifBank:
    return bank_of(*(rng.dirichlet([0.4] * 4, size=width) for width in widths), background=background, sites=20)


def random_tokens(rng: np.random.Generator, examples: int, length: int, unknown: float = 0.03) -> np.ndarray:
    tokens = rng.integers(0, 4, size=(examples, length)).astype(np.uint8)
    tokens[rng.random(tokens.shape) < unknown] = 4
    return tokens


def test_tails_are_those_of_all_words() -> None:
    rng = np.random.default_rng(5)
    for background in (motif.UNIFORM, SKEWED, np.array([0.4, 0.1, 0.2, 0.3])):
        table = scan.log_odds(Motif(name="m", ppm=rng.dirichlet([0.5] * 4, size=5), sites=30), background)
        found, lowest = scan.tail(table, background), int(table.min(axis=1).sum())
        assert found[0] == pytest.approx(1)
        for score in rng.integers(lowest, table.max(axis=1).sum() + 1, size=20):
            assert found[score - lowest] == pytest.approx(motif_oracle.tail(table, background, score), rel=1e-12)


@pytest.mark.parametrize("p", [0.3, 0.01, 1e-3, 1 / 4**5])
def test_the_smallest_score_of_a_hit_is_exact(p: float) -> None:
    rng = np.random.default_rng(6)
    bank = random_bank(rng, [5, 5, 4])
    for table, least in zip(bank.scores, bank.least(Gate(share=0, p=p)).tolist(), strict=True):
        best = int(table.max(axis=1).sum())
        assert least == best or motif_oracle.tail(table, SKEWED, least) <= p * (1 + 1e-9)
        assert motif_oracle.tail(table, SKEWED, least - 1) > p or least in (1, best)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.3, 0.5]), p=st.sampled_from([0.3, 0.02, 1e-3]))
def test_scan_and_competition_against_loops(seed: int, share: float, p: float) -> None:
    rng = np.random.default_rng(seed)
    bank = random_bank(rng, rng.integers(1, 6, size=5).tolist())
    tokens = random_tokens(rng, 3, 14)
    found = bank.scan(tokens, Gate(share=share, p=p))
    expected = motif_oracle.hits(tokens, list(bank.scores), bank.background, share=share, p=p)
    assert rows(found) == [(*row[:6], pytest.approx(row[6], rel=1e-9)) for row in expected]
    for overlap in (0.25, 0.6):
        assert hits.compete(found, overlap=overlap).tolist() == motif_oracle.compete(expected, overlap)


def test_blocks_threads_and_order_of_the_motifs_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    bank, tokens = random_bank(rng, [12, 4, 7, 4, 25, 9]), random_tokens(rng, 50, 60)
    whole = rows(bank.scan(tokens, Gate(0.3, 1e-2)))
    assert len(whole) > 300
    monkeypatch.setattr(scan, "EXAMPLES_AT_ONCE", 7)
    monkeypatch.setattr(scan, "MOTIFS_AT_ONCE", 2)
    assert rows(bank.scan(tokens, Gate(0.3, 1e-2))) == whole
    assert rows(bank.scan(tokens, Gate(0.3, 1e-2), threads=3)) == whole
    order = np.array([3, 1, 5, 0, 4, 2])
    turned = MotifBank(tuple(bank.names[i] for i in order), tuple(bank.scores[i] for i in order), bank.background)
    assert sorted((row[0], row[1], order[row[3]], *row[4:]) for row in rows(turned.scan(tokens, Gate(0.3, 1e-2)))) == [
        (row[0], row[1], *row[3:]) for row in whole
    ]


def test_a_reverse_complement_has_the_same_hits_on_the_other_strand() -> None:
    rng = np.random.default_rng(8)
    bank, tokens = random_bank(rng, [5, 8, 11]), random_tokens(rng, 20, 40)
    gate = Gate(0.3, 2e-2)
    here, there = bank.scan(tokens, gate), bank.scan(motif_reversed(tokens), gate)
    assert len(here) > 20
    mirrored = sorted((e, 40 - end, m, -strand, s, p) for e, _, end, m, strand, s, p in rows(there))
    assert mirrored == [(e, start, m, strand, s, p) for e, start, _, m, strand, s, p in rows(here)]


def motif_reversed(tokens: np.ndarray) -> np.ndarray:
    return np.array([3, 2, 1, 0, 4], dtype=np.uint8)[tokens[:, ::-1]]


def test_the_first_and_the_last_window_are_looked_at() -> None:
    word = "GATTACAG"
    for text in (word + "CCCCC", "CCCCC" + word, word):
        found = bank_of(ppm_of(word)).scan(encode(text), Gate(0, 1e-4))
        assert (found.start.tolist(), found.end.tolist()) == ([text.index(word)], [text.index(word) + 8])
        assert found.strand.tolist() == [1]
    assert bank_of(ppm_of(word)).scan(encode("CC" + "CTGTAATC"), Gate(0, 1e-4)).strand.tolist() == [-1]


def test_a_palindrome_is_one_hit_on_the_forward_strand() -> None:
    found = bank_of(ppm_of("ACGCGT")).scan(encode("TTTACGCGTTTT"), Gate(0.9, 1e-3))
    assert (found.start.tolist(), found.strand.tolist()) == ([3], [1])


def test_unknown_letters_score_nothing() -> None:
    word = "GATTACAGGG"
    full, holed = bank_of(ppm_of(word)).scan(encode("CC" + word, "CC" + word.replace("C", "N"))).score.tolist()
    assert full - holed == bank_of(ppm_of("C")).maxima[0] > 0


def test_share_of_random_windows_that_hit_is_p() -> None:
    rng = np.random.default_rng(9)
    bank = random_bank(rng, [9, 9, 9, 9], background=motif.UNIFORM)
    found = bank.scan(random_tokens(rng, 600, 300, unknown=0), Gate(share=0, p=1e-2))
    rates = np.bincount(found.motif, minlength=4) / (600 * 292 * 2)  # two strands, which seldom hit together
    assert (rates < 0.0112).all()
    assert (rates > 0.0085).all()


def test_the_best_word_is_a_hit_however_common() -> None:
    found = bank_of(ppm_of("ACGTCA"), ppm_of("GGATTACAGG")).scan(encode("TTACGTCATTGGATTACAGGTT"), Gate(0, 1e-6))
    assert list(zip(found.motif.tolist(), found.start.tolist(), strict=True)) == [(0, 2), (1, 10)]


def test_the_more_significant_of_two_hits_owns_the_other() -> None:
    bank = bank_of(ppm_of("GATTACAGGG"), ppm_of("TTACA"), ppm_of("CCTGC"))
    found = bank.scan(encode("AAGATTACAGGGAACCTGC"), Gate(0.9, 1e-2))
    assert list(zip(found.start.tolist(), found.motif.tolist(), strict=True)) == [(2, 0), (4, 1), (14, 2)]
    assert hits.compete(found).tolist() == [0, 0, 2]
    kept = hits.winners(found)
    assert kept.motif.tolist() == [0, 2]
    assert kept.of_examples(3).tolist() == [0, 2, 2, 2]


def test_nothing_to_find() -> None:
    flat = np.full((6, 4), 0.25)
    for found in (
        bank_of(ppm_of("ACGT")).scan(np.zeros((0, 20), dtype=np.uint8)),
        bank_of().scan(encode("ACGTACGT")),
        bank_of(ppm_of("ACGTACGTA")).scan(encode("ACGT")),
        bank_of(flat).scan(encode("ACGTACGT"), Gate(0, 1)),
    ):
        assert len(found) == 0
        assert hits.compete(found).tolist() == []
        assert found.of_examples(2).tolist() == [0, 0, 0]
