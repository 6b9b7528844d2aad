"""The family ``mmpose``: pose networks of MMPose, batched.

A network's own head predicts, as in MMPose; but it sees people of many frames at once, and what it would
decode person by person is decoded in batch (`decoding`).
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skelkit.errors import ConfigError, ExpertError
from skelkit.experts.batches import Batches
from skelkit.experts.device_frames import runners, torch_device
from skelkit.experts.engine import Device
from skelkit.experts.openmmlab import networks
from skelkit.experts.openmmlab.decoding import decoder_of
from skelkit.experts.openmmlab.joints import skeleton_of
from skelkit.experts.openmmlab.naming import parse
from skelkit.experts.openmmlab.networks import Plan, Weights
from skelkit.experts.openmmlab.pictures import Crops, Frames, Laid, Normalise, Whole
from skelkit.experts.weights import Progress, WeightsFile
from skelkit.geometry import extents
from skelkit.protocols import ExpertKind, PoseExpert
from skelkit.structures import Detections, Float32, FrameBatch, Poses, Skeleton

_CPU_FRAMES, _CPU_CROPS = 1, 8
"""Items per run on the CPU, where larger batches only fill the caches."""
_ONE_BY_ONE = {"CIDHead"}
"""Heads that predict for one frame only; the rest of the network still sees batches."""
_WANTS_LIST = {"AssociativeEmbeddingHead"}
"""Heads that take features as a list unless they test flipped pictures, too."""
_ONE_SAMPLE = {"DEKRHead"}
"""Heads that predict for many frames, but want to be told of one."""


def describe(name: str, weights: Weights) -> dict[str, Any]:
    """What shapes this network's results: its config, weights and options, ready for JSON."""
    plan = networks.plan("mmpose", parse(name))
    return plan.describe(_kind(plan), weights)


def build(name: str, weights: Weights, device: Device, batch_size: int) -> PoseExpert:
    """A pose network, loaded and ready.

    Args:
        name: See `naming`.
        weights: Where to look for its weights first.
        device: Where it runs.
        batch_size: Items per run on a GPU.
    """
    plan = networks.plan("mmpose", parse(name))
    kind = _kind(plan)
    kind_of = CropsExpert if kind == "top-down" else FramesExpert
    on_cpu = _CPU_CROPS if kind == "top-down" else _CPU_FRAMES
    return kind_of(plan, kind, weights, device, on_cpu if device.kind == "cpu" else batch_size)


def catalogue(weights: Weights) -> list[dict[str, Any]]:
    """The models of the installed index whose weights are here, as `skelkit experts list` shows them."""
    return networks.catalogue("mmpose", weights)


def fetch(name: str, progress: Progress | None = None) -> WeightsFile:
    """Download a model's weights into the cache, unless they are on this machine already."""
    return networks.fetch("mmpose", name, progress)


def _kind(plan: Plan) -> ExpertKind:
    """What a config's network is.

    Raises:
        ConfigError: none that finds poses in pictures.
    """
    model = plan.config.model
    estimator, head = _class(model.get("type")), _class(model.get("head", {}).get("type"))
    if estimator == "TopdownPoseEstimator":
        return "top-down"
    if estimator == "BottomupPoseEstimator":
        return "one-stage" if head in {"RTMOHead", "YOLOXPoseHead"} else "bottom-up"
    raise ConfigError(
        f"{plan.package}:{plan.request.text}: expected a network for pictures (TopdownPoseEstimator or "
        f"BottomupPoseEstimator), its config has {estimator}"
    )


