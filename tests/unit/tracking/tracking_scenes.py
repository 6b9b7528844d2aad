"""Synthetic people who walk, cross, hide and are missed: scenes for the tracking tests."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skelkit.geometry import extents
from skelkit.skeletons import COCO17, remap
from skelkit.structures import Poses, Skeleton, VideoInfo

# A standing person of height 1, hips at the origin, y downwards, in the order of COCO17.
BODY = np.array(
    [
        (0.0, -0.42), (0.02, -0.44), (-0.02, -0.44), (0.04, -0.42), (-0.04, -0.42),
        (0.11, -0.3), (-0.11, -0.3), (0.14, -0.14), (-0.14, -0.14), (0.14, 0.02), (-0.14, 0.02),
        (0.07, 0.0), (-0.07, 0.0), (0.07, 0.24), (-0.07, 0.24), (0.07, 0.47), (-0.07, 0.47),
    ]
)  # fmt: skip
SWING = np.zeros((17, 2))
SWING[[7, 8, 9, 10, 13, 14, 15, 16], 0] = [0.04, -0.04, 0.1, -0.1, -0.06, 0.06, -0.12, 0.12]
INFO = VideoInfo(
    path="scene.mp4", num_frames=-1, num_frames_from_header=None, fps=25.0, width=1280, height=720,
    duration_s=0.0, rotation=0, codec="none",
)  # fmt: skip


def walker(
    pts_s: np.ndarray, x: float, speed: float, *, y: float = 400, height: float = 220, phase: float = 0
) -> np.ndarray:
    """(T, 17, 2) of somebody who walks along x; speed in pixels per second."""
    stride = np.sin(2 * np.pi * 0.9 * pts_s + phase)[:, None, None]
    place = np.stack([x + speed * pts_s, np.full_like(pts_s, y)], axis=1)[:, None]
    return place + height * (BODY + stride * SWING)


@dataclass
class Scene:
    """Detections of true people (M, T, 17, 2), frame by frame."""

    pts_s: np.ndarray
    people: np.ndarray

    def observe(
        self,
        *,
        seen: np.ndarray | None = None,
        scores: np.ndarray | None = None,
        noise: float = 2.0,
        seed: int = 0,
        skeleton: Skeleton = COCO17,
        batch: int = 16,
        shuffle: int | None = None,
    ) -> list[Poses]:
        """Poses in batches. seen, scores: (M, T)."""
        m, t = self.people.shape[:2]
        rng = np.random.default_rng(seed)
        points = (self.people + rng.normal(0, noise, self.people.shape)).astype(np.float32)
        points, _ = remap(points, np.ones(points.shape[:-1], np.float32), COCO17, skeleton)
        seen = np.ones((m, t), bool) if seen is None else seen
        scores = np.full((m, t), 0.9) if scores is None else scores
        step, who = np.nonzero(seen.T)
        if shuffle is not None:
            order = np.lexsort((np.random.default_rng(shuffle).random(len(step)), step))
            step, who = step[order], who[order]
        edges = np.searchsorted(step, np.arange(0, t + batch, batch))
        return [
            Poses(
                skeleton=skeleton,
                frame_indices=step[a:b].astype(np.int64),
                boxes_xyxy=extents(points[who[a:b], step[a:b]]),
                box_scores=scores[who[a:b], step[a:b]].astype(np.float32),
                keypoints=points[who[a:b], step[a:b]],
                scores=np.tile(np.float32(1 - who[a:b, None] / 1000), (1, skeleton.num_joints)),
            )
            for a, b in pairwise(edges)
        ]


def identities(poses: list[Poses], people: int, found: np.ndarray) -> np.ndarray:
    """(M, T) which found person (M', T, K, C) took the true person's pose; -1 = none or not seen."""
    result = np.full((people, found.shape[1]), -1)
    for batch in poses:
        same = (found[:, batch.frame_indices] == batch.keypoints).all(axis=(2, 3))  # (M', P)
        result[true_people(batch), batch.frame_indices] = np.where(same.any(axis=0), same.argmax(axis=0), -1)
    return result


def true_people(batch: Poses) -> np.ndarray:
    """(P,) who each pose of a scene is: written into the last digits of its first joint's score."""
    return np.round((1 - batch.scores[:, 0]) * 1000).astype(int)


def switches(poses: list[Poses], people: int, found: np.ndarray) -> int:
    """How often a true person's identity changes."""
    return sum(count_switches(row) for row in identities(poses, people, found))


def count_switches(row: np.ndarray) -> int:
    row = row[row >= 0]
    return int((np.diff(row) != 0).sum())


def hide_behind(people: np.ndarray, overlap: float = 0.4) -> np.ndarray:
    """(M, T) visible: of two people who overlap, the later one in the list is hidden."""
    from skelkit.geometry import paired_iou

    boxes = extents(people.astype(np.float32))
    seen = np.ones(people.shape[:2], bool)
    for back in range(len(people)):
        for front in range(back):
            seen[back] &= paired_iou(boxes[front], boxes[back]) < overlap
    return seen


def crossing(
    rng: np.random.Generator, *, seconds: float = 6.0, fps: float = 25.0, number: int = 4
) -> tuple[Scene, np.ndarray]:
    """People who walk towards each other, the ones behind hidden while they pass; with random misses."""
    pts = np.arange(int(seconds * fps)) / fps
    people = []
    for k in range(number):
        way = 1 if k % 2 else -1
        speed = way * rng.uniform(60, 260)
        people.append(
            walker(
                pts,
                640 - speed * seconds / 2 + rng.uniform(-150, 150),
                speed,
                y=400 + rng.uniform(-25, 25),
                height=rng.uniform(190, 250),
                phase=rng.uniform(0, 6),
            )
        )
    scene = Scene(pts, np.stack(people))
    return scene, hide_behind(scene.people) & (rng.random((number, len(pts))) > 0.05)


def greedy_iou_tracker(poses: list[Poses], t: int, *, least: float = 0.3, patience: int = 25) -> np.ndarray:
    """The naive rival: each track takes the unclaimed box that overlaps its last one most. (M', T, K, C)."""
    from skelkit.geometry import box_iou

    last: dict[int, tuple[int, np.ndarray]] = {}
    rows: list[tuple[int, int, np.ndarray]] = []
    made = 0
    for batch in poses:
        for step in np.unique(batch.frame_indices):
            at = np.flatnonzero(batch.frame_indices == step)
            last = {k: v for k, v in last.items() if step - v[0] <= patience}
            ids = list(last)
            iou = box_iou(np.array([last[k][1] for k in ids]).reshape(-1, 4), batch.boxes_xyxy[at])
            free = set(range(len(at)))
            for flat in np.argsort(-iou, axis=None):
                a, b = np.unravel_index(flat, iou.shape)
                if iou[a, b] >= least and b in free and ids[a] >= 0:
                    rows.append((ids[a], int(step), batch.keypoints[at[b]]))
                    last[ids[a]] = (int(step), batch.boxes_xyxy[at[b]])
                    free.discard(b)
                    ids[a] = -1
            for b in sorted(free):
                rows.append((made, int(step), batch.keypoints[at[b]]))
                last[made] = (int(step), batch.boxes_xyxy[at[b]])
                made += 1
    found = np.full((made, t, *poses[0].keypoints.shape[1:]), np.nan)
    for who, step, points in rows:
        found[who, step] = points
    return found
