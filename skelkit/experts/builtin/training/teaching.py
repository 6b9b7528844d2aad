"""Scenes from pictures: what people marked in them, and what a detector and a pose expert find there.

The pose expert sees each person the right way up, turned by what is marked of neck and hips: experts that
were trained on upright people are much surer of those, and its answers are turned back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from skelkit.errors import InputError
from skelkit.experts.builtin.training.scenes import JOINTS, Scene
from skelkit.geometry import box_iou, extents
from skelkit.protocols import Detector, PoseExpert
from skelkit.skeletons import get_skeleton
from skelkit.structures import Bool, Detections, Float32, Float64, FrameBatch, Int64, Skeleton, UInt8

_LONGEST = 448
"""Pixels: scenes are kept no larger."""
_VIEW = 224
"""Pixels of the turned pictures the teacher sees."""
_ROOM = 1.5
"""How much more than the person they show."""
_MARGIN = 0.1
"""Marked joints lie inside the person: the box is their extent and this share of it on every side."""
_SURE = 0.3
"""Detections below this have no joints asked for."""
_SAME, _COVERED = 0.4, 0.8
"""A detection that overlaps the marked person so much, or lies so far in their box, is that person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """Experts whose results are labels."""

    detector: Detector
    poses: PoseExpert

    def scene(self, picture: UInt8) -> Scene:
        """A picture nobody marked."""
        found = self._people(picture)
        none = np.zeros((len(found), JOINTS.num_joints, 3), np.float32)
        taught = none.copy()
        sure = found[:, 4] >= _SURE
        taught[sure] = self._joints(picture, found[sure], none[sure])
        return Scene(picture=picture, boxes=found, joints=none, taught=taught).shrunk(_LONGEST)

    def marked_scene(self, picture: UInt8, marked: Float32) -> Scene:
        """A picture with one marked person (K, 3) and, perhaps, others.

        The marked person comes first. Of the others there are boxes only.
        """
        seen = np.where(marked[:, 2:] > 0, marked[:, :2], np.nan)
        box = extents(seen[None])
        margin = _MARGIN * (box[:, 2:] - box[:, :2])
        box = np.concatenate([box[:, :2] - margin, box[:, 2:] + margin, np.ones((1, 1), np.float32)], axis=1)
        found = self._people(picture)
        boxes = np.concatenate([box, found[~_same_person(box[0], found)]]).astype(np.float32)
        joints = np.zeros((len(boxes), JOINTS.num_joints, 3), np.float32)
        joints[0] = marked
        taught = np.zeros_like(joints)
        taught[:1] = self._joints(picture, boxes[:1], joints[:1])
        return Scene(picture=picture, boxes=boxes, joints=joints, taught=taught).shrunk(_LONGEST)

    def _people(self, picture: UInt8) -> Float32:
        found = self.detector.detect(_frames(picture[None]))
        return np.concatenate([found.boxes_xyxy, found.box_scores[:, None]], axis=1)

    def _joints(self, picture: UInt8, boxes: Float32, joints: Float32) -> Float32:
        """(P, K, 3) joints of the teacher; those it cannot have are 0."""
        matrices = [upright(box[:4], person) for box, person in zip(boxes, joints, strict=True)]
        if not matrices:
            return joints.copy()
        views = np.stack([_seen(picture, matrix) for matrix in matrices])
        half = _VIEW / 2 / _ROOM
        box = np.asarray([[_VIEW / 2 - half] * 2 + [_VIEW / 2 + half] * 2], np.float32)
        people = Detections(
            frame_indices=np.arange(len(views)),
            boxes_xyxy=np.repeat(box, len(views), axis=0),
            box_scores=np.ones(len(views), np.float32),
        )
        poses = self.poses.predict(_frames(views), people)
        found = own_joints(poses.keypoints, poses.scores, poses.skeleton)
        turn = np.stack(matrices).astype(np.float32)
        found[..., :2] = np.einsum("pij,pkj->pki", turn[:, :, :2], found[..., :2]) + turn[:, None, :, 2]
        return found


