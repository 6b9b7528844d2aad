"""People frame by frame, as most files tell of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skelkit.structures import Float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """One person in one frame."""

    keypoints: Float32
    """(K, C), NaN = missing."""
    scores: Float32
    """(K,)."""
    confidence: float | None = None
    """None = the mean score of the joints seen."""
    track_id: int | None = None
    """None = the file does not say."""


@dataclass(slots=True)
class Frames:
    """Frames of a clip as they are read."""

    numbers: list[int] = field(default_factory=list)
    people: list[list[Person]] = field(default_factory=list)

    def add(self, number: int, people: list[Person]) -> None:
        """Append a frame."""
        self.numbers.append(number)
        self.people.append(people)


def person(values: Any, stride: int, **more: Any) -> Person:
    """A person from a flat list of x, y, score per joint; score 0 = missing.

    Args:
        values: K times `stride` numbers.
        stride: Numbers per joint; the last is the score.
        more: Other fields of `Person`.

    Raises:
        ValueError, TypeError, OverflowError: not such a list.
    """
    numbers = np.asarray(values, np.float64).reshape(-1, stride)
    return scored_person(numbers[:, :-1], numbers[:, -1], **more)


def scored_person(points: Any, scores: Any, **more: Any) -> Person:
    """A person from places (K, C) and scores (K,); score 0 = missing."""
    with np.errstate(over="ignore", invalid="ignore"):
        places, marks = np.asarray(points, np.float64).astype(np.float32), np.asarray(scores, np.float64)
        seen = np.isfinite(places).all(axis=-1) & (marks > 0)
    return Person(
        keypoints=np.where(seen[:, None], places, np.float32(np.nan)),
        scores=np.where(seen, np.minimum(marks, 1), 0).astype(np.float32),
        **more,
    )


def whole_number(value: Any) -> int:
    """An int in 31 bits.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**31 or value % 1:
        raise ValueError(f"expected a whole number from 0, got {value!r:.40}")
    return int(value)
