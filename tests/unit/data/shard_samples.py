"""Sequences for the tests of shards."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skelkit.skeletons import COCO17
from skelkit.structures import Skeleton, SkeletonSequence

PAIR = Skeleton(name="pair", joints=("a", "b"), edges=(("a", "b"),), flip_pairs=(("a", "b"),))


def sequence_of(
    keypoints: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    *,
    skeleton: Skeleton = PAIR,
    video_id: str = "clip",
    **changes: object,
) -> SkeletonSequence:
    """A sequence as a tracker gives it: score 0 where a joint is missing, no confidence where a person is."""
    m, t = keypoints.shape[:2]
    found = np.isfinite(keypoints).all(-1)
    scores = np.where(found, scores, 0).astype(np.float32)
    rng = np.random.default_rng(t)
    fields: dict[str, object] = {
        "skeleton": skeleton,
        "keypoints": np.where(found[..., None], keypoints, np.nan).astype(np.float32),
        "scores": scores,
        "confidence": np.where(found.any(-1), rng.random((m, t)), np.nan).astype(np.float32),
        "track_ids": np.arange(m, dtype=np.int64)[::-1] * 3 + 1,
        "frame_indices": np.arange(t, dtype=np.int64) * 2,
        "pts_s": np.cumsum(rng.random(t)),
        "video_id": video_id,
        "fps": 12.5,
        "image_size": (480, 640),
        "sources": ("movenet", "lcr, net"),
        "label": "waving",
    }
    return SkeletonSequence(**{**fields, **changes})  # type: ignore[arg-type]


@st.composite
def sequences(draw: st.DrawFn, skeleton: Skeleton = PAIR, video_id: str = "clip") -> SkeletonSequence:
    m, t = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    k = skeleton.num_joints
    floats = st.one_of(st.floats(-8192, 8192, width=32), st.just(np.float32(np.nan)))
    keypoints = draw(hnp.arrays(np.float32, (m, t, k, 2), elements=floats))
    scores = draw(hnp.arrays(np.float32, (m, t, k), elements=st.floats(0, 1, width=32)))
    return sequence_of(keypoints, scores, skeleton=skeleton, video_id=video_id)


def random_sequence(
    seed: int, *, people: int = 2, frames: int = 20, skeleton: Skeleton = COCO17, **changes: object
) -> SkeletonSequence:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 700, (people, frames, skeleton.num_joints, 2)).astype(np.float32)
    keypoints[rng.random(keypoints.shape[:3]) < 0.2] = np.nan
    keypoints[rng.random(keypoints.shape[:2]) < 0.2] = np.nan
    scores = rng.random(keypoints.shape[:3]).astype(np.float32)
    return sequence_of(keypoints, scores, skeleton=skeleton, **{"video_id": f"clip{seed}", **changes})  # type: ignore[arg-type]
