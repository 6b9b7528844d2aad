"""People for the tests of pictures."""

from __future__ import annotations

import numpy as np

from skelkit.structures import Skeleton, SkeletonSequence

PAIR = Skeleton(
    name="pair",
    joints=("nose", "left_hand", "right_hand"),
    edges=(("nose", "left_hand"), ("nose", "right_hand")),
    flip_pairs=(("left_hand", "right_hand"),),
    parts={"head": ("nose",)},
)


def sequence_of(keypoints: object, *, image_size: tuple[int, int], **changes: object) -> SkeletonSequence:
    """A sequence of (M, T, 3, C) keypoints, sure of everything that is not NaN."""
    joints = np.asarray(keypoints, np.float32)
    people, steps = joints.shape[:2]
    fields: dict[str, object] = {
        "skeleton": PAIR,
        "keypoints": joints,
        "scores": np.isfinite(joints).all(-1).astype(np.float32),
        "confidence": np.full((people, steps), 0.9, np.float32),
        "track_ids": np.arange(people),
        "frame_indices": np.arange(steps),
        "pts_s": np.arange(steps) / 25,
        "video_id": "clip",
        "fps": 25.0,
        "image_size": image_size,
        "sources": ("movenet",),
    }
    return SkeletonSequence(**{**fields, **changes})  # type: ignore[arg-type]
