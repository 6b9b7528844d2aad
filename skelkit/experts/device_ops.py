"""Preprocessing on the device: whole batches of frames and people as a handful of tensor operations.

Every function takes and gives (N, 3, H, W) tensors and works where its input lies. Results are those of
OpenCV on the same pictures, to the grey level or the one next to it, so that a network sees on the device
what it was trained and published with. Bytes in the memory of a CPU go through OpenCV itself, picture by
picture: its vector instructions do there in 1 ms what tensor operations take 15 ms for. On a GPU nothing
loops over frames or people.

Pixel coordinates are the field's: (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

FIXED_POINT_WARP = int(cv2.__version__.partition(".")[0]) < 5
"""Whether the OpenCV installed samples at steps of 1/32 pixel, as it did until 5.0."""

_SUBPIXEL_BITS = 5
_POSITION_BITS = 10


def to_device(images: Tensor, device: torch.device | str) -> Tensor:
    """(N, H, W, 3) frames as they are decoded -> (N, 3, H, W) on the device, without a copy of its own.

    The result is channels-last in memory, which is what `affine_crops` and `resize` are fastest with. From
    pinned memory the copy runs beside the caller.
    """
    return images.to(device, non_blocking=True).permute(0, 3, 1, 2)


def affine_crops(
    frames: Tensor,
    rows: Tensor,
    matrices: Tensor,
    size: tuple[int, int],
    *,
    fill: float = 0.0,
    inverse_map: bool = False,
    fixed_point: bool | None = None,
) -> Tensor:
    """Parts of frames, each by its own affine map: ``cv2.warpAffine`` with INTER_LINEAR, for all at once.

    Args:
        frames: (N, 3, H, W) uint8 or float32.
        rows: (P,) integers: which frame each crop is of.
        matrices: (P, 2, 3) from frame to crop pixels, as ``cv2.warpAffine`` takes them; float64 to agree
            with it to the last grey level.
        size: (h, w) of the crops.
        fill: Value outside the frame.
        inverse_map: The matrices map from crop to frame pixels (``cv2.WARP_INVERSE_MAP``).
        fixed_point: Sample at steps of 1/32 pixel, as OpenCV does before 5.0; by default what the OpenCV
            installed does. Bytes only: floats are always sampled where they are asked for.

    Returns:
        (P, 3, h, w) of the frames' dtype, channels-last in memory; bytes are rounded.
    """
    if fixed_point is None:
        fixed_point = FIXED_POINT_WARP
    if _on_cpu(frames) and fixed_point == FIXED_POINT_WARP:
        return _warped_by_opencv(frames, rows, matrices, size, fill=fill, inverse_map=inverse_map)
    return warp(frames, rows, matrices, size, fill=fill, inverse_map=inverse_map, fixed_point=fixed_point)


def warp(
    frames: Tensor,
    rows: Tensor,
    matrices: Tensor,
    size: tuple[int, int],
    *,
    fill: float,
    inverse_map: bool,
    fixed_point: bool,
) -> Tensor:
    """`affine_crops` as tensor operations, on any device."""
    matrices = matrices.to(frames.device, torch.float64)
    if not inverse_map:
        matrices = _inverted(matrices)
    rows = rows.to(frames.device, torch.int64)
    if fixed_point and frames.dtype == torch.uint8:
        x, y, right, below = _fixed_positions(matrices, size)
    else:
        x, y, right, below = _positions(matrices, size)
    return _bilinear(frames, rows, (x, y), (right, below), fill)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """``cv2.resize`` with INTER_LINEAR: no smoothing where pictures shrink.

    Args:
        frames: (N, 3, H, W) uint8 or float32.
        size: (h, w).

    Returns:
        (N, 3, h, w) of the frames' dtype.
    """
    if frames.shape[-2:] == size:
        return frames
    return _resized_by_opencv(frames, size) if _on_cpu(frames) else scale(frames, size)


def scale(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """`resize` as tensor operations, on any device; bytes in OpenCV's fixed-point arithmetic."""
    height, width = frames.shape[-2:]
    if frames.dtype != torch.uint8:
        return functional.interpolate(frames, size, mode="bilinear", align_corners=False)
    if (height, width) == (2 * size[0], 2 * size[1]):  # a mean of four, rounded once
        four = functional.avg_pool2d(frames.to(torch.float32), 2)
        return _as(four, torch.uint8)
    top, bottom, above, below = _weights(height, size[0], frames.device)
    left, right, before, after = _weights(width, size[1], frames.device)
    lines = frames[..., left].to(torch.int32) * before + frames[..., right].to(torch.int32) * after >> 4
    upper = lines[..., top, :] * above[:, None] >> 16
    lower = lines[..., bottom, :] * below[:, None] >> 16
    return (upper + lower + 2 >> 2).to(torch.uint8)


