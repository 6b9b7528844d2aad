"""What a top-down network should answer, and how wrong an answer is."""

from __future__ import annotations

import torch
from torch import Tensor

_STRIDE = 4
_TEACHER = 0.4
"""Weight of what an expert found beside what people marked, where it is sure."""
_TEACHER_ALONE = 0.8
"""The same where nothing is marked."""


def certainty(scores: Tensor) -> Tensor:
    """How far a teacher with these scores is to be believed, in [0, 1]."""
    return ((scores - 0.25) / 0.5).clamp(0, 1)


def gaussians(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Where joints are, as distributions over the cells of a heatmap.

    Args:
        points: (..., 2) pixels.
        size: Cells (h, w).
        sigma: Of the Gaussian, in cells.

    Returns:
        (..., h * w), of sum 1 where the point lies near the map.
    """
    along = []
    for axis, length in ((1, size[0]), (0, size[1])):
        cells = _STRIDE * torch.arange(length, device=points.device) + (_STRIDE - 1) / 2
        away = (cells - points[..., axis : axis + 1]) / (_STRIDE * sigma)
        along.append(torch.exp(-(away**2) / 2))
    maps = (along[0][..., :, None] * along[1][..., None, :]).flatten(-2)
    return maps / maps.sum(dim=-1, keepdim=True).clamp(min=1e-6)


def pose_loss(logits: Tensor, joints: Tensor, taught: Tensor, sigma: float) -> Tensor:
    """Cross-entropy between where a network says joints are and where labels say so.

    The target of a joint is one distribution over the heatmap's cells: a Gaussian around where people
    marked it, mixed with one around where the teacher found it, by how sure that is. Where the two agree they
    are one peak; where labels are wrong or swapped, the network may answer with both.

    Args:
        logits: (B, K, h, w) of a `PoseNet`.
        joints: (B, K, 3) marked: x, y in pixels of the crop, weight.
        taught: (B, K, 3) the teacher's.
        sigma: Cells.

    Returns:
        The mean over joints, each as heavy as the labels it has, 1 at most.
    """
    size = (logits.shape[2], logits.shape[3])
    marked = (joints[..., 2] > 0).float()
    teacher = certainty(taught[..., 2]) * torch.where(marked > 0, _TEACHER, _TEACHER_ALONE)
    total = marked + teacher
    mixed = marked[..., None] * gaussians(joints[..., :2], size, sigma)
    mixed += teacher[..., None] * gaussians(taught[..., :2], size, sigma)
    target = mixed / total.clamp(min=1e-6)[..., None]
    entropy = -(target * logits.float().flatten(2).log_softmax(dim=2)).sum(dim=2)
    weight = total.clamp(max=1)
    return (entropy * weight).sum() / weight.sum().clamp(min=1)
