"""One expert's tracks as rows, and which poses of two experts are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelkit.geometry import extents, joint_sigmas
from skelkit.skeletons import LIMB_JOINTS
from skelkit.structures import Bool, Float32, Float64, Int64, SkeletonSequence
from skelkit.tracking.similarity import paired_similarity

SLACK = 1.5
"""Experts differ by more than COCO's annotators do: OKS sigmas are widened by this."""
MIN_SIMILARITY = 0.25
"""Two poses of different experts may be one person if they are at least this similar."""
MIN_SHARE = 0.5
"""Two tracks are one person only if they may be in this share of the frames both are in: passing somebody
is not being them."""
_PAIRS_AT_ONCE = 100_000  # pairs of poses compared in one go: about 30 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One expert's tracks, one row per person and frame, in the order of time. R rows."""

    track: Int64  # (R,) index into the sequence's people
    step: Int64  # (R,) ascending
    limbs: Float32  # (R, 12, 2)
    boxes: Float32  # (R, 4) around the limb joints; around all joints where no limb was found
    extents: Float32  # (R, 4) around all joints
    present: Bool  # (M, T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Poses of two experts in the same frame that are alike (`MIN_SIMILARITY`), by row of their views."""

    a: Int64
    b: Int64
    similarity: Float64


def view_of(sequence: SkeletonSequence) -> View:
    """The poses of a sequence, without the frames in which people are absent."""
    present = sequence.present()
    step, track = np.nonzero(present.T)
    keypoints = sequence.keypoints[track, step]
    have = {joint: k for k, joint in enumerate(sequence.skeleton.joints)}
    limbs = np.full((len(step), len(LIMB_JOINTS), 2), np.nan, np.float32)
    for k, joint in enumerate(LIMB_JOINTS):
        if joint in have:
            limbs[:, k] = keypoints[:, have[joint], :2]
    whole, boxes = extents(keypoints), extents(limbs)
    return View(
        track=track,
        step=step,
        limbs=limbs,
        boxes=np.where(np.isfinite(boxes), boxes, whole),
        extents=whole,
        present=present,
    )


def compare(a: View, b: View) -> Pairs:
    """All pairs of poses of two experts that share a frame and are alike."""
    start, stop = (np.searchsorted(b.step, a.step, side) for side in ("left", "right"))
    ends = np.cumsum(stop - start)  # pairs up to and with each row of a
    sigmas = joint_sigmas(LIMB_JOINTS)
    parts: list[Pairs] = []
    begin = 0
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        number = (stop - start)[begin:end]
        of_a = np.repeat(np.arange(begin, end), number)
        of_b = np.arange(len(of_a)) - np.repeat(np.cumsum(number) - number - start[begin:end], number)
        box_a, box_b = a.boxes[of_a], b.boxes[of_b]
        near = np.logical_and.reduce(
            [(box_a[:, c] <= box_b[:, c + 2]) & (box_b[:, c] <= box_a[:, c + 2]) for c in (0, 1)]
        )
        of_a, of_b = of_a[near], of_b[near]
        similarity = paired_similarity(
            a.limbs[of_a], b.limbs[of_b], a.boxes[of_a], b.boxes[of_b], sigmas=sigmas, slack=SLACK
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
