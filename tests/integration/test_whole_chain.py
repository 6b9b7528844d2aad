"""From videos to a prediction: every step as a user takes it, with real experts on the pack's media."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import at_once, skelkit, statuses

from skelkit.data import DatasetReader, ShardReader
from skelkit.training import read_curves

EXPERTS = ("movenet", "edvard_cpm", "tfpose")
CLIPS = {  # video: label, split
    "S001C001P001R001A001_rgb.avi": ("drink", "train"),
    "odd_321x241_mpeg4.mp4": ("hug", "train"),
    "rotated90_tag.mp4": ("hug", "test"),
    "no_person.mp4": ("hug", "test"),
}
RECIPE = """
extends = "unik-smarthome-cs"
[model]
classes = 2
[model.options]
channels = [16, 32]
dilations = [1, 3]
[data]
frames = 12
[optimizer]
lr = 0.01
milestones = []
[training]
epochs = 1
batch_size = 2
workers = 0
"""


@pytest.mark.slow
def test_from_media_to_a_prediction(pack: Path, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for name in CLIPS:
        shutil.copy(pack / "media" / name, media)
    names = ("--experts", ",".join(EXPERTS), "--weights", pack / "weights")
    frames = ("--stride", "24")

    shard = tmp_path / "poses.h5"
    skelkit("extract", media, shard, *names, *frames, "--method", "ssta", "--joints", "posetics17")
    ended = statuses(shard)
    assert ended.pop("no_person") == "no_person"
    assert set(ended.values()) == {"ok"}
    with ShardReader(shard) as reader:
        assert set(reader.experts) == set(EXPERTS)
        assert reader.skeleton.name == "posetics17"
        hug = reader[reader.find("rotated90_tag")]
        assert hug.num_people == 2
        assert np.isfinite(hug.confidence).any()

    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "label", "split"])
        writer.writerows([Path(name).stem, *known] for name, known in CLIPS.items())
    data = tmp_path / "dataset"
    at_once("build-posetics", shard, data, "--labels", labels, "--split", labels, code=0)
    with DatasetReader(data) as built:
        assert built.info.splits == {"train": 2, "test": 1}
        assert built.info.label_names == ("drink", "hug")
    dropped = list(csv.DictReader((data / "dropped.csv").open()))
    assert [row["video_id"] for row in dropped] == ["no_person"]

    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    done = at_once(
        "train", recipe, "--data", data, "--out", run, "--accelerator", "cpu", "--json", code=0
    ).json
    assert (done["finished"], done["clips"], done["test"]["clips"]) == (True, 2, 1)
    assert np.isfinite([row["train_loss"] for row in read_curves(run) if "train_loss" in row]).all()

    found = at_once("predict", run, shard, "--json", code=1).json
    assert [bool(one["labels"]) for one in found] == [one["video_id"] != "no_person" for one in found]
    video = skelkit("predict", run, media / "odd_321x241_mpeg4.mp4", *names, *frames, "--json").json
    assert [(one["video_id"], one["people"]) for one in video] == [("odd_321x241_mpeg4", 2)]
    assert dict(video[0]["labels"]).keys() == {"drink", "hug"}
    assert sum(share for _, share in video[0]["labels"]) == pytest.approx(1, abs=1e-5)
