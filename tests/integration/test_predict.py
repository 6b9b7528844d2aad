"""`skelkit predict` on videos, through the command line, with experts and networks made here."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch
from command_line import at_once
from conftest import MakeClip

from skelkit import models
from skelkit.skeletons import COCO17
from skelkit.structures import Skeleton

CLASSES = ("bend", "nod", "wave", "sit")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_model(tmp_path_factory.mktemp("models") / "coco17")


def made_model(folder: Path, skeleton: Skeleton = COCO17, in_channels: int = 2) -> Path:
    torch.manual_seed(0)
    settings = {"channels": (8, 8), "dilations": (1, 1), "in_channels": in_channels}
    network = models.build("unik", {"skeleton": skeleton, "num_classes": len(CLASSES), **settings})
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.ones_(module.weight)  # units begin as good as switched off
    return models.save(folder, network, classes=CLASSES)


def test_a_video_is_told_as_the_shard_extracted_from_it(
    model: Path, videos: Path, two_experts: list[str], tmp_path: Path
) -> None:
    video = videos / "a.mp4"
    done = at_once("predict", model, video, *two_experts, "--stride", "2", "--top", "3", "--json", code=0)
    (one,) = done.json
    assert (one["video_id"], one["people"], one["detail"]) == ("a", 2, "")
    shares = [share for _, share in one["labels"]]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert {name for name, _ in one["labels"]} < set(CLASSES)
    shard, table = tmp_path / "a.h5", tmp_path / "a.csv"
    at_once("extract", video, shard, *two_experts, "--stride", "2", "--joints", "all", code=0)
    shown = at_once("predict", model, shard, "--csv", table, code=0)
    assert at_once("predict", model, shard, "--top", "3", "--json", code=0).json == done.json
    rows = list(csv.DictReader(table.open()))
    assert [row["label"] for row in rows[:3]] == [name for name, _ in one["labels"]]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1, abs=1e-5)
    assert all(name in shown.out for name in CLASSES)
    assert f"{shares[0]:.1%}" in shown.out


def test_videos_that_cannot_be_told_say_why(
    model: Path, videos: Path, make_clip: MakeClip, one_expert: list[str], tmp_path: Path
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    empty = make_clip(tmp_path / "empty.mp4", people=0)
    done = at_once("predict", model, empty, *one_expert, "--json", code=3)
    assert done.json == [{"video_id": "empty", "labels": [], "people": 0, "detail": "nobody was found in it"}]
    assert done.sentence == "skelkit: nothing to tell; empty: nobody was found in it"
    assert "text: " in (told := at_once("predict", model, text, *one_expert, code=3)).sentence
    assert "%" not in told.out
    shutil.copy(text, videos)
    shutil.copy(empty, videos)
    some = at_once("predict", model, videos, *one_expert, "--json", "--csv", tmp_path / "t.csv", code=1)
    assert {one["video_id"]: bool(one["labels"]) for one in some.json} == {
        "a": True, "b": True, "c": True, "empty": False, "text": False,
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(r["label"], r["detail"]) for r in rows if r["video_id"] == "empty"] == [
        ("", "nobody was found in it")
    ]
    assert "nowhere.mp4" in at_once("predict", model, "nowhere.mp4", *one_expert, code=2).sentence


def test_calls_that_cannot_work_are_refused(
    model: Path, videos: Path, one_expert: list[str], tmp_path: Path
) -> None:
    video = videos / "a.mp4"
    robot = Skeleton(name="robot", joints=("nose", "antenna"), edges=(("nose", "antenna"),))
    sentence = at_once("predict", made_model(tmp_path / "robot", robot), video, *one_expert, code=2).sentence
    assert "joint set 'robot'" in sentence
    assert "no joints to make antenna of" in sentence
    solid = made_model(tmp_path / "solid", in_channels=3)
    assert "2-D poses for videos, got one of 3-D" in at_once("predict", solid, video, code=2).sentence
    assert "auto, cpu, cuda" in at_once("predict", model, video, "--device", "gpu", code=2).sentence
    assert "expected a folder with a skelkit model" in at_once("predict", tmp_path, video, code=3).sentence
    place = tmp_path / "no folder" / "t.csv"
    assert "no folder" in at_once("predict", model, video, "--csv", place, code=2).sentence
