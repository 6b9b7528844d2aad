"""Videos the tests make themselves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_samples import MakeVideo

from skelkit.video import Source


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Write frames to a file and return it as a source."""

    def make(
        name: str,
        images: Sequence[np.ndarray],
        *,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        fps: int = 25,
        pts: Sequence[int] | None = None,  # milliseconds
        matrix: Sequence[int] | None = None,
        format: str | None = None,  # noqa: A002
        gop: int = 12,
        colorspace: int = 2,
        metadata: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> Source:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format=format, options=options or {}) as container:
            container.metadata.update(metadata or {})
            stream = container.add_stream(codec, rate=fps)
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = pix_fmt
            stream.gop_size = gop
            tick = Fraction(1, fps if pts is None else 1000)
            stream.time_base = stream.codec_context.time_base = tick
            stream.codec_context.colorspace = colorspace
            if matrix is not None:
                stream.set_display_matrix(matrix)
            for image, time in zip(images, pts or range(len(images)), strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time, tick
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return Source(video_id=path.stem, path=str(path), kind="video")

    return make
