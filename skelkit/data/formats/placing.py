"""Clips as the numbers that other formats want: zeros for what is missing, people frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.structures import Float32, SkeletonSequence, Tracks

LEAST_SCORE = 1 / 1024
"""Of a joint that was seen: others take 0 for missing. A quarter of a step of our own scores."""


def zeros_for_missing(points: Float32, nudge: float) -> Float32:
    """(..., K, C) with all zeros for missing joints only.

    Args:
        points: NaN = missing.
        nudge: The x of joints that truly are at the origin: the least the format can hold.
    """
    seen = np.asarray(np.isfinite(points).all(axis=-1))
    filled = np.where(seen[..., None], points, np.float32(0))
    filled[..., 0] = np.where(seen & (filled == 0).all(axis=-1), np.float32(nudge), filled[..., 0])
    return np.asarray(filled)


def visible_scores(sequence: SkeletonSequence | Tracks) -> Float32:
    """Scores that are above 0 exactly where the joint was seen."""
    seen = np.isfinite(sequence.keypoints).all(axis=-1)
    return np.where(seen, np.maximum(sequence.scores, np.float32(LEAST_SCORE)), np.float32(0))


def frame_by_frame(tracks: Tracks) -> Iterator[tuple[int, slice]]:
    """Number of every frame, and the rows of the people in it."""
    starts = np.searchsorted(tracks.step, np.arange(tracks.num_frames + 1)).tolist()
    for i, number in enumerate(tracks.frame_indices.tolist()):
        yield number, slice(starts[i], starts[i + 1])


def picture_size(clip: Clip) -> Float32:
    """(w, h)."""
    return np.asarray([clip.width, clip.height], np.float32)


def rounded(values: Float32, digits: int) -> Any:
    """Nested lists for JSON."""
    return np.round(values.astype(np.float64), digits).tolist()
