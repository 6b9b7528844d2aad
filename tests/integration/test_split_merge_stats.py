"""Datasets split anew, joined, and counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command_line import at_once
from made_shards import LABELS, make_shard, run_here

from skelkit.data import ShardReader
from skelkit.data.dataset import DatasetReader
from skelkit.pipelines import workers
from skelkit.pipelines.build_posetics import build
from skelkit.pipelines.build_settings import BuildSettings
from skelkit.pipelines.validate import validate


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "run", run_here)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    make_shard(tmp_path / "part.h5", range(36))
    build(
        [tmp_path / "part.h5"],
        tmp_path / "ds",
        BuildSettings.of({"split": "train=0.5,val=0.5", "group": "source", "name": "mine"}),
    )
    return tmp_path / "ds"


def test_a_dataset_is_split_anew(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("video_id,split\n" + "".join(f"clip{n:04d},test\n" for n in range(9)))
    done = at_once("split", dataset, tmp_path / "new", "--split", tmp_path / "s.csv", "--json", code=0)
    assert json.loads(done.out)["splits"] == {"test": 7}
    with DatasetReader(dataset) as old, DatasetReader(tmp_path / "new") as new:
        assert new.info.name == "mine" and new.info.label_names == old.info.label_names
        assert [rule["rule"] for rule in new.info.filters] == ["failed", "presence", "split", "split"]
        for i, name in enumerate(new.column("video_id").tolist()):
            there = old.find(name)
            assert new[i].keypoints.tobytes() == old[there].keypoints.tobytes()
            assert new.clip(i).label_index == old.clip(there).label_index
        gone = len(old) - len(new)
    with (tmp_path / "new" / "dropped.csv").open(newline="") as file:
        rules = [line["rule"] for line in csv.DictReader(file)]
    assert rules.count("split") == gone and rules.count("presence") > 0
    assert validate(tmp_path / "new") == []


def test_a_split_needs_a_dataset_and_a_way(dataset: Path, tmp_path: Path) -> None:
    assert "not a dataset" in at_once("split", tmp_path, tmp_path / "x", "--split", "keep", code=3).sentence
    assert "unknown split" in at_once("split", dataset, tmp_path / "x", "--split", "half", code=2).sentence
    assert not (tmp_path / "x").exists()


def test_datasets_and_shards_are_joined(dataset: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "more.h5", range(100, 110))
    at_once("build-posetics", tmp_path / "more.h5", tmp_path / "ds2", "--split", "train=1.0", code=0)
    done = at_once("merge", tmp_path / "both", dataset, tmp_path / "ds2", code=0)
    assert "clips ->" in done.out
    with (
        DatasetReader(dataset) as one,
        DatasetReader(tmp_path / "ds2") as two,
        DatasetReader(tmp_path / "both") as both,
    ):
        assert both.info.splits == {
            "train": one.info.splits["train"] + two.info.splits["train"],
            "val": one.info.splits["val"],
        }
        assert len(both.info.recipe["input_recipes"]) == 2
        assert set(both.info.label_names) == set(LABELS)
    assert [p for p in validate(tmp_path / "both") if p.grave] == []


def test_a_dataset_is_joined_into_a_shard(dataset: Path, tmp_path: Path) -> None:
    at_once("merge", tmp_path / "one.h5", dataset, code=0)
    with ShardReader(tmp_path / "one.h5") as shard, DatasetReader(dataset) as there:
        assert shard.video_ids == there.column("video_id").tolist()
        assert shard.column("split").tolist() == there.column("split").tolist()


def test_a_dataset_and_its_clips_in_a_shard_count_the_same(dataset: Path, tmp_path: Path) -> None:
    at_once("merge", tmp_path / "one.h5", dataset, code=0)
    whole = json.loads(at_once("stats", dataset, "--json", code=0).out)
    shard = json.loads(at_once("stats", tmp_path / "one.h5", "--json", code=0).out)
    for name in (
        "clips",
        "frames",
        "people",
        "poses",
        "splits",
        "classes",
        "distributions",
        "joint_visibility",
    ):
        assert whole[name] == shard[name], name
    assert whole["clips"] == sum(row["clips"] for row in whole["classes"])
    assert whole["splits"]["train"]["clips"] + whole["splits"]["val"]["clips"] == whole["clips"]
    assert whole["distributions"]["presence"]["min"] == 1.0


def test_numbers_are_shown_as_tables(dataset: Path, tmp_path: Path) -> None:
    out = at_once("stats", dataset, "--classes", code=0).out
    assert "together" in out and "making sushi" in out and "mean_confidence" in out
    at_once("stats", tmp_path / "none", code=2)
    make_shard(tmp_path / "failed.h5", [8])
    assert "(none)" in at_once("stats", tmp_path / "failed.h5", code=0).out
