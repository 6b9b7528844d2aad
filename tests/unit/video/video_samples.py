"""Pictures the tests put into their videos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skelkit.video import Source

MakeVideo = Callable[..., Source]


def corners(width: int, height: int) -> np.ndarray:
    """RGB picture with a red, green, blue and white corner, from top left to bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    half_h, half_w = (height + 1) // 2, (width + 1) // 2
    image[:half_h, :half_w] = 200, 0, 0
    image[:half_h, half_w:] = 0, 200, 0
    image[half_h:, :half_w] = 0, 0, 200
    image[half_h:, half_w:] = 200, 200, 200
    return image


def grey(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)
