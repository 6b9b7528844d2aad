"""Outputs of MMPose's heads -> joints, for whole batches on the device.

Each function is MMPose's codec of that name (``mmpose.codecs``), which works through one person after the
other, as a handful of tensor operations. `decoder_of` gives None for a codec that is not here; MMPose's own
is used then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.nn import functional

Decoder = Callable[..., tuple[Tensor, Tensor]]
"""The head's outputs -> (P, K, 2) joints in input pixels, (P, K) scores."""


def decoder_of(codec: Any) -> Decoder | None:
    """How the outputs of a head with this codec are decoded in batch; None where we don't know."""
    match type(codec).__name__:
        case "MSRAHeatmap":
            blur = codec.blur_kernel_size if codec.unbiased else 0
            return lambda maps: _scaled(msra(maps.float(), blur), codec.scale_factor)
        case "UDPHeatmap" if codec.heatmap_type == "gaussian":
            w, h = codec.heatmap_size
            step = [codec.input_size[0] / (w - 1), codec.input_size[1] / (h - 1)]
            return lambda maps: _scaled(udp(maps.float(), codec.blur_kernel_size), step)
        case "MegviiHeatmap":
            return lambda maps: _scaled(megvii(maps.float(), codec.kernel_size), codec.scale_factor)
        case "SimCCLabel" if not codec.use_dark:
            return lambda x, y: simcc(x.float(), y.float(), codec.simcc_split_ratio)
        case "RegressionLabel" | "IntegralRegressionLabel":
            size = getattr(codec, "keypoint_codec", codec).input_size
            return lambda coordinates, *_: regression(coordinates.float(), size)
        case _:
            return None


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Place and height of each map's maximum.

    Args:
        maps: (P, K, H, W).

    Returns:
        (P, K, 2) cells, -1 where the map has nothing above 0, and (P, K).
    """
    at = maps.flatten(2).argmax(dim=2)
    heights = maps.flatten(2).gather(2, at[..., None])[..., 0]
    cells = torch.stack([at % maps.shape[3], at // maps.shape[3]], dim=-1).float()
    return torch.where(heights[..., None] > 0, cells, -1.0), heights


def msra(maps: Tensor, blur: int) -> tuple[Tensor, Tensor]:
    """``MSRAHeatmap``: a quarter cell towards the higher neighbour, or (`blur` > 0) DARK.

    DARK (Zhang et al., Distribution-Aware Coordinate Representation, 2020): a second-order Taylor step on
    the logarithm of the blurred map.
    """
    cells, heights = peaks(maps)
    height, width = maps.shape[2:]
    x, y = cells.long().unbind(-1)
    if not blur:
        here = _reader(maps, x, y)
        along = (x > 1) & (x < width - 1) & (y > 0) & (y < height)
        down = (y > 1) & (y < height - 1) & (x > 0) & (x < width)
        dx = torch.where(along, here(1, 0) - here(-1, 0), 0.0)
        dy = torch.where(down, here(0, 1) - here(0, -1), 0.0)
        return cells + torch.stack([dx, dy], dim=-1).sign() * 0.25, heights
    here = _reader(blurred(maps, blur).clamp(min=1e-10).log(), x, y)
    middle = here(0, 0)
    dx, dy = 0.5 * (here(1, 0) - here(-1, 0)), 0.5 * (here(0, 1) - here(0, -1))
    dxx = 0.25 * (here(2, 0) - 2 * middle + here(-2, 0))
    dyy = 0.25 * (here(0, 2) - 2 * middle + here(0, -2))
    dxy = 0.25 * (here(1, 1) - here(1, -1) - here(-1, 1) + here(-1, -1))
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    return cells + _taylor_step((dx, dy), (dxx, dxy, dyy), inside), heights


def udp(maps: Tensor, blur: int) -> tuple[Tensor, Tensor]:
    """``UDPHeatmap`` of Gaussians: the same step with neighbours one cell away, at the border, too."""
    cells, heights = peaks(maps)
    logs = functional.pad(blurred(maps, blur).clamp(1e-3, 50.0).log(), (1, 1, 1, 1), mode="replicate")
    x, y = (cells.long() + 1).unbind(-1)
    here = _reader(logs, x, y)
    middle, right, below = here(0, 0), here(1, 0), here(0, 1)
    left, above = here(-1, 0), here(0, -1)
    dxx, dyy = right - 2 * middle + left, below - 2 * middle + above
    dxy = 0.5 * (here(1, 1) - right - below + middle + middle - left - above + here(-1, -1))
    epsilon = torch.finfo(torch.float32).eps
    gradient = (0.5 * (right - left), 0.5 * (below - above))
    step = _taylor_step(gradient, (dxx + epsilon, dxy, dyy + epsilon), heights > 0)
    return cells + step, heights


def megvii(maps: Tensor, blur: int) -> tuple[Tensor, Tensor]:
    """``MegviiHeatmap`` (MSPN, RSN): the blurred map's peak and a quarter cell; scores out of 255."""
    maps = blurred(maps, blur)
    cells, heights = peaks(maps)
    x, y = cells.long().unbind(-1)
    here = _reader(maps, x, y)
    inside = (x > 1) & (x < maps.shape[3] - 1) & (y > 1) & (y < maps.shape[2] - 1)
    step = torch.stack([here(1, 0) - here(-1, 0), here(0, 1) - here(0, -1)], dim=-1).sign() * 0.25 + 0.5
    return torch.where(inside[..., None], cells + step, cells), heights / 255 + 0.5


