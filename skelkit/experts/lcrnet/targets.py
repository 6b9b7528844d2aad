"""What regions should say in training, and the losses (thesis, equations 3.5 to 3.7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

PERSON_IOU = 0.5
"""A region with at least this overlap with a person's box is that person; any other is background."""
DOUBT_IOU = 0.3
"""A region with at least this overlap with somebody who may not be there is no background either."""
PERSON_SHARE = 0.25
"""Of the regions taken, at most this share are people, as in Faster R-CNN."""
_SHAKEN = 8
"""Boxes made around each person's."""
_SHAKE = 0.12
"""Standard deviation of how far their sides are moved, as a share of the box."""
_BETA = 0.05
"""Where the smooth L1 loss turns from a square to a line, in the unit of regions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """The people of one picture, as labelled or as pseudo ground truth."""

    boxes: Tensor
    """(P, 4) px."""
    classes: Tensor
    """(P,) int64: nearest anchor pose, 1 to B."""
    keypoints: Tensor
    """(P, K, 2) px, NaN = unknown."""
    doubtful: Tensor = field(default_factory=partial(torch.empty, 0, 4))
    """(D, 4) px: boxes of people who may not be there."""

    def to(self, device: torch.device) -> People:
        """The same on another device."""
        return People(
            boxes=self.boxes.to(device),
            classes=self.classes.to(device),
            keypoints=self.keypoints.to(device),
            doubtful=self.doubtful.to(device),
        )


def in_doubt(regions: Tensor, doubtful: Tensor) -> Tensor:
    """(R,) bool: whether somebody who may not be there is in a region."""
    overlap: Tensor = box_iou(regions, doubtful)
    return (overlap >= DOUBT_IOU).any(dim=1)


def choose_regions(
    regions: Tensor, people: People, count: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Regions to learn from: people and background, at random, and none in doubt.

    Args:
        regions: (R, 4) what the region proposal network proposes; the people's own boxes join them.
        people: Of the same picture.
        count: How many to take, 512 in the paper.
        generator: Of chance.

    Returns:
        (n, 4) regions, and (n,) whose they are: index of the person, -1 = background.
    """
    regions = torch.cat([regions, people.boxes])
    overlap = box_iou(regions, people.boxes)
    if overlap.shape[1]:
        most, whose = overlap.max(dim=1)
        whose = torch.where(most >= PERSON_IOU, whose, -1)
    else:
        whose = torch.full((len(regions),), -1)
    order = torch.randperm(len(regions), generator=generator)
    doubt = in_doubt(regions, people.doubtful)[order]
    person, other = order[whose[order] >= 0], order[(whose[order] < 0) & ~doubt]
    person = person[: max(1, int(PERSON_SHARE * count))]
    taken = torch.cat([person, other[: count - len(person)]])
    return regions[taken], whose[taken]


def shaken(boxes: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Boxes (8 P, 4) around those of people (P, 4), so that there is something to learn of every person from
    the first step on, when hardly a proposal meets one."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(_SHAKEN, 2)
    moved = boxes.repeat(_SHAKEN, 1)
    moved = moved + _SHAKE * sides * torch.randn(moved.shape, generator=generator).to(boxes)
    whole = (moved[:, 2:] > moved[:, :2]).all(dim=1)
    return moved[whole]


def classification_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Equation 3.7: -log u(Class_P), mean over regions.

    Args:
        logits: (n, B + 1) before the softmax.
        classes: (n,) 0 = background.
    """
    return functional.cross_entropy(logits, classes)


def regression_loss(deformed: Tensor, wanted: Tensor, classes: Tensor) -> Tensor:
    """Smooth L1 of the joints, by the regressor of the region's own class: sum over joints, mean over people.

    Args:
        deformed: (n, B, K, 2) poses of all classes in the unit of the regions.
        wanted: (n, K, 2) the same of the truth; NaN = unknown, which does not count.
        classes: (n,) 0 = background, which does not count.
    """
    person = torch.nonzero(classes > 0)[:, 0]
    own = deformed[person, classes[person] - 1]
    known = wanted[person].isfinite()
    apart = functional.smooth_l1_loss(own[known], wanted[person][known], beta=_BETA, reduction="sum")
    return apart / max(1, len(person))
