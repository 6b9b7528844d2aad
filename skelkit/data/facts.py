"""What is measured of every clip: the facts that filters decide on and that the index tells."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data.rows import Rows
from skelkit.structures import Bool, Float32, Float64, Int64

INDEXED = ("presence", "mean_confidence", "mean_score", "joint_visibility")
"""The facts that are columns of the index."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """n clips in numbers; NaN where a clip has no pose row."""

    presence: Float32
    """(n,) share of frames with at least one pose; 0 where there is no frame."""
    mean_confidence: Float32
    """(n,) mean of C over the pose rows that have one."""
    mean_score: Float32
    """(n,) mean score of the joints seen."""
    mean_joints: Float32
    """(n,) joints seen in a pose row, on average."""
    body_height: Float32
    """(n,) median over the pose rows of the vertical extent of the joints seen, in the shard's unit."""
    joint_visibility: Float32
    """(n, K) share of the pose rows that have the joint."""

    def index_row(self, i: int) -> dict[str, Any]:
        """The columns of the index for clip `i`."""
        return {name: getattr(self, name)[i].tolist() for name in INDEXED}


def measure(rows: Rows, num_rows: Int64, num_frames: Int64) -> Facts:
    """Facts of consecutive clips.

    Args:
        rows: R rows of n clips, one clip after the other.
        num_rows: (n,) rows of each clip; they add up to R.
        num_frames: (n,) T of each clip.
    """
    clip = np.repeat(np.arange(len(num_rows)), num_rows)
    found = found_joints(rows)
    joints = found.sum(axis=1)
    known = np.isfinite(rows.confidence)
    frames = np.bincount(_first_of_frame(clip, rows.frame.astype(np.int64)), minlength=len(num_rows))
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is the NaN that is promised
        return Facts(
            presence=(frames / np.maximum(num_frames, 1)).astype(np.float32),
            mean_confidence=_divided(
                _sums(np.where(known, rows.confidence, 0), num_rows), _sums(known, num_rows)
            ),
            mean_score=_divided(
                _sums(rows.scores.sum(axis=1, dtype=np.float64), num_rows), _sums(joints, num_rows)
            ),
            mean_joints=_divided(_sums(joints, num_rows), num_rows),
            body_height=medians(body_heights(rows.keypoints, found), clip, num_rows),
            joint_visibility=_divided(_sums(found, num_rows), num_rows[:, None]),
        )


def found_joints(rows: Rows) -> Bool:
    """(R, K) joints seen."""
    return np.asarray(np.isfinite(rows.keypoints[..., 0]))


def body_heights(keypoints: Float32, found: Bool) -> Float32:
    """(R,) vertical extent of the joints seen in every row; every row has one."""
    y = keypoints[..., 1]
    return np.asarray(
        np.max(y, axis=1, where=found, initial=-np.inf) - np.min(y, axis=1, where=found, initial=np.inf)
    )


def joined(parts: list[Facts]) -> Facts:
    """Facts of several lots of clips, one after the other."""
    return Facts(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Facts)})


def _first_of_frame(clip: Int64, frame: Int64) -> Int64:
    """The clip of every frame that has a row, each frame once."""
    stride = int(frame.max(initial=0)) + 1
    return np.asarray(np.unique(clip * stride + frame) // stride)


def _sums(values: npt.NDArray[Any], num_rows: Int64) -> Float64:
    """Sum of each clip's values, which lie one after the other."""
    out = np.zeros((len(num_rows), *values.shape[1:]))
    some = np.flatnonzero(num_rows)
    if len(some):
        starts = (np.cumsum(num_rows) - num_rows)[some]
        out[some] = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
    return out


def _divided(total: Float64, count: npt.NDArray[Any]) -> Float32:
    return np.asarray(total / count, np.float32)


def medians(values: Float32, clip: Int64, num_rows: Int64) -> Float32:
    """Lower median of each clip's values."""
    out = np.full(len(num_rows), np.nan, np.float32)
    some = np.flatnonzero(num_rows)
    middle = (np.cumsum(num_rows) - num_rows + (num_rows - 1) // 2)[some]
    out[some] = values[np.lexsort((values, clip))][middle]
    return out
