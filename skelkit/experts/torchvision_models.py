"""torchvision's detectors and Keypoint R-CNN, with the library's own weights, a batch of frames at a time.

    torchvision:keypointrcnn_resnet50_fpn             with the library's default weights
    torchvision:keypointrcnn_resnet50_fpn@COCO_LEGACY another member of its weights enum
    torchvision:fcos_resnet50_fpn@work/best.pth       a state dict of one's own
    torchvision:fcos_resnet50_fpn@random=0            random weights, to try out the plumbing
    torchvision:fcos_resnet50_fpn@autocast=bfloat16   lower precision of the network's matrix products

Networks, thresholds and numbers are the library's. What is ours: frames are brought to the network as one
tensor, and the keypoints of all people are read off their heatmaps at once.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from skelkit.errors import ConfigError, WeightsError
from skelkit.experts.batches import Batches
from skelkit.experts.cards import Weights
from skelkit.experts.device_frames import on_device, runners, torch_device
from skelkit.experts.engine import Device
from skelkit.experts.heatmap_peaks import roi_peaks
from skelkit.experts.weights import WeightsFile, ensure_weights, find_weights
from skelkit.protocols import Detector, ExpertKind, PoseExpert
from skelkit.registry import unknown
from skelkit.skeletons import get_skeleton
from skelkit.structures import Detections, FrameBatch, Poses, Skeleton

SUMMARIES = {
    "keypointrcnn_resnet50_fpn": "Keypoint R-CNN, ResNet-50 FPN",
    "fasterrcnn_resnet50_fpn": "Faster R-CNN, ResNet-50 FPN",
    "fasterrcnn_resnet50_fpn_v2": "Faster R-CNN, ResNet-50 FPN, better recipe",
    "fasterrcnn_mobilenet_v3_large_fpn": "Faster R-CNN, MobileNetV3 FPN",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "Faster R-CNN, MobileNetV3 FPN, 320 pixels",
    "retinanet_resnet50_fpn": "RetinaNet, ResNet-50 FPN",
    "retinanet_resnet50_fpn_v2": "RetinaNet, ResNet-50 FPN, better recipe",
    "fcos_resnet50_fpn": "FCOS, ResNet-50 FPN",
    "ssdlite320_mobilenet_v3_large": "SSDlite, MobileNetV3, 320 pixels: the smallest",
}
_POSES = "keypointrcnn_resnet50_fpn"
_PERSON = 1
"""Its number among the classes of COCO, in every one of these networks."""
_MIN_PERSON = 0.3
"""Poses of people less sure than this are left out."""
_CPU_FRAMES = 1
"""Frames per run on a CPU: one fills its caches."""
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What stands behind ``torchvision:``, taken apart."""

    model: str
    member: str | None = None
    """Of the model's weights enum; None = its default."""
    file: Path | None = None
    """The user's own state dict."""
    random: int | None = None
    """Seed of random weights."""
    autocast: str | None = None

    @property
    def name(self) -> str:
        """The expert's name: the model's, and whatever sets its results apart."""
        own = self.file.stem if self.file else self.member
        seed = None if self.random is None else f"random{self.random}"
        return ".".join(p for p in (self.model, own, seed, self.autocast) if p)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The library's entry for a weights file, as `skelkit.experts.weights` wants it."""

    name: str
    weights: Weights
    source: str = "torchvision"
    folder: Path | None = None


