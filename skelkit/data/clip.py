"""What a shard knows of a clip besides its poses: the columns of ``/clips``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from skelkit.errors import ShardError
from skelkit.structures import Float64, Int64, Skeleton, SkeletonSequence, Tracks

Status = Literal["ok", "no_person", "failed"]
"""ok: people found; no_person: decoded, nobody seen; failed: not decoded whole (`Clip.detail` says why)."""

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One row of ``/clips``.

    Raises:
        ShardError: unknown status, empty `video_id`, or a number out of range.
    """

    video_id: str
    """Name of the clip, unique within a shard."""
    status: Status
    """See `Status`. A failed clip keeps the poses of the frames that could be decoded."""
    num_frames: int
    """T, the time steps (fewer than the video's frames where frames were left out)."""
    width: int
    """Pixels of the upright frame; 0 where unknown."""
    height: int
    """Pixels of the upright frame; 0 where unknown."""
    fps: float
    """Average frames per second of the time steps; 0.0 where unknown."""
    source: str = ""
    """Path as given by the user; bytes that are not UTF-8 as surrogate escapes, as in `os.fsdecode`."""
    sha256: str = ""
    """Of the source file, in hexadecimal."""
    detail: str = ""
    """Why the clip failed, or what was odd about it."""
    label: str = ""
    """Action label; empty = none."""
    label_index: int = -1
    """Number of the label; -1 = none."""
    split: str = ""
    """For example ``train`` or ``val``; empty = none."""

    def __post_init__(self) -> None:
        """Check what no shard may hold."""
        if self.status not in STATUSES:
            raise ShardError(
                f"clip {self.video_id!r}: expected a status among {', '.join(STATUSES)}, got {self.status!r}"
            )
        if not self.video_id:
            raise ShardError("expected a clip with a video_id, got an empty one; try the name of its file")
        numbers = {n: getattr(self, n) for n in ("num_frames", "width", "height", "label_index")}
        if bad := {n: v for n, v in numbers.items() if not (-1 if n == "label_index" else 0) <= v < 2**31}:
            raise ShardError(
                f"clip {self.video_id!r}: expected sizes from 0, label_index from -1, and 32 bits, got {bad}"
            )

    @classmethod
    def of(
        cls,
        sequence: SkeletonSequence | Tracks,
        *,
        status: Status | None = None,
        source: str = "",
        sha256: str = "",
        detail: str = "",
        label: str | None = None,
        label_index: int = -1,
        split: str = "",
    ) -> Clip:
        """The clip a sequence belongs to; size, length and rate are the sequence's.

        Args:
            sequence: The people of the clip.
            status: None = ``ok`` where somebody was seen, else ``no_person``.
            source: See `Clip.source`.
            sha256: See `Clip.sha256`.
            detail: See `Clip.detail`.
            label: None = the sequence's own.
            label_index: See `Clip.label_index`.
            split: See `Clip.split`.
        """
        height, width = sequence.image_size
        return cls(
            video_id=sequence.video_id,
            status=status or ("ok" if len(Tracks.of(sequence)) else "no_person"),
            num_frames=sequence.num_frames,
            width=width,
            height=height,
            fps=sequence.fps,
            source=source,
            sha256=sha256,
            detail=detail,
            label=(sequence.label or "") if label is None else label,
            label_index=label_index,
            split=split,
        )


def empty_sequence(
    skeleton: Skeleton,
    *,
    video_id: str,
    image_size: tuple[int, int] = (0, 0),
    fps: float = 0.0,
    frame_indices: Int64 | None = None,
    pts_s: Float64 | None = None,
    dimensions: int = 2,
    sources: tuple[str, ...] = (),
) -> SkeletonSequence:
    """A sequence without people: of a clip where nobody was seen, or of one that could not be decoded.

    Args:
        skeleton: Joint set of the shard.
        video_id: Name of the clip.
        image_size: (H, W) of the upright frame.
        fps: Average frames per second of the time steps.
        frame_indices: (T,) number of each time step's frame in the video; None = no frame was decoded.
        pts_s: (T,) time stamps in seconds; given exactly where `frame_indices` is.
        dimensions: C.
        sources: Experts that looked.
    """
    indices = np.zeros(0, np.int64) if frame_indices is None else frame_indices
    times = np.zeros(0, np.float64) if pts_s is None else pts_s
    steps, joints = len(indices), skeleton.num_joints
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=np.zeros((0, steps, joints, dimensions), np.float32),
        scores=np.zeros((0, steps, joints), np.float32),
        confidence=np.zeros((0, steps), np.float32),
        track_ids=np.zeros(0, np.int64),
        frame_indices=indices,
        pts_s=times,
        video_id=video_id,
        fps=fps,
        image_size=image_size,
        sources=sources,
    )
