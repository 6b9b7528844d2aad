"""OpenMMLab's experts against OpenMMLab's own inference, on the pack's pictures: the same numbers.

Networks have random weights from a fixed seed, with outputs as large as those of trained ones: left as they
are, random heads say boxes of 10^36 pixels with scores of exactly 1, or nothing at all. Inputs have a quarter
of the area where networks are large. Of thousands of candidates only the best go on to non-maximum
suppression: random ones overlap by every amount, also by the threshold to the sixth digit.

DARK and UDP step by the inverse of the map's curvature at its peak. Random maps have peaks with next to none,
where rounding in the sixth digit moves joints by pixels, in MMPose's decoding, too. These heads therefore get
maps such as trained ones give: one Gaussian, whose place and height the random map says.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch

from skelkit.experts import Device, build_detector, build_expert
from skelkit.experts.openmmlab import environment, index
from skelkit.structures import Detections, FrameBatch, Poses

if find_spec("mmpose") is None:
    pytest.skip("OpenMMLab's packages are not installed: make openmmlab", allow_module_level=True)
pytestmark = pytest.mark.openmmlab
environment.prepare()

CPU = Device(kind="cpu", threads=1)  # small networks: on a busy machine threads mostly wait for each other
BOXES = np.asarray([[60, 20, 260, 400], [300.5, 90.25, 420.75, 300], [-20, 200, 160, 500]], np.float32)
COORDINATES, SCORES = 0.05, 1e-3  # the bounds


@pytest.fixture(scope="module")
def pictures(pack: Path) -> FrameBatch:
    """Three of the pack's pictures, of one size as the frames of a video are."""
    files = sorted((pack / "images" / "coco").glob("*.jpg"))[:3]
    images = np.stack([cv2.resize(cv2.imread(str(f)), (480, 400))[..., ::-1] for f in files])
    return FrameBatch(images=images, indices=np.asarray([4, 5, 9]), pts_s=np.asarray([0.4, 0.5, 0.9]))


@pytest.fixture(scope="module")
def people(pictures: FrameBatch) -> Detections:
    """Boxes in all pictures but the second."""
    return Detections(
        frame_indices=np.repeat(pictures.indices[[0, 2]], [3, 2]),
        boxes_xyxy=np.concatenate([BOXES, BOXES[:2] + 15]),
        box_scores=np.ones(5, np.float32),
    )


class Case(NamedTuple):
    """A network to compare."""

    name: str
    """In the index."""
    swaps: dict[tuple[int, ...], tuple[int, ...]] = {}  # noqa: RUF012
    """Sizes in its config to replace."""
    spread: float = 1.0
    """Standard deviation of what the head's layers give."""
    options: dict[str, Any] = {}  # noqa: RUF012
    """Other settings of the config."""
    peaked: bool = False
    """Whether the head's maps become Gaussians."""


def made(folder: Path, package: str, case: Case, frames: FrameBatch, people: Detections) -> tuple[Path, Path]:
    """A config with other sizes in it, and a checkpoint with random weights for it."""
    from mmengine import Config

    name = case.name
    config = Config.fromfile(index.resolve(package, name).config)
    config.merge_from_dict(case.options)
    path = folder / f"{name}.py"
    Config(swapped(config.to_dict(), case.swaps)).dump(path)
    build = build_detector if package == "mmdet" else build_expert
    expert: Any = build(f"{package}:{path}@random=1", device=CPU)
    spread(expert.model, case.spread)
    if package == "mmdet":
        expert.detect(frames)
    else:
        expert.predict(frames, people)
    torch.save({"state_dict": expert.model.state_dict(), "meta": {}}, folder / f"{name}.pth")
    return path, folder / f"{name}.pth"


def spread(model: Any, wanted: float) -> None:
    """Scale each of the heads' layers that no batch norm follows by what it gives in its first run."""
    handles: dict[Any, Any] = {}
    heads = [getattr(model, n) for n in ("head", "bbox_head", "rpn_head", "roi_head") if hasattr(model, n)]

    def scale(layer: Any, _: Any, output: torch.Tensor) -> torch.Tensor:
        handles.pop(layer).remove()
        factor = wanted / float(output.std()) if output.numel() > 1 else 1.0
        for weights in layer.parameters():
            weights.data *= factor
        return output * factor

    for name, layer in (named for head in heads for named in head.named_modules()):
        last = name.startswith("cls_") or getattr(layer, "bias", None) is not None  # SimCC's have no bias
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and last:
            handles[layer] = layer.register_forward_hook(scale)


