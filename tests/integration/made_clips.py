"""Videos of blobs that move over a dark ground, for the tiny experts."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np


def make_clip(
    path: Path,
    *,
    frames: int = 10,
    people: int = 2,
    seed: int = 0,
    brightness: int = 200,
    size: tuple[int, int] = (128, 96),
    fps: int = 25,
    codec: str = "mpeg4",
    pix_fmt: str = "yuv420p",
) -> Path:
    """Write a video, different for different seeds."""
    width, height = size
    rng = np.random.default_rng(seed)
    side = max(1, max(size) // 4)
    start = rng.uniform(0, 1, (people, 2)) * (width / max(people, 1) - side, height - side)
    start[:, 0] += np.arange(people) * width / max(people, 1)
    drift = rng.uniform(-1, 1, (people, 2))
    with av.open(os.fsencode(path).decode("utf-8", "surrogateescape"), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.bit_rate = 4_000_000
        for number in range(frames):
            image = np.full((height, width, 3), 20, np.uint8)
            for x, y in np.clip(start + number * drift, 0, None).astype(int):
                image[y : y + side, x : x + side] = brightness
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