def simcc(x: Tensor, y: Tensor, split: float) -> tuple[Tensor, Tensor]:
    """``SimCCLabel``: the highest bin along x and along y; the lower of the two heights is the score."""
    high_x, at_x = x.max(dim=2)
    high_y, at_y = y.max(dim=2)
    scores = torch.minimum(high_x, high_y)
    bins = torch.stack([at_x, at_y], dim=-1).float()
    return torch.where(scores[..., None] > 0, bins, -1.0) / split, scores


def regression(coordinates: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """``RegressionLabel``: shares of the input's size; 1 - sigma is the score where the head gives sigmas."""
    coordinates = coordinates.flatten(0, -3)  # heads put an axis for the one person of a crop
    points = coordinates[..., :2] * coordinates.new_tensor(size)
    if coordinates.shape[-1] == 4:
        return points, (1 - coordinates[..., 2:4]).mean(dim=-1)
    return points, torch.ones_like(points[..., 0])


def blurred(maps: Tensor, size: int) -> Tensor:
    """(P, K, H, W) through OpenCV's Gaussian of this many cells (0 outside), as high as before."""
    one = torch.from_numpy(cv2.getGaussianKernel(size, 0, cv2.CV_32F)).to(maps).reshape(-1)
    flat = maps.reshape(-1, 1, *maps.shape[2:])
    smooth = functional.conv2d(flat, one.reshape(1, 1, 1, -1), padding=(0, size // 2))
    smooth = functional.conv2d(smooth, one.reshape(1, 1, -1, 1), padding=(size // 2, 0)).reshape(maps.shape)
    return smooth * (maps.amax(dim=(2, 3), keepdim=True) / smooth.amax(dim=(2, 3), keepdim=True))


def _reader(maps: Tensor, x: Tensor, y: Tensor) -> Callable[[int, int], Tensor]:
    """(P, K) values of the maps that many cells beside (x, y); at the border those of the border."""
    height, width = maps.shape[2:]
    flat = maps.flatten(2)

    def read(dx: int, dy: int) -> Tensor:
        at = (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1)
        return flat.gather(2, at[..., None])[..., 0]

    return read


def _taylor_step(
    gradient: tuple[Tensor, Tensor], hessian: tuple[Tensor, Tensor, Tensor], where: Tensor
) -> Tensor:
    """(P, K, 2): - inverse Hessian times gradient, in double: Hessians of flat maps are near singular."""
    dx, dy, dxx, dxy, dyy = (v.double() for v in (*gradient, *hessian))
    determinant = dxx * dyy - dxy * dxy
    where = where & (determinant != 0)
    over = torch.where(where, determinant, 1.0)
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1) / over[..., None]
    return torch.where(where[..., None], step, 0.0).float()


def _scaled(found: tuple[Tensor, Tensor], factor: Any) -> tuple[Tensor, Tensor]:
    """Cells -> input pixels."""
    points, scores = found
    return points * points.new_tensor([float(f) for f in factor]), scores
