"""Convolution over time, of sequences stored with time first: (T, ..., C).

On a CPU, training spends most of its time here. There the convolution runs as a Toom-Cook (Winograd)
convolution: the same sums, but 35 products for 15 frames where 9 taps take 135. It is written as plain matrix
products: a small one that takes 23 frames to 35 values, one of channels per value, and one back to 15 frames.
Results differ from the direct way by rounding, about 2e-6 of their spread (direct: 2e-7); evaluation always
goes the direct way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from skelkit.models.cpu import trains_on_cpu

Matrix = npt.NDArray[np.float64]

TAPS = 9
TILE = 15
PIECE = 1 << 21
"""Numbers worked on at a time: few enough for the processor's caches, many enough for its arithmetic."""
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
    """The same by Toom-Cook, for 9 taps."""
    time, *others, channels = x.shape
    x = x.reshape(time, -1, channels)
    if dilation > 1:  # every dilation-th frame is a sequence of its own
        if time % dilation:
            x = functional.pad(x, (0, 0, 0, 0, 0, -time % dilation))
        out: Tensor = _ToomCook.apply(x.view(len(x) // dilation, -1, channels), weight, 1)
        out = out.view(len(x), -1, weight.shape[2])
        if len(out) != time or stride > 1:
            out = out[:time:stride]
    else:
        out = _ToomCook.apply(x, weight, stride)
    return out.reshape(-1, *others, weight.shape[2])


@lru_cache(maxsize=1)
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Frames to values (35, 23), taps to values (35, 9), products to frames (15, 35).

    Nested: 9 taps are 3 groups of 3, so both the groups and the taps of a group are filters of 3 taps:
    F(5, 3) over F(3, 3). Winograd, Arithmetic Complexity of Computations, 1980; the points are those of the
    least rounding among the small ones.
    """
    outer = _toom_cook((0, 1, -1, 2, -2, 0.5), 5)
    inner = _toom_cook((0, 1, -1, 2), 3)
    frames = np.zeros((35, TILE + TAPS - 1))
    for group in range(7):  # group g holds frames 3 g to 3 g + 4
        frames[:, 3 * group : 3 * group + 5] += np.kron(outer[0][:, [group]], inner[0])
    taps = np.kron(outer[1], inner[1])
    back = np.kron(outer[2], inner[2])
    to_tensor = torch.tensor
    return (
        to_tensor(frames, dtype=torch.float32),
        to_tensor(taps, dtype=torch.float32),
        to_tensor(back, dtype=torch.float32),
    )


def _toom_cook(points: tuple[float, ...], outputs: int) -> tuple[Matrix, Matrix, Matrix]:
    """F(outputs, 3) from its finite points; infinity is the last.

    Values at the points determine a product of polynomials; a filter is the transpose of that product.
    """
    size = outputs + 2

    def values(degree: int) -> Matrix:
        finite = np.power.outer(np.asarray(points, np.float64), np.arange(degree))
        return np.vstack([finite, np.eye(degree)[-1:]])

    return np.asarray(np.linalg.inv(values(size)).T), values(3), values(outputs).T


class _ToomCook(torch.autograd.Function):
    """x (T, R, C_in), weight (9, C_in, C_out) -> (ceil(T / stride), R, C_out), some rows at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        _, taps, back = _transforms()
        time, rows, _ = x.shape
        products = (taps @ weight.flatten(1)).view(-1, *weight.shape[1:])  # (35, C_in, C_out)
        out = x.new_empty(-(-time // stride), rows, products.shape[2])
        for part, place in _pieces(products, x, out):
            values = torch.bmm(_to_values(part), products).view(len(products), -(-time // TILE), -1)
            for j, (kept, target) in enumerate(_outputs(time, stride)):
                torch.mm(back[kept], values[:, j], out=place[target].flatten(1))
        ctx.save_for_backward(x, products)
        ctx.stride = stride
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, products = ctx.saved_tensors
        frames, taps, back = _transforms()
        size, channels_in, channels_out = products.shape
        time, tiles = len(x), -(-len(x) // TILE)
        at_x = torch.zeros_like(x)
        at_products = torch.zeros_like(products)
        for part, at_part, at_out in _pieces(products, x, at_x, gradient.contiguous()):
            at_values = x.new_empty(size, tiles, part.shape[1] * channels_out)
            for j, (kept, target) in enumerate(_outputs(time, ctx.stride)):
                torch.mm(back[kept].t(), at_out[target].flatten(1), out=at_values[:, j])
            at_values = at_values.view(size, -1, channels_out)
            values = _to_values(part)
            at_products.baddbmm_(values.transpose(1, 2), at_values)
            torch.bmm(at_values, products.transpose(1, 2), out=values)
            values = values.view(size, tiles, -1)
            for j, (kept, source) in enumerate(_inputs(time)):
                at_part[source].flatten(1).addmm_(frames[:, kept].t(), values[:, j])
        return at_x, (taps.t() @ at_products.flatten(1)).view(-1, channels_in, channels_out), None


def _pieces(products: Tensor, x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Some rows of all of them at a time: views (T, r, C) whose last two axes are one block of memory."""
    size, *channels = products.shape
    rows = max(1, PIECE // (size * -(-len(x) // TILE) * max(channels)))
    yield from zip(*(torch.split(tensor, rows, dim=1) for tensor in (x, *others)), strict=True)


def _to_values(x: Tensor) -> Tensor:
    """(T, r, C) -> (35, J r, C)."""
    frames = _transforms()[0]
    time, rows, channels = x.shape
    out = x.new_empty(len(frames), -(-time // TILE), rows * channels)
    for j, (kept, source) in enumerate(_inputs(time)):
        torch.mm(frames[:, kept], x[source].flatten(1), out=out[:, j])
    return out.view(len(frames), -1, channels)


def _inputs(time: int) -> list[tuple[slice, slice]]:
    """Per tile: which of its 23 frames there are, and where in the sequence."""
    half = TAPS // 2
    places = [slice(max(0, s - half), min(time, s + TILE + half)) for s in range(0, time, TILE)]
    starts = range(-half, time, TILE)
    return [(slice(p.start - s, p.stop - s), p) for p, s in zip(places, starts, strict=False)]


def _outputs(time: int, stride: int) -> list[tuple[slice, slice]]:
    """Per tile: which of its 15 frames are wanted, and where they go."""
    out = []
    for start in range(0, time, TILE):
        first, stop = -start % stride, min(TILE, time - start)
        place = (start + first) // stride
        out.append((slice(first, stop, stride), slice(place, place + len(range(first, stop, stride)))))
    return out
