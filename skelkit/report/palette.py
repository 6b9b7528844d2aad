"""Colours, as RGB. Sides differ in hue and brightness for every common kind of colour blindness."""

from __future__ import annotations

import colorsys

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

_GOLDEN = 0.6180339887


def colour_of(track_id: int) -> Colour:
    """A light colour for a person: the same for the same id, far apart for ids that follow each other."""
    red, green, blue = colorsys.hsv_to_rgb((0.3 + track_id * _GOLDEN) % 1, 0.45, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
