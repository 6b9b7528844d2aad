"""One time step of tracking: which pose continues which track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from skelkit.errors import ConfigError
from skelkit.geometry import Floats
from skelkit.structures import Bool, Float64, Int64
from skelkit.tracking.similarity import similarity_matrix

MIN_SHARED = 3
"""Fewer joints in common than this say nothing of a body's motion; the box centre is taken instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """What the tracker goes by. Times are seconds, so that frame rate and stride do not matter.

    Raises:
        ConfigError: a value outside its range.
    """

    high_score: float = 0.3
    """Poses at least this sure are associated first, and only they start tracks."""
    low_score: float = 0.1
    """Poses less sure than this are dropped."""
    min_similarity: float = 0.2
    """A sure pose continues a track only if they are at least this similar."""
    min_similarity_low: float = 0.4
    """The same for unsure poses, which are more often background."""
    duplicate_similarity: float = 0.8
    """Of two poses in one frame at least this similar, the surer is kept: one person found twice."""
    max_gap_s: float = 1.0
    """A person unseen for longer than this comes back as somebody new. Time counts from the first time
    step without them, so at any frame rate a track reaches the next time step."""
    velocity_memory_s: float = 0.2
    """Time constant over which observed velocities are averaged."""
    damping_s: float = 1.0
    """Time constant with which the predicted motion of an unseen person dies away."""
    slack_s: float = 0.25
    """Time after which the prediction is twice as uncertain as an annotator (OKS sigmas are widened by
    1 + time / slack_s, at most threefold)."""
    flicker_poses: int = 3
    """A track is dropped as flicker if it has fewer poses than this ..."""
    flicker_s: float = 0.2
    """... and covers less time than this, in a clip of more than five times this length ..."""
    flicker_score: float = 0.5
    """... and no pose as sure as this."""
    max_people: int = 32
    """People kept: those who rank highest by `people.rank_people`."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "high_score",
            "low_score",
            "min_similarity",
            "min_similarity_low",
            "duplicate_similarity",
            "flicker_score",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"tracker {name}: expected 0 to 1, got {getattr(self, name)}")
        for name in ("velocity_memory_s", "damping_s", "slack_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"tracker {name}: expected seconds > 0, got {getattr(self, name)}")
        for name in ("max_gap_s", "flicker_s", "flicker_poses"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"tracker {name}: expected 0 or more, got {getattr(self, name)}")
        if self.max_people < 1:
            raise ConfigError(f"tracker max_people: expected 1 or more, got {self.max_people}")


class ActiveTracks:
    """The people being followed at the moment: A tracks as arrays, whatever the length of the clip.

    Args:
        settings: What to go by.
        sigmas: (K,) of OKS.
    """

    def __init__(self, settings: TrackerSettings, sigmas: Float64) -> None:
        self._settings, self._sigmas, self._pts = settings, sigmas, np.zeros(0)
        self.started = 0
        """Tracks started so far; their ids are 0 ... started - 1."""
        self._id = np.zeros(0, np.int64)
        self._joints = np.zeros((0, len(sigmas), 2), np.float64)  # as last seen
        self._boxes = np.zeros((0, 4), np.float64)
        self._velocity = np.zeros((0, 2), np.float64)  # of the whole body, pixels per second
        self._seen = np.zeros(0, np.int64)  # time step of the last pose
        self._poses = np.zeros(0, np.int64)  # poses so far

    def advance(self, step: int, pts_s: Float64, joints: Floats, boxes: Floats, scores: Floats) -> Int64:
        """Associate the poses of one time step.

        Args:
            step: Index of the time step, greater than at the last call.
            pts_s: Time stamps of all time steps up to this one at least.
            joints: (P, K, 2) pixels, NaN = not found.
            boxes: (P, 4).
            scores: (P,) in [0, 1].

        Returns:
            (P,) track id of each pose, -1 where it belongs to none.
        """
        self._pts = pts_s
        self._retire(step)
        ids = np.full(len(scores), -1, np.int64)
        order = self._worthy(joints, boxes, scores)
        joints, boxes, scores = joints[order], boxes[order], scores[order]
        tracks, poses = self._associate(step, joints, boxes, scores)
        self._update(step, tracks, joints[poses], boxes[poses])
        ids[order[poses]] = self._id[tracks]
        new = np.setdiff1d(np.flatnonzero(scores >= self._settings.high_score), poses)
        ids[order[new]] = self._start(step, joints[new], boxes[new])
        return ids

    def _retire(self, step: int) -> None:
        unseen = self._pts[step] - self._pts[self._seen + 1]  # _seen < step: nobody was seen later
        self._select(unseen <= self._settings.max_gap_s)

    def _select(self, keep: Bool) -> None:
        if not keep.all():
            for name in ("_id", "_joints", "_boxes", "_velocity", "_seen", "_poses"):
                setattr(self, name, getattr(self, name)[keep])

    def _worthy(self, joints: Floats, boxes: Floats, scores: Floats) -> Int64:
        """Indices of the poses to use, surest first; the order they came in makes no difference.

        Left out: poses too unsure, and all but the surest of several that are one person found twice.
        """
        order: Int64 = np.lexsort((*boxes.T, -scores))
        order = order[scores[order] >= self._settings.low_score]
        if len(order) < 2:
            return order
        joints, boxes = joints[order], boxes[order]
        alike = similarity_matrix(joints, joints, boxes, boxes, sigmas=self._sigmas)
        alike = np.triu(alike >= self._settings.duplicate_similarity, k=1)
        keep = np.ones(len(order), bool)
        for row in np.flatnonzero(alike.any(axis=1)):  # greedy, as in non-maximum suppression
            if keep[row]:
                keep &= ~alike[row]
        return np.asarray(order[keep])

    def _associate(self, step: int, joints: Floats, boxes: Floats, scores: Floats) -> tuple[Int64, Int64]:
        """Tracks and poses that belong together: first the sure poses, then unsure ones to what is left.

        Two stages by score as in ByteTrack (Zhang et al. 2022), each solved by the Hungarian method.
        """
        s = self._settings
        if not len(self._id) or not len(scores):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        gap = self._gap(step)[:, None]
        travel = self._velocity * s.damping_s * -np.expm1(-gap / s.damping_s)
        slack = np.minimum(1 + gap / s.slack_s, 3)
        alike = similarity_matrix(
            self._joints + travel[:, None],
            joints,
            self._boxes + np.tile(travel, 2),
            boxes,
            sigmas=self._sigmas,
            slack=slack,
        )
        # What was long unseen fits more poses, being uncertain; that must not make it fit better. The
        # power is an empirical middle: on simulated crossings fewer switches than with 0 or 1/2.
        alike /= (slack / slack.min()) ** 0.25
        sure = scores >= s.high_score
        tracks, poses = _best_pairs(alike, np.arange(len(alike)), np.flatnonzero(sure), s.min_similarity)
        left = np.setdiff1d(np.arange(len(alike)), tracks)
        more = _best_pairs(alike, left, np.flatnonzero(~sure), s.min_similarity_low)
        return np.concatenate([tracks, more[0]]), np.concatenate([poses, more[1]])

    def _gap(self, step: int) -> Float64:
        """(A,) seconds since last seen; equal or backward time stamps count as a short while."""
        return np.asarray(np.maximum(self._pts[step] - self._pts[self._seen], 1e-3))

    def _update(self, step: int, tracks: Int64, joints: Floats, boxes: Floats) -> None:
        gap = self._gap(step)[tracks, None]
        observed = _body_shift(self._joints[tracks], joints, self._boxes[tracks], boxes) / gap
        # The first velocities are averaged evenly, later ones over the memory.
        gain = np.maximum(-np.expm1(-gap / self._settings.velocity_memory_s), 1 / self._poses[tracks, None])
        self._velocity[tracks] += gain * (observed - self._velocity[tracks])
        self._joints[tracks], self._boxes[tracks], self._seen[tracks] = joints, boxes, step
        self._poses[tracks] += 1

    def _start(self, step: int, joints: Floats, boxes: Floats) -> Int64:
        n = len(joints)
        ids = np.arange(self.started, self.started + n)
        if n:
            self.started += n
            self._id = np.concatenate([self._id, ids])
            self._joints = np.concatenate([self._joints, joints])
            self._boxes = np.concatenate([self._boxes, boxes])
            self._velocity = np.concatenate([self._velocity, np.zeros((n, 2))])
            self._seen = np.concatenate([self._seen, np.full(n, step)])
            self._poses = np.concatenate([self._poses, np.ones(n, np.int64)])
        return ids


def _best_pairs(alike: Float64, rows: Int64, columns: Int64, least: float) -> tuple[Int64, Int64]:
    """The pairing of greatest total similarity among these rows and columns, each pair at least ``least``."""
    table = alike[np.ix_(rows, columns)]
    table = np.where(table >= least, table, 0.0)
    r, c = linear_sum_assignment(table, maximize=True)
    good = table[r, c] > 0
    return rows[r[good]], columns[c[good]]


def _body_shift(old: Floats, new: Floats, old_boxes: Floats, new_boxes: Floats) -> Float64:
    """(n, 2) by how much bodies moved: the median over joints found in both poses.

    The median leaves swinging limbs and wrong joints out; a box would jump with every joint that is lost.
    """
    moves = np.sort(new - old, axis=1)  # NaN last
    shared = np.isfinite(moves[:, :, 0]).sum(axis=1)
    row, half = np.arange(len(moves)), np.maximum(shared - 1, 0)
    median = (moves[row, half // 2] + moves[row, (half + 1) // 2]) / 2
    centres = (new_boxes[:, :2] + new_boxes[:, 2:] - old_boxes[:, :2] - old_boxes[:, 2:]) / 2
    return np.where((shared >= MIN_SHARED)[:, None], median, centres)
