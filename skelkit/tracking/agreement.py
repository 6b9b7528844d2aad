"""One expert's tracks, ready to be compared, and which poses of two experts are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelkit.geometry import extents, joint_sigmas
from skelkit.skeletons import LIMB_JOINTS
from skelkit.structures import Float32, Float64, Int64, Tracks
from skelkit.tracking.similarity import paired_similarity

SLACK = 1.5
"""Experts differ by more than COCO's annotators do: OKS sigmas are widened by this."""
MIN_SIMILARITY = 0.25
"""Two poses of different experts may be one person if they are at least this similar."""
MIN_SHARE = 0.5
"""Two tracks are one person only if they may be in this share of the frames both are in: passing somebody
is not being them."""
_AT_ONCE = 4096  # poses, or pairs of them, looked at in one go: about 2 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One expert's tracks, one row per person and frame, in the order of time. R rows, M tracks."""

    track: Int64  # (R,) index into the expert's people
    step: Int64  # (R,) ascending
    keypoints: Float32  # (R, K, C)
    limb_joints: Int64  # (12,) index into K; -1 = not in the joint set
    boxes: Float32  # (R, 4) around the limb joints; around all joints where no limb was found
    extents: Float32  # (R, 4) around all joints
    num_tracks: int  # M
    num_steps: int  # T
    by_track: Int64  # (R,) rows by track, then time
    starts: Int64  # (M + 1,) where each track's rows begin in `by_track`

    def limbs(self, rows: Int64 | slice) -> Float32:
        """(n, 12, 2) the limb joints of these rows, the same for every joint set."""
        limbs = self.keypoints[rows][:, self.limb_joints, :2]
        limbs[:, self.limb_joints < 0] = np.nan
        return limbs

    def rows_of(self, track: int) -> Int64:
        """The rows of a track, in the order of time."""
        return self.by_track[self.starts[track] : self.starts[track + 1]]

    def steps_of(self, track: int) -> Int64:
        """The time steps a track is present in, ascending."""
        return self.step[self.rows_of(track)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Poses of two experts in the same frame that are alike (`MIN_SIMILARITY`), by row of their views."""

    a: Int64
    b: Int64
    similarity: Float64


def view_of(tracks: Tracks) -> View:
    """An expert's tracks with what comparisons need of each pose."""
    place = {joint: k for k, joint in enumerate(tracks.skeleton.joints)}
    view = View(
        track=tracks.person,
        step=tracks.step,
        keypoints=tracks.keypoints,
        limb_joints=np.array([place.get(joint, -1) for joint in LIMB_JOINTS]),
        boxes=np.empty((len(tracks), 4), np.float32),
        extents=np.empty((len(tracks), 4), np.float32),
        num_tracks=tracks.num_people,
        num_steps=tracks.num_frames,
        by_track=np.argsort(tracks.person, kind="stable"),
        starts=np.cumsum([0, *np.bincount(tracks.person, minlength=tracks.num_people)]),
    )
    for start in range(0, len(tracks), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        view.extents[rows], boxes = extents(tracks.keypoints[rows]), extents(view.limbs(rows))
        view.boxes[rows] = np.where(np.isfinite(boxes), boxes, view.extents[rows])
    return view


def compare(a: View, b: View) -> Pairs:
    """All pairs of poses of two experts that share a frame and are alike."""
    start, stop = (np.searchsorted(b.step, a.step, side) for side in ("left", "right"))
    ends = np.cumsum(stop - start)  # pairs up to and with each row of a
    sigmas = joint_sigmas(LIMB_JOINTS)
    parts: list[Pairs] = []
    begin = 0
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, "right")))
        number = (stop - start)[begin:end]
        of_a = np.repeat(np.arange(begin, end), number)
        of_b = np.arange(len(of_a)) - np.repeat(np.cumsum(number) - number - start[begin:end], number)
        box_a, box_b = a.boxes[of_a], b.boxes[of_b]
        near = np.logical_and.reduce(
            [(box_a[:, c] <= box_b[:, c + 2]) & (box_b[:, c] <= box_a[:, c + 2]) for c in (0, 1)]
        )
        of_a, of_b = of_a[near], of_b[near]
        similarity = paired_similarity(
            a.limbs(of_a), b.limbs(of_b), a.boxes[of_a], b.boxes[of_b], sigmas=sigmas, slack=SLACK
        )
        alike = similarity >= MIN_SIMILARITY
        parts.append(Pairs(a=of_a[alike], b=of_b[alike], similarity=similarity[alike]))
        begin = end
    none = np.zeros(0, np.int64)
    return Pairs(
        a=np.concatenate([none, *(p.a for p in parts)]),
        b=np.concatenate([none, *(p.b for p in parts)]),
        similarity=np.concatenate([np.zeros(0), *(p.similarity for p in parts)]),
    )