def peaked(_: Any, __: Any, maps: torch.Tensor) -> torch.Tensor:
    """A forward hook: each map as a Gaussian of two cells around its soft argmax, as high as it was."""
    height, width = maps.shape[2:]
    y, x = torch.arange(height).reshape(1, 1, -1, 1), torch.arange(width).reshape(1, 1, 1, -1)
    weights = (20 * maps).flatten(2).softmax(dim=2).reshape(maps.shape)
    cx, cy = ((weights * cells).sum(dim=(2, 3), keepdim=True) for cells in (x, y))
    return maps.amax(dim=(2, 3), keepdim=True) * (-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2**2)).exp()


def swapped(value: Any, swaps: dict[tuple[int, ...], tuple[int, ...]]) -> Any:
    """The same with other sizes."""
    if isinstance(value, dict):
        return {k: swapped(v, swaps) for k, v in value.items()}
    if isinstance(value, list | tuple):
        if all(isinstance(v, int) for v in value) and tuple(value) in swaps:
            return swaps[tuple(value)]
        return type(value)(swapped(v, swaps) for v in value)
    return value


def bgr(frames: FrameBatch, n: int) -> Any:
    return np.ascontiguousarray(frames.images[n][..., ::-1])


def mmpose_model(config: Path, weights: Path, *, flip: bool) -> Any:
    from mmpose.apis import init_model

    return init_model(str(config), str(weights), "cpu", {"model.test_cfg.flip_test": flip})


def one_by_one(expert: Any, frames: FrameBatch, people: Detections | None) -> list[Poses]:
    """Each frame as a batch of its own."""
    found = []
    for n in range(len(frames)):
        alone = FrameBatch(
            images=frames.images[n : n + 1], indices=frames.indices[n : n + 1], pts_s=frames.pts_s[n : n + 1]
        )
        mine = None
        if people is not None:
            here = people.frame_indices == frames.indices[n]
            mine = Detections(
                frame_indices=people.frame_indices[here],
                boxes_xyxy=people.boxes_xyxy[here],
                box_scores=people.box_scores[here],
            )
        found.append(expert.predict(alone, mine))
    return found


def assert_same(found: Poses, keypoints: Any, scores: Any) -> None:
    """Joints and scores within the bounds; joints with scores of 0 or less are missing."""
    wanted = np.asarray(scores, np.float32)
    assert found.scores.shape == wanted.shape
    wanted = np.where(np.isfinite(keypoints).all(axis=-1), wanted, 0)
    np.testing.assert_allclose(found.scores, np.clip(wanted, 0, 1), rtol=0, atol=SCORES)
    lost = ~np.isfinite(found.keypoints).all(axis=-1)
    np.testing.assert_array_equal(lost, (wanted <= 0) | ~np.isfinite(keypoints).all(axis=-1))
    # random networks also put joints far outside the picture, to no more digits than float32 has
    inside = (np.abs(keypoints - np.asarray([240, 200])) < [300, 260]).all(axis=-1) & ~lost
    assert inside.any()
    np.testing.assert_allclose(found.keypoints[inside], keypoints[inside], rtol=0, atol=COORDINATES)


TOP_DOWN = {
    "heatmap": Case("td-hm_mobilenetv2_8xb64-210e_coco-256x192", spread=0.2),
    "heatmap, DARK": Case(
        "td-hm_vipnas-mbv3_dark-8xb64-210e_coco-wholebody-256x192", spread=0.2, peaked=True
    ),
    "heatmap, UDP": Case("cspnext-tiny_udp_8xb256-210e_aic-coco-256x192", spread=0.2, peaked=True),
    "SimCC": Case("rtmpose-t_8xb256-420e_body8-256x192", spread=0.2),
    "regression": Case("td-reg_mobilenetv2_rle-pretrained-8xb64-210e_coco-256x192", spread=0.2),
}


@pytest.mark.parametrize(
    ("kind", "flip"), [*((kind, False) for kind in TOP_DOWN), ("heatmap", True), ("SimCC", True)]
)
def test_top_down(kind: str, flip: bool, pictures: FrameBatch, people: Detections, tmp_path: Path) -> None:
    from mmpose.apis import inference_topdown

    config, weights = made(tmp_path, "mmpose", TOP_DOWN[kind], pictures, people)
    theirs = mmpose_model(config, weights, flip=flip)
    expert: Any = build_expert(f"mmpose:{config}@{weights}" + "@flip" * flip, device=CPU)
    if TOP_DOWN[kind].peaked:
        for model in (theirs, expert.model):
            model.head.final_layer.register_forward_hook(peaked)
    together = expert.predict(pictures, people)
    alone = one_by_one(expert, pictures, people)
    for n, index_ in enumerate(pictures.indices):
        here = people.frame_indices == index_
        if not here.any():
            assert len(alone[n]) == 0
            continue
        wanted = [
            r.pred_instances for r in inference_topdown(theirs, bgr(pictures, n), people.boxes_xyxy[here])
        ]
        keypoints = np.concatenate([w.keypoints for w in wanted])
        scores = np.concatenate([w.keypoint_scores for w in wanted])
        assert ((scores > 0) & (scores < 1)).mean() > 0.5 or kind == "regression", scores
        assert len(np.unique(keypoints.round(1))) > 20
        batch = Poses(
            skeleton=expert.skeleton,
            frame_indices=together.frame_indices[here],
            boxes_xyxy=together.boxes_xyxy[here],
            box_scores=together.box_scores[here],
            keypoints=together.keypoints[here],
            scores=together.scores[here],
        )
        for found in (batch, alone[n]):
            assert_same(found, keypoints, scores)


