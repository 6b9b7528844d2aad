"""Which of the decoded frames are wanted: by time, by count, by rate. Streams of `Timed` -> shorter ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from skelkit.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timed:
    """A decoded picture, not yet converted."""

    picture: Any
    """What its stream's `paint` understands."""
    index: int
    """Number among all decoded frames, from 0."""
    pts_s: float
    """Seconds since the first frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The frames wanted.

    Raises:
        ConfigError: a value out of range, or ``stride`` and ``target_fps`` together.
    """

    stride: int = 1
    """Every n-th frame."""
    target_fps: float | None = None
    """For each tick of a clock of this rate the frame nearest to it; a frame is never taken twice."""
    start_s: float | None = None
    """First time stamp wanted."""
    end_s: float | None = None
    """Time stamp at which decoding stops; not included."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        wrong = [
            f"{name}: expected {wanted}, got {getattr(self, name)!r}"
            for name, wanted, right in (
                ("stride", "a whole number of at least 1", self.stride >= 1),
                (
                    "target_fps",
                    "a number above 0",
                    self.target_fps is None or 0 < self.target_fps < float("inf"),
                ),
                ("start_s", "seconds from 0 on", self.start_s is None or 0 <= self.start_s < float("inf")),
                ("end_s", "seconds after start_s", self.end_s is None or self.end_s > (self.start_s or 0)),
                ("target_fps", "nothing beside a stride", self.target_fps is None or self.stride == 1),
            )
            if not right
        ]
        if wrong:
            raise ConfigError("; ".join(wrong))

    def of(self, frames: Iterable[Timed]) -> Iterator[Timed]:
        """The frames wanted among these, which come in the order of time."""
        frames = _between(frames, self.start_s or 0.0, self.end_s)
        if self.target_fps is not None:
            return _nearest(frames, self.target_fps)
        return islice(frames, 0, None, self.stride)


def _between(frames: Iterable[Timed], start_s: float, end_s: float | None) -> Iterator[Timed]:
    for frame in frames:
        if end_s is not None and frame.pts_s >= end_s:
            return
        if frame.pts_s >= start_s:
            yield frame


def _nearest(frames: Iterable[Timed], fps: float) -> Iterator[Timed]:
    """The frame nearest to each tick; the clock starts with the first frame.

    A frame is nearest to the ticks up to half way to the next one; the last to those within half a gap.
    """
    origin, ticks, held, half_way = 0.0, 0, None, 0.0
    for frame in frames:
        if held is None:
            origin = frame.pts_s
        else:
            half_way = (held.pts_s + frame.pts_s) / 2
            if origin + ticks / fps <= half_way:
                yield held
                ticks = int((half_way - origin) * fps) + 1
        held = frame
    if held is not None and origin + ticks / fps <= held.pts_s + max(held.pts_s - half_way, 0.0):
        yield held
