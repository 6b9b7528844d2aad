"""torchvision's networks as experts: the library's own numbers, singly and in batches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import get_model
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

from skelkit.errors import ConfigError, WeightsError
from skelkit.experts import Device, build_detector, build_expert, describe, torchvision_models
from skelkit.experts.batches import NOTICES
from skelkit.experts.heatmap_peaks import roi_peaks
from skelkit.experts.torchvision_models import TorchvisionDetector, TorchvisionPoses
from skelkit.structures import FrameBatch

CPU = torch.device("cpu")
DETECTORS = [
    "fasterrcnn_mobilenet_v3_large_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here")


def clouds(count: int) -> FrameBatch:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 8, 10)))
    images = torch.nn.functional.interpolate(coarse, (90, 120), mode="bicubic").clamp(0, 255)
    indices = np.arange(count)
    pictures = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy().astype(np.uint8))
    return FrameBatch(images=pictures, indices=indices, pts_s=indices / 25)


def direct(model: torch.nn.Module, frames: FrameBatch) -> list[dict[str, Any]]:
    """The library's model, frame by frame, as its documentation runs it."""
    with torch.inference_mode():
        return [
            {k: v.numpy() for k, v in model([torch.from_numpy(i).permute(2, 0, 1).float() / 255])[0].items()}
            for i in frames.images
        ]


def small(name: str) -> dict[str, Any]:
    return {} if name.startswith("ssd") else {"min_size": 96, "max_size": 128}


