"""Outputs of the built-in networks -> joints and boxes, in pixels of the input, on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_PEOPLE = 40
"""Most people read off one picture, the surest ones."""
_REACH = 0.15
"""How far a joint's peak may lie from where its person says it is, in sides of the box: one sigma. None lies
farther away than two."""
_SEEN = 0.1
"""Peaks below this do not move a joint from where its person says it is."""


def joint_probabilities(logits: Tensor) -> Tensor:
    """How likely each joint lies in or next to each cell.

    Args:
        logits: (B, K, h, w) of a `PoseNet`.

    Returns:
        (B, K, h, w) in [0, 1]: the softmax over a joint's cells, summed over 3 x 3 of them. Its peaks lie
        where the mass is, not at a single odd cell.
    """
    probabilities = logits.float().flatten(2).softmax(dim=2).view_as(logits)
    return 9 * functional.avg_pool2d(probabilities, 3, stride=1, padding=1)


def people(outputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """People of pictures, surest first, duplicates among them.

    Centres are cells whose probability no neighbour exceeds (CenterNet). A joint lies where its heatmap,
    weighted by a Gaussian around the place its person gives, peaks; where the heatmap sees nothing, at that
    place.

    Args:
        outputs: Of a `PeopleNet`.

    Returns:
        (B, P, 5) boxes x1, y1, x2, y2 and scores, and (B, P, K, 3) joints x, y and scores.
    """
    logits, sides, ways, maps = outputs
    centre = logits[:, 0].float().sigmoid()
    highest = functional.max_pool2d(centre[:, None], 3, stride=1, padding=1)[:, 0]
    width = centre.shape[2]
    peaks = torch.where(centre == highest, centre, 0).flatten(1)
    score, cell = peaks.topk(min(_PEOPLE, peaks.shape[1]), dim=1)  # (B, P)
    at = 8 * torch.stack([cell % width, cell // width], dim=2).float() + 3.5  # (B, P, 2)

    def of_people(values: Tensor) -> Tensor:
        index = cell[:, None].expand(-1, values.shape[1], -1)
        return values.float().flatten(2).gather(2, index).transpose(1, 2)

    reach = of_people(sides)
    boxes = torch.cat([at - reach[..., :2], at + reach[..., 2:], score[..., None]], dim=2)
    side = (reach[..., :2] + reach[..., 2:]).amax(dim=2)
    near = at[:, :, None] + side[..., None, None] * of_people(ways.flatten(1, 2)).view(*at.shape[:2], -1, 2)
    return boxes, _on_peaks(near, _REACH * side, maps.float().sigmoid())


def _on_peaks(near: Tensor, reach: Tensor, maps: Tensor) -> Tensor:
    """Joints (B, P, K, 2) moved to the peaks of maps (B, K, h, w) at stride 4: (B, P, K, 3) with scores."""
    count = near.shape[1]
    height, width = maps.shape[2:]
    sigma = reach.clamp(min=4)[:, :, None, None]

    def nearness(axis: int, length: int) -> Tensor:
        cells = 4 * torch.arange(length, device=maps.device) + 1.5
        away = (cells - near[..., axis : axis + 1]) / sigma  # (B, P, K, length)
        return torch.exp(-(away**2) / 2) * (away.abs() <= 2)

    weighted = maps[:, None] * nearness(1, height)[..., None] * nearness(0, width)[..., None, :]
    best = weighted.flatten(3).argmax(dim=3)  # (B, P, K)
    x, y = best % width, best // width
    flat = maps.flatten(2)[:, None].expand(-1, count, -1, -1)

    def value(dx: int, dy: int) -> Tensor:
        index = (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1)
        return flat.gather(3, index[..., None])[..., 0]

    middle = value(0, 0)
    peak = torch.stack(
        [x + _shift(value(-1, 0), middle, value(1, 0)), y + _shift(value(0, -1), middle, value(0, 1))], dim=3
    )
    points = torch.where(middle[..., None] >= _SEEN, 4 * peak + 1.5, near)
    return torch.cat([points, middle[..., None]], dim=3)


def _shift(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """Where a parabola through the logarithms of three neighbours peaks, in cells from the middle one."""
    a, b, c = (v.clamp(min=1e-6).log() for v in (before, middle, after))
    bend = (2 * b - a - c).clamp(min=1e-6)
    return ((c - a) / (2 * bend)).clamp(-0.5, 0.5)
