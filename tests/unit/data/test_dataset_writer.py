"""Writing a dataset clip by clip."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_samples import PAIR, random_sequence, sequence_of

from skelkit.data import Clip, DatasetWriter, ShardReader
from skelkit.data.dataset import DatasetReader
from skelkit.errors import ConfigError, ShardError
from skelkit.skeletons import COCO17
from skelkit.structures import Tracks


def write(folder: Path, seeds: range, **options: Any) -> None:
    with DatasetWriter(folder, name="tiny", skeleton=COCO17, recipe={"job": "test"}, **options) as writer:
        for seed in seeds:
            sequence = random_sequence(seed, people=3, frames=40)
            writer.write(sequence, Clip.of(sequence, split="val" if seed % 3 == 0 else "train"))


def test_a_dataset_holds_its_clips_by_split_in_the_order_written(tmp_path: Path) -> None:
    write(tmp_path / "ds", range(10))
    with DatasetReader(tmp_path / "ds") as dataset:
        assert [s.name for s in dataset.info.shards] == [
            "tiny-train-00000-of-00001.h5",
            "tiny-val-00000-of-00001.h5",
        ]
        assert dataset.info.splits == {"train": 6, "val": 4}
        assert dataset.column("video_id").tolist() == [f"clip{i}" for i in (1, 2, 4, 5, 7, 8, 0, 3, 6, 9)]
        for i, sequence in enumerate(dataset):
            seed = int(sequence.video_id.removeprefix("clip"))
            expected = random_sequence(seed, people=3, frames=40)
            np.testing.assert_allclose(sequence.keypoints, expected.keypoints, atol=1 / 16)
            assert dataset.clip(i).label_index == 0
            assert dataset.clip(i).split == ("val" if seed % 3 == 0 else "train")
    assert sorted(p.name for p in (tmp_path).iterdir()) == ["ds"]


def test_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    write(tmp_path / "ds", range(3))
    info = DatasetReader(tmp_path / "ds").info
    for name, digest in [(s.name, s.sha256) for s in info.shards] + [("index.parquet", info.index_sha256)]:
        assert hashlib.sha256((tmp_path / "ds" / name).read_bytes()).hexdigest() == digest


def test_shards_are_closed_at_their_size_and_the_index_finds_every_clip(tmp_path: Path) -> None:
    write(tmp_path / "ds", range(40), target_mb=0.08)
    with DatasetReader(tmp_path / "ds") as dataset:
        count = sum(s.split == "train" for s in dataset.info.shards)
        assert count > 1
        assert dataset.info.shards[0].name == f"tiny-train-00000-of-{count:05d}.h5"
        assert [dataset[i].video_id for i in range(40)] == dataset.column("video_id").tolist()
        for shard in dataset.info.shards:
            with ShardReader(tmp_path / "ds" / shard.name) as reader:
                mine = dataset.column("shard") == shard.name
                for name in ("first_row", "num_rows", "num_people", "num_frames", "label_index"):
                    assert dataset.column(name)[mine].tolist() == reader.column(name).tolist()


def test_facts_say_what_was_seen(tmp_path: Path) -> None:
    keypoints = np.full((2, 4, 2, 2), np.nan, np.float32)
    keypoints[0, 0] = [[10, 10], [20, 30]]
    keypoints[0, 2, 0] = 5
    keypoints[1, 2, 0] = 7
    scores = np.full((2, 4, 2), 0.5, np.float32)
    scores[1] = 1
    sequence = replace(
        sequence_of(keypoints, scores),
        confidence=np.where(np.isfinite(keypoints[..., 0, 0]), 0.25, np.nan).astype(np.float32),
    )
    nobody = sequence_of(
        np.full((1, 3, 2, 2), np.nan, np.float32), np.zeros((1, 3, 2), np.float32), video_id="no"
    )
    with DatasetWriter(tmp_path / "ds", name="x", skeleton=PAIR, recipe={}) as writer:
        writer.write(sequence)
        writer.write(Tracks.of(nobody))
    dataset = DatasetReader(tmp_path / "ds")
    assert dataset.column("presence").tolist() == [0.5, 0.0]
    assert dataset.column("mean_confidence")[0] == 0.25
    assert dataset.column("mean_score")[0] == pytest.approx((3 * 0.5 + 1) / 4, abs=1 / 510)
    np.testing.assert_allclose(dataset.column("joint_visibility")[0], [1, 1 / 3], rtol=1e-6)
    for name in ("mean_confidence", "mean_score", "joint_visibility"):
        assert np.isnan(dataset.column(name)[1]).all()
    assert dataset.column("split").tolist() == ["all", "all"]
    assert dataset.column("status").tolist() == ["ok", "no_person"]


def test_the_same_clips_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, range(12), target_mb=0.05)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_is_left_of_a_writer_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="twice"):
        write_twice(tmp_path / "ds")
    assert list(tmp_path.iterdir()) == []


def write_twice(folder: Path) -> None:
    with DatasetWriter(folder, name="x", skeleton=COCO17, recipe={}, target_mb=1e-6) as writer:
        writer.write(random_sequence(1))
        writer.write(random_sequence(1))


def test_a_place_that_is_taken_is_refused_and_an_empty_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "ds").mkdir()
    write(tmp_path / "ds", range(1))
    before = (tmp_path / "ds" / "dataset.json").read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        write(tmp_path / "ds", range(2))
    assert (tmp_path / "ds" / "dataset.json").read_bytes() == before


@pytest.mark.parametrize("split", ["../x", "a b", "", "..", "-x", "a/b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, split: str) -> None:
    if split:
        with (
            pytest.raises(ConfigError, match="file names"),
            DatasetWriter(tmp_path / "ds", name="x", skeleton=COCO17, recipe={}) as writer,
        ):
            writer.write(random_sequence(1), Clip.of(random_sequence(1), split=split))
    with pytest.raises(ConfigError, match="file names"):
        DatasetWriter(tmp_path / "ds", name=split, skeleton=COCO17, recipe={})


def labelled(folder: Path, clips: list[tuple[str, int]], names: tuple[str, ...] = ()) -> DatasetReader:
    with DatasetWriter(folder, name="x", skeleton=COCO17, recipe={}, label_names=names) as writer:
        for seed, (label, index) in enumerate(clips):
            sequence = random_sequence(seed, label=label or None)
            writer.write(sequence, Clip.of(sequence, label_index=index))
    return DatasetReader(folder)


def test_labels_are_numbered_as_they_come(tmp_path: Path) -> None:
    dataset = labelled(tmp_path / "ds", [("wave", -1), ("", -1), ("clap", -1), ("wave", -1)])
    assert dataset.info.label_names == ("wave", "clap")
    assert dataset.column("label_index").tolist() == [0, -1, 1, 0]


def test_numbers_that_clips_bring_are_kept(tmp_path: Path) -> None:
    dataset = labelled(tmp_path / "ds", [("wave", 3), ("clap", 1), ("", 0), ("", 2), ("wave", -1)])
    assert dataset.info.label_names == ("", "clap", "", "wave")
    assert dataset.column("label_index").tolist() == [3, 1, 0, 2, 3]


def test_given_names_number_the_labels_and_fill_them_in(tmp_path: Path) -> None:
    dataset = labelled(tmp_path / "ds", [("b", -1), ("", 0), ("b", 1)], ("a", "b"))
    assert dataset.column("label").tolist() == ["b", "a", "b"]
    assert dataset.column("label_index").tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("clips", "names"),
    [([("c", -1)], ("a", "b")), ([("a", 1)], ("a", "b")), ([("", 7)], ("a",)), ([("a", 1), ("b", 1)], ())],
)
def test_labels_and_numbers_that_contradict_are_refused(
    tmp_path: Path, clips: list[tuple[str, int]], names: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match="number"):
        labelled(tmp_path / "ds", clips, names)


def test_dropped_clips_have_a_line(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "ds", name="x", skeleton=COCO17, recipe={}) as writer:
        writer.drop(Clip.of(random_sequence(1), source="a\udcffb"), rule="presence", value=0.25, limit=0.5)
    with (tmp_path / "ds" / "dropped.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["video_id"] == "clip1" and line["source"] == r"a\xffb"
    assert (line["rule"], line["value"], line["limit"]) == ("presence", "0.25", "0.5")
    assert len(DatasetReader(tmp_path / "ds")) == 0
