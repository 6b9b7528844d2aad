from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skelkit.data.truth import open_truth
from skelkit.errors import ConfigError, InputError
from skelkit.skeletons import AIC14, COCO17, LSP14, NTU25, POSETRACK17


def coco(path: Path, people: list[dict[str, Any]], **more: Any) -> Path:
    images = [{"id": 7, "file_name": "val/a.b.jpg", "height": 100, "width": 200}]
    path.write_text(json.dumps({"images": images, "annotations": people, **more}))
    return path


def person(value: float, *, labelled: int = 2, **more: Any) -> dict[str, Any]:
    joints = [[value, value + 1, labelled]] * 16 + [[0, 0, 0]]
    return {"image_id": 7, "keypoints": [n for j in joints for n in j], "bbox": [1, 2, 10, 20], **more}


def skeleton_file(path: Path, frames: list[list[int]]) -> Path:
    """Bodies by frame; a body's number is in its coordinates, joint 3 is not tracked."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body in bodies:
            lines += ["7205759 0 1 1 1 1 0 0.1 0.2 2", "25"]
            for joint in range(25):
                colour = f"{100 * body + joint} {joint}.5"
                lines.append(f"0.1 0.2 3 50 60 {colour} 0 0 0 1 {0 if joint == 3 else 2}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_coco(tmp_path: Path) -> None:
    people = [person(5), person(9, iscrowd=1), person(0, labelled=0), person(20, bbox=None)]
    truth = open_truth(coco(tmp_path / "a.json", people))
    assert list(truth) == ["val/a.b"]
    clip = truth["val/a.b"]()
    assert clip.image_size == (100, 200)
    assert clip.poses.skeleton == COCO17
    assert len(clip.poses) == 2  # neither the crowd nor the person without a label
    assert np.isnan(clip.poses.keypoints[0, 16]).all() and clip.poses.keypoints[0, 0].tolist() == [5, 6]
    assert clip.poses.boxes_xyxy.tolist() == [[1, 2, 11, 22], [20, 21, 20, 21]]


@pytest.mark.parametrize(
    ("names", "skeleton"),
    [
        ([j.replace("_", " ").title() for j in AIC14.joints], AIC14),
        ([{"neck": "head_bottom"}.get(j, j) for j in POSETRACK17.joints], POSETRACK17),
    ],
)
def test_coco_with_other_joints(tmp_path: Path, names: list[str], skeleton: Any) -> None:
    joints = [n for k in range(len(names)) for n in (k, k, 1)]
    category = [{"name": "person", "keypoints": names}]
    path = coco(tmp_path / "a.json", [{"image_id": 7, "keypoints": joints}], categories=category)
    poses = open_truth(path)["val/a.b"]().poses
    assert poses.skeleton == skeleton
    assert poses.keypoints[0, :, 0].tolist() == list(range(len(names)))


def test_ntu(tmp_path: Path) -> None:
    skeleton_file(tmp_path / "S001C001P001R001A001.skeleton", [[], [1, 2], [1]])
    truth = open_truth(tmp_path)
    assert list(truth) == ["S001C001P001R001A001"]
    clip = truth["S001C001P001R001A001"]()
    assert clip.poses.skeleton == NTU25 and clip.image_size == (1080, 1920)
    assert clip.poses.frame_indices.tolist() == [1, 1, 2]
    assert clip.poses.keypoints[:, 4].tolist() == [[104, 4.5], [204, 4.5], [104, 4.5]]
    assert np.isnan(clip.poses.keypoints[:, 3]).all()


def test_lsp(tmp_path: Path) -> None:
    joints = np.zeros((2, 14, 3))
    joints[1, :13] = [3, 4, 1]
    arrays = {"names": np.asarray(["im1.jpg", "im2.jpg"]), "image_size_wh": np.asarray([[9, 8], [7, 6]])}
    np.savez(tmp_path / "joints.npz", joints=joints, **arrays)
    clip = open_truth(tmp_path / "joints.npz")["im2"]()
    assert clip.image_size == (6, 7) and clip.poses.skeleton == LSP14
    assert clip.poses.keypoints[0, 0].tolist() == [3, 4] and np.isnan(clip.poses.keypoints[0, 13]).all()


def test_ssta(tmp_path: Path) -> None:
    kpts = np.ones((3, 17, 2), np.float32)
    kpts[1] = 0
    np.savez(tmp_path / "a.npz", kpts=kpts)
    for path in (tmp_path / "a.npz", tmp_path):
        poses = open_truth(path)["a"]().poses
        assert poses.frame_indices.tolist() == [0, 2]


def test_the_pack(pack: Path) -> None:
    four = open_truth(pack / "images/coco/test_coco.json")
    assert sum(len(read().poses) for read in four.values()) == 12
    assert sum(int(np.isfinite(read().poses.keypoints[..., 0]).sum()) for read in four.values()) == 181
    lsp = open_truth(pack / "lspet/joints.npz")
    assert len(lsp) == 6000 and lsp["im00002"]().poses.skeleton == LSP14


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[1, 2]"),
        ("a.json", b'{"images": [{"id": 1}], "annotations": []}'),
        ("a.json", b"\xff"),
        ("a.npz", b"PK no"),
        ("a.npz", b""),
        ("a.skeleton", b"2\n1\n"),
        ("a.skeleton", b"words"),
        ("a.skeleton", b"\xff\xfe"),
    ],
)
def test_refuses_other_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="expected"):
        open_truth(tmp_path / name)["a"]()


def test_refuses_what_does_not_fit(tmp_path: Path) -> None:
    coco(tmp_path / "a.json", [person(1) | {"keypoints": [1, 2, 1]}])
    with pytest.raises(InputError, match="COCO"):
        open_truth(tmp_path / "a.json")["val/a.b"]()
    whole = skeleton_file(tmp_path / "b.skeleton", [[1], [1]]).read_text()
    (tmp_path / "b.skeleton").write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut short"):
        open_truth(tmp_path / "b.skeleton")["b"]()
    np.savez(tmp_path / "c.npz", joints=np.zeros((2, 13, 3)), names=np.asarray(["a", "b"]))
    with pytest.raises(InputError, match="LSP"):
        open_truth(tmp_path / "c.npz")
    (tmp_path / "d.txt").touch()
    with pytest.raises(ConfigError, match="--format"):
        open_truth(tmp_path / "d.txt")
    with pytest.raises(ConfigError, match="among coco"):
        open_truth(tmp_path / "a.json", "mpii")
    with pytest.raises(InputError, match="found nothing"):
        open_truth(tmp_path / "none.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        open_truth(tmp_path / "empty", "ntu")
