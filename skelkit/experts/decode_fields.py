"""Heatmaps and part-affinity fields of whole pictures -> people (OpenPose; Cao et al. 2017, 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from skelkit.experts.cards import AffinityFields
from skelkit.experts.decode_boxes import Outputs
from skelkit.experts.decode_joints import channels_first
from skelkit.structures import Float32, Skeleton

_SAMPLES = 10
"""Points read on each candidate bone."""
_SAMPLES_NEEDED = 7
"""Of these, how many must follow the field."""
_BLUR_CELLS = 0.75
"""Blur of the heatmaps before peaks are sought; suppresses double peaks a cell apart."""


def decode_fields(
    outputs: Outputs, spec: AffinityFields, net_size: tuple[int, int], skeleton: Skeleton
) -> list[tuple[Float32, Float32, Float32]]:
    """People in each picture of the batch.

    Args:
        outputs: The maps of B pictures.
        spec: Channels and thresholds.
        net_size: (h, w) of the network's input.
        skeleton: Joint set of the first K channels.

    Returns:
        For each picture: person scores (P,), the mean of a person's peaks and bones, best first;
        keypoints (P, K, 2) in input pixels, NaN = not found; raw scores (P, K), the height of the peaks.
    """
    channels = max(skeleton.num_joints, *(1 + c for limb in spec.limbs for c in limb.channels))
    maps = channels_first(outputs[0], spec.layout, channels)
    cell = np.asarray([net_size[1] / maps.shape[3], net_size[0] / maps.shape[2]], np.float32)
    people = []
    for picture in maps:
        peaks = find_peaks(picture[: skeleton.num_joints], spec.min_peak)
        bones = match_bones(picture, peaks, spec, skeleton)
        person, keypoints, raw = assemble(peaks, bones, skeleton.num_joints, spec)
        people.append((person, (keypoints + spec.offset) * cell, raw))
    return people


class Peaks:
    """Q peaks of all joints' heatmaps of one picture."""

    __slots__ = ("joint", "score", "xy")

    def __init__(self, joint: npt.NDArray[np.intp], xy: Float32, score: Float32) -> None:
        self.joint = joint  # (Q,) which joint
        self.xy = xy  # (Q, 2) cells, below-cell precision
        self.score = score  # (Q,) height in the unblurred map


def find_peaks(heatmaps: Float32, min_peak: float) -> Peaks:
    """Local maxima of (K, h, w) heatmaps, refined below a cell by a parabola along x and y.

    A peak exceeds the four neighbours before it and is not below the four after it, so that two equal
    cells, as of a joint half-way between them, are one peak.
    """
    smooth = gaussian_filter1d(heatmaps, _BLUR_CELLS, axis=1, mode="constant")
    smooth = gaussian_filter1d(smooth, _BLUR_CELLS, axis=2, mode="constant")
    h, w = smooth.shape[1:]
    padded = np.pad(smooth, ((0, 0), (1, 1), (1, 1)))  # zeros: below any peak

    def moved(dy: int, dx: int) -> Float32:
        return padded[:, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]

    before = np.maximum.reduce([moved(-1, -1), moved(-1, 0), moved(-1, 1), moved(0, -1)])
    after = np.maximum.reduce([moved(0, 1), moved(1, -1), moved(1, 0), moved(1, 1)])
    k, y, x = np.nonzero((smooth > before) & (smooth >= after) & (smooth > min_peak))

    def shift(low: Float32, high: Float32, inside: npt.NDArray[np.bool_]) -> Float32:
        bend = 2 * smooth[k, y, x] - low - high
        fine = np.clip((high - low) / (2 * np.maximum(bend, 1e-9)), -0.5, 0.5)
        return np.where(inside, fine, 0).astype(np.float32)

    fine_x = x + shift(moved(0, -1)[k, y, x], moved(0, 1)[k, y, x], (x > 0) & (x < w - 1))
    fine_y = y + shift(moved(-1, 0)[k, y, x], moved(1, 0)[k, y, x], (y > 0) & (y < h - 1))
    xy = np.stack([fine_x, fine_y], axis=1)
    return Peaks(k, xy.astype(np.float32), heatmaps[k, y, x].astype(np.float32))


