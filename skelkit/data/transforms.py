"""Coordinates as networks take them, and random changes of them: (M, T, K, C) in, the same shape out.

Points that are not known may come out anywhere: who uses these sets them to 0 in the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skelkit.errors import ConfigError
from skelkit.skeletons import recipe
from skelkit.structures import Bool, Float32, Skeleton


def normalise(points: Float32, image_size: tuple[int, int], *, centred: bool = False) -> Float32:
    """2-D coordinates X in pixels as X / w * 2 - [1, h / w]: x from -1 to 1, y in the same measure.

    Args:
        points: (..., 2).
        image_size: (H, W).
        centred: They count from a joint already: only their measure changes.

    Raises:
        ConfigError: not two coordinates, or a picture of unknown size.
    """
    height, width = image_size
    if points.shape[-1] != 2 or not (width and height):
        raise ConfigError(
            "expected 2-D keypoints in a picture of known size to normalise, "
            f"got {points.shape[-1]}-D in {width} x {height}; try normalise=False"
        )
    scaled = points * np.float32(2 / width)
    return scaled if centred else scaled - np.asarray([1, height / width], np.float32)


def centre_of(points: Float32, known: Bool, skeleton: Skeleton, joint: str) -> Float32:
    """(C,) where a joint of the first person is first.

    Args:
        points: (M, T, K, C).
        known: (M, T, K).
        skeleton: Joint set.
        joint: One of its joints, or one that follows from them (`skelkit.skeletons.recipe`), such as mid_hip.

    Returns:
        The joint in the first frame that has it, of the first person who has it at all; where nobody has,
        the mean of the known joints of the first pose, or 0.
    """
    weights = recipe(joint, skeleton)
    if weights is None:
        raise ConfigError(f"{skeleton.name} has no {joint!r}, nor what it could be made of")
    at = [skeleton.index(name) for name in weights]
    poses, known = points.reshape(-1, *points.shape[2:]), known.reshape(-1, known.shape[2])
    has: Bool = np.asarray(known[:, at].all(axis=1))  # person by person, in the order of time
    if has.any():
        share = np.asarray(list(weights.values()), np.float32)
        return np.tensordot(share, poses[has.argmax(), at], axes=1)
    there: Bool = np.asarray(known.any(axis=1))
    if there.any():
        first = there.argmax()
        return np.asarray(poses[first, known[first]].mean(axis=0))
    return np.zeros(points.shape[-1], np.float32)


class Augmentation(Protocol):
    """A random change, the same for all people and frames of a clip."""

    def __call__(
        self, points: Float32, known: Bool, skeleton: Skeleton, rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """(M, T, K, C) points and (M, T, K, ...) masks, changed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomRotation:
    """Turn about the origin: in 2-D in the plane, in 3-D about the three axes one after the other."""

    degrees: float = 15.0
    """Each angle lies between minus and plus this."""

    def __call__(
        self, points: Float32, known: Bool, skeleton: Skeleton, rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """See `Augmentation`."""
        dimensions = points.shape[-1]
        planes = [(0, 1)] if dimensions == 2 else [(1, 2), (2, 0), (0, 1)]
        matrix = np.eye(dimensions)
        for (a, b), angle in zip(planes, rng.uniform(-1, 1, len(planes)), strict=True):
            cos, sin = np.cos(np.radians(angle * self.degrees)), np.sin(np.radians(angle * self.degrees))
            turn = np.eye(dimensions)
            turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cos, -sin, sin, cos
            matrix = turn @ matrix
        return points @ matrix.T.astype(np.float32), known


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomScale:
    """Grow or shrink about the origin, all coordinates alike.

    Raises:
        ConfigError: a share that is not within [0, 1).
    """

    share: float = 0.1
    """The factor lies between 1 - share and 1 + share."""

    def __post_init__(self) -> None:
        """Check."""
        if not 0 <= self.share < 1:
            raise ConfigError(f"RandomScale: expected a share within [0, 1), got {self.share}")

    def __call__(
        self, points: Float32, known: Bool, skeleton: Skeleton, rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """See `Augmentation`."""
        return points * np.float32(rng.uniform(1 - self.share, 1 + self.share)), known


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomShift:
    """Move by up to this much in each coordinate."""

    distance: float = 0.1

    def __call__(
        self, points: Float32, known: Bool, skeleton: Skeleton, rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """See `Augmentation`."""
        shift = self.distance * rng.uniform(-1, 1, (points.shape[-1],))
        return points + shift.astype(np.float32), known


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFlip:
    """Mirror left and right: x changes its sign, and the joints of each flip pair change places.

    Raises:
        ConfigError: a probability that is none.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        """Check."""
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"RandomFlip: expected a probability, got {self.probability}")

    def __call__(
        self, points: Float32, known: Bool, skeleton: Skeleton, rng: np.random.Generator
    ) -> tuple[Float32, Bool]:
        """See `Augmentation`."""
        return mirror(points, known, skeleton) if rng.random() < self.probability else (points, known)


def mirror(points: Float32, known: Bool, skeleton: Skeleton) -> tuple[Float32, Bool]:
    """Left and right exchanged, about x = 0."""
    order = skeleton.mirrored
    flipped = points[:, :, order]
    flipped[..., 0] *= -1
    return flipped, known[:, :, order]
