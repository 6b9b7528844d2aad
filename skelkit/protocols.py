"""The plugin protocols on one page: the map of the house.

video -> frames -> poses per expert -> people over time -> one refined sequence -> shards. Each arrow is
one protocol here; anything that has its methods can take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Literal, Protocol, runtime_checkable

from skelkit.structures import (
    Detections,
    Float64,
    FrameBatch,
    Int64,
    Poses,
    Skeleton,
    SkeletonSequence,
    VideoInfo,
)

ExpertKind = Literal["top-down", "bottom-up", "one-stage"]
"""top-down: needs person boxes; bottom-up: joints first, grouped afterwards; one-stage: both at once."""


@runtime_checkable
class VideoReader(Protocol):
    """A clip as a stream of frames, with constant memory whatever its length."""

    @property
    def info(self) -> VideoInfo:
        """What is known so far; `num_frames` is final once `batches` has ended."""
        ...

    def batches(self, size: int) -> Iterator[FrameBatch]:
        """Frames in order, `size` at a time (fewer in the last batch).

        Raises:
            VideoError: where decoding breaks off; every frame before that has been yielded.
        """
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds people in frames. Run once per batch and shared by all top-down experts."""

    @property
    def name(self) -> str:
        """Registry name, for example ``yolox_nano``."""
        ...

    def detect(self, frames: FrameBatch) -> Detections:
        """Person boxes of all frames."""
        ...


@runtime_checkable
class PoseExpert(Protocol):
    """Finds poses in frames."""

    @property
    def name(self) -> str:
        """Registry name, for example ``movenet``."""
        ...

    @property
    def skeleton(self) -> Skeleton:
        """The joint set of `predict`'s keypoints."""
        ...

    @property
    def kind(self) -> ExpertKind:
        """Whether `predict` needs person boxes."""
        ...

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        """Poses of all frames of the batch.

        Args:
            frames: N frames.
            people: Person boxes in these frames; required by top-down experts, ignored by the others.
        """
        ...


@runtime_checkable
class Tracker(Protocol):
    """Poses of one expert over time -> people with identities."""

    def track(
        self,
        poses: Iterable[Poses],
        *,
        frame_indices: Int64,
        pts_s: Float64,
        info: VideoInfo,
        video_id: str,
        source: str,
    ) -> SkeletonSequence:
        """Follow people through a clip.

        Args:
            poses: At least one batch (it may hold no pose), in the order of time; all poses of a frame
                in one batch.
            frame_indices: (T,) all frames looked at, also those without people.
            pts_s: (T,) their time stamps in seconds.
            info: The clip.
            video_id: Its name in the result.
            source: The expert's name.
        """
        ...


@runtime_checkable
class Aggregator(Protocol):
    """Several experts' views of the same people -> one sequence."""

    def aggregate(self, views: Sequence[SkeletonSequence]) -> SkeletonSequence:
        """One sequence from several with the same `track_ids` and `frame_indices`."""
        ...


Refiner = Callable[[SkeletonSequence], SkeletonSequence]
"""One sequence to one of the same shape: refiners compose."""


@runtime_checkable
class ShardWriter(Protocol):
    """Writes clips one after the other; nothing is visible until it closes cleanly."""

    def write(self, sequence: SkeletonSequence) -> None:
        """Append one clip."""
        ...

    def __enter__(self) -> ShardWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class ShardReader(Protocol):
    """Random access to the clips of a shard."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> SkeletonSequence: ...
