"""Samples and batches: equal to a slow version, and the same in whichever process they are made."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_samples import random_sequence
from torch.utils.data import DataLoader

from skelkit.data import Clip, DatasetWriter, ShardReader, ShardWriter, empty_sequence
from skelkit.data.choosing import PersonSelection, fill_missing
from skelkit.data.sampling import FullClip, RandomCrop, Stretch, UniformSegments
from skelkit.data.streams import parents
from skelkit.data.torch_dataset import ClipInput, SkeletonDataset, collate
from skelkit.data.transforms import RandomFlip, RandomRotation, RandomScale, centre_of
from skelkit.errors import ConfigError
from skelkit.skeletons import COCO17, POSETICS17
from skelkit.structures import ClipBatch, SkeletonSequence

SAMPLERS = (
    UniformSegments(length=5, num_clips=2),
    RandomCrop(length=6),
    FullClip(),
    FullClip(length=12),
)
AUGMENTED = ClipInput(
    frames=UniformSegments(length=8),
    centre="mid_hip",
    missing="interpolate",
    augment=(RandomRotation(), RandomScale(), RandomFlip()),
    stream="bone",
)


def clips() -> Iterator[tuple[SkeletonSequence, Clip]]:
    """With people, without, without frames; of two splits and three labels."""
    for seed in range(24):
        sequence = random_sequence(seed, people=seed % 4, frames=1 + seed * 7 % 30)
        if seed == 5:
            sequence = empty_sequence(COCO17, video_id="clip5")
        status = "failed" if seed == 5 else None
        label = f"label{seed % 3}"
        split = "val" if seed % 3 == 0 else "train"
        yield sequence, Clip.of(sequence, status=status, label=sequence.label or label, split=split)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset."""
    path = tmp_path_factory.mktemp("datasets") / "ds"
    with DatasetWriter(path, name="tiny", skeleton=COCO17, recipe={}, target_mb=0.04) as writer:
        for sequence, clip in clips():
            writer.write(sequence, clip)
    return path


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips in one shard."""
    path = tmp_path_factory.mktemp("shards") / "a.h5"
    with ShardWriter(path, skeleton=COCO17, recipe={}) as writer:
        for sequence, clip in clips():
            writer.write(sequence, clip=clip)
    return path


def slow_sample(sequence: SkeletonSequence, inputs: ClipInput) -> np.ndarray[Any, Any]:
    """A test sample of one clip, joint by joint; person by presence."""
    steps = max(sequence.num_frames, 1)
    count = inputs.people.people
    points = np.zeros((count, steps, 17, 2))
    visible = np.zeros((count, steps, 17), bool)
    order = np.argsort(-sequence.present().sum(axis=1), kind="stable")[:count]
    for m, person in enumerate(order):
        seen = np.isfinite(sequence.keypoints[person]).all(axis=-1)
        visible[m, seen.nonzero()[0], seen.nonzero()[1]] = True
        points[m][seen] = sequence.keypoints[person][seen]
    filled, known = fill_missing(points.astype(np.float32), visible, inputs.missing)
    origin = centre_of(filled, known, COCO17, inputs.centre) if inputs.centre else np.zeros(2)
    height, width = sequence.image_size
    frames = inputs.frames(steps, None)
    up = parents(COCO17)
    out = np.zeros((*frames.shape, count, 17, 2))

    def joint(m: int, t: int, k: int) -> np.ndarray[Any, Any] | None:
        if not known[m, t, k]:
            return None
        place = (filled[m, t, k] - origin) * 2 / width
        return place if inputs.centre else place - [1, height / width]

    def limb(m: int, t: int, k: int) -> np.ndarray[Any, Any] | None:
        here = joint(m, t, k)
        if not inputs.stream.startswith("bone"):
            return here
        there = joint(m, t, up[k])
        return None if here is None or there is None else here - there

    for (n, i), t in np.ndenumerate(frames):
        for m in range(count):
            for k in range(17):
                value = limb(m, t, k)
                if inputs.stream.endswith("motion"):
                    after = limb(m, min(t + 1, steps - 1), k)
                    value = None if value is None or after is None else after - value
                out[n, i, m, k] = 0 if value is None else value
    return out.transpose(0, 2, 1, 3, 4)


@pytest.mark.parametrize("stream", ["joint", "bone", "joint_motion", "bone_motion"])
@given(data=st.data())
@settings(deadline=None, max_examples=12)
def test_test_samples_equal_the_slow_version(shard: Path, stream: Any, data: st.DataObject) -> None:
    inputs = ClipInput(
        people=PersonSelection(people=data.draw(st.integers(1, 4))),
        frames=data.draw(st.sampled_from(SAMPLERS)),
        centre=data.draw(st.sampled_from([None, "mid_hip"])),
        missing=data.draw(st.sampled_from(["zero", "previous", "interpolate"])),
        augment=(RandomFlip(probability=1),),  # in training only
        stream=stream,
    )
    samples = SkeletonDataset(shard, inputs, training=False)
    i = data.draw(st.integers(0, len(samples) - 1))
    with ShardReader(shard) as reader:
        expected = slow_sample(reader[i], inputs)
    np.testing.assert_allclose(samples[i].keypoints, expected, atol=2e-5)
    assert samples[i].keypoints.dtype == np.float32
    assert samples[i].keypoints.flags["C_CONTIGUOUS"]
    if stream == "joint" and inputs.missing == "zero":
        nothing = ~samples[i].visible
        assert not samples[i].keypoints[nothing].any()


@pytest.mark.parametrize("stream", ["joint", "bone", "joint_motion", "bone_motion"])
def test_a_mirror_adds_what_a_flipped_clip_gives(shard: Path, stream: Any) -> None:
    inputs = ClipInput(frames=UniformSegments(length=5, num_clips=2), stream=stream, missing="previous")
    plain, both = (SkeletonDataset(shard, replace(inputs, mirror=m), training=False) for m in (False, True))
    assert both.inputs.test_clips == 2 * plain.inputs.test_clips == 4
    whole = replace(inputs, frames=FullClip(), augment=(RandomFlip(probability=1),))
    flipped = SkeletonDataset(shard, whole, training=True)  # nothing else is random there
    seen = SkeletonDataset(shard, replace(whole, mirror=True), training=False)
    for i in (3, 23):
        np.testing.assert_array_equal(both[i].keypoints[:2], plain[i].keypoints)
        np.testing.assert_array_equal(both[i].visible[:2], plain[i].visible)
        np.testing.assert_array_equal(seen[i].keypoints[1:], flipped[i].keypoints)
        np.testing.assert_array_equal(seen[i].visible[1:], flipped[i].visible)
        frames = inputs.frames(seen[i].keypoints.shape[2], None)
        np.testing.assert_array_equal(both[i].keypoints[2:], seen[i].keypoints[1][:, frames].swapaxes(0, 1))


def test_filled_joints_are_not_called_visible(shard: Path) -> None:
    seen = SkeletonDataset(shard, ClipInput(frames=FullClip()), training=False)[23]
    filled = SkeletonDataset(shard, ClipInput(frames=FullClip(), missing="previous"), training=False)[23]
    np.testing.assert_array_equal(seen.visible, filled.visible)
    places = filled.keypoints.any(axis=-1)
    assert (places & ~filled.visible).any()
    np.testing.assert_array_equal(filled.keypoints[seen.visible], seen.keypoints[seen.visible])


def test_a_folder_and_a_shard_give_the_same_clips(folder: Path, shard: Path) -> None:
    inputs = ClipInput(frames=RandomCrop(length=9), normalise=False)
    from_folder = SkeletonDataset(folder, inputs, training=False, split="val")
    from_shard = SkeletonDataset(shard, inputs, training=False, split="val")
    assert len(from_folder) == len(from_shard) == 8
    for a, b in zip(from_folder, from_shard, strict=True):  # type: ignore[call-overload]
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert from_folder.labels.min() >= -1
    everything = SkeletonDataset(folder, inputs, training=False)
    assert len(everything) == 24
    assert everything[-1].label == everything.labels[23]
    with pytest.raises(IndexError):
        everything[24]


def all_batches(dataset: SkeletonDataset, workers: int, method: str | None) -> list[ClipBatch]:
    loader = DataLoader(
        dataset, batch_size=5, collate_fn=collate, num_workers=workers, multiprocessing_context=method
    )
    return list(loader)


@pytest.mark.parametrize("source", ["folder", "shard"])
@pytest.mark.parametrize(("workers", "method"), [(2, "fork"), (2, "spawn")])
def test_batches_do_not_depend_on_the_workers(
    request: pytest.FixtureRequest, source: str, workers: int, method: str
) -> None:
    dataset = SkeletonDataset(request.getfixturevalue(source), AUGMENTED, training=True, seed=3)
    expected = all_batches(dataset, 0, None)  # opens the files before they are handed on
    got = all_batches(dataset, workers, method)
    assert len(got) == len(expected) == 5
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a.keypoints, b.keypoints)
        assert torch.equal(a.visible, b.visible)
        assert torch.equal(a.labels, b.labels)


def test_samples_follow_seed_and_epoch(folder: Path) -> None:
    dataset = SkeletonDataset(folder, AUGMENTED, training=True, seed=3)
    first = dataset[7].keypoints
    np.testing.assert_array_equal(dataset[7].keypoints, first)
    other = SkeletonDataset(folder, AUGMENTED, training=True, seed=4)
    assert not np.array_equal(other[7].keypoints, first)
    dataset.set_epoch(1)
    assert not np.array_equal(dataset[7].keypoints, first)
    dataset.set_epoch(0)
    np.testing.assert_array_equal(dataset[7].keypoints, first)
    test = SkeletonDataset(folder, AUGMENTED, training=False, seed=3)
    before = test[7].keypoints
    test.set_epoch(1)
    np.testing.assert_array_equal(test[7].keypoints, before)


def test_workers_that_persist_see_the_epoch(folder: Path) -> None:
    dataset = SkeletonDataset(folder, AUGMENTED, training=True)
    loader = DataLoader(dataset, batch_size=24, collate_fn=collate, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        (batch,) = loader
        (expected,) = DataLoader(dataset, batch_size=24, collate_fn=collate)
        assert torch.equal(batch.keypoints, expected.keypoints)


def test_a_dataset_in_use_can_be_sent(shard: Path) -> None:
    dataset = SkeletonDataset(shard, AUGMENTED, training=False)
    expected = dataset[7].keypoints
    sent = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(sent[7].keypoints, expected)


def test_batches_have_the_clips_of_a_sample_beside_each_other(folder: Path) -> None:
    inputs = ClipInput(frames=UniformSegments(length=4, num_clips=3), people=PersonSelection(people=2))
    dataset = SkeletonDataset(folder, inputs, training=False)
    batch = collate([dataset[3], dataset[8]])
    assert tuple(batch.keypoints.shape) == (6, 2, 4, 17, 2)
    assert len(batch) == 6
    assert batch.labels.tolist() == [dataset[3].label] * 3 + [dataset[8].label] * 3
    np.testing.assert_array_equal(batch.keypoints[3:], dataset[8].keypoints)
    assert not torch.isnan(batch.keypoints).any()
    assert torch.equal(batch.to("cpu").visible, batch.visible)


def test_clips_of_different_lengths_are_refused(folder: Path) -> None:
    dataset = SkeletonDataset(folder, ClipInput(frames=FullClip()), training=False)
    with pytest.raises(ConfigError, match="FullClip"):
        collate([dataset[3], dataset[4]])


def test_inputs_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'test'; it has 'train', 'val'"):
        SkeletonDataset(folder, ClipInput(), training=True, split="test")
    with pytest.raises(ConfigError, match="tail"):
        SkeletonDataset(folder, ClipInput(centre="tail"), training=True)
    with pytest.raises(ConfigError, match="joint_motion"):
        ClipInput(stream="joints")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="interpolate"):
        ClipInput(missing="mean")  # type: ignore[arg-type]
    path = tmp_path / "a.h5"
    with ShardWriter(path, skeleton=POSETICS17, recipe={}, dimensions=3, coordinate_unit="m"):
        pass
    with pytest.raises(ConfigError, match="3-D"):
        SkeletonDataset(path, ClipInput(), training=True)
    assert len(SkeletonDataset(path, ClipInput(normalise=False), training=True)) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"keypoints": torch.zeros(1, 2, 3, 4)},
        {"keypoints": torch.zeros(1, 2, 3, 4, 2, dtype=torch.float64)},
        {"visible": torch.zeros(1, 2, 3, 5, dtype=torch.bool)},
        {"labels": torch.zeros(2, dtype=torch.int64)},
        {"labels": torch.zeros(1)},
    ],
)
def test_batches_are_checked(changes: dict[str, torch.Tensor]) -> None:
    fitting: dict[str, Any] = {
        "keypoints": torch.zeros(1, 2, 3, 4, 2),
        "visible": torch.zeros(1, 2, 3, 4, dtype=torch.bool),
        "labels": torch.zeros(1, dtype=torch.int64),
    }
    ClipBatch(**fitting)
    with pytest.raises(ConfigError, match=f"ClipBatch.{next(iter(changes))}: expected torch"):
        ClipBatch(**fitting | changes)


@given(st.integers(1, 60), st.integers(1, 40), st.floats(0.1, 1), st.integers(0, 9))
def test_a_stretched_clip_keeps_its_order_and_spans_its_window(
    num_frames: int, length: int, window: float, seed: int
) -> None:
    sampler = Stretch(length=length, window=window, num_clips=2)
    for frames in sampler(num_frames, np.random.default_rng(seed)):
        assert len(frames) == length
        assert (np.diff(frames) >= 0).all()
        assert 0 <= frames[0] <= frames[-1] < num_frames
        assert frames[-1] - frames[0] + 1 >= window * num_frames * (1 - 1 / length) - 1
    whole = Stretch(length=length, window=window)(num_frames, None)[0]
    moments = (np.arange(length) + 0.5) / length * num_frames
    assert (np.abs(whole + 0.5 - moments) <= 0.5 + 1e-9).all()
    first, last = sampler(num_frames, None)
    assert first[0] <= last[0]
