"""A video file -> a stream of frames, by PyAV.

Decoding goes on past damaged packets, as ffmpeg itself does: every frame that decodes comes out, and what
was damaged is told at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from skelkit.errors import VideoError
from skelkit.structures import UInt8, VideoInfo
from skelkit.video.clock import timed
from skelkit.video.failures import unreadable
from skelkit.video.selection import Timed
from skelkit.video.wholeness import has_avi_table, is_cut_short

_MAX_REORDER = 16  # frames, in H.264 and HEVC
_FALLBACK_FPS = 25.0  # libavformat's own guess where a stream says nothing
_SWS_COLORSPACES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # AVColorSpace values that swscale converts
_UNSPECIFIED = 2


@dataclass(slots=True)
class _Tally:
    """What went into the decoder, and what came out."""

    packets: int = 0
    frames: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """What the container's table of contents promises; None where it has none."""

    packets: int | None
    """Stored."""
    frames: int | None
    """Meant to be shown: an edit list may hide some of those stored."""

    @property
    def hidden(self) -> int:
        """Stored, but not to be shown."""
        return (self.packets or 0) - (self.frames or 0) if self.packets else 0


class VideoStream:
    """The frames of a video file, upright, in constant memory.

    Args:
        path: The file.
        threads: Decoder threads, 0 = as many as cores.

    Raises:
        VideoError: not a video, or nothing in it decodes.
    """

    def __init__(self, path: str, *, threads: int) -> None:
        self.failure: VideoError | None = None
        self._path = path
        self._threads = threads
        self._tally = _Tally()
        self._to_rgb = VideoReformatter()
        self._container, self._stream = _open(path, threads)
        self._promise = _promise(path, self._container, self._stream)
        decoded = self._decode()
        first = next(decoded, None)
        if first is None:
            self.close()
            raise self._damage() or VideoError(
                "expected a video, got a video stream without a single frame; try fetching the file again",
                path=path,
                frames_promised=self._promise.frames,
            )
        # Of the first frame only: reading a frame's side data ties it into a reference cycle (PyAV 18.1), and
        # then hundreds of frames wait for the garbage collector.
        self._swap, self._flip = _orientation(first)
        self._decoded = chain([first], decoded)
        self.info = self._describe(first)

    def frames(self) -> Iterator[Timed]:
        """All frames that decode, in order; afterwards `failure` tells what did not."""
        yield from timed(
            self._decoded,
            time_base=self._stream.time_base or Fraction(1, 1000),
            fps=self.info.fps or _FALLBACK_FPS,
            window=_MAX_REORDER if self._container.format.name == "avi" else 0,
        )
        self.failure = self._damage()

    def paint(self, picture: Any, out: UInt8) -> None:
        """Write a frame upright as RGB into ``out`` (H, W, 3), scaled where the stream changed its size."""
        height, width = out.shape[1::-1] if self._swap else out.shape[:2]
        if picture.colorspace not in _SWS_COLORSPACES:
            picture.colorspace = _UNSPECIFIED
        rgb = self._rgb(picture, width, height)
        if self._swap:
            rgb = cv2.transpose(rgb)
        if self._flip is None:
            out[...] = rgb
        else:
            cv2.flip(rgb, self._flip, dst=out)

    def _rgb(self, picture: Any, width: int, height: int) -> UInt8:
        try:
            frame = self._to_rgb.reformat(picture, width=width, height=height, format="rgb24", threads=1)
        except FFmpegError as error:
            raise VideoError(
                f"expected a pixel format that converts to RGB, got {picture.format.name}: {error.strerror}",
                path=self._path,
                frames_decoded=self._tally.frames,
                frames_promised=self._promise.frames,
            ) from error
        return np.asarray(frame.to_ndarray(), np.uint8)  # a view, not a copy

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _decode(self) -> Iterator[Any]:
        """Frames as the decoder gives them."""
        yield from _drain(
            self._container, self._stream, self._tally, strict=self._promise.packets is not None
        )
        if self._threads != 1 and self._tally.frames + self._promise.hidden < self._tally.packets:
            # Decoding in several threads loses whole frames, and the news of it, where packets near the
            # end are damaged (PyAV 18.1, FFmpeg 8). One thread does not: fetch what is missing.
            done, self._threads, self._tally = self._tally.frames, 1, _Tally()
            self._container.close()
            self._container, self._stream = _open(self._path, 1)
            yield from islice(self._decode(), done, None)

    def _damage(self) -> VideoError | None:
        """What is wrong with a stream decoded to its end."""
        tally, promise = self._tally, self._promise
        missing = max((promise.packets or 0) - tally.packets, 0)
        cut = (missing > 0 or promise.packets is None) and is_cut_short(self._path)
        reasons = (
            ("the file is cut short", cut),
            (f"{_packets(missing)} missing from the file", missing and not cut),
            (f"{_packets(tally.damaged)} damaged and skipped", tally.damaged),
        )
        why = " and ".join(reason for reason, applies in reasons if applies)
        if not why:
            return None
        of = "frames" if promise.frames is None else f"of the {promise.frames} frames the header promises"
        return VideoError(
            f"decoded {tally.frames} {of}; {why}; try fetching the file again",
            path=self._path,
            frames_decoded=tally.frames,
            frames_promised=promise.frames,
            damaged_packets=tally.damaged,
        )

    def _describe(self, first: Any) -> VideoInfo:
        stream, container = self._stream, self._container
        seconds = Fraction(container.duration or 0, av.time_base)
        if stream.duration and stream.time_base:
            seconds = stream.duration * stream.time_base
        # Where a container has no time stamps, its average rate is an assumption, not a statement.
        rate = stream.average_rate if stream.start_time is not None else stream.guessed_rate
        if container.format.name == "avi" and self._promise.frames and seconds > 0:
            rate = self._promise.frames / seconds  # the one in the header counts time slots
        return VideoInfo(
            path=self._path,
            num_frames=-1,
            num_frames_from_header=self._promise.frames,
            fps=float(rate or 0.0),
            width=first.height if self._swap else first.width,
            height=first.width if self._swap else first.height,
            duration_s=max(float(seconds), 0.0),
            rotation=round(first.rotation / 90) * 90 % 360,
            codec=stream.codec_context.name,
        )


