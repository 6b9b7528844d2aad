"""Lengths of a person by which errors are measured. NaN leaves a person out."""

from __future__ import annotations

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import Floats
from skelkit.skeletons import recipe
from skelkit.structures import Float64, Skeleton

MIN_TORSO_PX = 10.0
"""Shorter torsos are label noise or people seen from above: no scale."""

_HEADS = ("head_top", "head", "nose")


def torso_scale(truth: Floats, skeleton: Skeleton) -> Float64:
    """Length of the torso's diagonal.

    left_shoulder to right_hip; where one of them is missing, right_shoulder to left_hip.

    Args:
        truth: (P, K, C) in pixels, NaN = not labelled (set the joints that are not visible to NaN).
        skeleton: Their joint set, K joints.

    Returns:
        (P,) pixels; NaN where neither diagonal is there or it is shorter than `MIN_TORSO_PX`.
    """
    first = _distance(truth, skeleton, "left_shoulder", "right_hip")
    second = _distance(truth, skeleton, "right_shoulder", "left_hip")
    length = np.where(np.isfinite(first), first, second)
    return np.where(length >= MIN_TORSO_PX, length, np.nan)


def bbox_scale(boxes_xyxy: Floats) -> Float64:
    """(P,) longer side of boxes (P, 4); NaN for an empty box."""
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64)
    longer = sides.max(axis=-1)
    return np.where(longer > 0, longer, np.nan)


def head_scale(truth: Floats, skeleton: Skeleton) -> Float64:
    """Head length as in the SST-A papers: the distance from head to neck.

    The head is the set's ``head_top``, else ``head``, else ``nose``; a set without a neck takes the
    middle of the shoulders. This is not MPII's head size (0.6 of a head box's diagonal), and between
    sets whose head points differ it is not the same length: compare within one set.

    Args:
        truth: (P, K, C), NaN = not labelled.
        skeleton: Their joint set, K joints.

    Returns:
        (P,) in the unit of `truth`; NaN where head or neck is missing, or both are one point.

    Raises:
        ConfigError: the set has no head joint, or neither neck nor shoulders.
    """
    head = next((name for name in _HEADS if name in skeleton.joints), None)
    if head is None:
        raise ConfigError(f"head length needs one of {', '.join(_HEADS)}; {skeleton.name!r} has none of them")
    length = _distance(truth, skeleton, head, "neck")
    return np.where(length > 0, length, np.nan)


def _distance(keypoints: Floats, skeleton: Skeleton, a: str, b: str) -> Float64:
    difference = _joint(keypoints, skeleton, a) - _joint(keypoints, skeleton, b)
    return np.asarray(np.linalg.norm(difference, axis=-1))


def _joint(keypoints: Floats, skeleton: Skeleton, joint: str) -> Float64:
    """(P, C) one joint, derived where the set lacks it."""
    weights = recipe(joint, skeleton)
    if weights is None:
        raise ConfigError(f"this scale needs joint {joint!r}, which {skeleton.name!r} has not")
    at = [skeleton.index(name) for name in weights]
    parts = keypoints[:, at].astype(np.float64) * np.asarray(list(weights.values()))[:, None]
    return np.asarray(parts.sum(axis=1))
