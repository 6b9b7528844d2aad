"""Accuracy of every expert on still pictures with known joints (data pack: images/coco, lspet).

PCK@0.2 torso: error below 0.2 x the distance left shoulder - right hip (else right shoulder - left hip;
people with neither, or under 10 px, are left out). PCK@0.1 box: error below 0.1 x the longer side of the
person's box. 12 limb joints; a person nobody found counts as all joints wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from skelkit.experts import build_detector, build_expert, choose_device
from skelkit.metrics import bbox_scale, match_to_truth, pck, take_matched, torso_scale
from skelkit.protocols import Detector, PoseExpert
from skelkit.skeletons import COCO17, LIMB_JOINTS, LSP14, remap
from skelkit.structures import Detections, Float32, FrameBatch, Poses, Skeleton

LIMBS = Skeleton(name="limbs12", joints=LIMB_JOINTS)
EXPERTS = ("movenet", "edvard_cpm", "edvard_hourglass", "tfpose")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture with its people."""

    frames: FrameBatch
    truth: Float32  # (P, 12, 2)
    visible: np.ndarray  # (P, 12)
    boxes: Float32  # (P, 4)


def read(path: Path) -> FrameBatch:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return FrameBatch(images=image[None], indices=np.zeros(1, np.int64), pts_s=np.zeros(1))


def limbs(keypoints: Float32, skeleton: Skeleton) -> Float32:
    return remap(keypoints, np.ones(keypoints.shape[:-1], np.float32), skeleton, LIMBS)[0]


def coco(pack: Path) -> Iterator[Picture]:
    """The 12 people with joints in the four pictures of images/coco."""
    data = json.loads((pack / "images/coco/test_coco.json").read_text())
    for image in data["images"]:
        people = [a for a in data["annotations"] if a["image_id"] == image["id"] and a["num_keypoints"]]
        joints = np.asarray([a["keypoints"] for a in people], np.float32).reshape(-1, 17, 3)
        box = np.asarray([a["bbox"] for a in people], np.float32)
        box[:, 2:] += box[:, :2]
        at = [COCO17.index(j) for j in LIMB_JOINTS]
        frames = read(pack / "images/coco" / image["file_name"])
        yield Picture(frames=frames, truth=joints[:, at, :2], visible=joints[:, at, 2] > 0, boxes=box)


def lspet(pack: Path, count: int, wanted: Callable[[int], bool] = lambda n: n % 10 == 7) -> Iterator[Picture]:
    """The first `count` pictures of lspet whose number is `wanted`; the box is the joints' extent + 10 %."""
    data = np.load(pack / "lspet/joints.npz")
    at = [LSP14.index(j) for j in LIMB_JOINTS]
    rows = [i for i, n in enumerate(data["ids"]) if wanted(int(n))][:count]
    for i in rows:
        joints = data["joints"][i]
        seen = joints[:, 2] > 0
        low, high = joints[seen, :2].min(axis=0), joints[seen, :2].max(axis=0)
        margin = 0.1 * (high - low)
        frames = read(pack / "lspet/images" / str(data["names"][i]))
        yield Picture(
            frames=frames,
            truth=joints[None, at, :2].astype(np.float32),
            visible=seen[None, at],
            boxes=np.concatenate([low - margin, high + margin]).astype(np.float32)[None],
        )


def predict(expert: PoseExpert, picture: Picture, detector: Detector | None) -> Poses:
    """The expert's poses, on the detector's boxes or on the true ones."""
    people = None
    if expert.kind == "top-down":
        people = (
            detector.detect(picture.frames)
            if detector
            else Detections(
                frame_indices=np.zeros(len(picture.boxes), np.int64),
                boxes_xyxy=picture.boxes,
                box_scores=np.ones(len(picture.boxes), np.float32),
            )
        )
    return expert.predict(picture.frames, people)


def measure(
    expert: PoseExpert, pictures: list[Picture], detector: Detector | None
) -> tuple[float, float, float]:
    """PCK@0.2 torso, PCK@0.1 box, share of people found."""
    found, truth, visible, boxes, hits = [], [], [], [], []
    for picture in pictures:
        poses = predict(expert, picture, detector)
        minimum = 0.1 if expert.kind != "top-down" else 0.3
        match = match_to_truth(poses.boxes_xyxy, picture.boxes, min_iou=minimum)
        found.append(take_matched(limbs(poses.keypoints, expert.skeleton), match))
        truth.append(picture.truth)
        visible.append(picture.visible)
        boxes.append(picture.boxes)
        hits.append(match >= 0)
    all_found, all_truth = np.concatenate(found), np.concatenate(truth)
    seen, box = np.concatenate(visible), np.concatenate(boxes)
    # torso length only from labelled joints
    torso = torso_scale(np.where(seen[..., None], all_truth, np.nan), LIMBS)
    by_torso = pck(all_found, all_truth, scale=torso, visible=seen, threshold=0.2).overall
    by_box = pck(all_found, all_truth, scale=bbox_scale(box), visible=seen, threshold=0.1).overall
    return by_torso, by_box, float(np.concatenate(hits).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="folder of the networks (default: the pack's)")
    parser.add_argument("--lspet", type=int, default=300, help="pictures of lspet")
    parser.add_argument("--experts", default=",".join(EXPERTS))
    args = parser.parse_args()
    pack = find_pack()
    weights = args.weights or pack / "weights"
    device = choose_device("cpu")
    detector = build_detector("yolox_nano", device=device, weights=weights)
    sets = {"COCO": list(coco(pack)), f"LSPET {args.lspet}": list(lspet(pack, args.lspet))}
    table = Table(title="PCK@0.2 torso (PCK@0.1 box), people found")
    for column in ("expert", "boxes", *sets):
        table.add_column(column)
    for name in args.experts.split(","):
        expert = build_expert(name, device=device, weights=weights)
        sources: list[Detector | None] = [None, detector] if expert.kind == "top-down" else [None]
        for source in sources:
            boxes = "none needed" if expert.kind != "top-down" else source.name if source else "ground truth"
            cells = [measure(expert, pictures, source) for pictures in sets.values()]
            table.add_row(name, boxes, *(f"{a:.3f} ({b:.3f}) {100 * c:.0f} %" for a, b, c in cells))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
