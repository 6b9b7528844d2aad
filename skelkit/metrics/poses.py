"""How far predicted poses are from the truth: PCK, PCKh, OKS, MPJPE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import Floats, oks_kernel, oks_sums
from skelkit.metrics._check import check_per_person, check_poses
from skelkit.metrics.scales import head_scale
from skelkit.structures import Bool, Float64, Int64, Skeleton


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointwiseResult:
    """A measure over all joints and for each joint."""

    overall: float
    """Over all joints counted of all people (each joint counts once); NaN where none counted."""
    per_joint: Float64
    """(K,) over all people; NaN where the joint never counted."""
    counted: Int64
    """(K,) how many joints each figure rests on."""

    @classmethod
    def mean(cls, values: Floats, counts: Bool) -> JointwiseResult:
        """Mean of ``values`` (P, K) where ``counts`` (P, K)."""
        counted = counts.sum(axis=0)
        sums = np.where(counts, values, 0.0).sum(axis=0)
        per_joint = _mean(sums, counted)
        total = int(counted.sum())
        overall = float(sums.sum() / total) if total else float("nan")
        return cls(overall=overall, per_joint=per_joint, counted=counted.astype(np.int64))


def pck(
    predicted: Floats, truth: Floats, *, scale: Floats, visible: Bool, threshold: float
) -> JointwiseResult:
    """Percentage of correct keypoints: the share with error < threshold x scale (Yang and Ramanan 2013).

    Args:
        predicted: (P, K, C), NaN = not found, which is wrong.
        truth: (P, K, C).
        scale: (P,) the length errors are measured by (`scales`); people with NaN are left out.
        visible: (P, K) joints of the truth that count.
        threshold: Share of the scale, for example 0.2.

    Raises:
        ConfigError: shapes that do not fit, or a threshold that is not positive.
    """
    if not threshold > 0:
        raise ConfigError(f"expected a threshold > 0, got {threshold}")
    counts = check_poses(predicted, truth, visible)
    check_per_person("scale", scale, len(truth))
    counts = counts & np.isfinite(scale)[:, None]
    with np.errstate(invalid="ignore"):
        right = _distances(predicted, truth) < threshold * scale[:, None]  # False for NaN
    return JointwiseResult.mean(right.astype(np.float64), counts)


def pckh(
    predicted: Floats, truth: Floats, *, skeleton: Skeleton, visible: Bool, threshold: float = 0.5
) -> JointwiseResult:
    """PCK with the head length of the SST-A papers as scale (`scales.head_scale` of the visible truth)."""
    seen = np.where(check_poses(predicted, truth, visible)[..., None], truth, np.nan)
    return pck(predicted, truth, scale=head_scale(seen, skeleton), visible=visible, threshold=threshold)


def mpjpe(predicted: Floats, truth: Floats, *, visible: Bool, scale: Floats | None = None) -> JointwiseResult:
    """Mean per-joint position error, in the unit of the poses or divided by a scale.

    Joints that were not found have no error and are left out; `counted` tells how many were found, and
    comparing figures is only fair where it is about the same.

    Args:
        predicted: (P, K, C), NaN = not found.
        truth: (P, K, C).
        visible: (P, K) joints of the truth that count.
        scale: (P,) lengths to divide by, for example head lengths; people with NaN are left out.

    Raises:
        ConfigError: shapes that do not fit.
    """
    errors = _errors(predicted, truth, visible, scale)
    return JointwiseResult.mean(errors, np.isfinite(errors))


def pose_errors(predicted: Floats, truth: Floats, *, visible: Bool, scale: Floats | None = None) -> Float64:
    """Mean joint position error of each pose: `mpjpe` pose by pose.

    Args:
        predicted: (P, K, C), NaN = not found.
        truth: (P, K, C).
        visible: (P, K) joints of the truth that count.
        scale: (P,) lengths to divide by.

    Returns:
        (P,) NaN for a pose none of whose counted joints was found, or without scale.

    Raises:
        ConfigError: shapes that do not fit.
    """
    errors = _errors(predicted, truth, visible, scale)
    known = np.isfinite(errors)
    return _mean(np.where(known, errors, 0.0).sum(axis=1), known.sum(axis=1))


def oks(predicted: Floats, truth: Floats, *, areas: Floats, visible: Bool, sigmas: Floats) -> Float64:
    """Object keypoint similarity of each prediction with its truth (COCO).

    Args:
        predicted: (P, K, C), NaN = not found, which adds 0.
        truth: (P, K, C).
        areas: (P,) areas of the people (of their segments, as COCO has it).
        visible: (P, K) joints of the truth that count.
        sigmas: (K,) see `geometry.joint_sigmas`.

    Returns:
        (P,) in [0, 1]; NaN where no joint counts.

    Raises:
        ConfigError: shapes that do not fit.
    """
    counts = check_poses(predicted, truth, visible)
    check_per_person("areas", areas, len(truth))
    kernel = oks_kernel(_distances(predicted, truth) ** 2, areas, sigmas)
    number = counts.sum(axis=-1)
    sums = np.where(counts, kernel, 0.0).sum(axis=-1)
    return _mean(sums, number)


def oks_matrix(predicted: Floats, truth: Floats, areas: Floats, sigmas: Floats) -> Float64:
    """Object keypoint similarity of every prediction with every truth.

    Args:
        predicted: (P, K, C), NaN = not found, which adds 0.
        truth: (Q, K, C), NaN = does not count.
        areas: (Q,) areas of the true people.
        sigmas: (K,).

    Returns:
        (P, Q) in [0, 1]; NaN where the truth has no joint.
    """
    check_per_person("areas", areas, len(truth))
    sums, _ = oks_sums(predicted, truth, areas, sigmas)
    number = np.broadcast_to(np.isfinite(truth).all(axis=-1).sum(axis=-1), sums.shape)
    return _mean(sums, number)


def _errors(predicted: Floats, truth: Floats, visible: Bool, scale: Floats | None) -> Float64:
    """(P, K) distances of the joints that count, over a scale; NaN where there is none."""
    counts = check_poses(predicted, truth, visible)
    errors = np.where(counts, _distances(predicted, truth), np.nan)
    if scale is None:
        return errors
    check_per_person("scale", scale, len(truth))
    return errors / scale[:, None]


def _mean(sums: Floats, number: Int64) -> Float64:
    """Sums over numbers, NaN where nothing counted."""
    mean: Float64 = np.full(sums.shape, np.nan)
    return np.divide(sums, number, out=mean, where=number > 0)


def _distances(a: Floats, b: Floats) -> Float64:
    """(P, K) Euclidean, NaN where one has no joint."""
    return np.asarray(np.linalg.norm(a.astype(np.float64) - b, axis=-1))