class _Expert:
    """What both kinds share: the network, its joints, and how it is run."""

    def __init__(self, plan: Plan, kind: ExpertKind, weights: Weights, device: Device, chunk: int) -> None:
        self.kind: ExpertKind = kind
        self.name = plan.name
        self.batches = Batches(plan.name, chunk, runners(device))
        self.device = torch_device(device)
        self.model, meta = networks.build(plan, weights, device)
        self.meta = _dataset_meta(plan, meta.get("dataset_meta"))
        self.skeleton: Skeleton = skeleton_of(self.meta)
        self.sigmas: Float32 = np.asarray(self.meta["sigmas"], np.float32)
        """(K,) how far people place each joint apart, per square root of area (COCO's OKS)."""
        self.flip = plan.request.flip
        self.normalise = Normalise.of(plan.config.model.get("data_preprocessor") or {})
        self.pipeline = plan.config.test_dataloader.dataset.pipeline
        test = dict(plan.config.model.get("test_cfg") or {})
        self.test_cfg = test | {"flip_test": self.flip, "output_heatmaps": False, "multiscale_test": False}
        packed = self.pipeline[-1].get("meta_keys", ())  # DEKR's scores depend on the skeleton's links
        self._known = {key: self.meta[key] for key in packed if key in self.meta}
        self._known["flip_indices"] = [int(i) for i in self.meta["flip_indices"]]

    def _features(self, inputs: Tensor) -> Any:
        features = self.model.extract_feat(inputs)
        return [features, self.model.extract_feat(inputs.flip(-1))] if self.flip else features

    def _sample(self, size: tuple[int, int]) -> Any:
        """What MMPose's heads want to know of an input of this (w, h)."""
        from mmpose.structures import PoseDataSample

        return PoseDataSample(metainfo=self._known | {"input_size": size, "img_shape": size[::-1]})


