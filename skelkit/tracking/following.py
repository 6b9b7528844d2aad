"""Following people while the frames come in: the poses of one expert, batch by batch, become tracks."""

from __future__ import annotations

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import extents, joint_sigmas
from skelkit.structures import Bool, Float64, Int64, Poses, Skeleton, Tracks, VideoInfo
from skelkit.tracking.association import ActiveTracks, TrackerSettings
from skelkit.tracking.growing import Growing
from skelkit.tracking.people import choose_people, rank_people


class Following:
    """One clip being followed: `add` its batches, then `finish`. Made by `PoseTracker.begin`.

    Memory: the poses that belong to tracks, once, and the people in sight.

    Args:
        settings: What to go by.
        skeleton: The expert's joint set.
        dimensions: C of its poses.
    """

    def __init__(self, settings: TrackerSettings, skeleton: Skeleton, dimensions: int) -> None:
        self._settings, self._skeleton, self._dimensions = settings, skeleton, dimensions
        self._active = ActiveTracks(settings, joint_sigmas(skeleton))
        self._frames, self._pts = Growing(np.int64), Growing(np.float64)
        self._last = -1  # time step of the last pose
        joints = skeleton.num_joints
        self._track, self._step, self._boxes = Growing(np.int64), Growing(np.int64), Growing(np.float32, (4,))
        self._keypoints = Growing(np.float32, (joints, dimensions))
        self._scores, self._confidence = Growing(np.float32, (joints,)), Growing(np.float32)

    def add(self, poses: Poses, *, frame_indices: Int64, pts_s: Float64) -> None:
        """Follow people through the next frames.

        Args:
            poses: All poses in the frames added since the last poses.
            frame_indices: (N,) frames looked at that were not given yet, strictly ascending, also those
                without people.
            pts_s: (N,) their time stamps in seconds.

        Raises:
            ConfigError: poses of another joint set or out of order, or in frames not given.
        """
        if frame_indices.shape != pts_s.shape:
            raise ConfigError(
                f"expected as many time stamps as frames, got {pts_s.shape} and {frame_indices.shape}"
            )
        if poses.skeleton != self._skeleton or poses.keypoints.shape[2] != self._dimensions:
            raise ConfigError(
                f"expected poses of one expert, got {self._skeleton.name!r} with {self._dimensions} "
                f"coordinates, then {poses.skeleton.name!r} with {poses.keypoints.shape[2]}"
            )
        self._frames.extend(frame_indices)
        self._pts.extend(pts_s)
        steps = self._steps(poses)
        boxes = extents(poses.keypoints)
        ids = self._follow(poses, steps, found=np.flatnonzero(np.isfinite(boxes[:, 0])))
        kept = ids >= 0
        for column, rows in (
            (self._track, ids),
            (self._step, steps),
            (self._boxes, boxes),
            (self._keypoints, poses.keypoints),
            (self._scores, poses.scores),
            (self._confidence, poses.box_scores),
        ):
            column.extend(rows[kept])

    def finish(self, *, info: VideoInfo, video_id: str, source: str) -> Tracks:
        """The people of the clip; nothing can be added afterwards.

        Args:
            info: The clip.
            video_id: Its name in the result.
            source: The expert's name.
        """
        image_size = (info.height, info.width)
        person = self._people(image_size)
        number = int(person.max(initial=-1)) + 1
        kept = person[self._track.rows] >= 0
        for column in (self._track, self._step, self._keypoints, self._scores, self._confidence):
            column.keep(kept)
        pts_s = self._pts.rows
        span = float(pts_s[-1] - pts_s[0]) if len(pts_s) > 1 else 0.0
        return Tracks(
            skeleton=self._skeleton,
            person=person[self._track.rows],
            step=self._step.rows,
            keypoints=self._keypoints.rows,
            scores=self._scores.rows,
            confidence=self._confidence.rows,
            track_ids=np.arange(number, dtype=np.int64),
            frame_indices=self._frames.rows,
            pts_s=pts_s,
            video_id=video_id,
            fps=(len(pts_s) - 1) / span if span > 0 else 0.0,
            image_size=image_size,
            sources=(source,),
        )

    def _steps(self, poses: Poses) -> Int64:
        """(P,) the time step of each pose; checks that they ascend and come after the batch before."""
        frames = self._frames.rows
        steps: Int64 = np.searchsorted(frames, poses.frame_indices)
        known: Bool = np.append(frames, -1)[steps] == poses.frame_indices
        if not known.all():
            raise ConfigError(
                f"poses in frame {poses.frame_indices[~known][0]}, which is not among the {len(frames)} "
                "frames of the clip; expected frame_indices to name all frames looked at"
            )
        if np.any(np.diff(steps, prepend=self._last + 1) < 0):
            raise ConfigError(
                "poses out of order: expected ascending frames, and all poses of a frame in one batch"
            )
        self._last = int(steps[-1]) if len(steps) else self._last
        return steps

    def _follow(self, poses: Poses, steps: Int64, found: Int64) -> Int64:
        """(P,) the track of each pose; -1 = none. ``found``: the poses with a joint, others are nobody."""
        joints = poses.keypoints
        if joints.shape[2] != 2:
            joints = np.full((*joints.shape[:2], 2), np.nan, np.float32)
        ids = np.full(len(poses), -1, np.int64)
        for here in np.split(found, np.flatnonzero(np.diff(steps[found])) + 1):
            if len(here):
                ids[here] = self._active.advance(
                    int(steps[here[0]]),
                    self._pts.rows,
                    joints[here],
                    poses.boxes_xyxy[here],
                    poses.box_scores[here],
                )
        return ids

    def _people(self, image_size: tuple[int, int]) -> Int64:
        """(tracks,) the person each track is in the result, -1 where it is dropped."""
        track, step, pts_s = self._track.rows, self._step.rows, self._pts.rows
        tracks = self._active.started
        rank = rank_people(
            track, self._boxes.rows, num_people=tracks, num_steps=len(pts_s), image_size=image_size
        )
        first, last = np.full(tracks, len(pts_s)), np.full(tracks, -1)
        np.minimum.at(first, track, step)
        np.maximum.at(last, track, step)
        surest = np.zeros(tracks)
        np.maximum.at(surest, track, self._confidence.rows)
        rank[self._flicker(np.bincount(track, minlength=tracks), surest, first, last)] = -1
        chosen = choose_people(rank, first, self._settings.max_people)
        person = np.full(tracks, -1, np.int64)
        person[chosen] = np.arange(len(chosen))
        return person

    def _flicker(self, poses: Int64, surest: Float64, first: Int64, last: Int64) -> Bool:
        """(tracks,) whether a track is too short and too unsure to be a person.

        Each time step stands for the time until the next, so one pose of a clip sampled twice a second is
        half a second of somebody, and short clips and single pictures keep everyone.
        """
        s, pts_s = self._settings, self._pts.rows
        if len(pts_s) < 2 or pts_s[-1] - pts_s[0] <= 5 * s.flicker_s:
            return np.zeros(len(poses), bool)
        covered = pts_s[last] - pts_s[first] + float(np.median(np.diff(pts_s)))
        return np.asarray((poses < s.flicker_poses) & (covered < s.flicker_s) & (surest < s.flicker_score))
