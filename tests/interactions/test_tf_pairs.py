import numpy as np

from satori_hpc.interactions import tf_pairs
from satori_hpc.interactions.statistics import mann_whitney


def table(**changes: list[object]) -> dict[str, np.ndarray]:
    columns = {
        "q": [0.2, 0.01, 0.04, 0.5, 0.001],
        "p": [0.1, 0.001, 0.02, 0.4, 0.0001],
        "auc": [0.6, 0.7, 0.65, 0.5, 0.9],
        "effect": [0.2, 0.1, 0.3, 0.0, 0.5],
        "n_fg": [10, 20, 30, 40, 50],
        "median_distance": [8.0, 12.0, 16.0, 20.0, 24.0],
        "called": [False, True, True, False, True],
    }
    found = {name: np.array(values) for name, values in {**columns, **changes}.items()}
    return found | {"neg_log10_p": -np.log10(found["p"])}


def combine(
    tf_a: list[str], tf_b: list[str], *, pooled_alpha: float | None = None, **changes: list[object]
) -> dict[str, np.ndarray]:
    return tf_pairs.combine(
        np.array(tf_a, object), np.array(tf_b, object), columns=table(**changes), pooled_alpha=pooled_alpha
    )


def test_both_orders_are_one_pair_and_the_best_filter_pair_speaks_for_it() -> None:
    found = combine(["B", "A", "C", "A", "A"], ["A", "B", "B", "", "A"])
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "B"), ("B", "C")]
    assert found["q"].tolist() == [0.01, 0.04]
    assert found["auc"].tolist() == [0.7, 0.65]
    assert found["filter_pairs"].tolist() == [2, 1]
    assert found["called_filter_pairs"].tolist() == [1, 1]
    assert found["n_fg"].tolist() == [20, 30]  # of the best one: no example counts twice
    assert found["median_distance"].tolist() == [12.0, 16.0]
    assert found["called"].tolist() == [True, True]


def test_names_of_one_tf_are_no_pair() -> None:
    found = combine(
        ["JUN", "ZBTB33.H12CORE.0.P.B", "RORA", "FOS::JUN", "MA0527.2.ZBTB33"],
        ["Jun", "ZBTB33.H12CORE.1.SM.B", "RORA(var.2)", "JUN", "Zbtb33"],
    )
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("FOS::JUN", "JUN")]


def test_equal_q_values_are_decided_by_p_and_then_by_auc() -> None:
    names = ["A", "A", "A", "", ""], ["B", "B", "C", "", ""]
    found = combine(*names, q=[0.04, 0.04, 0.04, 1, 1])
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "B"), ("A", "C")]
    assert (found["auc"].tolist(), found["effect"].tolist()) == ([0.7, 0.65], [0.1, 0.3])
    found = combine(*names, q=[0.04, 0.04, 0.04, 1, 1], p=[0.02, 0.02, 0.001, 1, 1])
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "C"), ("A", "B")]
    assert found["auc"].tolist() == [0.65, 0.7]


def test_pooled_filter_pairs_are_one_test_and_tf_pairs_the_family() -> None:
    found = combine(
        ["A", "B", "A", "C", "A"], ["B", "A", "C", "A", "D"], p=[0.01, 0.04, 0.5, 0.03, 0.2], pooled_alpha=0.07
    )
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "B"), ("A", "C"), ("A", "D")]
    p = [2 * 0.01, 2 * 0.03, 0.2]  # Simes by hand
    np.testing.assert_allclose(found["p"], p, rtol=1e-12)
    np.testing.assert_allclose(found["q"], mann_whitney.q_values(np.array(p)), rtol=1e-12)
    assert found["called"].tolist() == [True, False, False]
    assert found["called_filter_pairs"].tolist() == [1, 1, 1]


def test_many_filter_pairs_of_nothing_are_not_called_when_pooled() -> None:
    rng = np.random.default_rng(1)
    tf_a, tf_b = (np.array([f"{side}{number}" for number in np.repeat(np.arange(40), 25)], object) for side in "AB")
    p = rng.random(1000)
    columns = {name: np.zeros(1000) for name in tf_pairs.COLUMNS} | {"p": p, "neg_log10_p": -np.log10(p), "q": p}
    found = tf_pairs.combine(tf_a, tf_b, columns=columns | {"called": p <= 0.05}, pooled_alpha=0.05)
    assert found["called"].sum() <= 1
    assert (found["called_filter_pairs"] > 0).sum() > 20


def test_no_names_give_an_empty_table() -> None:
    for alpha in (None, 0.05):
        found = combine([""] * 5, ["A"] * 5, pooled_alpha=alpha)
        assert {len(values) for values in found.values()} == {0}
        assert found["called"].dtype == bool