def match_bones(
    maps: Float32, peaks: Peaks, spec: AffinityFields, skeleton: Skeleton
) -> list[tuple[int, int, float]]:
    """Bones (peak a, peak b, affinity) such that no peak has two bones of one limb.

    Each limb is a bipartite graph between the peaks of its two joints; the assignment of greatest total
    affinity is found exactly (Hungarian), over the pairs whose field supports the bone.
    """
    of_joint = [np.flatnonzero(peaks.joint == j) for j in range(skeleton.num_joints)]
    bones: list[tuple[int, int, float]] = []
    for limb in spec.limbs:
        a, b = (of_joint[skeleton.index(j)] for j in limb.joints)
        if not len(a) or not len(b):
            continue
        affinity = _affinity(maps[list(limb.channels)], peaks.xy[a], peaks.xy[b], spec.min_affinity)
        rows, columns = linear_sum_assignment(affinity, maximize=True)
        bones += [
            (int(a[i]), int(b[j]), float(affinity[i, j]))
            for i, j in zip(rows, columns, strict=True)
            if affinity[i, j] > 0
        ]
    return bones


def _affinity(field: Float32, start: Float32, end: Float32, min_affinity: float) -> Float32:
    """(A, B) mean of the field along each candidate bone, 0 where the field does not support it."""
    bone = end[None] - start[:, None]  # (A, B, 2)
    length = np.linalg.norm(bone, axis=-1)
    direction = bone / np.maximum(length, 1e-6)[..., None]
    steps = np.linspace(0, 1, _SAMPLES, dtype=np.float32)
    points = start[:, None, None] + bone[:, :, None] * steps[:, None]  # (A, B, S, 2)
    along = np.einsum("cabs,abc->abs", _bilinear(field, points), direction)
    follows = along > min_affinity
    count = follows.sum(axis=-1)
    mean = np.where(follows, along, 0).sum(axis=-1) / np.maximum(count, 1)
    # longer than half the picture's height is hardly a bone: pull such pairs down
    penalty = np.minimum(0.5 * field.shape[1] / np.maximum(length, 1e-6) - 1, 0)
    return np.where((count >= _SAMPLES_NEEDED) & (length > 1e-3), np.maximum(mean + penalty, 0), 0)


def _bilinear(field: Float32, points: Float32) -> Any:
    """(C, h, w) maps read at (..., 2) positions: (C, ...)."""
    h, w = field.shape[1:]
    x = np.clip(points[..., 0], 0, w - 1)
    y = np.clip(points[..., 1], 0, h - 1)
    x0 = np.minimum(x.astype(np.intp), max(w - 2, 0))
    y0 = np.minimum(y.astype(np.intp), max(h - 2, 0))
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    fx, fy = x - x0, y - y0
    upper = field[:, y0, x0] * (1 - fx) + field[:, y0, x1] * fx
    lower = field[:, y1, x0] * (1 - fx) + field[:, y1, x1] * fx
    return upper * (1 - fy) + lower * fy


def assemble(
    peaks: Peaks, bones: list[tuple[int, int, float]], num_joints: int, spec: AffinityFields
) -> tuple[Float32, Float32, Float32]:
    """Peaks joined by bones into people, the surest bones first.

    A bone that would give a person two of the same joint is left out, so one wrong bone cannot weld two
    people together once their surer bones stand.
    """
    owner = list(range(len(peaks.joint)))
    members = {q: {int(peaks.joint[q]): q} for q in owner}  # person -> {joint: peak}
    strength: dict[int, list[float]] = {q: [] for q in owner}

    for a, b, affinity in sorted(bones, key=lambda bone: -bone[2]):
        one, two = owner[a], owner[b]
        if one != two:
            if members[one].keys() & members[two].keys():
                continue
            for q in members[two].values():
                owner[q] = one
            members[one] |= members.pop(two)
            strength[one] += strength.pop(two)
        strength[one].append(affinity)

    keypoints, raw, person = [], [], []
    for who, joints in members.items():
        found = list(joints.values())
        total = float(peaks.score[found].sum()) + sum(strength[who])
        mean = total / len(found)
        if len(found) < spec.min_joints or mean < spec.min_person:
            continue
        points = np.full((num_joints, 2), np.nan, np.float32)
        heights = np.zeros(num_joints, np.float32)
        points[list(joints)] = peaks.xy[found]
        heights[list(joints)] = peaks.score[found]
        keypoints.append(points)
        raw.append(heights)
        person.append(total / (len(found) + len(strength[who])))
    order = np.argsort(-np.asarray(person), kind="stable")
    return (
        np.asarray(person, np.float32)[order],
        np.asarray(keypoints, np.float32).reshape(-1, num_joints, 2)[order],
        np.asarray(raw, np.float32).reshape(-1, num_joints)[order],
    )
