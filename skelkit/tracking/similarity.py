"""How likely two poses are the same person: OKS on the joints both have, with the boxes as a stand-by."""

from __future__ import annotations

import numpy as np

from skelkit.geometry import Floats, box_iou, oks_kernel, oks_sums, paired_iou
from skelkit.structures import Float64

BOX_WEIGHT = 4.0
"""The boxes' IoU counts as much as this many joints: it decides where hardly a joint is shared, and hardly
matters where whole poses can be compared."""


def body_area(boxes: Floats) -> Float64:
    """(...,) the area OKS scales by, from boxes (..., 4).

    At least a quarter of the longer side squared: a person seen from the side or half found has a narrow
    box, but joints no more precise for it.
    """
    width = (boxes[..., 2] - boxes[..., 0]).astype(np.float64)
    height = (boxes[..., 3] - boxes[..., 1]).astype(np.float64)
    return np.asarray(np.maximum(width * height, np.maximum(width, height) ** 2 / 4))


def similarity_matrix(
    a: Floats, b: Floats, boxes_a: Floats, boxes_b: Floats, *, sigmas: Floats, slack: Floats | float = 1.0
) -> Float64:
    """Every pose of `a` with every pose of `b`.

    Args:
        a: (P, K, 2) pixels, NaN = not found.
        b: (Q, K, 2).
        boxes_a: (P, 4).
        boxes_b: (Q, 4).
        sigmas: (K,) of OKS.
        slack: (P, 1) or a number; factor by which sigmas are widened.

    Returns:
        (P, Q) in [0, 1].
    """
    areas = np.maximum(body_area(boxes_a)[:, None], body_area(boxes_b)[None]) * np.square(slack)
    sums, shared = oks_sums(a, b, areas, sigmas)
    return (sums + BOX_WEIGHT * box_iou(boxes_a, boxes_b)) / (shared + BOX_WEIGHT)


def paired_similarity(
    a: Floats, b: Floats, boxes_a: Floats, boxes_b: Floats, *, sigmas: Floats, slack: float
) -> Float64:
    """As `similarity_matrix`, but each of P poses with the one at the same place: (P,)."""
    areas = np.maximum(body_area(boxes_a), body_area(boxes_b)) * slack**2
    apart = a.astype(np.float64) - b
    squared = np.einsum("pkc,pkc->pk", apart, apart)
    shared = np.isfinite(squared).sum(axis=-1)
    sums = oks_kernel(squared, areas, sigmas).sum(axis=-1)
    return np.asarray((sums + BOX_WEIGHT * paired_iou(boxes_a, boxes_b)) / (shared + BOX_WEIGHT))
