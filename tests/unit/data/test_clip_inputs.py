"""Clips as arrays: frames, people, missing joints, coordinates, streams; against slow versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_samples import PAIR, random_sequence

from skelkit.data import ShardReader, ShardWriter
from skelkit.data.choosing import FillRule, PeopleRule, PersonSelection, fill_missing
from skelkit.data.sampling import FrameSampler, FullClip, RandomCrop, UniformSegments
from skelkit.data.streams import bones, motion, parents
from skelkit.data.transforms import (
    Augmentation,
    RandomFlip,
    RandomRotation,
    RandomScale,
    RandomShift,
    centre_of,
    normalise,
)
from skelkit.errors import ConfigError
from skelkit.skeletons import COCO17, POSETICS17, SKELETONS
from skelkit.structures import Bool, Float32, Skeleton

lengths = st.integers(1, 40)
seeds = st.none() | st.integers(0, 2**32)


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


# Frames


@given(lengths, lengths, st.integers(1, 4), seeds)
def test_uniform_segments_take_one_frame_of_each(
    frames: int, length: int, clips: int, seed: int | None
) -> None:
    sampler = UniformSegments(length=length, num_clips=clips)
    got = sampler(frames, generator(seed))
    assert got.shape == (clips, length) and got.dtype == np.int64
    if frames < length:
        assert (np.diff(got, axis=1) % frames == 1 % frames).all()
        assert seed is not None or (got[:, 0] == 0).all()
    for clip in got.tolist() if frames >= length else []:
        for i, frame in enumerate(clip):
            assert i * frames // length <= frame < (i + 1) * frames // length
    assert 0 <= got.min() <= got.max() < frames
    assert np.array_equal(got, sampler(frames, generator(seed)))


def test_uniform_segments_of_a_test_are_the_middle_or_evenly_spaced() -> None:
    assert UniformSegments(length=3)(30, None).tolist() == [[5, 15, 25]]
    assert UniformSegments(length=2, num_clips=5)(10, None).tolist() == [[i, 5 + i] for i in range(5)]


def test_uniform_segments_of_training_reach_every_frame_alike() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(
        np.concatenate([UniformSegments(length=4)(12, rng).ravel() for _ in range(3000)]), minlength=12
    )
    assert counts.min() > 900 and counts.max() < 1100


@given(lengths, lengths, st.integers(1, 4), seeds)
def test_crops_are_consecutive(frames: int, length: int, clips: int, seed: int | None) -> None:
    got = RandomCrop(length=length, num_clips=clips)(frames, generator(seed))
    assert got.shape == (clips, length)
    assert 0 <= got.min() <= got.max() < frames
    steps = np.diff(got, axis=1)
    assert (steps == 1).all() if frames >= length else (steps % frames == 1 % frames).all()


def test_crops_of_a_test_are_in_the_middle_or_spread_over_the_clip() -> None:
    assert RandomCrop(length=4)(10, None).tolist() == [[3, 4, 5, 6]]
    assert RandomCrop(length=4, num_clips=3)(10, None)[:, 0].tolist() == [0, 3, 6]
    assert RandomCrop(length=5)(3, None).tolist() == [[0, 1, 2, 0, 1]]


def test_full_clips_are_all_frames_played_again_or_cut() -> None:
    assert FullClip()(3, None).tolist() == [[0, 1, 2]]
    assert FullClip(length=5)(3, np.random.default_rng(0)).tolist() == [[0, 1, 2, 0, 1]]
    assert FullClip(length=2)(3, None).tolist() == [[0, 1]]


@pytest.mark.parametrize("sampler", [UniformSegments, RandomCrop, FullClip])
def test_samplers_of_nothing_are_refused(sampler: type[FrameSampler]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        sampler(length=0)  # type: ignore[call-arg]


# People


@pytest.mark.parametrize("rule", ["presence", "motion", "score"])
@given(
    seed=st.integers(0, 1000),
    people=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    wanted=st.integers(1, 5),
)
@settings(deadline=None, max_examples=25)
def test_people_are_chosen_by_the_rule(
    tmp_path_factory: pytest.TempPathFactory, rule: PeopleRule, seed: int, people: list[int], wanted: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.h5"
    with ShardWriter(path, skeleton=COCO17, recipe={}) as writer:
        for i, count in enumerate(people):
            writer.write(random_sequence(seed + i, people=count, frames=9, video_id=f"clip{i}"))
    with ShardReader(path) as reader:
        selected = reader.read_dense(range(len(people)), people=PersonSelection(people=wanted, by=rule))
        dense = reader.read_dense(range(len(people)))
        people = [sequence.num_people for sequence in reader]
    got = selected.chosen
    assert got.shape == (len(people), wanted)
    for b, count in enumerate(people):
        values = []
        for points, visible, scores in zip(
            dense.keypoints[b, :count], dense.visible[b, :count], dense.scores[b, :count], strict=True
        ):
            there = visible.any(axis=1)
            if rule == "presence":
                values.append(float(there.sum()))
            elif rule == "score":
                values.append(float(scores[there].mean()))
            else:
                spread = [
                    points[visible[:, k], k].std(axis=0).sum() for k in range(17) if visible[:, k].any()
                ]
                values.append(float(np.sum(spread, dtype=np.float64)))
        expected = sorted(range(count), key=lambda m: -values[m])[:wanted]
        chosen = got[b, : len(expected)].tolist()
        np.testing.assert_allclose([values[m] for m in chosen], [values[m] for m in expected], rtol=1e-4)
        assert len(set(chosen)) == len(expected)
        assert (got[b, len(expected) :] == -1).all()
        for name in ("keypoints", "visible", "scores"):
            of_all, of_chosen = getattr(dense, name)[b], getattr(selected, name)[b]
            np.testing.assert_array_equal(of_chosen[: len(chosen)], of_all[chosen])
            assert not of_chosen[len(chosen) :].any()
        if rule == "presence":
            assert chosen == expected


def test_unknown_rules_for_people_are_refused() -> None:
    with pytest.raises(ConfigError, match="presence"):
        PersonSelection(by="height")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 1"):
        PersonSelection(people=0)


# Missing joints


def slow_fill(points: Float32, visible: Bool, rule: FillRule) -> tuple[Float32, Bool]:
    points, known = points.copy(), visible.copy()
    for m in range(len(points)):
        frames = np.flatnonzero(visible[m].any(axis=1))
        for k in range(points.shape[2]):
            seen = np.flatnonzero(visible[m, :, k])
            if not len(seen) or rule == "zero":
                continue
            for t in range(frames[0], frames[-1] + 1):
                known[m, t, k] = True
                if rule == "previous":
                    points[m, t, k] = points[m, max((s for s in seen if s <= t), default=seen[0]), k]
                else:
                    points[m, t, k] = [
                        np.interp(t, seen, points[m, seen, k, c]) for c in range(points.shape[-1])
                    ]
    return points, known


@pytest.mark.parametrize("rule", ["zero", "previous", "interpolate"])
@given(seed=st.integers(0, 10_000), shape=st.tuples(st.integers(0, 3), st.integers(0, 9), st.just(3)))
@settings(deadline=None, max_examples=50)
def test_missing_joints_are_filled_by_the_rule(
    rule: FillRule, seed: int, shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    visible = rng.random(shape) < rng.random()
    points = (rng.random((*shape, 2)) * visible[..., None]).astype(np.float32)
    got, known = fill_missing(points, visible, rule)
    expected, expected_known = slow_fill(points, visible, rule)
    np.testing.assert_array_equal(known, expected_known)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(got[visible], points[visible])
    assert got.dtype == np.float32


# Coordinates


def test_normalised_coordinates() -> None:
    points = np.float32([[0, 0], [640, 360], [1280, 720]])
    np.testing.assert_allclose(normalise(points, (720, 1280)), [[-1, -0.5625], [0, 0], [1, 0.5625]])
    np.testing.assert_allclose(normalise(points, (720, 1280), centred=True), points / 640)
    for shape, size in (((1, 3), (720, 1280)), ((1, 2), (0, 0))):
        with pytest.raises(ConfigError, match="normalise=False"):
            normalise(np.zeros(shape, np.float32), size)


def test_the_centre_is_the_first_place_of_a_joint() -> None:
    points = np.random.default_rng(0).random((2, 3, 17, 2)).astype(np.float32)
    known = np.ones((2, 3, 17), bool)
    hip = POSETICS17.index("mid_hip")
    known[0, 0, hip] = False
    np.testing.assert_array_equal(centre_of(points, known, POSETICS17, "mid_hip"), points[0, 1, hip])
    known[0, :, hip] = False
    np.testing.assert_array_equal(centre_of(points, known, POSETICS17, "mid_hip"), points[1, 0, hip])
    known[..., hip] = False
    np.testing.assert_allclose(
        centre_of(points, known, POSETICS17, "mid_hip"), points[0, 0, known[0, 0]].mean(axis=0), rtol=1e-5
    )
    left, right = COCO17.index("left_hip"), COCO17.index("right_hip")
    everything = np.ones((2, 3, 17), bool)
    np.testing.assert_allclose(
        centre_of(points, everything, COCO17, "mid_hip"), points[0, 0, [left, right]].mean(axis=0), rtol=1e-5
    )
    assert centre_of(points, np.zeros_like(known), COCO17, "mid_hip").tolist() == [0, 0]
    with pytest.raises(ConfigError, match="mid_hip"):
        centre_of(points[:, :, :2], everything[..., :2], PAIR, "mid_hip")


# Augmentation


def points_of(dimensions: int) -> tuple[Float32, npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 5, 17, dimensions)).astype(np.float32)
    return points, rng.random((2, 5, 17)) < 0.5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_rotations_keep_lengths_and_stay_within_their_angle(dimensions: int) -> None:
    points, known = points_of(dimensions)
    moved, mask = RandomRotation(degrees=20)(points, known, COCO17, np.random.default_rng(1))
    assert mask is known and moved.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), np.linalg.norm(points, axis=-1), rtol=1e-5)
    matrix = np.linalg.lstsq(points.reshape(-1, dimensions), moved.reshape(-1, dimensions), rcond=None)[0].T
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dimensions), atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-4)
    if dimensions == 2:
        angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        assert 0 < abs(angle) <= 20
        slow = [p[0] * matrix[:, 0] + p[1] * matrix[:, 1] for p in points[0, 0]]
        np.testing.assert_allclose(moved[0, 0], slow, atol=1e-5)


def test_scales_and_shifts_are_one_for_all_points() -> None:
    points, known = points_of(2)
    scaled, _ = RandomScale(share=0.2)(points, known, COCO17, np.random.default_rng(1))
    factor = scaled / points
    assert np.ptp(factor) < 1e-5 and 0.8 <= factor.mean() <= 1.2 and abs(factor.mean() - 1) > 1e-3
    shifted, _ = RandomShift(distance=0.3)(points, known, COCO17, np.random.default_rng(1))
    shift = shifted - points
    assert np.ptp(shift, axis=(0, 1, 2)).max() < 1e-5 and 1e-3 < np.abs(shift).max() <= 0.3 + 1e-6


def test_a_mirror_swaps_the_sides() -> None:
    points, known = points_of(2)
    flip = RandomFlip(probability=1)
    flipped, mask = flip(points, known, COCO17, np.random.default_rng(0))
    for k, joint in enumerate(COCO17.joints):
        other = joint.replace("left", "#").replace("right", "left").replace("#", "right")
        there = COCO17.index(other)
        np.testing.assert_array_equal(flipped[:, :, there, 0], -points[:, :, k, 0])
        np.testing.assert_array_equal(flipped[:, :, there, 1], points[:, :, k, 1])
        np.testing.assert_array_equal(mask[:, :, there], known[:, :, k])
    again, _ = flip(flipped, mask, COCO17, np.random.default_rng(0))
    np.testing.assert_array_equal(again, points)
    assert RandomFlip(probability=0)(points, known, COCO17, np.random.default_rng(0))[0] is points
    flips = [
        RandomFlip()(points, known, COCO17, np.random.default_rng(s))[0] is not points for s in range(200)
    ]
    assert 70 < sum(flips) < 130


@pytest.mark.parametrize(
    "change", [RandomRotation(), RandomScale(), RandomShift(), RandomFlip(probability=1)]
)
def test_augmentations_leave_what_they_are_given(change: Augmentation) -> None:
    points, known = points_of(2)
    before = points.copy(), known.copy()
    change(points, known, COCO17, np.random.default_rng(0))
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(known, before[1])


def test_augmentations_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="share"):
        RandomScale(share=1.0)
    with pytest.raises(ConfigError, match="probability"):
        RandomFlip(probability=1.5)


# Streams


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_every_joint_hangs_on_one_root_by_bones_of_the_skeleton(skeleton: Skeleton) -> None:
    up = parents(skeleton)
    bones_there = {frozenset(edge) for edge in skeleton.edges}
    roots = set()
    for k in range(skeleton.num_joints):
        path = [k]
        while up[path[-1]] != path[-1]:
            path.append(int(up[path[-1]]))
            assert len(path) <= skeleton.num_joints
        if any(skeleton.joints[k] in edge for edge in skeleton.edges):  # PoseTrack's ears are in none
            roots.add(path[-1])
        if len(path) > 1:
            assert frozenset((skeleton.joints[path[0]], skeleton.joints[path[1]])) in bones_there
    assert len(roots) == 1
    there, back = skeleton.mirrored, skeleton.mirrored[skeleton.mirrored]
    assert (back == np.arange(skeleton.num_joints)).all()
    assert [skeleton.joints[k] for k in there if k == there[k]] == [
        j for j in skeleton.joints if not any(j in pair for pair in skeleton.flip_pairs)
    ]


def test_bones_lead_away_from_the_centre() -> None:
    up = parents(POSETICS17)
    names = {j: POSETICS17.joints[up[k]] for k, j in enumerate(POSETICS17.joints)}
    assert names["mid_hip"] == "mid_hip" and names["chest"] == "mid_hip" and names["left_knee"] == "left_hip"
    assert names["left_wrist"] == "left_elbow" and names["head"] == "lower_head"
    points, known = points_of(2)
    got, mask = bones(points, known, POSETICS17)
    for k in range(17):
        np.testing.assert_array_equal(got[:, :, k], points[:, :, k] - points[:, :, up[k]])
        np.testing.assert_array_equal(mask[:, :, k], known[:, :, k] & known[:, :, up[k]])
    lonely = replace(PAIR, edges=(), name="lonely")
    assert parents(lonely).tolist() == [0, 1]


def test_motion_is_the_next_frame_minus_this() -> None:
    points, known = points_of(2)
    at = np.asarray([0, 3, 1, 4])
    got, mask = motion(points[:, at], known[:, at])
    np.testing.assert_array_equal(got, points[:, [1, 4]] - points[:, [0, 3]])
    np.testing.assert_array_equal(mask, known[:, [1, 4]] & known[:, [0, 3]])
