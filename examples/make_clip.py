"""Two photographs of people -> people.mp4, the clip of `make demo`.

    pip install scikit-image; python examples/make_clip.py

README.md says who they are and whose. They stand side by side while the picture is panned and zoomed.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data

WIDTH, HEIGHT, FPS, FRAMES = 768, 384, 25, 100


def main() -> None:
    """Write the clip beside this file."""
    pair = np.hstack([data.astronaut(), cv2.cvtColor(data.camera(), cv2.COLOR_GRAY2RGB)])
    output = Path(__file__).with_name("people.mp4")
    with av.open(str(output), "w", options={"movflags": "faststart"}) as movie:
        stream = movie.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for number in range(FRAMES):
            movie.mux(stream.encode(av.VideoFrame.from_ndarray(view(pair, number / FRAMES), format="rgb24")))
        movie.mux(stream.encode())


def view(picture: np.ndarray, time: float) -> np.ndarray:
    """What is seen at a time from 0 to 1: from the whole picture to the closest view and back."""
    turn = 2 * math.pi * time
    closer = 0.06 * (1 - math.cos(turn))  # share of the picture that is out of view
    scale = picture.shape[1] * (1 - closer) / WIDTH
    left = picture.shape[1] * closer * (0.5 + 0.5 * math.sin(turn))
    top = picture.shape[0] * closer * 0.3
    back = np.array([[scale, 0, left], [0, scale, top]])
    return cv2.warpAffine(picture, back, (WIDTH, HEIGHT), flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP)


if __name__ == "__main__":
    main()
