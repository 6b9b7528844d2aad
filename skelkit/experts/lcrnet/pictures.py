"""Pictures with people for training: fitted, changed at random, and degraded as NTU-Pose was.

The thesis (section 3.6.1) made laboratory videos hard by reducing them to 320 x 180 pixels and adding partial
occlusions. `degraded` does both to any picture, to measure on and to train for the hard case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from skelkit.experts.lcrnet.anchors import nearest, pose_boxes, to_boxes
from skelkit.experts.lcrnet.targets import People
from skelkit.structures import Bool, Float32, Skeleton, UInt8

LOW_RESOLUTION = (320, 180)
"""Width and height into which the protocol's pictures go."""
_COVERED = (0.25, 0.5)
"""Sides of an occlusion, as shares of the person's box."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """A picture, and where its people are."""

    read: Callable[[], UInt8]
    """(H, W, 3) RGB, read when called."""
    keypoints: Float32
    """(P, K, 2) px, NaN = unknown."""
    sure: Bool | None = None
    """(P,) who is there for sure; nothing is learnt where the others may be. None = everybody is."""


def degraded(
    picture: UInt8, keypoints: Float32, rng: np.random.Generator, *, occlusions: int = 1
) -> tuple[UInt8, Float32]:
    """The picture as small as in the NTU-Pose protocol, every person partly hidden.

    Args:
        picture: (H, W, 3).
        keypoints: (P, K, 2) px; those hidden keep their places.
        rng: Where and how large the occlusions are: rectangles of the colour of some pixel.
        occlusions: Per person.

    Returns:
        The picture, fitted into 320 x 180, and the keypoints in it. Smaller pictures are not enlarged.
    """
    height, width = picture.shape[:2]
    side = max(height, width) * min(LOW_RESOLUTION[0] / width, LOW_RESOLUTION[1] / height)
    small, points = shrunk(picture, keypoints, round(side))
    height, width = small.shape[:2]
    small = small.copy()
    for left, top, right, bottom in pose_boxes(points)[np.isfinite(points).any(axis=(1, 2))]:
        sides = np.asarray([right - left, bottom - top])
        for _ in range(occlusions):
            extent = sides * rng.uniform(*_COVERED, 2)
            low = np.asarray([left, top]) + rng.random(2) * (sides - extent)
            x, y = (slice(max(0, round(a)), max(0, round(a + e))) for a, e in zip(low, extent, strict=True))
            small[y, x] = small[rng.integers(height), rng.integers(width)]
    return small, points


def fitted(picture: UInt8, keypoints: Float32, side: int) -> tuple[UInt8, Float32]:
    """A picture with `side` as longer side, grey beyond it, and the keypoints in it."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((side, side, 3), 127, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=how)
    return square, (keypoints * scale).astype(np.float32)


def varied(
    picture: UInt8, keypoints: Float32, skeleton: Skeleton, rng: np.random.Generator
) -> tuple[UInt8, Float32]:
    """A square picture turned a little, scaled, moved, mirrored and in another light."""
    side = picture.shape[0]
    angle = np.clip(rng.normal(0, 12), -30, 30)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, float(np.exp(rng.normal(-0.1, 0.2))))
    matrix[:, 2] += rng.normal(0, 0.06 * side, 2)
    if rng.random() < 0.5:
        matrix = np.asarray([[-1, 0, side - 1], [0, 1, 0]]) @ np.concatenate([matrix, [[0, 0, 1]]])
        keypoints = keypoints[:, skeleton.mirrored]
    moved = cv2.warpAffine(picture, matrix, (side, side), borderValue=(127, 127, 127))
    gain, shift = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.05, 3)), rng.normal(0, 12)
    lit = np.clip(moved * gain + shift, 0, 255).astype(np.uint8)
    return lit, (keypoints @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def people(keypoints: Float32, sure: Bool | None, anchors: Float32, side: int) -> People:
    """Pseudo ground truth of a picture (thesis, section 3.3.3): boxes, nearest anchor poses, joints.

    Args:
        keypoints: (P, K, 2) px. People whose boxes' middles lie outside the picture are left out.
        sure: (P,) who is there for sure; None = everybody.
        anchors: (B, K, 2).
        side: Of the picture, px.
    """
    boxes = pose_boxes(keypoints)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    there = ((middle >= 0) & (middle < side)).all(axis=1)
    sure = np.ones(len(boxes), bool) if sure is None else sure
    doubtful = np.clip(boxes[there & ~sure], 0, side)
    keypoints, boxes = keypoints[there & sure], boxes[there & sure]
    classes = nearest(to_boxes(keypoints, boxes), anchors)
    return People(
        boxes=torch.from_numpy(np.clip(boxes, 0, side)),
        classes=torch.from_numpy(classes),
        keypoints=torch.from_numpy(keypoints),
        doubtful=torch.from_numpy(doubtful),
    )


class Pictures(torch.utils.data.Dataset[tuple[Tensor, People]]):
    """What the network learns from.

    Args:
        labelled: Pictures.
        skeleton: Of their people.
        anchors: (B, K, 2).
        side: Of the network's pictures, px.
        seed: Of all chance; None = pictures as they are.
        degrade: Share of the pictures that are degraded first, each time anew.
    """

    def __init__(
        self,
        labelled: Sequence[Labelled],
        skeleton: Skeleton,
        anchors: Float32,
        *,
        side: int,
        seed: int | None,
        degrade: float = 0.0,
    ) -> None:
        self.labelled, self.skeleton, self.anchors, self.side = labelled, skeleton, anchors, side
        self.seed, self.degrade = seed, degrade
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, index: int) -> tuple[Tensor, People]:
        """(3, side, side) float32 in 0..255, and its people."""
        one = self.labelled[index]
        picture, points = one.read(), one.keypoints
        rng = None if self.seed is None else np.random.default_rng((self.seed, self.epoch, index))
        if rng is not None and rng.random() < self.degrade:
            picture, points = degraded(picture, points, rng)
        picture, points = fitted(picture, points, self.side)
        if rng is not None:
            picture, points = varied(picture, points, self.skeleton, rng)
        tensor = torch.from_numpy(picture).permute(2, 0, 1).float()
        return tensor, people(points, one.sure, self.anchors, self.side)


def together(samples: Sequence[tuple[Tensor, People]]) -> tuple[Tensor, list[People]]:
    """A batch."""
    return torch.stack([picture for picture, _ in samples]), [found for _, found in samples]


def in_memory(one: Labelled, side: int) -> Labelled:
    """The same, decoded once and kept no larger than `side`."""
    kept, points = shrunk(one.read(), one.keypoints, side)
    return replace(one, read=lambda: kept, keypoints=points)


def shrunk(picture: UInt8, keypoints: Float32, side: int) -> tuple[UInt8, Float32]:
    """A picture with `side` as longer side, or as it is if that is shorter, and the keypoints in it."""
    height, width = picture.shape[:2]
    scale = min(side / max(height, width), 1.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, (keypoints * (np.asarray(size) / (width, height))).astype(np.float32)
