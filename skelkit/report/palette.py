"""Colours, as RGB. Sides differ in hue and brightness for every common kind of colour blindness."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from types import MappingProxyType

Colour = tuple[int, int, int]

LEFT: Colour = (64, 170, 255)
"""The person's left."""
RIGHT: Colour = (255, 140, 26)
"""The person's right."""
MIDDLE: Colour = (236, 236, 236)
"""Neither, or both: neck, spine, the line between the hips."""
DARK: Colour = (24, 24, 28)
"""Blank canvas, and the ground of plain text."""
LIGHT: Colour = (245, 245, 245)
"""Plain text."""

PAGE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ink": ("#1b1b1f", "#ececf0"),
        "muted": ("#5f5f68", "#a6a6b0"),
        "line": ("#dddde3", "#3a3a43"),
        "paper": ("#ffffff", "#1d1d22"),
        "ground": ("#f4f4f7", "#121215"),
        "series-0": ("#0b6fc4", "#40aaff"),
        "series-1": ("#c95f00", "#ff8c1a"),
        "series-2": ("#2b8a5a", "#5fcb93"),
        "series-3": ("#8350c4", "#b78df2"),
        "series-4": ("#b03c6c", "#f38fb4"),
        "series-5": ("#6d7613", "#c6d04c"),
        "kept": ("#5e3c99", "#a98be6"),
        "discarded": ("#4d9221", "#92d35f"),
    }
)
"""Of the dataset page, by role: in the light scheme and in pictures, in the dark scheme. The first two of a
series are `LEFT` and `RIGHT`, darker on light ground; purple and green are the thesis' kept and discarded."""
SERIES = 6
"""Colours of a series, after which they repeat."""

_GOLDEN = 0.6180339887


def colour_of(track_id: int) -> Colour:
    """A light colour for a person: the same for the same id, far apart for ids that follow each other."""
    red, green, blue = colorsys.hsv_to_rgb((0.3 + track_id * _GOLDEN) % 1, 0.45, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
