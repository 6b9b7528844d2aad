"""What goes into a shard comes out of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shard_samples import PAIR, random_sequence, sequence_of, sequences

from skelkit.data import Clip, ShardReader, ShardWriter, empty_sequence, merge_shards, write_clip_file
from skelkit.data.fixed_point import LEVELS, MISSING, Grid
from skelkit.data.layout import KEYPOINT_STEP
from skelkit.errors import ConfigError, OutputError, ShardError
from skelkit.skeletons import COCO17, LCR13, POSETICS17
from skelkit.structures import SkeletonSequence

RECIPE = {"stride": 2, "experts": {"movenet": {"sha256": "ab" * 32}}, "note": "größe \udcff"}


def assert_same(got: SkeletonSequence, put: SkeletonSequence, step: float = 1 / 8) -> None:
    """Equal but for rounding and for people who are never there."""
    there = put.present().any(axis=1)
    step = Grid.of(put.keypoints.reshape(-1, *put.keypoints.shape[2:]), step).step
    assert got.track_ids.tolist() == put.track_ids[there].tolist()
    np.testing.assert_allclose(got.keypoints, put.keypoints[there], rtol=0, atol=step / 2)
    np.testing.assert_allclose(got.scores, put.scores[there], rtol=0, atol=1 / 509)
    np.testing.assert_array_equal(got.confidence, put.confidence[there])
    np.testing.assert_array_equal(got.frame_indices, put.frame_indices)
    np.testing.assert_array_equal(got.pts_s, put.pts_s)
    for name in ("skeleton", "video_id", "fps", "image_size", "sources", "label"):
        assert getattr(got, name) == getattr(put, name), name


@settings(deadline=None, max_examples=60)
@given(put=sequences(), view=sequences(skeleton=LCR13))
def test_a_sequence_and_its_experts_come_back(
    tmp_path_factory: pytest.TempPathFactory, put: SkeletonSequence, view: SkeletonSequence
) -> None:
    if view.num_frames != put.num_frames:
        view = empty_sequence(
            LCR13, video_id="clip", frame_indices=put.frame_indices, pts_s=put.pts_s, fps=put.fps
        )
    path = tmp_path_factory.mktemp("shard") / "one.h5"
    write_clip_file(path, sequence=put, experts={"lcr": view}, skeleton=PAIR, recipe=RECIPE)
    with ShardReader(path) as reader:
        assert len(reader) == 1
        assert_same(reader[0], put)
        got = reader.expert("lcr", 0)
        assert got.sources == ("lcr",)
        assert got.image_size == put.image_size
        np.testing.assert_allclose(
            got.keypoints, view.keypoints[view.present().any(axis=1)], rtol=0, atol=1 / 8
        )
        assert reader.skeleton == PAIR
        assert reader.experts == {"lcr": LCR13}
        assert reader.recipe == RECIPE


@given(
    points=hnp.arrays(
        np.float32, (3, 2, 2), elements=st.floats(-8192, 8192, width=32) | st.just(np.float32(np.nan))
    ),
    unit=st.sampled_from(["px", "m"]),
    shrink=st.sampled_from([1, 0.49]),
)
def test_rounding_errs_by_half_a_step_at_most_and_again_changes_nothing(
    points: npt.NDArray[np.float32], unit: str, shrink: float
) -> None:
    finest = KEYPOINT_STEP[unit]
    limit = 8192 if unit == "px" else 8  # float32 itself is finer than the step up to here
    points = points * np.float32(shrink * limit / 8192)
    found = np.isfinite(points).all(axis=-1)
    grid = Grid.of(points, finest)
    spread = np.ptp(points[found], axis=0).max() if found.any() else 0
    assert grid.step == (finest if spread <= LEVELS * finest else 2 * finest)
    stored = grid.encode(points)
    assert ((stored == MISSING) == ~found[..., None]).all()
    back = grid.decode(stored)
    assert np.array_equal(np.isfinite(back).all(axis=-1), found)
    assert np.abs(back[found].astype(np.float64) - points[found]).max(initial=0) <= grid.step / 2
    np.testing.assert_array_equal(grid.decode(grid.encode(back)), back)
    if grid.step == finest:
        again = Grid.of(back, finest)
        assert again.step == finest and np.array_equal(again.origin, grid.origin)


def test_pictures_of_8192_pixels_are_kept_to_a_sixteenth() -> None:
    points = np.float32([[[0, 8191], [8191, 0], [np.nan, 3], [100.3, -0.4]]])
    grid = Grid.of(points, 1 / 8)
    assert grid.step == 1 / 8
    assert np.nanmax(np.abs(grid.decode(grid.encode(points)) - points)) <= 1 / 16


def test_what_lies_very_far_apart_is_stored_coarsely(tmp_path: Path) -> None:
    points = np.zeros((1, 2, 2, 2), np.float32)
    points[0, 1, 1] = 1e9, -1e30
    put = sequence_of(points, np.ones((1, 2, 2), np.float32))
    write_clip_file(tmp_path / "a.h5", sequence=put, skeleton=PAIR, recipe={})
    merge_shards(tmp_path / "b.h5", [tmp_path / "a.h5"])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with ShardReader(tmp_path / "a.h5") as reader:
        np.testing.assert_allclose(reader[0].keypoints, points, rtol=0, atol=1e30 / LEVELS)


def test_rows_are_ordered_and_hold_only_who_is_there(tmp_path: Path) -> None:
    sequence = random_sequence(1, people=3)
    keypoints = sequence.keypoints.copy()
    keypoints[1] = np.nan  # nobody
    keypoints[0, 4, 2, 1] = np.nan  # half a joint is none
    ghost = replace(sequence, keypoints=keypoints)
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer:
        writer.write(random_sequence(0))
        writer.write(ghost)
    with h5py.File(tmp_path / "a.h5") as h5:
        first = h5["clips/first_row"][1]
        frame, track = h5["poses/frame"][first:], h5["poses/track"][first:]
        points, scores = h5["poses/keypoints"][first:], h5["poses/scores"][first:]
        origin, step = h5["poses/origin"][1], h5["poses/step"][1]
        assert h5["clips/num_people"][1] == 2
        assert h5["clips/num_rows"][1] == ghost.present().sum()
    person = {int(t): m for m, t in enumerate(ghost.track_ids)}
    keys = [(person[int(t)], int(f)) for t, f in zip(track, frame, strict=True)]
    assert keys == sorted(set(keys))
    assert (points != MISSING).any(axis=(1, 2)).all()
    at = keys.index((0, 4))
    assert (points[at, 2] == MISSING).all()
    assert scores[at, 2] == 0
    seen = np.isfinite(ghost.keypoints[0, 4]).all(axis=-1)
    np.testing.assert_allclose(  # as the format says it is read
        (origin + step * points[at])[seen], ghost.keypoints[0, 4][seen], rtol=0, atol=1 / 16
    )
    np.testing.assert_allclose(scores[at][seen] / 255, ghost.scores[0, 4][seen], rtol=0, atol=1 / 509)


def test_clips_without_people_and_without_frames(tmp_path: Path) -> None:
    times = np.arange(5) / 10
    nobody = empty_sequence(
        COCO17,
        video_id="street",
        image_size=(480, 640),
        fps=10.0,
        frame_indices=np.arange(5),
        pts_s=times,
        sources=("movenet",),
    )
    broken = empty_sequence(COCO17, video_id="broken")
    kept = random_sequence(3)
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}, experts={"lcr": LCR13}) as writer:
        writer.write(nobody)
        writer.write(broken, clip=Clip.of(broken, status="failed", detail="no video stream"))
        writer.write(kept, clip=Clip.of(kept, status="failed", detail="20 of 30 frames"))
    with ShardReader(tmp_path / "a.h5") as reader:
        assert reader.status == {"ok": 0, "no_person": 1, "failed": 2}
        assert_same(reader[0], nobody)
        assert_same(reader[1], broken)
        assert_same(reader[2], kept)
        assert [reader.clip(i).detail for i in range(3)] == ["", "no video stream", "20 of 30 frames"]
        assert reader.expert("lcr", 2).num_people == 0
        assert reader.expert("lcr", 2).num_frames == 20


def test_every_column_of_a_clip_comes_back_even_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n\xff.mp4")
    sequence = random_sequence(1, video_id=name, label="trinkt Tee 茶")
    clip = Clip.of(
        sequence,
        source=f"/videos/{name}",
        sha256="0f" * 32,
        detail="rotated",
        label_index=2**31 - 1,
        split="train",
    )
    path = tmp_path / os.fsdecode(b"out\xff.h5")
    write_clip_file(path, sequence=sequence, clip=clip, skeleton=COCO17, recipe={})
    with ShardReader(path) as reader:
        assert reader.clip(0) == clip
        assert reader.find(name) == 0


def test_three_dimensions_in_metres(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-3, 3, (2, 4, 17, 3)).astype(np.float32)
    sequence = sequence_of(points, np.ones((2, 4, 17), np.float32), skeleton=POSETICS17)
    path = tmp_path / "a.h5"
    with ShardWriter(path, skeleton=POSETICS17, recipe={}, dimensions=3, coordinate_unit="m") as writer:
        writer.write(sequence)
    with ShardReader(path) as reader:
        assert_same(reader[0], sequence, step=1 / 8192)
        assert (reader.header.dimensions, reader.header.coordinate_unit) == (3, "m")


def test_negative_positions_iteration_and_positions_out_of_range(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer:
        for seed in range(3):
            writer.write(random_sequence(seed))
    with ShardReader(tmp_path / "a.h5") as reader:
        assert [s.video_id for s in reader] == ["clip0", "clip1", "clip2"] == reader.video_ids  # type: ignore[attr-defined]
        assert reader[-1].video_id == "clip2"
        with pytest.raises(IndexError):
            reader[3]


def test_unknown_names_come_with_suggestions(tmp_path: Path) -> None:
    view = random_sequence(1, skeleton=LCR13)
    write_clip_file(
        tmp_path / "a.h5", sequence=random_sequence(1), experts={"movenet": view}, skeleton=COCO17, recipe={}
    )
    with ShardReader(tmp_path / "a.h5") as reader:
        with pytest.raises(ShardError, match="clip1"):
            reader.find("clip_1")
        with pytest.raises(ShardError, match="movenet"):
            reader.expert("movenett", 0)


def test_large_recipe(tmp_path: Path) -> None:
    recipe = {"experts": ["x" * 300_000]}
    write_clip_file(tmp_path / "a.h5", sequence=random_sequence(1), skeleton=COCO17, recipe=recipe)
    with ShardReader(tmp_path / "a.h5") as reader:
        assert reader.recipe == recipe


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_frames": 19}, "num_frames"),
        ({"video_id": "other"}, "video_id"),
        ({"width": 641}, "width"),
        ({"fps": 30.0}, "fps"),
        ({"label": "running"}, "label"),
        ({"status": "no_person"}, "status"),
        ({"source": "a\0b"}, "NUL"),
        ({"source": "a\ud800b"}, "UTF-8"),
    ],
)
def test_a_clip_that_does_not_fit_is_refused_and_leaves_no_trace(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    sequence = random_sequence(1)
    fitting = Clip.of(sequence)
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}) as writer:
        with pytest.raises(ShardError, match=words):
            writer.write(sequence, clip=replace(fitting, **changes))
        writer.write(sequence, clip=fitting)
    with ShardReader(tmp_path / "a.h5") as reader:
        assert len(reader) == 1
        assert_same(reader[0], sequence)


def test_sequences_that_do_not_fit_the_shard_are_refused(tmp_path: Path) -> None:
    good = random_sequence(1)
    with ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}, experts={"lcr": LCR13}) as writer:
        writer.write(good)
        with pytest.raises(ShardError, match="twice"):
            writer.write(good)
        with pytest.raises(ShardError, match="coco17"):
            writer.write(random_sequence(2, skeleton=POSETICS17))
        with pytest.raises(ShardError, match="lcr13"):
            writer.write(random_sequence(2), experts={"lcr": random_sequence(2)})
        with pytest.raises(ShardError, match="experts among"):
            writer.write(random_sequence(2), experts={"movenet": random_sequence(2)})
        with pytest.raises(ShardError, match="time steps"):
            writer.write(random_sequence(2), experts={"lcr": random_sequence(2, frames=19, skeleton=LCR13)})
        with pytest.raises(ShardError, match="scores in"):
            writer.write(replace(random_sequence(2), scores=np.full((2, 20, 17), 1.2, np.float32)))
        with pytest.raises(ShardError, match="32 bits"):
            writer.write(random_sequence(2, track_ids=np.array([1, 2**40])))
    with ShardReader(tmp_path / "a.h5") as reader:
        assert reader.video_ids == ["clip1"]


def test_clips_and_headers_that_cannot_be(tmp_path: Path) -> None:
    sequence = random_sequence(1)
    with pytest.raises(ShardError, match="status"):
        Clip.of(sequence, status="done")  # type: ignore[arg-type]
    with pytest.raises(ShardError, match="video_id"):
        Clip.of(random_sequence(1, video_id=""))
    with pytest.raises(ShardError, match="label_index"):
        Clip.of(sequence, label_index=2**31)
    with pytest.raises(ConfigError, match="JSON"):
        ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={"when": object()})
    with pytest.raises(ConfigError, match="JSON"):
        ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={"limit": float("nan")})
    with pytest.raises(ConfigError, match="expert names"):
        ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}, experts={"a/b": COCO17})
    with pytest.raises(ConfigError, match="dimensions"):
        ShardWriter(tmp_path / "a.h5", skeleton=COCO17, recipe={}, coordinate_unit="cm")
    assert list(tmp_path.iterdir()) == []


def test_output_paths_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder"):
        ShardWriter(tmp_path, skeleton=COCO17, recipe={})
    with pytest.raises(OutputError, match="no folder"):
        ShardWriter(tmp_path / "none" / "a.h5", skeleton=COCO17, recipe={})
