import logging

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from satori_hpc.motifs import cluster, motif, readers, tomtom
from satori_hpc.motifs.motif import Motif


def random_motifs(number: int, seed: int) -> list[Motif]:
    rng = np.random.default_rng(seed)
    return [
        Motif(f"TF{i:03d}", rng.dirichlet([0.2] * 4, size=rng.integers(7, 16)), sites=100, identifier=f"M{i:03d}.1")
        for i in range(number)
    ]


@pytest.fixture(scope="module")
def known() -> list[Motif]:
    return random_motifs(80, 0)


FLAT = np.full((3, 4), 0.25)


def test_an_exact_copy_is_found_with_its_strand_and_offset(known: list[Motif]) -> None:
    """The offset is the column of the known motif, as it is turned, under column 0 of the query."""
    target = known[17].ppm
    reverse = motif.reverse_complement(target)
    width = len(target)
    queries = {
        "as it is": (target, "+", 0),
        "other strand": (reverse, "-", 0),
        "without its first two columns": (target[2:], "+", 2),
        "without its last two columns, other strand": (motif.reverse_complement(target[:-2]), "-", 2),
        "three columns before it": (np.concatenate([FLAT, target]), "+", -3),
        "three columns before it, other strand": (np.concatenate([FLAT, reverse]), "-", -3),
        "three columns behind it": (np.concatenate([target, FLAT]), "+", 0),
    }
    for trim in (0.0, 0.2):
        found = tomtom.best([query for query, _, _ in queries.values()], known, trim_bits=trim)
        for (what, (_, strand, offset)), match in zip(queries.items(), found, strict=True):
            assert (match.target, match.strand, match.offset) == (17, strand, offset), (what, trim)
            assert match.ties == 0
            assert match.q < 1e-4
    first = tomtom.best([target], known)[0]
    assert first.bits == pytest.approx(motif.information(target).sum())
    part = tomtom.best([target[2 : width - 1]], known)[0]
    assert part.bits == pytest.approx(motif.information(target[2 : width - 1]).sum())


def test_every_orientation_keeps_its_own_p(known: list[Motif]) -> None:
    """memelite reports 1 - (1 - p)^2 for the better orientation; ours is the p inside."""
    from memelite import tomtom as merged

    queries = random_motifs(12, 1)
    ours = tomtom.compare([item.ppm for item in queries], [item.ppm for item in known])
    theirs = merged(
        [np.ascontiguousarray(item.ppm.T) for item in queries],
        [np.ascontiguousarray(item.ppm.T) for item in known],
        n_target_bins=None,
        n_jobs=1,
    )
    np.testing.assert_allclose(ours.p * (2 - ours.p), theirs[0], rtol=1e-9)
    # A draw is "+" here and "-" there.
    differ = ours.reverse != theirs[4].astype(bool)
    assert differ.mean() < 0.02
    np.testing.assert_array_equal(ours.offset[~differ], theirs[2][~differ])


def test_a_palindrome_is_forward() -> None:
    targets = random_motifs(60, 4)
    half = np.random.default_rng(1).dirichlet([0.2] * 4, size=5)
    palindrome = Motif("PAL", np.concatenate([half, motif.reverse_complement(half)]), 50)
    assert tomtom.best([palindrome.ppm], [palindrome, *targets])[0].strand == "+"


def test_a_random_query_is_not_named(known: list[Motif]) -> None:
    found = tomtom.best([item.ppm for item in random_motifs(40, 2)], known)
    assert sum(match.q <= 0.05 for match in found) <= 4


def test_q_is_benjamini_hochberg_over_both_orientations() -> None:
    rng = np.random.default_rng(7)
    for p in (
        rng.uniform(size=(3, 25)),
        rng.uniform(size=(2, 1)),
        np.ones((1, 6)),
        rng.choice([1e-9, 0.01, 1], (4, 30)),
    ):
        q = tomtom.q_values(p)
        for row, values in enumerate(p):
            padded = np.concatenate([values, np.ones(len(values))])
            expected = false_discovery_control(padded, method="bh")[: len(values)]
            np.testing.assert_allclose(q[row], expected, rtol=1e-12)


def test_ties_go_to_the_first_name_and_are_counted(known: list[Motif]) -> None:
    twin = known[30].ppm
    names = [("Zeb", "M9"), ("Abc", "M8"), ("Abc", "M7")]
    copies = [Motif(name, twin, 10, identifier) for name, identifier in names]
    pool = [*known[:30], *copies, *known[31:]]
    match = tomtom.best([twin], pool)[0]
    assert (pool[match.target].name, pool[match.target].identifier, match.ties) == ("Abc", "M7", 2)


def test_flat_flanks_do_not_make_a_match() -> None:
    """A wide motif with a flat middle attracts any query with flat flanks, unless these are left out."""
    rng = np.random.default_rng(11)
    sharp = rng.dirichlet([0.05] * 4, size=8)
    wide = Motif("WIDE", np.concatenate([sharp, np.full((14, 4), 0.25), sharp[::-1]]), 500)
    # Three letters of information that `wide` does not show side by side in its flat part.
    flank = motif.probabilities(rng.multinomial(500, [0.25] * 4, size=5), 1.0)
    query = np.concatenate([flank, motif.probabilities(np.eye(4)[[0, 2, 1]] * 100 + 8, 1.0), flank])
    pool = [wide, *random_motifs(79, 5)]
    alone = tomtom.compare([query], [item.ppm for item in pool])
    assert alone.p[0].argmin() == 0
    assert tomtom.q_values(alone.p)[0, 0] < 0.05
    whole = tomtom.best([query], pool)[0]
    assert (whole.target, whole.q < 0.05 and whole.chance < 0.05) != (0, True), "copies of the query match it as well"
    assert tomtom.best([query], pool, trim_bits=0.2)[0].q > 0.05


def test_small_databases_are_warned_about_and_nothing_is_no_error(
    known: list[Motif], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("satori_hpc"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="satori_hpc"):
        tomtom.best([known[0].ppm], known[:20])
    assert "only 20 known motifs" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="satori_hpc"):
        assert tomtom.best([], known) == []
        narrow = tomtom.best([known[0].ppm[:1], known[0].ppm[:2]], known, threads=1000)
    assert [0 <= match.p <= 1 for match in narrow] == [True, True]
    assert not caplog.text


def test_clusters_of_jaspar_are_alike_to_tomtom_and_aligned_as_there() -> None:
    """Another measure, Euclidean distances of columns: members match their medoid, and at the same place."""
    vertebrates = readers.jaspar(release="JASPAR2024", collection="CORE", groups=("vertebrates",))
    known = [item for item in vertebrates if item.identifier < "MA0110"]
    distance = cluster.distances(known)
    groups = cluster.cut(cluster.linkage(distance), cluster.count_at(cluster.linkage(distance), 0.8))
    found = cluster.cluster(known, distance, groups, merged=False)
    pairs = [(each.medoid, member) for each in found for member in each.members[1:]]
    assert len(pairs) > 15
    matches = tomtom.compare([item.ppm for item in known], [item.ppm for item in known])
    assert np.median(matches.p[~np.eye(len(known), dtype=bool)]) > 0.3
    same_place = 0
    for medoid, member in pairs:
        assert matches.p[medoid, member.number] < 1e-3
        strand = "-" if matches.reverse[medoid, member.number] else "+"
        same_place += (strand, -matches.offset[medoid, member.number]) == (member.strand, member.offset)
    assert same_place > 0.8 * len(pairs)
