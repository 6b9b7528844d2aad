"""Sequences made for the tests of this room."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelkit.skeletons import COCO17
from skelkit.structures import Skeleton, SkeletonSequence


def sequence(
    keypoints: Any,
    *,
    scores: Any = None,
    skeleton: Skeleton = COCO17,
    fps: float = 20.0,
    pts_s: Any = None,
    confidence: Any = None,
    source: str = "expert",
) -> SkeletonSequence:
    """A sequence of (M, T, K, C) keypoints; scores 1 where seen unless given."""
    keypoints = np.array(keypoints, np.float32)
    m, t = keypoints.shape[:2]
    seen = np.isfinite(keypoints).all(axis=-1)
    if confidence is None:
        confidence = np.where(seen.any(axis=-1), 1, np.nan)
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=keypoints,
        scores=np.asarray(seen if scores is None else np.where(seen, scores, 0), np.float32),
        confidence=np.asarray(confidence, np.float32),
        track_ids=np.arange(m),
        frame_indices=np.arange(t),
        pts_s=np.arange(t) / fps if pts_s is None else np.asarray(pts_s, np.float64),
        video_id="clip",
        fps=fps,
        image_size=(480, 640),
        sources=(source,),
    )


STANDING = {
    "nose": (0, -85),
    "left_eye": (4, -88),
    "right_eye": (-4, -88),
    "left_ear": (8, -86),
    "right_ear": (-8, -86),
    "left_shoulder": (20, -60),
    "right_shoulder": (-20, -60),
    "left_elbow": (26, -30),
    "right_elbow": (-26, -30),
    "left_wrist": (28, -2),
    "right_wrist": (-28, -2),
    "left_hip": (12, 0),
    "right_hip": (-12, 0),
    "left_knee": (13, 45),
    "right_knee": (-13, 45),
    "left_ankle": (13, 90),
    "right_ankle": (-13, 90),
}
"""A person of about 180 px, hips at the origin, COCO-17."""


def walk(people: int = 1, frames: int = 30, seed: int = 0) -> np.ndarray:
    """(M, T, 17, 2) people who stand in a picture and drift, every joint a little on its own."""
    rng = np.random.default_rng(seed)
    body = np.asarray([STANDING[j] for j in COCO17.joints], float)
    place = rng.uniform(150, 350, (people, 1, 1, 2))
    drift = rng.normal(0, 1, (people, 1, 1, 2)) * np.arange(frames)[None, :, None, None]
    sway = rng.normal(0, 1, (people, frames, 17, 2)).cumsum(axis=1)
    return (body + place + drift + sway).astype(np.float32)


def experts(
    people: int, frames: int, count: int, seed: int, *, noise: float = 4.0, missing: float = 0.15
) -> list[SkeletonSequence]:
    """Views of `walk` with noise, outliers, holes and runs of holes, at uneven times."""
    rng = np.random.default_rng(seed)
    truth = walk(people, frames, seed)
    pts_s = np.cumsum(rng.uniform(0.02, 0.06, frames))
    if frames > 3:
        pts_s[frames // 2 :] += rng.choice([0.0, 2.0])
    views = []
    for e in range(count):
        k = truth + rng.normal(0, noise, truth.shape)
        k[rng.random(k.shape[:3]) < 0.1] += rng.normal(0, 150, 2)
        k[rng.random(k.shape[:3]) < missing] = np.nan
        if frames > 4 and rng.random() < 0.5:
            start = rng.integers(0, frames - 3)
            k[:, start : start + rng.integers(1, frames), rng.integers(0, 17, 5)] = np.nan
        if rng.random() < 0.3:
            k[rng.integers(0, people)] = np.nan
        views.append(sequence(k, scores=rng.random(k.shape[:3]), pts_s=pts_s, source=f"e{e}"))
    return views
