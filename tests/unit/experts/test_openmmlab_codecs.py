"""Batched decoding and batched geometry against MMPose's own functions, person by person."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from skelkit.experts.openmmlab import environment, operators
from skelkit.experts.openmmlab.decoding import decoder_of
from skelkit.experts.openmmlab.pictures import Crops, Frames, Whole

if find_spec("mmpose") is None:
    pytest.skip("OpenMMLab's packages are not installed: make openmmlab", allow_module_level=True)
pytestmark = pytest.mark.openmmlab
environment.prepare()
codecs = import_module("mmpose.codecs")
transforms = import_module("mmpose.datasets.transforms")

CPU = torch.device("cpu")


def maps(count: int, height: int, width: int) -> np.ndarray:
    """Heatmaps with peaks in the middle, at borders and corners, some flat, some empty."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    out = np.empty((count, 5, height, width), np.float32)
    for one in out.reshape(-1, height, width):
        cx, cy = rng.uniform(-2, width + 1), rng.uniform(-2, height + 1)
        one[:] = rng.uniform(0.1, 1) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * rng.uniform(1, 3) ** 2))
        one[:] += rng.normal(0, 0.01, one.shape)
    out[0, 0] = -1
    return out


HEATMAP = {"input_size": (48, 64), "heatmap_size": (12, 16)}


@pytest.mark.parametrize(
    "codec",
    [
        codecs.MSRAHeatmap(**HEATMAP, sigma=2),
        codecs.MSRAHeatmap(**HEATMAP, sigma=2, unbiased=True, blur_kernel_size=5),
        codecs.MSRAHeatmap(**HEATMAP, sigma=2, unbiased=True),
        codecs.UDPHeatmap(**HEATMAP, sigma=2),
        codecs.MegviiHeatmap(**HEATMAP, kernel_size=11),
    ],
    ids=["quarter", "DARK 5", "DARK 11", "UDP", "Megvii"],
)
def test_heatmaps(codec: Any) -> None:
    given = maps(40, 16, 12)
    points, scores = decoder_of(codec)(torch.from_numpy(given))  # type: ignore[misc]
    wanted = [codec.decode(m) for m in given]
    wanted_scores = np.concatenate([s for _, s in wanted])
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-5)
    found = given.max(axis=(2, 3)) > 0
    np.testing.assert_allclose(points[found], np.concatenate([p for p, _ in wanted])[found], atol=0.02)


def test_simcc() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 7, 96)).astype(np.float32), rng.normal(size=(20, 7, 128)).astype(np.float32)
    codec = codecs.SimCCLabel(input_size=(48, 64), simcc_split_ratio=2.0)
    points, scores = decoder_of(codec)(torch.from_numpy(x), torch.from_numpy(y))  # type: ignore[misc]
    wanted_points, wanted_scores = codec.decode(x, y)
    np.testing.assert_allclose(points, wanted_points, atol=1e-5)
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-6)
    assert decoder_of(codecs.SimCCLabel(input_size=(48, 64), use_dark=True)) is None


@pytest.mark.parametrize("numbers", [2, 4])
def test_regression(numbers: int) -> None:
    given = np.random.default_rng(2).random((6, 5, numbers)).astype(np.float32)
    for codec in (codecs.RegressionLabel((48, 64)), codecs.IntegralRegressionLabel(**HEATMAP, sigma=2)):
        points, scores = decoder_of(codec)(torch.from_numpy(given))  # type: ignore[misc]
        wanted_points, wanted_scores = codec.decode(given)
        np.testing.assert_allclose(points, wanted_points, atol=1e-4)
        np.testing.assert_allclose(scores, wanted_scores, atol=1e-6)


@pytest.mark.parametrize("use_udp", [False, True])
def test_crops(use_udp: bool) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    corner = rng.uniform(-30, 120, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 120, (30, 2))], axis=1).astype(np.float32)
    pipeline = [
        {"type": "LoadImage"},
        {"type": "GetBBoxCenterScale", "padding": 1.2},
        {"type": "TopdownAffine", "input_size": (48, 64), "use_udp": use_udp},
        {"type": "PackPoseInputs"},
    ]
    crops = Crops.of(pipeline)
    centre, size = crops.views(boxes)
    ours = crops.cut(Frames(image[None], CPU), np.zeros(30, np.intp), centre, size)
    for n, box in enumerate(boxes):
        steps = [
            transforms.GetBBoxCenterScale(padding=1.2),
            transforms.TopdownAffine((48, 64), use_udp=use_udp),
        ]
        results: dict[str, Any] = {"img": image, "bbox": box[None]}
        for step in steps:
            results = step.transform(results)
        np.testing.assert_array_equal(centre[n], results["input_center"])
        np.testing.assert_array_equal(size[n], results["input_scale"])
        off = np.abs(ours[n].permute(1, 2, 0).numpy().astype(int) - results["img"])
        assert off.max() <= 1 and (off > 0).mean() < 2e-3  # three points solved for, or written down


@pytest.mark.parametrize("mode", ["fit", "expand"])
@pytest.mark.parametrize("use_udp", [False, True])
@pytest.mark.parametrize("shape", [(90, 160), (97, 55)])
def test_whole_frames(mode: str, use_udp: bool, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    options = {"input_size": (128, 128), "size_factor": 32, "resize_mode": mode, "use_udp": use_udp}
    step = transforms.BottomupResize(**options, pad_val=(114, 114, 114))
    wanted = step.transform({"img": image, "ori_shape": shape})
    whole = Whole.of([{"type": "BottomupResize", **options, "pad_val": (114, 114, 114)}])
    laid = whole.lay(Frames(image[None], CPU))
    assert laid.size == wanted["input_size"]
    np.testing.assert_array_equal(laid.centre, wanted["input_center"])
    np.testing.assert_array_equal(laid.scale, wanted["input_scale"])
    np.testing.assert_array_equal(laid.pictures[0].permute(1, 2, 0), wanted["img"])


def test_mmcv_calls_our_operators() -> None:
    if environment.compiled_operators():
        pytest.skip("a compiled mmcv is installed, and used")
    from mmcv.ops import batched_nms, nms, soft_nms

    assert operators.registered()
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    assert nms(boxes, scores, iou_threshold=0.5)[1].tolist() == [1, 2]
    assert soft_nms(boxes, scores, iou_threshold=0.5)[1].tolist() == [1, 2, 0]
    kept = batched_nms(boxes, scores, torch.tensor([0, 1, 0]), {"type": "nms", "iou_threshold": 0.5})[1]
    assert kept.tolist() == [1, 2, 0]
