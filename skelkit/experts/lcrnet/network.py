"""LCR-Net++ (Rogez et al. 2019) in 2-D: localisation, classification, regression.

A region proposal network finds regions with people; each is classified into background or one of B anchor
poses; and for each class a regressor of its own deforms the anchor pose, fitted into the region, to the
person's. Parts are torchvision's where it has them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from skelkit.errors import ConfigError
from skelkit.experts.builtin.networks import Trunk
from skelkit.experts.lcrnet.c4 import C4, HIDDEN, NAME
from skelkit.experts.lcrnet.proposals import Proposals
from skelkit.experts.lcrnet.targets import (
    People,
    choose_regions,
    classification_loss,
    regression_loss,
    shaken,
)
from skelkit.registry import unknown
from skelkit.structures import Float32

_RATIOS = (0.5, 1.0, 2.0)
_POOLED = 7
"""Cells along a side of what is pooled of a region."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, as ResNet-50 is trained with."""


class _Small(nn.Module):
    """The trunk of the built-in networks, whose weights it may take."""

    out_channels = Trunk.channels
    sizes = (24, 48, 96, 192)
    hidden = 256

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Maps at strides 4, 8, 16 and 32."""
        return OrderedDict((str(i), level) for i, level in enumerate(self.trunk(pictures)))


class _ResNet50(nn.Module):
    """The paper's, with a feature pyramid."""

    out_channels = 256
    sizes = (32, 64, 128, 256, 512)
    hidden = 1024
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Maps at strides 4, 8, 16, 32 and 64."""
        maps: dict[str, Tensor] = self.body((pictures - self.mean) / self.std)
        return maps


BACKBONES: dict[str, type[_Small | _ResNet50]] = {"small": _Small, "resnet50": _ResNet50}
"""small: for CPUs. resnet50: the paper's."""


def _shared(inputs: int, hidden: int) -> nn.Sequential:
    """Two layers of what is pooled of a region. Without the norms 19 of 20 units of the first fell silent for
    good: features are positive and many, so that a few steps pull all of them one way."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before in (inputs, hidden):
        layers += [nn.Linear(before, hidden), nn.LayerNorm(hidden), nn.ReLU()]
    return nn.Sequential(*layers)


def _pyramid(
    backbone: type[_Small | _ResNet50], regions: int
) -> tuple[nn.Module, Proposals, nn.Module, nn.Module]:
    """Backbone, localisation, pooling of regions, and what regions share before the two heads."""
    body = backbone()
    boxes = AnchorGenerator(tuple((size,) for size in body.sizes), (_RATIOS,) * len(body.sizes))
    localisation = Proposals(
        boxes,
        RPNHead(body.out_channels, boxes.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * regions, "testing": 300},
        post_nms_top_n={"training": regions, "testing": 100},
        nms_thresh=0.7,
    )
    pool = MultiScaleRoIAlign([str(i) for i in range(4)], _POOLED, sampling_ratio=2)
    return body, localisation, pool, _shared(body.out_channels * _POOLED**2, body.hidden)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """What is found in one picture, before people's candidates are put together."""

    regions: Tensor
    """(R, 4) px."""
    probabilities: Tensor
    """(R, B + 1); the first is background's."""
    poses: Tensor
    """(R, B, K, 2) px."""


