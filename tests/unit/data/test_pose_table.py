"""Poses read by their place in the file equal those read through HDF5."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_samples import PAIR, random_sequence, sequence_of, sequences

from skelkit.data import Clip, DatasetWriter, ShardReader, ShardWriter, empty_sequence, write_clip_file
from skelkit.data import dataset as dataset_module
from skelkit.data.dataset import DatasetReader
from skelkit.data.layout import JOINT_CHUNK
from skelkit.data.pose_table import DensePoses
from skelkit.errors import ConfigError, ShardError
from skelkit.skeletons import COCO17, POSETICS17
from skelkit.structures import SkeletonSequence


def assert_equal(dense: DensePoses, *sequences: SkeletonSequence) -> None:
    """Of clips of any lengths and numbers of people: beyond them there is nothing."""
    for b, sequence in enumerate(sequences):
        expected = (
            np.nan_to_num(sequence.keypoints),
            np.isfinite(sequence.keypoints).all(axis=-1),
            sequence.scores,
        )
        people, frames = expected[1].shape[:2]
        for got, wanted in zip((dense.keypoints, dense.visible, dense.scores), expected, strict=True):
            assert got.dtype == wanted.dtype and len(got) == len(sequences)
            np.testing.assert_array_equal(got[b, :people, :frames], wanted)
            assert not got[b, people:].any() and not got[b, :, frames:].any()


@settings(deadline=None, max_examples=40)
@given(put=sequences())
def test_any_clip(tmp_path_factory: pytest.TempPathFactory, put: SkeletonSequence) -> None:
    path = tmp_path_factory.mktemp("shard") / "one.h5"
    write_clip_file(path, sequence=put, skeleton=PAIR, recipe={})
    with ShardReader(path) as reader:
        clips = reader.read_dense([0])
        assert_equal(clips, reader[0])
        assert clips.keypoints.shape == (1, *reader[0].keypoints.shape)
        assert clips.image_sizes == [put.image_size]
        assert clips.num_frames == [put.num_frames]
        assert clips.chosen.tolist() == [list(range(reader[0].num_people))]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of all kinds, of more rows than a chunk has, and of none."""
    path = tmp_path_factory.mktemp("shard") / "a.h5"
    with ShardWriter(path, skeleton=COCO17, recipe={}) as writer:
        for seed, frames in enumerate((40, 5 * JOINT_CHUNK, 0, 3, JOINT_CHUNK, 200, 5, 90)):
            writer.write(random_sequence(seed, people=seed % 4, frames=frames))
            times = np.arange(4.0)
            nobody = empty_sequence(COCO17, video_id=f"n{seed}", frame_indices=np.arange(4), pts_s=times)
            writer.write(nobody)
    return path


def test_clips_in_any_order(shard: Path) -> None:
    with ShardReader(shard) as reader:
        for index in np.random.default_rng(0).permutation(len(reader)).tolist():
            assert_equal(reader.read_dense([index]), reader[index])
        assert_equal(reader.read_dense([-2]), reader[-2])
        with pytest.raises(IndexError):
            reader.read_dense([0, len(reader)])
        with pytest.raises(ConfigError, match="at least one clip"):
            reader.read_dense([])


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_clips_in_one_go(shard: Path, data: st.DataObject) -> None:
    with ShardReader(shard) as reader:
        positions = data.draw(st.lists(st.integers(0, len(reader) - 1), min_size=1, max_size=6))
        sequences = [reader[i] for i in positions]
        dense = reader.read_dense(positions)
        assert_equal(dense, *sequences)
        most, longest = max(s.num_people for s in sequences), max(s.num_frames for s in sequences)
        assert dense.keypoints.shape == (len(positions), most, longest, 17, 2)
        people, frames = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 300))
        cut = reader.read_dense(positions, people=people, frames=frames)
        numbers = [[m if m < s.num_people else -1 for m in range(people)] for s in sequences]
        np.testing.assert_array_equal(cut.chosen, np.reshape(numbers, (len(positions), people)))
        assert cut.keypoints.shape == (len(positions), people, frames, 17, 2)
        for got, whole in zip(
            (cut.keypoints, cut.visible, cut.scores),
            (dense.keypoints, dense.visible, dense.scores),
            strict=True,
        ):
            np.testing.assert_array_equal(got[:, :most, :longest], whole[:, :people, :frames])
            assert not got[:, most:].any() and not got[:, :, longest:].any()


