"""Time stamps as files carry them -> true, strictly increasing seconds."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from skelkit.video.selection import Timed


def timed(frames: Iterable[Any], *, time_base: Fraction, fps: float, window: int) -> Iterator[Timed]:
    """Number frames and give each its time in seconds since the first.

    Frames come from the decoder in the order of display; their time stamps should increase, and where they
    do they are taken as they are, with all gaps. Otherwise, in this order:

    - AVI stores frames in the order of decoding, each in its slot of time, and no display times. The slots
      are the right times in the wrong order where there are B-frames: sorted within ``window`` frames, each
      frame gets its own.
    - A frame without a time stamp, or not after the one before it, follows that one by 1 / ``fps``.

    Args:
        frames: Frames with ``pts`` in units of ``time_base``, or None.
        time_base: Seconds.
        fps: Nominal rate, above 0.
        window: Frames among which time stamps may have traded places; 0 where they have not.
    """
    index, origin, last = 0, 0, -1.0
    for frame, pts in _sorted(frames, window):
        if index == 0:
            origin, now = pts or 0, 0.0
        else:
            now = last + 1 / fps if pts is None else float((pts - origin) * time_base)
            if now <= last:
                now = last + 1 / fps
        yield Timed(picture=frame, index=index, pts_s=now)
        index, last = index + 1, now


def _sorted(frames: Iterable[Any], window: int) -> Iterator[tuple[Any, int | None]]:
    """Frames in their order, each with the smallest time stamp not yet given among the next ``window``."""
    held: deque[Any] = deque()
    stamps: list[int] = []
    for frame in frames:
        held.append(frame)
        if frame.pts is not None:
            heapq.heappush(stamps, frame.pts)
        if len(held) > window:
            yield held.popleft(), heapq.heappop(stamps) if stamps else None
    while held:
        yield held.popleft(), heapq.heappop(stamps) if stamps else None
