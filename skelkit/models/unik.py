"""UNIK: a unified framework for real-world skeleton-based action recognition (Yang et al., BMVC 2021).

No graph: a dense dependency matrix between joints is learnt from a uniform initialisation, and adapted to
the clip by multi-head self-attention (section 3.1; thesis, section 3.4).

Inside, time is the first axis and channels are the last, (T, n, K, C) with n = B M sequences: every 1 x 1
convolution is then one matrix product, for all heads at once.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from skelkit.models.base import ChannelNorm, ModelConfig, Odd, SkeletonModel, Widths
from skelkit.models.cpu import trains_on_cpu
from skelkit.models.dependencies import mixed
from skelkit.models.maps import JointUnit
from skelkit.models.temporal import TemporalConv

CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Output channels of the K = 10 blocks (section 3.1)."""

DILATIONS = (1, 3, 3, 3, 3, 1, 1, 1, 1, 1)
"""Temporal dilations d of the blocks (section A.2)."""


class UNIKConfig(ModelConfig):
    """Settings of UNIK; the defaults are the paper's (section A.2).

    The code released with the paper differs from it in two ways: all dilations are 1, and its first block has
    3 heads whatever the others have. `released` gives these settings; official weights need them.
    """

    num_heads: int = Field(default=3, ge=1, description="N")
    first_heads: int | None = Field(default=None, ge=1, description="N of the first block, if another")
    window: int = Field(default=1, ge=1, description="tau: frames of the sliding window of the S-LSU")
    kernel: Odd = Field(default=9, description="t: frames of the kernel of the T-LSU")
    channels: Widths = CHANNELS
    dilations: tuple[PositiveInt, ...] = Field(default=DILATIONS, description="d of each block")

    @model_validator(mode="after")
    def _blocks_fit(self) -> UNIKConfig:
        if len(self.dilations) != len(self.channels):
            raise ValueError(
                f"expected as many dilations as channels, got {len(self.dilations)} and {len(self.channels)}"
            )
        return self

    def released(self) -> UNIKConfig:
        """The same, in the variant of the code released with the paper."""
        return self.model_copy(update={"dilations": (1,) * len(self.channels), "first_heads": 3})


