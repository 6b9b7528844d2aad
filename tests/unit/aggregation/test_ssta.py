import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sequences import experts, sequence, walk

from benchmarks._ssta_loop import full_loop
from skelkit.aggregation.confidence import discarded, head_length
from skelkit.aggregation.ssta import Ssta
from skelkit.aggregation.views import cut
from skelkit.errors import ConfigError
from skelkit.protocols import Aggregator
from skelkit.skeletons import COCO17, HALPE26, LCR13, OPENPOSE18, POSETICS17, remap

ALL = Ssta(joints=None)
SCENES = st.tuples(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1)
)  # people, frames, experts, seed


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


@given(SCENES, st.booleans())
@settings(deadline=None, max_examples=40)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_equals_the_loop_over_frames_people_and_joints(scene: tuple[int, ...], swaps: bool) -> None:
    views = experts(*scene)
    rule = Ssta(joints=None, fix_swaps=swaps, tolerance=0.05, patience_s=0.1, max_gap_s=0.15, runaway=0.2)
    want, confidence = full_loop(rule, views)
    got = rule.aggregate(views)
    assert same(got.keypoints, want)
    np.testing.assert_allclose(got.confidence, confidence, rtol=1e-5, atol=1e-12)


@given(SCENES)
@settings(deadline=None, max_examples=30)
def test_output_joints_are_proposals_and_nan_only_where_nobody_sees(scene: tuple[int, ...]) -> None:
    views = experts(*scene)
    got = Ssta(joints=None, fix_swaps=False).aggregate(views)
    proposals = np.stack([v.keypoints for v in views])
    is_one = (proposals == got.keypoints).all(axis=-1).any(axis=0)
    nobody = np.isnan(proposals).any(axis=-1).all(axis=0)
    assert np.array_equal(is_one, ~nobody)
    assert np.isnan(got.keypoints[nobody]).all()
    assert (got.scores[nobody] == 0).all()
    assert np.array_equal(np.isnan(got.confidence), nobody.all(axis=-1))
    assert ((got.confidence > 0) & (got.confidence <= 1))[~nobody.all(axis=-1)].all()


@given(SCENES, st.permutations(range(4)))
@settings(deadline=None, max_examples=30)
def test_the_order_of_experts_does_not_matter(scene: tuple[int, ...], order: list[int]) -> None:
    views = experts(*scene)
    other = ALL.aggregate([views[i] for i in order if i < len(views)])
    one = ALL.aggregate(views)
    assert same(one.keypoints, other.keypoints)
    np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-5)


@given(SCENES, st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_identical_experts_give_back_the_pose_with_full_confidence(
    scene: tuple[int, ...], count: int
) -> None:
    people, frames, _, seed = scene
    view = experts(people, frames, 1, seed)[0]
    got = ALL.aggregate([view] * count)
    assert same(got.keypoints, view.keypoints)
    assert same(got.scores, view.scores)
    assert (got.confidence[view.present()] == 1).all()


@given(SCENES, st.sampled_from([0.25, 0.5, 2.0, 4.0]), st.integers(-64, 64))
@settings(deadline=None, max_examples=30)
def test_moves_and_scales_with_the_picture(scene: tuple[int, ...], scale: float, shift: int) -> None:
    # Whole pixels and powers of two: float32 then makes the same decisions in both.
    views = [replace(v, keypoints=np.round(v.keypoints)) for v in experts(*scene)]
    moved = [replace(v, keypoints=v.keypoints * np.float32(scale) + np.float32(shift)) for v in views]
    one, other = ALL.aggregate(views), ALL.aggregate(moved)
    np.testing.assert_array_equal(one.keypoints * np.float32(scale) + np.float32(shift), other.keypoints)
    np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-4, atol=1e-30)


