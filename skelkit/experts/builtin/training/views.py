"""People cut out of scenes, turned, scaled, mirrored, coloured, covered: the input of top-down training."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from skelkit.experts.builtin.training.scenes import JOINTS, Scene
from skelkit.structures import Float32, Float64, UInt8

CROP_SCALE = 1.05
"""Side of a crop over the longer side of the person's box."""
_ARMS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist"))
_HIPS = ("left_hip", "right_hip")
_LEGS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "ankle"))
_HALVES = tuple(
    [JOINTS.index(name) for name in half]
    for half in (("head_top", "neck", "nose", *_ARMS, *_HIPS), (*_HIPS, *_LEGS))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a crop shows: a square of the picture, turned and perhaps mirrored."""

    middle: Float64
    """(2,) in the picture."""
    side: float
    angle: float = 0.0
    """Radians, clockwise."""
    mirrored: bool = False

    def matrix(self, size: int) -> Float64:
        """(2, 3) from the crop of so many pixels a side to the picture."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.asarray([[cos, -sin], [sin, cos]]) * (self.side / size)
        if self.mirrored:
            turn = turn * [-1, 1]
        return np.concatenate([turn, (self.middle - turn @ np.full(2, (size - 1) / 2))[:, None]], axis=1)


def plain_view(box: Float32) -> View:
    """What the expert itself sees of a person."""
    return View(middle=_middle(box), side=CROP_SCALE * _longer(box))


def random_view(scene: Scene, person: int, rng: np.random.Generator) -> View:
    """A person, seen anyhow: one in five times only the upper or lower half of them."""
    middle, side = _middle(scene.boxes[person]), _longer(scene.boxes[person])
    if rng.random() < 0.2:
        marked = np.where(scene.joints[person, :, 2:] > 0, scene.joints[person], scene.taught[person])
        half = marked[_HALVES[int(rng.random() < 0.4)]]
        points = half[half[:, 2] > 0.4, :2].astype(np.float64)
        if len(points) > 3 and 1.2 * np.ptp(points, axis=0).max() > 0.45 * side:
            side = 1.2 * float(np.ptp(points, axis=0).max())
            middle = (points.min(axis=0) + points.max(axis=0)) / 2
    angle = np.clip(rng.normal(0, np.pi / 6), -1.3, 1.3) if rng.random() < 0.7 else 0.0
    side *= CROP_SCALE * float(np.exp(np.clip(rng.normal(0, 0.18), -0.35, 0.35)))
    return View(
        middle=middle + side * np.clip(rng.normal(0, 0.06, 2), -0.15, 0.15),
        side=side,
        angle=float(rng.uniform(-np.pi, np.pi) if rng.random() < 0.06 else angle),
        mirrored=bool(rng.random() < 0.5),
    )


def cut(scene: Scene, person: int, view: View, size: int) -> tuple[UInt8, Float32, Float32]:
    """A crop and the person's joints in it.

    Returns:
        (size, size, 3) pixels, and (K, 3) joints marked and taught in pixels of the crop; joints outside it
        count for nothing.
    """
    matrix = view.matrix(size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = np.asarray(cv2.warpAffine(scene.picture, matrix, (size, size), flags=flags), np.uint8)
    back = np.linalg.inv(matrix[:, :2])

    def seen(joints: Float32) -> Float32:
        points = (joints[:, :2] - matrix[:, 2]) @ back.T
        inside = ((points >= -0.5) & (points < size - 0.5)).all(axis=1)
        moved = np.concatenate([points, (joints[:, 2] * inside)[:, None]], axis=1)
        return np.asarray(moved[JOINTS.mirrored] if view.mirrored else moved, np.float32)

    return crop, seen(scene.joints[person]), seen(scene.taught[person])


def coloured(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures (B, 3, H, W) in 0..255 in another light: contrast, brightness, tint; one in ten is grey."""

    def draw(values: Float64) -> Tensor:
        return torch.from_numpy(values).float().to(pictures.device)

    one, three = (len(pictures), 1, 1, 1), (len(pictures), 3, 1, 1)
    grey = pictures.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    pictures = torch.where(draw(rng.random(one)) < 0.1, grey, pictures)
    pictures = (pictures - mean) * draw(np.exp(rng.normal(0, 0.2, one))) + mean
    gain = np.exp(rng.normal(0, 0.2, one) + rng.normal(0, 0.07, three))
    return (pictures * draw(gain) + draw(rng.normal(0, 12, one))).clamp(0, 255)


def covered(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """The same pictures, three in ten with a rectangle of one grey over them."""
    size = pictures.shape[2]
    for index in np.flatnonzero(rng.random(len(pictures)) < 0.3):
        height, width = (size * rng.uniform(0.1, 0.3, 2)).astype(int)
        top, left = rng.integers(0, size - height), rng.integers(0, size - width)
        pictures[index, :, top : top + height, left : left + width] = rng.uniform(0, 255)
    return pictures


def _middle(box: Float32) -> Float64:
    return (box[:2] + box[2:4]).astype(np.float64) / 2


def _longer(box: Float32) -> float:
    return float(max((box[2:4] - box[:2]).max(), 1.0))
