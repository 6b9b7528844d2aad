"""MS-G3D: disentangling and unifying graph convolutions (Liu et al., CVPR 2020), one stream of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from skelkit.models.base import ModelConfig, Odd, SkeletonModel
from skelkit.models.graph import adjacency, scales
from skelkit.models.maps import JointUnit

BRANCHES = 6
"""Branches of a multi-scale temporal convolution: four dilations, max pooling, 1 x 1."""


class MSG3DConfig(ModelConfig):
    """Settings of MS-G3D; the defaults are the paper's for NTU (section 4.2).

    Scales beyond the longest chain of bones connect joints with themselves alone.
    """

    num_scales: int = Field(default=13, ge=1, description="scales of the factorised pathway")
    num_g3d_scales: int = Field(default=6, ge=1, description="scales of the G3D pathway")
    windows: tuple[Odd, ...] = Field(default=(3, 5), description="tau of each G3D pathway")
    channels: tuple[int, ...] = Field(
        default=(96, 192, 384),
        min_length=1,
        description=f"of each block, multiples of {BRANCHES}; time is halved from the second on",
    )

    @field_validator("channels")
    @classmethod
    def _branches_fit(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(c < BRANCHES or c % BRANCHES for c in value):
            raise ValueError(f"expected multiples of {BRANCHES}, got {value}")
        return value


def _conv(in_channels: int, out_channels: int, relu: bool = True) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels)]
    return [*layers, nn.ReLU()] if relu else layers


class MultiScaleGraphConv(JointUnit):
    """Multi-scale aggregation with a learnt residual mask (equations 3 to 5), on K or tau K nodes."""

    matrix = "scale"

    def __init__(self, in_channels: int, out_channels: int, graph: Tensor, *, part: str) -> None:
        super().__init__()
        self.part = part
        self.graph: Tensor
        self.register_buffer("graph", graph.clone(), persistent=False)  # (S, V, V)
        self.mask = nn.Parameter(torch.empty_like(graph).uniform_(-1e-6, 1e-6))
        self.mlp = nn.Sequential(*_conv(len(graph) * in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, V) -> (n, C_out, T, V)."""
        y = torch.einsum("svw,nctw->nsctv", self.graph + self.mask, x)  # (n, S, C_in, T, V)
        out: Tensor = self.mlp(y.flatten(1, 2))
        return out

    def begun_with(self) -> Tensor:
        """Normalised adjacency, (S, V, V): symmetric."""
        return self.graph

    def shared(self) -> Tensor:
        """Adjacency plus mask, (S, V, V); here the first axis is that of the nodes that are entered."""
        return (self.graph + self.mask).transpose(1, 2)


class MultiScaleTemporalConv(nn.Module):
    """Dilated convolutions over time side by side (figure 3 d), with a residual."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        part = out_channels // BRANCHES
        self.branches = nn.ModuleList(
            nn.Sequential(
                *_conv(in_channels, part),
                nn.Conv2d(part, part, (3, 1), stride=(stride, 1), padding=(d, 0), dilation=(d, 1)),
                nn.BatchNorm2d(part),
            )
            for d in (1, 2, 3, 4)
        )
        pool = nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
        self.branches.append(nn.Sequential(*_conv(in_channels, part), pool, nn.BatchNorm2d(part)))
        self.branches.append(
            nn.Sequential(nn.Conv2d(in_channels, part, 1, stride=(stride, 1)), nn.BatchNorm2d(part))
        )
        self.residual: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.residual = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1)), nn.BatchNorm2d(out_channels)
            )
        self.activation: Callable[[Tensor], Tensor] = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T', K)."""
        y = torch.cat([branch(x) for branch in self.branches], dim=1)
        return self.activation(y + self.residual(x))


class G3D(nn.Module):
    """Unified spatial-temporal graph convolution on windows of tau frames (section 3.3)."""

    def __init__(
        self, in_channels: int, out_channels: int, graph: Tensor, *, window: int, stride: int, first: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.stride = stride
        inner = out_channels if first else in_channels
        self.spatial = MultiScaleGraphConv(in_channels, inner, graph, part=f"windows of {window} frames")
        self.collapse = nn.Conv3d(inner, out_channels, (1, window, 1))
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T', K)."""
        joints = x.shape[3]
        x = functional.pad(x, (0, 0, self.window // 2, self.window // 2))
        x = x.unfold(2, self.window, self.stride)  # (n, C_in, T', K, tau)
        x = self.spatial(x.transpose(3, 4).flatten(3))  # (n, C, T', tau K)
        x = self.collapse(torch.unflatten(x, 3, (self.window, joints))).squeeze(3)  # (n, C_out, T', K)
        out: Tensor = self.bn(x)
        return out


class STGCBlock(nn.Module):
    """Factorised pathway beside G3D pathways, their sum, and a temporal convolution (figure 3 b)."""

    def __init__(self, in_channels: int, out_channels: int, config: MSG3DConfig, *, first: bool) -> None:
        super().__init__()
        connected = adjacency(config.skeleton)
        stride = 1 if first else 2
        inner = out_channels if first else in_channels
        graph = torch.from_numpy(scales(connected, config.num_scales))
        self.factorised = nn.Sequential(
            MultiScaleGraphConv(in_channels, inner, graph, part="single frames"),
            MultiScaleTemporalConv(inner, out_channels, stride=stride),
            MultiScaleTemporalConv(out_channels, out_channels, relu=False),
        )
        self.unified = nn.ModuleList()
        for window in config.windows:
            # Every joint of the window is linked to itself and its neighbours in all its frames (equation 6).
            tiled = np.tile(connected | np.eye(len(connected), dtype=bool), (window, window))
            graph = torch.from_numpy(scales(tiled, config.num_g3d_scales))
            self.unified.append(
                G3D(in_channels, out_channels, graph, window=window, stride=stride, first=first)
            )
        self.temporal = MultiScaleTemporalConv(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T', K)."""
        y = self.factorised(x)
        for pathway in self.unified:
            y = y + pathway(x)
        out: Tensor = self.temporal(functional.relu(y))
        return out


class MSG3D(SkeletonModel):
    """One stream of MS-G3D."""

    name = "msg3d"
    Config: ClassVar[type[ModelConfig]] = MSG3DConfig
    config: MSG3DConfig

    def __init__(self, config: MSG3DConfig) -> None:
        super().__init__(config, num_features=config.channels[-1])
        widths = (config.in_channels, *config.channels)
        self.blocks = nn.Sequential(
            *(STGCBlock(a, b, config, first=i == 0) for i, (a, b) in enumerate(pairwise(widths)))
        )

    def encode(self, x: Tensor) -> Tensor:
        """(n, T, K, C) -> (n, T', K, D)."""
        out: Tensor = self.blocks(x.permute(0, 3, 1, 2))  # (n, D, T', K)
        return out.permute(0, 2, 3, 1)