class LCRNet(nn.Module):
    """The network.

    Args:
        anchors: (B, K, 2) anchor poses in the unit of boxes (`skelkit.experts.lcrnet.anchors`).
        backbone: One of `BACKBONES`, or what a public checkpoint says of its own.
        regions: How many regions per picture a loss is made of, 512 in the paper.

    Raises:
        ConfigError: no such backbone.
    """

    anchors: Tensor

    @classmethod
    def new(cls, anchors: Float32, backbone: str, *, seed: int, regions: int = 512) -> Self:
        """One that has learnt nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(torch.from_numpy(anchors), backbone, regions=regions)

    def __init__(self, anchors: Tensor, backbone: str | C4 = "small", *, regions: int = 512) -> None:
        super().__init__()
        if isinstance(backbone, str) and backbone not in BACKBONES:
            raise ConfigError(unknown("backbone", backbone, BACKBONES))
        self.num_regions = regions
        self.register_buffer("anchors", anchors.float())
        self.num_anchors, self.num_joints = anchors.shape[:2]
        self.c4: C4 | None = None
        if isinstance(backbone, C4):
            self.c4, self.backbone_name, hidden, parts = backbone, NAME, HIDDEN, backbone.parts()
        else:
            kind = BACKBONES[backbone]
            self.backbone_name, hidden, parts = backbone, kind.hidden, _pyramid(kind, regions)
        self.backbone, self.localisation, self.pool, self.shared = parts
        self.classification = nn.Linear(hidden, self.num_anchors + 1)
        self.regression = nn.Linear(hidden, self.num_anchors * self.num_joints * 2)
        nn.init.normal_(self.regression.weight, 0, 0.001)  # poses begin as the anchors'
        nn.init.zeros_(self.regression.bias)

    def losses(
        self, pictures: Tensor, people: Sequence[People], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Of a batch, in training mode.

        Args:
            pictures: (N, 3, H, W) RGB in 0..255.
            people: N of them, in pixels of the pictures.
            generator: Of the chance that chooses regions.

        Returns:
            ``localisation`` (equation 3.6, the loss of the region proposal network), ``classification``
            (equation 3.7) and ``regression``.
        """
        maps, images = self._maps(pictures)
        targets = [{"boxes": p.boxes, "doubtful": p.doubtful} for p in people]
        proposals, rpn = self.localisation(images, maps, targets)
        chosen = [
            choose_regions(torch.cat([r, shaken(p.boxes, generator)]), p, self.num_regions, generator)
            for r, p in zip(proposals, people, strict=True)
        ]
        regions = [r for r, _ in chosen]
        logits, poses = self._heads(maps, regions, images)
        classes, wanted = [], []
        for own, whose, p in zip(regions, (w for _, w in chosen), people, strict=True):
            nobody = whose < 0
            classes.append(
                torch.where(nobody, 0, p.classes[whose]) if len(p.classes) else torch.zeros_like(whose)
            )
            points = (
                p.keypoints[whose]
                if len(p.classes)
                else poses.new_full((len(own), *poses.shape[2:]), torch.nan)
            )
            wanted.append((points - own[:, None, :2]) / _sides(own)[:, 0])
        together = torch.cat(classes)
        return {
            "localisation": rpn["loss_objectness"] + rpn["loss_rpn_box_reg"],
            "classification": classification_loss(logits, together),
            "regression": regression_loss(poses, torch.cat(wanted), together),
        }

    def forward(self, pictures: Tensor) -> list[Candidates]:
        """What is in pictures (N, 3, H, W), RGB in 0..255, in evaluation mode."""
        maps, images = self._maps(pictures)
        regions, _ = self.localisation(images, maps)
        logits, poses = self._heads(maps, regions, images)
        counts = [len(r) for r in regions]
        corners = torch.cat(regions)
        poses = poses * _sides(corners) + corners[:, None, None, :2]
        parts = (corners, logits.softmax(dim=1), poses)
        return [
            Candidates(regions=r, probabilities=u, poses=p)
            for r, u, p in zip(*(torch.split(part, counts) for part in parts), strict=True)
        ]

    def _maps(self, pictures: Tensor) -> tuple[dict[str, Tensor], ImageList]:
        size = (pictures.shape[2], pictures.shape[3])
        return self.backbone(pictures), ImageList(pictures, [size] * len(pictures))

    def _heads(
        self, maps: dict[str, Tensor], regions: list[Tensor], images: ImageList
    ) -> tuple[Tensor, Tensor]:
        """Logits (R, B + 1), and deformed anchor poses (R, B, K, 2) in the unit of the regions."""
        features = self.shared(self.pool(maps, regions, images.image_sizes))
        change: Tensor = self.regression(features).view(-1, self.num_anchors, self.num_joints, 2)
        return self.classification(features), self.anchors + change


def _sides(regions: Tensor) -> Tensor:
    """(R, 4) -> width and height (R, 1, 1, 2)."""
    return (regions[:, 2:] - regions[:, :2])[:, None, None]


def settings(network: LCRNet) -> dict[str, Any]:
    """What `LCRNet` was made with, but for the anchor poses, ready for JSON."""
    backbone = asdict(network.c4) if network.c4 else network.backbone_name
    return {"backbone": backbone, "regions": network.num_regions}


def with_settings(anchors: Tensor, given: dict[str, Any]) -> LCRNet:
    """A network of these anchor poses, with what `settings` said.

    Raises:
        ConfigError: a value outside its range.
        TypeError: other names than its own.
    """
    backbone = given["backbone"]
    if isinstance(backbone, dict):
        backbone = C4(**backbone)
    return LCRNet(anchors, backbone, regions=given["regions"])
