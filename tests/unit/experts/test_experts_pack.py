"""The five networks of the pack, on pictures whose joints are known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_networks import CPU

from skelkit.experts import build_detector, build_expert, describe
from skelkit.experts.cards import all_cards
from skelkit.experts.weights import find_weights
from skelkit.metrics import match_to_truth, pck, take_matched, torso_scale
from skelkit.protocols import Detector, PoseExpert
from skelkit.skeletons import COCO17, LIMB_JOINTS, remap
from skelkit.structures import Detections, FrameBatch, Poses, Skeleton

LIMBS = Skeleton(name="limbs12", joints=LIMB_JOINTS)
WEIGHTS_README = {  # PCK@0.2 torso on images/coco, by the pack's weights/README.md
    ("movenet", "ground truth"): 0.807,
    ("movenet", "yolox_nano"): 0.763,
    ("edvard_cpm", "ground truth"): 0.615,
    ("edvard_cpm", "yolox_nano"): 0.548,
    ("edvard_hourglass", "ground truth"): 0.526,
    ("edvard_hourglass", "yolox_nano"): 0.511,
    ("tfpose", "none needed"): 0.667,
}


@dataclass(frozen=True)
class Picture:
    frames: FrameBatch
    truth: np.ndarray  # (P, 12, 2), NaN where not labelled
    boxes: np.ndarray  # (P, 4)


@pytest.fixture(scope="module")
def pictures(pack: Path) -> list[Picture]:
    data = json.loads((pack / "images/coco/test_coco.json").read_text())
    out = []
    for image in data["images"]:
        people = [a for a in data["annotations"] if a["image_id"] == image["id"] and a["num_keypoints"]]
        joints = np.asarray([a["keypoints"] for a in people], np.float32).reshape(-1, 17, 3)
        boxes = np.asarray([a["bbox"] for a in people], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        truth = np.where(joints[..., 2:] > 0, joints[..., :2], np.nan)
        at = [COCO17.index(j) for j in LIMB_JOINTS]
        rgb = cv2.imread(str(pack / "images/coco" / image["file_name"]), cv2.IMREAD_COLOR_RGB)
        frames = FrameBatch(images=rgb[None], indices=np.zeros(1, np.int64), pts_s=np.zeros(1))
        out.append(Picture(frames, truth[:, at], boxes))
    return out


@pytest.fixture(scope="module")
def detector(pack: Path) -> Detector:
    return build_detector("yolox_nano", device=CPU, weights=pack / "weights")


def predict(expert: PoseExpert, picture: Picture, boxes: str, detector: Detector) -> Poses:
    if boxes == "none needed":
        return expert.predict(picture.frames)
    if boxes == "yolox_nano":
        return expert.predict(picture.frames, detector.detect(picture.frames))
    count = len(picture.boxes)
    given = Detections(
        frame_indices=np.zeros(count, np.int64),
        boxes_xyxy=picture.boxes,
        box_scores=np.ones(count, np.float32),
    )
    return expert.predict(picture.frames, given)


@pytest.mark.parametrize(("name", "boxes"), WEIGHTS_README)
def test_accuracy_is_that_of_the_network(
    pack: Path, pictures: list[Picture], detector: Detector, name: str, boxes: str
) -> None:
    expert = build_expert(name, device=CPU, weights=pack / "weights")
    found, truth = [], []
    for picture in pictures:
        poses = predict(expert, picture, boxes, detector)
        joints, _ = remap(poses.keypoints, poses.scores, expert.skeleton, LIMBS)
        minimum = 0.1 if boxes == "none needed" else 0.3
        match = match_to_truth(poses.boxes_xyxy, picture.boxes, min_iou=minimum)
        assert (match >= 0).all()  # nobody is overlooked
        found.append(take_matched(joints, match))
        truth.append(picture.truth)
    true = np.concatenate(truth)
    result = pck(
        np.concatenate(found),
        np.nan_to_num(true),
        scale=torso_scale(true, LIMBS),
        visible=np.isfinite(true[..., 0]),
        threshold=0.2,
    )
    assert result.overall >= WEIGHTS_README[name, boxes] - 0.02


@pytest.mark.parametrize("name", ["movenet", "edvard_cpm", "edvard_hourglass", "tfpose"])
def test_several_frames_give_what_each_gives_alone(
    pack: Path, pictures: list[Picture], detector: Detector, name: str
) -> None:
    images = [p.frames.images[0][:330, :500] for p in pictures[:3]]
    images.append(images[0][:, ::-1])  # a mirrored view, as arrays go: negative strides
    frames = FrameBatch(images=np.stack(images), indices=np.arange(4, dtype=np.int64), pts_s=np.arange(4.0))
    found = detector.detect(frames)
    expert = build_expert(name, device=CPU, weights=pack / "weights")
    together = expert.predict(frames, found)
    assert len(set(together.frame_indices.tolist())) >= 3
    for i in range(4):
        one = FrameBatch(images=images[i][None], indices=frames.indices[i : i + 1], pts_s=np.zeros(1))
        boxes = detector.detect(one)
        mine = found.frame_indices == i
        np.testing.assert_allclose(boxes.boxes_xyxy, found.boxes_xyxy[mine], atol=1e-3)
        alone = expert.predict(one, boxes)
        rows = together.frame_indices == i
        np.testing.assert_allclose(alone.keypoints, together.keypoints[rows], atol=1e-3)
        np.testing.assert_allclose(alone.scores, together.scores[rows], atol=1e-4)
        np.testing.assert_allclose(alone.boxes_xyxy, together.boxes_xyxy[rows], atol=1e-3)


def test_the_pack_holds_the_files_the_cards_describe(pack: Path) -> None:
    for card in all_cards():
        if card.verified:
            found = find_weights(card, pack / "weights")
            assert found is not None and found.checked
            assert describe(card.name, pack / "weights")["weights_sha256"] == card.weights.sha256