def letterbox(
    frames: Tensor,
    inner: tuple[int, int],
    size: tuple[int, int],
    *,
    fill: float = 0.0,
    corner: tuple[int, int] = (0, 0),
) -> Tensor:
    """Frames resized to `inner` and laid into a picture of `size`.

    Args:
        frames: (N, 3, H, W) uint8 or float32.
        inner: (h, w) the frame is resized to. Which one is the caller's: every framework rounds its own way.
        size: (h, w) of the result.
        fill: Value around the frame.
        corner: (top, left) of the frame in the result.

    Returns:
        (N, 3, *size) of the frames' dtype.
    """
    (top, left), (height, width) = corner, inner
    below, right = size[0] - top - height, size[1] - left - width
    return functional.pad(resize(frames, inner), (left, right, top, below), value=fill)


def normalise(
    pictures: Tensor,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    swap_channels: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """(pictures - mean) / std, as a network's input.

    Args:
        pictures: (N, 3, H, W) RGB, 0..255.
        mean: Per channel of the result.
        std: Per channel of the result.
        swap_channels: The network wants BGR.
        dtype: Of the result; computed in float32.

    Returns:
        (N, 3, H, W), contiguous.
    """
    values = pictures.flip(1) if swap_channels else pictures
    values = values.to(torch.float32, memory_format=torch.contiguous_format)
    if any(mean):
        values = values - values.new_tensor(mean)[:, None, None]
    if any(s != 1 for s in std):
        values = values / values.new_tensor(std)[:, None, None]
    return values.to(dtype)


def _on_cpu(frames: Tensor) -> bool:
    return frames.device.type == "cpu" and frames.dtype == torch.uint8


def _warped_by_opencv(
    frames: Tensor, rows: Tensor, matrices: Tensor, size: tuple[int, int], *, fill: float, inverse_map: bool
) -> Tensor:
    images = frames.permute(0, 2, 3, 1).contiguous().numpy()
    out = np.empty((len(rows), *size, images.shape[3]), np.uint8)
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse_map else 0)
    maps = matrices.to("cpu", torch.float64).numpy()
    for picture, row, matrix in zip(out, rows.tolist(), maps, strict=True):
        cv2.warpAffine(images[row], matrix, size[::-1], dst=picture, flags=flags, borderValue=(fill,) * 3)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _resized_by_opencv(frames: Tensor, size: tuple[int, int]) -> Tensor:
    images = frames.permute(0, 2, 3, 1).contiguous().numpy()
    out = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for picture, image in zip(out, images, strict=True):
        cv2.resize(image, size[::-1], dst=picture, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _weights(have: int, want: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels each of `want` pixels lies between, and their weights in 1/2048."""
    at = ((torch.arange(want, device=device, dtype=torch.float64) + 0.5) * (have / want) - 0.5).float()
    first = at.floor()
    share = torch.where((first < 0) | (first >= have - 1), 0.0, at - first)
    first = first.to(torch.int64).clamp(0, have - 1)
    near, far = (((1 - share) * 2048).round().to(torch.int32), (share * 2048).round().to(torch.int32))
    return first, (first + 1).clamp(max=have - 1), near, far


def _inverted(matrices: Tensor) -> Tensor:
    """(P, 2, 3) affine maps the other way round, in OpenCV's order of operations; singular ones become 0."""
    a, b, c, d, e, f = matrices.reshape(-1, 6).unbind(1)
    determinant = a * e - b * d
    scale = torch.where(determinant != 0, 1 / determinant, 0.0)
    a, e, b, d = e * scale, a * scale, -b * scale, -d * scale
    return torch.stack([a, b, -a * c - b * f, d, e, -d * c - e * f], dim=1).reshape(-1, 2, 3)


def _positions(matrices: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where each crop pixel comes from: whole pixels (P, h, w), and how far it lies beyond them (0..1)."""
    m = matrices.to(torch.float32)[..., None, None]
    ys = torch.arange(size[0], device=m.device, dtype=m.dtype)[:, None]
    xs = torch.arange(size[1], device=m.device, dtype=m.dtype)
    x = xs * m[:, 0, 0] + ys * m[:, 0, 1] + m[:, 0, 2]
    y = xs * m[:, 1, 0] + ys * m[:, 1, 1] + m[:, 1, 2]
    left, top = x.floor(), y.floor()
    return left.to(torch.int64), top.to(torch.int64), x - left, y - top


def _fixed_positions(matrices: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same on OpenCV 4's grid: positions to 1/1024, rounded to 1/32 pixel."""
    m = matrices[..., None]
    ys = torch.arange(size[0], device=m.device, dtype=m.dtype)
    xs = torch.arange(size[1], device=m.device, dtype=m.dtype)
    half, steps = 1 << (_POSITION_BITS - _SUBPIXEL_BITS - 1), 1 << _SUBPIXEL_BITS
    found = []
    for row in (m[:, 0], m[:, 1]):
        along = (row[:, 0] * xs * (1 << _POSITION_BITS)).round().to(torch.int64)
        start = ((row[:, 1] * ys + row[:, 2]) * (1 << _POSITION_BITS)).round().to(torch.int64) + half
        found.append((start[:, :, None] + along[:, None, :]) >> (_POSITION_BITS - _SUBPIXEL_BITS))
    x, y = found
    return (
        x >> _SUBPIXEL_BITS,
        y >> _SUBPIXEL_BITS,
        (x & (steps - 1)).to(torch.float32) / steps,
        (y & (steps - 1)).to(torch.float32) / steps,
    )


def _bilinear(
    frames: Tensor, rows: Tensor, corner: tuple[Tensor, Tensor], beyond: tuple[Tensor, Tensor], fill: float
) -> Tensor:
    """The four pixels around each position, weighed; those outside the frame count as `fill`."""
    size = frames.new_tensor([frames.shape[3], frames.shape[2]], dtype=torch.int64)
    whole = Grid(origin=torch.zeros_like(size)[None], count=size[None], step=1)
    values = sample(frames, rows, whole, corner, beyond, fill=fill)
    return _as(values, frames.dtype).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Every `step`-th pixel of a part of a frame, for each of P crops (or one for all)."""

    origin: Tensor
    """(P, 2) column and line of the first."""
    count: Tensor
    """(P, 2) how many there are along x and along y."""
    step: int


def sample(
    frames: Tensor,
    rows: Tensor,
    grid: Grid,
    corner: tuple[Tensor, Tensor],
    beyond: tuple[Tensor, Tensor],
    *,
    fill: float,
) -> Tensor:
    """Bilinear interpolation on a grid of pixels.

    Args:
        frames: (N, C, H, W).
        rows: (P,) int64, the frame of each crop.
        grid: The pixels that count; what lies outside is `fill`.
        corner: x and y (P, h, w) int64, the point of the grid up and left of each position.
        beyond: How far each position lies beyond it (0..1).
        fill: Value outside the grid.

    Returns:
        (P, h, w, C) float32.
    """
    height, width = frames.shape[-2:]
    pixels = frames.permute(0, 2, 3, 1).reshape(-1, frames.shape[1])
    first = (rows * (height * width))[:, None, None]
    start, count = grid.origin[:, :, None, None], grid.count[:, :, None, None]

    def tap(dx: int, dy: int) -> Tensor:
        x, y = corner[0] + dx, corner[1] + dy
        inside = (x >= 0) & (x < count[:, 0]) & (y >= 0) & (y < count[:, 1])
        column = (start[:, 0] + x * grid.step).clamp(0, width - 1)
        line = (start[:, 1] + y * grid.step).clamp(0, height - 1)
        at = first + line * width + column
        values = pixels.index_select(0, at.reshape(-1)).reshape(*at.shape, pixels.shape[1]).to(torch.float32)
        return values.masked_fill_(~inside[..., None], fill)

    right, below = beyond[0][..., None], beyond[1][..., None]
    above = torch.lerp(tap(0, 0), tap(1, 0), right)
    under = torch.lerp(tap(0, 1), tap(1, 1), right)
    return torch.lerp(above, under, below)


def _as(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounded where bytes are wanted: halves upwards, as fixed-point arithmetic does."""
    return values.add_(0.5).to(dtype) if dtype == torch.uint8 else values.to(dtype)
