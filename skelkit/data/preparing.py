"""Poses as a dataset keeps them: another joint set, no unsure poses, the chosen people of every clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data.facts import body_heights, found_joints
from skelkit.data.rows import Rows
from skelkit.errors import ConfigError
from skelkit.skeletons import recipe, remap
from skelkit.structures import Bool, Float64, Int64, Skeleton

_CLIPS = 64
_ROWS = 16384
"""A block has at most so many clips, and no clip beyond so many rows: a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done to poses.

    Raises:
        ConfigError: a value out of range.
    """

    skeleton: Skeleton
    """Joint set wanted."""
    gamma: float = 0.0
    """Poses with C below this are left out (SST-A, equation 3.3); those without a C stay."""
    max_people: int | None = None
    """People kept per clip; None = all."""
    people_by: str = "presence"
    """Which people are kept, see `PEOPLE_BY`."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.gamma <= 1:
            raise ConfigError(f"gamma: expected 0 to 1, got {self.gamma}")
        if self.max_people is not None and self.max_people < 1:
            raise ConfigError(f"max_people: expected at least 1, got {self.max_people}")
        if self.people_by not in PEOPLE_BY:
            raise ConfigError(f"people_by: expected one of {', '.join(PEOPLE_BY)}, got {self.people_by!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Rows of consecutive clips, and what was left out of them."""

    rows: Rows
    num_rows: Int64
    """(n,) rows of each clip."""
    num_people: Int64
    """(n,) people of each clip."""
    people_left_out: Int64
    """(n,) people without a row now."""
    rows_left_out: Int64
    """(n,) rows not kept."""


def blocks(num_rows: Int64) -> Iterator[tuple[int, int]]:
    """Consecutive clips in lots that fit in little memory, whatever their number; a long clip is alone."""
    start, total = 0, 0
    for i, count in enumerate(num_rows.tolist()):
        if i > start and (i - start >= _CLIPS or total + count > _ROWS):
            yield start, i
            start, total = i, 0
        total += count
    if start < len(num_rows):
        yield start, len(num_rows)


def check_convertible(source: Skeleton, target: Skeleton) -> None:
    """Raise ConfigError unless every joint of `target` can be made of those of `source`."""
    if lacking := [joint for joint in target.joints if recipe(joint, source) is None]:
        raise ConfigError(
            f"joint set {source.name} cannot become {target.name}: it has nothing to make "
            f"{', '.join(lacking)} of; choose another joint set"
        )


def prepare(rows: Rows, num_rows: Int64, source: Skeleton, wanted: Preparation) -> Prepared:
    """Apply a preparation to consecutive clips.

    Args:
        rows: R rows of n clips, one clip after the other, with the joints of `source`.
        num_rows: (n,) rows of each clip.
        source: Joint set of the rows.
        wanted: What to do.
    """
    converted = _converted(rows, source, wanted)
    clip = np.repeat(np.arange(len(num_rows)), num_rows)
    keep = found_joints(converted).any(axis=1)
    keep &= ~(rows.confidence < wanted.gamma)
    before = first_of_people(clip, rows.track)
    kept, its_clip = _taken(converted, keep), clip[keep]
    if wanted.max_people is not None:
        chosen = _chosen(kept, its_clip, wanted.max_people, PEOPLE_BY[wanted.people_by])
        kept, its_clip = _taken(kept, chosen), its_clip[chosen]
    left = np.bincount(its_clip, minlength=len(num_rows))
    people = np.bincount(its_clip[first_of_people(its_clip, kept.track)], minlength=len(num_rows))
    return Prepared(
        rows=kept,
        num_rows=left,
        num_people=people,
        people_left_out=np.bincount(clip[before], minlength=len(num_rows)) - people,
        rows_left_out=num_rows - left,
    )


def _taken(rows: Rows, keep: Bool) -> Rows:
    if keep.all():
        return rows
    return Rows(**{f.name: getattr(rows, f.name)[keep] for f in fields(Rows)})


def _converted(rows: Rows, source: Skeleton, wanted: Preparation) -> Rows:
    keypoints, scores = remap(rows.keypoints, rows.scores, source, wanted.skeleton)
    return replace(rows, keypoints=keypoints, scores=scores)


def first_of_people(clip: Int64, track: npt.NDArray[Any]) -> Int64:
    """First row of every person; the rows of a person are adjacent."""
    new = np.ones(len(clip), bool)
    new[1:] = (clip[1:] != clip[:-1]) | (track[1:] != track[:-1])
    return np.flatnonzero(new)


def _chosen(rows: Rows, clip: Int64, count: int, value: Callable[[Rows, Int64], Float64]) -> Bool:
    """Rows of the `count` people of each clip with the highest value; among equals the first."""
    starts = first_of_people(clip, rows.track)
    owner = clip[starts]
    order = np.lexsort((-value(rows, starts), owner))
    ranked = owner[order]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    chosen = np.zeros(len(starts), bool)
    chosen[order[rank < count]] = True
    return np.repeat(chosen, _lengths(starts, len(rows)))


def _lengths(starts: Int64, total: int) -> Int64:
    return np.diff(starts, append=total)


def _presence(rows: Rows, starts: Int64) -> Float64:
    return _lengths(starts, len(rows)).astype(np.float64)


def _size(rows: Rows, starts: Int64) -> Float64:
    heights = body_heights(rows.keypoints, found_joints(rows))
    return np.asarray([float(np.median(part)) for part in np.split(heights, starts[1:])])


def _motion(rows: Rows, starts: Int64) -> Float64:
    """Sum over joints and coordinates of the standard deviation over time."""
    found = np.isfinite(rows.keypoints)
    points = np.where(found, rows.keypoints, 0).astype(np.float64)
    if not len(starts):
        return np.zeros(0)
    count = np.maximum(np.add.reduceat(found, starts, axis=0, dtype=np.int64), 1)
    mean = np.add.reduceat(points, starts, axis=0) / count
    spread = np.where(found, points - np.repeat(mean, _lengths(starts, len(rows)), axis=0), 0)
    deviation = np.sqrt(np.add.reduceat(spread**2, starts, axis=0) / count)
    return np.asarray(deviation.sum(axis=(1, 2)))


PEOPLE_BY: Mapping[str, Callable[[Rows, Int64], Float64]] = MappingProxyType(
    {"presence": _presence, "motion": _motion, "size": _size}
)
"""How people are ranked: rows of people and each one's first row -> a value per person.

``presence``: frames in which they are seen. ``motion``: how much their joints move, as the NTU scripts of
ST-GCN choose bodies. ``size``: median height."""
