"""What other tools write, as they write it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_samples import clip_of, export, good, jhmdb_file, read, skeleton_file

from skelkit.data.formats.base import Labels
from skelkit.data.formats.label_files import read_labels
from skelkit.errors import ConfigError, InputError
from skelkit.skeletons import (
    COCO17,
    CROWDPOSE14,
    HALPE26,
    JHMDB15,
    LCR13,
    NTU25,
    OPENPOSE18,
    OPENPOSE25,
    POSETICS17,
)


def dump(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def annotation(name: str, **changes: Any) -> dict[str, Any]:
    keypoint = np.full((1, 3, 17, 2), 5, np.float16)
    score = np.full((1, 3, 17), 0.5, np.float16)
    score[0, 1, 2] = 0
    values = {"frame_dir": name, "label": 1, "img_shape": (240, 320), "original_shape": (240, 320)}
    return values | {"total_frames": 3, "keypoint": keypoint, "keypoint_score": score} | changes


# pyskl


def test_pyskl_as_a_bare_list(tmp_path: Path) -> None:
    (tmp_path / "old.pkl").write_bytes(pickle.dumps([annotation("a"), annotation("b", label=np.int64(0))]))
    names = Labels(names=("sit", "stand"))
    (a, first), (b, _) = good(
        read("pyskl", tmp_path / "old.pkl", labels=names, splits=("all_of_it",), fps=30.0)
    )
    assert (a.label, a.label_index, a.split, a.fps) == ("stand", 1, "all_of_it", 30.0)
    assert (b.label, b.label_index) == ("sit", 0)
    assert first.image_size == (240, 320)
    assert np.argwhere(np.isnan(first.keypoints[..., 0])).tolist() == [[0, 1, 2]]  # score 0 = missing
    assert first.pts_s.tolist() == [0, 1 / 30, 2 / 30]


def test_pyskl_splits_that_share_clips(tmp_path: Path) -> None:
    splits = {"xsub_train": ["a"], "xsub_val": ["b"], "xview_train": ["b"], "xview_val": ["a"]}
    content = {"split": splits, "annotations": [annotation("a"), annotation("b"), annotation("c")]}
    (tmp_path / "ntu.pkl").write_bytes(pickle.dumps(content))
    found = {clip.video_id: clip.split for clip, _ in read("pyskl", tmp_path / "ntu.pkl")}
    assert found == {"a": "xsub_train", "b": "xsub_val", "c": ""}
    view = read("pyskl", tmp_path / "ntu.pkl", splits=("xview_train", "xview_val"))
    assert {clip.video_id: clip.split for clip, _ in view} == {"a": "xview_val", "b": "xview_train"}


def test_pyskl_in_three_dimensions_has_no_scores(tmp_path: Path) -> None:
    points = np.ones((2, 3, 25, 3), np.float32)
    points[1, 1:] = 0
    one = annotation("a", keypoint=points, keypoint_score=None, img_shape=None, original_shape=None)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([one]))
    ((_, sequence),) = good(read("pyskl", tmp_path / "a.pkl"))
    assert sequence.skeleton == NTU25
    assert sequence.present().tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"keypoint": np.zeros((3, 17, 2))}, "(people, frames, joints, 2)"),
        ({"keypoint": "x"}, "(people, frames, joints, 2)"),
        ({"keypoint_score": np.zeros((1, 2, 17))}, "scores of shape"),
        ({"keypoint": np.zeros((1, 3, 14, 2)), "keypoint_score": None}, "--joints"),
        ({"keypoint": np.zeros((0, 2**30, 17, 2), np.float32), "keypoint_score": None}, "frames"),
        ({"label": [1, 2]}, "whole number"),
        ({"label": 7}, "number of names"),
        ({"img_shape": ("a", 1)}, "whole number"),
        ({"img_shape": (-1, 5)}, "whole number"),
    ],
)
def test_one_bad_annotation_does_not_stop_the_others(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([annotation("bad", **changes), annotation("good")]))
    (bad, nothing), (fine, tracks) = read("pyskl", tmp_path / "a.pkl", labels=Labels(names=("x", "y")))
    assert (bad.video_id, bad.status, nothing) == ("bad", "failed", None) and why in bad.detail
    assert fine.status == "ok" and tracks is not None


def test_pyskl_without_names_or_of_nonsense(tmp_path: Path) -> None:
    named = annotation("", filename="b.avi")
    del named["frame_dir"]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([annotation("a", frame_dir=3), 5, named]))
    assert [clip.video_id for clip, _ in read("pyskl", tmp_path / "a.pkl")] == ["a:0", "a:1", "b.avi"]
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"split": {}}))
    with pytest.raises(InputError, match="pyskl pickle"):
        read("pyskl", tmp_path / "b.pkl")


def test_the_joint_set_travels_with_the_pickle(tmp_path: Path) -> None:
    path = export("pyskl", [clip_of("a", skeleton=POSETICS17)], tmp_path)
    assert good(read("pyskl", path))[0][1].skeleton == POSETICS17
    assert good(read("pyskl", path, joints=COCO17))[0][1].skeleton == COCO17


# UNIK


def test_unik_with_both_two_and_three_dimensions(tmp_path: Path) -> None:
    data = np.zeros((2, 5, 9, 17, 2), np.float32)
    data[0, :, :4, :, 0] = np.asarray([0.5, 0.25, 1, 2, 3])[:, None, None]
    data[0, 0, 2, 6, 0] = data[0, 1, 2, 6, 0] = 0
    np.save(tmp_path / "train_data_joint.npy", data)
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps((["a.json", "b"], np.asarray([3, 0]))))
    (a, flat), (b, empty) = good(read("unik", tmp_path, image_size=(100, 200)))
    assert (a.video_id, a.split, a.label_index, a.num_frames) == ("a", "train", 3, 4)
    assert (b.status, empty.num_people, b.num_frames) == ("no_person", 0, 0)
    assert flat.skeleton == POSETICS17 and flat.num_people == 1
    np.testing.assert_allclose(flat.keypoints[0, 0, 0], [150, 75])
    assert np.isnan(flat.keypoints[0, 2, 6]).all()
    (_, deep), _ = good(read("unik", tmp_path / "train_data_joint.npy", dimensions=3))
    assert deep.keypoints[0, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="names"):
        (tmp_path / "train_label.pkl").write_bytes(pickle.dumps((["a"], [3])))
        read("unik", tmp_path)


def test_unik_asks_for_the_size_of_the_picture(tmp_path: Path) -> None:
    path = export("unik", [clip_of("a", skeleton=POSETICS17)], tmp_path)
    (path / "clips.csv").unlink()
    ((clip, tracks),) = read("unik", path)
    assert tracks is None and "--image-size" in clip.detail


# Folders of JSON


def test_kinetics_as_it_comes(tmp_path: Path) -> None:
    def pose(x: float) -> dict[str, Any]:
        return {"pose": [x, 0.5] * 17 + [0, 0], "score": [0.9] * 17 + [0]}

    frames = [{"frame_index": 1, "skeleton": [pose(0.5)]}, {"frame_index": 3, "skeleton": [pose(1), pose(0)]}]
    clip = {"data": frames, "label": "abseiling", "label_index": 0}
    dump(tmp_path / "kinetics_train" / "-0ab.json", clip)
    dump(tmp_path / "kinetics_train" / "nobody.json", {"data": [], "label": "zumba", "label_index": 399})
    dump(tmp_path / "kinetics_train_label.json", {"-0ab": {"label": "abseiling", "label_index": 0}})
    (a, sequence), (b, _) = good(read("kinetics-skeleton", tmp_path))
    assert (a.video_id, a.split, a.label, a.label_index, a.fps) == ("-0ab", "train", "abseiling", 0, 30.0)
    assert (b.status, b.label, b.label_index) == ("no_person", "zumba", 399)
    assert sequence.skeleton == OPENPOSE18 and sequence.image_size == (256, 340)
    assert sequence.frame_indices.tolist() == [0, 2]
    np.testing.assert_allclose(sequence.keypoints[0, 0, 0], [170, 128])
    assert np.isnan(sequence.keypoints[0, 0, 17]).all()
    assert sequence.present().tolist() == [[True, True], [False, True]]


def test_posetics_as_it_comes(tmp_path: Path) -> None:
    person = {"pose2d": [*range(1, 14), *range(101, 114)], "pose3d": [*range(1, 40)], "cumscore": 3.0}
    name = "_abcdefghij_000001_000011"
    dump(tmp_path / "x" / f"{name}.json", {"frames": [[person], [], [person, person]]})
    labels = read_labels(
        dump(tmp_path / "l.json", {name: {"has_skeleton": True, "label": "sit", "label_index": 4}})
    )
    ((clip, flat),) = good(read("posetics-json", tmp_path / "x", labels=labels, splits=("val",)))
    assert (clip.video_id, clip.label, clip.label_index, clip.split) == (name, "sit", 4, "val")
    assert flat.skeleton == LCR13 and flat.keypoints[0, 0, 0].tolist() == [1, 101]
    assert flat.present().tolist() == [[True, False, True], [False, False, True]]
    ((_, deep),) = good(read("posetics-json", tmp_path / "x", dimensions=3))
    assert deep.keypoints[0, 0, 0].tolist() == [1, 14, 27]


def test_openpose_as_it_comes(tmp_path: Path) -> None:
    body = {"person_id": [-1], "pose_keypoints_2d": [v for k in range(25) for v in (k, 2 * k, 0.5)]}
    body["pose_keypoints_2d"][:3] = [0, 0, 0]
    for frame, people in ((0, [body]), (1, []), (10, [body, body])):
        name = f"my_clip_{frame:012d}_keypoints.json"
        dump(tmp_path / "out" / name, {"version": 1.3, "people": people})
    ((clip, sequence),) = good(read("openpose", tmp_path / "out"))
    assert clip.video_id == "my_clip" and sequence.skeleton == OPENPOSE25
    assert sequence.frame_indices.tolist() == [0, 1, 10]
    assert np.isnan(sequence.keypoints[0, 0, 0]).all()
    assert sequence.keypoints[0, 0, 3].tolist() == [3, 6] and sequence.scores[0, 0, 3] == 0.5
    assert sequence.present().tolist() == [[True, False, True], [False, False, True]]
    dump(tmp_path / "out" / "other_000000000000_keypoints.json", {"people": "none"})
    bad, fine = read("openpose", tmp_path / "out")[::-1]
    assert (bad[0].video_id, bad[0].status, fine[0].status) == ("other", "failed", "ok")


def keypoints(joints: int, score: float = 0.5) -> list[float]:
    return [v for k in range(joints) for v in (k, k + 1, score)]


@pytest.mark.parametrize(
    ("content", "skeleton", "frames", "ids"),
    [
        (  # COCO results
            [{"image_id": i, "category_id": 1, "keypoints": keypoints(17), "score": 0.7} for i in (4, 2, 4)],
            COCO17,
            [2, 4],
            [0, 1],
        ),
        (  # AlphaPose with tracking
            [
                {"image_id": f"{i}.jpg", "keypoints": keypoints(26), "score": 2.7, "idx": t}
                for i, t in ((9, 3), (10, 3), (10, [1.0]))
            ],
            HALPE26,
            [9, 10],
            [1, 3],
        ),
        (  # MMPose's inferencer on a video
            [
                {"frame_id": i, "instances": [{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1.1] * 17}]}
                for i in (0, 1)
            ],
            COCO17,
            [0, 1],
            [0],
        ),
        (  # MMPose's demo
            {
                "meta_info": {},
                "instance_info": [
                    {
                        "frame_id": 1,
                        "instances": [{"keypoints": [[1, 2]] * 17, "keypoint_scores": [0.5] * 17}],
                    }
                ],
            },
            COCO17,
            [1],
            [0],
        ),
        ([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [0.5] * 17}] * 2, COCO17, [0], [0, 1]),  # a picture
        ([], COCO17, [], []),
    ],
)
def test_coco_and_its_kin(
    tmp_path: Path, content: Any, skeleton: Any, frames: list[int], ids: list[int]
) -> None:
    ((clip, sequence),) = good(read("coco", dump(tmp_path / "x.json", content)))
    assert clip.video_id == "x" and sequence.skeleton == skeleton
    assert sequence.frame_indices.tolist() == frames and sequence.track_ids.tolist() == ids
    assert (sequence.scores <= 1).all() and (np.nan_to_num(sequence.confidence) <= 1).all()


def test_coco_of_other_joints(tmp_path: Path) -> None:
    path = dump(tmp_path / "x.json", [{"image_id": 1, "keypoints": keypoints(14)}])
    ((clip, tracks),) = read("coco", path)
    assert tracks is None and "--joints" in clip.detail
    assert good(read("coco", path, joints=CROWDPOSE14))[0][1].skeleton == CROWDPOSE14


# Files of data sets


def test_ntu(tmp_path: Path) -> None:
    skeleton_file(tmp_path / "S001C001P001R001A043.skeleton", [[], [1, 2], *[[1]] * 12])
    skeleton_file(tmp_path / "S001C002P005R008A058.skeleton", [[1]])
    (tmp_path / "S001C001P001R001A001.skeleton").write_text("3\n1\n")
    items = read("ntu", tmp_path, skip=frozenset({"S001C002P005R008A058"}))
    (bad, nothing), (clip, tracks) = items
    assert nothing is None and bad.status == "failed" and "cut" not in bad.video_id
    assert tracks is not None
    sequence = tracks.to_sequence()
    assert (clip.label, clip.label_index, clip.num_frames, clip.fps) == ("A043", 42, 14, 30.0)
    assert clip.detail == "1 of 2 bodies look like noise"
    assert sequence.keypoints.shape == (2, 14, 25, 3)
    np.testing.assert_allclose(sequence.keypoints[1, 1, 6], [2.5, 0.6, 3])
    assert np.isnan(sequence.keypoints[0, 1, 3]).all() and sequence.scores[0, 1, 4] == 0.5
    ((_, flat),) = good(read("ntu", tmp_path / "S001C001P001R001A043.skeleton", dimensions=2))
    assert flat.keypoints[0, 1, 6].tolist() == [106, 6.5] and flat.image_size == (1080, 1920)
    named = Labels(names=tuple(f"action {i}" for i in range(60)))
    ((clip, _),) = read("ntu", tmp_path / "S001C001P001R001A043.skeleton", labels=named)
    assert clip.label == "action 42"


def test_jhmdb(tmp_path: Path) -> None:
    path = jhmdb_file(tmp_path / "gt_test_1.npz")
    (a, sequence), (b, _) = good(read("jhmdb", path))
    assert (a.video_id, a.label, a.label_index, a.split) == ("jhmdb-0012", "wave", 1, "test")
    assert (b.video_id, b.label, b.num_frames) == ("jhmdb-0007", "catch", 2)
    assert sequence.skeleton == JHMDB15 and sequence.image_size == (240, 320)
    poses = np.load(path)["poses"]
    np.testing.assert_allclose(
        (sequence.keypoints[0, :, :, 0] / 320 - 0.5) * 320 / 240, poses[:3, :, 0], atol=1e-5
    )
    np.testing.assert_allclose(sequence.keypoints[0, :, :, 1] / 240 - 0.5, poses[:3, :, 1], atol=1e-5)


def test_the_pack(pack: Path) -> None:
    clips = good(read("jhmdb", pack / "jhmdb"))
    assert len(clips) == 609 and len({clip.video_id for clip, _ in clips}) == 609
    assert sum(clip.num_frames for clip, _ in clips) == 21126
    three = good(read("ssta-npz", pack / "ssta-watchtv", image_size=(480, 640)))
    assert [clip.num_frames for clip, _ in three] == [1380, 1379, 1380]


# Labels


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("sit\nstand up\n")
    assert read_labels(tmp_path / "names.txt").names == ("sit", "stand up")
    for content in ([1], {"a": "b"}, {"a": {"label": 3}}, {"a": {"label": "b", "label_index": "c"}}):
        with pytest.raises(InputError, match="label"):
            read_labels(dump(tmp_path / "bad.json", content))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="label names"):
        read_labels(tmp_path / "binary.txt")


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("coco", "ntu", "openpose", "jhmdb", "ssta-npz", "unik", "posetics-json", "pyskl"):
        with pytest.raises(InputError):
            read(name, tmp_path / "nothing")
    with pytest.raises(ConfigError, match="unknown format: 'pysk'; did you mean pyskl"):
        read("pysk", tmp_path)
