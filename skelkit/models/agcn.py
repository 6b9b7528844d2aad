"""2s-AGCN: two-stream adaptive graph convolutional networks (Shi et al., CVPR 2019), one stream of it."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from skelkit.models.base import ModelConfig, Odd, SkeletonModel, Widths
from skelkit.models.graph import spatial_partition
from skelkit.models.maps import JointUnit

CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Output channels of the blocks (section 4.3, with the 10 blocks of the released code)."""


class AGCNConfig(ModelConfig):
    """Settings of 2s-AGCN; the defaults are the paper's."""

    center: str | None = Field(default=None, description="centre joint of the spatial partitioning")
    channels: Widths = CHANNELS
    kernel: Odd = Field(default=9, description="frames of the temporal kernel")
    similarity: Literal["softmax", "gated tanh"] = Field(
        default="softmax",
        description="C_k: the paper's softmax, or tanh times a learnt gate, as in its journal version "
        "(MS-AAGCN) and in what pyskl and mmaction2 1.x train under the name 2s-AGCN",
    )


class AdaptiveGraphConv(JointUnit):
    """Adaptive graph convolution (equation 3): sum over subsets k of W_k f (A_k + B_k + C_k)."""

    matrix = "subset"

    def __init__(self, in_channels: int, out_channels: int, graph: Tensor, *, gated: bool) -> None:
        super().__init__()
        subsets = len(graph)
        self.graph: Tensor
        self.register_buffer("graph", graph.clone())  # A: (S, K, K)
        self.learned = nn.Parameter(torch.full_like(graph, 1e-6))  # B: (S, K, K)
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None
        self.embed = nn.Conv2d(in_channels, 2 * subsets * (out_channels // 4), 1)  # theta, then phi
        self.project = nn.Conv2d(subsets * in_channels, out_channels, 1)  # W
        nn.init.kaiming_normal_(self.embed.weight, mode="fan_out")
        nn.init.zeros_(self.embed.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.project.weight, 0, math.sqrt(2 / self.project.weight.numel()))
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def similarity(self, x: Tensor) -> Tensor:
        """C of equation 4: (n, C_in, T, K) -> (n, S, K, K), weights of rows v for columns w."""
        embedded = torch.unflatten(self.embed(x), 1, (2, len(self.graph), -1))  # (n, 2, S, C_e, T, K)
        theta, phi = embedded.transpose(0, 1).flatten(3, 4)  # both (n, S, C_e T, K)
        product = theta.transpose(2, 3) @ phi / theta.shape[2]  # (n, S, K, K)
        if self.gate is None:
            return functional.softmax(product, dim=2)
        return self.gate * torch.tanh(product)

    def begun_with(self) -> Tensor:
        """A: (S, K, K)."""
        return self.graph

    def shared(self) -> Tensor:
        """A + B: (S, K, K)."""
        return self.graph + self.learned

    def adapted(self, x: Tensor) -> Tensor:
        """C of the unit's input (n, C_in, T, K): (n, S, K, K)."""
        return self.similarity(x)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T, K)."""
        graph = self.graph + self.learned + self.similarity(x)  # (n, S, K, K)
        y = x.flatten(1, 2)[:, None] @ graph  # (n, S, C_in T, K)
        y = torch.unflatten(y, 2, x.shape[1:3]).flatten(1, 2)  # (n, S C_in, T, K)
        out: Tensor = self.project(y)
        return out


class Block(nn.Module):
    """Adaptive graph convolution and convolution over time, each with a residual."""

    def __init__(
        self, in_channels: int, out_channels: int, graph: Tensor, *, kernel: int, stride: int, gated: bool,
        residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spatial = AdaptiveGraphConv(in_channels, out_channels, graph, gated=gated)
        self.spatial_bn = nn.BatchNorm2d(out_channels)
        self.down: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.down = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.temporal = nn.Conv2d(
            out_channels, out_channels, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0)
        )
        self.temporal_bn = nn.BatchNorm2d(out_channels)
        self.residual: nn.Module | None = None
        if residual and (in_channels != out_channels or stride != 1):
            self.residual = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1)), nn.BatchNorm2d(out_channels)
            )
        elif residual:
            self.residual = nn.Identity()
        for layer in (self.down, self.temporal, self.residual):
            for conv in layer.modules() if layer is not None else ():
                if isinstance(conv, nn.Conv2d):
                    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
                    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.spatial_bn.weight, 1e-6)  # the graph convolution starts as its residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T', K)."""
        y = functional.relu(self.spatial_bn(self.spatial(x)) + self.down(x))
        y = self.temporal_bn(self.temporal(y))
        return functional.relu(y if self.residual is None else y + self.residual(x))


class AGCN(SkeletonModel):
    """One stream of 2s-AGCN; the two streams are the same network on joints and on bones."""

    name = "agcn"
    Config: ClassVar[type[ModelConfig]] = AGCNConfig
    config: AGCNConfig

    def __init__(self, config: AGCNConfig) -> None:
        super().__init__(config, num_features=config.channels[-1])
        graph = torch.from_numpy(spatial_partition(config.skeleton, config.center))
        blocks = []
        before = config.in_channels
        for i, channels in enumerate(config.channels):
            blocks.append(
                Block(
                    before,
                    channels,
                    graph,
                    kernel=config.kernel,
                    stride=2 if i and channels > before else 1,
                    gated=config.similarity == "gated tanh",
                    residual=i > 0,
                )
            )
            before = channels
        self.blocks = nn.Sequential(*blocks)
        nn.init.normal_(self.classifier.weight, 0, math.sqrt(2 / config.num_classes))

    def encode(self, x: Tensor) -> Tensor:
        """(n, T, K, C) -> (n, T', K, D)."""
        out: Tensor = self.blocks(x.permute(0, 3, 1, 2))  # (n, D, T', K)
        return out.permute(0, 2, 3, 1)
