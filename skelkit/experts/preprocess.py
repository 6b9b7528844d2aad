"""Pictures -> network inputs, and the way back from network to picture coordinates.

Pixel coordinates are those of the field (COCO, OpenCV): (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from skelkit.experts.cards import Input
from skelkit.structures import Float32, UInt8


def to_tensor(pictures: UInt8, spec: Input) -> npt.NDArray[Any]:
    """(N, h, w, 3) RGB bytes -> the network's input tensor."""
    if spec.channels == "BGR":
        pictures = pictures[..., ::-1]
    if spec.layout == "NCHW":
        pictures = pictures.transpose(0, 3, 1, 2)
    if spec.dtype == "uint8":
        return np.ascontiguousarray(pictures)
    tensor = np.ascontiguousarray(pictures, dtype=np.float32)
    axis = (1, 3, 1, 1) if spec.layout == "NCHW" else (1, 1, 1, 3)
    if any(spec.mean):
        tensor -= np.asarray(spec.mean, np.float32).reshape(axis)
    if any(s != 1 for s in spec.std):
        tensor *= np.asarray([1 / s for s in spec.std], np.float32).reshape(axis)
    return tensor


def whole_frame_size(spec: Input, height: int, width: int) -> tuple[tuple[int, int], Float32]:
    """How a frame of this size lies in the network's input.

    Returns:
        The size (h, w) of the input tensor, and (2,) input pixels per frame pixel along x and y.
    """
    scale = min(spec.height / height, spec.width / width)
    if spec.fit == "letterbox":
        # the sliver keeps 23 * (416 / 23) = 415.99999999999994 from losing a row
        inner_h, inner_w = max(1, int(height * scale + 1e-6)), max(1, int(width * scale + 1e-6))
        tensor = (spec.height, spec.width)
    else:  # multiples of 8 stretch the picture by at most 4 pixels: no border needed
        inner_h, inner_w = max(8, 8 * round(height * scale / 8)), max(8, 8 * round(width * scale / 8))
        tensor = (inner_h, inner_w)
    return tensor, np.asarray([inner_w / width, inner_h / height], np.float32)


def whole_frames(images: UInt8, spec: Input) -> UInt8:
    """(N, H, W, 3) frames scaled into the network's input, top left; the rest is `fill`.

    Args:
        images: Frames.
        spec: With ``fit`` "letterbox" or "height".

    Returns:
        (N, h, w, 3).
    """
    height, width = images.shape[1:3]
    tensor, scale = whole_frame_size(spec, height, width)
    inner = (round(width * float(scale[0])), round(height * float(scale[1])))
    out = np.full((len(images), *tensor, 3), spec.fill, np.uint8)
    for picture, image in zip(out, images, strict=True):
        picture[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return out


def from_whole_frame(points: Float32, scale: Float32) -> Float32:
    """Input pixels -> frame pixels, for (..., 2) points and the scale of `whole_frame_size`.

    Edges, not centres, of the two pictures coincide: hence the halves.
    """
    return np.asarray((points + 0.5) / scale - 0.5, np.float32)


def crop_frames(boxes_xyxy: Float32, spec: Input) -> Float32:
    """The part of the frame each person's crop shows: the box, enlarged to the input's proportions.

    Args:
        boxes_xyxy: (P, 4) pixels.
        spec: With ``fit`` "crop"; the crop is `crop_scale` times the smallest rectangle of the input's
            proportions around the box, with the same centre.

    Returns:
        (P, 3): left and top in frame pixels, and frame pixels per input pixel.
    """
    boxes = boxes_xyxy.astype(np.float64)
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    step = spec.crop_scale * np.maximum(size[:, 0] / spec.width, size[:, 1] / spec.height)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = centre - step[:, None] * np.asarray([spec.width, spec.height]) / 2
    return np.asarray(np.concatenate([corner, step[:, None]], axis=1), np.float32)


def crops(images: UInt8, rows: npt.NDArray[np.intp], views: Float32, spec: Input) -> UInt8:
    """People cut out of frames.

    People larger than the input are first shrunk by a power of two, each pixel the mean of the ones it
    replaces, and then warped: plain bilinear sampling would skip pixels, which costs the small networks
    up to 5 points of PCK on people three times the input's size.

    Args:
        images: (N, H, W, 3).
        rows: (P,) which image each crop is of.
        views: (P, 3) from `crop_frames`.
        spec: Input of the network.

    Returns:
        (P, h, w, 3).
    """
    out = np.full((len(rows), spec.height, spec.width, 3), spec.fill, np.uint8)
    for picture, row, (left, top, step) in zip(out, rows, views.tolist(), strict=True):
        image, x, y, factor = _shrunk(images[row], left, top, step, spec)
        if not image.size:  # the view lies outside the picture
            continue
        # pixel j of the shrunk image is the mean of factor pixels around x + j * factor + (factor - 1) / 2
        middle = (factor - 1) / 2
        matrix = (
            np.asarray([[step, 0, left - x - middle], [0, step, top - y - middle]], dtype=np.float64) / factor
        )
        cv2.warpAffine(
            image,
            matrix,  # says where in the image each input pixel comes from (WARP_INVERSE_MAP)
            (spec.width, spec.height),
            dst=picture,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(spec.fill, spec.fill, spec.fill),
        )
    return out


def _shrunk(image: UInt8, left: float, top: float, step: float, spec: Input) -> tuple[UInt8, int, int, int]:
    """The part of the image a view shows, shrunk by a power of two; its corner; the factor.

    Halving again and again is OpenCV's fastest exact mean.
    """
    factor = 1
    while 2 * factor <= step:
        factor *= 2
    if factor == 1:
        return image, 0, 0, 1
    height, width = image.shape[:2]
    x, y = max(int(left) - factor, 0), max(int(top) - factor, 0)
    w = (min(int(left + step * spec.width) + factor, width) - x) // factor
    h = (min(int(top + step * spec.height) + factor, height) - y) // factor
    if w < 1 or h < 1:
        return image[:0], x, y, factor
    part = image[y : y + h * factor, x : x + w * factor]
    while part.shape[0] > h:
        part = cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return part, x, y, factor
