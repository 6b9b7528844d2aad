"""Public LCR-Net++ checkpoints: read without running them, and computing what the public test code does.

No public checkpoint is at hand; the files here are made in their format, with random weights.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from skelkit.cli import app
from skelkit.errors import WeightsError
from skelkit.experts import Device, build_expert, describe
from skelkit.experts.lcrnet.files import load_network, save_network
from skelkit.experts.lcrnet.integration import integrate
from skelkit.experts.lcrnet.network import LCRNet
from skelkit.experts.lcrnet.pickles import read_pickle
from skelkit.experts.lcrnet.public import import_public
from skelkit.experts.lcrnet.targets import People
from skelkit.skeletons import LCR13, LCR17
from skelkit.structures import FrameBatch

K = 3
SIZES, RATIOS = (32, 64, 128), (0.5, 1, 2)
CPU = Device(kind="cpu", index=0, threads=1)


# Files in the public format


class AttrDict(dict[str, Any]):
    """Detectron's dictionary of settings, which remembers whether it may be changed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.__dict__["__immutable__"] = False


@pytest.fixture(scope="module", autouse=True)
def detectron() -> Iterator[None]:
    """Settings are pickled as of ``utils.collections``."""
    module = ModuleType("utils.collections")
    module.AttrDict = AttrDict  # type: ignore[attr-defined]
    AttrDict.__module__ = module.__name__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "utils", ModuleType("utils"))
        patch.setitem(sys.modules, module.__name__, module)
        yield


