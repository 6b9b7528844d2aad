"""Joints of many people off their heatmaps, each map enlarged to its person's box: Keypoint R-CNN's way.

The method is that of Mask R-CNN (He et al., 2017), as torchvision's ``heatmaps_to_keypoints`` does it person
by person; here the enlargement is two matrix products for many people at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BYTES = 1 << 28
"""Of enlarged heatmaps in memory at once."""
_SHARPNESS = -0.75
"""Of the cubic kernel, as in OpenCV and PyTorch."""


def roi_peaks(heatmaps: Tensor, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Where each joint's heatmap peaks when enlarged (bicubic) to the pixels of its person's box.

    Args:
        heatmaps: (P, K, h, w).
        boxes_xyxy: (P, 4) pixels.

    Returns:
        (P, K, 2) pixels and (P, K) the peaks' values.
    """
    sizes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=1)
    points = heatmaps.new_empty(*heatmaps.shape[:2], 2)
    values = heatmaps.new_empty(heatmaps.shape[:2])
    cells = sizes.ceil().to(torch.int64)
    # like with like: a chunk's maps are all as large as its largest
    order = cells.prod(dim=1).argsort()
    largest = cells[order].cpu().tolist()
    begin = 0
    while begin < len(order):
        end, width, height = begin, 0, 0
        while end < len(order):
            wider, taller = max(width, largest[end][0]), max(height, largest[end][1])
            if end > begin and (end + 1 - begin) * wider * taller * heatmaps.shape[1] * 4 > _BYTES:
                break
            end, width, height = end + 1, wider, taller
        some = order[begin:end]
        at, values[some] = _peaks(heatmaps[some], cells[some], (height, width))
        points[some] = (at + 0.5) * (sizes[some] / cells[some])[:, None] + boxes_xyxy[some, None, :2]
        begin = end
    return points, values


def _peaks(heatmaps: Tensor, cells: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Column and line of the highest cell of each map, enlarged to `cells` (P, 2), and its value."""
    height, width = size
    across = _enlarging(heatmaps.shape[3], cells[:, 0], width)
    down = _enlarging(heatmaps.shape[2], cells[:, 1], height)
    large = down[:, None] @ heatmaps @ across[:, None].transpose(2, 3)
    columns, lines = (torch.arange(n, device=cells.device) for n in (width, height))
    large.masked_fill_((columns >= cells[:, :1])[:, None, None, :], -torch.inf)
    large.masked_fill_((lines >= cells[:, 1:])[:, None, :, None], -torch.inf)
    value, at = large.flatten(2).max(dim=2)
    return torch.stack([at % width, at // width], dim=2), value


def _enlarging(have: int, want: Tensor, most: int) -> Tensor:
    """(P, most, have) the weights of bicubic interpolation from `have` to `want` (P,) cells."""
    scale = have / want.to(torch.float32)
    at = (torch.arange(most, device=want.device) + 0.5) * scale[:, None] - 0.5
    first = at.floor()
    t = (at - first)[..., None] + at.new_tensor([1, 0, -1, -2])  # signed distances to four cells
    d = t.abs()
    near = ((_SHARPNESS + 2) * d - (_SHARPNESS + 3)) * d * d + 1
    far = ((_SHARPNESS * d - 5 * _SHARPNESS) * d + 8 * _SHARPNESS) * d - 4 * _SHARPNESS
    cells = first.to(torch.int64)[..., None] + torch.arange(-1, 3, device=want.device)
    weights = torch.zeros(len(want), most, have, device=want.device)
    return weights.scatter_add_(2, cells.clamp(0, have - 1), torch.where(d <= 1, near, far))
