"""How coordinates and scores lie in a shard: small integers on a grid of the clip's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skelkit.structures import Bool, Float32, Float64

Int16 = npt.NDArray[np.int16]
UInt8 = npt.NDArray[np.uint8]

MISSING = np.iinfo(np.int16).min
"""In place of every coordinate of a joint that was not seen."""

LEVELS = 2**16 - 4
"""Steps between the lowest and the highest coordinate of a clip: what 16 bits hold beside `MISSING`,
wherever between two steps the middle lies."""

SCORE_LEVELS = 255
"""Scores are stored as score x 255, rounded: 0 and 1 are exact, the error is at most 1/510."""


def joints_found(points: npt.NDArray[np.floating[Any]]) -> Bool:
    """(...) whether a joint (..., C) has all its coordinates; several times quicker than ``all(axis=-1)``."""
    found: Bool = np.isfinite(points[..., 0])
    for c in range(1, points.shape[-1]):
        found &= np.isfinite(points[..., c])
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Where the integers of a clip lie: coordinate = origin + step x integer.

    The step is the unit's finest unless the joints of a clip lie further apart than `LEVELS` of it (8191 px,
    8 m); it is doubled until they fit.

    Raises:
        ValueError: not a grid.
    """

    origin: Float64
    """(C,) in the unit of the coordinates; a multiple of `step`."""
    step: float

    def __post_init__(self) -> None:
        """Check what a damaged file may say."""
        if not (math.isfinite(self.step) and self.step > 0 and np.isfinite(self.origin).all()):
            raise ValueError(f"expected a grid with a positive step, got {self.step} from {self.origin}")

    @classmethod
    def of(cls, points: Float32, finest: float) -> Self:
        """The grid for points (n, K, C); a joint that lacks one coordinate does not count."""
        low = np.full(points.shape[-1], np.inf)
        high = -low
        for start in range(0, len(points), 4096):  # in pieces: a long clip is large
            piece = points[start : start + 4096]
            found = joints_found(piece)
            for c in range(len(low)):
                seen = piece[..., c][found]
                low[c] = seen.min(initial=low[c])
                high[c] = seen.max(initial=high[c])
        span = float((high - low).max())
        if span < 0:
            return cls(origin=np.zeros(len(low)), step=finest)
        step = finest
        while span > LEVELS * step:
            step *= 2
        return cls(origin=(np.rint(low / step) + np.rint(high / step)) // 2 * step, step=step)

    def encode(self, points: Float32) -> Int16:
        """(..., C) coordinates as integers; a joint that lacks one coordinate lacks all."""
        # Steps are powers of two: nothing but rint rounds, and the error is at most half a step.
        steps = np.divide(points, self.step, dtype=np.float64)
        np.rint(steps, out=steps)
        steps -= self.origin / self.step
        steps[~joints_found(steps)] = MISSING
        return steps.astype(np.int16)

    def decode(self, steps: Int16) -> Float32:
        """Inverse of `encode`; NaN = not seen."""
        points = steps * np.float32(self.step)
        points += self.origin.astype(np.float32)
        points[steps == MISSING] = np.nan
        return points


def encode_scores(scores: Float32) -> UInt8:
    """Scores in [0, 1] as integers."""
    return np.rint(scores * SCORE_LEVELS).astype(np.uint8)


def decode_scores(levels: UInt8) -> Float32:
    """Inverse of `encode_scores`."""
    scores = levels.astype(np.float32)
    scores *= 1 / SCORE_LEVELS
    return scores
