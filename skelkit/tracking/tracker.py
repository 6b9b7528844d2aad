"""Poses of one expert over time -> people with identities."""

from __future__ import annotations

from collections.abc import Iterable

from skelkit.errors import ConfigError
from skelkit.structures import Float64, Int64, Poses, Skeleton, SkeletonSequence, Tracks, VideoInfo
from skelkit.tracking.association import TrackerSettings
from skelkit.tracking.following import Following


class PoseTracker:
    """Follows people through a clip by pose similarity and motion; implements `protocols.Tracker`.

    Frame by frame, poses are assigned to tracks by OKS (on joints both have) and box IoU against the
    track's position, moved on by its damped velocity; sure poses first, then unsure ones (ByteTrack).
    3-D poses are followed by their boxes alone, which are in pixels.

    Args:
        settings: What to go by.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()

    def begin(self, skeleton: Skeleton, dimensions: int = 2) -> Following:
        """Start a clip whose frames are still coming in.

        Args:
            skeleton: The expert's joint set.
            dimensions: C of its poses.
        """
        return Following(self.settings, skeleton, dimensions)

    def follow(
        self,
        poses: Iterable[Poses],
        *,
        frame_indices: Int64,
        pts_s: Float64,
        info: VideoInfo,
        video_id: str,
        source: str,
    ) -> Tracks:
        """Follow people through a clip.

        Args:
            poses: At least one batch (it may hold no pose), in the order of time; all poses of a frame
                in one batch.
            frame_indices: (T,) all frames looked at, strictly ascending, also those without people.
            pts_s: (T,) their time stamps in seconds.
            info: The clip.
            video_id: Its name in the result.
            source: The expert's name.

        Returns:
            M people; the confidence of a row is the pose's `box_scores`. Ids count from 0 in the order of
            first appearance, then of rank. In a bridged gap a person has no rows.

        Raises:
            ConfigError: no batch, batches of different joint sets or out of order, or poses in frames
                that are not among `frame_indices`.
        """
        following: Following | None = None
        for batch in poses:
            if following is None:
                following = self.begin(batch.skeleton, batch.keypoints.shape[2])
                following.add(batch, frame_indices=frame_indices, pts_s=pts_s)
            else:
                following.add(batch, frame_indices=frame_indices[:0], pts_s=pts_s[:0])
        if following is None:
            raise ConfigError("expected at least one batch of poses (it may hold no pose), got none")
        return following.finish(info=info, video_id=video_id, source=source)

    def track(
        self,
        poses: Iterable[Poses],
        *,
        frame_indices: Int64,
        pts_s: Float64,
        info: VideoInfo,
        video_id: str,
        source: str,
    ) -> SkeletonSequence:
        """As `follow`, dense: in frames in which a person is absent the joints are NaN."""
        return self.follow(
            poses, frame_indices=frame_indices, pts_s=pts_s, info=info, video_id=video_id, source=source
        ).to_sequence()