def test_columns_that_lie_apart_are_read_all_the_same(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skelkit.data.pose_table._GAP", -(2**40))
    test_clips_in_any_order(shard)


def test_numbers_that_are_none_are_refused(shard: Path) -> None:
    with ShardReader(shard) as reader:
        for wrong in ({"people": -1}, {"frames": -1}):
            with pytest.raises(ConfigError, match="-1"):
                reader.read_dense([0, 2], **wrong)


def test_three_dimensions(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-3, 3, (2, 4, 17, 3)).astype(np.float32)
    sequence = sequence_of(points, np.ones((2, 4, 17), np.float32), skeleton=POSETICS17)
    with ShardWriter(
        tmp_path / "a.h5", skeleton=POSETICS17, recipe={}, dimensions=3, coordinate_unit="m"
    ) as writer:
        writer.write(sequence)
    with ShardReader(tmp_path / "a.h5") as reader:
        assert_equal(reader.read_dense([0]), reader[0])


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [("poses/frame", 1, 0), ("poses/frame", 3, 4000), ("poses/track", 5, 77), ("clips/num_people", 0, 9)],
)
def test_columns_that_contradict_each_other_are_damage(
    tmp_path: Path, column: str, row: int, value: int
) -> None:
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer:
        writer.write(random_sequence(1, people=2))
    with h5py.File(tmp_path / "a.h5", "r+") as h5:
        h5[column][row] = value
    with ShardReader(tmp_path / "a.h5") as reader, pytest.raises(ShardError, match="damaged"):
        reader.read_dense([0])


def test_a_file_cut_while_it_is_open_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skelkit.data.pose_table._LOOK_AGAIN_S", 0)
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer:
        writer.write(random_sequence(1, people=2))
    with ShardReader(tmp_path / "a.h5") as reader:
        reader.read_dense([0])
        os.truncate(tmp_path / "a.h5", 4000)
        with pytest.raises(ShardError, match="damaged"):
            reader.read_dense([0])


def test_what_is_read_again_comes_from_memory(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time without the file; again from the file once memory had to wait for the disk."""
    with ShardReader(shard) as reader:
        everything = range(len(reader))
        first = reader.read_dense(everything)
        tables = reader._tables
        assert tables._cached.all()
        monkeypatch.setattr(tables, "_fds", np.full(1, 10**6))  # no such file: reading it would fail
        assert_equal(reader.read_dense(everything), *reader)
        np.testing.assert_array_equal(reader.read_dense(everything).keypoints, first.keypoints)
        faults = iter(range(10))
        monkeypatch.setattr("skelkit.data.pose_table._faults", lambda: next(faults))
        monkeypatch.setattr(tables, "closed", lambda shards: [])
        reader.read_dense([0])
        assert not tables._cached.any()
        with pytest.raises(ShardError, match="could be read"):
            reader.read_dense([2])


def test_files_that_cannot_be_mapped_are_read(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr("skelkit.data.pose_table.mmap.mmap", refuse)
    with ShardReader(shard) as reader:
        for _ in range(2):
            assert_equal(reader.read_dense(range(len(reader))), *reader)


# Datasets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of several shards."""
    path = tmp_path_factory.mktemp("datasets") / "ds"
    with DatasetWriter(path, name="tiny", skeleton=COCO17, recipe={}, target_mb=0.04) as writer:
        for seed in range(60):
            sequence = random_sequence(seed, people=seed % 3)
            writer.write(sequence, Clip.of(sequence, split="val" if seed % 3 else "train"))
    return path


def test_a_dataset_keeps_few_shards_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "_MAX_OPEN", 1)
    with DatasetReader(folder) as reader:
        assert len(reader.info.shards) > 2
        before = len(list(Path("/proc/self/fd").iterdir()))
        for index in np.random.default_rng(0).permutation(len(reader)).tolist():
            assert_equal(reader.read_dense([index]), reader[index])
            assert reader.clip(index).video_id == reader.column("video_id")[index]
        everything = reader.read_dense(range(len(reader)))  # of more shards than are kept
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2  # a file in memory is held twice
        assert_equal(everything, *reader)


def poses_of(reader: DatasetReader, answers: Any) -> None:
    answers.put([reader.read_dense([i]).keypoints.sum() for i in range(len(reader))])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_dataset_in_other_processes(folder: Path, method: str) -> None:
    reader = DatasetReader(folder)
    expected = [reader.read_dense([i]).keypoints.sum() for i in range(len(reader))]
    assert len(pickle.dumps(reader)) < 1000
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    children = [context.Process(target=poses_of, args=(reader, answers)) for _ in range(2)]
    for child in children:
        child.start()
    assert [answers.get(timeout=60) for _ in children] == [expected, expected]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert [reader.read_dense([i]).keypoints.sum() for i in range(len(reader))] == expected
