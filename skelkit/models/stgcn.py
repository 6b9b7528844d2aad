"""ST-GCN: spatial temporal graph convolutional networks (Yan et al., AAAI 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from skelkit.models.base import ModelConfig, Odd, SkeletonModel, Widths
from skelkit.models.graph import spatial_partition
from skelkit.models.maps import JointUnit

CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Output channels of the blocks (section 3.5, with the 10 blocks of the released code)."""


class STGCNConfig(ModelConfig):
    """Settings of ST-GCN; the defaults are the paper's."""

    center: str | None = Field(default=None, description="centre joint of the spatial partitioning")
    channels: Widths = CHANNELS
    kernel: Odd = Field(default=9, description="frames of the temporal kernel")
    block_dropout: float = Field(
        default=0.5, ge=0, lt=1, description="at the end of each temporal convolution but the first"
    )


class GraphConv(JointUnit):
    """Graph convolution over S subsets (equation 10), with learnable edge importance M."""

    matrix = "subset"

    def __init__(self, in_channels: int, out_channels: int, graph: Tensor) -> None:
        super().__init__()
        self.graph: Tensor
        self.register_buffer("graph", graph.clone())  # (S, K, K)
        self.importance = nn.Parameter(torch.ones_like(graph))
        self.conv = nn.Conv2d(in_channels, len(graph) * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T, K)."""
        y = torch.unflatten(self.conv(x), 1, (len(self.graph), -1))  # (n, S, C_out, T, K)
        return torch.einsum("nsctv,svw->nctw", y, self.shared())

    def begun_with(self) -> Tensor:
        """A: (S, K, K)."""
        return self.graph

    def shared(self) -> Tensor:
        """A times M, element by element: (S, K, K)."""
        return self.graph * self.importance


class Block(nn.Module):
    """Graph convolution, then convolution over time, and a residual around both."""

    def __init__(
        self, in_channels: int, out_channels: int, graph: Tensor, *, kernel: int, stride: int, dropout: float,
        residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spatial = GraphConv(in_channels, out_channels, graph)
        self.spatial_bn = nn.BatchNorm2d(out_channels)
        self.temporal = nn.Conv2d(
            out_channels, out_channels, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0)
        )
        self.temporal_bn = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.residual: nn.Module | None = None
        if residual and (in_channels != out_channels or stride != 1):
            self.residual = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1)), nn.BatchNorm2d(out_channels)
            )
        elif residual:
            self.residual = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, C_in, T, K) -> (n, C_out, T', K)."""
        y = functional.relu(self.spatial_bn(self.spatial(x)))
        y = self.dropout(self.temporal_bn(self.temporal(y)))
        return functional.relu(y if self.residual is None else y + self.residual(x))


class STGCN(SkeletonModel):
    """ST-GCN with spatial configuration partitioning."""

    name = "stgcn"
    Config: ClassVar[type[ModelConfig]] = STGCNConfig
    config: STGCNConfig

    def __init__(self, config: STGCNConfig) -> None:
        super().__init__(config, num_features=config.channels[-1], normalise_people=False)
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
                    dropout=config.block_dropout if i else 0.0,
                    residual=i > 0,
                )
            )
            before = channels
        self.blocks = nn.Sequential(*blocks)

    def encode(self, x: Tensor) -> Tensor:
        """(n, T, K, C) -> (n, T', K, D)."""
        out: Tensor = self.blocks(x.permute(0, 3, 1, 2))  # (n, D, T', K)
        return out.permute(0, 2, 3, 1)
