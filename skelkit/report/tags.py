"""Text on a ground of its own, readable on any picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2

from skelkit.report.palette import DARK, LEFT, LIGHT, RIGHT, Colour
from skelkit.structures import UInt8

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PROBE = "Lg0"
"""Text of full height, with a descender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Pixels that a tag covers; right and bottom are not included."""

    left: int
    top: int
    width: int
    height: int

    def overlaps(self, other: Box) -> bool:
        """Whether they share a pixel."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


def _text_height(image: UInt8) -> float:
    """Pixels of a capital letter that reads well on this picture."""
    return max(8.0, 0.021 * float(min(image.shape[:2])))


def tag_size(image: UInt8, text: str) -> tuple[int, int]:
    """Width and height of a tag."""
    scale, stroke, margin = _type(image)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, stroke)
    (_, ascent), descent = cv2.getTextSize(_PROBE, _FONT, scale, stroke)
    return width + 2 * margin, ascent + descent // 2 + 2 * margin


def place_tag(image: UInt8, text: str, *, above: tuple[float, float], taken: Sequence[Box]) -> Box:
    """Where a tag goes: above the point (x, y), inside the picture, clear of the tags there.

    It makes way upwards, or downwards where the picture ends; where both end it covers them.
    """
    width, height = tag_size(image, text)
    rows, columns = image.shape[:2]
    left = round(min(max(above[0] - width / 2, 0), max(columns - width, 0)))
    lowest = max(rows - height, 0)
    here = Box(left=left, top=round(min(max(above[1] - height, 0), lowest)), width=width, height=height)
    up = down = here
    for other in sorted(taken, key=lambda b: b.top):
        if down.overlaps(other):
            down = replace(down, top=other.top + other.height)
    for other in sorted(taken, key=lambda b: -b.top):
        if up.overlaps(other):
            up = replace(up, top=other.top - height)
    return next((box for box in (up, down) if 0 <= box.top <= lowest), here)


def draw_box(image: UInt8, text: str, box: Box, *, ground: Colour = DARK) -> None:
    """Draw a tag where `place_tag` put it; black or white letters, whichever reads better."""
    scale, stroke, margin = _type(image)
    cv2.rectangle(image, (box.left, box.top, box.width, box.height), ground, cv2.FILLED)
    (_, ascent), descent = cv2.getTextSize(_PROBE, _FONT, scale, stroke)
    base = box.top + (box.height + ascent - descent // 2) // 2
    letters = DARK if sum(ground) > 3 * 110 else LIGHT
    cv2.putText(image, text, (box.left + margin, base), _FONT, scale, letters, stroke, cv2.LINE_AA)


def draw_tag(image: UInt8, text: str, corner: Literal["top", "bottom"]) -> Box:
    """Write plain text into the upper or lower left corner of the picture (H, W, 3); returns where."""
    width, height = tag_size(image, text)
    top = 0 if corner == "top" else max(image.shape[0] - height, 0)
    box = Box(left=0, top=top, width=width, height=height)
    draw_box(image, text, box)
    return box


def draw_legend(image: UInt8) -> None:
    """Say in the lower right corner which colour is the person's left and which the right."""
    rows, right = image.shape[:2]
    for text, colour in (("right", RIGHT), ("left", LEFT)):
        width, height = tag_size(image, text)
        right -= width
        draw_box(
            image, text, Box(left=right, top=max(rows - height, 0), width=width, height=height), ground=colour
        )


def _type(image: UInt8) -> tuple[float, int, int]:
    """Font scale, width of strokes and margin around the text."""
    height = _text_height(image)
    stroke = max(1, round(height / 11))
    return float(cv2.getFontScaleFromHeight(_FONT, round(height), stroke)), stroke, round(0.35 * height) + 1
