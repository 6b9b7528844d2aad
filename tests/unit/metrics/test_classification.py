from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import ConfigError
from skelkit.metrics import confusion_matrix, mean_class_accuracy, per_class_accuracy, top_k_accuracy


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    n, classes = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    levels = st.integers(-2, 2)  # few, so that ties occur
    scores = draw(st.lists(levels, min_size=n * classes, max_size=n * classes))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return np.asarray(scores, np.float32).reshape(n, classes), np.asarray(labels), draw(st.integers(1, 7))


@given(scored())
def test_top_k_is_what_sorting_says(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    scores, labels, k = case
    hits = [
        label in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
    ]
    assert top_k_accuracy(scores, labels, k) == pytest.approx(sum(hits) / len(hits))


@given(scored())
def test_confusion_and_class_accuracy_are_what_counting_says(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    scores, labels, _ = case
    classes, predicted = scores.shape[1], scores.argmax(axis=1)
    slow = np.zeros((classes, classes), int)
    for truth, guess in zip(labels, predicted, strict=True):
        slow[truth, guess] += 1
    confusion = confusion_matrix(predicted, labels, classes)
    np.testing.assert_array_equal(confusion, slow)
    recalls = [slow[c, c] / slow[c].sum() for c in range(classes) if slow[c].sum()]
    assert mean_class_accuracy(confusion) == pytest.approx(sum(recalls) / len(recalls))
    assert np.isnan(per_class_accuracy(confusion)).sum() == classes - len(recalls)
    assert np.trace(confusion) / len(labels) == pytest.approx(top_k_accuracy(scores, labels))


def test_nothing_to_count_is_nan() -> None:
    assert np.isnan(top_k_accuracy(np.zeros((0, 3)), np.zeros(0, int)))
    assert np.isnan(mean_class_accuracy(confusion_matrix(np.zeros(0, int), np.zeros(0, int), 3)))


@pytest.mark.parametrize(
    ("scores", "labels", "k"),
    [((2, 3), [0, 3], 1), ((2, 3), [0, -1], 1), ((2, 3), [0], 1), ((2, 3), [0, 1], 0)],
)
def test_what_does_not_fit_is_told(scores: tuple[int, int], labels: list[int], k: int) -> None:
    with pytest.raises(ConfigError, match="expected"):
        top_k_accuracy(np.zeros(scores), np.asarray(labels), k)


def test_a_class_out_of_range_has_no_cell() -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        confusion_matrix(np.asarray([0, 2]), np.asarray([0, 1]), 2)