def pair(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The network as we load it and as the library builds it, with the same random weights."""
    request = torchvision_models.parse(f"{name}@random=1")
    ours = torchvision_models.load(request, **small(name))
    theirs = get_model(name, weights=None, weights_backbone=None, **small(name)).eval()
    theirs.load_state_dict(ours.state_dict())
    for network in (ours, theirs):  # random ones are sure of nothing
        (network.roi_heads if "rcnn" in name else network).score_thresh = 0.002
        if "fcos" in name:  # people are among the last
            network.detections_per_img = network.topk_candidates = 3000
        if "rcnn" in name:  # and their heads take seconds for a hundred people
            network.rpn._post_nms_top_n = {"training": 60, "testing": 60}
            network.roi_heads.detections_per_img = 6 if "keypoint" in name else 600
    return ours, theirs


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_find_what_the_library_finds(name: str) -> None:
    frames = clouds(2)
    ours, theirs = pair(name)
    wanted = direct(theirs, frames)
    for size in (1, 2):
        found = TorchvisionDetector(name, ours, device=CPU, batch_size=size).detect(frames)
        for i, want in enumerate(wanted):
            person, mine = want["labels"] == 1, found.frame_indices == i
            assert person.any()
            np.testing.assert_allclose(found.boxes_xyxy[mine], want["boxes"][person], atol=0.05)
            np.testing.assert_allclose(found.box_scores[mine], want["scores"][person], atol=1e-3)


def test_keypoint_rcnn_finds_what_the_library_finds() -> None:
    frames = clouds(2)
    ours, theirs = pair("keypointrcnn_resnet50_fpn")
    wanted = direct(theirs, frames)
    for size in (1, 2):
        found = TorchvisionPoses("k", ours, device=CPU, batch_size=size).predict(frames)
        for i, want in enumerate(wanted):
            person, mine = want["scores"] >= 0.3, found.frame_indices == i
            assert person.any()
            np.testing.assert_allclose(found.boxes_xyxy[mine], want["boxes"][person], atol=0.05)
            np.testing.assert_allclose(found.box_scores[mine], want["scores"][person], atol=1e-3)
            np.testing.assert_allclose(found.keypoints[mine], want["keypoints"][person][..., :2], atol=0.05)
            logistic = 1 / (1 + np.exp(-want["keypoints_scores"][person]))
            np.testing.assert_allclose(found.scores[mine], logistic, atol=1e-3)


def test_peaks_are_those_of_the_library_for_boxes_of_all_sizes() -> None:
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.nn.functional.interpolate(torch.rand(12, 5, 9, 9, generator=generator), (56, 56))
    heatmaps += 0.3 * torch.rand(12, 5, 56, 56, generator=generator)
    corner, size = torch.rand(12, 2, generator=generator) * 50, torch.rand(12, 2, generator=generator) * 130
    size[0] = 0.2  # less than a pixel
    boxes = torch.cat([corner, corner + size], dim=1)
    wanted, values = heatmaps_to_keypoints(heatmaps, boxes)
    points, peaks = roi_peaks(heatmaps, boxes)
    torch.testing.assert_close(points, wanted[..., :2], atol=1e-3, rtol=0)
    torch.testing.assert_close(peaks, values, atol=1e-4, rtol=0)


def test_the_same_random_weights_for_the_same_seed_and_a_name_that_says_so() -> None:
    name = "torchvision:ssdlite320_mobilenet_v3_large@random=7"
    a, b = (build_detector(name, device=Device(kind="cpu")) for _ in range(2))
    assert isinstance(a, TorchvisionDetector)
    assert isinstance(b, TorchvisionDetector)
    assert a.name == "ssdlite320_mobilenet_v3_large.random7"
    for x, y in zip(a.network.parameters(), b.network.parameters(), strict=True):
        assert torch.equal(x, y)
    said = describe(name)
    assert (said["weights"], said["random_seed"], said["weights_sha256"]) == ("random", 7, None)


def test_weights_are_found_checked_and_loaded_as_the_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "ssdlite320_mobilenet_v3_large"
    monkeypatch.setenv("SKELKIT_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SKELKIT_WEIGHTS", raising=False)
    entry = torchvision_models.published(torchvision_models.parse(model))
    with pytest.raises(WeightsError, match=f"{entry.weights.file}.*SKELKIT_OFFLINE.*download.pytorch.org"):
        describe(f"torchvision:{model}")
    network = get_model(model, weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / entry.weights.file)
    with pytest.raises(WeightsError, match=f"sha256 {entry.weights.sha256}"):
        describe(f"torchvision:{model}", tmp_path)
    mine = tmp_path / "mine.pth"
    (tmp_path / entry.weights.file).rename(mine)
    built = build_detector(f"torchvision:{model}@{mine}", device=Device(kind="cpu"))
    assert isinstance(built, TorchvisionDetector)
    assert torch.equal(next(built.network.parameters()), next(network.parameters()))
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert describe(f"torchvision:{model}@{mine}")["weights_sha256"] == digest
    with pytest.raises(WeightsError, match="do not fit"):
        build_detector(f"torchvision:fcos_resnet50_fpn@{mine}", device=Device(kind="cpu"))
    mine.write_bytes(b"junk")
    with pytest.raises(WeightsError, match="state dict"):
        build_detector(f"torchvision:{model}@{mine}", device=Device(kind="cpu"))


def test_a_batch_that_does_not_fit_the_device_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair("ssdlite320_mobilenet_v3_large")
    frames = clouds(3)
    whole = TorchvisionDetector("ssd", ours, device=CPU, batch_size=3).detect(frames)
    forward = ours.forward

    def small(pictures: torch.Tensor) -> Any:
        if len(pictures) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(pictures)

    monkeypatch.setattr(ours, "forward", small)
    NOTICES.fetch()
    halved = TorchvisionDetector("ssd", ours, device=CPU, batch_size=3).detect(frames)
    np.testing.assert_allclose(halved.boxes_xyxy, whole.boxes_xyxy, atol=0.05)
    np.testing.assert_array_equal(halved.frame_indices, whole.frame_indices)
    assert NOTICES.fetch() == ["ssd: memory does not suffice for batches of 3, going on with smaller ones"]


def test_names_that_mean_nothing() -> None:
    with pytest.raises(ConfigError, match="did you mean fcos"):
        describe("torchvision:fcos_resnet")
    with pytest.raises(ConfigError, match="COCO_LEGACY, @COCO_V1"):
        describe("torchvision:keypointrcnn_resnet50_fpn@COCO_V9")
    with pytest.raises(ConfigError, match="several weights"):
        describe("torchvision:keypointrcnn_resnet50_fpn@COCO_V1@random=0")
    with pytest.raises(ConfigError, match="is a detector"):
        build_expert("torchvision:ssdlite320_mobilenet_v3_large@random=0", device=Device(kind="cpu"))


@gpu
def test_a_gpu_agrees_with_the_cpu_and_autocast_nearly() -> None:
    frames = clouds(2)
    name = "keypointrcnn_resnet50_fpn"
    poses = []
    for place, autocast in (("cpu", None), ("cuda", None), ("cuda", "float16")):
        network = torchvision_models.load(torchvision_models.parse(f"{name}@random=1"), **small(name))
        expert = TorchvisionPoses(
            name, network.to(place), device=torch.device(place), batch_size=2, autocast=autocast
        )
        poses.append(expert.predict(frames))
    np.testing.assert_allclose(poses[1].boxes_xyxy, poses[0].boxes_xyxy, atol=0.5)
    assert len(poses[2]) > 0
