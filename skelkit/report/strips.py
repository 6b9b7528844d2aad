"""A few frames of a clip as a small drawing (SVG) that takes its colours from the page around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from skelkit.structures import Float32, Float64, Skeleton, SkeletonSequence

WIDTH, HEIGHT = 480, 96
"""Units of the drawing; a line of text with the times stands below."""
_TEXT = 16
_MARGIN = 6
_PEOPLE = 3
"""People drawn at most: those seen in most frames."""
_NARROWEST, _WIDEST = 60, 160
"""Units of a frame's width: as the people's way through the clip needs it."""
_STRAY = 2.0
"""A joint further from a frame's middle than this times nearly all others is not drawn."""
_STILL = 1.6
"""People who need no more room over the clip than this times that of a frame are shown from one place."""
_DOUBTFUL = 0.3
"""Score below which a bone is drawn faintly."""
_SIDES = ("r", "m", "l")
"""CSS classes of the person's right, the middle, and the left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A drawing, and what it shows in words."""

    svg: Markup
    alt: str


def draw_strip(sequence: SkeletonSequence) -> Strip:
    """Draw evenly spaced frames of a clip, all to one scale.

    Where people walk through the picture the frames go with them, for nothing could be seen otherwise.

    Args:
        sequence: With at least one pose. Of three dimensions, the first two are drawn.
    """
    present = sequence.present()
    people = np.argsort(-present.sum(axis=1), kind="stable")[:_PEOPLE]
    steps = np.flatnonzero(present[people[0]])
    points = _near(_upright(sequence)[people][:, steps])
    centres, size = _windows(points)
    scale = min((HEIGHT - 2 * _MARGIN) / size[1], (_WIDEST - 2 * _MARGIN) / size[0])
    count = int(WIDTH / np.clip(size[0] * scale + 2 * _MARGIN, _NARROWEST, _WIDEST))
    chosen = np.unique(np.linspace(0, len(steps) - 1, count).round().astype(np.int64))
    steps, panel = steps[chosen], WIDTH / count
    middles = np.stack([(np.arange(len(steps)) + 0.5) * panel, np.full(len(steps), HEIGHT / 2)], axis=-1)
    drawn = (points[:, chosen] - centres[chosen, None]) * scale + middles[:, None]
    paths = _paths(sequence.skeleton, drawn, sequence.scores[people][:, steps])
    times = [f"{t:.1f} s" for t in (sequence.pts_s[steps] - sequence.pts_s[0]).tolist()]
    texts = "".join(
        f'<text x="{(i + 0.5) * panel:.0f}" y="{HEIGHT + _TEXT - 3}">{time}</text>'
        for i, time in enumerate(times)
    )
    view = f"0 0 {WIDTH} {HEIGHT + _TEXT}"
    return Strip(
        svg=Markup(f'<svg viewBox="{view}" aria-hidden="true">{paths}{texts}</svg>'),  # numbers only
        alt=f"Skeletons of {len(people)} of {len(present)} people at {', '.join(times)}",
    )


def _upright(sequence: SkeletonSequence) -> Float32:
    """(M, T, K, 2) with y downwards, as in pictures; in space, whichever way puts heads over feet."""
    points = sequence.keypoints[..., :2].astype(np.float32)
    if sequence.keypoints.shape[-1] == 3:
        parts = sequence.skeleton.parts
        top, bottom = (
            points[:, :, [sequence.skeleton.index(j) for name in names for j in parts.get(name, ())], 1]
            for names in (("head",), ("left_leg", "right_leg"))
        )
        if _median(top) > _median(bottom):
            points[..., 1] *= -1
    return points


def _median(values: Float32) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _near(points: Float32) -> Float32:
    """(M, S, K, 2) without the few joints that lie far from all others: they would make people tiny."""
    points = np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.float32(np.nan))
    away = np.abs(points - np.nanmedian(points, axis=(0, 2), keepdims=True)).max(axis=-1)
    limit = _STRAY * np.nanpercentile(away, 97)
    others = (away <= limit).any(axis=(0, 2))
    far = (away > limit) & others[:, None]
    return np.where(far[..., None], np.float32(np.nan), points)


def _windows(points: Float32) -> tuple[Float64, Float64]:
    """What to show of every frame: middles (S, 2), and one size (2,) for all."""
    low, high = np.nanmin(points, axis=(0, 2)), np.nanmax(points, axis=(0, 2))
    size, whole = (high - low).max(axis=0), high.max(axis=0) - low.min(axis=0)
    still = whole <= _STILL * size
    middles = np.where(still, (high.max(axis=0) + low.min(axis=0)) / 2, (high + low) / 2)
    size = np.where(still, whole, size)
    return middles.astype(np.float64), np.maximum(size, 1e-3 * max(1.0, float(size.max()))).astype(np.float64)


def _paths(skeleton: Skeleton, points: Float64, scores: Float32) -> str:
    """Bones and joints, one path for each side and each certainty."""
    side = np.ones(skeleton.num_joints, np.int64)
    for left, right in skeleton.flip_pairs:
        side[skeleton.index(left)], side[skeleton.index(right)] = 2, 0
    bones = np.array([(skeleton.index(a), skeleton.index(b)) for a, b in skeleton.edges], np.int64)
    joints = np.arange(skeleton.num_joints)
    found = []
    for kind, pairs in (("b", bones.reshape(-1, 2)), ("j", np.stack([joints, joints], axis=1))):
        lines = points[:, :, pairs]  # (M, S, E, 2, 2)
        seen = np.isfinite(lines).all(axis=(-1, -2))
        faint = scores[:, :, pairs].min(axis=-1) < _DOUBTFUL
        # Right and middle is right, left and right is middle.
        sides = np.clip(side[pairs].sum(axis=-1) - 1, 0, 2)
        for number, name in enumerate(_SIDES):
            for suffix, sure in ((" f", faint), ("", ~faint)):
                chosen = lines[seen & sure & (sides == number)].reshape(-1, 4)
                text = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in chosen.tolist())
                found.append(f'<path class="{kind} {name}{suffix}" d="{text}"/>' if text else "")
    return "".join(found)
