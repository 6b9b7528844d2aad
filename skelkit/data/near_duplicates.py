"""Clips that show the same movement twice: re-uploads, re-encodings, other resolutions.

A clip is described by its most present person at a few moments spread over that person's time, centred and
in body heights, so that place, resolution and frame rate do not matter. Two clips are near duplicates where
the root mean square difference of their descriptors is at most the limit: 0.02 is 3 cm for a person of
1.70 m. Mirrored clips count as different.

No pair is missed: descriptors are projected to their principal components, which makes no distance longer;
a k-d tree of the projections gives candidates, and the whole descriptors decide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from skelkit.data.facts import body_heights, medians
from skelkit.data.preparing import first_of_people
from skelkit.data.rows import Rows
from skelkit.errors import ConfigError
from skelkit.skeletons import LIMB_JOINTS
from skelkit.structures import Float32, Int64, Skeleton

Float16 = npt.NDArray[np.float16]

MOMENTS = 8
"""Poses that describe a clip."""
_COMPONENTS = 16
_BATCH = 64
_CHUNK = 8192


def describe_clips(rows: Rows, num_rows: Int64, skeleton: Skeleton) -> Float16:
    """Descriptors of consecutive clips.

    Args:
        rows: Rows of n clips, one clip after the other.
        num_rows: (n,) rows of each clip.
        skeleton: Joint set of the rows; only its shoulders, elbows, wrists, hips, knees and ankles count.

    Returns:
        (n, D); NaN for a clip without rows, or where nothing has a height.

    Raises:
        ConfigError: the joint set has none of these joints.
    """
    joints = [skeleton.index(name) for name in LIMB_JOINTS if name in skeleton.joints]
    if not joints:
        raise ConfigError(
            f"joint set {skeleton.name}: expected some of {', '.join(LIMB_JOINTS)} to find near-duplicate "
            "clips by; leave near_duplicates out"
        )
    out = np.full((len(num_rows), MOMENTS, len(joints), 2), np.nan, np.float32)
    mine, counts = _main_people(rows, num_rows)
    points = rows.keypoints[mine][:, joints, :2]
    clip = np.repeat(np.arange(len(num_rows)), counts)
    seen = np.isfinite(points[..., 0])
    heights = np.where(seen.any(axis=1), body_heights(points, seen), 0)
    scale = medians(heights, clip, counts)
    some = np.flatnonzero(scale > 0)  # not those without rows, whose scale is NaN
    at = _moments(rows.frame[mine].astype(np.int64), clip, counts, some)
    described = seen[at].any(axis=(1, 2))
    some, poses = some[described], points[at[described]]  # (n', moments, joints, 2)
    shown = np.isfinite(poses)
    centre = np.where(shown, poses, 0).sum(axis=(1, 2), keepdims=True) / shown.sum(axis=(1, 2), keepdims=True)
    out[some] = _filled((poses - centre) / scale[some, None, None, None])
    return out.reshape(len(out), MOMENTS * len(joints) * 2).astype(np.float16)


def find_duplicates(descriptors: Float16, names: npt.NDArray[np.object_], limit: float) -> Int64:
    """For every clip the first by name that it duplicates, -1 where it duplicates none.

    Args:
        descriptors: (n, D), see `describe_clips`; clips with NaN duplicate nothing.
        names: (n,) unique.
        limit: Greatest root mean square difference between duplicates, in body heights.

    Returns:
        (n,) a clip is compared with those kept before it in the order of names; each is a clip that is not
        itself a duplicate.
    """
    duplicate_of = np.full(len(names), -1, np.int64)
    order = np.argsort(names.astype(str), kind="stable")
    order = order[np.isfinite(descriptors[order]).all(axis=1)]
    if not len(order):
        return duplicate_of
    points = descriptors[order]
    projected = _projected(points)
    tree = cKDTree(projected)
    first = np.full(len(order), -1, np.int64)
    radius = limit * 1.001 + 1e-4  # rounding must not lose a pair
    for start in range(0, len(order), _BATCH):
        open_ = [i for i in range(start, min(start + _BATCH, len(order))) if first[i] < 0]
        near = tree.query_ball_point(projected[open_], radius) if open_ else []
        for i, found in zip(open_, near, strict=True):
            if first[i] >= 0:
                continue
            later = np.asarray(found, np.int64)
            later = later[(later > i) & (first[later] < 0)]
            difference = points[later].astype(np.float32) - points[i].astype(np.float32)
            first[later[np.sqrt((difference**2).mean(axis=1)) <= limit]] = i
    duplicate_of[order[first >= 0]] = order[first[first >= 0]]
    return duplicate_of


def _main_people(rows: Rows, num_rows: Int64) -> tuple[npt.NDArray[np.bool_], Int64]:
    """Which rows are those of each clip's most present person, and how many these are in every clip."""
    clip = np.repeat(np.arange(len(num_rows)), num_rows)
    starts = first_of_people(clip, rows.track)
    lengths = np.diff(starts, append=len(clip))
    owner = clip[starts]
    order = np.lexsort((-lengths, owner))
    best = order[first_of_people(owner[order], owner[order])]
    main = np.zeros(len(starts), bool)
    main[best] = True
    counts = np.zeros(len(num_rows), np.int64)
    counts[owner[best]] = lengths[best]
    return np.repeat(main, lengths), counts


def _moments(frame: Int64, clip: Int64, counts: Int64, some: Int64) -> Int64:
    """(n', moments) the rows nearest after evenly spaced moments of each of the clips `some`."""
    first = (np.cumsum(counts) - counts)[some]
    last = first + counts[some] - 1
    stride = int(frame.max(initial=0)) + 2
    share = (np.arange(MOMENTS) + 0.5) / MOMENTS
    times = frame[first, None] + share * (frame[last] - frame[first])[:, None]
    wanted = some[:, None] * stride + np.ceil(times).astype(np.int64)
    return np.asarray(np.searchsorted(clip * stride + frame, wanted))


def _filled(poses: Float32) -> Float32:
    """Joints missing at a moment are at their mean over the others; those never seen are in the centre."""
    seen = np.isfinite(poses)
    total = np.where(seen, poses, 0).sum(axis=1, keepdims=True)
    return np.where(seen, poses, total / np.maximum(seen.sum(axis=1, keepdims=True), 1))


def _projected(points: Float16) -> Float32:
    """On the principal components, so scaled that distances are root mean squares; none is longer."""
    mean = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = np.zeros((points.shape[1],) * 2)
    pieces = [slice(i, i + _CHUNK) for i in range(0, len(points), _CHUNK)]
    for piece in pieces:
        centred = points[piece].astype(np.float32) - mean
        covariance += centred.T @ centred
    axes = np.linalg.eigh(covariance)[1][:, -_COMPONENTS:].astype(np.float32)
    scale = np.float32(1 / np.sqrt(points.shape[1]))
    return np.concatenate([(points[p].astype(np.float32) - mean) @ axes * scale for p in pieces])
