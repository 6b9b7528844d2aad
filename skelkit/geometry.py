"""Geometry of boxes and poses that several rooms share: IoU, extents, the OKS kernel. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import ConfigError
from skelkit.structures import Float64, Skeleton

Floats = npt.NDArray[np.floating[Any]]

COCO_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
"""Per-joint standard deviation of annotators, relative to the square root of a person's area (COCO)."""

_SIGMAS = {
    **COCO_SIGMAS,
    "neck": 0.079,  # CrowdPose publishes these two
    "head_top": 0.079,
    # No published value: that of the nearest joint. "head" is a point between nose and head top which
    # every set places elsewhere, so it takes the wider of the two.
    **dict.fromkeys(("head", "lower_head"), 0.079),
    **dict.fromkeys(("thorax", "chest"), COCO_SIGMAS["shoulder"]),
    **dict.fromkeys(("pelvis", "mid_hip", "spine", "belly"), COCO_SIGMAS["hip"]),
    **dict.fromkeys(("hand", "hand_tip", "thumb"), COCO_SIGMAS["wrist"]),
    **dict.fromkeys(("foot", "big_toe", "small_toe", "heel"), COCO_SIGMAS["ankle"]),
}


def joint_sigmas(joints: Skeleton | tuple[str, ...]) -> Float64:
    """(K,) OKS sigmas by joint name; joints without a published sigma take their nearest joint's.

    Raises:
        ConfigError: a joint of no known joint set.
    """
    names = joints.joints if isinstance(joints, Skeleton) else joints
    bare = [name.removeprefix("left_").removeprefix("right_") for name in names]
    if unknown := sorted({n for n in bare if n not in _SIGMAS}):
        raise ConfigError(
            f"expected joints with a known OKS sigma, got {unknown}; known are {', '.join(sorted(_SIGMAS))}"
        )
    return np.asarray([_SIGMAS[n] for n in bare])


def extents(keypoints: Floats) -> Floats:
    """Smallest boxes around the joints found.

    Args:
        keypoints: (..., K, C) with NaN = not found; of three coordinates the first two count.

    Returns:
        (..., 4) left, top, right, bottom in the same unit and dtype; NaN where no joint was found.
    """
    # Coordinate by coordinate: numpy is slow at reducing axes of length 2.
    planes = [keypoints[..., c] for c in range(keypoints.shape[-1])]
    found = np.logical_and.reduce([np.isfinite(plane) for plane in planes])
    low = [np.where(found, plane, np.inf).min(axis=-1, initial=np.inf) for plane in planes[:2]]
    high = [np.where(found, plane, -np.inf).max(axis=-1, initial=-np.inf) for plane in planes[:2]]
    boxes = np.stack(low + high, axis=-1).astype(keypoints.dtype)
    boxes[~np.isfinite(boxes)] = np.nan
    return boxes


def box_iou(a: Floats, b: Floats) -> Float64:
    """Pairwise intersection over union.

    Args:
        a: (P, 4) left, top, right, bottom.
        b: (Q, 4).

    Returns:
        (P, Q) in [0, 1]; 0 where both boxes are empty or one is NaN.
    """
    return paired_iou(a[:, None], b[None])


def paired_iou(a: Floats, b: Floats) -> Float64:
    """Intersection over union of boxes (..., 4) with boxes (..., 4), broadcast against each other."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    inner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.nan_to_num(_area(inner))
    areas = _area(a[..., 2:] - a[..., :2]) + _area(b[..., 2:] - b[..., :2])
    return np.asarray(overlap / np.where(overlap > 0, areas - overlap, 1.0))


def _area(sides: Floats) -> Floats:
    return np.asarray(sides[..., 0].clip(0) * sides[..., 1].clip(0))


def oks_kernel(squared_distances: Floats, areas: Floats, sigmas: Floats) -> Float64:
    """The kernel of object keypoint similarity, exp(-d^2 / (2 s^2 k^2)) with k = 2 sigma (COCO).

    Args:
        squared_distances: (..., K) d^2; NaN where one of the two lacks the joint.
        areas: (...,) s^2, the person's area in the same unit squared.
        sigmas: (K,).

    Returns:
        (..., K) in [0, 1]; 0 for NaN.
    """
    spread = 2 * np.maximum(areas, np.finfo(np.float64).tiny)[..., None] * (2 * sigmas) ** 2
    with np.errstate(over="ignore"):
        return np.asarray(np.nan_to_num(np.exp(-squared_distances / spread), nan=0.0))


def oks_sums(a: Floats, b: Floats, areas: Floats, sigmas: Floats) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Pairwise OKS before the division: kernels summed over shared joints, and how many are shared.

    Args:
        a: (P, K, C), NaN = not found.
        b: (Q, K, C), NaN = not found.
        areas: s^2, broadcast against (P, Q).
        sigmas: (K,).

    Returns:
        (P, Q) sums and (P, Q) numbers of joints that both have.
    """
    apart = a[:, None].astype(np.float64) - b[None]
    squared = np.einsum("pqkc,pqkc->pqk", apart, apart)
    areas = np.broadcast_to(areas, squared.shape[:2])
    return oks_kernel(squared, areas, sigmas).sum(axis=-1), np.isfinite(squared).sum(axis=-1)
