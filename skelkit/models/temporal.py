"""Convolution over time, of sequences stored with time first: (T, ..., C).

On a CPU, training spends most of its time here. There the convolution goes by way of the Fourier transform of
a tile of frames, where it is a product per frequency: the same sums, but 34 products of channels for 15
frames where 9 taps take 135. It is written as plain matrix products: a small one that takes frames to values,
one of channels per value, and one back to frames. Results differ from exact ones by 3e-7 of their spread, as
those of the direct way do (4e-7); evaluation always goes the direct way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from skelkit.models.cpu import trains_on_cpu

TAPS = 9
PIECE = 1 << 20
"""Numbers worked on at a time, for each thread: few enough for the caches, many enough for the arithmetic."""
_WORTH_IT = 16
"""Channels from which the fewer products outweigh the detour."""


class TemporalConv(nn.Module):
    """(T, ..., C_in) -> (ceil(T / stride), ..., C_out): a kernel along time, zeros beyond both ends.

    It has no bias: batch normalisation follows wherever it is used.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(kernel, in_channels, out_channels))
        nn.init.normal_(self.weight, 0, math.sqrt(2 / (kernel * out_channels)))  # Kaiming, fan out

    def forward(self, x: Tensor) -> Tensor:
        """Filter every sequence."""
        if len(self.weight) == 1:
            return x[:: self.stride] @ self.weight[0]
        taps, *channels = self.weight.shape
        if taps == TAPS and min(channels) >= _WORTH_IT and trains_on_cpu(self, x, self.weight):
            return few_products(x, self.weight, self.stride, self.dilation)
        return direct(x, self.weight, self.stride, self.dilation)


