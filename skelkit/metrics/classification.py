"""How often a classifier is right: top-k, mean per-class accuracy, confusion matrix."""

from __future__ import annotations

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import Floats
from skelkit.structures import Float64, Int64


def top_k_accuracy(scores: Floats, labels: Int64, k: int = 1) -> float:
    """Share of samples whose class is among the k with the highest scores.

    Where classes tie, those of lower number come first, so that equal scores for all are not a hit for all.

    Args:
        scores: (N, classes) logits or probabilities.
        labels: (N,) the true classes.
        k: More than there are classes counts as all of them.

    Returns:
        In [0, 1]; NaN without samples.

    Raises:
        ConfigError: shapes or labels that do not fit, or k below 1.
    """
    _check(scores, labels)
    if k < 1:
        raise ConfigError(f"expected k >= 1, got {k}")
    if not len(labels):
        return float("nan")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return float((rank < k).mean())


def confusion_matrix(predicted: Int64, labels: Int64, num_classes: int) -> Int64:
    """Counts (classes, classes): rows are the true classes, columns the predicted ones.

    Args:
        predicted: (N,).
        labels: (N,).
        num_classes: Classes are numbered from 0.

    Raises:
        ConfigError: shapes that do not fit, or a class out of range.
    """
    if predicted.shape != labels.shape or predicted.ndim != 1:
        raise ConfigError(
            f"expected predicted and true classes of one shape (N,), got {predicted.shape} and {labels.shape}"
        )
    for name, values in (("predicted", predicted), ("labels", labels)):
        if len(values) and not 0 <= values.min() <= values.max() < num_classes:
            raise ConfigError(
                f"{name}: expected classes from 0 to {num_classes - 1}, got {values.min()} to {values.max()}"
            )
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def per_class_accuracy(confusion: Int64) -> Float64:
    """(classes,) recall of every class; NaN for a class without samples.

    Args:
        confusion: See `confusion_matrix`.
    """
    total = confusion.sum(axis=1)
    out = np.full(len(confusion), np.nan)
    np.divide(np.diag(confusion), total, out=out, where=total > 0)
    return out


def mean_class_accuracy(confusion: Int64) -> float:
    """Mean of `per_class_accuracy` over the classes that have samples (Smarthome's measure); NaN for none.

    Args:
        confusion: See `confusion_matrix`.
    """
    accuracies = per_class_accuracy(confusion)
    seen = np.isfinite(accuracies)
    return float(accuracies[seen].mean()) if seen.any() else float("nan")


def _check(scores: Floats, labels: Int64) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ConfigError(
            "expected scores of shape (N, classes) and labels of shape (N,), "
            f"got {scores.shape} and {labels.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise ConfigError(
            f"labels: expected classes from 0 to {scores.shape[1] - 1}, got {labels.min()} to {labels.max()}"
        )