class SLSU(JointUnit):
    """Spatial Long-short Dependency Unit (equations 2 to 5) with its batch normalisation and residual.

    Two things the paper leaves open are as in the released code: the product of the embeddings is divided by
    their size C_e T before the softmax (else one joint takes all), which runs over the rows v of the map, so
    that the weights with which joints v enter a joint w add up to 1; and windows of tau frames are brought
    back to one by a convolution over the window.

    Args:
        in_channels: C_in.
        out_channels: C_out; the embeddings have C_e = C_out / 4 channels.
        num_joints: V.
        num_heads: N.
        window: tau.
    """

    matrix = "head"

    def __init__(
        self, in_channels: int, out_channels: int, num_joints: int, num_heads: int, window: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        nodes = window * num_joints
        self.dependency = nn.Parameter(torch.empty(num_heads, nodes, nodes))  # W_i
        self.embed = nn.Linear(in_channels, 2 * num_heads * (out_channels // 4))  # E_theta, then E_phi
        self.project = nn.Linear(num_heads * in_channels, out_channels, bias=False)  # E_i
        self.norm = ChannelNorm(out_channels)
        self.down = (
            nn.Sequential(nn.Linear(in_channels, out_channels, bias=False), ChannelNorm(out_channels))
            if in_channels != out_channels
            else nn.Identity()
        )
        self.collapse = nn.Sequential(
            nn.Linear(window * out_channels, out_channels, bias=False), ChannelNorm(out_channels)
        )
        if window == 1:
            self.collapse = nn.Sequential()
        self._initialise(num_joints)

    def _initialise(self, num_joints: int) -> None:
        bound = math.sqrt(6 / ((1 + 5) * num_joints))  # equation 4 with a = sqrt(5)
        nn.init.uniform_(self.dependency, -bound, bound)  # equation 3
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, math.sqrt(2 / layer.out_features))  # Kaiming, fan out
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.project.weight, 0, math.sqrt(2 / self.project.weight.numel()))
        nn.init.constant_(self.norm.weight, 1e-6)  # the unit starts as its residual

    def attention(self, x: Tensor) -> Tensor:
        """A_i of equation 5: (T, n, V, C_in) -> (n, N, V, V), weights of rows v for columns w."""
        time, n, joints, _ = x.shape
        embedded = self.embed(x).view(time, n, joints, 2, self.num_heads, -1)
        theta, phi = embedded.permute(3, 1, 4, 2, 0, 5).flatten(4)  # both (n, N, V, T C_e)
        return functional.softmax(theta @ phi.transpose(2, 3) / theta.shape[3], dim=2)  # (n, N, V, V)

    def forward(self, x: Tensor) -> Tensor:
        """(T, n, K, C_in) -> (T, n, K, C_out)."""
        x = self.windows(x)  # (T, n, V, C_in), V = tau K
        time, n, joints, channels = x.shape
        if trains_on_cpu(self, x, self.dependency):
            y = mixed(x, self.dependency, self.embed.weight, self.embed.bias, self.project.weight)
        else:
            weights = self.dependency + self.attention(x)  # (n, N, V, V)
            weights = weights.permute(0, 3, 1, 2).reshape(n, joints * self.num_heads, joints)  # (n, V N, V)
            y = (weights @ x).view(time, n, joints, self.num_heads * channels)  # (T, n, V, N C_in)
            y = self.project(y)  # equation 2: the sum over heads lies in the product
        y = functional.relu_(self.norm(y) + self.down(x))  # (T, n, V, C_out)
        y = y.view(time, n, self.window, joints // self.window, -1).transpose(2, 3).flatten(3)
        out: Tensor = self.collapse(y)  # (T, n, K, tau C_out) -> (T, n, K, C_out)
        return out

    def shared(self) -> Tensor:
        """W: (N, V, V)."""
        return self.dependency

    def adapted(self, x: Tensor) -> Tensor:
        """A of the unit's input (T, n, K, C_in): (n, N, V, V)."""
        return self.attention(self.windows(x))

    def windows(self, x: Tensor) -> Tensor:
        """The tau frames around each: (T, n, K, C) -> (T, n, tau K, C), zeros beyond both ends."""
        if self.window == 1:
            return x
        before = (self.window - 1) // 2
        x = functional.pad(x, (0, 0, 0, 0, 0, 0, before, self.window - 1 - before))
        return x.unfold(0, self.window, 1).permute(0, 1, 4, 2, 3).flatten(2, 3)


class STLSBlock(nn.Module):
    """ST-LSblock (equation 1): S-LSU, T-LSU and a residual, each followed by batch normalisation."""

    def __init__(
        self, spatial: SLSU, in_channels: int, out_channels: int, *, kernel: int, stride: int, dilation: int,
        residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spatial = spatial
        self.temporal = TemporalConv(out_channels, out_channels, kernel, stride=stride, dilation=dilation)
        self.norm = ChannelNorm(out_channels)
        self.residual: nn.Module | None = None
        if residual and (in_channels != out_channels or stride != 1):
            self.residual = nn.Sequential(
                TemporalConv(in_channels, out_channels, 1, stride=stride), ChannelNorm(out_channels)
            )
        elif residual:
            self.residual = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(T, n, K, C_in) -> (T', n, K, C_out)."""
        y: Tensor = self.norm(self.temporal(self.spatial(x)))
        return functional.relu(y) if self.residual is None else functional.relu_(y + self.residual(x))


class UNIK(SkeletonModel):
    """UNIK (figure 3): normalised input, K blocks, average over people, time and joints, classifier."""

    name = "unik"
    Config: ClassVar[type[ModelConfig]] = UNIKConfig
    config: UNIKConfig

    def __init__(self, config: UNIKConfig) -> None:
        super().__init__(config, num_features=config.channels[-1])
        joints = config.skeleton.num_joints
        blocks = []
        before = config.in_channels
        for i, (channels, dilation) in enumerate(zip(config.channels, config.dilations, strict=True)):
            heads = config.first_heads if i == 0 and config.first_heads else config.num_heads
            blocks.append(
                STLSBlock(
                    SLSU(before, channels, joints, heads, config.window),
                    before,
                    channels,
                    kernel=config.kernel,
                    stride=2 if i and channels > before else 1,
                    dilation=dilation,
                    residual=i > 0,
                )
            )
            before = channels
        self.blocks = nn.Sequential(*blocks)
        nn.init.normal_(self.classifier.weight, 0, math.sqrt(2 / config.num_classes))

    def encode(self, x: Tensor) -> Tensor:
        """(n, T, K, C) -> (n, T', K, D)."""
        out: Tensor = self.blocks(x.transpose(0, 1).contiguous())  # (T', n, K, D)
        return out.transpose(0, 1)
