"""People of a clip <-> rows as stored, one per person and frame with at least one joint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from skelkit.data.clip import Clip
from skelkit.data.fixed_point import SCORE_LEVELS, Grid, decode_scores, encode_scores, joints_found
from skelkit.errors import ShardError
from skelkit.structures import Float32, Float64, Int64, Skeleton, SkeletonSequence, Tracks

Int32 = npt.NDArray[np.int32]

PIECE = 4096
"""Rows handled in one go: below a megabyte. Clips are written in pieces of this size, however they come, so
that equal clips give equal bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """n rows of one clip, ordered as stored: by person, then time step."""

    frame: Int32
    """(n,) time step within the clip."""
    track: Int32
    """(n,) the person's identity."""
    keypoints: Float32
    """(n, K, C); NaN = not seen."""
    scores: Float32
    """(n, K); 0 where not seen."""
    confidence: Float32
    """(n,)."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.frame)

    @property
    def num_people(self) -> int:
        """M; a person's rows are adjacent."""
        return len(self.frame) and 1 + int(np.count_nonzero(np.diff(self.track)))

    def pieces(self) -> Iterator[Rows]:
        """The same rows, `PIECE` at a time."""
        for start in range(0, len(self), PIECE):
            here = slice(start, start + PIECE)
            # Copies: a piece may be kept until its chunk is full, and should not keep the whole clip.
            yield Rows(**{f.name: getattr(self, f.name)[here].copy() for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One clip as stored: what a writer appends and a reader slices out."""

    clip: Clip
    sources: tuple[str, ...]
    frame_index: Int32
    pts_s: Float64
    groups: Mapping[str, Rows | Encoded]
    """Rows of every pose group (`Header.pose_groups`)."""
    grids: Mapping[str, Grid] = field(default_factory=dict)
    """The grids on which pose groups lie already; others get one that suits them."""


def empty_rows(num_joints: int, dimensions: int) -> Rows:
    """No rows."""
    return Rows(
        frame=np.zeros(0, np.int32),
        track=np.zeros(0, np.int32),
        keypoints=np.zeros((0, num_joints, dimensions), np.float32),
        scores=np.zeros((0, num_joints), np.float32),
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


class Encoded:
    """The rows of a clip about to be written, rounded as they will be read.

    A joint that lacks one coordinate is missing; the score of a missing joint is 0. Rows are made piece by
    piece when they are asked for.

    Args:
        tracks: The people.
        step: The finest grid for their coordinates.

    Raises:
        ShardError: a score outside [0, 1], or a track id beyond 32 bits.
    """

    def __init__(self, tracks: Tracks, step: float) -> None:
        self._tracks = tracks
        self._ids = as_int32(tracks.track_ids, f"clip {tracks.video_id!r}: track_ids")
        self._order = np.lexsort((tracks.step, tracks.person))
        for start in range(0, len(self), PIECE):
            self._check_scores(slice(start, start + PIECE))
        self.grid = Grid.of(tracks.keypoints, step)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._order)

    @property
    def num_people(self) -> int:
        """People with rows."""
        return len(np.unique(self._tracks.person))

    def pieces(self) -> Iterator[Rows]:
        """The rows, `PIECE` at a time."""
        for start in range(0, len(self), PIECE):
            yield self._rows(self._order[start : start + PIECE])

    def _check_scores(self, rows: slice) -> None:
        found = joints_found(self._tracks.keypoints[rows])
        scores = self._tracks.scores[rows][found]
        levels = np.rint(scores * SCORE_LEVELS)
        if not ((levels >= 0) & (levels <= SCORE_LEVELS)).all():
            raise ShardError(
                f"clip {self._tracks.video_id!r}: expected scores in [0, 1] for every joint seen, "
                f"got {scores.min():.3g} to {scores.max():.3g}"
            )

    def _rows(self, rows: Int64) -> Rows:
        tracks = self._tracks
        points = self.grid.decode(self.grid.encode(tracks.keypoints[rows]))
        found = np.isfinite(points[..., 0])
        return Rows(
            frame=tracks.step[rows].astype(np.int32),
            track=self._ids[tracks.person[rows]],
            keypoints=points,
            scores=decode_scores(encode_scores(np.where(found, tracks.scores[rows], 0))),
            confidence=tracks.confidence[rows],
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
