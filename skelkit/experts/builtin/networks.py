"""The built-in networks: trunks of plain residual blocks with a feature pyramid, and a head each.

Dense 3 x 3 convolutions with few channels: on a CPU they run and train faster than depthwise ones that have
as many parameters. Everything is convolutional, so that the networks take any size in steps of 32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEM = 16
_STAGES = (32, 64, 128, 192)
"""Channels of the stages at strides 4, 8, 16 and 32."""
_BLOCKS = (1, 2, 2, 1)
"""Blocks of each stage, where speed counts most."""
_POSE_BLOCKS = (1, 3, 5, 1)
"""Of the top-down network, whose crops are small."""
_PYRAMID = 64
_PERSON = 96
"""Channels of the people head."""
_RARE = -4.6
"""Logit of 0.01: how often a cell is a centre or a joint, before anything is learned."""


class Conv(nn.Sequential):
    """Convolution, batch norm and, unless told otherwise, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, *, relu: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Block(nn.Module):
    """The basic block of ResNet (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = Conv(inputs, outputs, 3, stride)
        self.second = Conv(outputs, outputs, relu=False)
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else Conv(inputs, outputs, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        y: Tensor = functional.relu(self.second(self.first(x)) + self.skip(x))
        return y


class Trunk(nn.Module):
    """Residual stages and a feature pyramid (Lin et al. 2017) from stride 32 up."""

    channels = _PYRAMID
    stride = 32
    """Sides of pictures are multiples of it."""

    def __init__(self, blocks: Sequence[int] = _BLOCKS) -> None:
        super().__init__()
        self.stem = Conv(3, _STEM, 3, 2)
        stages, inputs = [], _STEM
        for outputs, count in zip(_STAGES, blocks, strict=True):
            rest = [Block(outputs, outputs) for _ in range(count - 1)]
            stages.append(nn.Sequential(Block(inputs, outputs, 2), *rest))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(nn.Conv2d(c, _PYRAMID, 1) for c in _STAGES)
        self.smooth = nn.ModuleList(Conv(_PYRAMID, _PYRAMID) for _ in _STAGES[:-1])

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in 0..255 -> maps (B, 64, H / s, W / s) at strides s = 4, 8, 16 and 32."""
        x = self.stem((pictures - 127.5) / 64)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        maps = [self.lateral[-1](levels[-1])]
        for i in reversed(range(len(self.smooth))):
            above = functional.interpolate(maps[0], scale_factor=2.0, mode="nearest")
            maps.insert(0, self.smooth[i](self.lateral[i](levels[i]) + above))
        return maps


class PoseNet(nn.Module):
    """Top-down: a person's crop -> one heatmap per joint at stride 4."""

    def __init__(self, num_joints: int) -> None:
        super().__init__()
        self.trunk = Trunk(_POSE_BLOCKS)
        self.head = nn.Conv2d(Trunk.channels, num_joints, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..255 -> logits (B, K, H / 4, W / 4); a softmax over each map's cells."""
        logits: Tensor = self.head(self.trunk(pictures)[0])
        return logits


class PeopleNet(nn.Module):
    """One-stage: a whole picture -> centres and boxes of people at stride 8, joint heatmaps at stride 4.

    People are points (CenterNet, Zhou et al. 2019): a cell that is a person's centre also says how far the
    sides of the box and the joints are.
    """

    def __init__(self, num_joints: int) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.trunk = Trunk()
        self.head = nn.Conv2d(Trunk.channels, num_joints, 1)
        self.person = nn.Sequential(
            Conv(Trunk.channels, _PERSON), Conv(_PERSON, _PERSON), nn.Conv2d(_PERSON, 5 + 2 * num_joints, 1)
        )
        nn.init.constant_(self.head.bias, _RARE)  # type: ignore[arg-type]
        nn.init.zeros_(self.person[-1].weight)  # type: ignore[arg-type]
        nn.init.constant_(self.person[-1].bias[:1], _RARE)  # type: ignore[index]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """People in pictures (B, 3, H, W), RGB in 0..255.

        Returns:
            At stride 8: logits (B, 1, h, w) of being a centre; (B, 4, h, w) distances to the left, top, right
            and bottom of the person's box in pixels; (B, K, 2, h, w) the way to each joint in units of the
            box's longer side. At stride 4: logits (B, K, 2 h, 2 w) of being a joint.
        """
        fine, coarse, *_ = self.trunk(pictures)
        person = self.person(coarse)
        sides = 32 * torch.exp(person[:, 1:5].clamp(-4, 4))
        ways = person[:, 5:].unflatten(1, (self.num_joints, 2))
        return person[:, :1], sides, ways, self.head(fine)
