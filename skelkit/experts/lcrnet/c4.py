"""The network of the public LCR-Net++ checkpoints: ResNet-50 up to its fourth stage, without a pyramid.

What it computes is that of the public test code (LCR-Net release 2.0 on Detectron.pytorch): BGR pictures less
their means, strides in the 1 x 1 convolutions, channelwise scales and shifts for batch norms, one map at
stride 16 for proposals and RoIAlign, the fifth stage on every region.

There a box holds the pixels of its right and bottom edge, so that its width is ``x2 - x1 + 1``. Proposals
are made with boxes that end one pixel later, whose width is ``x2 - x1``, and given out with the public ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d, nms, roi_align

from skelkit.errors import ConfigError
from skelkit.experts.lcrnet.proposals import Proposals

NAME = "resnet50-c4"
PIXEL_MEANS = (102.9801, 115.9465, 122.7717)
"""Blue, green, red: Detectron's."""
HIDDEN = 2048
"""Features of a region."""
_CHANNELS, _STRIDE, _POOLED = 1024, 16, 14

_norm = partial(FrozenBatchNorm2d, eps=0.0)
"""With mean 0 and variance 1, which it starts with, exactly a scale and a shift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class C4:
    """What differs between such networks; in Detectron's words in brackets.

    Raises:
        ConfigError: a value outside its range.
    """

    shorter_side: int
    """Pixels of a picture's shorter side (TEST.SCALE) ..."""
    longer_side: int
    """... unless the longer one had more than this (TEST.MAX_SIZE)."""
    sizes: Sequence[float]
    """Sides of the anchor boxes, px (RPN.SIZES)."""
    ratios: Sequence[float]
    """Their heights by their widths (RPN.ASPECT_RATIOS)."""
    candidates: int
    """Proposals that are compared with each other (TEST.RPN_PRE_NMS_TOP_N)."""
    regions: int
    """Proposals that are left of them at most (TEST.RPN_POST_NMS_TOP_N)."""
    overlap: float
    """IoU from which the better of two proposals stays alone (TEST.RPN_NMS_THRESH)."""

    def __post_init__(self) -> None:
        """Check."""
        counts = (self.shorter_side, self.longer_side, self.candidates, self.regions)
        known = len(self.sizes) > 0 < len(self.ratios) and min(*counts, *self.sizes, *self.ratios) > 0
        if not known or not 0 < self.overlap <= 1:
            raise ConfigError(f"expected positive sizes and counts and an overlap of at most 1, got {self}")

    def scale(self, height: int, width: int) -> float:
        """By how much a picture is enlarged."""
        scale = self.shorter_side / min(height, width)
        if round(scale * max(height, width)) > self.longer_side:
            scale = self.longer_side / max(height, width)
        return scale

    def fit(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32 of the size wanted, as OpenCV's linear interpolation does it."""
        height, width = pictures.shape[2:]
        scale = self.scale(height, width)
        size = [round(height * scale), round(width * scale)]
        # the scale itself, as there, where functional.interpolate would take the ratio of the rounded sizes
        resized: Tensor = torch.ops.aten.upsample_bilinear2d(pictures.float(), size, False, scale, scale)
        return resized

    def parts(self) -> tuple[nn.Module, Proposals, nn.Module, nn.Module]:
        """Backbone, localisation, pooling of regions, and what regions share before the two heads."""
        return _Body(), _Proposals(self), _Pool(), _shared()


class _Body(nn.Module):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(PIXEL_MEANS).view(3, 1, 1))
        self.res1 = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
                bn1=_norm(64),
                relu=nn.ReLU(inplace=True),
                maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        self.res2 = _stage(64, 64, blocks=3, stride=1)
        self.res3 = _stage(256, 128, blocks=4, stride=2)
        self.res4 = _stage(512, 256, blocks=6, stride=2)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """RGB in 0..255 -> the map at stride 16."""
        x = self.res1(pictures.flip(1) - self.mean)
        return {"0": self.res4(self.res3(self.res2(x)))}


def _shared() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            res5=_stage(_CHANNELS, 512, blocks=3, stride=2), mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()
        )
    )


def _stage(channels: int, width: int, *, blocks: int, stride: int) -> nn.Sequential:
    """Of a ResNet, with the stride in the first convolution, of 1 x 1."""
    wide = Bottleneck.expansion * width
    shortcut = nn.Sequential(nn.Conv2d(channels, wide, 1, stride=stride, bias=False), _norm(wide))
    first = Bottleneck(channels, width, stride, shortcut, norm_layer=_norm)
    first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    return nn.Sequential(first, *(Bottleneck(wide, width, norm_layer=_norm) for _ in range(blocks - 1)))


class _Pool(nn.Module):
    def forward(self, maps: dict[str, Tensor], regions: list[Tensor], sizes: Any) -> Tensor:
        """RoIAlign with as many samples as a cell is long."""
        pooled: Tensor = roi_align(maps["0"], regions, _POOLED, 1 / _STRIDE, sampling_ratio=0)
        return pooled


class _Anchors(nn.Module):
    """The same boxes around every cell of the map, ending one pixel later than the public ones."""

    cells: Tensor

    def __init__(self, sizes: Sequence[float], ratios: Sequence[float]) -> None:
        super().__init__()
        width = np.round(np.sqrt(_STRIDE**2 / np.asarray(ratios)))
        shapes = np.stack([width, np.round(width * ratios)], axis=-1)  # of a box as large as a cell
        half = (shapes[:, None] * np.asarray(sizes)[:, None] / _STRIDE).reshape(-1, 2) / 2
        boxes = np.concatenate([-half, half], axis=1) + _STRIDE / 2
        self.register_buffer("cells", torch.from_numpy(boxes.astype(np.float32)), persistent=False)

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        """(h w A, 4) of every picture."""
        down, right = (_STRIDE * torch.arange(n, device=self.cells.device) for n in maps[0].shape[-2:])
        y, x = torch.meshgrid(down, right, indexing="ij")
        corners = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
        return [(corners + self.cells).view(-1, 4)] * len(images.image_sizes)


class _Proposals(Proposals):
    def __init__(self, c4: C4) -> None:
        anchors = _Anchors(c4.sizes, c4.ratios)
        super().__init__(
            anchors,
            RPNHead(_CHANNELS, len(anchors.cells)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": c4.candidates, "testing": c4.candidates},
            post_nms_top_n={"training": c4.regions, "testing": c4.regions},
            # there an overlap of exactly this suppresses, here more than it does
            nms_thresh=float(np.nextafter(np.float32(c4.overlap), np.float32(0))),
        )

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, image_shapes: Any, num_anchors_per_level: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Proposals (N, n, 4) and what speaks for them -> the best of every picture, with the public ends."""
        found, sure = [], []
        every = objectness.detach().view(len(proposals), -1)
        for boxes, logits, (height, width) in zip(proposals.detach(), every, image_shapes, strict=True):
            score, best = logits.topk(min(self.pre_nms_top_n(), len(logits)))
            inside = boxes.new_tensor([width - 1, height - 1])
            low, high = boxes[best].split(2, dim=1)
            low, high = low.clamp(min=0).minimum(inside), (high - 1).clamp(min=0).minimum(inside)
            kept = nms(torch.cat([low, high + 1], dim=1), score, self.nms_thresh)[: self.post_nms_top_n()]
            found.append(torch.cat([low, high], dim=1)[kept])
            sure.append(score[kept].sigmoid())
        return found, sure