def describe(name: str, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What shapes this network's results, ready for JSON.

    Raises:
        ConfigError: unknown model or option.
        WeightsError: its weights are not to be had.
    """
    request = parse(name)
    if request.random is not None:
        weights_are, digest = "random", None
    elif request.file is not None:
        weights_are, digest = "given", _digest(request.file)
    else:
        weights_are, digest = _member(request).name, ensure_weights(published(request), weights).sha256
    return {
        "name": request.name,
        "kind": _kind(request.model),
        "model": f"torchvision {request.model}",
        "weights": weights_are,
        "weights_sha256": digest,
        "random_seed": request.random,
        "autocast": request.autocast,
    }


def build(
    name: str, weights: str | os.PathLike[str] | None, device: Device, batch_size: int
) -> Detector | PoseExpert:
    """The network, loaded and ready.

    Args:
        name: What stands behind ``torchvision:``.
        weights: Where to look for its file first.
        device: Where it runs.
        batch_size: Frames per run on a GPU.

    Raises:
        ConfigError: unknown model or option.
        WeightsError: its weights are not to be had, or not of this model.
    """
    request = parse(name)
    where = torch_device(device)
    network = load(request, weights).to(where)
    kind = TorchvisionPoses if request.model == _POSES else TorchvisionDetector
    size = _CPU_FRAMES if where.type == "cpu" else batch_size
    return kind(
        request.name,
        network,
        device=where,
        pool=runners(device),
        batch_size=size,
        autocast=request.autocast,
    )


def catalogue(weights: str | os.PathLike[str] | None) -> list[dict[str, Any]]:
    """Every model with its default weights, as `skelkit experts list` shows it."""
    rows = []
    for model, summary in SUMMARIES.items():
        request = Request(model=model)
        try:
            found = find_weights(published(request), weights)
            where = str(found.path) if found else ""
        except WeightsError as error:
            where = error.message
        rows.append(
            {
                "name": f"torchvision:{model}",
                "kind": _kind(model),
                "joints": "coco17" if model == _POSES else "",
                "verified": False,
                "weights": where,
                "downloadable": True,
                "summary": summary,
            }
        )
    return rows


def show(name: str, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What a model is and where its weights are, without fetching them; ``here``: whether it can be built."""
    request = parse(name)
    said: dict[str, Any] = {"name": request.name, "kind": _kind(request.model), "here": True}
    if request.random is not None or request.file is not None:
        return said | {"weights_path": os.fspath(request.file or "")}
    entry = published(request)
    found = find_weights(entry, weights)
    return said | {
        "here": found is not None,
        "weights": _member(request).name,
        "weights_path": str(found.path) if found else "",
        "file": entry.weights.file,
        "urls": list(entry.weights.urls),
    }


def fetch(name: str, progress: Any = None) -> WeightsFile:
    """Download a model's weights into the cache, unless they are on this machine already."""
    return ensure_weights(published(parse(name)), progress=progress)


def parse(text: str) -> Request:
    """Take a name apart.

    Raises:
        ConfigError: unknown model or option, or options that exclude each other.
    """
    model, *options = text.split("@")
    if model not in SUMMARIES:
        raise ConfigError(unknown("torchvision model", model, SUMMARIES))
    members = [w.name for w in get_model_weights(model)]
    found: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if option in members:
            found["member"] = option
        elif option == "random" or (key == "random" and value.isdecimal()):
            found["random"] = int(value or 0)
        elif key == "autocast" and value in _AUTOCAST:
            found["autocast"] = value
        elif Path(option).suffix in {".pth", ".pt"}:
            found["file"] = Path(option)
        else:
            raise ConfigError(
                f"{text}: expected @{', @'.join(members)}, @random=SEED, @autocast={' or '.join(_AUTOCAST)} "
                f"or a state dict (.pth) behind the model's name, got @{option}"
            )
    if len(found.keys() & {"member", "random", "file"}) > 1:
        raise ConfigError(f"{text}: names several weights; give one of them")
    return Request(model=model, **found)


def published(request: Request) -> Published:
    """Where the library says the weights are: file, address and the beginning of the hash, all in one."""
    member = _member(request)
    file = member.url.rpartition("/")[2]
    digits = Path(file).stem.rpartition("-")[2]
    return Published(
        name=f"torchvision:{request.model}",
        weights=Weights(file=file, sha256=digits, urls=(member.url,)),
    )


def load(request: Request, weights: str | os.PathLike[str] | None = None, **options: Any) -> nn.Module:
    """The library's model with its weights, ready for inference, taking frames as one tensor.

    Args:
        request: Which.
        weights: Where to look for its file first.
        options: Of the library's builder, for example ``min_size``.
    """
    if request.random is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(request.random)
            network: nn.Module = get_model(request.model, weights=None, weights_backbone=None, **options)
            _settle(network)
    else:
        member = _member(request)
        path = request.file or ensure_weights(published(request), weights).path
        with _instead_of_download(member, path):
            network = get_model(request.model, weights=member, progress=False, **options)
    network.transform = BatchTransform.of(network.transform)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _settle(network: Any) -> None:
    """Let a random network's batch norms see clouds, so that its outputs vary as a trained one's do.

    Left as they begin, they let the signal fade from layer to layer, and every box would be the same.
    """
    norms = [m for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [n.momentum for n in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over what it sees
        norm.train()
    clouds = functional.interpolate(torch.randn(2, 3, 8, 8), (128, 128), mode="bilinear")
    network.backbone(clouds)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


class BatchTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's preprocessing for frames of one size: normalised, resized and padded as one tensor."""

    @classmethod
    def of(cls, other: GeneralizedRCNNTransform) -> BatchTransform:
        """The same settings."""
        return cls(
            other.min_size,
            other.max_size,
            other.image_mean,
            other.image_std,
            size_divisible=other.size_divisible,
            fixed_size=other.fixed_size,
        )

    def forward(self, images: Tensor, targets: None = None) -> tuple[ImageList, None]:
        """(N, 3, H, W) in [0, 1] -> the network's input."""
        height, width = images.shape[-2:]
        if self.fixed_size is None:
            scale = min(self.min_size[-1] / min(height, width), self.max_size / max(height, width))
            shape: dict[str, Any] = {"scale_factor": scale, "recompute_scale_factor": True}
        else:
            shape = {"size": self.fixed_size[::-1]}
        resized = functional.interpolate(
            self.normalize(images), mode="bilinear", align_corners=False, **shape
        )
        inner = (resized.shape[-2], resized.shape[-1])
        below, right = (-side % self.size_divisible for side in inner)
        return ImageList(functional.pad(resized, (0, right, 0, below)), [inner] * len(images)), None


class _Network:
    """What detectors and the pose expert have in common."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        device: torch.device,
        pool: Executor | None = None,
        batch_size: int,
        autocast: str | None = None,
    ) -> None:
        self._name = name
        self.network = network
        self.device = device
        self.batches = Batches(name, batch_size, pool)
        self._dtype = _AUTOCAST[autocast] if autocast else None

    @property
    def name(self) -> str:
        """The model's name, and whatever sets its results apart."""
        return self._name

    def _pictures(self, frames: FrameBatch, part: slice) -> Tensor:
        """Frames as these networks take them: (n, 3, H, W) in [0, 1]."""
        pictures = on_device(frames.images, self.device)[part]
        return pictures.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    @contextmanager
    def _running(self) -> Iterator[None]:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self._dtype, enabled=self._dtype is not None),
        ):
            yield


class TorchvisionDetector(_Network):
    """Person boxes by one of torchvision's detectors."""

    def detect(self, frames: FrameBatch) -> Detections:
        """Person boxes of all frames."""

        def work(part: slice) -> list[dict[str, Any]]:
            with self._running():
                return [_people(found) for found in self.network(self._pictures(frames, part))]

        found = [f for batch in self.batches.map(len(frames), work) for f in batch]
        return Detections(
            frame_indices=np.repeat(frames.indices, [len(f["scores"]) for f in found]),
            boxes_xyxy=np.concatenate([np.empty((0, 4), np.float32), *(f["boxes"] for f in found)]),
            box_scores=np.concatenate([np.empty(0, np.float32), *(f["scores"] for f in found)]),
        )


class TorchvisionPoses(_Network):
    """Keypoint R-CNN: people and their joints at once."""

    kind: ExpertKind = "one-stage"
    skeleton: Skeleton = get_skeleton("coco17")

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        """Poses of all frames; person boxes are not needed.

        A joint's score is the logistic function of its heatmap's peak; no calibration has been fitted.
        """
        size = frames.images.shape[1:3]

        def work(part: slice) -> dict[str, Any]:
            with self._running():
                return self._found(self._pictures(frames, part), size)

        found = self.batches.map(len(frames), work)
        k = self.skeleton.num_joints
        none = {"count": (0,), "boxes": (0, 4), "scores": (0,), "points": (0, k, 2), "raw": (0, k)}
        whole = {
            n: np.concatenate([np.empty(s, np.float32), *(f[n] for f in found)]) for n, s in none.items()
        }
        return Poses(
            skeleton=self.skeleton,
            frame_indices=np.repeat(frames.indices, whole["count"].astype(np.int64)),
            boxes_xyxy=whole["boxes"],
            box_scores=whole["scores"],
            keypoints=whole["points"],
            scores=whole["raw"],
        )

    def _found(self, pictures: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """The model's own steps; only the heatmaps are read here, of all people of the batch at once."""
        network: Any = self.network
        heads = network.roi_heads
        images, _ = network.transform(pictures)
        features = network.backbone(images.tensors)
        if isinstance(features, Tensor):
            features = OrderedDict([("0", features)])
        proposals, _ = network.rpn(images, features)
        rows = heads.box_head(heads.box_roi_pool(features, proposals, images.image_sizes))
        boxes, scores, _ = heads.postprocess_detections(
            *heads.box_predictor(rows), proposals, images.image_sizes
        )
        sure = [s >= _MIN_PERSON for s in scores]
        boxes, scores = ([v[s] for v, s in zip(values, sure, strict=True)] for values in (boxes, scores))
        count = [len(b) for b in boxes]
        together = torch.cat(boxes)
        points, raw = together.new_empty(0, 17, 2), together.new_empty(0, 17)
        if len(together):
            pooled = heads.keypoint_roi_pool(features, boxes, images.image_sizes)
            heatmaps = heads.keypoint_predictor(heads.keypoint_head(pooled))
            points, raw = roi_peaks(heatmaps.float(), together)
        inner_height, inner_width = images.image_sizes[0]
        back = together.new_tensor([size[1] / inner_width, size[0] / inner_height])
        return {
            "count": np.asarray(count),
            "boxes": (together * back.repeat(2)).float().cpu().numpy(),
            "scores": torch.cat(scores).float().cpu().numpy(),
            "points": (points * back).float().cpu().numpy(),
            "raw": raw.sigmoid().cpu().numpy(),
        }


def _people(found: dict[str, Tensor]) -> dict[str, Any]:
    person = found["labels"] == _PERSON
    return {name: found[name][person].float().cpu().numpy() for name in ("boxes", "scores")}


def _kind(model: str) -> str:
    return "one-stage" if model == _POSES else "detector"


def _member(request: Request) -> Any:
    choices = get_model_weights(request.model)
    return choices[request.member] if request.member else choices.DEFAULT


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the path", path=path) from error


@contextmanager
def _instead_of_download(member: Any, path: Path) -> Iterator[None]:
    """Let the library's builder find the weights in a file of ours.

    The builder looks at which weights it is given to decide how the network's normalisation is built, and
    would fetch them into a cache of its own.
    """
    kind = type(member)
    before = kind.get_state_dict
    kind.get_state_dict = lambda *_, **__: _state(path)
    try:
        yield
    except (RuntimeError, AttributeError, TypeError) as error:  # of load_state_dict
        raise WeightsError(
            f"expected {kind.__name__} in {path}, they do not fit: {str(error).splitlines()[0]}",
            path=path,
        ) from error
    finally:
        kind.get_state_dict = before


def _state(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a different type for every kind of damage
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"expected a state dict (tensors by name) in {path}: {why}", path=path) from error