@given(st.integers(0, 2**32 - 1), st.floats(20, 200))
@settings(deadline=None, max_examples=30)
def test_confidence_falls_when_one_expert_moves_away(seed: int, far: float) -> None:
    pose = walk(2, 10, seed)
    near, away = (sequence(pose + np.float32([far * f, 0])) for f in (1, 2))
    calm = [sequence(pose), sequence(pose)]
    rule = Ssta(fix_swaps=False)
    assert (rule.aggregate([*calm, away]).confidence < rule.aggregate([*calm, near]).confidence).all()
    assert same(rule.aggregate([*calm, away]).keypoints, rule.aggregate(calm).keypoints)


@given(SCENES, st.lists(st.integers(0, 40), max_size=4))
@settings(deadline=None, max_examples=30)
def test_a_stream_is_the_whole_wherever_it_is_cut(scene: tuple[int, ...], cuts: list[int]) -> None:
    views = experts(*scene)
    ends = [0, *sorted(min(c, scene[1]) for c in cuts), scene[1]]
    chunks = [[cut(v, a, b) for v in views] for a, b in itertools.pairwise(ends)]
    parts = list(ALL.stream(chunks))
    whole = ALL.aggregate(views)
    for name, axis in (("keypoints", 1), ("scores", 1), ("confidence", 1), ("pts_s", 0)):
        assert same(np.concatenate([getattr(p, name) for p in parts], axis=axis), getattr(whole, name))


def test_a_wrong_first_frame_does_not_poison_the_clip() -> None:
    truth = np.repeat(walk(1, 1), 60, axis=1)
    wrong = truth + np.float32([60, 0])  # a third of a person to the side, in every frame
    views = [sequence(truth), sequence(truth + np.float32([2, 0])), sequence(wrong)]
    views[0].keypoints[:, 0] = views[1].keypoints[:, 0] = np.nan  # the chain starts on the wrong one
    got = Ssta(joints=None, patience_s=0.5).aggregate(views).keypoints
    off = np.abs(got - truth).max(axis=(0, 2, 3))
    assert (off[:10] >= 59).all()  # 0.5 s at 20 frames per second
    assert (off[12:] <= 2).all()


def test_starts_afresh_after_a_gap_and_after_running_away() -> None:
    pose = walk(1, 20)
    pose[:, 10:] += np.float32([400, 0])  # a cut in the film
    views = [sequence(pose + np.float32([dx, 0])) for dx in (0, 1, 30)]
    views[2].keypoints[:, 10:, :, 0] -= 60  # nearer to where the person was, but alone
    got = Ssta(joints=None, patience_s=9.0).aggregate(views)
    assert np.abs(got.keypoints - pose)[:, 10:].max() <= 1
    calm = Ssta(joints=None, patience_s=9.0, runaway=100.0).aggregate(views)
    assert np.abs(calm.keypoints - pose)[:, 10:].max() >= 29
    late = [replace(v, pts_s=v.pts_s + (np.arange(20) >= 10)) for v in views]
    assert (
        np.abs(Ssta(joints=None, patience_s=9.0, runaway=100.0).aggregate(late).keypoints - pose)[
            :, 10:
        ].max()
        <= 1
    )


def test_left_and_right_of_one_expert_are_put_right() -> None:
    pose = walk(1, 12)
    mirror = [
        COCO17.index(j.replace("left", "L").replace("right", "left").replace("L", "right"))
        for j in COCO17.joints
    ]
    swapped = pose.copy()
    swapped[:, 4:8] = pose[:, 4:8][:, :, mirror]
    views = [sequence(pose), sequence(pose + np.float32(1)), sequence(swapped)]
    assert (Ssta(fix_swaps=True).aggregate(views).confidence > 0.9).all()
    assert (Ssta(fix_swaps=False).aggregate(views).confidence[:, 4:8] < 0.7).all()


