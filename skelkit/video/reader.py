"""Any clip -> batches of upright RGB frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from skelkit.errors import ConfigError, VideoError
from skelkit.structures import FrameBatch, UInt8, VideoInfo
from skelkit.video.decoding import VideoStream
from skelkit.video.pictures import PictureStream
from skelkit.video.selection import Selection, Timed
from skelkit.video.sources import Source
from skelkit.video.torchcodec_stream import TorchcodecStream


class _FrameStream(Protocol):
    """What `VideoStream` and `PictureStream` have in common."""

    info: VideoInfo
    failure: VideoError | None

    def frames(self) -> Iterator[Timed]: ...

    def paint(self, picture: Any, out: UInt8) -> None: ...

    def close(self) -> None: ...


class Reader:
    """An open clip: a `skelkit.protocols.VideoReader` and a context manager. Made by `open_video`."""

    def __init__(self, stream: _FrameStream, selection: Selection) -> None:
        self.info: VideoInfo = stream.info
        self._stream = stream
        self._decoded = 0
        self._wanted = selection.of(self._counted())

    def batches(self, size: int) -> Iterator[FrameBatch]:
        """The frames wanted, `size` at a time (fewer in the last batch).

        One pass: a second call goes on where the first one stopped. When the stream has ended,
        `info.num_frames` is the number of frames decoded, wanted or not (with ``end_s``: up to there).

        Raises:
            ConfigError: ``size`` below 1.
            VideoError: part of the clip does not decode; every frame that does has been yielded.
        """
        if size < 1:
            raise ConfigError(f"batch size: expected at least 1, got {size}", expected=1, got=size)
        while batch := self._next_batch(size):
            yield batch
            del batch  # large: let go of it before the next is decoded
        self.info = replace(self.info, num_frames=self._decoded)
        if self._stream.failure is not None:
            raise self._stream.failure

    @property
    def remark(self) -> str:
        """Why frames so far were decoded otherwise than asked for; empty where none were."""
        return getattr(self._stream, "remark", "")

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _counted(self) -> Iterator[Timed]:
        for frame in self._stream.frames():
            self._decoded = frame.index + 1
            yield frame

    def _next_batch(self, size: int) -> FrameBatch | None:
        images: UInt8 | None = None
        indices, times = list[int](), list[float]()
        for frame in self._wanted:
            if images is None:
                images = np.empty((size, self.info.height, self.info.width, 3), np.uint8)
            self._stream.paint(frame.picture, images[len(indices)])
            indices.append(frame.index)
            times.append(frame.pts_s)
            if len(indices) == size:
                break
        if images is None:
            return None
        return FrameBatch(
            images=images[: len(indices)],
            indices=np.asarray(indices, np.int64),
            pts_s=np.asarray(times, np.float64),
        )


def open_video(
    source: Source,
    *,
    stride: int = 1,
    target_fps: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    threads: int = 1,
    torchcodec: str | None = None,
) -> Reader:
    """Open a clip for reading in constant memory.

    Frames come upright, as RGB, in the size of the first one. `FrameBatch.indices` number the frames over all
    that decode, from 0, whatever is selected; `FrameBatch.pts_s` are seconds since the first frame, strictly
    increasing, with the true gaps of a variable frame rate. Folders of images count as 30 fps.

    Args:
        source: The clip.
        stride: Take every n-th frame.
        target_fps: Take the frame nearest to each tick of a clock of this rate; none twice, so that a slower
            video stays as it is. Not together with ``stride``.
        start_s: Take frames from this time stamp on. What lies before is decoded all the same: only so are
            the frame numbers true in every format.
        end_s: Stop before this time stamp. A clip read so is not checked for damage behind it.
        threads: Decoder threads for a video; 0 = as many as cores. More than one is faster, gives the same
            frames, and the same pixels except where a damaged packet had to be made up for.
        torchcodec: PyTorch's name of the device on which torchcodec decodes videos (``cuda:0``: NVDEC, whose
            colours may differ by a level or two); None = PyAV decodes them.

    Raises:
        ConfigError: an option out of range.
        VideoError: the clip cannot be opened, or not one frame of it decodes.
        MissingExtraError: torchcodec is asked for, and not installed or without FFmpeg.
    """
    selection = Selection(stride=stride, target_fps=target_fps, start_s=start_s, end_s=end_s)
    if threads < 0:
        raise ConfigError(f"threads: expected 0 (all cores) or more, got {threads}", expected=0, got=threads)
    if source.kind == "video" and torchcodec is not None:
        return Reader(TorchcodecStream(source.path, threads=threads, device=torchcodec), selection)
    if source.kind == "video":
        return Reader(VideoStream(source.path, threads=threads), selection)
    return Reader(PictureStream(source), selection)


def probe(source: Source) -> VideoInfo:
    """What the header says of a clip (`VideoInfo.num_frames` is -1), at the cost of decoding one frame.

    The frame is needed because the container alone does not tell which way is up.

    Raises:
        VideoError: the clip cannot be opened, or not one frame of it decodes.
    """
    with open_video(source, threads=1) as reader:
        return reader.info
