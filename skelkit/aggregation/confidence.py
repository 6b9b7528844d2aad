"""Body-level confidence C of an aggregated pose (thesis, equations 3.3 and 3.4)."""

from __future__ import annotations

import numpy as np

from skelkit.skeletons import recipe
from skelkit.structures import Bool, Float32, Skeleton, SkeletonSequence

GAMMA = 0.18
"""The thesis' threshold on C (section 3.6.2)."""

EPSILON = 1e-12
"""The offset of equation 3.4, in pixels, against a head length of 0."""

HEAD_PER_SHOULDERS = 0.62
HEAD_PER_TORSO = 0.38
HEAD_PER_EXTENT = 0.14
"""Head length (head to middle of the shoulders) over the distance between the shoulders, over the torso
(middle of the shoulders to middle of the hips) and over the longer side of the box around all joints:
between the medians over LSP extended (0.57, 0.35, 0.13) and JHMDB (0.68, 0.40, 0.15)."""


def discarded(sequence: SkeletonSequence, gamma: float = GAMMA) -> Bool:
    """(M, T) which poses equation 3.3 discards: C below ``gamma``. Their joints stay where they are."""
    return np.asarray(sequence.confidence < gamma)


def extent(points: Float32) -> Float32:
    """Longer side of the box around the joints.

    Args:
        points: (C, ..., K, T, M), NaN = missing.

    Returns:
        (..., T, M), NaN where no joint is seen.
    """
    return np.asarray((np.fmax.reduce(points, axis=-3) - np.fmin.reduce(points, axis=-3)).max(axis=0))


def head_length(points: Float32, skeleton: Skeleton) -> Float32:
    """D_normal of equation 3.4: the distance between head and neck of each pose.

    The thesis takes head and neck as given. Here the neck is the joint of that name or the middle of the
    shoulders, the head the joint of that name or what `skelkit.skeletons` derives. Where one of them is
    missing, the first that can be measured of: 0.62 x shoulder distance, 0.38 x torso length, 0.14 x longer
    side of the box around the joints seen (`HEAD_PER_SHOULDERS` and so on).

    Args:
        points: (C, K, T, M), NaN = missing.
        skeleton: The joint set of K joints.

    Returns:
        (T, M), NaN where not even one joint is seen.
    """
    measures = (
        ("head", "neck", 1.0),
        ("left_shoulder", "right_shoulder", HEAD_PER_SHOULDERS),
        ("neck", "mid_hip", HEAD_PER_TORSO),
    )
    length = np.full(points.shape[2:], np.nan, np.float32)
    for a, b, ratio in measures:
        if not np.isnan(length).any():
            break
        ends = [_joint(points, skeleton, name) for name in (a, b)]
        distance = np.sqrt(((ends[0] - ends[1]) ** 2).sum(axis=0)) * np.float32(ratio)
        length = np.where(np.isnan(length), distance, length)
    if np.isnan(length).any():
        length = np.where(np.isnan(length), extent(points) * np.float32(HEAD_PER_EXTENT), length)
    return length


def _joint(points: Float32, skeleton: Skeleton, name: str) -> Float32:
    weights = recipe(name, skeleton)
    if weights is None:
        return np.full(points[:, 0].shape, np.nan, np.float32)
    parts = [points[:, skeleton.index(j)] * np.float32(w) for j, w in weights.items()]
    return np.asarray(sum(parts[1:], parts[0]))


def body_confidence(distances: Float32, head: Float32) -> Float32:
    """Equation 3.4: how well the proposals agree with the aggregate.

    Joints that an expert does not see take no part: the mean runs over the pairs of joint and expert that
    exist, not over N M. A pose that only one expert sees is therefore given C = 1: nobody contradicts it.

    Args:
        distances: (E, K, T, M) from the aggregate to each proposal, NaN where there is none.
        head: (T, M) D_normal, as from `head_length`.

    Returns:
        (T, M) in (0, 1], NaN where the aggregate has no joint.
    """
    known = np.isfinite(distances)
    count = known.sum(axis=(0, 1))
    total = np.where(known, distances, 0).sum(axis=(0, 1), dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count / (head.astype(np.float64) + EPSILON)
    # The smallest float32 above 0: C is never 0, however far the proposals are apart.
    c = np.maximum(np.exp(-mean), np.finfo(np.float32).tiny)
    return np.where(count > 0, c, np.nan).astype(np.float32)
