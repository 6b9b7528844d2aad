"""Poses as a dataset keeps them, and clips that show the same movement."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.data.facts import measure
from skelkit.data.near_duplicates import describe_clips, find_duplicates
from skelkit.data.preparing import Preparation, blocks, check_convertible, prepare
from skelkit.data.rows import Rows
from skelkit.errors import ConfigError
from skelkit.skeletons import COCO17, H36M17, LCR13, POSETICS17
from skelkit.structures import Skeleton


def rows_of(person_lengths: list[int], seed: int = 0, skeleton: Skeleton = LCR13) -> Rows:
    rng = np.random.default_rng(seed)
    total = sum(person_lengths)
    return Rows(
        frame=np.concatenate([np.arange(n) for n in person_lengths]).astype(np.int32),
        track=np.repeat(np.arange(len(person_lengths)), person_lengths).astype(np.int32) * 2,
        keypoints=rng.uniform(0, 500, (total, skeleton.num_joints, 2)).astype(np.float32),
        scores=rng.random((total, skeleton.num_joints)).astype(np.float32),
        confidence=rng.random(total).astype(np.float32),
    )


def joined(*clips: Rows) -> tuple[Rows, np.ndarray]:
    rows = Rows(**{f.name: np.concatenate([getattr(c, f.name) for c in clips]) for f in fields(Rows)})
    return rows, np.asarray([len(c) for c in clips])


@given(st.lists(st.integers(0, 40000), max_size=300))
def test_blocks_hold_every_clip_once(num_rows: list[int]) -> None:
    found = list(blocks(np.asarray(num_rows, np.int64)))
    assert [i for start, stop in found for i in range(start, stop)] == list(range(len(num_rows)))
    assert all(sum(num_rows[a:b]) <= 16384 or b - a == 1 for a, b in found)


def test_joints_are_converted_and_facts_are_those_of_the_result() -> None:
    rows, num_rows = joined(rows_of([4, 2]), rows_of([3], seed=1))
    rows.keypoints[0, LCR13.index("left_hip")] = np.nan
    done = prepare(rows, num_rows, LCR13, Preparation(skeleton=POSETICS17))
    assert done.num_rows.tolist() == [6, 3] and done.num_people.tolist() == [2, 1]
    hips = [LCR13.index("left_hip"), LCR13.index("right_hip")]
    np.testing.assert_allclose(
        done.rows.keypoints[:, POSETICS17.index("mid_hip")], rows.keypoints[:, hips].mean(axis=1), atol=1e-3
    )
    facts = measure(done.rows, done.num_rows, np.asarray([8, 3]))
    np.testing.assert_allclose(facts.presence, [0.5, 1])
    assert facts.joint_visibility[0, POSETICS17.index("mid_hip")] == pytest.approx(5 / 6)
    assert facts.mean_joints[1] == 17


def test_a_joint_set_that_lacks_too_much_is_refused() -> None:
    check_convertible(LCR13, POSETICS17)
    check_convertible(COCO17, POSETICS17)
    with pytest.raises(ConfigError, match="has nothing to make head_top"):
        check_convertible(LCR13, H36M17)


def test_poses_below_gamma_are_left_out_and_those_without_confidence_stay() -> None:
    rows = replace(rows_of([4]), confidence=np.asarray([0.1, 0.2, np.nan, 0.3], np.float32))
    done = prepare(rows, np.asarray([4]), LCR13, Preparation(skeleton=LCR13, gamma=0.2))
    assert done.rows.frame.tolist() == [1, 2, 3]
    assert done.rows_left_out.tolist() == [1]


def tracks_left(rows: Rows, by: str, count: int = 1) -> list[int]:
    wanted = Preparation(skeleton=LCR13, max_people=count, people_by=by)
    done = prepare(rows, np.asarray([len(rows)]), LCR13, wanted)
    assert done.people_left_out.tolist() == [len(np.unique(rows.track)) - len(np.unique(done.rows.track))]
    return np.unique(done.rows.track).tolist()


def test_people_are_kept_by_presence_size_or_motion() -> None:
    rows = rows_of([3, 5, 4])
    for person, (size, motion) in enumerate([(90, 1), (50, 20), (100, 2)]):
        mine = rows.track == person * 2
        pose = np.linspace(0, size, 13)[:, None].repeat(2, axis=1)
        moves = np.linspace(0, motion, mine.sum())[:, None, None]
        rows.keypoints[mine] = (pose[None] + moves).astype(np.float32)
    assert tracks_left(rows, "presence") == [2]
    assert tracks_left(rows, "size") == [4]
    assert tracks_left(rows, "motion") == [2]
    assert tracks_left(rows, "size", 2) == [0, 4]
    assert tracks_left(rows_of([4, 4]), "presence") == [0]


def test_clips_do_not_see_one_another() -> None:
    clips = [
        rows_of([5, 9, 2], seed=1),
        rows_of([0], seed=2),
        rows_of([1, 1, 1], seed=3),
        rows_of([20], seed=4),
    ]
    rows, num_rows = joined(*clips)
    wanted = Preparation(skeleton=POSETICS17, gamma=0.3, max_people=2, people_by="motion")
    together = prepare(rows, num_rows, LCR13, wanted)
    facts = measure(together.rows, together.num_rows, np.asarray([20] * 4))
    at = 0
    for i, clip in enumerate(clips):
        alone = prepare(clip, np.asarray([len(clip)]), LCR13, wanted)
        there = slice(at, at + int(together.num_rows[i]))
        np.testing.assert_array_equal(together.rows.keypoints[there], alone.rows.keypoints)
        np.testing.assert_array_equal(together.rows.frame[there], alone.rows.frame)
        assert together.num_people[i] == alone.num_people[0]
        mine = measure(alone.rows, alone.num_rows, np.asarray([20]))
        for name in ("presence", "mean_confidence", "mean_score", "mean_joints", "body_height"):
            np.testing.assert_array_equal(getattr(facts, name)[i], getattr(mine, name)[0])
        at = there.stop


@pytest.mark.parametrize("wrong", [{"gamma": 2}, {"max_people": 0}, {"people_by": "charm"}])
def test_preparations_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Preparation(skeleton=LCR13, **wrong)  # type: ignore[arg-type]


def walker(seed: int, frames: int = 60, rate: float = 1.0) -> Rows:
    """A person who moves smoothly; `rate` is frames per unit of time."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / rate
    pose = rng.normal(0, 60, (1, 13, 2))
    swing = rng.normal(0, 20, (1, 13, 2)) * np.sin(
        t / rng.uniform(3, 9, (1, 13, 1)) + rng.uniform(0, 6, (1, 13, 2))
    )
    return Rows(
        frame=np.arange(frames, dtype=np.int32),
        track=np.zeros(frames, np.int32),
        keypoints=(300 + pose + swing).astype(np.float32),
        scores=np.ones((frames, 13), np.float32),
        confidence=np.ones(frames, np.float32),
    )


