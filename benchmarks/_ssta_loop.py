"""SST-A as one would first write it, joint by joint: what Ssta is timed and tested against."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelkit.aggregation.ssta import Ssta
from skelkit.structures import Float32, Float64, Skeleton, SkeletonSequence

UPPER, LEGS = ("shoulder", "elbow", "wrist", "eye", "ear"), ("hip", "knee", "ankle")


def bare_loop(poses: Sequence[Float32]) -> tuple[Float32, Float64]:
    """Equations 3.1 to 3.4 and nothing else, for one person; the scale is the distance of joints 5 and 6.

    Args:
        poses: Per expert (T, K, 2), NaN = missing.

    Returns:
        The aggregate (T, K, 2), and C (T,).
    """
    frames, joints, _ = poses[0].shape
    out, confidence = np.full_like(poses[0], np.nan), np.full(frames, np.nan)
    pairs = list(itertools.combinations(range(len(poses)), 2))
    for t in range(frames):
        for k in range(joints):
            best = np.inf
            if t == 0 or np.isnan(out[t - 1, k, 0]):
                for a, b in pairs:
                    d = _distance(poses[a][t, k], poses[b][t, k])
                    if d < best:
                        best, out[t, k] = d, poses[a][t, k]
            else:
                for pose in poses:
                    d = _distance(pose[t, k], out[t - 1, k])
                    if d < best:
                        best, out[t, k] = d, pose[t, k]
        scale = _distance(out[t, 5], out[t, 6]) + 1e-12
        apart = [_distance(out[t, k], pose[t, k]) for k in range(joints) for pose in poses]
        confidence[t] = np.exp(-np.nanmean(apart) / scale)
    return out, confidence


def full_loop(rule: Ssta, views: Sequence[SkeletonSequence]) -> tuple[Float32, Float64]:
    """All that Ssta decides, for views of one joint set.

    Returns:
        The aggregate (M, T, K, C), and C (M, T).
    """
    skeleton = views[0].skeleton
    out = np.full_like(views[0].keypoints, np.nan)
    confidence = np.full(out.shape[:2], np.nan)
    for m in range(out.shape[0]):
        poses = [v.keypoints[m].copy() for v in views]
        scores = [v.scores[m].copy() for v in views]
        _person(rule, skeleton, poses, scores, views[0].pts_s, out[m], confidence[m])
    return out, confidence


def _person(  # noqa: PLR0917
    rule: Ssta,
    skeleton: Skeleton,
    poses: list[Float32],
    scores: list[Float32],
    pts_s: Float64,
    out: Float32,
    confidence: Float64,
) -> None:
    frames, joints, _ = out.shape
    experts = range(len(poses))
    seen_s: dict[int, float] = {}
    last: dict[int, Any] = {}
    calm_s = {(e, k): pts_s[0] for e in experts for k in range(joints)}
    for t in range(frames):
        if rule.fix_swaps and len(poses) >= 3:
            _undo_swaps(skeleton, poses, scores, t)
        size = _size([p[t] for p in poses])
        for k in range(joints):
            points = {e: poses[e][t, k] for e in experts if not np.isnan(poses[e][t, k]).any()}
            lasting = set()
            for e in experts:
                if not _outvoted(e, points, size, rule.tolerance):
                    calm_s[e, k] = pts_s[t]
                elif pts_s[t] - calm_s[e, k] >= rule.patience_s:
                    lasting.add(e)
            if not points:
                continue
            afresh = k not in last or pts_s[t] - seen_s[k] > rule.max_gap_s
            if not afresh:
                d, chosen = min((_distance(p, last[k]), e) for e, p in points.items())
                afresh = d > np.float32(rule.runaway) * size or chosen in lasting
            if afresh:
                chosen = _first(points, {e: scores[e][t, k] for e in points})
            out[t, k] = last[k] = points[chosen]
            seen_s[k] = pts_s[t]
        confidence[t] = _confidence(skeleton, out[t], [p[t] for p in poses])


def _distance(a: Float32, b: Float32) -> Any:
    return np.sqrt(((a - b) ** 2).sum())


def _size(poses: list[Float32]) -> Any:
    sizes = sorted(
        (np.nanmax(p, axis=0) - np.nanmin(p, axis=0)).max() for p in poses if not np.isnan(p[:, 0]).all()
    )
    return sizes[(len(sizes) - 1) // 2] if sizes else np.nan


def _outvoted(e: int, points: dict[int, Float32], size: Any, tolerance: float) -> bool:
    if e not in points:
        return False
    near, far = np.float32(tolerance) * size, np.float32(2 * tolerance) * size
    return any(
        _distance(points[a], points[b]) <= near
        and _distance(points[e], points[a]) > far
        and _distance(points[e], points[b]) > far
        for a, b in itertools.combinations([o for o in points if o != e], 2)
    )


def _first(points: dict[int, Float32], scores: dict[int, Any]) -> int:
    if len(points) == 1:
        return next(iter(points))
    _, a, b = min((_distance(points[a], points[b]), a, b) for a, b in itertools.combinations(points, 2))
    total = {e: sum(_distance(points[e], p) for p in points.values()) for e in (a, b)}
    return max((a, b), key=lambda e: (scores[e], -total[e]))


def _confidence(skeleton: Skeleton, pose: Float32, poses: list[Float32]) -> float:
    apart = [_distance(pose[k], p[k]) for p in poses for k in range(len(pose))]
    if np.isnan(apart).all():
        return np.nan
    at = {j: pose[k] for k, j in enumerate(skeleton.joints)}
    shoulders = (at["left_shoulder"] + at["right_shoulder"]) / 2
    hips = (at["left_hip"] + at["right_hip"]) / 2
    head = at["head"] if "head" in at else at["nose"]
    for d in (
        _distance(head, shoulders),
        0.62 * _distance(at["left_shoulder"], at["right_shoulder"]),
        0.38 * _distance(shoulders, hips),
        0.14 * _size([pose]),
    ):
        if not np.isnan(d):
            return float(np.exp(-np.nanmean(apart) / (d + 1e-12)))
    return np.nan


def _undo_swaps(skeleton: Skeleton, poses: list[Float32], scores: list[Float32], t: int) -> None:
    for words in (UPPER, LEGS):
        pairs = [
            (skeleton.index(a), skeleton.index(b))
            for a, b in skeleton.flip_pairs
            if any(w in a for w in words)
        ]
        against, sided = [0] * len(poses), [0] * len(poses)
        for a, b in itertools.combinations(range(len(poses)), 2):
            straight = crossed = 0.0
            for left, right in pairs:
                p, q = poses[a][t], poses[b][t]
                s = _distance(p[left], q[left]) + _distance(p[right], q[right])
                c = _distance(p[left], q[right]) + _distance(p[right], q[left])
                if not np.isnan(s + c):
                    straight, crossed = straight + s, crossed + c
            if straight + crossed == 0:
                continue
            for e in (a, b):
                against[e] += crossed < 0.5 * straight
                sided[e] += not crossed < 0.5 * straight
        swapped = [e for e in range(len(poses)) if against[e] >= 2 and not sided[e]]
        if len(swapped) == 1:
            for left, right in pairs:
                for array in (poses[swapped[0]], scores[swapped[0]]):
                    array[t, [left, right]] = array[t, [right, left]]
