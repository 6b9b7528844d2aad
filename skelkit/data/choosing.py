"""Which people of a clip a network sees, and what it sees where a joint is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from skelkit.errors import ConfigError
from skelkit.structures import Bool, Float32

PeopleRule = Literal["presence", "motion", "score"]
"""presence: frames in which a person is seen; motion: sum over joints and coordinates of the standard
deviation over time (as the NTU scripts of ST-GCN choose bodies); score: mean over all joints of all the
person's poses."""

FillRule = Literal["zero", "previous", "interpolate"]
"""zero: a joint that is not seen is 0. previous: it is where it was seen last. interpolate: on the straight
line between where it was seen last and is seen next. Both from the person's first pose to the last, where a
joint not seen before (or after) is where it is seen first (last); a joint never seen is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSelection:
    """The people with the highest value, highest first; among equals the one who stands first in the shard.

    Raises:
        ConfigError: nobody, or no such rule.
    """

    people: int = 2
    """M; a clip with fewer is filled up with people who are never seen."""
    by: PeopleRule = "presence"

    def __post_init__(self) -> None:
        """Check."""
        if self.people < 1 or self.by not in get_args(PeopleRule):
            raise ConfigError(
                f"expected at least 1 person by {', '.join(get_args(PeopleRule))}, "
                f"got {self.people} by {self.by!r}"
            )


def fill_missing(points: Float32, visible: Bool, rule: FillRule) -> tuple[Float32, Bool]:
    """Places for joints that were not seen.

    Args:
        points: (M, T, K, C), 0 where not visible.
        visible: (M, T, K).
        rule: See `FillRule`.

    Returns:
        Points, and (M, T, K) whether a joint has a place: was seen or is filled in.
    """
    if rule == "zero" or not points.size:
        return points, visible
    t = np.arange(points.shape[1])[:, None]
    before = np.maximum.accumulate(np.where(visible, t, -1), axis=1)
    after = np.minimum.accumulate(np.where(visible, t, len(t))[:, ::-1], axis=1)[:, ::-1]
    there: Bool = np.asarray(visible.any(axis=2, keepdims=True))
    seen_before, seen_after = (np.maximum.accumulate(there[:, ::way], axis=1)[:, ::way] for way in (1, -1))
    placed = seen_before & seen_after & visible.any(axis=1, keepdims=True)
    low = np.where(before >= 0, before, after)  # a joint not seen before: as it is seen first
    high = np.where(after < len(t), after, low)
    if rule == "previous":
        high = low
    low, high = (np.where(placed, i, 0) for i in (low, high))
    share = ((t - low) / np.maximum(high - low, 1)).clip(0, 1)[..., None].astype(np.float32)
    m, k = np.arange(len(points))[:, None, None], np.arange(points.shape[2])
    filled = points[m, low, k] * (1 - share) + points[m, high, k] * share
    filled = np.where(visible[..., None], points, filled * placed[..., None])
    return filled.astype(np.float32, copy=False), placed