def duplicates(clips: list[Rows], limit: float, names: list[str] | None = None) -> list[int]:
    rows, num_rows = joined(*clips)
    descriptors = describe_clips(rows, num_rows, LCR13)
    ids = np.asarray(names or [f"c{i:05d}" for i in range(len(clips))], object)
    return find_duplicates(descriptors, ids, limit).tolist()


def test_the_same_movement_is_found_whatever_place_size_and_rate() -> None:
    noise = np.random.default_rng(9).normal(0, 0.5, (60, 13, 2))
    same = walker(1)
    moved = replace(same, keypoints=(same.keypoints * 1.7 + 35 + noise).astype(np.float32))
    faster = walker(1, frames=120, rate=2.0)
    gaps = replace(same, keypoints=same.keypoints.copy())
    gaps.keypoints[20:23, 4] = np.nan
    clips = [walker(2), same, moved, walker(3), faster, gaps]
    assert duplicates(clips, 0.03) == [-1, -1, 1, -1, 1, 1]
    assert duplicates(clips, 1e-6) == [-1, -1, -1, -1, -1, 1]  # the gap lies between the moments


def test_the_first_by_name_is_kept() -> None:
    assert duplicates([walker(1), walker(1), walker(1)], 0.01, ["b", "c", "a"]) == [2, 2, -1]


def test_clips_without_people_are_nobodys_duplicates() -> None:
    assert duplicates([rows_of([0]), rows_of([0]), walker(1)], 0.5) == [-1, -1, -1]


def test_no_pair_is_missed_and_none_is_made_up() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.2, (150, 384))
    points = np.concatenate([base, base[rng.integers(0, 150, 150)] + rng.normal(0, 0.02, (150, 384))])
    points = points.astype(np.float16)
    names = np.asarray([f"{i:03d}" for i in rng.permutation(300)], object)
    order = np.argsort(names.astype(str))
    exact = np.full(300, -1)
    for i, clip in enumerate(order):
        for other in order[:i]:
            difference = points[clip].astype(np.float32) - points[other].astype(np.float32)
            if exact[other] < 0 and np.sqrt((difference**2).mean()) <= 0.02:
                exact[clip] = other
                break
    assert (exact >= 0).sum() > 30
    assert find_duplicates(points, names, 0.02).tolist() == exact.tolist()
