"""Labels that are not known count nowhere: in figures, in the choice of examples, in the loss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from satori_hpc.data import splits
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.models import losses
from satori_hpc.scoring import select
from satori_hpc.training import metrics

LABELS = arrays(np.uint8, (12, 3), elements=st.sampled_from([0, 1, UNKNOWN]))


@given(LABELS, st.integers(0, 99))
def test_figures_are_those_of_the_known_examples(labels, seed):
    ranking = np.random.default_rng(seed).normal(size=labels.shape)
    auroc, aupr = metrics.by_label(labels, ranking)
    for column in range(3):
        rows = [row for row in range(12) if labels[row, column] != UNKNOWN]
        truth = labels[rows, column]
        assert splits.both_classes(labels)[column] == (len(set(truth.tolist())) == 2)
        if len(set(truth.tolist())) == 2:
            assert auroc[column] == roc_auc_score(truth, ranking[rows, column])
            assert aupr[column] == average_precision_score(truth, ranking[rows, column])
        else:
            assert np.isnan(auroc[column])


@given(LABELS, arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32)))
def test_precision_is_over_predicted_and_known_labels(labels, probability):
    found = select.precision(labels, probability, 0.5)
    for row in range(12):
        predicted = [label for label, p in zip(labels[row], probability[row], strict=True) if p >= 0.5]
        counted = [label for label in predicted if label != UNKNOWN]
        assert found[row] == (counted.count(1) / len(counted) if counted else 0)


@given(LABELS, st.integers(0, 99))
def test_an_unknown_label_adds_nothing_to_the_loss_and_its_gradient(labels, seed):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=labels.shape)).requires_grad_()
    loss = losses.classification_loss(logits, torch.from_numpy(labels), task="multilabel", output="one")
    loss.backward()
    probability = torch.sigmoid(logits.detach()).numpy()
    known = labels != UNKNOWN
    terms = -np.log(np.where(labels == 1, probability, 1 - probability)) * known
    assert loss.item() == pytest.approx(terms.sum() / labels.size)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), (probability - labels) * known / labels.size, atol=1e-12)


def test_a_part_without_known_labels_of_both_classes_is_told():
    labels = np.array([[0, UNKNOWN], [1, UNKNOWN]] * 2 + [[1, UNKNOWN], [UNKNOWN, 0]], dtype=np.uint8)
    split = np.array([0, 0, 1, 1, 2, 2], dtype=np.uint8)
    tally = splits.tally([labels], split, targets=2)
    assert splits.complaints(tally, "multilabel") == ["test: each label is the same in all 2 examples"]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(0, 99))
def test_what_is_held_out_are_whole_groups(numbers, seed):
    _, groups = np.unique(numbers, return_inverse=True)
    split = splits.hold_out(groups, valid_fraction=0.2, seed=seed)
    assert set(split.tolist()) <= {splits.TRAIN, splits.VALID}
    assert splits.shared_groups(groups, split) == 0
    assert (split == splits.VALID).sum() <= max(1, round(0.2 * len(groups)))
    np.testing.assert_array_equal(split, splits.hold_out(groups, valid_fraction=0.2, seed=seed))
