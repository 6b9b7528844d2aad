"""From a shard and ground truth to figures and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import skelkit

from skelkit.data import Clip, ShardWriter
from skelkit.data.ssta_npz import write_ssta_npz
from skelkit.errors import ConfigError, InputError, OutputError
from skelkit.pipelines.evaluate import Outputs, evaluate_poses
from skelkit.skeletons import COCO17, NTU25
from skelkit.structures import SkeletonSequence

SIZE = (200, 400)
STANDING = np.asarray([(0, -85), (4, -88), (-4, -88), (8, -86), (-8, -86), (20, -60), (-20, -60), (26, -30),
                       (-26, -30), (28, -2), (-28, -2), (12, 0), (-12, 0), (13, 45), (-13, 45), (13, 90),
                       (-13, 90)], np.float32)  # fmt: skip
HEAD = 25.0  # nose to the middle of the shoulders
LEFT_WRIST = COCO17.index("left_wrist")


def clip_of(name: str, keypoints: Any, frames: list[int], source: str) -> SkeletonSequence:
    k = np.asarray(keypoints, np.float32)
    seen = np.isfinite(k).all(-1)
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=k,
        scores=seen.astype(np.float32),
        confidence=np.where(seen.any(-1), [[0.9, 0.1][i % 2] for i in range(len(frames))], np.nan).astype(
            "f4"
        ),
        track_ids=np.arange(len(k)),
        frame_indices=np.asarray(frames),
        pts_s=np.arange(len(frames)) / 10,
        video_id=name,
        fps=10.0,
        image_size=SIZE,
        sources=(source,),
    )


def person(x: float) -> np.ndarray:
    return STANDING + np.float32([x, 100])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures of two and one people; "good" finds all but is half a head off at one wrist, "blind"
    misses the second person and has the third 3 heads too far right."""
    joint_sets = {"good": COCO17, "blind": COCO17}
    with ShardWriter(tmp_path / "o.h5", skeleton=COCO17, recipe={}, experts=joint_sets) as shard:
        for name, places in (("set/one", (100, 300)), ("set/two", (200,))):
            good = np.stack([person(x) for x in places])[:, None]
            good[..., LEFT_WRIST, 0] += HEAD / 2
            blind = np.stack([person(100 if x == 100 else x + 3 * HEAD) for x in places])[:, None]
            blind[1:] = np.nan
            views = {n: clip_of(name, k, [0], n) for n, k in (("good", good), ("blind", blind))}
            shard.write(views["good"], clip=Clip.of(views["good"]), experts=views)
    people = []
    for image, places in ((1, (300, 100)), (2, (200,)), (3, (50,))):
        for x in places:
            joints = np.concatenate([person(x), np.full((17, 1), 2)], axis=1)
            joints[:5, 2] = [2, 0, 0, 0, 0]
            people.append({"image_id": image, "keypoints": joints.ravel().tolist()})
    images = [{"id": i, "file_name": f"{n}.jpg"} for i, n in ((1, "one"), (2, "two"), (3, "never"))]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": people}))
    return tmp_path


def test_figures_by_hand(pictures: Path) -> None:
    got = evaluate_poses([pictures / "o.h5"], pictures / "truth.json", threshold=0.1)
    assert (got["clips"], got["clips_without_prediction"], got["people"]) == (2, 1, 3)
    good, blind = got["views"]["good"], got["views"]["blind"]
    assert got["views"]["poses"]["pck@0.1"] == good["pck@0.1"]
    assert good["people_found"] == 1 and good["pckh@2.0"]["overall"] == 1
    # half a head exactly is not below 0.5 heads
    assert good["pckh@0.5"]["overall"] == pytest.approx(12 / 13)
    assert good["pckh@0.5"]["per_joint"]["left_wrist"] == 0
    assert good["pck@0.1"]["per_joint"]["left_wrist"] == 0  # 12.5 px against 6.8
    assert good["mpjpe_heads"]["overall"] == pytest.approx(0.5 / 13)
    assert good["mpjpe_px"]["per_joint"]["left_wrist"] == pytest.approx(HEAD / 2)
    # one right, one not found, one far away: found, but wrong
    assert blind["people_found"] == pytest.approx(1 / 3)
    assert blind["pckh@2.0"]["overall"] == pytest.approx(1 / 3)
    assert blind["mpjpe_heads"]["overall"] == 0  # no figure for those who were not found


def test_a_looser_match_takes_who_is_far_away(pictures: Path) -> None:
    got = evaluate_poses([pictures / "o.h5"], pictures / "truth.json", min_iou=0.0)["views"]["blind"]
    assert got["people_found"] == pytest.approx(1 / 3)  # 75 px off, 56 px wide: no overlap at all


