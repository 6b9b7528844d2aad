"""The unit of work: one video through all experts, as people with identities."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from skelkit._version import __version__
from skelkit.data import Clip, empty_sequence
from skelkit.errors import ConfigError, VideoError
from skelkit.experts import build_detector, build_expert, choose_device, describe, on_their_way
from skelkit.experts.batches import NOTICES
from skelkit.pipelines.aggregate import AggregationSettings, aggregate, result_skeleton
from skelkit.pipelines.settings import ExtractSettings
from skelkit.protocols import Detector, PoseExpert
from skelkit.structures import Detections, FrameBatch, Skeleton, Tracks, VideoInfo
from skelkit.tracking import PoseTracker, TrackerSettings, unify_identities
from skelkit.video import Source, open_video, prefetch, require_torchcodec, sha256

BATCH_BYTES = {"cpu": 48 << 20, "cuda": 384 << 20, "tensorrt": 384 << 20}
"""Pixels of one batch at most: about five batches are in memory at once."""
_AHEAD = 1
"""Batches decoded ahead of the one the experts work on."""
_ALONE = AggregationSettings(method="none")
_TRACKED_BEFORE_LIMIT = 256
"""Tracks kept of each of several experts until people are limited across experts."""

Progress = Callable[[int, int], None]
"""Called after each batch with frames and poses (of the primary expert) so far."""


def recipe(settings: ExtractSettings) -> dict[str, Any]:
    """Every setting that shapes the data, with the sha256 of all weights; needs no network in memory.

    Raises:
        ConfigError: an unknown expert, or two of one name.
        WeightsError: weights are not to be had.
        MissingExtraError: the device is not to be had.
    """
    choose_device(settings.device)  # refuse early what this machine lacks; results do not depend on it
    if settings.decoder == "torchcodec":
        require_torchcodec()
    described = [describe(name, settings.weights) for name in settings.experts]
    experts = {e["name"]: e for e in described}  # by the name on the card, whatever the path of the card
    if len(experts) < len(described):
        names = ", ".join(e["name"] for e in described)
        raise ConfigError(f"experts: expected each name once, got {names}")
    if any(e["kind"] == "top-down" for e in experts.values()):
        detector = describe(settings.detector, settings.weights)
    else:
        detector = None
    return {
        "job": "extract",
        "skelkit": __version__,
        "experts": experts,
        "primary": described[0]["name"],
        "detector": detector,
        "detector_score": settings.detector_score,
        "max_people": settings.max_people,
        "aggregation": asdict(settings.aggregation) if len(settings.experts) > 1 else None,
        **settings.sampling(),
        # shards made before there was a choice do not name PyAV
        **({} if settings.decoder == "pyav" else {"decoder": settings.decoder}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipResult:
    """One video, done."""

    clip: Clip
    """Its row in the shard."""
    tracks: Tracks
    """What goes to ``/poses``."""
    experts: dict[str, Tracks]
    """What each expert said."""
    num_frames_decoded: int
    """Frames decoded in the whole video, also those the sampling left out."""
    error: VideoError | None
    """Why decoding broke off, where it did."""


class Extractor:
    """The experts, in memory, ready for one video after the other.

    Args:
        settings: What to do.
        threads: Networks at work at once; None = the device's default.
    """

    def __init__(self, settings: ExtractSettings, *, threads: int | None = None) -> None:
        device = choose_device(settings.device, threads)
        options: dict[str, Any] = {
            "device": device,
            "weights": settings.weights,
            "batch_size": settings.batch_size,
        }
        self.settings = settings
        self._batch_bytes = BATCH_BYTES[device.kind]
        experts = [build_expert(name, **options) for name in settings.experts]
        self.experts: dict[str, PoseExpert] = {e.name: e for e in experts}
        self.primary = experts[0].name
        self.detector: Detector | None = None
        if any(e.kind == "top-down" for e in self.experts.values()):
            self.detector = build_detector(settings.detector, **options)
        limit = settings.max_people if len(experts) == 1 else _TRACKED_BEFORE_LIMIT
        self._device = device
        self._torchcodec: str | None = None  # the device it decodes on
        if settings.decoder == "torchcodec":
            self._torchcodec = "cpu" if device.kind == "cpu" else f"cuda:{device.index}"
        self._tracker = PoseTracker(TrackerSettings(max_people=limit))
        self._aggregation = settings.aggregation if len(experts) > 1 else _ALONE
        self.skeleton: Skeleton = result_skeleton([e.skeleton for e in experts], self._aggregation)
        """Joint set of ``/poses``."""

    def extract(self, source: Source, progress: Progress | None = None) -> ClipResult:
        """One video; a damaged one keeps the frames that decode, an unreadable one is a failed clip."""
        try:
            digest = sha256(source)
            with open_video(source, **self.settings.sampling(), torchcodec=self._torchcodec) as reader:
                result = self._read(source, digest, reader, progress)
                if reader.remark:
                    NOTICES.add(reader.remark)
                return result
        except VideoError as error:
            return self.nothing(source, error.message, error)

    def _detected(
        self, frames: Iterator[FrameBatch]
    ) -> Generator[tuple[FrameBatch, Detections | None], None, None]:
        """Batches with their people, found once for all experts.

        Decoding runs ahead of detection, and detection ahead of the experts, each in its own thread: while
        one waits for its slowest chunk, another has work for the idle cores.
        """
        with closing(prefetch(on_their_way(frames, self._device), _AHEAD)) as batches:
            for batch in batches:
                yield batch, self._people(batch)

    def _people(self, frames: FrameBatch) -> Detections | None:
        if self.detector is None:
            return None
        found = self.detector.detect(frames)
        sure = found.box_scores >= self.settings.detector_score
        return Detections(
            frame_indices=found.frame_indices[sure],
            boxes_xyxy=found.boxes_xyxy[sure],
            box_scores=found.box_scores[sure],
        )

    def _read(self, source: Source, digest: str, reader: Any, progress: Progress | None) -> ClipResult:
        info: VideoInfo = reader.info
        size = max(1, min(self.settings.batch_size, self._batch_bytes // (info.width * info.height * 3)))
        following = {name: self._tracker.begin(expert.skeleton) for name, expert in self.experts.items()}
        frames = found = 0
        failure: VideoError | None = None
        try:
            with closing(prefetch(self._detected(reader.batches(size)), _AHEAD)) as batches:
                for batch, people in batches:
                    for name, expert in self.experts.items():
                        poses = expert.predict(batch, people)
                        following[name].add(poses, frame_indices=batch.indices, pts_s=batch.pts_s)
                        found += len(poses) if name == self.primary else 0
                    frames += len(batch)
                    if progress:
                        progress(frames, found)
        except VideoError as error:
            failure = error
        info = replace(reader.info, num_frames=failure.frames_decoded) if failure else reader.info
        clip_of: dict[str, Any] = {"info": info, "video_id": source.video_id}
        views = unify_identities(
            {name: following.pop(name).finish(**clip_of, source=name) for name in self.experts},
            max_people=self.settings.max_people,
        )
        views = {name: replace(view, label=source.label) for name, view in views.items()}
        tracks = aggregate([views[name] for name in self.experts], self._aggregation)
        clip = Clip.of(
            tracks,
            source=source.path,
            sha256=digest,
            detail=f"damaged: {failure.message}" if failure else "",
        )
        return ClipResult(
            clip=clip, tracks=tracks, experts=views, num_frames_decoded=info.num_frames, error=failure
        )

    def nothing(self, source: Source, why: str, error: VideoError | None = None) -> ClipResult:
        """A failed clip without a frame."""
        views = {
            name: Tracks.of(empty_sequence(expert.skeleton, video_id=source.video_id, sources=(name,)))
            for name, expert in self.experts.items()
        }
        tracks = Tracks.of(empty_sequence(self.skeleton, video_id=source.video_id, sources=tuple(views)))
        clip = Clip.of(tracks, status="failed", source=source.path, detail=why, label=source.label or "")
        return ClipResult(clip=clip, tracks=tracks, experts=views, num_frames_decoded=0, error=error)
