"""Detectors and pose experts that are described by a card and run in ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelkit.errors import ConfigError
from skelkit.experts.cards import (
    AffinityFields,
    Calibration,
    Card,
    Coordinates,
    EndToEndBoxes,
    Heatmaps,
    Input,
    OneStage,
    SimCC,
    YoloBoxes,
    load_card,
)
from skelkit.experts.chunks import ChunkedNetwork
from skelkit.experts.decode_boxes import Outputs, decode_boxes
from skelkit.experts.decode_fields import decode_fields
from skelkit.experts.decode_joints import decode_joints, one_stage
from skelkit.experts.engine import Device, Engine
from skelkit.experts.preprocess import (
    crop_frames,
    crops,
    from_whole_frame,
    to_tensor,
    whole_frame_size,
    whole_frames,
)
from skelkit.experts.weights import ensure_weights
from skelkit.geometry import extents
from skelkit.protocols import Detector, ExpertKind, PoseExpert
from skelkit.structures import Detections, Float32, FrameBatch, Poses, Skeleton

_CPU_FRAMES, _CPU_CROPS = 1, 4
"""Items per run on the CPU: a whole frame fills the caches by itself; four crops are 7 % faster than one."""


def describe(name: str, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What shapes this network's results: its card and the sha256 of its weights, ready for JSON."""
    card = load_card(name)
    text = card.model_dump_json()
    return {
        "name": card.name,
        "kind": card.kind,
        "weights_sha256": ensure_weights(card, weights).sha256,
        "card_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def build(
    name: str, weights: str | os.PathLike[str] | None, device: Device, batch_size: int
) -> Detector | PoseExpert:
    """The network of this card, loaded and ready.

    Args:
        name: A card's name or path.
        weights: Where to look for its file first.
        device: Where it runs.
        batch_size: Items per run on a GPU.
    """
    card = load_card(name)
    on_cpu = _CPU_CROPS if card.kind == "top-down" else _CPU_FRAMES
    path = ensure_weights(card, weights).path
    engine = Engine(path, device, chunk=on_cpu if device.kind == "cpu" else batch_size)
    match card.kind:
        case "detector":
            return OnnxDetector(card, engine)
        case "top-down":
            return TopDownExpert(card, engine)
        case _:
            return WholeFrameExpert(card, engine)


def calibrate(points: Float32, raw: Float32, calibration: Calibration) -> tuple[Float32, Float32]:
    """Joints that were not found become NaN; raw scores become comparable ones in [0, 1].

    Args:
        points: (..., 2) pixels.
        raw: (...) raw scores.
        calibration: The card's curve.
    """
    found = (raw > calibration.not_found_below) & np.isfinite(points).all(axis=-1) & np.isfinite(raw)
    scores = np.interp(raw, calibration.raw, calibration.score)
    return (
        np.where(found[..., None], points, np.nan).astype(np.float32),
        np.where(found, scores, 0).astype(np.float32),
    )


class OnnxDetector:
    """Person boxes by a YOLO-style network."""

    def __init__(self, card: Card, engine: ChunkedNetwork) -> None:
        self.card = card
        self.engine = engine

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    def detect(self, frames: FrameBatch) -> Detections:
        """Person boxes of all frames, cut off at the picture's edges."""
        spec = self.card.decoder
        if not isinstance(spec, YoloBoxes | EndToEndBoxes):  # the card's validation allows no other
            raise ConfigError(f"{self.name} is not a detector")
        height, width = frames.images.shape[1:3]
        scale = whole_frame_size(self.card.input, height, width)[1]

        def finish(_: slice, outputs: Outputs) -> list[tuple[Float32, Float32]]:
            return decode_boxes(outputs, spec, self.card.input)

        chunks = self.engine.map(len(frames), lambda part: _frames_tensor(self, frames, part), finish)
        per_frame = [found for chunk in chunks for found in chunk]
        count = [len(scores) for _, scores in per_frame]
        boxes = np.concatenate([np.empty((0, 4), np.float32), *(b for b, _ in per_frame)])
        return Detections(
            frame_indices=np.repeat(frames.indices, count),
            boxes_xyxy=_frame_boxes(boxes, scale, (height, width)),
            box_scores=np.concatenate([np.empty(0, np.float32), *(s for _, s in per_frame)]),
        )


