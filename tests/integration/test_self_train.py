"""Labels -> a student; videos without labels -> a refined student."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from skelkit.cli import app
from skelkit.data.truth import open_truth
from skelkit.errors import InputError
from skelkit.experts.builtin import weights_of
from skelkit.experts.lcrnet.files import load_network
from skelkit.pipelines.self_train import LABELS, STUDENT, SelfTrainSettings, read_pictures, sure_people
from skelkit.pipelines.student import labelled_pictures
from skelkit.skeletons import COCO17, LCR13
from skelkit.structures import Float32, SkeletonSequence

CLIP = "demo_skeleton.mp4"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pictures of noise with a pose in each, labelled as COCO does."""
    folder = tmp_path_factory.mktemp("labelled")
    rng, annotations, images = np.random.default_rng(0), [], []
    for number in range(12):
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": name, "height": 90, "width": 120})
        points = np.concatenate([rng.random((17, 2)) * (40, 60) + 20, np.full((17, 1), 2)], axis=1)
        annotations.append({"image_id": number, "id": number, "keypoints": points.ravel().tolist()})
    labels = folder / "labels.json"
    labels.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return folder, labels


@pytest.fixture(scope="module")
def student(labelled: tuple[Path, Path]) -> Path:
    """Trained by the command."""
    path = labelled[0] / "student.safetensors"
    options = ["--anchors", "3", "--side", "96", "--epochs", "1", "--device", "cpu", "--json"]
    done = CliRunner().invoke(app, ["train-student", *map(str, labelled), str(path), *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["learnt"] == 10 and report["measured"] == 2
    assert 0 <= report["recall"] <= 1 and 0 <= report["pck"] <= 1
    return path


def test_a_student_keeps_what_it_takes_to_run(student: Path) -> None:
    network, skeleton, facts = load_network(student)
    assert skeleton is LCR13 and network.num_anchors == 3
    assert facts["side"] == 96 and facts["settings"]["learning"]["epochs"] == 1


@pytest.mark.parametrize("begin", ["--pretrained", "--from-scratch"])
def test_a_backbone_learns_less_only_if_it_has_learnt_before(
    begin: str, labelled: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "student.safetensors"
    options = [
        begin,
        "--backbone-lr",
        "0",
        "--anchors",
        "3",
        "--side",
        "64",
        "--epochs",
        "1",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, ["train-student", *map(str, labelled), str(path), *options])
    assert done.exit_code == 0, done.output
    network, _, facts = load_network(path)
    known, own = weights_of("people", within="trunk"), network.backbone.state_dict()
    same = all(torch.equal(own[name], value) for name, value in known.items())
    assert same == (begin == "--pretrained")
    assert facts["settings"]["learning"]["backbone"] == (0.0 if same else 1.0)


def test_labels_without_their_pictures_are_refused(labelled: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none of 12"):
        labelled_pictures(tmp_path, open_truth(labelled[1]))


def clip(points: Float32, confidence: Float32, ids: list[int]) -> SkeletonSequence:
    steps = points.shape[1]
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=points,
        scores=np.where(np.isnan(points[..., 0]), 0, 1).astype(np.float32),
        confidence=confidence,
        track_ids=np.asarray(ids, np.int64),
        frame_indices=np.arange(steps) * 10,
        pts_s=np.arange(steps) / 3,
        video_id="a",
        fps=30.0,
        image_size=(100, 100),
        sources=("x", "y"),
        label=None,
    )


def test_who_is_sure() -> None:
    """Equation 3.3. Somebody is unsure in frame 1, half hidden in 2, seen by one expert in 4; 3 is empty."""
    points = np.random.default_rng(0).random((2, 5, 17, 2)).astype(np.float32) * 50
    confidence = np.full((2, 5), 0.5, np.float32)
    confidence[1, 1] = 0.1
    points[0, 2, 5:] = np.nan
    points[:, 3] = np.nan
    confidence[:, 3] = 0
    whole = clip(points, confidence, [3, 7])
    without = points.copy()
    without[0, 4] = np.nan
    experts = [whole, clip(without[::-1].copy(), confidence, [7, 3])]  # each counts people in its own order

    def found(experts: list[SkeletonSequence], min_experts: int) -> dict[int, list[bool]]:
        asked = SelfTrainSettings(min_experts=min_experts)
        seen = dict(sure_people(whole, experts, LCR13, 0.18, asked))
        assert all(len(people.keypoints) == 2 for people in seen.values())
        return {number: people.sure.tolist() for number, people in seen.items()}

    assert found(experts, 2) == {0: [True, True], 10: [True, False], 20: [False, True], 40: [False, True]}
    assert found(experts, 1) == found(experts, 2) | {40: [True, True]}
    assert found(experts[:1], 2) == found(experts, 1)  # there is only one


def test_a_student_is_refined_by_what_experts_agree_on(pack: Path, student: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    call = [
        "self-train", str(pack / "media" / CLIP), str(out), "--student", str(student), "--experts",
        "movenet,edvard_cpm", "--share", "0.05", "--epochs", "1", "--device", "cpu", "--json",
        "--weights", str(pack / "weights"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    counts, pictures = read_pictures(out)
    assert report["pictures"] == len(pictures) == counts["pictures"] > 0
    assert report["people"] >= report["pictures"] and report["frames"] >= report["pictures"]
    picture = pictures[0].read()
    assert picture.ndim == 3 and max(picture.shape) <= 2 * 96
    inside = pictures[0].keypoints[np.isfinite(pictures[0].keypoints).all(axis=2)]
    assert (inside > -20).all() and (inside < 2 * 96 + 20).all()
    assert set(report["before"]) == set(report["after"]) == {"recall", "pck"}
    network, _, facts = load_network(out / STUDENT)
    before, _, _ = load_network(student)
    assert facts["report"] == report
    assert (network.regression.weight == before.regression.weight).all()
    assert not (network.classification.weight == before.classification.weight).all()

    labels = (out / LABELS).stat().st_mtime_ns
    again = CliRunner().invoke(app, call)  # goes on from the pseudo ground truth
    assert again.exit_code == 0 and (out / LABELS).stat().st_mtime_ns == labels
    assert json.loads(again.stdout)["after"] == report["after"]
