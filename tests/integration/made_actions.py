"""Datasets of made actions: every class waves in its own way, so that a tiny network can tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from skelkit.data import Clip, DatasetWriter
from skelkit.skeletons import get_skeleton
from skelkit.structures import SkeletonSequence

CLIPS = {"train": 4, "test": 2}


def action(
    number: int, name: str, *, joints: str, dimensions: int, frames: int = 12, people: int = 1
) -> SkeletonSequence:
    """A clip in which all joints swing, with a rate and an amplitude of its class."""
    skeleton = get_skeleton(joints)
    rng = np.random.default_rng((number, len(name)))
    base = np.random.default_rng(0).uniform(60, 180, (skeleton.num_joints, dimensions))
    swing = 8 * (1 + number) * np.sin(np.arange(frames) * (0.3 + 0.4 * number))
    points = base + swing[:, None, None] + rng.normal(0, 1, (people, frames, skeleton.num_joints, dimensions))
    shape = people, frames
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=points.astype(np.float32),
        scores=np.ones((*shape, skeleton.num_joints), np.float32),
        confidence=np.ones(shape, np.float32),
        track_ids=np.arange(people),
        frame_indices=np.arange(frames),
        pts_s=np.arange(frames) / 30,
        video_id=name,
        fps=30.0,
        image_size=(240, 320),
        sources=("made",),
    )


def make_dataset(
    folder: Path,
    *,
    labels: Sequence[str] = ("bend", "nod", "wave"),
    clips: Mapping[str, int] = CLIPS,
    used: int | None = None,
    joints: str = "jhmdb15",
    dimensions: int = 2,
    frames: int = 12,
    people: int = 1,
) -> Path:
    """A dataset with so many clips of each of the first `used` labels (all) in every split."""
    with DatasetWriter(
        folder,
        name="made",
        skeleton=get_skeleton(joints),
        recipe={},
        label_names=labels,
        dimensions=dimensions,
        coordinate_unit="px" if dimensions == 2 else "m",
    ) as writer:
        for split, count in clips.items():
            for number, label in enumerate(labels[:used]):
                for i in range(count):
                    name = f"{split}-{label}-{i:02d}"
                    clip = action(
                        number, name, joints=joints, dimensions=dimensions, frames=frames, people=people
                    )
                    writer.write(clip, Clip.of(clip, label=label, label_index=number, split=split))
    return folder
