"""LCR-Net++ on frames."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skelkit.experts.batches import Batches
from skelkit.experts.device_frames import on_device
from skelkit.experts.lcrnet.anchors import pose_boxes
from skelkit.experts.lcrnet.integration import integrate
from skelkit.experts.lcrnet.network import Candidates, LCRNet
from skelkit.protocols import ExpertKind
from skelkit.structures import Detections, Float32, FrameBatch, Poses, Skeleton

_MIN_CANDIDATE = 0.05
"""Anchor poses less probable than this take no part."""
_MIN_PERSON = 0.3
"""People less sure than this are left out."""


class LCRNetExpert:
    """A pose expert.

    Args:
        name: Its name in results.
        network: Trained.
        skeleton: Of the network's poses.
        side: Pixels of the longer side of the pictures it was trained on; not used where the network is a
            public one, which has sides of its own.
        device: Where it runs.
        pool: What has several runs in flight.
        batch_size: Frames per run.
        min_score: People less sure than this are left out.
    """

    kind: ExpertKind = "one-stage"

    def __init__(
        self,
        name: str,
        network: LCRNet,
        skeleton: Skeleton,
        *,
        side: int,
        device: torch.device,
        pool: Executor | None = None,
        batch_size: int,
        min_score: float = _MIN_PERSON,
    ) -> None:
        self.name = name
        self.skeleton = skeleton
        self.side = side
        self.device = device
        self.min_score = min_score
        network = network.to(device).to(memory_format=torch.channels_last)
        self._network = network.eval().requires_grad_(False)
        self.batches = Batches(name, batch_size, pool)

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        """Poses of all frames; person boxes are not needed. A joint's score is its person's."""
        height, width = frames.images.shape[1:3]
        c4 = self._network.c4
        scale = c4.scale(height, width) if c4 else self.side / max(height, width)

        def work(part: slice) -> list[Candidates]:
            with torch.inference_mode():
                pictures = on_device(frames.images, self.device)[part]
                found: list[Candidates] = self._network(c4.fit(pictures) if c4 else fit(pictures, self.side))
                return found

        people_of = [self.read(c, scale) for batch in self.batches.map(len(frames), work) for c in batch]
        poses = np.concatenate(
            [np.empty((0, self.skeleton.num_joints, 2), np.float32), *(p for p, _ in people_of)]
        )
        scores = np.concatenate([np.empty(0, np.float32), *(s for _, s in people_of)])
        return Poses(
            skeleton=self.skeleton,
            frame_indices=np.repeat(frames.indices, [len(s) for _, s in people_of]),
            boxes_xyxy=pose_boxes(poses),
            box_scores=scores,
            keypoints=poses,
            scores=np.repeat(scores[:, None], self.skeleton.num_joints, axis=1),
        )

    def read(self, candidates: Candidates, scale: float) -> tuple[Float32, Float32]:
        """People of one picture, (P, K, 2) px and (P,), of a picture enlarged by `scale`."""
        likely = candidates.probabilities[:, 1:] >= _MIN_CANDIDATE
        region, anchor = torch.nonzero(likely, as_tuple=True)
        poses, scores = integrate(
            (candidates.poses[region, anchor] / scale).cpu().numpy(),
            candidates.probabilities[region, anchor + 1].cpu().numpy(),
            region.cpu().numpy(),
        )
        sure = scores >= self.min_score
        return poses[sure], scores[sure]


def fit(pictures: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) uint8 -> float32 with `side` as longer side, padded to a square with grey."""
    height, width = pictures.shape[2:]
    scale = side / max(height, width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = functional.interpolate(pictures.float(), inner, mode="bilinear", antialias=scale < 1)
    return functional.pad(small, (0, side - inner[1], 0, side - inner[0]), value=127.5)
