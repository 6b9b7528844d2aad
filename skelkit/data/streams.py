"""What of a skeleton a network looks at: joints, bones, and how they move."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from skelkit.structures import Bool, Float32, Int64, Skeleton

Stream = Literal["joint", "bone", "joint_motion", "bone_motion"]
"""joint: where joints are. bone: each joint minus its parent, away from the body's centre (UNIK, section 3;
2s-AGCN). joint_motion, bone_motion: the same one frame later, minus now."""


def parents(skeleton: Skeleton) -> Int64:
    """(K,) each joint's parent; a root's is itself.

    The bones' graph may have circles (shoulders and hips of COCO): a joint's parent is the one from which
    it is reached first, starting at the joint that is no bone's end, bones in their order.
    """
    return np.asarray(_parents(skeleton.joints, skeleton.edges))


@lru_cache
def _parents(joints: tuple[str, ...], edges: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
    number = {joint: k for k, joint in enumerate(joints)}
    ends = {child for _, child in edges}
    found: dict[str, str] = {}
    for root in sorted(joints, key=lambda joint: joint in ends):  # stable: joints that are no ends first
        if root in found:
            continue
        found[root] = root
        queue = [root]
        for parent in queue:  # grows as joints are reached
            for a, b in edges:
                child = b if a == parent else a if b == parent else None
                if child is not None and child not in found:
                    found[child] = parent
                    queue.append(child)
    return tuple(number[found[joint]] for joint in joints)


def bones(points: Float32, known: Bool, skeleton: Skeleton) -> tuple[Float32, Bool]:
    """Joint minus parent, (M, T, K, C); known, (M, T, K, ...), where both ends are."""
    up = parents(skeleton)
    return points - points[:, :, up], known & known[:, :, up]


def motion(points: Float32, known: Bool) -> tuple[Float32, Bool]:
    """The second half of the frames minus the first; known where both are.

    Args:
        points: (M, 2 L, K, C): L frames, then for each of them the next.
        known: (M, 2 L, K, ...).
    """
    half = points.shape[1] // 2
    return points[:, half:] - points[:, :half], known[:, :half] & known[:, half:]
