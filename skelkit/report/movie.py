"""Pictures -> an MP4 or a PNG that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np

from skelkit.errors import OutputError
from skelkit.structures import UInt8

_TICK = Fraction(1, 90_000)
"""Seconds; the clock of MPEG, fine enough for every frame rate."""
_FALLBACK_FPS = 30.0
_OPTIONS = {"crf": "20", "preset": "veryfast"}
"""veryfast: twice as fast as the default, and holds a quarter of the frames in memory."""


class MovieWriter:
    """An H.264 movie in MP4, written frame by frame in constant memory; a context manager.

    The file takes its name at a clean exit; after an exception, or without a frame, nothing is left of it.
    Odd sizes are padded by one black row or column, as yuv420p needs.

    Args:
        path: The file, replaced if it exists.
        fps: Average rate, for players to show; 0.0 where unknown. Frames keep their own time stamps.

    Raises:
        OutputError: from every method, where the operating system refuses (disk full, no permission).
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float) -> None:
        self.path = Path(path)
        self._temporary = _temporary(self.path)
        self._fps = fps
        self._stream: Any = None
        self._start_s = 0.0
        self._last = -1
        with _writing(self.path):
            self._container: Any = av.open(
                f"file:{self._temporary}", "w", format="mp4", options={"movflags": "+faststart"}
            )

    def write(self, image: UInt8, pts_s: float) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) RGB, of the same size every time.
            pts_s: Its time stamp in seconds, increasing; the movie starts with the first one.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT)
        if self._stream is None:
            self._stream, self._start_s = self._add_stream(image), pts_s
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._last = max(round((pts_s - self._start_s) / _TICK), self._last + 1)
        frame.pts, frame.time_base = self._last, _TICK
        with _writing(self.path):
            self._container.mux(self._stream.encode(frame))

    def _add_stream(self, image: UInt8) -> Any:
        rate = Fraction(self._fps or _FALLBACK_FPS).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TICK
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._stream is not None:
                self._finish()
            else:
                with suppress(OSError):  # there is nothing left to save, and a first error to report
                    self._container.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        with _writing(self.path):
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
            self._temporary.replace(self.path)


def write_picture(path: str | os.PathLike[str], image: UInt8) -> None:
    """Write a picture as PNG.

    Args:
        path: The file, replaced if it exists.
        image: (H, W, 3) RGB.

    Raises:
        OutputError: the operating system refuses (disk full, no permission).
    """
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_whole(Path(path), data.tobytes())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, replacing what is there.

    Raises:
        OutputError: the operating system refuses (disk full, no permission).
    """
    temporary = _temporary(path)
    try:
        with _writing(path):
            temporary.write_bytes(data)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".skelkit-{os.getpid()}-{secrets.token_hex(4)}.part")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the operating system refuses, as one sentence. FFmpeg's errors are OSErrors, too."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; nothing was written under this name; "
            "try freeing some space, or another folder",
            path=path,
            errno=error.errno,
        ) from error