SMALL = {(512, 512): (256, 256), (128, 128): (64, 64), (416, 416): (256, 256)}
WHOLE = {
    "RTMO": Case("rtmo-t_8xb32-600e_body7-416x416", SMALL, 0.2, {"model.test_cfg.nms_pre": 30}),
    "YOLOXPose": Case("yoloxpose_tiny_4xb64-300e_coco-416", SMALL, 0.5, {"model.test_cfg.nms_pre": 30}),
    "DEKR": Case("dekr_hrnet-w32_8xb10-140e_coco-512x512", SMALL),
    "associative embedding": Case("ae_hrnet-w32_8xb24-300e_coco-512x512", SMALL, spread=0.2),
    "CID": Case("cid_hrnet-w32_8xb20-140e_coco-512x512", SMALL),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_frames(kind: str, pictures: FrameBatch, people: Detections, tmp_path: Path) -> None:
    from mmpose.apis import inference_bottomup

    config, weights = made(tmp_path, "mmpose", WHOLE[kind], pictures, people)
    flip = kind == "associative embedding"  # MMPose's head takes nothing else
    theirs = mmpose_model(config, weights, flip=flip)
    expert: Any = build_expert(f"mmpose:{config}@{weights}" + "@flip" * flip, device=CPU)
    expert.batches.size = 2
    together = expert.predict(pictures)
    alone = one_by_one(expert, pictures, None)
    for n, index_ in enumerate(pictures.indices):
        wanted = inference_bottomup(theirs, bgr(pictures, n))[0].pred_instances
        here = together.frame_indices == index_
        batch = Poses(
            skeleton=expert.skeleton,
            frame_indices=together.frame_indices[here],
            boxes_xyxy=together.boxes_xyxy[here],
            box_scores=together.box_scores[here],
            keypoints=together.keypoints[here],
            scores=together.scores[here],
        )
        scores = np.asarray(wanted.keypoint_scores)
        seen = ((scores > 0) & np.isfinite(wanted.keypoints).all(axis=-1)).any(axis=1)
        assert seen.sum() > 2, f"{kind}: {len(scores)} people"
        for found in (batch, alone[n]):
            assert_same(found, np.asarray(wanted.keypoints)[seen], scores[seen])
            if "bboxes" in wanted:
                np.testing.assert_allclose(found.boxes_xyxy, wanted.bboxes[seen], atol=COORDINATES)


DETECTORS = {
    "RTMDet": Case(
        "rtmdet_tiny_8xb32-300e_coco",
        {(640, 640): (320, 320)},
        options={"model.test_cfg.nms_pre": 30},
    ),
    "Faster R-CNN": Case(
        "faster-rcnn_r50_fpn_1x_coco",
        {(1333, 800): (320, 256)},
        options={"model.test_cfg.rpn.nms_pre": 30, "model.test_cfg.rpn.max_per_img": 30},
    ),
}


@pytest.mark.parametrize("kind", DETECTORS)
def test_detectors(kind: str, pictures: FrameBatch, people: Detections, tmp_path: Path) -> None:
    from mmdet.apis import inference_detector, init_detector

    config, weights = made(tmp_path, "mmdet", DETECTORS[kind], pictures, people)
    theirs = init_detector(str(config), str(weights), device="cpu")
    wanted = [inference_detector(theirs, bgr(pictures, n)).pred_instances for n in range(len(pictures))]
    detector: Any = build_detector(f"mmdet:{config}@{weights}", device=CPU)
    assert detector.person == 0
    # random networks call things by random names: the one they use most stands for a person here
    detector.person = int(torch.cat([w.labels for w in wanted]).bincount().argmax())
    for size in (1, 3):
        detector.batches.size = size
        found = detector.detect(pictures)
        for theirs_, frame in zip(wanted, pictures.indices, strict=True):
            people = (theirs_.labels == detector.person).numpy()
            here = found.frame_indices == frame
            assert people.any()
            np.testing.assert_allclose(found.box_scores[here], theirs_.scores.numpy()[people], atol=SCORES)
            np.testing.assert_allclose(
                found.boxes_xyxy[here], theirs_.bboxes.numpy()[people], rtol=0, atol=COORDINATES
            )
