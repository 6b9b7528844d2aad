"""Datasets in numbers for the tests of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from people import PAIR, sequence_of

from skelkit.report.facts import DatasetFacts
from skelkit.structures import SkeletonSequence


def facts_of(labels: Sequence[str], **changes: Any) -> DatasetFacts:
    """A clip for each label, all alike but for what `changes` says."""
    count = len(labels)
    names = [f"clip{i:04}" for i in range(count)]
    fields: dict[str, Any] = {
        "name": "made",
        "skeleton": PAIR,
        "dimensions": 2,
        "coordinate_unit": "px",
        "created_with": "skelkit 0",
        "recipe": {"job": "build"},
        "filters": (),
        "label_names": sorted(set(labels) - {""}),
        "num_shards": 1,
        "size_bytes": 1_234_567,
        "gamma": 0.18,
        "video_id": np.array(names, object),
        "label": np.array(labels, object),
        "split": np.array(["train"] * count, object),
        "status": np.array(["ok"] * count, object),
        "num_frames": np.full(count, 30, np.int32),
        "num_people": np.full(count, 1, np.int32),
        "num_rows": np.full(count, 30, np.int64),
        "fps": np.full(count, 25.0),
        "presence": np.ones(count, np.float32),
        "mean_confidence": np.full(count, 0.5, np.float32),
        "mean_score": np.full(count, 0.5, np.float32),
        "joint_visibility": np.ones((count, 3), np.float32),
    }
    for name, value in changes.items():
        was = fields[name]
        if isinstance(was, np.ndarray):
            value = np.asarray(value, was.dtype)  # noqa: PLW2901
        fields[name] = value
    return DatasetFacts(**fields)


def moving_clip(index: int = 0, *, people: int = 1, steps: int = 12, **changes: object) -> SkeletonSequence:
    """Somebody who waves."""
    time = np.arange(steps) / steps
    points = np.zeros((people, steps, 3, 2), np.float32)
    points[..., 0, :] = 100, 50
    points[..., 1, :] = 130, 120
    points[..., 2, 0] = 70
    points[..., 2, 1] = 90 + 30 * np.sin(6 * time)
    points[..., 0] += 100 * np.arange(people)[:, None, None]
    return sequence_of(points, image_size=(240, 320), video_id=f"clip{index:04}", **changes)