def test_experts_of_different_joint_sets_meet() -> None:
    pose = walk(1, 5)
    coco = sequence(pose)
    op = sequence(
        *[remap(pose, np.ones(pose.shape[:3], np.float32), COCO17, OPENPOSE18)[0]], skeleton=OPENPOSE18
    )
    toes = sequence(remap(pose, np.ones(pose.shape[:3], np.float32), COCO17, HALPE26)[0], skeleton=HALPE26)
    toes.keypoints[:, :, HALPE26.index("left_heel")] = 7
    got = ALL.aggregate([coco, op, toes])
    assert got.skeleton.joints[:13] == LCR13.joints
    assert "neck" not in got.skeleton.joints  # follows from the shoulders, whoever the experts are
    assert (got.keypoints[:, :, got.skeleton.index("left_heel")] == 7).all()
    assert np.isnan(got.keypoints[:, :, got.skeleton.index("right_heel")]).all()
    assert got.sources == ("expert",) * 3
    seventeen = Ssta(joints=POSETICS17).aggregate([coco, op])
    assert seventeen.skeleton == POSETICS17
    np.testing.assert_allclose(
        seventeen.keypoints[:, :, POSETICS17.index("neck")], pose[:, :, 5:7].mean(axis=2), rtol=1e-5
    )
    assert ALL.aggregate([coco, coco]).skeleton == COCO17


def test_head_length_falls_back() -> None:
    pose = walk(1, 5)[0].transpose(2, 1, 0)[..., None]  # (C, K, T, M)
    full = head_length(pose, COCO17)
    assert full == pytest.approx(np.hypot(*(pose[:, 0] - pose[:, 5:7].mean(axis=1))))
    pose[:, 0, 1:] = np.nan  # no nose
    pose[:, 5, 2:] = np.nan  # a shoulder less
    pose[:, :16, 4] = np.nan  # one ankle is left
    got = head_length(pose, COCO17)
    assert got[0] == full[0]
    assert got[1] == pytest.approx(0.62 * np.hypot(*(pose[:, 5, 1] - pose[:, 6, 1])))
    assert got[2] == pytest.approx(
        0.14 * np.nanmax(np.nanmax(pose[:, :, 2], 1) - np.nanmin(pose[:, :, 2], 1))
    )
    assert got[4] == 0


def test_discarded_poses_are_marked_and_kept() -> None:
    pose = walk(1, 4)
    apart = sequence(pose + np.float32([300, 0]) * (np.arange(4) == 2)[:, None, None])
    got = ALL.aggregate([sequence(pose), sequence(pose), apart])
    assert discarded(got).tolist() == [[False, False, True, False]]
    assert np.isfinite(got.keypoints).all()


def test_three_dimensions() -> None:
    pose = np.concatenate([walk(2, 8), np.ones((2, 8, 17, 1), np.float32)], axis=-1)
    got = ALL.aggregate([sequence(pose), sequence(pose)])
    assert same(got.keypoints, pose)


@pytest.mark.parametrize("frames", [0, 1])
def test_hardly_any_frames(frames: int) -> None:
    views = [sequence(walk(1, frames)) for _ in range(3)]
    assert ALL.aggregate(views).num_frames == frames
    assert ALL.aggregate([sequence(np.empty((0, frames, 17, 2)))] * 2).num_people == 0


def test_refuses_views_of_different_people_or_frames() -> None:
    view = sequence(walk(2, 5))
    with pytest.raises(ConfigError, match="at least one view"):
        ALL.aggregate([])
    with pytest.raises(ConfigError, match="same track_ids"):
        ALL.aggregate([view, replace(view, track_ids=np.asarray([3, 4]))])
    with pytest.raises(ConfigError, match="same frame_indices"):
        ALL.aggregate([view, cut(view, 0, 4)])
    with pytest.raises(ConfigError, match="coordinates"):
        ALL.aggregate([view, replace(view, keypoints=np.zeros((2, 5, 17, 3), np.float32))])
    with pytest.raises(ConfigError, match="every chunk"):
        list(ALL.stream([[view], [sequence(walk(1, 5))]]))
    with pytest.raises(ConfigError, match="tolerance"):
        Ssta(tolerance=-1)


def test_is_an_aggregator() -> None:
    assert isinstance(ALL, Aggregator)
