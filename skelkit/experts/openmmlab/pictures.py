"""Pictures -> network inputs as an OpenMMLab config says, for whole batches.

On the CPU OpenCV does the sampling, as it does for OpenMMLab itself; on a GPU `skelkit.experts.device_ops`,
on tensors that are there. Matrices and sizes follow OpenMMLab's arithmetic to the bit, since a crop that lies
a thousandth of a pixel elsewhere has other grey levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from skelkit.errors import ConfigError
from skelkit.experts import device_ops
from skelkit.experts.device_frames import on_device
from skelkit.structures import Float32, Float64, UInt8

_PASSIVE = {"LoadImage", "LoadImageFromFile", "LoadAnnotations", "PackPoseInputs", "PackDetInputs"}
"""Steps of a pipeline that do nothing to a picture in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """What a model's ``data_preprocessor`` does."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool
    """The network sees blue first."""
    divisor: int
    pad_value: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Normalise:
        """Out of the config's section."""
        swapped = config.get("bgr_to_rgb", False) or config.get("rgb_to_bgr", False)
        return cls(
            mean=tuple(config.get("mean") or (0.0, 0.0, 0.0)),
            std=tuple(config.get("std") or (1.0, 1.0, 1.0)),
            bgr=not swapped,
            divisor=int(config.get("pad_size_divisor", 1)),
            pad_value=float(config.get("pad_value", 0)),
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, 3, h, w) RGB bytes -> the network's input."""
        values = device_ops.normalise(pictures, self.mean, self.std, swap_channels=self.bgr)
        height, width = values.shape[-2:]
        below, right = -height % self.divisor, -width % self.divisor
        return (
            functional.pad(values, (0, right, 0, below), value=self.pad_value) if below or right else values
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crops:
    """How people are cut out (GetBBoxCenterScale, TopdownAffine)."""

    width: int
    height: int
    padding: float
    use_udp: bool

    @classmethod
    def of(cls, pipeline: Sequence[Mapping[str, Any]]) -> Crops:
        """Out of a test pipeline.

        Raises:
            ConfigError: it has other steps.
        """
        steps = _steps(pipeline, {"GetBBoxCenterScale", "TopdownAffine"})
        if "TopdownAffine" not in steps:
            raise ConfigError(
                "expected a test pipeline with TopdownAffine, as top-down networks of MMPose have"
            )
        affine = steps["TopdownAffine"]
        width, height = affine["input_size"]
        return cls(
            width=int(width),
            height=int(height),
            padding=float(steps.get("GetBBoxCenterScale", {}).get("padding", 1.25)),
            use_udp=bool(affine.get("use_udp", False)),
        )

    def views(self, boxes_xyxy: Float32) -> tuple[Float32, Float32]:
        """Centre and size of what each crop shows, both (P, 2) frame pixels."""
        size = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * self.padding
        centre = (boxes_xyxy[:, 2:] + boxes_xyxy[:, :2]) * 0.5
        w, h = size[:, :1], size[:, 1:]
        ratio = self.width / self.height
        wide = np.hstack([w, w / ratio])
        return centre, np.where(w > h * ratio, wide, np.hstack([h * ratio, h])).astype(np.float32)

    def cut(self, frames: Frames, rows: npt.NDArray[np.intp], centre: Float32, size: Float32) -> Tensor:
        """(P, 3, h, w) bytes: the crops with these views, each of the frame in its row."""
        to_crop = warp_matrices(centre, size, (self.width, self.height), use_udp=self.use_udp)
        return frames.warp(rows, to_crop, (self.height, self.width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """Frames laid into an input, and the way back: frame = input / size * scale + centre - scale / 2."""

    pictures: Tensor
    """(N, 3, h, w) bytes."""
    size: tuple[int, int]
    """(w, h) of the input."""
    centre: Float32
    scale: Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """How whole frames become inputs of pose networks (BottomupResize)."""

    width: int
    height: int
    expand: bool
    divisor: int
    use_udp: bool
    fill: float

    @classmethod
    def of(cls, pipeline: Sequence[Mapping[str, Any]]) -> Whole:
        """Out of a test pipeline.

        Raises:
            ConfigError: it has other steps, or tests at several scales.
        """
        steps = _steps(pipeline, {"BottomupResize"})
        if "BottomupResize" not in steps:
            raise ConfigError(
                "expected a test pipeline with BottomupResize, as whole-frame networks of MMPose have"
            )
        step = steps["BottomupResize"]
        if step.get("aug_scales"):
            raise ConfigError(
                "expected a test pipeline with one scale, got aug_scales; leave it out of the config"
            )
        width, height = step["input_size"]
        return cls(
            width=int(width),
            height=int(height),
            expand=step.get("resize_mode", "fit") == "expand",
            divisor=int(step.get("size_factor", 32)),
            use_udp=bool(step.get("use_udp", False)),
            fill=_one_grey(step.get("pad_val", 0)),
        )

    def lay(self, frames: Frames) -> Laid:
        """All frames, side by side."""
        w, h = frames.width, frames.height
        ratio = w / h
        bound = tuple(math.ceil(s / self.divisor) * self.divisor for s in (self.width, self.height))
        fit = max if self.expand else min
        inner = (fit(bound[0], bound[1] * ratio), fit(bound[1], bound[0] / ratio))
        if self.expand:
            bound = tuple(math.ceil(s / self.divisor) * self.divisor for s in inner)
        size = (bound[0], bound[1])
        if self.use_udp:
            centre = np.asarray([(w - 1.0) / 2, (h - 1.0) / 2], np.float32)
            scale = np.asarray([w, h], np.float32)
            matrix = warp_matrices(centre[None], scale[None], inner, use_udp=True)
        else:
            centre = np.asarray([w / 2, h / 2], np.float32)
            scale = np.asarray([w * size[0] / inner[0], h * size[1] / inner[1]], np.float32)
            matrix = warp_matrices(centre[None], scale[None], size, use_udp=False)
        rows = np.arange(len(frames))
        pictures = frames.warp(rows, np.repeat(matrix, len(rows), axis=0), size[::-1], fill=self.fill)
        return Laid(pictures=pictures, size=size, centre=centre, scale=scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resized:
    """How whole frames become inputs of detectors (Resize, Pad)."""

    target: tuple[int, int]
    """(w, h)."""
    keep_ratio: bool
    rounds_up: bool
    """``Resize`` adds a half before it cuts off, ``FixScaleResize`` does not."""
    pad_size: tuple[int, int] | None
    """(w, h)."""
    pad_divisor: int
    pad_square: bool
    fill: float

    @classmethod
    def of(cls, pipeline: Sequence[Mapping[str, Any]]) -> Resized:
        """Out of a test pipeline.

        Raises:
            ConfigError: it has other steps.
        """
        steps = _steps(pipeline, {"Resize", "FixScaleResize", "Pad"})
        step = steps.get("Resize") or steps.get("FixScaleResize")
        if step is None or not step.get("scale") or step.get("interpolation", "bilinear") != "bilinear":
            raise ConfigError(
                "expected a test pipeline with Resize(scale=..., bilinear), as detectors of MMDetection have"
            )
        pad = steps.get("Pad", {})
        value = pad.get("pad_val", 0)
        width, height = step["scale"]
        return cls(
            target=(int(width), int(height)),
            keep_ratio=bool(step.get("keep_ratio", False)),
            rounds_up="Resize" in steps,
            pad_size=tuple(pad["size"]) if pad.get("size") else None,
            pad_divisor=int(pad.get("size_divisor") or 1),
            pad_square=bool(pad.get("pad_to_square", False)),
            fill=_one_grey(value.get("img", 0) if isinstance(value, Mapping) else value),
        )

    def lay(self, frames: Frames) -> tuple[Tensor, tuple[float, float]]:
        """(N, 3, h, w) bytes, and input pixels per frame pixel along x and y."""
        w, h = frames.width, frames.height
        inner = self.target
        if self.keep_ratio:
            factor = min(max(inner) / max(w, h), min(inner) / min(w, h))
            half = 0.5 if self.rounds_up else 0.0
            inner = (int(w * factor + half), int(h * factor + half))
        outer = (max(inner), max(inner)) if self.pad_square else inner
        if self.pad_divisor > 1:
            outer = (outer[0] + -outer[0] % self.pad_divisor, outer[1] + -outer[1] % self.pad_divisor)
        elif self.pad_size:
            outer = self.pad_size
        return frames.letterbox(inner[::-1], outer[::-1], fill=self.fill), (inner[0] / w, inner[1] / h)


class Frames:
    """Frames of one size, where the network is.

    Args:
        images: (N, H, W, 3) RGB.
        device: Where the network is.
        part: Which of them.
    """

    def __init__(self, images: UInt8, device: torch.device, part: slice = slice(None)) -> None:
        self.height, self.width = images.shape[1:3]
        self._images = images[part]
        self._there = None if device.type == "cpu" else on_device(images, device)[part]

    def __len__(self) -> int:
        return len(self._images)

    def warp(
        self, rows: npt.NDArray[np.intp], matrices: Float64, size: tuple[int, int], *, fill: float = 0.0
    ) -> Tensor:
        """(P, 3, h, w) bytes: for each row its frame through its (2, 3) matrix from frame to input pixels."""
        if self._there is not None:
            places = torch.from_numpy(np.ascontiguousarray(rows, np.int64))
            return device_ops.affine_crops(self._there, places, torch.from_numpy(matrices), size, fill=fill)
        out = np.empty((len(rows), *size, 3), np.uint8)
        for picture, row, matrix in zip(out, rows, matrices, strict=True):
            cv2.warpAffine(
                self._images[row],
                matrix,
                size[::-1],
                dst=picture,
                flags=cv2.INTER_LINEAR,
                borderValue=(fill,) * 3,
            )
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def letterbox(self, inner: tuple[int, int], size: tuple[int, int], *, fill: float) -> Tensor:
        """(N, 3, *size) bytes: frames resized to `inner` (h, w) in the top left corner."""
        if self._there is not None:
            return device_ops.letterbox(self._there, inner, size, fill=fill)
        out = np.empty((len(self._images), *size, 3), np.uint8)
        out[:, inner[0] :] = out[:, :, inner[1] :] = np.uint8(fill)
        for picture, image in zip(out, self._images, strict=True):
            picture[: inner[0], : inner[1]] = cv2.resize(image, inner[::-1], interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(out).permute(0, 3, 1, 2)


def warp_matrices(centre: Float32, scale: Float32, size: tuple[float, float], *, use_udp: bool) -> Float64:
    """From frame to input pixels: MMPose's ``get_warp_matrix`` and ``get_udp_warp_matrix``, for many at once.

    Args:
        centre: (P, 2) of what is shown, frame pixels.
        scale: (P, 2) width and height of what is shown.
        size: (w, h) of the input.
        use_udp: Pixel centres, not edges, of both pictures coincide (Huang et al., UDP, 2020).

    Returns:
        (P, 2, 3).
    """
    matrix = np.zeros((len(centre), 2, 3))
    if use_udp:
        factor = np.asarray([size[0] - 1, size[1] - 1], np.float32) / scale
        shift = factor * (np.float32(-0.5) * (centre * 2) + np.float32(0.5) * scale)
        matrix[:, 0, 0], matrix[:, 1, 1] = factor.T
        matrix[:, :, 2] = shift
        return matrix
    x, y = centre.T.astype(np.float32)
    left = (x.astype(np.float64) - 0.5 * scale[:, 0].astype(np.float64)).astype(np.float32)
    below = y + (x - left)  # the third of three points that fix the map; MMPose keeps them in float32
    across = size[0] * 0.5 / (x.astype(np.float64) - left)
    down = size[0] * 0.5 / (below.astype(np.float64) - y)
    matrix[:, 0, 0], matrix[:, 1, 1] = across, down
    matrix[:, 0, 2] = -across * left
    matrix[:, 1, 2] = size[1] * 0.5 - down * y
    return matrix


def _steps(pipeline: Sequence[Mapping[str, Any]], known: set[str]) -> dict[str, Mapping[str, Any]]:
    """The steps that matter, by type."""
    named = {str(getattr(s["type"], "__name__", s["type"])).rpartition(".")[2]: s for s in pipeline}
    if odd := sorted(set(named) - known - _PASSIVE):
        raise ConfigError(
            f"expected a test pipeline of {', '.join(sorted(known))}, it also has {', '.join(odd)}, which "
            "skelkit does not do; leave it out of the config's test_pipeline"
        )
    return named


def _one_grey(value: Any) -> float:
    """A fill colour, which is one grey level in every published config."""
    levels = {float(v) for v in (value if isinstance(value, Sequence) else [value])}
    if len(levels) != 1:
        raise ConfigError(f"expected one grey level around the picture, got {value}")
    return levels.pop()