def settings(**changes: Any) -> AttrDict:
    """What a file says of its network: some as Python values, some as text, as YAML reads tuples."""
    every = {
        "MODEL": {"CONV_BODY": "ResNet.ResNet50_conv4_body", "FASTER_RCNN": True, "NUM_CLASSES": K + 1},
        "RPN": {"SIZES": str(SIZES)},
        "FAST_RCNN": {"ROI_BOX_HEAD": "ResNet.ResNet_roi_conv5_head", "ROI_XFORM_METHOD": "RoIAlign"},
        "TEST": {"SCALE": 160, "MAX_SIZE": 200, "RPN_POST_NMS_TOP_N": 7},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        every.setdefault(part, {})[key] = value
    return AttrDict({part: AttrDict(values) for part, values in every.items()})


def shapes(joints: int) -> dict[str, tuple[int, ...]]:
    """Parameters of LCRNet(ResNet50_conv4_body, ResNet_roi_conv5_head) of the public code."""
    found: dict[str, tuple[int, ...]] = {"Conv_Body.res1.conv1.weight": (64, 3, 7, 7)}
    affine = {"Conv_Body.res1.bn1": 64}
    stages = (("Conv_Body.res2", 64, 64, 3), ("Conv_Body.res3", 256, 128, 4), ("Conv_Body.res4", 512, 256, 6))
    for stage, inputs, width, blocks in (*stages, ("Box_Head.res5", 1024, 512, 3)):
        for block in range(blocks):
            name, given = f"{stage}.{block}", inputs if block == 0 else 4 * width
            found[f"{name}.conv1.weight"] = (width, given, 1, 1)
            found[f"{name}.conv2.weight"] = (width, width, 3, 3)
            found[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            affine |= {f"{name}.bn1": width, f"{name}.bn2": width, f"{name}.bn3": 4 * width}
            if block == 0:
                found[f"{name}.downsample.0.weight"] = (4 * width, given, 1, 1)
                affine[f"{name}.downsample.1"] = 4 * width
    for name, channels in affine.items():
        found |= {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
    boxes = len(SIZES) * len(RATIOS)
    for name, shape in {
        "RPN.RPN_conv": (1024, 1024, 3, 3),
        "RPN.RPN_cls_score": (boxes, 1024, 1, 1),
        "RPN.RPN_bbox_pred": (4 * boxes, 1024, 1, 1),
        "Pose_Outs.cls_score": (K + 1, 2048),
        "Pose_Outs.pose_pred": (5 * joints * (K + 1), 2048),
    }.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found


def weights(joints: int) -> OrderedDict[str, Tensor]:
    """Random ones that keep numbers of every layer about as large."""
    g = torch.Generator().manual_seed(joints)
    made: OrderedDict[str, Tensor] = OrderedDict()
    for name, shape in shapes(joints).items():
        if len(shape) > 1:
            made[name] = torch.randn(shape, generator=g) * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith("weight"):  # residual branches add little
            made[name] = (0.5 + torch.rand(shape, generator=g)) * (0.3 if "bn3" in name else 1.0)
        else:
            made[name] = torch.randn(shape, generator=g) * 0.1
    made["Conv_Body.res1.conv1.weight"] *= 0.02
    made["RPN.RPN_bbox_pred.weight"] *= 0.3
    made["RPN.RPN_bbox_pred.bias"][2] = 6  # wider than the limit for boxes
    made["RPN.RPN_cls_score.weight"] *= 0.5
    return made


@dataclass(frozen=True, kw_only=True)
class Public:
    """A file of the public kind, and what is in it."""

    path: Path
    model: dict[str, Tensor]
    anchor_poses: np.ndarray[Any, Any]
    joints: int
    candidates: int


@pytest.fixture(scope="module", params=[(13, 300), (17, 6)], ids=["13", "17"])
def public(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Public:
    """As Python 3 and PyTorch 0.4 or later write it; of the second, few proposals are compared."""
    joints, candidates = request.param
    poses = np.random.default_rng(joints).uniform(-0.1, 1.1, (K, 5 * joints))
    path = tmp_path_factory.mktemp("public") / f"made-{joints}.pkl"
    model = weights(joints)
    cfg = settings(TEST__RPN_PRE_NMS_TOP_N=candidates)
    write(path, {"anchor_poses": poses, "cfg": cfg, "model": model, "ppi_params": {"th_iou": 0.2}})
    return Public(path=path, model=dict(model), anchor_poses=poses, joints=joints, candidates=candidates)


def write(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


# The public computation, straight from its description


def slow_body(p: dict[str, Tensor], x: Tensor) -> Tensor:
    x = functional.conv2d(x, p["Conv_Body.res1.conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(slow_affine(p, "Conv_Body.res1.bn1", x).relu(), 3, 2, 1)
    for stage, blocks in ((2, 3), (3, 4), (4, 6)):
        x = slow_stage(p, f"Conv_Body.res{stage}", blocks, 1 if stage == 2 else 2, x)
    return x


def slow_stage(p: dict[str, Tensor], name: str, blocks: int, stride: int, x: Tensor) -> Tensor:
    for block in range(blocks):
        at, step = f"{name}.{block}", stride if block == 0 else 1
        y = functional.conv2d(x, p[f"{at}.conv1.weight"], stride=step)
        y = slow_affine(p, f"{at}.bn1", y).relu()
        y = functional.conv2d(y, p[f"{at}.conv2.weight"], padding=1)
        y = slow_affine(p, f"{at}.bn2", y).relu()
        y = slow_affine(p, f"{at}.bn3", functional.conv2d(y, p[f"{at}.conv3.weight"]))
        if block == 0:
            x = functional.conv2d(x, p[f"{at}.downsample.0.weight"], stride=step)
            x = slow_affine(p, f"{at}.downsample.1", x)
        x = (x + y).relu()
    return x


def slow_affine(p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]


def slow_anchors() -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom with the last pixel inside, around (7.5, 7.5)."""
    found = []
    for ratio in RATIOS:
        width = round(math.sqrt(16 * 16 / ratio))
        height = round(width * ratio)
        for size in SIZES:
            w, h = width * size / 16, height * size / 16
            found.append((7.5 - (w - 1) / 2, 7.5 - (h - 1) / 2, 7.5 + (w - 1) / 2, 7.5 + (h - 1) / 2))
    return found


def slow_proposals(
    p: dict[str, Tensor], x: Tensor, height: int, width: int, candidates: int
) -> list[list[float]]:
    hidden = functional.conv2d(x, p["RPN.RPN_conv.weight"], p["RPN.RPN_conv.bias"], padding=1).relu()
    score = functional.conv2d(hidden, p["RPN.RPN_cls_score.weight"], p["RPN.RPN_cls_score.bias"])[0].sigmoid()
    delta = functional.conv2d(hidden, p["RPN.RPN_bbox_pred.weight"], p["RPN.RPN_bbox_pred.bias"])[0]
    every = []
    for a, (left, top, right, bottom) in enumerate(slow_anchors()):
        w, h = right - left + 1, bottom - top + 1
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                dx, dy, dw, dh = (float(v) for v in delta[4 * a : 4 * a + 4, i, j])
                cx = left + 16 * j + w / 2 + dx * w
                cy = top + 16 * i + h / 2 + dy * h
                new_w = math.exp(min(dw, math.log(1000 / 16))) * w
                new_h = math.exp(min(dh, math.log(1000 / 16))) * h
                corners = (cx - new_w / 2, cy - new_h / 2, cx + new_w / 2 - 1, cy + new_h / 2 - 1)
                limits = (width - 1, height - 1) * 2
                box = [max(min(v, limit), 0.0) for v, limit in zip(corners, limits, strict=True)]
                every.append((float(score[a, i, j]), box))
    every.sort(key=lambda pair: -pair[0])
    kept: list[list[float]] = []
    for _, box in every[:candidates]:
        if all(slow_overlap(box, other) < 0.7 for other in kept):
            kept.append(box)
    return kept[:7]


def slow_overlap(a: list[float], b: list[float]) -> float:
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in range(2))
    inner = max(w, 0) * max(h, 0)
    areas = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return inner / (areas - inner)


def slow_pool(x: np.ndarray[Any, Any], box: list[float]) -> np.ndarray[Any, Any]:
    """RoIAlign of (C, h, w) at stride 16: 14 x 14 cells, each the mean of samples about a place apart."""
    left, top, right, bottom = (v / 16 for v in box)
    w, h = max(right - left, 1.0), max(bottom - top, 1.0)
    across, down = math.ceil(w / 14), math.ceil(h / 14)
    out = np.zeros((x.shape[0], 14, 14))
    for i in range(14):
        for j in range(14):
            for v in range(down):
                for u in range(across):
                    yy = top + i * h / 14 + (v + 0.5) * h / 14 / down
                    xx = left + j * w / 14 + (u + 0.5) * w / 14 / across
                    out[:, i, j] += slow_sample(x, yy, xx) / (across * down)
    return out


def slow_sample(x: np.ndarray[Any, Any], row: float, column: float) -> np.ndarray[Any, Any]:
    if not (-1 <= row <= x.shape[1] and -1 <= column <= x.shape[2]):
        return np.zeros(x.shape[0])
    row, column = min(max(row, 0), x.shape[1] - 1), min(max(column, 0), x.shape[2] - 1)
    i, j = int(row), int(column)
    i2, j2 = min(i + 1, x.shape[1] - 1), min(j + 1, x.shape[2] - 1)
    v, u = row - i, column - j
    upper, lower = ((1 - u) * x[:, r, j] + u * x[:, r, j2] for r in (i, i2))
    found: np.ndarray[Any, Any] = (1 - v) * upper + v * lower
    return found


def slow(public: Public, frame: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """Regions (R, 4), probabilities (R, K + 1) and poses (R, K, J, 2) of an RGB frame, in its pixels."""
    p = {name: value.double() for name, value in public.model.items()}
    bgr = frame[..., ::-1].astype(np.float32) - np.float32([102.9801, 115.9465, 122.7717])
    scale = 160 / min(frame.shape[:2])
    if round(scale * max(frame.shape[:2])) > 200:
        scale = 200 / max(frame.shape[:2])
    small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    x = slow_body(p, torch.from_numpy(small).permute(2, 0, 1)[None].double())
    boxes = slow_proposals(p, x, *small.shape[:2], public.candidates)
    pooled = torch.from_numpy(np.stack([slow_pool(x[0].numpy(), box) for box in boxes]))
    features = slow_stage(p, "Box_Head.res5", 3, 2, pooled).mean(dim=(2, 3))
    score = functional.linear(features, p["Pose_Outs.cls_score.weight"], p["Pose_Outs.cls_score.bias"])
    change = functional.linear(features, p["Pose_Outs.pose_pred.weight"], p["Pose_Outs.pose_pred.bias"]) / 5
    regions, joints = np.asarray(boxes) / scale, public.joints
    poses = np.zeros((len(boxes), K, joints, 2))
    for r, (left, top, right, bottom) in enumerate(regions):
        for k in range(K):
            for j in range(joints):
                for axis, (start, length) in enumerate(((left, right - left), (top, bottom - top))):
                    at = axis * joints + j
                    own = public.anchor_poses[k, at] + float(change[r, (k + 1) * 5 * joints + at])
                    poses[r, k, j, axis] = start + own * length
    return regions, score.softmax(dim=1).numpy(), poses


FRAMES = [(70, 90), (64, 61)]
"""The first is limited by its longer side, the second by its shorter one."""


def noise(height: int, width: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(height)
    coarse = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("size", FRAMES)
def test_computes_what_the_public_code_computes(public: Public, size: tuple[int, int]) -> None:
    frame = noise(*size)
    regions, probabilities, poses = slow(public, frame)
    network, skeleton, facts = import_public(public.path)
    assert skeleton is (LCR13 if public.joints == 13 else LCR17)
    assert facts == {"side": 224, "imported": public.path.name}
    assert network.c4 is not None
    pictures = network.c4.fit(torch.from_numpy(frame).permute(2, 0, 1)[None])
    with torch.inference_mode():
        (found,) = network(pictures)
    scale = network.c4.scale(*size)
    assert len(found.regions) == len(regions) > 1
    np.testing.assert_allclose(found.regions.numpy() / scale, regions, atol=2e-3)
    np.testing.assert_allclose(found.probabilities.numpy(), probabilities, atol=1e-4)
    np.testing.assert_allclose(found.poses.numpy() / scale, poses, atol=2e-2)


def test_the_command_makes_an_expert(public: Public, tmp_path: Path) -> None:
    if public.joints != 13:
        pytest.skip("once is enough")
    path = tmp_path / "public.safetensors"
    call = ["experts", "import", str(public.path), str(path)]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert f"{K} anchor poses of 13 joints" in done.stdout
    again = CliRunner().invoke(app, call)
    assert again.exit_code != 0 and "--overwrite" in str(again.exception)
    loaded, skeleton, facts = load_network(path)
    assert skeleton is LCR13 and facts["imported"] == "made-13.pkl" and loaded.c4 is not None
    assert describe(f"lcrnet:{path}", None)["backbone"] == "resnet50-c4"
    frame = noise(*FRAMES[0])
    expert = build_expert(f"lcrnet:{path}", device=CPU)
    frames = FrameBatch(images=np.stack([frame, frame]), indices=np.arange(2), pts_s=np.arange(2) / 30)
    found = expert.predict(frames)
    _, probabilities, poses = slow(public, frame)
    region, anchor = np.nonzero(probabilities[:, 1:] >= 0.05)
    wanted, scores = integrate(poses[region, anchor], probabilities[region, anchor + 1], region)
    wanted, scores = wanted[scores >= 0.3], scores[scores >= 0.3]
    assert len(wanted)
    for index in range(2):
        own = found.frame_indices == index
        np.testing.assert_allclose(found.box_scores[own], scores, atol=1e-4)
        np.testing.assert_allclose(found.keypoints[own], wanted, atol=2e-2)


def test_learns_on(public: Public) -> None:
    """As a student of self-train: every part but the scales and shifts of its norms."""
    if public.joints != 13:
        pytest.skip("once is enough")
    network, _, _ = import_public(public.path)
    points = torch.rand(1, 13, 2) * 60 + 20
    person = People(boxes=torch.tensor([[15.0, 15, 85, 85]]), classes=torch.tensor([2]), keypoints=points)
    losses = network.train().losses(torch.rand(1, 3, 96, 96) * 255, [person])
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert "bn" not in name
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


# Files of other kinds


def small(**changes: Any) -> dict[str, Any]:
    return {"anchor_poses": np.full((K, 65), 0.5), "cfg": settings(), "model": {}} | changes


def test_parameters_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    model = {
        "Conv_Body.res1.conv1.weight": torch.zeros(64, 3, 5, 5),
        "Mask_Head.conv.weight": torch.zeros(1),
        "Pose_Outs.cls_score.bias": torch.zeros(K + 1),
    }
    with pytest.raises(WeightsError) as error:
        import_public(write(tmp_path / "a.pkl", small(model=model)))
    said, fields = error.value.message, error.value.fields
    assert "of another shape (Conv_Body.res1.conv1.weight (64, 3, 5, 5) instead of (64, 3, 7, 7))" in said
    assert "1 unexpected (Mask_Head.conv.weight)" in said
    assert set(fields["missing"]) == set(shapes(13)) - set(model)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cfg": settings(MODEL__CONV_BODY="FPN.fpn_ResNet50_conv5_body")}, "fpn_ResNet50_conv5_body"),
        ({"cfg": settings(RPN__CLS_ACTIVATION="softmax")}, "'softmax'"),
        ({"cfg": settings(TEST__SCALE="(600, 800)")}, "settings as cfg"),
        ({"cfg": settings(TEST__SCALE=0)}, "expected positive"),
        ({"cfg": [1]}, "expected a dictionary"),
        ({"anchor_poses": np.ones((K, 5 * 21))}, r"J = 13 or 17 joints.*\(3, 105\)"),
        ({"anchor_poses": np.full((K, 65), np.nan)}, "finite"),
        ({"anchor_poses": [[1.0]]}, "got list"),
        ({"model": {"a": 1}}, "expected tensors by name"),
    ],
)
def test_other_networks_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        import_public(write(tmp_path / "a.pkl", small(**changes)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="lacks anchor_poses, cfg; it holds model"):
        import_public(write(tmp_path / "a.pkl", {"model": {}}))
    with pytest.raises(WeightsError, match="holds a list"):
        import_public(write(tmp_path / "a.pkl", []))
    with pytest.raises(WeightsError, match="cannot read it"):
        import_public(tmp_path / "nothing.pkl")
    (tmp_path / "a.pkl").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="expected a pickle"):
        import_public(tmp_path / "a.pkl")
    whole = write(tmp_path / "a.pkl", small(model={"a": torch.ones(9)})).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "a.pkl").write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            import_public(tmp_path / "a.pkl")
    with pytest.raises(WeightsError, match="skelkit experts import"):
        load_network(write(tmp_path / "a.pkl", small()))


# Pickles


class Runs:
    """What a hostile file holds."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", range(5))
def test_nothing_in_a_file_is_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(WeightsError, match="mkdir, which is not run"):
        read_pickle(write(tmp_path / "a.pkl", small(model={"a": Runs(marker)}), protocol))
    inner = io.BytesIO()
    torch.save({"a": Runs(marker)}, inner)

    class Tensors:
        def __reduce__(self) -> Any:
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    with pytest.raises(WeightsError, match="inside of a tensor"):
        read_pickle(write(tmp_path / "a.pkl", {"model": Tensors()}, protocol))
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(5))
def test_tensors_arrays_and_settings_are_read(tmp_path: Path, protocol: int) -> None:
    whole = torch.arange(12.0)
    content = {
        "numbers": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.float64(2.5),
        "bytes": b"\xff\x00",
        "settings": settings(),
        "tensors": OrderedDict(a=whole.view(3, 4)[:, 1:3], b=torch.nn.Parameter(whole[2:4]), c=whole.half()),
    }
    found = read_pickle(write(tmp_path / "a.pkl", content, protocol))
    np.testing.assert_array_equal(found["numbers"], content["numbers"])
    assert found["scalar"] == 2.5 and found["bytes"] == b"\xff\x00" and found["settings"] == settings()
    for name, tensor in content["tensors"].items():
        torch.testing.assert_close(found["tensors"][name], tensor.data, rtol=0, atol=0)


def test_tensors_of_pytorch_0_3_are_read(tmp_path: Path) -> None:
    class Storage:
        def __reduce__(self) -> Any:
            return torch.FloatStorage, ([float(n) for n in range(6)],)

    class Old:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor, (Storage(), 1, (2, 2), (2, 1))

    found = read_pickle(write(tmp_path / "a.pkl", {"a": Old()}))
    assert found["a"].tolist() == [[1, 2], [3, 4]]
    outside = (
        write(tmp_path / "a.pkl", {"a": Old()}).read_bytes().replace(b"K\x01K\x02K\x02", b"K\x09K\x02K\x02")
    )
    (tmp_path / "a.pkl").write_bytes(outside)
    with pytest.raises(WeightsError, match="cannot read it"):
        read_pickle(tmp_path / "a.pkl")


def test_networks_of_ours_stay_as_they_were(tmp_path: Path) -> None:
    network = LCRNet(torch.rand(3, 13, 2), "small", regions=32)
    save_network(tmp_path / "a.safetensors", network, LCR13, {"side": 96})
    loaded, _, _ = load_network(tmp_path / "a.safetensors")
    assert loaded.c4 is None and loaded.backbone_name == "small" and loaded.num_regions == 32