def lspet(folder: Path) -> tuple[list[Path], Float32, Int64]:
    """Leeds Sports Pose Extended, one marked person in each picture.

    Args:
        folder: With ``joints.npz`` (`names`, `ids`, `joints` (N, 14, 3)) and ``images``.

    Returns:
        The pictures, (N, K, 3) joints and (N,) the pictures' numbers.

    Raises:
        InputError: it is not there, or different.
    """
    try:
        with np.load(folder / "joints.npz", allow_pickle=False) as labels:
            names, ids, marked = labels["names"], labels["ids"], labels["joints"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"expected LSP-extended in {folder} (joints.npz, images): {error}") from error
    joints = own_joints(marked[..., :2], marked[..., 2], get_skeleton("lsp14"))
    return [folder / "images" / str(name) for name in names], joints, ids.astype(np.int64)


def own_joints(points: Float32, sure: Float32, skeleton: Skeleton) -> Float32:
    """The joints of `JOINTS` that a set has by the same name; none is derived from others.

    Args:
        points: (P, K', 2), NaN = not found.
        sure: (P, K') in [0, 1].
        skeleton: Their joint set.

    Returns:
        (P, K, 3); 0 for those that are missing.
    """
    out = np.zeros((len(points), JOINTS.num_joints, 3), np.float32)
    shared = [joint for joint in JOINTS.joints if joint in skeleton.joints]
    to, at = [JOINTS.index(j) for j in shared], [skeleton.index(j) for j in shared]
    there = np.isfinite(points[:, at]).all(axis=2) & (sure[:, at] > 0)
    together = np.concatenate([points[:, at], sure[:, at, None]], axis=2)
    out[:, to] = np.where(there[..., None], together, 0)
    return out


def upright(box_xyxy: Float32, joints: Float32) -> Float64:
    """(2, 3) from a view in which the person stands upright to the picture.

    The view has `_VIEW` pixels a side, the box's middle in its own, and is turned so that the way from the
    hips to the neck points up; not at all where these are not marked.
    """
    size = box_xyxy[2:] - box_xyxy[:2]
    step = _ROOM * max(float(size.max()), 1.0) / _VIEW
    middle = (box_xyxy[:2] + box_xyxy[2:]) / 2
    up = _mean(joints, ("neck",), ("left_shoulder", "right_shoulder")) - _mean(
        joints, ("left_hip", "right_hip")
    )
    angle = math.atan2(up[0], -up[1]) if np.hypot(*up) > 0.1 * size.max() else 0.0
    turn = step * np.asarray([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.concatenate([turn, (middle - turn @ np.full(2, (_VIEW - 1) / 2))[:, None]], axis=1)


def _mean(joints: Float32, *ways: tuple[str, ...]) -> Float32:
    """The mean of the first group of joints of which any is marked; NaN where there is none."""
    for names in ways:
        rows = joints[[JOINTS.index(name) for name in names]]
        if (rows[:, 2] > 0).any():
            return np.asarray(rows[rows[:, 2] > 0, :2].mean(axis=0), np.float32)
    return np.full(2, np.nan, np.float32)


def _seen(picture: UInt8, matrix: Float64) -> UInt8:
    step = float(np.hypot(*matrix[:, 0]))
    if step > 2:  # bilinear sampling would skip pixels
        small = 1 / step
        picture = np.asarray(cv2.resize(picture, None, fx=small, fy=small, interpolation=cv2.INTER_AREA))
        matrix = matrix * small
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (_VIEW, _VIEW), flags=flags), np.uint8)


def _same_person(marked: Float32, found: Float32) -> Bool:
    """(P,) whether a detection is the marked person, or part of them."""
    low = np.maximum(found[:, :2], marked[:2])
    inner = (np.minimum(found[:, 2:4], marked[2:4]) - low).clip(0).prod(axis=1)
    area = (found[:, 2:4] - found[:, :2]).prod(axis=1).clip(1)
    same = box_iou(marked[None, :4], found[:, :4])[0] > _SAME
    return np.asarray(same | (inner / area > _COVERED), np.bool_)


def _frames(pictures: UInt8) -> FrameBatch:
    count = len(pictures)
    return FrameBatch(images=pictures, indices=np.arange(count), pts_s=np.arange(count, dtype=np.float64))
