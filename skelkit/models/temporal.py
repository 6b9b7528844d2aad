"""Convolution over time, of sequences stored with time first."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel))
        nn.init.normal_(self.weight, 0, math.sqrt(2 / (kernel * out_channels)))  # Kaiming, fan out

    def forward(self, x: Tensor) -> Tensor:
        """Filter every sequence."""
        time, *others, channels = x.shape
        kernel = self.weight.shape[2]
        if kernel == 1:
            return functional.linear(x[:: self.stride], self.weight[..., 0])
        # One picture with T rows and a column per sequence, its channels last.
        picture = x.reshape(1, time, -1, channels).permute(0, 3, 1, 2)
        out = functional.conv2d(
            picture,
            self.weight[..., None],
            stride=(self.stride, 1),
            padding=(self.dilation * (kernel - 1) // 2, 0),
            dilation=(self.dilation, 1),
        )
        return out.permute(0, 2, 3, 1).reshape(
            -1, *others, len(self.weight)
        )  # a view where channels are last
