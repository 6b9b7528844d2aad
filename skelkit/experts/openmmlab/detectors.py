"""The family ``mmdet``: person detectors of MMDetection, batched."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skelkit.errors import ConfigError
from skelkit.experts.batches import Batches
from skelkit.experts.device_frames import runners, torch_device
from skelkit.experts.engine import Device
from skelkit.experts.openmmlab import networks
from skelkit.experts.openmmlab.naming import parse
from skelkit.experts.openmmlab.networks import Plan, Weights
from skelkit.experts.openmmlab.pictures import Frames, Normalise, Resized
from skelkit.experts.weights import Progress, WeightsFile
from skelkit.protocols import Detector
from skelkit.structures import Detections, Float32, FrameBatch

_CPU_FRAMES = 1
"""Frames per run on the CPU."""
_PERSON = ("person", "pedestrian", "human")
"""Names of the class of people, in the data sets there are."""


def describe(name: str, weights: Weights) -> dict[str, Any]:
    """What shapes this network's results: its config, weights and options, ready for JSON."""
    return _plan(name).describe("detector", weights)


def build(name: str, weights: Weights, device: Device, batch_size: int) -> Detector:
    """A detector, loaded and ready.

    Args:
        name: See `naming`.
        weights: Where to look for its weights first.
        device: Where it runs.
        batch_size: Frames per run on a GPU.
    """
    return MMDetDetector(_plan(name), weights, device, _CPU_FRAMES if device.kind == "cpu" else batch_size)


def catalogue(weights: Weights) -> list[dict[str, Any]]:
    """The models of the installed index whose weights are here, as `skelkit experts list` shows them."""
    return networks.catalogue("mmdet", weights)


def fetch(name: str, progress: Progress | None = None) -> WeightsFile:
    """Download a model's weights into the cache, unless they are on this machine already."""
    return networks.fetch("mmdet", name, progress)


def _plan(name: str) -> Plan:
    request = parse(name)
    if request.flip:
        raise ConfigError(f"mmdet:{name}: @flip is for poses; a detector has no such test")
    return networks.plan("mmdet", request)


class MMDetDetector:
    """Person boxes by any detector of MMDetection."""

    def __init__(self, plan: Plan, weights: Weights, device: Device, chunk: int) -> None:
        self.name = plan.name
        self.batches = Batches(plan.name, chunk, runners(device))
        self.device = torch_device(device)
        self.model, meta = networks.build(plan, weights, device)
        roi_head: Any = getattr(self.model, "roi_head", None)
        if getattr(roi_head, "mask_head", None) is not None:
            roi_head.mask_head = None  # boxes do not depend on masks
        self.normalise = Normalise.of(plan.config.model.get("data_preprocessor") or {})
        self.resized = Resized.of(plan.config.test_dataloader.dataset.pipeline)
        self.person = _person(plan, meta)

    def detect(self, frames: FrameBatch) -> Detections:
        """Person boxes of all frames, as sure as the config's test settings ask for."""

        @torch.inference_mode()
        def work(part: slice) -> list[Float32]:
            return self._run(Frames(frames.images, self.device, part))

        per_frame = [people for some in self.batches.map(len(frames), work) for people in some]
        found = np.concatenate([np.empty((0, 5), np.float32), *per_frame])
        return Detections(
            frame_indices=np.repeat(frames.indices, [len(people) for people in per_frame]),
            boxes_xyxy=found[:, :4],
            box_scores=np.clip(found[:, 4], 0, 1),
        )

    def _run(self, frames: Frames) -> list[Float32]:
        """(P, 5) boxes in frame pixels and scores of the people in each frame."""
        from mmdet.structures import DetDataSample

        pictures, factor = self.resized.lay(frames)
        inputs = self.normalise(pictures)
        shape = tuple(pictures.shape[-2:])
        known = {
            "ori_shape": (frames.height, frames.width),
            "img_shape": shape,
            "scale_factor": factor,
            "pad_shape": tuple(inputs.shape[-2:]),
            "batch_input_shape": tuple(inputs.shape[-2:]),
        }
        samples = [DetDataSample(metainfo=known) for _ in range(len(inputs))]
        results = [s.pred_instances for s in self.model.predict(inputs, samples, rescale=True)]
        # one copy from the device for the whole batch
        rows = [torch.cat([r.bboxes, r.scores[:, None]], dim=1)[r.labels == self.person] for r in results]
        return np.split(torch.cat(rows).float().cpu().numpy(), np.cumsum([len(r) for r in rows])[:-1])


def _person(plan: Plan, meta: Any) -> int:
    """The number of the class of people, as the checkpoint says, else the config's data set.

    Raises:
        ConfigError: the network does not know people.
    """
    from mmdet.registry import DATASETS

    known = {k.lower(): v for k, v in (meta.get("dataset_meta") or meta).items()}
    dataset = plan.config.test_dataloader.dataset
    kind = DATASETS.get(str(getattr(dataset.get("type"), "__name__", dataset.get("type"))))
    classes = (
        known.get("classes")
        or (dataset.get("metainfo") or {}).get("classes")
        or (getattr(kind, "METAINFO", None) or {}).get("classes")
        or ("person",)
    )
    names = [str(c).lower() for c in ([classes] if isinstance(classes, str) else classes)]
    for name in _PERSON:
        if name in names:
            return names.index(name)
    raise ConfigError(
        f"{plan.name}: expected a detector that knows people, its classes are {', '.join(names[:8])} ..."
    )
