"""OpenMMLab's checkpoints, operators and joint sets, without its packages."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torchvision import ops

from skelkit.errors import ConfigError, ExpertError, WeightsError
from skelkit.experts import device_ops
from skelkit.experts.openmmlab import checkpoints, networks, operators
from skelkit.experts.openmmlab.decoding import decoder_of
from skelkit.experts.openmmlab.index import Entry
from skelkit.experts.openmmlab.joints import skeleton_of
from skelkit.experts.openmmlab.pictures import Crops, Frames, Resized, Whole
from skelkit.skeletons import COCO17, CROWDPOSE14


class Anything:
    """Something a checkpoint should not hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getpid, ()


def test_numbers_text_and_arrays_are_read(tmp_path: Path) -> None:
    meta = {"classes": ("a", "b"), "sigmas": np.arange(3.0), "best": np.float64(0.5), "at": np.int64(3)}
    torch.save({"state_dict": {"w": torch.ones(2)}, "meta": meta}, tmp_path / "a.pth")
    read = checkpoints.read(tmp_path / "a.pth")
    np.testing.assert_array_equal(read["meta"]["sigmas"], meta["sigmas"])
    assert read["meta"]["best"] == 0.5 and read["meta"]["classes"] == ("a", "b")


def test_a_checkpoint_with_code_is_refused_unless_trusted(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hook": Anything()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"it also holds posix\.getpid; if you trust .* add @trust-pickle"):
        checkpoints.read(tmp_path / "a.pth")
    assert checkpoints.read(tmp_path / "a.pth", trust_pickle=True)["hook"] == os.getpid()


@pytest.mark.parametrize("content", [b"", b"no zip, no pickle", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError):
        checkpoints.read(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="cannot read it"):
        checkpoints.own(tmp_path / "none.pth")


def test_weights_of_another_network(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = model.state_dict()
    checkpoints.load_into(model, {"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path)
    checkpoints.load_into(model, {**state, "ema.extra": torch.ones(1)}, tmp_path)
    with pytest.raises(WeightsError, match=r"do not fit.*size mismatch for 0.weight"):
        checkpoints.load_into(model, state | {"0.weight": torch.ones(5, 2)}, tmp_path)
    with pytest.raises(WeightsError, match=r"lacks 1 of 4: 0.weight"):
        checkpoints.load_into(model, {k: v for k, v in state.items() if k != "0.weight"}, tmp_path)


def entry(url: str | None) -> Entry:
    return Entry(name="net", aliases=(), config=Path("net.py"), url=url)


def test_published_weights_follow_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELKIT_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = "https://example.org/x/net_20220101-{}_20220102.pth"
    (tmp_path / "net_20220101-2d711642_20220102.pth").write_bytes(b"x")  # the sha256 of "x" begins like this
    found = checkpoints.published("mmpose", entry(url.format("2d711642")), tmp_path)
    assert found.checked and found.path.parent == tmp_path
    (tmp_path / "net_20220101-00000000_20220102.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match="to have sha256 00000000"):
        checkpoints.published("mmpose", entry(url.format("00000000")), tmp_path)
    with pytest.raises(
        WeightsError, match=r"SKELKIT_OFFLINE is set; try to fetch https://example.org/x/net_"
    ):
        checkpoints.published("mmpose", entry(url.format("aaaaaaaa")), tmp_path)
    with pytest.raises(WeightsError, match=r"names no weights for it; give a file: mmpose:net@FILE.pth"):
        checkpoints.published("mmpose", entry(None))


def test_soft_nms_lowers_by_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [1, 0, 10, 10]])
    scores, dets = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.empty(4, 5)
    options = {"iou_threshold": 0.3, "sigma": 0.5, "min_score": 0.1, "offset": 0}
    kept = operators.softnms(boxes, scores, dets, method=1, **options)
    assert kept.tolist() == [0, 2, 1]  # 0.8 * (1 - 0.5) = 0.4; 0.6 * (1 - 0.9) = 0.06 falls out
    torch.testing.assert_close(dets[:3, 4], torch.tensor([0.9, 0.7, 0.4]))
    kept = operators.softnms(boxes, scores, dets, method=2, **options)
    assert kept.tolist() == [0, 2, 1]
    torch.testing.assert_close(dets[2, 4], 0.8 * torch.exp(torch.tensor(-0.5)))
    assert operators.softnms(boxes, scores, dets, method=0, **options).tolist() == [0, 2]
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_nms_with_pixels_counted() -> None:
    boxes, scores = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 1]]), torch.tensor([0.9, 0.8])
    assert operators.nms(boxes, scores, iou_threshold=0.4, offset=0).tolist() == [0, 1]
    assert operators.nms(boxes, scores, iou_threshold=0.4, offset=1).tolist() == [0]  # 2 of 4 pixels


def test_deformable_convolution_without_shifts_is_convolution() -> None:
    torch.manual_seed(0)
    features, weight, bias = torch.rand(2, 4, 9, 7), torch.rand(6, 4, 3, 3), torch.rand(6)
    wanted = nn.functional.conv2d(features, weight, stride=2, padding=1)
    offset, mask, out = torch.zeros(2, 18, *wanted.shape[2:]), torch.ones(2, 9, *wanted.shape[2:]), wanted * 0
    sizes = {"kW": 3, "kH": 3, "dW": 2, "dH": 2, "padW": 1, "padH": 1, "dilationW": 1, "dilationH": 1}
    operators.deform_conv_forward(
        features, weight, offset, out, out, out, **sizes, group=1, deformable_group=1, im2col_step=2
    )
    torch.testing.assert_close(out, wanted)
    sizes = dict.fromkeys(("stride_h", "stride_w"), 2) | dict.fromkeys(("pad_h", "pad_w", "dilation_h"), 1)
    more = {"kernel_h": 3, "kernel_w": 3, "dilation_w": 1, "group": 1, "deformable_group": 1}
    operators.modulated_deform_conv_forward(
        features, weight, bias, out, offset, mask / 2, out, out, **sizes, **more, with_bias=True
    )
    torch.testing.assert_close(out, wanted / 2 + bias[:, None, None])


def test_roi_align_and_operators_that_are_not_here() -> None:
    features, rois, out = torch.rand(1, 2, 8, 8), torch.tensor([[0.0, 1, 1, 6, 5]]), torch.empty(1, 2, 3, 3)
    options = {"aligned_height": 3, "aligned_width": 3, "spatial_scale": 1.0, "sampling_ratio": 0}
    operators.roi_align_forward(features, rois, out, out, out, **options, pool_mode=1, aligned=True)
    torch.testing.assert_close(out, ops.roi_align(features, rois, 3, 1.0, 0, aligned=True))
    with pytest.raises(ExpertError, match="by maximum"):
        operators.roi_align_forward(features, rois, out, out, out, **options, pool_mode=0, aligned=True)
    with pytest.raises(ExpertError, match="'carafe_forward', which only the compiled mmcv has"):
        operators.Operators("mmcv._ext").carafe_forward(1, 2)


def meta(names: list[str], flips: list[int], name: str = "made") -> dict[str, Any]:
    return {
        "dataset_name": name,
        "keypoint_id2name": dict(enumerate(names)),
        "flip_indices": flips,
        "skeleton_links": [(0, 1)],
    }


def test_joint_sets() -> None:
    assert skeleton_of(meta(list(COCO17.joints), list(range(17)))) is COCO17
    theirs = [{"head_top": "top_head"}.get(j, j) for j in CROWDPOSE14.joints]
    assert skeleton_of(meta(theirs, list(range(14)))) is CROWDPOSE14
    hand = skeleton_of(meta(["root", "right_tip", "left_tip"], [0, 2, 1], "paw"))
    assert (hand.name, hand.flip_pairs) == ("paw3", (("left_tip", "right_tip"),))
    assert hand.edges == (("root", "right_tip"),)


@pytest.mark.parametrize("use_udp", [False, True])
def test_a_gpu_is_shown_the_same_pictures(use_udp: bool) -> None:
    """The path of tensors on a device, taken on the CPU, against OpenCV's: a grey level here and there."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
    images = np.stack([cv2.resize(s, (160, 120)) for s in small])
    ours, there = Frames(images, torch.device("cpu")), Frames(images, torch.device("cpu"))
    there._there = device_ops.to_device(torch.from_numpy(images), torch.device("cpu"))
    crops = Crops(width=48, height=64, padding=1.25, use_udp=use_udp)
    centre, size = crops.views(
        np.asarray([[10, 20, 70, 110], [-30, 5.5, 60, 60], [90, 0, 170, 130]], np.float32)
    )
    rows = np.asarray([0, 2, 2])
    assert_close(crops.cut(ours, rows, centre, size), crops.cut(there, rows, centre, size))
    whole = Whole(width=128, height=128, expand=False, divisor=32, use_udp=use_udp, fill=114)
    assert_close(whole.lay(ours).pictures, whole.lay(there).pictures)
    laid = {"keep_ratio": True, "rounds_up": True, "pad_divisor": 1, "pad_square": False, "fill": 114.0}
    resized = Resized(target=(96, 96), pad_size=(96, 96), **laid)
    assert_close(resized.lay(ours)[0], resized.lay(there)[0])


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    off = (one.int() - other.int()).abs()
    assert one.shape == other.shape and off.max() <= 1 and (off > 0).float().mean() < 0.02


def test_lower_precision_ends_before_the_head() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def extract_feat(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            self.seen = self.layer(inputs)
            return self.seen, [self.seen]

    model = Backbone()
    networks._lower_precision(model, torch.device("cpu"), torch.bfloat16)
    one, [other] = model.extract_feat(torch.ones(1, 4))  # type: ignore[operator]
    assert model.seen.dtype == torch.bfloat16 and one.dtype == other.dtype == torch.float32


@pytest.mark.parametrize(
    ("pipeline", "why"),
    [
        (
            [{"type": "TopdownAffine", "input_size": (4, 4)}, {"type": "Spin"}],
            "it also has Spin, which skelkit",
        ),
        ([{"type": "LoadImage"}], "with TopdownAffine"),
    ],
)
def test_a_pipeline_that_is_not_ours(pipeline: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Crops.of(pipeline)


def test_whole_frames_of_one_scale_and_one_grey() -> None:
    step = {"type": "BottomupResize", "input_size": (64, 64)}
    assert Whole.of([step | {"pad_val": (114, 114, 114)}]).fill == 114
    for odd, why in (({"pad_val": (1, 2, 3)}, "one grey level"), ({"aug_scales": [2]}, "with one scale")):
        with pytest.raises(ConfigError, match=why):
            Whole.of([step | odd])
    with pytest.raises(ConfigError, match="with Resize"):
        Resized.of([{"type": "Resize", "scale_factor": 2.0}])


def test_an_unknown_codec_is_left_to_mmpose() -> None:
    assert decoder_of(SimpleNamespace()) is None
    combined = type("UDPHeatmap", (), {"heatmap_type": "combined"})()
    assert decoder_of(combined) is None
