"""Thinned collections: no two kept motifs are alike, and none is dropped without a reason."""

from pathlib import Path

import numpy as np
import pytest

from satori_hpc.config import Config, Model, Motifs
from satori_hpc.config.motif_tokens import MotifTokens
from satori_hpc.motifs import collection, configured, motif, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.run import new


def some_motifs(count: int, seed: int) -> list[Motif]:
    """Random motifs of 5 to 12 bp; every third is a noisy copy of the one before, half of these on the other strand."""
    rng = np.random.default_rng(seed)
    made: list[Motif] = []
    for number in range(count):
        if number % 3 == 2:
            ppm = 0.95 * made[-1].ppm + 0.05 * rng.dirichlet(np.ones(4), size=made[-1].width)
            ppm = motif.reverse_complement(ppm) if number % 2 else ppm
        else:
            ppm = rng.dirichlet(np.full(4, 0.3), size=rng.integers(5, 13))
        made.append(Motif(name=f"tf{number}", ppm=ppm, sites=20, identifier=f"M{number}"))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_similarities_equal_the_pairwise_function(seed: int) -> None:
    motifs = some_motifs(20, seed)
    for query in motifs[:6]:
        expected = [motif.similarity(query.ppm, other.ppm) for other in motifs]
        np.testing.assert_allclose(collection.similarities(query.ppm, [m.ppm for m in motifs]), expected, atol=1e-12)


@pytest.mark.parametrize("limit", [0.6, 0.8, 0.95])
def test_thinning_keeps_the_first_of_those_that_are_alike(limit: float) -> None:
    motifs = some_motifs(30, 7)
    expected: list[Motif] = []
    for item in motifs:
        if all(motif.similarity(item.ppm, other.ppm) <= limit for other in expected):
            expected.append(item)
    kept = collection.thin(motifs, limit)
    assert [item.identifier for item in kept] == [item.identifier for item in expected]
    assert len(kept) < len(motifs)


def test_a_limit_of_one_keeps_all_and_nothing_stays_nothing() -> None:
    motifs = some_motifs(9, 1)
    assert collection.thin(motifs, 1.0) == motifs
    assert collection.thin([], 0.8) == []


def test_candidates_hold_tfs_that_only_learned_filters_are_named_after(tmp_path: Path) -> None:
    made = [
        Motif(name, item.ppm, sites=20)
        for name, item in zip(("GATA1", "CTCF", "MYC"), some_motifs(9, 2)[::3], strict=True)
    ]
    readers.write_meme(tmp_path / "known.meme", made[:1], np.full(4, 0.25))
    readers.write_meme(tmp_path / "names.meme", made, np.full(4, 0.25))
    tokens = MotifTokens(motifs=str(tmp_path / "known.meme"))
    settings = Config(
        model=Model(architecture="motif-tokens", guests={"motif-tokens": tokens}),
        motifs=Motifs(database=str(tmp_path / "names.meme")),
    )
    run = new.new(tmp_path / "run", config=settings)
    known = configured.candidates(run, {"Gata1"})
    assert [item.name for item in known.motifs] == ["GATA1"]
    assert list(known.sources) == [str(tmp_path / "known.meme")]
    found = configured.candidates(run, {"GATA1", "Myc"})
    assert [item.name for item in found.motifs] == ["GATA1", "MYC"]
    assert found.title == "known.meme, with 1 more that learned filters are named after"
    assert len(found.sources) == 2
