import numpy as np

from satori_hpc.core import tf_pairs


def table(**changes: list[object]) -> dict[str, np.ndarray]:
    columns = {
        "q": [0.2, 0.01, 0.04, 0.5, 0.001],
        "p": [0.1, 0.001, 0.02, 0.4, 0.0001],
        "auc": [0.6, 0.7, 0.65, 0.5, 0.9],
        "n_fg": [10, 20, 30, 40, 50],
        "median_distance": [8.0, 12.0, 16.0, 20.0, 24.0],
        "called": [False, True, True, False, True],
    }
    return {name: np.array(values) for name, values in {**columns, **changes}.items()}


def combine(tf_a: list[str], tf_b: list[str], **changes: list[object]) -> dict[str, np.ndarray]:
    return tf_pairs.combine(np.array(tf_a, object), np.array(tf_b, object), columns=table(**changes))


def test_both_orders_are_one_pair_and_the_best_filter_pair_speaks_for_it() -> None:
    found = combine(["B", "A", "C", "A", "A"], ["A", "B", "B", "", "A"])
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "B"), ("B", "C")]
    assert found["q"].tolist() == [0.01, 0.04]
    assert found["auc"].tolist() == [0.7, 0.65]
    assert found["filter_pairs"].tolist() == [2, 1]
    assert found["called_filter_pairs"].tolist() == [1, 1]
    assert found["n_fg"].tolist() == [30, 30]
    assert found["median_distance"].tolist() == [12.0, 16.0]
    assert found["called"].tolist() == [True, True]


def test_equal_q_values_are_decided_by_auc() -> None:
    found = combine(["A", "A", "A", "", ""], ["B", "B", "C", "", ""], q=[0.04, 0.04, 0.04, 1, 1])
    assert list(zip(found["tf_a"], found["tf_b"], strict=True)) == [("A", "B"), ("A", "C")]
    assert found["auc"].tolist() == [0.7, 0.65]


def test_no_names_give_an_empty_table() -> None:
    found = combine([""] * 5, ["A"] * 5)
    assert {len(values) for values in found.values()} == {0}
    assert found["called"].dtype == bool
