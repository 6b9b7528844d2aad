"""`preprocess` on the device: what a card says of a network's input, done to tensors of frames.

The same pictures to a grey level or two: here means of pixels are not rounded on the way.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from skelkit.experts.cards import Input
from skelkit.experts.device_ops import Grid, letterbox, normalise, sample
from skelkit.experts.preprocess import whole_frame_size
from skelkit.structures import Float32


def to_tensor(pictures: Tensor, spec: Input) -> Tensor:
    """(N, 3, h, w) RGB, 0..255 -> the network's input tensor, contiguous."""
    swap = spec.channels == "BGR"
    if spec.dtype == "uint8":
        values = pictures.flip(1) if swap else pictures
    else:
        values = normalise(pictures, spec.mean, spec.std, swap_channels=swap)
    return (values if spec.layout == "NCHW" else values.permute(0, 2, 3, 1)).contiguous()


def whole_frames(frames: Tensor, spec: Input) -> Tensor:
    """(N, 3, H, W) frames scaled into the network's input, top left; the rest is `fill`."""
    height, width = frames.shape[-2:]
    size, scale = whole_frame_size(spec, height, width)
    inner = (round(height * float(scale[1])), round(width * float(scale[0])))
    return letterbox(frames, inner, size, fill=spec.fill)


def crops(frames: Tensor, rows: Tensor, views: Float32, spec: Input) -> Tensor:
    """People cut out of frames, those larger than the input from pictures shrunk by a power of two.

    Args:
        frames: (N, 3, H, W) uint8.
        rows: (P,) int64 on the device: which frame each crop is of.
        views: (P, 3) left, top and step from `preprocess.crop_frames`.
        spec: Input of the network.

    Returns:
        (P, 3, h, w) uint8.
    """
    out = torch.empty(len(views), 3, spec.height, spec.width, dtype=torch.uint8, device=frames.device)
    view = torch.from_numpy(views).to(frames.device)
    factors = torch.from_numpy(views[:, 2].copy()).log2().floor().clamp(min=0).to(torch.int64)
    for power in sorted(set(factors.tolist())):  # of which there are few
        some = (factors == power).nonzero()[:, 0].to(frames.device)
        out[some] = _shrunk_crops(frames, rows[some], view[some], 1 << power, spec)
    return out


def _shrunk_crops(frames: Tensor, rows: Tensor, views: Tensor, factor: int, spec: Input) -> Tensor:
    """Crops of frames whose pixels are means of `factor` squared."""
    limit = views.new_tensor([frames.shape[3], frames.shape[2]]).to(torch.int64)
    if factor == 1:
        means = frames
        origin, count = torch.zeros_like(limit)[None], limit[None]
    else:
        means = functional.avg_pool2d(frames.to(torch.float32), factor, stride=1)
        corner, far = views[:, :2], views[:, :2] + views[:, 2:] * views.new_tensor([spec.width, spec.height])
        origin = (corner.to(torch.int64) - factor).clamp(min=0)
        count = (torch.minimum(far.to(torch.int64) + factor, limit) - origin).div(
            factor, rounding_mode="floor"
        )
    places = []
    for axis, length in ((0, spec.width), (1, spec.height)):
        at = torch.arange(length, device=views.device) * views[:, 2:]
        at = (at + (views[:, axis] - origin[:, axis] - (factor - 1) / 2)[:, None]) / factor
        places.append(at)
    shape = (len(views), spec.height, spec.width)
    x, y = places[0][:, None, :].expand(shape), places[1][:, :, None].expand(shape)
    left, top = x.floor(), y.floor()
    grid = Grid(origin=origin, count=count, step=factor)
    corner_of = (left.to(torch.int64), top.to(torch.int64))
    values = sample(means, rows, grid, corner_of, (x - left, y - top), fill=spec.fill)
    return values.add_(0.5).to(torch.uint8).permute(0, 3, 1, 2)