class CropsExpert(_Expert):
    """Poses in person crops, batched across frames: heatmap, SimCC and regression heads."""

    def __init__(self, plan: Plan, kind: ExpertKind, weights: Weights, device: Device, chunk: int) -> None:
        super().__init__(plan, kind, weights, device, chunk)
        self.crops = Crops.of(self.pipeline)
        head: Any = self.model.head
        decode = None if hasattr(head, "pose_head") else decoder_of(head.decoder)
        if decode is not None:
            head.decode = lambda outputs: decode(*outputs) if isinstance(outputs, tuple) else decode(outputs)
        chosen = self.test_cfg.get("output_keypoint_indices")
        self._chosen = None if chosen is None else list(chosen)

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
        rows = np.searchsorted(frames.indices, people.frame_indices)
        centre, size = self.crops.views(people.boxes_xyxy)
        k = self.skeleton.num_joints
        points, raw = torch.empty(0, k, 2), torch.empty(0, k)
        if len(people):
            there = Frames(frames.images, self.device)

            @torch.inference_mode()
            def work(part: slice) -> tuple[Tensor, Tensor]:
                return self._run(self.normalise(self.crops.cut(there, rows[part], centre[part], size[part])))

            done = self.batches.map(len(people), work)
            points, raw = (torch.cat(found).float().cpu() for found in zip(*done, strict=True))
        spec = (self.crops.width, self.crops.height)
        keypoints, scores = _kept(
            points.numpy() / spec * size[:, None] + (centre - 0.5 * size)[:, None], raw.numpy()
        )
        return Poses(
            skeleton=self.skeleton,
            frame_indices=people.frame_indices,
            boxes_xyxy=people.boxes_xyxy,
            box_scores=people.box_scores,
            keypoints=keypoints,
            scores=scores,
        )

    def _run(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(P, K, 2) joints in input pixels and (P, K) scores."""
        size = (self.crops.width, self.crops.height)
        found = self.model.head.predict(self._features(inputs), [self._sample(size)], self.test_cfg)
        if isinstance(found, tuple):
            points, scores = found
        else:  # decoded by MMPose, person by person
            points = torch.as_tensor(np.concatenate([f.keypoints for f in found])[..., :2])
            scores = torch.as_tensor(np.concatenate([f.keypoint_scores for f in found]))
        return (
            (points, scores) if self._chosen is None else (points[:, self._chosen], scores[:, self._chosen])
        )


class FramesExpert(_Expert):
    """Poses of everybody in the picture: associative embedding, DEKR, CID, RTMO, YOLOXPose."""

    def __init__(self, plan: Plan, kind: ExpertKind, weights: Weights, device: Device, chunk: int) -> None:
        super().__init__(plan, kind, weights, device, chunk)
        self.whole = Whole.of(self.pipeline)
        self._head_type = type(self.model.head).__name__

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        """Poses of all frames, each with at least one joint; person boxes are not needed."""
        k = self.skeleton.num_joints

        @torch.inference_mode()
        def work(part: slice) -> list[tuple[Float32, Float32, Float32, Float32]]:
            return self._run(self.whole.lay(Frames(frames.images, self.device, part)))

        found = [person for some in self.batches.map(len(frames), work) for person in some]
        none = [np.empty(s, np.float32) for s in ((0, 4), (0,), (0, k, 2), (0, k))]
        boxes, person, keypoints, scores = (np.concatenate(f) for f in zip(none, *found, strict=True))
        return Poses(
            skeleton=self.skeleton,
            frame_indices=np.repeat(frames.indices, [len(f[0]) for f in found]),
            boxes_xyxy=boxes,
            box_scores=person,
            keypoints=keypoints,
            scores=scores,
        )

    def _run(self, laid: Laid) -> list[tuple[Float32, Float32, Float32, Float32]]:
        """For each frame boxes, person scores, joints and their scores."""
        inputs = self.normalise(laid.pictures)
        features = self._features(inputs)
        if self._head_type in _WANTS_LIST and not self.flip:
            features = list(features)
        samples = [self._sample(laid.size) for _ in range(len(inputs))]
        head: Any = self.model.head
        if self._head_type in _ONE_BY_ONE:
            results = [
                head.predict(
                    networks.of_each(features, itemgetter(slice(n, n + 1))), [sample], self.test_cfg
                )[0]
                for n, sample in enumerate(samples)
            ]
        else:
            several = samples[:1] if self._head_type in _ONE_SAMPLE else samples
            results = head.predict(features, several, self.test_cfg)
        return [self._people(result, laid) for result in results]

    def _people(self, result: Any, laid: Laid) -> tuple[Float32, Float32, Float32, Float32]:
        def in_frame(points: Any) -> Any:
            return np.asarray(points) / laid.size * laid.scale + laid.centre - 0.5 * laid.scale

        raw = np.asarray(result.keypoint_scores, np.float32)
        keypoints, scores = _kept(in_frame(result.keypoints), raw)
        if "bboxes" in result:
            boxes = in_frame(np.asarray(result.bboxes).reshape(-1, 2, 2)).reshape(-1, 4).astype(np.float32)
        else:
            boxes = extents(keypoints)
        person = np.asarray(
            result.bbox_scores if "bbox_scores" in result else scores.mean(axis=1), np.float32
        )
        seen = np.isfinite(keypoints).any(axis=(1, 2))
        return boxes[seen], np.clip(person.reshape(-1)[seen], 0, 1), keypoints[seen], scores[seen]


def _kept(points: Any, raw: Float32) -> tuple[Float32, Float32]:
    """Joints that were not found (score 0 or less) become NaN; scores end at 1."""
    found = (raw > 0) & np.isfinite(points).all(axis=-1)
    return (
        np.where(found[..., None], points, np.nan).astype(np.float32),
        np.where(found, np.minimum(raw, 1), 0).astype(np.float32),
    )


def _dataset_meta(plan: Plan, from_checkpoint: Any) -> Mapping[str, Any]:
    """Joint names and what belongs to them: as the checkpoint says, else the config's data sets.

    Raises:
        ExpertError: nobody says.
    """
    if isinstance(from_checkpoint, Mapping) and "keypoint_id2name" in from_checkpoint:
        return from_checkpoint
    from mmengine.registry import DefaultScope
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    from mmpose.registry import DATASETS

    chosen = (plan.config.model.get("test_cfg") or {}).get("output_keypoint_indices")
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    for loader in reversed(loaders) if chosen else loaders:
        dataset = plan.config.get(loader, {}).get("dataset", {})
        with DefaultScope.overwrite_default_scope("mmpose"):
            kind = DATASETS.get(_class(dataset.get("type")))
        given = dataset.get("metainfo") or getattr(kind, "METAINFO", None)
        if given:
            meta: Mapping[str, Any] = parse_pose_metainfo(given)
            return meta
    raise ExpertError(
        f"{plan.name}: expected a data set with `metainfo` in the config, which names its joints; found none"
    )


def _class(name: Any) -> str:
    """A type in a config: its name, however it is written."""
    return str(getattr(name, "__name__", name)).rpartition(".")[2]
