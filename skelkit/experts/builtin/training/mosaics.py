"""Scenes put together: the input of one-stage training.

A picture with many people is made from pictures with one: two or four scenes share a canvas, each scaled and
turned at random. Pictures that a detector labelled whole are shown as they are, in parts.
"""

from __future__ import annotations

import cv2
import numpy as np

from skelkit.experts.builtin.training.scenes import JOINTS, Scene, Scenes
from skelkit.structures import Float32, Float64, UInt8

DOUBTFUL = 0.3
"""Boxes with scores below this are neither people nor background."""
_LOST, _HARDLY = 0.05, 0.35
"""A person of whom less than this share is left is gone; less than that: in doubt."""

People = tuple[Float32, Float32]
"""(P, 5) boxes and (P, K, 3) joints."""


def mosaic(
    marked: Scenes, labelled: Scenes, size: int, rng: np.random.Generator
) -> tuple[UInt8, Float32, Float32]:
    """A picture (size, size, 3) with boxes (P, 5) and joints (P, K, 3) in its pixels.

    Args:
        marked: Scenes whose first person is the one to show.
        labelled: Scenes that are shown whole.
        size: Pixels.
        rng: Draws it.
    """
    canvas = np.zeros((size, size, 3), np.uint8)
    dice = rng.random()
    if dice < 0.35 and len(labelled):
        scene = labelled[int(rng.integers(len(labelled)))]
        people = [_paste(canvas, (0, 0, size, size), scene, *_part(scene, size, rng))]
    else:
        people = []
        for region in [(0, 0, size, size)] if dice < 0.55 else _regions(size, rng):
            scene = marked[int(rng.integers(len(marked)))]
            people.append(_paste(canvas, region, scene, *_shown(scene, region, rng)))
    boxes, joints = zip(*people, strict=True)
    return canvas, np.concatenate(boxes), np.concatenate(joints)


def _regions(size: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    x, y = (int(v) for v in size * rng.uniform(0.35, 0.65, 2))
    if rng.random() < 0.4:
        return [(0, 0, x, size), (x, 0, size, size)]
    return [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]


def _part(scene: Scene, size: int, rng: np.random.Generator) -> tuple[Float64, bool]:
    """Where a whole scene goes: scaled by 0.8 to 1.8 over what fills the canvas, and shifted within."""
    height, width = scene.picture.shape[:2]
    scale = size / max(height, width) * float(np.exp(rng.uniform(-0.2, 0.6)))
    play = np.abs(size - scale * np.asarray([width, height]))
    to = size / 2 + rng.uniform(-0.5, 0.5, 2) * play
    mirrored = bool(rng.random() < 0.5)
    return _matrix(np.asarray([width, height]) / 2, to, scale, _angle(rng) / 2, mirrored), mirrored


def _shown(scene: Scene, region: tuple[int, int, int, int], rng: np.random.Generator) -> tuple[Float64, bool]:
    """Where a marked scene goes: the person's longer side is 0.3 to 1 of the region's."""
    left, top, right, bottom = region
    sides = np.asarray([right - left, bottom - top])
    box = scene.boxes[0].astype(np.float64)
    longer = max(float((box[2:4] - box[:2]).max()), 1.0)
    scale = sides.max() * float(np.exp(rng.uniform(np.log(0.3), 0))) / longer
    fills = float((sides / scene.picture.shape[1::-1]).min())
    to = np.asarray([left + right, top + bottom]) / 2 + rng.uniform(-0.25, 0.25, 2) * sides
    mirrored = bool(rng.random() < 0.5)
    scale = max(scale, fills)
    return _matrix((box[:2] + box[2:4]) / 2, to, scale, _angle(rng), mirrored), mirrored


def _angle(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(0, 0.26), -0.8, 0.8)) if rng.random() < 0.5 else 0.0


def _matrix(of: Float64, to: Float64, scale: float, angle: float, mirrored: bool) -> Float64:
    """(2, 3) from the scene to the canvas, taking the point `of` to `to`."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = scale * np.asarray([[cos, -sin], [sin, cos]])
    if mirrored:
        turn = turn * [-1, 1]
    return np.concatenate([turn, (to - turn @ of)[:, None]], axis=1)


def _paste(
    canvas: UInt8, region: tuple[int, int, int, int], scene: Scene, matrix: Float64, mirrored: bool
) -> People:
    """Draw a scene into a region of the canvas; its people there, with what is cut off cut off."""
    left, top, right, bottom = region
    shifted = matrix - [[0, 0, left], [0, 0, top]]
    canvas[top:bottom, left:right] = cv2.warpAffine(scene.picture, shifted, (right - left, bottom - top))
    turn, shift = matrix[:, :2], matrix[:, 2]
    middle = (scene.boxes[:, :2] + scene.boxes[:, 2:4]) / 2 @ turn.T + shift
    # the box around the turned ellipse that fills the box
    sides = np.sqrt((scene.boxes[:, 2:4] - scene.boxes[:, :2]).astype(np.float64) ** 2 @ (turn**2).T)
    low, high = middle - sides / 2, middle + sides / 2
    cut_low, cut_high = (np.clip(v, [left, top], [right, bottom]) for v in (low, high))
    share = (cut_high - cut_low).prod(axis=1) / sides.prod(axis=1).clip(1)
    score = np.where(share < _HARDLY, np.minimum(scene.boxes[:, 4], DOUBTFUL / 2), scene.boxes[:, 4])
    boxes = np.concatenate([cut_low, cut_high, score[:, None]], axis=1).astype(np.float32)
    known = np.where(scene.joints[..., 2:] > 0, scene.joints, scene.taught)
    points = known[..., :2] @ turn.T + shift
    inside = ((points >= [left, top]) & (points < [right, bottom])).all(axis=2)
    joints = np.concatenate([points, (known[..., 2] * inside)[..., None]], axis=2).astype(np.float32)
    if mirrored:
        joints = joints[:, JOINTS.mirrored]
    there = share > _LOST
    return boxes[there], joints[there].reshape(-1, JOINTS.num_joints, 3)
