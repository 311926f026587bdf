"""Clusters of motifs: alignment, linkage and representatives against slow, simple versions and hand cases."""

from collections.abc import Sequence

import numpy as np
import pytest

from satori_hpc.errors import InputError
from satori_hpc.motifs import cluster, motif
from satori_hpc.motifs.motif import Motif
from tests.motifs.test_collection import some_motifs


def every_alignment(a: np.ndarray, b: np.ndarray) -> dict[tuple[bool, int], float]:
    """{(reverse, offset): correlation of the whole matrices}, one column after the other."""
    found = {}
    for reverse in (False, True):
        query = motif.reverse_complement(a) if reverse else a
        for offset in range(1 - len(a), len(b)):
            total = sum(
                float((query[i] - 0.25) @ (b[i + offset] - 0.25)) for i in range(len(a)) if 0 <= i + offset < len(b)
            )
            found[reverse, offset] = total / float(np.sqrt(((a - 0.25) ** 2).sum() * ((b - 0.25) ** 2).sum()))
    return found


def average_linkage(similarity: np.ndarray, count: int) -> list[list[int]]:
    """Groups of items: the two with the largest mean similarity are merged until `count` are left."""
    groups = [[i] for i in range(len(similarity))]
    while len(groups) > count:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
        i, j = max(pairs, key=lambda pair: similarity[np.ix_(groups[pair[0]], groups[pair[1]])].mean())
        groups[j] = sorted(groups[j] + groups.pop(i))
    return sorted(groups)


def clusters_of(motifs: Sequence[Motif], count: int, *, merged: bool = False) -> list[cluster.Cluster]:
    distance = cluster.distances(motifs)
    return cluster.cluster(motifs, distance, cluster.cut(cluster.linkage(distance), count), merged=merged)


@pytest.mark.parametrize("seed", range(2))
def test_alignments_are_the_best_of_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "QUERIES", 2)
    monkeypatch.setattr(cluster, "TARGETS", 5)
    ppms = [item.ppm for item in some_motifs(14, seed)]
    aligned = cluster.align(ppms, ppms)
    for i, a in enumerate(ppms):
        for j, b in enumerate(ppms):
            scores = every_alignment(a, b)
            best = scores[bool(aligned.reverse[i, j]), int(aligned.offset[i, j])]
            assert aligned.similarity[i, j] == pytest.approx(best, abs=1e-12)
            assert best == pytest.approx(max(scores.values()), abs=1e-12)
    condensed = 1 - cluster.distances(some_motifs(14, seed))
    np.testing.assert_allclose(condensed, aligned.similarity[np.triu_indices(14, 1)], atol=1e-8)


@pytest.mark.parametrize("count", [1, 7, 20, 30])
def test_the_tree_is_that_of_average_linkage(count: int) -> None:
    motifs = some_motifs(30, 3)
    similarity = cluster.align([m.ppm for m in motifs], [m.ppm for m in motifs]).similarity
    tree = cluster.linkage(cluster.distances(motifs))
    groups = [group.tolist() for group in cluster.cut(tree, count)]
    assert groups == average_linkage(similarity, count)
    if count == 20:  # the ten noisy copies and their originals
        assert sorted(len(group) for group in groups) == [1] * 10 + [2] * 10
        assert cluster.count_at(tree, 0.9) == 20
    assert cluster.count_at(tree, 0.0) < cluster.count_at(tree, 1.0) == 30


def word(text: str, name: str, sites: int = 20) -> Motif:
    return Motif(name, 0.88 * np.eye(4)[["ACGT".index(letter) for letter in text]] + 0.03, sites, identifier=name)


def test_half_of_a_dimer_is_no_dimer_and_a_cluster_of_its_own() -> None:
    motifs = [word("AGGTCA", "half"), word("AGGTCAAGGTCA", "dimer"), word("TGACCTTGACCT", "on the other strand")]
    similarity = cluster.align([m.ppm for m in motifs], [m.ppm for m in motifs]).similarity
    assert similarity[0, 1] == pytest.approx(0.5**0.5)
    assert similarity[1, 2] == pytest.approx(1)
    found = clusters_of(motifs, 2)
    assert [[member.number for member in each.members] for each in found] == [[1, 2], [0]]
    assert [each.representative for each in found] == [motifs[1], motifs[0]]  # the first of equals
    assert [(member.strand, member.offset) for member in found[0].members] == [("+", 0), ("-", 0)]


def test_the_medoid_is_nearest_to_all_and_members_are_aligned_with_it() -> None:
    motifs = [word("CCTGACGTG", "left"), word("TTTTTTTT", "other"), word("TGACGTG", "core"), word("TTCACGTCA", "right")]
    first, second = clusters_of(motifs, 2)
    assert first.medoid == 2
    assert first.representative is motifs[2]
    assert {(m.number, m.strand, m.offset) for m in first.members} == {(2, "+", 0), (0, "+", -2), (3, "-", 0)}
    assert first.members[0].similarity == 1
    assert [member.number for member in second.members] == [1]


def test_a_mean_weighs_members_by_sites_and_has_the_columns_that_most_of_them_cover() -> None:
    motifs = [word("TGACGTG", "core", 50), word("CCTGACGTG", "left", 20), word("TTCACGTCA", "right", 10_000)]
    [only] = clusters_of(motifs, 1, merged=True)
    assert (only.representative.identifier, only.representative.name) == ("cluster1", motifs[only.medoid].name)
    assert only.representative.sites == 10_070
    # Of weights 50, 20 and 100 only that of "right", two columns beyond the core on its other strand, is half or more.
    expected = motif.reverse_complement(motifs[2].ppm)
    np.testing.assert_allclose(only.representative.ppm, expected, atol=1e-12)
    shorter = [word("ACGTTG", "a", 30), word("ACCTTG", "b", 10)]
    [pair] = clusters_of(shorter, 1, merged=True)
    np.testing.assert_allclose(pair.representative.ppm, 0.75 * shorter[0].ppm + 0.25 * shorter[1].ppm, atol=1e-12)


def test_flat_motifs_are_alone_and_single_motifs_are_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = [Motif(f"flat{k}", np.full((6, 4), 0.25), 20) for k in range(2)]
    assert len(clusters_of(flat, 2)) == 2
    assert cluster.count_at(cluster.linkage(cluster.distances(flat)), 0.1) == 2
    [only] = clusters_of(flat[:1], 1)
    assert only.representative is flat[0]
    monkeypatch.setattr(cluster, "MOST", 1)
    with pytest.raises(InputError, match="2 motifs, expected at most 1"):
        cluster.distances(flat)
