"""A video file -> the same stream of frames, decoded by torchcodec: on a GPU (NVDEC), or on the CPU.

PyAV opens the file and reads what its header promises; torchcodec decodes. Where torchcodec gives up, gives
frames out of order or fewer than promised, PyAV decodes from there on: damaged files end as they do without
torchcodec, and are told of in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from skelkit.structures import UInt8
from skelkit.video.decoding import VideoStream
from skelkit.video.required import require_torchcodec
from skelkit.video.selection import Timed

_CHUNK = 8
"""Frames decoded by one call; on a GPU these many are in its memory."""
_FAILS = (RuntimeError, ValueError, IndexError)
"""What torchcodec raises for a file it does not decode."""


class TorchcodecStream(VideoStream):
    """The frames of a video file, upright, in constant memory.

    Some files are left to PyAV, since torchcodec might number or turn their frames otherwise, or not notice
    that some are missing: those to be turned or mirrored, and those that are no plain MP4 or MOV (other
    containers have no table of contents; torchcodec goes wrong with edit lists).

    Args:
        path: The file.
        threads: Threads of the decoder on the CPU, 0 = as many as cores.
        device: PyTorch's name of the device that decodes.

    Raises:
        VideoError: not a video, or nothing in it decodes.
        MissingExtraError: see `require_torchcodec`.
    """

    def __init__(self, path: str, *, threads: int, device: str) -> None:
        make = require_torchcodec()
        super().__init__(path, threads=threads)
        self.remark = ""
        """Why frames were decoded otherwise than asked for; empty where none were."""
        self._decoder: Any = None
        if self._swap or self._flip is not None:
            self.remark = "videos that are to be turned or mirrored are decoded by PyAV, on the CPU"
        elif not self._promise.frames or self._promise.hidden or self._container.format.name == "avi":
            self.remark = "videos other than plain MP4 and MOV are decoded by PyAV, on the CPU"
        else:
            try:
                self._decoder = make(
                    f"file:{path}", dimension_order="NHWC", num_ffmpeg_threads=threads, device=device
                )
            except _FAILS as error:
                self.remark = _given_up(error)

    def frames(self) -> Iterator[Timed]:
        """All frames that decode, in order; afterwards `failure` tells what did not."""
        done = 0
        if self._decoder is not None:
            for frame in self._by_torchcodec():
                yield frame
                done += 1
            if fallback := getattr(self._decoder, "cpu_fallback", None):
                self.remark = f"what NVDEC cannot decode is decoded by torchcodec on the CPU ({fallback})"
            if done >= (self._promise.frames or 0):
                return
            self.remark = self.remark or _given_up("fewer frames than the header promises, or out of order")
        yield from islice(super().frames(), done, None)

    def paint(self, picture: Any, out: UInt8) -> None:
        """Write a frame as RGB into ``out`` (H, W, 3)."""
        if isinstance(picture, np.ndarray):
            out[...] = picture
        else:
            super().paint(picture, out)

    def close(self) -> None:
        """Let go of the file."""
        self._decoder = None  # which holds it, too
        super().close()

    def _by_torchcodec(self) -> Iterator[Timed]:
        """The frames that torchcodec decodes, up to the first that it does not, or that comes too early."""
        count = len(self._decoder)
        first, last = 0.0, -1.0
        for begin in range(0, count, _CHUNK):
            try:
                chunk = self._decoder.get_frames_in_range(begin, min(begin + _CHUNK, count))
            except _FAILS as error:
                self.remark = _given_up(error)
                return
            times = chunk.pts_seconds.tolist()
            first = first if begin else times[0]
            for n, (picture, time) in enumerate(zip(chunk.data.cpu().numpy(), times, strict=True)):
                if time - first <= last or picture.shape != (self.info.height, self.info.width, 3):
                    return
                last = time - first
                yield Timed(picture=picture, index=begin + n, pts_s=last)


def _given_up(why: object) -> str:
    first = str(why).strip().partition("\n")[0]
    return f"what torchcodec gives up on is decoded by PyAV, on the CPU ({first})"
