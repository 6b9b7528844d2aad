"""Image files -> a stream of frames."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from skelkit.errors import VideoError
from skelkit.structures import UInt8, VideoInfo
from skelkit.video.failures import unreadable
from skelkit.video.selection import Timed
from skelkit.video.sources import Source

FOLDER_FPS = 30.0
"""Rate taken for folders of numbered images, which do not say theirs: Penn Action's frames are 30 fps."""


class PictureStream:
    """The images of a folder as one clip, or a single image. Turned upright by their EXIF orientation.

    Raises:
        VideoError: the first image cannot be read.
    """

    def __init__(self, source: Source) -> None:
        self.failure: VideoError | None = None
        self._source = source
        height, width = self._read(0).shape[:2]
        fps = FOLDER_FPS if source.kind == "frames" else 0.0
        self.info = VideoInfo(
            path=source.path,
            num_frames=-1,
            num_frames_from_header=len(source.paths),
            fps=fps,
            width=width,
            height=height,
            duration_s=len(source.paths) / fps if fps else 0.0,
            rotation=0,
            codec="image",
        )

    def frames(self) -> Iterator[Timed]:
        """All images in order; ends before the first one that cannot be read, and says so in `failure`."""
        for index in range(len(self._source.paths)):
            try:
                image = self._read(index)
            except VideoError as error:
                self.failure = error
                return
            yield Timed(picture=image, index=index, pts_s=index / FOLDER_FPS)

    def paint(self, picture: UInt8, out: UInt8) -> None:
        """Copy a picture to ``out`` (H, W, 3), scaled to its size where they differ."""
        if picture.shape == out.shape:
            out[...] = picture
        else:
            cv2.resize(picture, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_AREA)

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, index: int) -> UInt8:
        path, promised = self._source.paths[index], len(self._source.paths)
        try:
            data = np.fromfile(path, np.uint8)
        except OSError as error:
            raise unreadable(self._source.path, error, frames_decoded=index, promised=promised) from error
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
        except cv2.error:  # refuses a header that promises a picture of an absurd size
            image = None
        if image is None:
            got = "an empty file" if not len(data) else "one that does not decode"
            raise VideoError(
                f"decoded {index} of {promised} pictures: expected an image in {path.name!r}, got {got}",
                path=self._source.path,
                frames_decoded=index,
                frames_promised=promised,
                file=str(path),
            )
        return np.asarray(image, np.uint8)
