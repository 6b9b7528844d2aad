from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracking_scenes import INFO, Scene, crossing, greedy_iou_tracker, identities, switches, walker

from skelkit.errors import ConfigError
from skelkit.protocols import Tracker
from skelkit.skeletons import COCO17, OPENPOSE18
from skelkit.structures import Poses, SkeletonSequence
from skelkit.tracking import PoseTracker, TrackerSettings

CLIP = np.arange(100) / 25


def follow(poses: list[Poses], pts_s: np.ndarray, **options: float) -> SkeletonSequence:
    return PoseTracker(TrackerSettings(**options)).track(
        poses,
        frame_indices=np.arange(len(pts_s)),
        pts_s=pts_s,
        info=INFO,
        video_id="scene",
        source="expert",
    )


def two_walkers(pts_s: np.ndarray = CLIP) -> Scene:
    return Scene(pts_s, np.stack([walker(pts_s, 200, 60), walker(pts_s, 900, -40, phase=1)]))


def test_is_a_tracker() -> None:
    assert isinstance(PoseTracker(), Tracker)


def test_follows_and_keeps_what_it_was_given() -> None:
    poses = two_walkers().observe()
    found = follow(poses, CLIP)
    assert found.keypoints.shape == (2, 100, 17, 2)
    assert found.track_ids.tolist() == [0, 1]
    assert np.all(found.confidence == np.float32(0.9))
    assert np.isfinite(found.keypoints).all()
    assert switches(poses, 2, found.keypoints) == 0
    assert (found.sources, found.video_id, found.image_size) == (("expert",), "scene", (720, 1280))
    assert found.fps == pytest.approx(25)


def test_frames_without_people_are_time_steps() -> None:
    seen = np.ones((2, 100), bool)
    seen[:, :10] = seen[:, 90:] = False
    found = follow(two_walkers().observe(seen=seen), CLIP)
    assert np.array_equal(found.present(), seen)
    assert np.array_equal(np.isnan(found.confidence), ~seen)
    assert np.all(found.scores[~seen] == 0)


def test_nobody_at_all() -> None:
    found = follow(two_walkers().observe(seen=np.zeros((2, 100), bool)), CLIP)
    assert found.keypoints.shape == (0, 100, 17, 2)
    with pytest.raises(ConfigError, match="at least one batch"):
        follow([], CLIP)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_short_clips_keep_their_people(steps: int) -> None:
    pts = CLIP[:steps]
    seen = np.ones((2, steps), bool)
    seen[1, 1:] = False
    scores = np.full((2, steps), 0.35)
    assert follow(two_walkers(pts).observe(seen=seen, scores=scores), pts).num_people == 2


def test_slow_sampling_keeps_people_and_identities() -> None:
    pts = np.arange(8) / 0.5  # a frame every two seconds
    scene = Scene(pts, np.stack([walker(pts, 200, 5), walker(pts, 900, -5)]))
    poses = scene.observe(scores=np.full((2, 8), 0.35))
    assert switches(poses, 2, follow(poses, pts).keypoints) == 0


def test_one_look_in_slow_sampling_is_no_flicker() -> None:
    pts = np.arange(8) / 2.0
    seen = np.zeros((1, 8), bool)
    seen[0, 3] = True
    poses = Scene(pts, walker(pts, 200, 0)[None]).observe(seen=seen, scores=np.full((1, 8), 0.35))
    assert follow(poses, pts).num_people == 1


def test_somebody_long_unseen_does_not_take_the_pose_of_somebody_there() -> None:
    people = np.stack([walker(CLIP, 600, 0), walker(CLIP, 641, 0)])
    people[0, 45:] += (13, 0)  # a step towards the place where the other was last seen
    seen = np.ones((2, 100), bool)
    seen[1, 30:] = False
    poses = Scene(CLIP, people).observe(seen=seen, noise=0.5)
    assert switches(poses, 2, follow(poses, CLIP).keypoints) == 0


def test_unsure_flicker_goes_and_brief_sure_people_stay() -> None:
    pts = CLIP
    scene = Scene(pts, np.stack([walker(pts, x, 0) for x in (200, 600, 1000)]))
    seen = np.ones((3, 100), bool)
    seen[1:] = False
    seen[1:, 40:42] = True
    scores = np.full((3, 100), 0.9)
    scores[1] = 0.4
    found = follow(scene.observe(seen=seen, scores=scores), pts)
    assert found.present().sum(axis=1).tolist() == [100, 2]
    assert found.confidence[1, 40] == np.float32(0.9)


