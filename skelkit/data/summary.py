"""What is in a shard, in numbers."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skelkit.data.clip import Status
from skelkit.data.layout import expert_group, extent_path
from skelkit.data.reader import ShardReader
from skelkit.structures import Skeleton


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseSummary:
    """What is in one pose group."""

    skeleton: Skeleton
    num_rows: int
    """Poses: one per person and frame."""
    num_people: int
    """Summed over the clips."""
    joints_found: int
    mean_score: float
    """Over the joints found; NaN where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """What is in a shard."""

    path: Path
    size_bytes: int
    created_with: str
    num_clips: int
    status: Mapping[Status, int]
    num_frames: int
    """Time steps of all clips."""
    hours: float
    """Of all clips whose rate is known."""
    dimensions: int
    coordinate_unit: str
    poses: PoseSummary
    experts: Mapping[str, PoseSummary]
    bytes_per_pose: float
    """`size_bytes` over all poses, the experts' included; NaN where there are none."""
    image_sizes: Mapping[tuple[int, int], int]
    """(width, height) -> clips, the most frequent first."""
    num_labels: int
    """Different labels."""
    recipe: dict[str, Any]


def describe(path: str | os.PathLike[str]) -> ShardSummary:
    """Sum up a shard from its columns; no pose is read.

    Raises:
        ShardError: not a shard, or a damaged one.
    """
    with ShardReader(path) as reader:
        header = reader.header
        frames, fps, labels = (reader.column(name) for name in ("num_frames", "fps", "label"))
        sizes = zip(reader.column("width").tolist(), reader.column("height").tolist(), strict=True)
        poses = _poses(reader, "poses")
        experts = {name: _poses(reader, expert_group(name)) for name in header.experts}
        num_poses = poses.num_rows + sum(e.num_rows for e in experts.values())
        size_bytes = reader.path.stat().st_size
        timed = fps > 0
        return ShardSummary(
            path=reader.path,
            size_bytes=size_bytes,
            created_with=reader.created_with,
            num_clips=len(reader),
            status=reader.status,
            num_frames=int(frames.sum()),
            hours=float((frames[timed] / fps[timed]).sum()) / 3600,
            dimensions=header.dimensions,
            coordinate_unit=header.coordinate_unit,
            poses=poses,
            experts=experts,
            bytes_per_pose=size_bytes / num_poses if num_poses else math.nan,
            image_sizes=dict(Counter(sizes).most_common()),
            num_labels=len(set(labels) - {""}),
            recipe=header.recipe,
        )


def _poses(reader: ShardReader, group: str) -> PoseSummary:
    joints_found, mean_score = reader.joint_totals(group)
    return PoseSummary(
        skeleton=reader.header.pose_groups[group],
        num_rows=int(reader.column(extent_path(group, "num_rows")).sum()),
        num_people=int(reader.column(extent_path(group, "num_people")).sum()),
        joints_found=joints_found,
        mean_score=mean_score,
    )
