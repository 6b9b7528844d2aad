"""Poses of one expert over time -> people with identities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import extents, joint_sigmas
from skelkit.structures import Bool, Float32, Float64, Int64, Poses, Skeleton, SkeletonSequence, VideoInfo
from skelkit.tracking.association import ActiveTracks, TrackerSettings
from skelkit.tracking.people import choose_people, rank_people


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The poses of one batch that belong to a track, R rows. Small: absence costs nothing."""

    track: Int64  # (R,)
    step: Int64  # (R,)
    keypoints: Float32  # (R, K, C)
    scores: Float32  # (R, K)
    confidence: Float32  # (R,)


class PoseTracker:
    """Follows people through a clip by pose similarity and motion; implements `protocols.Tracker`.

    Frame by frame, poses are assigned to tracks by OKS (on joints both have) and box IoU against the
    track's position, moved on by its damped velocity; sure poses first, then unsure ones (ByteTrack).
    3-D poses are followed by their boxes alone, which are in pixels.

    Memory: the poses themselves, the people in sight, and at the end the dense sequence of those kept.

    Args:
        settings: What to go by.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()

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
            M people; confidence (M, T) is the pose's `box_scores`. Ids count from 0 in the order of first
            appearance, then of rank. In a bridged gap the person's joints stay NaN.

        Raises:
            ConfigError: no batch, batches of different joint sets or out of order, or poses in frames
                that are not among `frame_indices`.
        """
        if frame_indices.shape != pts_s.shape:
            raise ConfigError(
                f"expected as many time stamps as frames, got {pts_s.shape} and {frame_indices.shape}"
            )
        rows: list[_Rows] = []
        skeleton: Skeleton | None = None
        for batch in poses:
            if skeleton is None:
                skeleton = batch.skeleton
                active = ActiveTracks(self.settings, joint_sigmas(skeleton), pts_s)
                dimensions, last = batch.keypoints.shape[2], -1
            if batch.skeleton != skeleton or batch.keypoints.shape[2] != dimensions:
                raise ConfigError(
                    f"expected poses of one expert, got {skeleton.name!r} with {dimensions} coordinates, "
                    f"then {batch.skeleton.name!r} with {batch.keypoints.shape[2]}"
                )
            steps = _steps(batch, frame_indices, after=last)
            last = int(steps[-1]) if len(steps) else last
            rows.append(_follow(active, batch, steps))
        if skeleton is None:
            raise ConfigError("expected at least one batch of poses (it may hold no pose), got none")
        person = self._people(rows, active.started, pts_s, (info.height, info.width))
        return _dense(
            rows,
            person,
            skeleton=skeleton,
            dimensions=dimensions,
            frame_indices=frame_indices,
            pts_s=pts_s,
            info=info,
            video_id=video_id,
            source=source,
        )

    def _people(self, rows: list[_Rows], tracks: int, pts_s: Float64, image_size: tuple[int, int]) -> Int64:
        """(tracks,) the person each track is in the result, -1 where it is dropped."""
        track = np.concatenate([r.track for r in rows])
        step = np.concatenate([r.step for r in rows])
        confidence = np.concatenate([r.confidence for r in rows])
        boxes = np.concatenate([extents(r.keypoints) for r in rows])
        rank = rank_people(track, boxes, num_people=tracks, num_steps=len(pts_s), image_size=image_size)
        first, last = np.full(tracks, len(pts_s)), np.full(tracks, -1)
        np.minimum.at(first, track, step)
        np.maximum.at(last, track, step)
        surest = np.zeros(tracks)
        np.maximum.at(surest, track, confidence)
        rank[self._flicker(np.bincount(track, minlength=tracks), surest, first, last, pts_s)] = -1
        chosen = choose_people(rank, first, self.settings.max_people)
        person = np.full(tracks, -1, np.int64)
        person[chosen] = np.arange(len(chosen))
        return person

    def _flicker(self, poses: Int64, surest: Float64, first: Int64, last: Int64, pts_s: Float64) -> Bool:
        """(tracks,) whether a track is too short and too unsure to be a person.

        Each time step stands for the time until the next, so one pose of a clip sampled twice a second is
        half a second of somebody, and short clips and single pictures keep everyone.
        """
        s = self.settings
        if len(pts_s) < 2 or pts_s[-1] - pts_s[0] <= 5 * s.flicker_s:
            return np.zeros(len(poses), bool)
        covered = pts_s[last] - pts_s[first] + float(np.median(np.diff(pts_s)))
        return (poses < s.flicker_poses) & (covered < s.flicker_s) & (surest < s.flicker_score)


def _steps(batch: Poses, frame_indices: Int64, after: int) -> Int64:
    """(P,) the time step of each pose; checks that they ascend and come after the batch before."""
    steps: Int64 = np.searchsorted(frame_indices, batch.frame_indices)
    known: Bool = np.isin(batch.frame_indices, frame_indices)
    if not known.all():
        raise ConfigError(
            f"poses in frame {batch.frame_indices[~known][0]}, which is not among the {len(frame_indices)} "
            "frames of the clip; expected frame_indices to name all frames looked at"
        )
    if np.any(np.diff(steps, prepend=after + 1) < 0):
        raise ConfigError(
            "poses out of order: expected ascending frames, and all poses of a frame in one batch"
        )
    return steps


def _follow(active: ActiveTracks, batch: Poses, steps: Int64) -> _Rows:
    """Run the frames of one batch through the tracker and keep what belongs to a track."""
    joints = batch.keypoints
    if joints.shape[2] != 2:
        joints = np.full((*joints.shape[:2], 2), np.nan, np.float32)
    found = np.flatnonzero(np.isfinite(extents(batch.keypoints)[:, 0]))  # without a joint it is nobody
    ids = np.full(len(batch), -1, np.int64)
    for here in np.split(found, np.flatnonzero(np.diff(steps[found])) + 1):
        if len(here):
            ids[here] = active.advance(
                int(steps[here[0]]), joints[here], batch.boxes_xyxy[here], batch.box_scores[here]
            )
    kept = ids >= 0
    return _Rows(
        track=ids[kept],
        step=steps[kept],
        keypoints=batch.keypoints[kept],
        scores=batch.scores[kept],
        confidence=batch.box_scores[kept],
    )


def _dense(
    rows: list[_Rows],
    person: Int64,
    *,
    skeleton: Skeleton,
    dimensions: int,
    frame_indices: Int64,
    pts_s: Float64,
    info: VideoInfo,
    video_id: str,
    source: str,
) -> SkeletonSequence:
    """The rows of the people kept as one sequence; ``person`` (tracks,) is -1 for tracks dropped."""
    m, t, k = int(person.max(initial=-1)) + 1, len(frame_indices), skeleton.num_joints
    keypoints = np.full((m, t, k, dimensions), np.nan, np.float32)
    scores = np.zeros((m, t, k), np.float32)
    confidence = np.full((m, t), np.nan, np.float32)
    for r in rows:
        who = person[r.track]
        kept = who >= 0
        at = who[kept], r.step[kept]
        keypoints[at], scores[at], confidence[at] = r.keypoints[kept], r.scores[kept], r.confidence[kept]
    span = float(pts_s[-1] - pts_s[0]) if t > 1 else 0.0
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=keypoints,
        scores=scores,
        confidence=confidence,
        track_ids=np.arange(m, dtype=np.int64),
        frame_indices=frame_indices,
        pts_s=pts_s,
        video_id=video_id,
        fps=(t - 1) / span if span > 0 else 0.0,
        image_size=(info.height, info.width),
        sources=(source,),
    )