@pytest.mark.parametrize(("missing", "people"), [(20, 1), (30, 2)])
def test_gaps_are_bridged_up_to_a_second(missing: int, people: int) -> None:
    scene = Scene(CLIP, walker(CLIP, 300, 80)[None])
    seen = np.ones((1, 100), bool)
    seen[0, 30 : 30 + missing] = False
    found = follow(scene.observe(seen=seen), CLIP)
    assert found.num_people == people
    assert np.array_equal(found.present().any(axis=0), seen[0])


def test_score_dips_do_not_end_a_track_but_never_start_one() -> None:
    scores = np.full((2, 100), 0.9)
    scores[0, 20:60] = 0.15
    scores[1] = 0.2
    poses = two_walkers().observe(scores=scores)
    found = follow(poses, CLIP)
    assert found.num_people == 1
    assert found.present().all()
    assert follow(poses, CLIP, low_score=0.25).present().sum() == 60


def test_variable_frame_rate_is_read_from_the_time_stamps() -> None:
    rng = np.random.default_rng(3)
    pts = np.cumsum(rng.choice([0.01, 0.04, 0.3], 120))
    scene = Scene(pts, np.stack([walker(pts, 100, 90), walker(pts, 1200, -90)]))
    poses = scene.observe()
    found = follow(poses, pts)
    # By frames instead of seconds the motion of these people is nonsense: they would be lost.
    assert found.num_people == 2
    assert switches(poses, 2, found.keypoints) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_order_within_a_frame_and_batching_do_not_matter(seed: int, batch: int) -> None:
    scene, seen = crossing(np.random.default_rng(seed), seconds=2, number=3)
    scores = np.random.default_rng(seed).uniform(0.05, 1, seen.shape)
    plain = follow(scene.observe(seen=seen, scores=scores), scene.pts_s)
    other = follow(scene.observe(seen=seen, scores=scores, shuffle=seed, batch=batch), scene.pts_s)
    assert np.array_equal(plain.keypoints, other.keypoints, equal_nan=True)
    assert np.array_equal(plain.confidence, other.confidence, equal_nan=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_every_pose_is_used_at_most_once_and_unchanged(seed: int) -> None:
    scene, seen = crossing(np.random.default_rng(seed), seconds=2)
    poses = scene.observe(seen=seen)
    found = follow(poses, scene.pts_s)
    given_ = {p.tobytes() for b in poses for p in b.keypoints}
    kept = [p.tobytes() for p in found.keypoints[found.present()]]
    assert len(kept) == len(set(kept))
    assert given_.issuperset(kept)


def test_one_person_found_twice_is_one_person() -> None:
    scene = Scene(CLIP, np.stack([walker(CLIP, 300, 60)] * 2))
    scores = np.stack([np.full(100, 0.6), np.full(100, 0.8)])
    found = follow(scene.observe(scores=scores, noise=3), CLIP)
    assert found.num_people == 1
    assert np.all(found.confidence == np.float32(0.8))


@pytest.mark.parametrize("fps", [25.0, 10.0, 5.0])
def test_fewer_switches_at_crossings_than_a_greedy_iou_tracker(fps: float) -> None:
    ours = naive = 0
    for seed in range(6):
        scene, seen = crossing(np.random.default_rng(seed), fps=fps)
        poses = scene.observe(seen=seen, seed=seed)
        ours += switches(poses, 4, follow(poses, scene.pts_s).keypoints)
        naive += switches(poses, 4, greedy_iou_tracker(poses, len(scene.pts_s), patience=int(fps)))
    assert ours < naive / 3


def test_the_limit_keeps_present_large_and_moving_people() -> None:
    pts = CLIP
    scene = Scene(
        pts,
        np.stack(
            [
                walker(pts, 100, 0, height=60, y=150),  # small, standing
                walker(pts, 300, 120),
                walker(pts, 900, 0),
                walker(pts, 1100, 0),  # there for a third of the time
            ]
        ),
    )
    seen = np.ones((4, 100), bool)
    seen[3, 33:] = False
    poses = scene.observe(seen=seen)
    assert follow(poses, pts).num_people == 4
    two = follow(poses, pts, max_people=2)
    assert sorted(identities(poses, 4, two.keypoints)[:, 0].tolist()) == [-1, -1, 0, 1]
    assert identities(poses, 4, two.keypoints)[[1, 2], 0].tolist() == [0, 1]  # the mover ranks first


def test_ids_count_by_first_appearance() -> None:
    seen = np.ones((2, 100), bool)
    seen[0, :50] = False
    poses = two_walkers().observe(seen=seen)
    assert identities(poses, 2, follow(poses, CLIP).keypoints)[:, 60].tolist() == [1, 0]


def test_poses_without_joints_are_nobody_and_3d_poses_go_by_their_boxes() -> None:
    batches = two_walkers().observe()
    empty = [dataclasses.replace(b, keypoints=np.full_like(b.keypoints, np.nan)) for b in batches]
    assert follow(empty, CLIP).num_people == 0
    spatial = [
        dataclasses.replace(b, keypoints=np.concatenate([b.keypoints, b.keypoints[..., :1]], axis=2) / 100)
        for b in batches
    ]
    found = follow(spatial, CLIP)
    assert found.keypoints.shape == (2, 100, 17, 3)
    assert found.present().all()


def test_wrong_input_is_refused() -> None:
    poses = two_walkers().observe()
    with pytest.raises(ConfigError, match="not among"):
        follow(poses, CLIP[:50])
    with pytest.raises(ConfigError, match="out of order"):
        follow(poses[::-1], CLIP)
    with pytest.raises(ConfigError, match="one expert"):
        follow(poses[:1] + two_walkers().observe(skeleton=OPENPOSE18)[1:], CLIP)
    with pytest.raises(ConfigError, match="high_score"):
        TrackerSettings(high_score=2)
    with pytest.raises(ConfigError, match="damping_s"):
        TrackerSettings(damping_s=0)
    with pytest.raises(ConfigError, match="max_people"):
        TrackerSettings(max_people=0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_frames_that_come_in_batch_by_batch_give_the_same(seed: int, batch: int) -> None:
    scene, seen = crossing(np.random.default_rng(seed), seconds=2, number=3)
    poses = scene.observe(seen=seen, batch=batch)
    following = PoseTracker().begin(COCO17)
    for number, part in enumerate(poses):
        frames = np.arange(len(scene.pts_s))[number * batch : (number + 1) * batch]
        following.add(part, frame_indices=frames, pts_s=scene.pts_s[frames])
    found = following.finish(info=INFO, video_id="scene", source="expert").to_sequence()
    whole = follow(poses, scene.pts_s)
    assert np.array_equal(found.keypoints, whole.keypoints, equal_nan=True)
    assert np.array_equal(found.pts_s, whole.pts_s)
    assert found.fps == whole.fps


def test_a_clip_without_frames() -> None:
    found = PoseTracker().begin(COCO17).finish(info=INFO, video_id="scene", source="expert")
    assert (found.num_people, found.num_frames, len(found), found.fps) == (0, 0, 0, 0.0)


def test_memory_is_that_of_the_poses() -> None:
    """Many people after one another in a long clip: 80 of them, dense, would take 100 times as much."""
    t, alive = 4000, 20
    pts = np.arange(t) / 25
    body = walker(pts[:1], 600, 0).astype(np.float32)

    def stream():  # somebody else every 50 frames, never two at a time
        for start in range(0, t, 50):
            yield Poses(
                skeleton=COCO17,
                frame_indices=np.arange(start, start + alive),
                boxes_xyxy=np.tile(np.float32([500, 300, 700, 500]), (alive, 1)),
                box_scores=np.full(alive, 0.9, np.float32),
                keypoints=np.repeat(body, alive, axis=0),
                scores=np.ones((alive, 17), np.float32),
            )

    tracemalloc.start()
    found = PoseTracker(TrackerSettings(max_people=100, max_gap_s=0.5)).follow(
        stream(), frame_indices=np.arange(t), pts_s=pts, info=INFO, video_id="scene", source="expert"
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.num_people == 80
    rows = t // 50 * alive * (17 * 3 * 4 + 16 + 4 + 16)
    assert peak < 1.8 * rows + 300_000