class TopDownExpert:
    """Poses in person crops, batched across frames."""

    kind: ExpertKind = "top-down"

    def __init__(self, card: Card, engine: ChunkedNetwork) -> None:
        self.card = card
        self.engine = engine

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def skeleton(self) -> Skeleton:
        """The card's joint set."""
        return self.card.skeleton

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        """One pose per person box.

        Raises:
            ConfigError: no boxes were given, or boxes in frames that were not.
        """
        if people is None:
            raise ConfigError(f"{self.name} is a top-down expert: expected person boxes from a detector")
        if not np.isin(people.frame_indices, frames.indices).all():
            raise ConfigError(
                f"expected boxes in the frames {frames.indices.tolist()}, got boxes in the frames "
                f"{np.unique(people.frame_indices).tolist()}"
            )
        spec, net = self.card.decoder, self.card.input
        if not isinstance(spec, Heatmaps | SimCC | Coordinates):  # the card's validation allows no other
            raise ConfigError(f"{self.name} is not a top-down expert")
        rows = np.searchsorted(frames.indices, people.frame_indices)
        views = crop_frames(people.boxes_xyxy, net)

        def prepare(part: slice) -> Any:
            if self.engine.takes_tensors:
                return crops_tensor(self.engine, frames, rows[part], views[part], net)
            return to_tensor(crops(frames.images, rows[part], views[part], net), net)

        def finish(part: slice, outputs: Outputs) -> tuple[Float32, Float32]:
            points, raw = decode_joints(outputs, spec, net, self.skeleton.num_joints)
            view = views[part, None]
            return calibrate(points * view[..., 2:] + view[..., :2], raw, self.card.calibration)

        done = self.engine.map(len(people), prepare, finish)
        k = self.skeleton.num_joints
        return Poses(
            skeleton=self.skeleton,
            frame_indices=people.frame_indices,
            boxes_xyxy=people.boxes_xyxy,
            box_scores=people.box_scores,
            keypoints=np.concatenate([np.empty((0, k, 2), np.float32), *(p for p, _ in done)]),
            scores=np.concatenate([np.empty((0, k), np.float32), *(s for _, s in done)]),
        )


class WholeFrameExpert:
    """Poses of everybody in the picture at once: bottom-up (affinity fields) or one-stage."""

    def __init__(self, card: Card, engine: ChunkedNetwork) -> None:
        self.card = card
        self.engine = engine

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def kind(self) -> ExpertKind:
        """``bottom-up`` or ``one-stage``."""
        return "bottom-up" if self.card.kind == "bottom-up" else "one-stage"

    @property
    def skeleton(self) -> Skeleton:
        """The card's joint set."""
        return self.card.skeleton

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        """Poses of all frames, each with at least one joint; person boxes are not needed."""
        size = frames.images.shape[1:3]
        tensor, scale = whole_frame_size(self.card.input, *size)
        k = self.skeleton.num_joints

        def finish(_: slice, outputs: Outputs) -> list[tuple[Float32, ...]]:
            people: list[tuple[Float32, ...]] = []
            for given, person, points, raw in self._people(outputs, tensor):
                keypoints, scores = calibrate(from_whole_frame(points, scale), raw, self.card.calibration)
                boxes = extents(keypoints) if given is None else _frame_boxes(given, scale, size)
                seen = np.isfinite(keypoints).any(axis=(1, 2))
                people.append((boxes[seen], person[seen], keypoints[seen], scores[seen]))
            return people

        chunks = self.engine.map(len(frames), lambda part: _frames_tensor(self, frames, part), finish)
        per_frame = [found for chunk in chunks for found in chunk]
        none = [np.empty(s, np.float32) for s in ((0, 4), (0,), (0, k, 2), (0, k))]
        boxes, person, keypoints, scores = (np.concatenate(f) for f in zip(none, *per_frame, strict=True))
        return Poses(
            skeleton=self.skeleton,
            frame_indices=np.repeat(frames.indices, [len(f[0]) for f in per_frame]),
            boxes_xyxy=boxes,
            box_scores=np.clip(person, 0, 1),
            keypoints=keypoints,
            scores=scores,
        )

    def _people(
        self, outputs: Outputs, tensor: tuple[int, int]
    ) -> Sequence[tuple[Float32 | None, Float32, Float32, Float32]]:
        """Boxes (None where the network gives none), person scores, joints and their raw scores."""
        spec = self.card.decoder
        if isinstance(spec, AffinityFields):
            return [(None, *found) for found in decode_fields(outputs, spec, tensor, self.skeleton)]
        if isinstance(spec, OneStage):
            return one_stage(outputs, spec, self.skeleton.num_joints)
        raise ConfigError(f"{self.name} is not a whole-frame expert")  # the card's validation allows no other


def _frame_boxes(boxes_xyxy: Float32, scale: Float32, size: tuple[int, int]) -> Float32:
    """(P, 4) boxes in input pixels -> frame pixels, cut off at the picture's edges."""
    limit = np.asarray([size[1] - 1, size[0] - 1], np.float32)
    corners = from_whole_frame(boxes_xyxy.reshape(-1, 2, 2), scale)
    return np.clip(corners, 0, limit).reshape(-1, 4)


def _frames_tensor(network: OnnxDetector | WholeFrameExpert, frames: FrameBatch, part: slice) -> Any:
    spec = network.card.input
    if network.engine.takes_tensors:
        return frames_tensor(network.engine, frames, part, spec)
    return to_tensor(whole_frames(frames.images[part], spec), spec)


def frames_tensor(engine: ChunkedNetwork, frames: FrameBatch, part: slice, spec: Input) -> Any:
    """Whole frames as the network's input, made on the engine's device."""
    from skelkit.experts import device_frames, device_pictures

    there = device_frames.on_device(frames.images, device_frames.torch_device(engine.device))
    return device_pictures.to_tensor(device_pictures.whole_frames(there[part], spec), spec)


def crops_tensor(engine: ChunkedNetwork, frames: FrameBatch, rows: Any, views: Float32, spec: Input) -> Any:
    """People as the network's input, made on the engine's device."""
    import torch

    from skelkit.experts import device_frames, device_pictures

    there = device_frames.on_device(frames.images, device_frames.torch_device(engine.device))
    which = torch.from_numpy(rows).to(there.device)
    return device_pictures.to_tensor(device_pictures.crops(there, which, views, spec), spec)
