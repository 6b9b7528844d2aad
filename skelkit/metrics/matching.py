"""Which prediction speaks for which true person."""

from __future__ import annotations

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import Floats, box_iou
from skelkit.structures import Int64


def match_to_truth(predicted_boxes: Floats, truth_boxes: Floats, *, min_iou: float) -> Int64:
    """For each true person of one picture the prediction with the greatest box IoU.

    The evaluation protocol of single poses, not of detection: a prediction may serve two true people
    who share a box, and predictions of no one cost nothing. For bottom-up experts the boxes are
    `geometry.extents` of their joints.

    Args:
        predicted_boxes: (P, 4) left, top, right, bottom.
        truth_boxes: (Q, 4).
        min_iou: A match must overlap by more than this, in [0, 1).

    Returns:
        (Q,) index of the prediction, -1 where there is none.

    Raises:
        ConfigError: min_iou outside [0, 1).
    """
    if not 0 <= min_iou < 1:
        raise ConfigError(f"expected min_iou in [0, 1), got {min_iou}")
    if len(predicted_boxes) == 0:
        return np.full(len(truth_boxes), -1, np.int64)
    iou = box_iou(predicted_boxes, truth_boxes)
    return np.where(iou.max(axis=0) > min_iou, iou.argmax(axis=0), -1)


def take_matched(predicted: Floats, matches: Int64) -> Floats:
    """Predicted poses (P, K, C) in the order of the truth: (Q, K, C).

    NaN where a person was not detected, so that all their joints count as wrong.
    """
    taken = np.full((len(matches), *predicted.shape[1:]), np.nan, predicted.dtype)
    taken[matches >= 0] = predicted[matches[matches >= 0]]
    return taken
