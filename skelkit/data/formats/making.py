"""Clips out of what files hold: arrays of people over time, or people frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data.clip import Clip
from skelkit.data.formats.base import Item, ReadOptions
from skelkit.data.formats.people import Frames
from skelkit.errors import ConfigError, InputError, SkelkitError
from skelkit.skeletons import COCO17, HALPE26, JHMDB15, LCR13, MPII16, NTU25, OPENPOSE18, POSETICS25
from skelkit.structures import Float32, Int64, Skeleton, Tracks

ASSUMED_FPS = 30.0
"""Time stamps are counted at this rate where nobody knows the true one; `Clip.fps` stays 0."""
MAX_FRAMES = 2**20
"""Of one clip, ten hours: a file of a few bytes cannot claim more."""

USUAL: dict[tuple[int, int], Skeleton] = {
    **{(s.num_joints, 2): s for s in (LCR13, JHMDB15, MPII16, COCO17, OPENPOSE18, POSETICS25, HALPE26)},
    (NTU25.num_joints, 3): NTU25,
    (LCR13.num_joints, 3): LCR13,
}
"""Joint sets by number of joints and dimensions, for formats that name none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a file says of a clip besides its poses; nothing where it says nothing."""

    source: Path
    sha256: str = ""
    image_size: tuple[int, int] | None = None
    """(H, W)."""
    fps: float | None = None
    label: str = ""
    label_index: int = -1
    split: str = ""
    detail: str = ""
    joints: Skeleton | None = None


def usual_skeleton(num_joints: int, dimensions: int, options: ReadOptions) -> Skeleton:
    """The joint set of a file with so many joints.

    Raises:
        ConfigError: it is not the one asked for, or there is no usual one.
    """
    if options.joints is not None:
        if options.joints.num_joints != num_joints:
            raise ConfigError(
                f"expected the {options.joints.num_joints} joints of {options.joints.name}, "
                f"got {num_joints}; try another --joints"
            )
        return options.joints
    if (num_joints, dimensions) not in USUAL:
        raise ConfigError(
            f"expected a usual number of joints, got {num_joints}; name the joint set: --joints"
        )
    return USUAL[num_joints, dimensions]


def from_arrays(
    video_id: str,
    keypoints: npt.NDArray[Any],
    scores: npt.NDArray[Any] | None,
    *,
    skeleton: Skeleton,
    known: Known,
    options: ReadOptions,
) -> Item:
    """A clip of dense arrays.

    Args:
        video_id: Its name.
        keypoints: (M, T, K, C); a place of zeros only is a missing joint where there are no scores.
        scores: (M, T, K), 0 = missing; None = the format has none, every joint seen counts 1.
        skeleton: Joint set, K joints.
        known: What else the file says.
        options: What the user says.

    Raises:
        InputError: shapes that do not fit.
    """
    people, frames = keypoints.shape[:2]
    if scores is not None and scores.shape != keypoints.shape[:3]:
        raise InputError(f"expected scores of shape {keypoints.shape[:3]}, got {scores.shape}")
    _check_frames(frames)
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.asarray(keypoints, np.float32)
        seen = np.isfinite(points).all(axis=-1)
        if scores is None:
            seen &= (points != 0).any(axis=-1)
            marks = seen.astype(np.float32)
        else:
            marks = np.clip(np.nan_to_num(np.asarray(scores, np.float32)), 0, 1)
            seen &= marks > 0
    step, person = np.nonzero(seen.any(axis=-1).T)
    rows, found = marks[person, step], seen[person, step]
    return _item(
        video_id,
        skeleton=skeleton,
        step=step,
        person=person,
        keypoints=np.where(found[..., None], points[person, step], np.float32(np.nan)),
        scores=np.where(found, rows, np.float32(0)),
        confidence=_means(rows, found),
        track_ids=np.arange(people),
        numbers=np.arange(frames),
        known=known,
        options=options,
    )


def from_frames(
    video_id: str, frames: Frames, *, skeleton: Skeleton, known: Known, options: ReadOptions
) -> Item:
    """A clip of people frame by frame.

    Where every person has an identity, and none twice in a frame, these are the tracks; else the place of a
    person in the frame's list is.

    Raises:
        InputError: frames that come twice, or people with another number of joints.
    """
    _check_frames(len(frames.numbers))
    order = np.argsort(frames.numbers, kind="stable")
    numbers = np.asarray(frames.numbers, np.int64)[order]
    if len(numbers) and (numbers[0] < 0 or (np.diff(numbers) == 0).any() or numbers[-1] >= 2**31):
        raise InputError("expected frame numbers from 0, each once")
    given = [[p.track_id for p in frames.people[i]] for i in order]
    named = all(None not in ids and len(set(ids)) == len(ids) for ids in given)
    ids = [i for frame in given for i in (frame if named else range(len(frame)))]
    track_ids, person = np.unique(np.asarray(ids, np.int64), return_inverse=True)
    people = [p for i in order for p in frames.people[i]]
    if any(len(p.keypoints) != skeleton.num_joints for p in people):
        raise InputError(f"expected people of {skeleton.num_joints} joints ({skeleton.name}) in every frame")
    shape = (len(people), skeleton.num_joints)
    points = np.stack([p.keypoints for p in people]) if people else np.zeros((*shape, 2), np.float32)
    seen = np.asarray(np.isfinite(points).all(axis=-1))
    scores = np.clip(np.stack([p.scores for p in people]), 0, 1) if people else np.zeros(shape, np.float32)
    means = _means(scores, seen)
    confidence = np.asarray(
        [m if p.confidence is None else p.confidence for p, m in zip(people, means.tolist(), strict=True)],
        np.float32,
    )
    kept = seen.any(axis=-1)
    return _item(
        video_id,
        skeleton=skeleton,
        step=np.repeat(np.arange(len(order)), [len(frame) for frame in given])[kept],
        person=person[kept],
        keypoints=np.where(seen[..., None], points, np.float32(np.nan))[kept],
        scores=np.where(seen, scores, 0).astype(np.float32)[kept],
        confidence=confidence[kept],
        track_ids=track_ids,
        numbers=numbers,
        known=known,
        options=options,
    )


def or_failed(video_id: str, source: Path, read: Callable[[], Item]) -> Item:
    """A clip, or why it cannot be read."""
    try:
        return read()
    except SkelkitError as error:
        why = error.message.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
        clip = Clip(
            video_id=video_id,
            status="failed",
            num_frames=0,
            width=0,
            height=0,
            fps=0.0,
            source=str(source),
            detail=why,
        )
        return clip, None


def _item(
    video_id: str,
    *,
    skeleton: Skeleton,
    step: Int64,
    person: Int64,
    keypoints: Float32,
    scores: Float32,
    confidence: Float32,
    track_ids: Int64,
    numbers: Int64,
    known: Known,
    options: ReadOptions,
) -> Item:
    fps = (known.fps if known.fps is not None else options.fps) or 0.0
    known = _labelled(video_id, known, options)
    tracks = Tracks(
        skeleton=skeleton,
        person=person,
        step=step,
        keypoints=keypoints,
        scores=scores,
        confidence=confidence,
        track_ids=track_ids,
        frame_indices=numbers,
        pts_s=numbers / (fps or ASSUMED_FPS),
        video_id=video_id,
        fps=fps,
        image_size=known.image_size or options.image_size or (0, 0),
        sources=(),
    )
    if not known.split and len(options.splits) > 1:
        raise ConfigError(f"expected one --split for files that tell none, got {', '.join(options.splits)}")
    split = known.split or "".join(options.splits)
    clip = Clip.of(
        tracks,
        source=str(known.source),
        sha256=known.sha256,
        detail=known.detail,
        label=known.label,
        label_index=known.label_index,
        split=split,
    )
    return clip, tracks


def _labelled(video_id: str, known: Known, options: ReadOptions) -> Known:
    """Label and number of a clip: from the table of clips, or each from the other."""
    names = options.labels.names
    if video_id in options.labels.of_clip:
        label, index = options.labels.of_clip[video_id]
        return replace(known, label=label, label_index=index)
    if known.label and known.label_index < 0 and known.label in names:
        return replace(known, label_index=names.index(known.label))
    if known.label or known.label_index < 0:
        return known
    if names and known.label_index >= len(names):
        raise InputError(f"expected a label below {len(names)}, the number of names, got {known.label_index}")
    return replace(known, label=names[known.label_index] if names else str(known.label_index))


def _means(scores: Float32, seen: npt.NDArray[np.bool_]) -> Float32:
    """(R,) mean score of the joints seen."""
    total = np.where(seen, scores, 0).sum(axis=-1, dtype=np.float32)
    return np.asarray(total / np.maximum(seen.sum(axis=-1), 1), np.float32)


def _check_frames(count: int) -> None:
    if count > MAX_FRAMES:
        raise InputError(f"expected at most {MAX_FRAMES} frames in a clip, got {count}")
