"""Clips for the tests of other tools' formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.formats import FORMATS
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.skeletons import COCO17, JHMDB15
from skelkit.structures import Skeleton, SkeletonSequence, Tracks

LABELS = ("drink water", "wave, (both) hands")


def clip_of(
    video_id: str,
    *,
    seed: int = 0,
    people: int = 2,
    frames: int = 12,
    skeleton: Skeleton = COCO17,
    dimensions: int = 2,
    size: tuple[int, int] = (480, 640),
    split: str = "train",
    label: int = 1,
) -> tuple[Clip, Tracks]:
    """A clip with gaps of joints and people; everybody is in the last frame."""
    rng = np.random.default_rng(seed)
    shape = (people, frames, skeleton.num_joints)
    keypoints = rng.uniform(0, 1, (*shape, dimensions)) * ([size[1], size[0], 5][:dimensions])
    keypoints[rng.random(shape) < 0.2] = np.nan
    keypoints[rng.random(shape[:2]) < 0.2] = np.nan
    keypoints[:, -1, 0] = 0  # a place that others take for a missing joint
    scores = np.where(np.isnan(keypoints[..., 0]), 0, rng.uniform(0, 1, shape)).astype(np.float32)
    scores[:, -1, 0] = 0
    confidence = np.where(np.isnan(keypoints).all((-1, -2)), np.nan, 0.5).astype(np.float32)
    sequence = SkeletonSequence(
        skeleton=skeleton,
        keypoints=keypoints.astype(np.float32),
        scores=scores,
        confidence=confidence,
        track_ids=np.arange(people) * 3 + 4,
        frame_indices=np.arange(frames),
        pts_s=np.arange(frames) / 25,
        video_id=video_id,
        fps=25.0,
        image_size=size,
        sources=(),
    )
    clip = Clip.of(sequence, label=LABELS[label], label_index=label, split=split)
    return clip, Tracks.of(sequence)


def load(name: str) -> Format:
    return FORMATS.load(name)  # type: ignore[no-any-return]


def export(
    name: str, clips: Sequence[tuple[Clip, Tracks]], folder: Path, options: WriteOptions | None = None
) -> Path:
    form = load(name)
    assert form.write is not None
    dest = folder / f"out{form.extension}"
    if not form.extension:
        dest.mkdir()
    form.write(clips, dest, options or WriteOptions(label_names=LABELS))
    return dest


def read(name: str, path: Path, **options: object) -> list[Item]:
    return list(load(name).read([path], ReadOptions(**options)))  # type: ignore[arg-type]


def good(items: Sequence[Item]) -> list[tuple[Clip, SkeletonSequence]]:
    """All clips dense; fails where one failed."""
    dense = []
    for clip, tracks in items:
        assert tracks is not None, clip.detail
        dense.append((clip, tracks.to_sequence()))
    return dense


def same_facts(have: Clip, want: Clip) -> None:
    """The same but for what no format keeps."""
    unkept = {"source": "", "sha256": "", "fps": 0.0}
    assert replace(have, **unkept) == replace(want, **unkept)


def skeleton_file(path: Path, frames: list[list[int]]) -> Path:
    """An NTU file: bodies by frame; a body's number is in its places, joint 3 is not tracked, 4 inferred."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body in bodies:
            lines += [f"7205759403793{body:04d} 0 1 1 1 1 0 0.1 0.2 2", "25"]
            for joint in range(25):
                state = {3: 0, 4: 1}.get(joint, 2)
                lines.append(f"{body}.5 {joint / 10} 3 50 60 {100 * body + joint} {joint}.5 0 0 0 1 {state}")
    path.write_text("\n".join(lines) + "\n")
    return path


def jhmdb_file(path: Path) -> Path:
    """Two clips of 3 and 2 frames."""
    rng = np.random.default_rng(3)
    order = ["face" if joint == "head" else joint for joint in JHMDB15.joints]
    np.savez(
        path,
        poses=rng.uniform(-1, 1, (5, 15, 2)).astype(np.float32),
        offsets=np.asarray([0, 3, 5]),
        labels=np.asarray([1, 0]),
        label_names=np.asarray(["catch", "wave"]),
        joint_order=np.asarray(order),
        clip_uid=np.asarray([12, 7]),
    )
    return path