def test_other_joints(pictures: Path) -> None:
    run = lambda joints: evaluate_poses([pictures / "o.h5"], pictures / "truth.json", joints=joints)  # noqa: E731
    labelled = run("truth")
    assert labelled["joints"] == list(COCO17.joints)
    assert labelled["views"]["good"]["pckh@0.5"]["per_joint"]["left_eye"] is None  # nobody labelled it
    assert len(run("limbs12")["joints"]) == 12
    with pytest.raises(ConfigError, match="unknown joint set"):
        run("coco71")


def test_ntu_truth_in_another_size_and_only_frames_looked_at(tmp_path: Path) -> None:
    whole = np.stack([person(100 + 10 * t) for t in range(4)])
    shown = np.asarray(SIZE[::-1]) / [1920, 1080]
    lines = ["4"]
    for t in range(4):
        lines += ["1", "1 0 0 0 0 0 0 0 0 2", "25"]
        for joint in NTU25.joints:
            at = COCO17.index(joint) if joint in COCO17.joints else {"neck": 5}.get(joint, 0)
            x, y = whole[t, at] / shown
            lines.append(f"0 0 0 0 0 {x} {y} 0 0 0 0 2")
    (tmp_path / "S001C001P001R001A001.skeleton").write_text("\n".join(lines))
    clip = clip_of("ntu/S001C001P001R001A001_rgb", whole[None, ::2], [0, 2], "e")
    other = clip_of("ntu/other", whole[None, :1], [0], "e")
    with ShardWriter(tmp_path / "o.h5", skeleton=COCO17, recipe={}) as shard:
        shard.write(clip, clip=Clip.of(clip))
        shard.write(other, clip=Clip.of(other))
    got = evaluate_poses([tmp_path / "o.h5"], tmp_path)
    assert (got["clips"], got["people"], got["frames_left_out"]) == (1, 2, 2)
    assert got["views"]["poses"]["pckh@0.5"]["overall"] == 1
    assert got["views"]["poses"]["kept"]["poses"] == got["views"]["poses"]["discarded"]["poses"] == 1


def test_ssta_files(tmp_path: Path) -> None:
    whole = np.stack([person(100 + 10 * t) for t in range(5)])
    write_ssta_npz(tmp_path / "truth.npz", whole)
    write_ssta_npz(tmp_path / "a.npz", whole + np.float32([HEAD / 4, 0]))
    write_ssta_npz(tmp_path / "short.npz", whole[:4])
    got = evaluate_poses([tmp_path / "a.npz", tmp_path / "short.npz"], tmp_path / "truth.npz")
    assert got["people"] == 5
    assert got["views"]["a"]["mpjpe_heads"]["overall"] == pytest.approx(0.25)
    assert got["views"]["short"]["pckh@0.5"]["overall"] == pytest.approx(0.8)  # one frame short: not found
    assert "kept" not in got["views"]["a"]
    with pytest.raises(ConfigError, match="no confidence"):
        outputs = Outputs(histogram=tmp_path / "h.png")
        evaluate_poses([tmp_path / "a.npz"], tmp_path / "truth.npz", outputs=outputs)


def test_the_command(pictures: Path) -> None:
    shard, truth = pictures / "o.h5", pictures / "truth.json"
    files = {"--plot-confidence": "c.png", "--plot-histogram": "h.svg", "--output": "r.json"}
    options = [word for option, name in files.items() for word in (option, pictures / name)]
    done = skelkit("evaluate-poses", shard, truth, *options, "--json")
    assert done.json == json.loads((pictures / "r.json").read_text())
    assert (pictures / "c.png").read_bytes()[:4] == b"\x89PNG" and b"<svg" in (
        pictures / "h.svg"
    ).read_bytes()
    again = skelkit("evaluate-poses", shard, truth, "--output", pictures / "r.json", code=3)
    assert "--overwrite" in again.sentence
    table = skelkit("evaluate-poses", shard, truth, "--per-joint").out
    assert "PCKh@2.0" in table and "left_wrist" in table and "3 people in 2 clips" in table
    assert "among coco" in skelkit("evaluate-poses", shard, truth, "--format", "mpii", code=2).sentence


def test_refuses_what_does_not_fit(pictures: Path) -> None:
    shard, truth = pictures / "o.h5", pictures / "truth.json"
    (pictures / "none.json").write_text(
        json.dumps(
            {"images": [{"id": 1, "file_name": "x.jpg"}, {"id": 2, "file_name": "y"}], "annotations": []}
        )
    )
    with pytest.raises(InputError, match="glob"):
        evaluate_poses([shard], pictures / "none.json")
    with pytest.raises(ConfigError, match="one shard"):
        evaluate_poses([shard, shard], truth)
    with pytest.raises(ConfigError, match="gamma"):
        evaluate_poses([shard], truth, gamma=1.5)
    with pytest.raises(ConfigError, match=r"\.svg"):
        evaluate_poses([shard], truth, outputs=Outputs(histogram=pictures / "h.jpg"))
    with pytest.raises(OutputError, match="folder"):
        evaluate_poses([shard], truth, outputs=Outputs(json=pictures / "no" / "r.json"))
