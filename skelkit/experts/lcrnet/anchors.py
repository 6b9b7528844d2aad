"""Anchor poses: the typical poses of LCR-Net++ that regions are classified into (thesis, section 3.3.3).

Poses are compared, and anchors kept, in the unit of the person's box: (0, 0) is its left top corner, (1, 1)
its right bottom one.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2

from skelkit.errors import ConfigError
from skelkit.geometry import Floats, extents
from skelkit.structures import Float32, Int64

MARGIN = 0.1
"""By how much a box is longer than the joints' extent, "because the key-points do not correspond exactly to
the boundary of the person"."""
_RESTARTS = 10


def pose_boxes(keypoints: Floats, margin: float = MARGIN) -> Float32:
    """Boxes of people from their joints.

    Args:
        keypoints: (P, K, 2) px, NaN = unknown.
        margin: Share by which width and height grow, half of it on each side.

    Returns:
        (P, 4) left, top, right, bottom; at least a pixel wide and high; NaN without any joint.
    """
    low, high = np.split(extents(keypoints).astype(np.float32), 2, axis=1)
    middle, half = (low + high) / 2, np.maximum((high - low) * (1 + margin), 1) / 2
    boxes: Float32 = np.concatenate([middle - half, middle + half], axis=1)
    return boxes


def to_boxes(keypoints: Floats, boxes: Floats) -> Float32:
    """(P, K, 2) px -> the unit of the boxes (P, 4)."""
    return ((keypoints - boxes[:, None, :2]) / _sides(boxes)).astype(np.float32)


def from_boxes(poses: Floats, boxes: Floats) -> Float32:
    """(P, K, 2) in the unit of the boxes (P, 4) -> px."""
    return (poses * _sides(boxes) + boxes[:, None, :2]).astype(np.float32)


def _sides(boxes: Floats) -> Floats:
    sides: Floats = (boxes[:, 2:] - boxes[:, :2])[:, None]
    return sides


def cluster(poses: Floats, count: int = 20, *, seed: int = 0) -> Float32:
    """Anchor poses by K-means: each the centre of all poses of its cluster.

    Args:
        poses: (P, K, 2) in the unit of their boxes; those with unknown joints (NaN) are left out.
        count: B.
        seed: Of the first guesses; of ten, the tightest clusters are kept.

    Returns:
        (B, K, 2), in the order of their first joint's height, so that equal poses give equal anchors.

    Raises:
        ConfigError: fewer whole poses than anchors.
    """
    whole = poses[np.isfinite(poses).all(axis=(1, 2))].astype(np.float64)
    if count < 1 or len(whole) < count:
        raise ConfigError(
            f"expected at least {max(count, 1)} poses with all joints known for as many anchor poses, "
            f"got {len(whole)}; label more, or ask for fewer anchors"
        )
    flat, rng = whole.reshape(len(whole), -1), np.random.default_rng(seed)
    best, least = None, np.inf
    for _ in range(_RESTARTS):
        try:
            centres, nearest_one = kmeans2(flat, count, minit="++", missing="raise", rng=rng)
        except ClusterError:  # a cluster ran empty
            continue
        spread = float(((flat - centres[nearest_one]) ** 2).sum())
        if spread < least:
            best, least = centres, spread
    if best is None:
        raise ConfigError(
            f"found no {count} different clusters among {len(whole)} poses; ask for fewer anchors"
        )
    anchors = best.reshape(count, *whole.shape[1:])
    lowest_last: Float32 = anchors[np.argsort(anchors[:, 0, 1], kind="stable")].astype(np.float32)
    return lowest_last


def nearest(poses: Floats, anchors: Floats) -> Int64:
    """Class_P: the anchor pose with the least mean distance over the joints that are known.

    Args:
        poses: (P, K, 2) in the unit of their boxes, NaN = unknown.
        anchors: (B, K, 2).

    Returns:
        (P,) numbers 1 to B; 0, background's number, for a pose without any joint.
    """
    away = np.linalg.norm(poses[:, None] - anchors[None], axis=-1)  # (P, B, K)
    known = np.isfinite(away).any(axis=(1, 2))
    mean = np.full(away.shape[:2], np.inf)
    mean[known] = np.nanmean(away[known], axis=2)
    return np.where(known, mean.argmin(axis=1) + 1, 0)
