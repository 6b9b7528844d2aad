"""Detector outputs -> person boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import ExpertError
from skelkit.experts.cards import EndToEndBoxes, Input, YoloBoxes
from skelkit.geometry import paired_iou
from skelkit.structures import Float32, Int64

Outputs = Sequence[npt.NDArray[Any]]


def decode_boxes(
    outputs: Outputs, spec: YoloBoxes | EndToEndBoxes, net: Input
) -> list[tuple[Float32, Float32]]:
    """Boxes (P, 4) in input pixels and scores (P,) of each picture of the batch, best first."""
    if isinstance(spec, EndToEndBoxes):
        return _end_to_end(outputs, spec)
    rows = outputs[0].swapaxes(1, -1) if spec.transposed and outputs[0].ndim == 3 else outputs[0]
    if rows.ndim != 3 or rows.shape[2] <= 4 + spec.objectness + spec.person_class:
        raise ExpertError(f"expected YOLO rows (B, N, 4 + classes), the network gave {outputs[0].shape}")
    scores = rows[:, :, 4 + spec.objectness + spec.person_class]
    if spec.objectness:
        scores = scores * rows[:, :, 4]
    out = []
    grid = _grid(spec.strides, net, rows.shape[1]) if spec.strides else None
    for row, score in zip(rows, scores, strict=True):
        keep = np.flatnonzero(score >= spec.min_score)
        keep = keep[np.argsort(-score[keep], kind="stable")]
        box = row[keep, :4].astype(np.float32)
        if grid is not None:  # YOLOX: offsets and log sizes in units of the stride
            cell, stride = grid
            box = np.concatenate([(box[:, :2] + cell[keep]), np.exp(box[:, 2:])], axis=1) * stride[keep]
        corners = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)
        kept = nms(corners, spec.nms_iou)
        out.append((corners[kept], score[keep][kept].astype(np.float32)))
    return out


def nms(boxes_xyxy: Float32, max_iou: float) -> Int64:
    """Greedy non-maximum suppression of boxes (P, 4) that come best first; indices kept."""
    alive = np.ones(len(boxes_xyxy), bool)
    for i in range(len(boxes_xyxy)):
        if alive[i]:
            alive[i + 1 :] &= paired_iou(boxes_xyxy[i], boxes_xyxy[i + 1 :]) <= max_iou
    return np.flatnonzero(alive).astype(np.int64)


def _grid(strides: Sequence[int], net: Input, rows: int) -> tuple[Float32, Float32]:
    """Cell (rows, 2) and stride (rows, 1) of every output row, level by level, row-major."""
    cells, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: net.height // stride, : net.width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((x.size, 1), stride))
    cell = np.concatenate(cells).astype(np.float32)
    if len(cell) != rows:
        raise ExpertError(
            f"expected {len(cell)} rows for strides {list(strides)} at {net.width}x{net.height}, "
            f"the network gave {rows}; correct `strides` or the input size in the card"
        )
    return cell, np.concatenate(steps).astype(np.float32)


def _end_to_end(outputs: Outputs, spec: EndToEndBoxes) -> list[tuple[Float32, Float32]]:
    if len(outputs) < 2 or outputs[0].shape != (*outputs[1].shape, 5):
        raise ExpertError(f"expected boxes (B, N, 5) and labels (B, N), got {[o.shape for o in outputs]}")
    out = []
    for rows, labels in zip(outputs[0], outputs[1], strict=True):
        keep = np.flatnonzero((labels == spec.person_class) & (rows[:, 4] >= spec.min_score))
        keep = keep[np.argsort(-rows[keep, 4], kind="stable")]
        out.append((rows[keep, :4].astype(np.float32), rows[keep, 4].astype(np.float32)))
    return out
