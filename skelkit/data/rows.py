"""Dense sequences (M, T, K, C) <-> rows, one per person and frame with at least one joint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from skelkit.data.clip import Clip
from skelkit.data.layout import SCORE_STEPS
from skelkit.errors import ShardError
from skelkit.structures import Float32, Float64, Int64, Skeleton, SkeletonSequence

Int32 = npt.NDArray[np.int32]
Float16 = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """n rows of one clip, as stored: ordered by person, then time step."""

    frame: Int32
    """(n,) time step within the clip."""
    track: Int32
    """(n,) the person's identity."""
    keypoints: Float32
    """(n, K, C); NaN = not seen."""
    scores: Float16
    """(n, K)."""
    confidence: Float32
    """(n,)."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.frame)

    @property
    def num_people(self) -> int:
        """M; a person's rows are adjacent."""
        return len(self.frame) and 1 + int(np.count_nonzero(np.diff(self.track)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One clip as stored: what a writer appends and a reader slices out."""

    clip: Clip
    sources: tuple[str, ...]
    frame_index: Int32
    pts_s: Float64
    groups: Mapping[str, Rows]
    """Rows of every pose group (`Header.pose_groups`)."""


def empty_rows(num_joints: int, dimensions: int) -> Rows:
    """No rows."""
    return Rows(
        frame=np.zeros(0, np.int32),
        track=np.zeros(0, np.int32),
        keypoints=np.zeros((0, num_joints, dimensions), np.float32),
        scores=np.zeros((0, num_joints), np.float16),
        confidence=np.zeros(0, np.float32),
    )


def as_int32(values: Int64, what: str) -> Int32:
    """The same numbers in 32 bits.

    Raises:
        ShardError: one does not fit.
    """
    small = values.astype(np.int32)
    if not np.array_equal(small, values):
        raise ShardError(f"{what}: expected numbers that 32 bits can hold, got up to {np.abs(values).max()}")
    return small


def encode(sequence: SkeletonSequence, step: float) -> Rows:
    """The rows of a sequence, coordinates rounded to `step`, scores to 1/256.

    People and time steps without any joint have no row. A joint that lacks one coordinate is missing; the
    score of a missing joint is 0.

    Raises:
        ShardError: a score outside [0, 1], or a track id beyond 32 bits.
    """
    person, frame = np.nonzero(sequence.present())  # row-major: by person, then time step
    points = sequence.keypoints[person, frame]
    # Steps are powers of two: the division is exact and so is the error bound. Adding 0 turns -0 into 0.
    points = np.rint(points / np.float32(step)) * np.float32(step) + np.float32(0)
    found = np.isfinite(points).all(axis=-1)
    points[~found] = np.nan
    levels = np.where(found, np.rint(sequence.scores[person, frame] * SCORE_STEPS), 0)
    if not ((levels >= 0) & (levels <= SCORE_STEPS)).all():
        low, high = np.min(levels) / SCORE_STEPS, np.max(levels) / SCORE_STEPS
        raise ShardError(
            f"clip {sequence.video_id!r}: expected scores in [0, 1] for every joint seen, "
            f"got {low:.3g} to {high:.3g}"
        )
    tracks = as_int32(sequence.track_ids, f"clip {sequence.video_id!r}: track_ids")
    return Rows(
        frame=frame.astype(np.int32),
        track=tracks[person],
        keypoints=points.astype(np.float32, copy=False),
        scores=(levels / SCORE_STEPS).astype(np.float16),
        confidence=sequence.confidence[person, frame],
    )


def decode(
    rows: Rows,
    *,
    skeleton: Skeleton,
    frame_indices: Int64,
    pts_s: Float64,
    video_id: str,
    fps: float,
    image_size: tuple[int, int],
    sources: tuple[str, ...],
    label: str | None,
) -> SkeletonSequence:
    """The dense sequence of `rows`; people stand in the order of their rows.

    Raises:
        ValueError: a row lies outside the clip.
    """
    steps = len(frame_indices)
    if len(rows) and not 0 <= rows.frame.min() <= rows.frame.max() < steps:
        raise ValueError(f"clip {video_id!r} has rows outside its {steps} time steps")
    starts = np.diff(rows.track, prepend=rows.track[:1] - 1) != 0
    person = np.cumsum(starts) - 1
    shape = (rows.num_people, steps, *rows.keypoints.shape[1:])
    keypoints = np.full(shape, np.nan, np.float32)
    scores = np.zeros(shape[:3], np.float32)
    confidence = np.full(shape[:2], np.nan, np.float32)
    keypoints[person, rows.frame] = rows.keypoints
    scores[person, rows.frame] = rows.scores
    confidence[person, rows.frame] = rows.confidence
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=keypoints,
        scores=scores,
        confidence=confidence,
        track_ids=rows.track[starts].astype(np.int64),
        frame_indices=frame_indices,
        pts_s=pts_s,
        video_id=video_id,
        fps=fps,
        image_size=image_size,
        sources=sources,
        label=label,
    )
