"""The people of one frame, drawn on its picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from skelkit.report.palette import LEFT, MIDDLE, RIGHT, Colour, colour_of
from skelkit.report.tags import Box, draw_box, place_tag, tag_size
from skelkit.structures import Bool, Float32, Int64, Skeleton, UInt8

_SHIFT = 4
_FINE = 1 << _SHIFT
"""OpenCV draws in units of 1/16 pixel: skeletons move smoothly."""
_FAR = 1 << 14
"""Joints further out than this many pixels are drawn there: OpenCV counts in 32 bits."""
_EDGE_OPACITY = 0.55
"""Of the dark edge that sets limbs off from a bright picture, where the limb itself is opaque."""
_FAINTEST = 0.12
"""Opacity of a joint of score 0; from a score of 0.63 on joints are opaque."""


class _Stroke(NamedTuple):
    """A bone, or a joint where it ends where it starts."""

    opacity: float
    start: list[int]
    end: list[int]
    width: float
    colour: Colour


class PeoplePainter:
    """Draws the people of one joint set.

    Bones and joints are coloured by side, and the fainter the lower their score. Above each head stand the
    track id, in a colour of its own, and the body-level confidence where the person is large enough for it.

    Args:
        skeleton: Joint set, K joints. `Skeleton.flip_pairs` tells the sides.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._bones = [(skeleton.index(a), skeleton.index(b)) for a, b in skeleton.edges]
        left = {a for a, _ in skeleton.flip_pairs}
        right = {b for _, b in skeleton.flip_pairs}
        sides = [-1 if j in left else int(j in right) for j in skeleton.joints]
        self._joint_colours = [_colour(side) for side in sides]
        self._bone_colours = [_colour(sides[a] + sides[b]) for a, b in self._bones]
        self._head = [skeleton.index(j) for j in skeleton.parts.get("head", ())]

    def draw(
        self,
        image: UInt8,
        keypoints: Float32,
        scores: Float32,
        confidence: Float32,
        track_ids: Int64,
        *,
        taken: Sequence[Box] = (),
    ) -> None:
        """Draw one frame's people.

        Args:
            image: (H, W, 3) RGB, changed.
            keypoints: (M, K, 2) pixels of this picture; NaN = not seen, not drawn.
            scores: (M, K) in [0, 1].
            confidence: (M,) body-level; NaN = unknown.
            track_ids: (M,) who is who.
            taken: Where text stands already; labels make way.
        """
        seen = _seen(keypoints)
        keypoints = np.where(seen[..., None], keypoints, np.float32(np.nan))  # half a joint is none
        present = np.flatnonzero(seen.any(axis=-1)).tolist()
        layer = np.zeros((*image.shape[:2], 4), np.uint8)  # colour times opacity, opacity
        # The tallest first, so that people in the distance are not hidden behind those in front.
        for m in sorted(present, key=lambda m: -_extent(keypoints[m])):
            self._draw_person(layer, keypoints[m], scores[m])
        _lay_over(image, layer)
        boxes = list(taken)
        for m in present:  # always in the same order: labels that make way for others do not jump about
            text = f"#{track_ids[m]}"
            certain = f"{text}  {confidence[m]:.2f}"
            # In a crowd of small people longer labels would hide more than they tell.
            if np.isfinite(confidence[m]) and tag_size(image, certain)[0] <= _extent(keypoints[m]):
                text = certain
            boxes.append(place_tag(image, text, above=self._top(keypoints[m]), taken=boxes))
            draw_box(image, text, boxes[-1], ground=colour_of(int(track_ids[m])))

    def _draw_person(self, layer: UInt8, keypoints: Float32, scores: Float32) -> None:
        """Edges first, bones over them, joints on top; doubtful ones never over sure ones."""
        width = _line_width(layer, keypoints)
        bones, joints = self._strokes(keypoints, scores, width)
        for strokes in (bones, joints):
            for stroke in strokes:
                _draw_stroke(layer, stroke, grow=2 * max(1, round(width / 2)), edge=True)
        for strokes in (bones, joints):
            for stroke in strokes:
                _draw_stroke(layer, stroke)

    def _strokes(
        self, keypoints: Float32, scores: Float32, width: int
    ) -> tuple[list[_Stroke], list[_Stroke]]:
        """Bones and joints seen, by rising opacity."""
        seen = _seen(keypoints)
        opacity = np.clip(_FAINTEST + 1.4 * scores, _FAINTEST, 1.0).tolist()
        points = (np.clip(np.nan_to_num(keypoints), -_FAR, _FAR) * _FINE).round().astype(int).tolist()
        bones = [
            _Stroke(min(opacity[a], opacity[b]), points[a], points[b], width, colour)
            for (a, b), colour in zip(self._bones, self._bone_colours, strict=True)
            if seen[a] and seen[b]
        ]
        joints = [
            _Stroke(opacity[k], points[k], points[k], 2 * width + 1, self._joint_colours[k])
            for k in np.flatnonzero(seen).tolist()
        ]
        return sorted(bones), sorted(joints)

    def _top(self, keypoints: Float32) -> tuple[float, float]:
        """A point over the hair: the highest joint of many joint sets is an eye."""
        seen = _seen(keypoints)
        head = [k for k in self._head if seen[k]] or [int(np.nanargmin(keypoints[:, 1]))]
        top = float(np.nanmin(keypoints[:, 1]))
        return float(keypoints[head, 0].mean()), top - 0.07 * _extent(keypoints)


def _colour(side: int) -> Colour:
    """Colour of a joint or bone: negative left, positive right, zero neither or both."""
    return LEFT if side < 0 else RIGHT if side > 0 else MIDDLE


def _seen(keypoints: Float32) -> Bool:
    """(..., K) which joints have a place."""
    return np.asarray(np.isfinite(keypoints).all(axis=-1))


def _extent(keypoints: Float32) -> float:
    """Pixels of the longer side of the box around the joints seen."""
    return float((np.nanmax(keypoints, axis=0) - np.nanmin(keypoints, axis=0)).max())


def _line_width(layer: UInt8, keypoints: Float32) -> int:
    """Pixels: 4 in a picture 1080 high, less for people who are small in it."""
    return max(1, round(min(*(float(side) / 270 for side in layer.shape[:2]), _extent(keypoints) / 90)))


def _draw_stroke(layer: UInt8, stroke: _Stroke, *, grow: float = 0, edge: bool = False) -> None:
    """Draw it, or the dark edge around it."""
    opacity = stroke.opacity * (_EDGE_OPACITY if edge else 1)
    colour = (0, 0, 0) if edge else stroke.colour
    ink = (*(round(c * opacity) for c in colour), round(255 * opacity))
    width = stroke.width + grow
    if stroke.start == stroke.end:
        cv2.circle(layer, stroke.start, round(width / 2 * _FINE), ink, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    else:
        cv2.line(layer, stroke.start, stroke.end, ink, round(width), cv2.LINE_AA, _SHIFT)


def _lay_over(image: UInt8, layer: UInt8) -> None:
    """image <- layer + (1 - opacity) image, where there is something to lay."""
    x, y, width, height = cv2.boundingRect(layer[..., 3])
    if not width:
        return
    inside = image[y : y + height, x : x + width]
    over = layer[y : y + height, x : x + width]
    through = cv2.cvtColor(255 - over[..., 3], cv2.COLOR_GRAY2RGB)
    cv2.add(cv2.multiply(inside, through, scale=1 / 255), over[..., :3], dst=inside)