def _packets(count: int) -> str:
    return f"{count} packet is" if count == 1 else f"{count} packets are"


def _open(path: str, threads: int) -> tuple[Any, Any]:
    """Container and video stream.

    Raises:
        VideoError: see `VideoStream`.
    """
    try:
        # "file:" so that a name like http:x.mp4 is a name; it also keeps playlists from the network
        container = av.open(f"file:{path}", metadata_errors="replace")
    except OSError as error:
        raise unreadable(path, error) from error
    except FFmpegError as error:
        raise VideoError(_not_a_video(path, error), path=path) from error
    stream = container.streams.best("video")
    why = None
    if stream is None or stream.disposition & Disposition.attached_pic:
        held = sorted({s.type for s in container.streams}) or ["nothing"]
        why = f"expected a video stream, got a file that holds only {' and '.join(held)}; try another file"
    elif stream.codec_context is None:
        why = "expected a video that FFmpeg can decode, got an unknown codec; try converting it to H.264"
    if why is not None:
        container.close()
        raise VideoError(why, path=path)
    stream.thread_type = "SLICE" if threads == 1 else "AUTO"
    stream.codec_context.thread_count = threads
    return container, stream


def _not_a_video(path: str, error: FFmpegError) -> str:
    """Why a file does not open."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(12)
    except OSError:
        head = b"?"
    if not head:
        return "expected a video, got an empty file (0 bytes); try fetching it again"
    if head[4:8] == b"ftyp":
        return (
            "expected a whole MP4 file, got one without its index (moov), which stands at the end: "
            "the file is cut short; try fetching it again"
        )
    if isinstance(error, InvalidDataError):
        return "expected a video, got data that is none of the formats FFmpeg knows; try playing the file"
    return f"expected a video, got an error of FFmpeg: {error.strerror}; try playing the file"


def _promise(path: str, container: Any, stream: Any) -> _Promise:
    """What the container promises, where its count can be trusted.

    MP4 and AVI carry a table of contents with a line per packet. A fragmented MP4 has only part of it at the
    start, and a damaged AVI may have lost it. Other formats' counts are estimates, or none.
    """
    avi = container.format.name == "avi"
    if not stream.frames or not (avi or "mp4" in container.format.name.split(",")):
        return _Promise(packets=None, frames=None)
    stored = [entry for entry in stream.index_entries if entry.size]
    if avi and (is_cut_short(path) or not has_avi_table(path)):
        # What is there of a table is only what opening has read. The header counts slots of time, of which
        # a frame may take several.
        steps = [b.timestamp - a.timestamp for a, b in pairwise(stored) if b.timestamp > a.timestamp]
        count = stream.frames // min(steps, default=1)
        return _Promise(packets=count, frames=count)
    return _Promise(packets=len(stored), frames=sum(not entry.is_discard for entry in stored))


def _drain(container: Any, stream: Any, tally: _Tally, *, strict: bool) -> Iterator[Any]:
    """Frames of the whole stream, past damaged packets.

    Args:
        container: Open, at its beginning.
        stream: Its video stream.
        tally: Kept as decoding goes.
        strict: Count as damage what does not decode before the first frame, too. A recording that was
            joined midway begins with such packets; where a table of contents promises them they are damage.
    """
    with closing(container.demux(stream)) as packets:
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:  # the container itself is broken here: nothing can be read beyond
                tally.damaged += 1
                break
            if packet is None:
                break
            if container.format.name == "avi":  # what stands in the file, rather than a guess from it
                packet.pts = packet.dts
            if packet.size:  # an empty one stands for "the last frame again", to the decoder for the end
                tally.packets += 1
                yield from _feed(stream, packet, tally, strict=strict)
    yield from _feed(stream, None, tally, strict=strict)


def _feed(stream: Any, packet: Any, tally: _Tally, *, strict: bool) -> list[Any]:
    try:
        frames = list(stream.decode(packet))
    except FFmpegError:
        tally.damaged += strict or tally.frames > 0
        return []
    tally.frames += len(frames)
    return frames


def _orientation(picture: Any) -> tuple[bool, int | None]:
    """How to turn a frame upright: whether to swap the axes, then which to flip (OpenCV's code or None).

    The display matrix (ISO/IEC 14496-12, 8.2.2) maps a stored pixel (p, q) to (a p + c q, b p + d q); only
    its signs and which pair is the larger matter for quarter turns and mirrors.
    """
    matrix = picture.side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return False, None
    a, b, _, c, d = (int(v) for v in np.frombuffer(matrix, np.int32)[:5])
    swap = abs(b) > abs(a)
    across, down = (c < 0, b < 0) if swap else (a < 0, d < 0)
    flip = {(True, True): -1, (True, False): 1, (False, True): 0}.get((across, down))
    return swap, flip
