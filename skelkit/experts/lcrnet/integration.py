"""Pose proposal integration: many candidates for the same person become one pose (LCR-Net++, section 3.4)."""

from __future__ import annotations

import numpy as np

from skelkit.geometry import Floats, box_iou, extents
from skelkit.structures import Float32, Int64

OVERLAP = 0.5
"""IoU with the best candidate from which another is of the same person."""
SIMILAR = 0.1
"""Mean distance of joints, in diagonals of the best candidate's extent, below which two poses are one."""


def integrate(
    poses: Floats, scores: Floats, regions: Int64, *, overlap: float = OVERLAP
) -> tuple[Float32, Float32]:
    """Combine candidates by 2-D overlap and score.

    The candidate with the highest score takes all whose extent overlaps its own. The mean of those that are
    poses like it, weighted by score, is the person's: a mean with others, say with the one facing away, would
    be nobody's. Then the best of those left takes its turn.

    Args:
        poses: (n, K, 2) candidates: an anchor pose deformed to a region.
        scores: (n,) probability of that anchor in that region.
        regions: (n,) which region each comes from.
        overlap: IoU of extents.

    Returns:
        (P, K, 2) poses, best first; (P,) scores in [0, 1]: of the regions that took part, the highest
        probability of all of its anchors that did.
    """
    order = np.argsort(-scores, kind="stable")
    poses, scores, regions = poses[order], scores[order], regions[order]
    same = box_iou(extents(poses), extents(poses)) > overlap
    np.fill_diagonal(same, True)  # a pose without extent overlaps nothing
    left = np.ones(len(poses), bool)
    found, sure = [], []
    for best in range(len(poses)):
        if not left[best]:
            continue
        members = np.flatnonzero(same[best] & left)
        left[members] = False
        size = np.linalg.norm(np.ptp(poses[best], axis=0))
        apart = np.linalg.norm(poses[members] - poses[best], axis=2).mean(axis=1)
        alike = members[apart <= SIMILAR * size]
        found.append(np.average(poses[alike], axis=0, weights=scores[alike]))
        sure.append(min(1.0, np.bincount(regions[members], weights=scores[members]).max()))
    best_first = np.argsort(-np.asarray(sure), kind="stable")
    shape = (-1, *poses.shape[1:])
    return (
        np.asarray(found, np.float32).reshape(shape)[best_first],
        np.asarray(sure, np.float32)[best_first],
    )
