"""What a one-stage network should answer, and how wrong an answer is."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skelkit.experts.builtin.training.mosaics import DOUBTFUL
from skelkit.experts.builtin.training.scenes import JOINTS
from skelkit.structures import Bool, Float32

_COARSE, _FINE = 8, 4
"""Strides of the centres and of the joints' heatmaps."""
_CENTRE = 0.12
"""Sigma of a centre's Gaussian, in sides of the box."""
_OWN = 0.4
"""Cells where that Gaussian is higher answer for the person's box and joints."""
_JOINT = 0.025
"""Sigma of a joint's Gaussian, in longer sides of the box; between 3 and 8 pixels."""
_SMALLEST = 6.0
"""Pixels: narrower people are in doubt."""
_KNOWN = 0.3
"""Joints with lower scores are in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What the network should say of one picture, or of several, with a leading axis."""

    centre: Tensor
    """(h, w) 1 at people's centres."""
    centre_weight: Tensor
    """(h, w) 0 inside people in doubt."""
    sides: Tensor
    """(4, h, w) pixels to the box's sides."""
    person: Tensor
    """(h, w) how much a cell answers for a person."""
    ways: Tensor
    """(K, 2, h, w) to the joints, in longer sides of the box."""
    ways_weight: Tensor
    """(K, h, w)."""
    maps: Tensor
    """(K, 2 h, 2 w) 1 at joints."""
    maps_weight: Tensor
    """(K, 2 h, 2 w) 0 inside people of whom the joint is not known."""

    @classmethod
    def stack(cls, several: list[Targets]) -> Targets:
        """Those of several pictures of one size."""
        return cls(**{f.name: torch.stack([getattr(t, f.name) for t in several]) for f in fields(cls)})

    def to(self, place: torch.device) -> Targets:
        """The same on a device."""
        return Targets(**{f.name: getattr(self, f.name).to(place) for f in fields(self)})


