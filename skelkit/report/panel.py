"""One view of a clip: a sequence drawn on the pictures of its frames."""

from __future__ import annotations

import cv2
import numpy as np

from skelkit.errors import ConfigError
from skelkit.report.drawing import PeoplePainter
from skelkit.report.tags import draw_tag
from skelkit.structures import Float32, SkeletonSequence, UInt8


class Panel:
    """Draws what a sequence says of each frame.

    Args:
        sequence: In pixels of the clip's pictures, whose size it must know.
        title: Written into the upper left corner.

    Raises:
        ConfigError: a sequence in three dimensions, or of pictures of unknown size.
    """

    def __init__(self, sequence: SkeletonSequence, *, title: str = "") -> None:
        if sequence.keypoints.shape[-1] != 2 or 0 in sequence.image_size:
            raise ConfigError(
                f"clip {sequence.video_id!r}: expected joints in pixels of pictures of known size, got "
                f"{sequence.keypoints.shape[-1]} dimensions and a size of {sequence.image_size}; "
                "such poses cannot be drawn on a picture"
            )
        self._sequence = sequence
        self._title = title
        self._painter = PeoplePainter(sequence.skeleton)

    def draw(self, picture: UInt8, step: int) -> UInt8:
        """A copy of the picture with people, title, frame number and time.

        Args:
            picture: (H, W, 3) RGB, the upright frame in any size.
            step: Time step of the sequence.
        """
        sequence, image = self._sequence, picture.copy()
        stamp = f"{sequence.pts_s[step]:.2f} s  frame {sequence.frame_indices[step]}"
        taken = [draw_tag(image, stamp, "bottom")]
        if self._title:
            taken.append(draw_tag(image, self._title, "top"))
        self._painter.draw(
            image,
            _scaled(sequence.keypoints[:, step], sequence.image_size, image.shape[:2]),
            sequence.scores[:, step],
            sequence.confidence[:, step],
            sequence.track_ids,
            taken=taken,
        )
        return image


def resized(picture: UInt8, height: int, width: int) -> UInt8:
    """The picture in another size; itself where that is its own."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(keypoints: Float32, old: tuple[int, int], new: tuple[int, ...]) -> Float32:
    """Joints of a resized picture, whose pixels have their centres at whole numbers as before."""
    factor = np.array([new[1] / old[1], new[0] / old[0]], np.float32)
    return (keypoints + np.float32(0.5)) * factor - np.float32(0.5)
