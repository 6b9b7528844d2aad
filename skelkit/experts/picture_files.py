"""Pictures on disk, for training."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from skelkit.errors import InputError, OutputError
from skelkit.structures import UInt8


def read_picture(path: Path) -> UInt8:
    """(H, W, 3) RGB.

    Raises:
        InputError: no picture.
    """
    picture = cv2.imread(os.fspath(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise InputError(f"{path} is no picture that can be read", path=path)
    return np.asarray(picture, np.uint8)


def write_picture(path: Path, picture: UInt8) -> None:
    """As JPEG, in high quality.

    Raises:
        OutputError: it cannot be written.
    """
    if not cv2.imwrite(os.fspath(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise OutputError(f"cannot write {path}; is the disk full?", path=path)