def targets(boxes: Float32, joints: Float32, size: int) -> Targets:
    """Targets of one picture.

    Args:
        boxes: (P, 5) with scores; people below `mosaics.DOUBTFUL` are in doubt.
        joints: (P, K, 3) with weights.
        size: Pixels a side.
    """
    coarse = _COARSE * np.arange(size // _COARSE) + (_COARSE - 1) / 2
    fine = _FINE * np.arange(size // _FINE) + (_FINE - 1) / 2
    k, h, m = JOINTS.num_joints, len(coarse), len(fine)
    centre, person = np.zeros((h, h), np.float32), np.zeros((h, h), np.float32)
    centre_weight = np.ones((h, h), np.float32)
    sides, ways = np.zeros((4, h, h), np.float32), np.zeros((k, 2, h, h), np.float32)
    ways_weight = np.zeros((k, h, h), np.float32)
    maps, maps_weight = np.zeros((k, m, m), np.float32), np.ones((k, m, m), np.float32)
    certain = (boxes[:, 4] >= DOUBTFUL) & ((boxes[:, 2:4] - boxes[:, :2]).min(axis=1) >= _SMALLEST)
    known = joints[..., 2] >= _KNOWN
    for box, sure, there in zip(boxes, certain, known, strict=True):
        if not sure:
            centre_weight[_inside(box, coarse)] = 0
        maps_weight[np.ix_(~there, *(np.flatnonzero(v) for v in _spans(box, fine)))] = 0
    for box, marked, there in zip(boxes[certain], joints[certain], known[certain], strict=True):
        bell = _bell(box, coarse)
        centre = np.maximum(centre, bell)
        centre_weight[bell > _OWN] = 1
        own = (bell > _OWN) & (bell > person)  # of two people the nearer one
        person = np.where(own, bell, person)
        reach = [coarse - box[0], coarse - box[1], box[2] - coarse, box[3] - coarse]
        axes = (None, slice(None)), (slice(None), None)
        for side, (values, axis) in enumerate(zip(reach, axes + axes, strict=True)):
            sides[side] = np.where(own, values[axis], sides[side])
        longer = float((box[2:4] - box[:2]).max())
        for c, axis in enumerate(axes):
            way = (marked[:, c, None] - coarse) / longer  # (K, cells)
            ways[:, c] = np.where(own, way[(slice(None), *axis)], ways[:, c])
        ways_weight = np.where(own, there[:, None, None] * bell, ways_weight)
        spread = 2 * np.clip(_JOINT * longer, 3, 8) ** 2
        x, y = (np.exp(-((fine - marked[:, c, None]) ** 2) / spread) for c in (0, 1))
        peaks = there[:, None, None] * y[:, :, None] * x[:, None, :]
        maps = np.maximum(maps, peaks)
        maps_weight[peaks > 0.2] = 1
    values = (centre, centre_weight, sides, person, ways, ways_weight, maps, maps_weight)
    named = zip((f.name for f in fields(Targets)), values, strict=True)
    return Targets(**{name: torch.from_numpy(value.astype(np.float32)) for name, value in named})


def people_loss(outputs: tuple[Tensor, Tensor, Tensor, Tensor], wanted: Targets) -> dict[str, Tensor]:
    """The parts of the loss, weighted: their sum is what is trained.

    Centres: the focal loss of CenterNet (Zhou et al. 2019, equation 1). Boxes: generalised IoU. Ways: L1.
    Heatmaps: the quality focal loss (Li et al. 2020) to a Gaussian.
    """
    logits, sides, ways, maps = (v.float() for v in outputs)
    own = wanted.person > 0
    weight = wanted.person[own]
    overlap = generalised_iou(sides.movedim(1, 3)[own], wanted.sides.movedim(1, 3)[own])
    away = (ways - wanted.ways).abs().sum(dim=2) * wanted.ways_weight
    return {
        "centre": centre_loss(logits[:, 0], wanted.centre, wanted.centre_weight),
        "box": 2 * ((1 - overlap) * weight).sum() / weight.sum().clamp(min=1),
        "way": 4 * away.sum() / wanted.ways_weight.sum().clamp(min=1),
        "map": 4 * quality_focal_loss(maps, wanted.maps, wanted.maps_weight),
    }


def centre_loss(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss, alpha = 2 and beta = 4, per centre."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = (wanted > 0.99).float()
    right = centre * (1 - p) ** 2 * p.log()
    wrong = (1 - centre) * (1 - wanted) ** 4 * p**2 * (1 - p).log()
    return -((right + wrong) * weight).sum() / centre.sum().clamp(min=1)


def quality_focal_loss(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """|y - p|^2 times the cross-entropy, per unit of what is wanted."""
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    off = (logits.sigmoid() - wanted).abs() ** 2
    return (entropy * off * weight).sum() / (wanted * weight).sum().clamp(min=1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes around one point, given as distances (..., 4) to their left, top, right and bottom."""
    a, b = a.clamp(min=0.1), b.clamp(min=0.1)

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (low + high).prod(dim=-1)

    inner = area(torch.minimum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    hull = area(torch.maximum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - inner
    return inner / union - (hull - union) / hull


def _bell(box: Float32, cells: Float32) -> Float32:
    """(h, h) a Gaussian around the box's middle, 1 in the cell nearest to it."""
    along = []
    for c in (1, 0):
        sigma = max(_CENTRE * (box[c + 2] - box[c]), 5.0)
        middle = (box[c] + box[c + 2]) / 2
        values = np.exp(-((cells - middle) ** 2) / (2 * sigma**2))
        along.append(values / values.max())
    return np.asarray(np.outer(*along), np.float32)


def _spans(box: Float32, cells: Float32) -> tuple[Bool, Bool]:
    """Which lines and which columns lie in a box."""
    return (cells >= box[1]) & (cells <= box[3]), (cells >= box[0]) & (cells <= box[2])


def _inside(box: Float32, cells: Float32) -> Bool:
    return np.asarray(np.logical_and.outer(*_spans(box, cells)), np.bool_)
