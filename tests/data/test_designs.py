"""Designs of simulated sets: what each one lets motifs say of the class, and what it does not."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from satori_hpc.config import Config, Prepare, Simulated, toml
from satori_hpc.data.sources.simulate import designs, implant, instances, pool
from satori_hpc.errors import ConfigError
from tests.data.test_implant import NAMES, motif, pwm

TFS = 8
CONSENSUS = (*NAMES, "TACCGT", "GCGATA")
SIZES = {"grammar": 8, "additive": 8, "one-motif": 7, "arrange": 8, "one-pair": 8}


def made_up(design: str, **options) -> tuple[list[instances.Pwm], pool.Pairs, Simulated]:
    config = Simulated(
        **{"design": design, "examples": 4000, "length": 240, "tfs": TFS, "pairs": SIZES[design], **options}
    )
    assert list(config.problems()) == []
    pwms = [pwm(motif(f"T{k}", consensus).counts, f"T{k}") for k, consensus in enumerate(CONSENSUS)]
    return pwms, pool.draw_roles(config, seed=3), config


class Drawn:
    """Labels and motifs of a made-up set, without letters.

    Attributes:
        labels: (examples,).
        counts: (examples, TFs).
        pairs: by role.
        there: bool (examples, pairs), in which a pair was implanted.
        gaps: {pair number: (gaps, labels)}.
    """

    def __init__(self, design: str, **options) -> None:
        pwms, self.pairs, config = made_up(design, **options)
        drawer = designs.of(pwms, self.pairs, config, seed=3)
        self.labels = np.zeros(config.examples, dtype=int)
        self.counts = np.zeros((config.examples, TFS))
        self.there = np.zeros((config.examples, len(self.pairs.all)), dtype=bool)
        self.gaps: dict[int, list[tuple[int, int]]] = {}
        for example in range(config.examples):
            self.labels[example], plan = drawer.draw(example, np.random.default_rng([3, implant.SEQUENCE, example]))
            np.add.at(self.counts[example], plan.tfs, 1)
            self.there[example, plan.pair[plan.pair >= 0]] = True
            for number in np.unique(plan.pair[plan.pair >= 0]).tolist():
                place = np.flatnonzero(plan.pair == number)[:2]
                left, right = sorted(
                    (int(plan.starts[k]), int(plan.starts[k]) + pwms[plan.tfs[k]].width) for k in place
                )
                self.gaps.setdefault(number, []).append((right[0] - left[1], self.labels[example]))

    def of(self, role: str) -> np.ndarray:
        return np.flatnonzero(np.array(self.pairs.roles) == role)

    def z(self) -> np.ndarray:
        """Score test of each implanted pair in the logistic model of the counts of TFs."""
        design = np.column_stack([np.ones(len(self.counts)), self.counts])
        beta = np.zeros(design.shape[1])
        for _ in range(20):
            mu = 1 / (1 + np.exp(-design @ beta))
            weight = mu * (1 - mu)
            information = (design * weight[:, None]).T @ design + 1e-6 * np.eye(len(beta))
            beta += np.linalg.solve(information, design.T @ (self.labels - mu) - 1e-6 * beta)
        seen = self.there.astype(float)
        cross = (design * weight[:, None]).T @ seen
        variance = weight @ seen - (cross * np.linalg.solve(information, cross)).sum(axis=0)
        return seen.T @ (self.labels - mu) / np.sqrt(np.maximum(variance, 1e-9))


def same_distribution(counts: np.ndarray, labels: np.ndarray) -> float:
    """P-value of TFs being as common in both classes."""
    table = np.stack([counts[labels == side].sum(axis=0) for side in (0, 1)])
    return stats.chi2_contingency(table).pvalue


def test_in_grammar_true_pairs_interact_and_decoys_are_more_common_and_only_add_up():
    drawn = Drawn("grammar")
    share = drawn.there.mean(axis=0)
    assert share[drawn.of("decoy")].min() > share[drawn.of("true")].max()
    z = drawn.z()
    assert z[drawn.of("true")].min() > 5
    assert z[drawn.of("true")].min() > z[drawn.of("decoy")].max()
    expected = {(gap, 1) for gap in range(5, 21)}
    for role in ("true", "decoy"):
        gaps = [gap for number in drawn.of(role) for gap, _ in drawn.gaps[number]]
        assert {(gap, 1) for gap in gaps} == expected
        assert stats.chisquare(np.bincount(gaps)[5:]).pvalue > 1e-3
    assert 0.4 < drawn.labels.mean() < 0.6


def test_the_logit_of_additive_labels_has_no_pair_in_it():
    pwms, pairs, config = made_up("additive")
    design = designs.of(pwms, pairs, config, seed=3)
    numbers = np.random.default_rng(0).integers(len(pairs.all), size=(300, 3))
    counts = np.zeros((300, TFS))
    for row, members in enumerate(pairs.all[numbers]):
        np.add.at(counts[row], members.ravel(), 1)
    logits = np.array([design.logit(row) for row in numbers])
    assert np.linalg.matrix_rank(counts) == TFS
    np.testing.assert_allclose(counts @ np.linalg.lstsq(counts, logits, rcond=None)[0], logits, atol=1e-9)
    grammar = designs.of(*made_up("grammar"), seed=3)
    logits = np.array([grammar.logit(row) for row in numbers])
    assert np.abs(counts @ np.linalg.lstsq(counts, logits, rcond=None)[0] - logits).max() > 1
    drawn = Drawn("additive")
    assert not len(drawn.of("true"))
    assert np.abs(drawn.z()).max() < 4


def test_in_one_motif_all_other_tfs_and_pairs_are_as_common_in_both_classes():
    drawn = Drawn("one-motif")
    decider = pool.deciding_tf(TFS, seed=3)
    np.testing.assert_array_equal(drawn.counts[:, decider], drawn.labels)
    others = np.delete(drawn.counts, decider, axis=1)
    assert same_distribution(others, drawn.labels) > 1e-3
    assert same_distribution(drawn.there.astype(float)[:, drawn.there.any(axis=0)], drawn.labels) > 1e-3
    gaps = np.array([row for number in drawn.gaps for row in drawn.gaps[number]])
    assert stats.ks_2samp(gaps[gaps[:, 1] == 1, 0], gaps[gaps[:, 1] == 0, 0]).pvalue > 1e-3
    # Pairs with it are what is called by mistake.
    assert not len(drawn.of("true"))
    assert all(decider not in pair for pair in drawn.pairs.other.tolist())


def test_in_arrange_only_the_distance_of_true_pairs_tells_the_class():
    drawn = Drawn("arrange")
    assert same_distribution(drawn.counts, drawn.labels) > 1e-3
    assert same_distribution(drawn.there.astype(float)[:, drawn.there.any(axis=0)], drawn.labels) > 1e-3
    for role, far in (("true", 0), ("decoy", None)):
        rows = np.array([row for number in drawn.of(role) for row in drawn.gaps[number]])
        near = rows[:, 0] <= 15
        assert set(rows[near, 0]) == set(range(8, 16))
        assert set(rows[~near, 0]) == set(range(26, 41))
        if far is None:
            assert stats.chi2_contingency([np.bincount(rows[near == side, 1]) for side in (True, False)]).pvalue > 1e-3
        else:
            np.testing.assert_array_equal(near, rows[:, 1] == 1)
    near = {
        role: np.mean([sum(gap <= 15 for gap, _ in drawn.gaps[number]) for number in drawn.of(role)])
        for role in ("true", "decoy")
    }
    assert near["decoy"] > 0.9 * near["true"]


def test_in_one_pair_the_true_pair_is_the_class_and_its_decoy_is_as_common():
    drawn = Drawn("one-pair")
    true, decoy = drawn.of("true")[0], drawn.of("decoy")[0]
    np.testing.assert_array_equal(drawn.there[:, true], drawn.labels == 1)
    assert drawn.there[:, decoy].mean() >= drawn.there[:, true].mean()
    rest = np.setdiff1d(np.arange(TFS), drawn.pairs.true[0])
    assert same_distribution(drawn.counts[:, rest], drawn.labels) > 1e-3
    distances = [np.array(drawn.gaps[number])[:, 0] for number in (true, decoy)]
    assert min(map(np.min, distances)) == 5
    assert max(map(np.max, distances)) > 150
    assert stats.ks_2samp(*distances).pvalue > 1e-3


@pytest.mark.parametrize("design", SIZES)
def test_a_sequence_does_not_depend_on_how_many_there_are(design):
    pwms, pairs, config = made_up(design, examples=60)
    more = implant.simulate(pwms, pairs, config, seed=5)
    less = implant.simulate(pwms, pairs, dataclasses.replace(config, examples=30), seed=5)
    same = more.labels[:30] == less.labels
    assert same.all() or design not in ("grammar", "additive")
    np.testing.assert_array_equal(more.tokens[:30][same], less.tokens[same])


def test_roles_cover_all_pairs_once():
    for design in SIZES:
        _, pairs, _ = made_up(design)
        assert sorted(map(tuple, pairs.all.tolist())) == list(combinations(range(TFS), 2))
        assert len(pairs.roles) == len(pairs.all)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"design": "grammar", "pair_gap_max": 30}, "constants of its own for pair_gap_max"),
        ({"design": "grammar", "tfs": 6, "pairs": 8}, "lower pairs or raise tfs"),
        ({"design": "one-pair", "tfs": 3}, "needs 4"),
        ({"design": "arrange", "tfs": 2, "pairs": 1}, "two true pairs"),
    ],
)
def test_options_that_a_design_cannot_use_are_refused(options, said):
    assert any(said in problem for problem in Simulated(**options).problems())


def test_motifs_that_do_not_fit_are_refused():
    pwms, pairs, config = made_up("arrange", length=120)
    with pytest.raises(ConfigError, match="raise length"):
        implant.simulate(pwms, pairs, config, seed=1)


def test_the_old_key_of_hard_negatives_is_refused_with_its_cure(tmp_path):
    text = toml.render(Config(prepare=Prepare(simulated=Simulated(design="hard"))))
    path = tmp_path / "run.toml"
    path.write_text(text.replace('design = "hard"\n', 'design = "hard"\nnegative_tfs = "matched"\n'))
    with pytest.raises(ConfigError, match='negative_tfs: is a design now.*design = "hard-matched"'):
        toml.read(path, Config)
