"""Which frames of a clip a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skelkit.errors import ConfigError
from skelkit.structures import Int64


class FrameSampler(Protocol):
    """Chooses frames: at random in training, the same ones always in a test."""

    @property
    def num_clips(self) -> int:
        """Choices per clip; a network's answers for them are averaged."""
        ...

    def __call__(self, num_frames: int, rng: np.random.Generator | None) -> Int64:
        """(num_clips, L) frames from 0 to `num_frames` - 1.

        Args:
            num_frames: T of the clip, at least 1.
            rng: None = test.
        """
        ...


def _check(name: str, length: int, num_clips: int = 1) -> None:
    if length < 1 or num_clips < 1:
        raise ConfigError(f"{name}: expected at least 1 frame and 1 clip, got {length} and {num_clips}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformSegments:
    """One frame of each of `length` equal segments of the clip (PoseConv3D, section 3.2).

    In training a random one. In a test the middle one, or, with several clips, evenly spaced ones (the paper
    draws them with a fixed seed). A clip shorter than `length` is played again and again, from a random
    frame in training.

    Raises:
        ConfigError: no frame, or no clip.
    """

    length: int
    num_clips: int = 1

    def __post_init__(self) -> None:
        """Check."""
        _check("UniformSegments", self.length, self.num_clips)

    def __call__(self, num_frames: int, rng: np.random.Generator | None) -> Int64:
        """See `FrameSampler`."""
        shape = self.num_clips, self.length
        if num_frames < self.length:
            return _replayed(num_frames, shape, rng)
        bounds = np.arange(self.length + 1) * num_frames // self.length
        if rng is None:
            within = np.broadcast_to((np.arange(self.num_clips)[:, None] + 0.5) / self.num_clips, shape)
        else:
            within = rng.random(shape)
        return bounds[:-1] + (within * np.diff(bounds)).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCrop:
    """`length` consecutive frames.

    In training from a random one. In a test the middle ones, or, with several clips, evenly spaced windows
    from the first frame to the last. A shorter clip is played again and again, from a random frame in
    training.

    Raises:
        ConfigError: no frame, or no clip.
    """

    length: int
    num_clips: int = 1

    def __post_init__(self) -> None:
        """Check."""
        _check("RandomCrop", self.length, self.num_clips)

    def __call__(self, num_frames: int, rng: np.random.Generator | None) -> Int64:
        """See `FrameSampler`."""
        shape = self.num_clips, self.length
        room = num_frames - self.length
        if room < 0:
            return _replayed(num_frames, shape, rng)
        if rng is not None:
            first = rng.integers(0, room + 1, self.num_clips)
        elif self.num_clips == 1:
            first = np.asarray([room // 2])
        else:
            first = np.linspace(0, room, self.num_clips).astype(np.int64)
        return first[:, None] + np.arange(self.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class FullClip:
    """All frames, from the first.

    With a `length` shorter clips are played again until they are that long, as UNIK's are to 300 frames
    (supplement, implementation), and longer ones are cut.

    Raises:
        ConfigError: no frame.
    """

    length: int | None = None
    """None = as long as the clip; batches then need clips of one length, or one clip each."""

    def __post_init__(self) -> None:
        """Check."""
        _check("FullClip", 1 if self.length is None else self.length)

    @property
    def num_clips(self) -> int:
        """1."""
        return 1

    def __call__(self, num_frames: int, rng: np.random.Generator | None) -> Int64:
        """See `FrameSampler`; nothing is random."""
        return np.arange(self.length or num_frames)[None] % num_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The clip slowed down or sped up to `length` frames, the nearest one at each moment.

    In training a window at a random place and of random length, `window` of the clip at least. In a test the
    whole clip, or, with several clips, evenly spaced windows of `window`.

    Raises:
        ConfigError: no frame, no clip, or a window that is no share.
    """

    length: int
    window: float = 1.0
    num_clips: int = 1

    def __post_init__(self) -> None:
        """Check."""
        _check("Stretch", self.length, self.num_clips)
        if not 0 < self.window <= 1:
            raise ConfigError(f"Stretch: expected a window above 0 and up to 1, got {self.window}")

    def __call__(self, num_frames: int, rng: np.random.Generator | None) -> Int64:
        """See `FrameSampler`."""
        if rng is not None:
            span = rng.uniform(self.window, 1, (self.num_clips, 1))
            first = rng.random((self.num_clips, 1)) * (1 - span)
        else:
            span = np.full((self.num_clips, 1), 1.0 if self.num_clips == 1 else self.window)
            first = np.linspace(0, 1, self.num_clips)[:, None] * (1 - span)
        at = first + span * (np.arange(self.length) + 0.5) / self.length
        return np.minimum(at * num_frames, num_frames - 1).astype(np.int64)


def _replayed(num_frames: int, shape: tuple[int, int], rng: np.random.Generator | None) -> Int64:
    first = np.zeros(shape[0], np.int64) if rng is None else rng.integers(0, num_frames, shape[0])
    return (first[:, None] + np.arange(shape[1])) % num_frames
