"""Outputs of top-down networks -> joints in input pixels with raw scores."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from skelkit.errors import ExpertError
from skelkit.experts.cards import Coordinates, Heatmaps, Input, OneStage, SimCC
from skelkit.experts.decode_boxes import Outputs, nms
from skelkit.structures import Float32


def decode_joints(
    outputs: Outputs, spec: Heatmaps | SimCC | Coordinates, net: Input, num_joints: int
) -> tuple[Float32, Float32]:
    """Joints of P crops.

    Returns:
        (P, K, 2) pixels of the network's input and (P, K) raw scores.

    Raises:
        ExpertError: the outputs are not what the card says.
    """
    match spec:
        case Heatmaps():
            return heatmaps(outputs, spec, net, num_joints)
        case SimCC():
            return simcc(outputs, spec, num_joints)
        case Coordinates():
            return coordinates(outputs, spec, net, num_joints)


def heatmaps(outputs: Outputs, spec: Heatmaps, net: Input, num_joints: int) -> tuple[Float32, Float32]:
    """Peak of each heatmap, refined below a cell by a parabola through the logarithms along x and y.

    The logarithm of a Gaussian is a parabola, so this is exact for the targets heatmap networks are
    trained on (the 1-D form of DARK, Zhang et al. 2020; `blur` is its modulation). The raw score is the
    peak of the map as blurred.
    """
    maps = channels_first(outputs[0], spec.layout, num_joints)
    if spec.blur:
        maps = np.stack([[_blurred(plane, spec.blur) for plane in crop] for crop in maps])
    p, k, h, w = maps.shape
    peak = maps.reshape(p, k, h * w).argmax(axis=2)
    y, x = np.divmod(peak, w)
    pi, ki = np.ogrid[:p, :k]
    raw = maps[pi, ki, y, x]

    def shift(before: Float32, after: Float32, inside: npt.NDArray[np.bool_]) -> Float32:
        a, b, c = (np.log(np.maximum(v, 1e-6)) for v in (before, raw, after))
        bend = 2 * b - a - c
        return np.where(inside & (bend > 1e-6), np.clip((c - a) / (2 * np.maximum(bend, 1e-6)), -0.5, 0.5), 0)

    left, right = maps[pi, ki, y, np.maximum(x - 1, 0)], maps[pi, ki, y, np.minimum(x + 1, w - 1)]
    up, down = maps[pi, ki, np.maximum(y - 1, 0), x], maps[pi, ki, np.minimum(y + 1, h - 1), x]
    fine_x = x + shift(left, right, (x > 0) & (x < w - 1))
    fine_y = y + shift(up, down, (y > 0) & (y < h - 1))
    points = np.stack(
        [net.width / w * (fine_x + spec.offset), net.height / h * (fine_y + spec.offset)], axis=-1
    )
    return points.astype(np.float32), raw.astype(np.float32)


def _blurred(plane: Float32, sigma: float) -> Float32:
    """A map (h, w) under a Gaussian of 3 sigma reach, nothing outside."""
    side = 2 * math.ceil(3 * sigma) + 1
    return np.asarray(cv2.GaussianBlur(plane, (side, side), sigma, borderType=cv2.BORDER_CONSTANT))


def simcc(outputs: Outputs, spec: SimCC, num_joints: int) -> tuple[Float32, Float32]:
    """Most likely bin along x and along y; the score is the lower of the two (SimCC, Li et al. 2022)."""
    if len(outputs) < 2 or any(o.ndim != 3 or o.shape[1] != num_joints for o in outputs[:2]):
        raise ExpertError(
            f"expected SimCC outputs (P, {num_joints}, bins) along x and y, got {[o.shape for o in outputs]}"
        )
    along_x, along_y = outputs[0], outputs[1]
    points = np.stack([along_x.argmax(axis=2), along_y.argmax(axis=2)], axis=-1) / spec.split_ratio
    raw = np.minimum(along_x.max(axis=2), along_y.max(axis=2))
    return points.astype(np.float32), raw.astype(np.float32)


def coordinates(outputs: Outputs, spec: Coordinates, net: Input, num_joints: int) -> tuple[Float32, Float32]:
    """Joints as fractions of the input, with a score each."""
    crops = len(outputs[0])
    if outputs[0].size != crops * num_joints * 3:
        raise ExpertError(f"expected {num_joints} joints of 3 numbers per crop, got {outputs[0].shape}")
    rows = outputs[0].reshape(crops, num_joints, 3)
    xy = rows[:, :, [1, 0]] if spec.order == "yxs" else rows[:, :, :2]
    points = xy * np.asarray([net.width, net.height], np.float32)
    return points.astype(np.float32), rows[:, :, 2].astype(np.float32)


def channels_first(maps: npt.NDArray[Any], layout: str, at_least: int) -> npt.NDArray[Any]:
    """Maps as (B, channels, h, w), checked for the number of channels."""
    if maps.ndim != 4:
        raise ExpertError(f"expected maps of 4 dimensions ({layout}), got {maps.shape}")
    if layout == "NHWC":
        maps = np.ascontiguousarray(maps.transpose(0, 3, 1, 2))
    if maps.shape[1] < at_least:
        raise ExpertError(f"expected at least {at_least} maps, got {maps.shape[1]}; is the layout {layout}?")
    return maps[:, :at_least] if at_least < maps.shape[1] else maps


def one_stage(
    outputs: Outputs, spec: OneStage, num_joints: int
) -> list[tuple[Float32, Float32, Float32, Float32]]:
    """People of each picture, from networks that give boxes and joints at once.

    Returns:
        For each picture: boxes (P, 4), box scores (P,), keypoints (P, K, 2) in input pixels and raw
        joint scores (P, K), best first, duplicates suppressed.
    """
    if (
        len(outputs) < 2
        or outputs[0].shape[2:] != (5,)
        or outputs[1].shape != (*outputs[0].shape[:2], num_joints, 3)
    ):
        raise ExpertError(
            f"expected boxes (B, N, 5) and joints (B, N, {num_joints}, 3), got {[o.shape for o in outputs]}"
        )
    people = []
    for rows, joints in zip(outputs[0], outputs[1], strict=True):
        keep = np.flatnonzero(rows[:, 4] >= spec.min_score)
        keep = keep[np.argsort(-rows[keep, 4], kind="stable")]
        keep = keep[nms(rows[keep, :4].astype(np.float32), spec.nms_iou)]
        box, found = rows[keep].astype(np.float32), joints[keep].astype(np.float32)
        people.append((box[:, :4], box[:, 4], found[:, :, :2], found[:, :, 2]))
    return people