def direct(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """As one picture with T rows and a column per sequence, its channels last."""
    time, *others, channels = x.shape
    picture = x.reshape(1, time, -1, channels).permute(0, 3, 1, 2)
    out = functional.conv2d(
        picture,
        weight.permute(2, 1, 0)[..., None],
        stride=(stride, 1),
        padding=(dilation * (len(weight) - 1) // 2, 0),
        dilation=(dilation, 1),
    )
    return out.permute(0, 2, 3, 1).reshape(-1, *others, weight.shape[2])


def few_products(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """The same by way of the Fourier transform, for 9 taps."""
    time, *others, channels = x.shape
    out: Tensor = _Fourier.apply(x.reshape(time, -1, channels), weight, stride, dilation)
    return out.view(-1, *others, weight.shape[2])


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Which frames go into which tile, and which come out of it.

    Frames d apart are a sequence of their own. A stride is a sum of filters: one of the even taps on the even
    frames, one of the odd taps on the odd frames; so there is a list of inputs for each step of the stride.
    """

    length: int
    """Frames that come out of a tile, L."""
    period: int
    """Frames of the Fourier transform: so many that what comes round meets zeros only."""
    inputs: tuple[list[tuple[slice, slice]], ...]
    """For each step of the stride, per tile: which of its L + M - 1 frames there are, and where in x."""
    outputs: list[tuple[slice, slice]]
    """Per tile: which of its L frames there are, and where they go."""

    @property
    def values(self) -> int:
        """Products of channels for a tile: three for each complex frequency, one for each real one."""
        return 3 * ((self.period + 1) // 2) - 2 + (self.period % 2 == 0)


def _tiles(time: int, stride: int, dilation: int, length: int) -> _Tiles:
    taps = -(-TAPS // stride)
    frames = -(-time // stride)
    spacing = stride * dilation
    inputs: tuple[list[tuple[slice, slice]], ...] = tuple([] for _ in range(stride))
    outputs = []
    missing, end = taps + length, 0
    for first in range(min(dilation, frames)):
        for start in range(first, frames, dilation * length):
            target = range(start, frames, dilation)[:length]
            outputs.append((slice(len(target)), slice(start, target.stop, dilation)))
            for step, places in enumerate(inputs):
                place = stride * start + dilation * (step - TAPS // 2)
                before = max(0, -(place // spacing))  # frames of the tile that precede the sequence
                source = range(place + before * spacing, time, spacing)[: length + taps - 1 - before]
                kept = slice(before, before + len(source))
                places.append((kept, slice(source.start, source.stop, spacing)))
                missing, end = min(missing, before), max(end, kept.stop)
    return _Tiles(length, max(end, length + taps - 1 - missing), inputs, outputs)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The matrices of a convolution, and the frames they apply to."""

    taps: Tensor
    """(Q, M): taps to values."""
    inputs: tuple[list[tuple[Tensor, slice]], ...]
    """For each step of the stride, per tile: frames of x to values, (Q, frames)."""
    outputs: list[tuple[Tensor, slice]]
    """Per tile: products to frames, (frames, Q)."""


@lru_cache
def _plan(time: int, stride: int, dilation: int, channels: int) -> _Plan:
    """In the number of tiles that takes the fewest multiplications, forward and backward."""
    longest = -(-time // (stride * dilation))

    def multiplications(tiles: _Tiles) -> int:
        per_value = 3 * stride * (channels + tiles.period) + 2 * tiles.length
        return len(tiles.outputs) * tiles.values * per_value

    counts = range(1, longest // TAPS + 2)
    tiles = min((_tiles(time, stride, dilation, -(-longest // n)) for n in counts), key=multiplications)
    frames, taps, back = _transforms(tiles.period, tiles.length, -(-TAPS // stride))
    return _Plan(
        taps,
        tuple([(frames[:, kept], place) for kept, place in places] for places in tiles.inputs),
        [(back[kept], place) for kept, place in tiles.outputs],
    )


def _transforms(period: int, length: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames to values (Q, L + M - 1), taps to values (Q, M), products to frames (L, Q).

    A frequency of x is a + ib, and that of the filter, conjugate, c + id. Their product takes three real ones
    (Gauss): p = c (a + b), q = a (d - c), r = b (c + d); it is (p - r) + i (p + q).
    """
    real = [0] if period % 2 else [0, period // 2]  # frequencies without an imaginary part
    rest = slice(1, (period + 1) // 2)

    def waves(count: int) -> tuple[Any, Any]:
        angle = 2 * np.pi / period * np.outer(np.arange(period // 2 + 1), np.arange(count))
        return np.cos(angle), np.sin(angle)

    cos, sin = waves(length + taps - 1)
    frames = np.vstack([cos[real], (cos - sin)[rest], cos[rest], -sin[rest]])
    cos, sin = waves(taps)
    weights = np.vstack([cos[real], cos[rest], (sin - cos)[rest], (cos + sin)[rest]])
    cos, sin = waves(length)
    back = np.vstack([cos[real], 2 * (cos - sin)[rest], -2 * sin[rest], -2 * cos[rest]]).T / period
    to_tensor = torch.tensor
    return (
        to_tensor(frames, dtype=torch.float32, device="cpu"),
        to_tensor(weights, dtype=torch.float32, device="cpu"),
        to_tensor(back, dtype=torch.float32, device="cpu"),
    )


class _Fourier(torch.autograd.Function):
    """x (T, R, C_in), weight (9, C_in, C_out) -> (ceil(T / stride), R, C_out), some rows at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        time, rows, channels_in = x.shape
        channels_out = weight.shape[2]
        plan = _plan(time, stride, dilation, min(channels_in, channels_out))
        padded = functional.pad(weight, (0, 0, 0, 0, 0, plan.taps.shape[1] * stride - TAPS))
        steps = padded.view(-1, stride, channels_in * channels_out).transpose(0, 1)  # (stride, M, C_in C_out)
        products = (plan.taps @ steps).view(stride, -1, channels_in, channels_out)
        out = x.new_empty(-(-time // stride), rows, channels_out)
        for part, place, values, sums in _pieces(plan, x, out):
            for step in range(stride):
                _to_values(plan.inputs[step], part, values)
                sums.flatten(1, 2).baddbmm_(values.flatten(1, 2), products[step], beta=float(step > 0))
            for tile, (back, target) in enumerate(plan.outputs):
                torch.mm(back, sums[:, tile].flatten(1), out=place[target].flatten(1))
        ctx.save_for_backward(x, products)
        ctx.plan = plan
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, products = ctx.saved_tensors
        plan = ctx.plan
        at_x = torch.empty_like(x)
        at_products = torch.empty_like(products)
        first = True
        for part, at_out, values, at_sums, at_part in _pieces(plan, x, gradient.contiguous(), at_x):
            at_part.zero_()  # tiles overlap
            for tile, (back, target) in enumerate(plan.outputs):
                torch.mm(back.t(), at_out[target].flatten(1), out=at_sums[:, tile].flatten(1))
            at_flat, flat = at_sums.flatten(1, 2), values.flatten(1, 2)  # (Q, tiles r, C)
            for step, inputs in enumerate(plan.inputs):
                _to_values(inputs, part, values)
                at_products[step].baddbmm_(flat.transpose(1, 2), at_flat, beta=float(not first))
                torch.bmm(at_flat, products[step].transpose(1, 2), out=flat)
                for tile, (frames, source) in enumerate(inputs):
                    at_part[source].flatten(1).addmm_(frames.t(), values[:, tile].flatten(1))
            first = False
        at_weight = (plan.taps.t() @ at_products.flatten(2)).transpose(0, 1).reshape(-1, *products.shape[2:])
        return at_x, at_weight[:TAPS], None, None


def _pieces(plan: _Plan, x: Tensor, y: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Some rows at a time: views (T, r, C), whose last two axes are one block of memory.

    After those of x and y comes room for the values of both, (Q, tiles, r, C): the same for every piece.
    """
    tiles, rows = len(plan.outputs), x.shape[1]
    widest = max(x.shape[2], y.shape[2])
    room = len(plan.taps) * tiles * widest
    least = max(1, widest // tiles)  # fewer rows than channels would not repay the transform of the taps
    wanted = max(least, PIECE * torch.get_num_threads() // room)
    wanted = -(-rows // -(-rows // wanted))
    spaces = [x.new_empty(len(plan.taps) * tiles * wanted * z.shape[2]) for z in (x, y)]
    for part, out, *rest in zip(*(torch.split(z, wanted, dim=1) for z in (x, y, *others)), strict=True):
        shape = (len(plan.taps), tiles, part.shape[1])
        values = [
            space[: math.prod(shape) * z.shape[2]].view(*shape, z.shape[2])
            for space, z in zip(spaces, (part, out), strict=True)
        ]
        yield part, out, *values, *rest


def _to_values(inputs: list[tuple[Tensor, slice]], x: Tensor, values: Tensor) -> None:
    """Every tile of x (T, r, C) -> values (Q, tiles, r, C)."""
    for tile, (frames, source) in enumerate(inputs):
        torch.mm(frames, x[source].flatten(1), out=values[:, tile].flatten(1))
