import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sequences import experts, sequence, walk

from skelkit.aggregation.consensus import Consensus
from skelkit.aggregation.reliability import Reliability, learn, logit
from skelkit.aggregation.ssta import Ssta
from skelkit.aggregation.views import cut
from skelkit.errors import ConfigError
from skelkit.protocols import Aggregator
from skelkit.structures import SkeletonSequence

ALL = Consensus(joints=None)
SCENES = st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 4), st.integers(0, 2**32 - 1))


def graded(frames: int, shares: list[float], seed: int = 0) -> tuple[np.ndarray, list[SkeletonSequence]]:
    """Truth, and experts that are right in these shares of cases, with scores that know something of it."""
    rng = np.random.default_rng(seed)
    truth = walk(1, frames, seed)
    views = []
    for share in shares:
        right = rng.random(truth.shape[:3]) < share
        wrong = truth + rng.normal(0, 60, truth.shape)
        k = np.where(right[..., None], truth + rng.normal(0, 2, truth.shape), wrong)
        scores = np.where(right, rng.beta(5, 3, right.shape), rng.beta(3, 5, right.shape))
        views.append(sequence(k, scores=scores, source=f"expert{share}"))
    return truth, views


def error(got: SkeletonSequence, truth: np.ndarray) -> float:
    return float((np.linalg.norm(got.keypoints - truth, axis=-1) > 10).mean())


@given(SCENES)
@settings(deadline=None, max_examples=25)
def test_nan_only_where_nobody_sees_and_values_in_range(scene: tuple[int, ...]) -> None:
    views = experts(*scene)
    got = ALL.aggregate(views)
    nobody = np.all([np.isnan(v.keypoints).any(axis=-1) for v in views], axis=0)
    assert np.array_equal(np.isnan(got.keypoints).any(axis=-1), nobody)
    assert (got.scores[nobody] == 0).all()
    assert ((got.scores[~nobody] > 0) & (got.scores[~nobody] <= 1)).all()
    stack = np.stack([v.keypoints for v in views])
    low, high = np.fmin.reduce(stack), np.fmax.reduce(stack)
    inside = (got.keypoints >= low - 0.01) & (got.keypoints <= high + 0.01)
    assert inside[~nobody].all()  # a mean of proposals, never outside them


@given(SCENES, st.permutations(range(4)))
@settings(deadline=None, max_examples=20)
def test_the_order_of_experts_does_not_matter(scene: tuple[int, ...], order: list[int]) -> None:
    views = experts(*scene, noise=3.0)
    one = ALL.aggregate(views)
    other = ALL.aggregate([views[i] for i in order if i < len(views)])
    near = np.isclose(one.keypoints, other.keypoints, atol=0.1, equal_nan=True)
    assert near.mean() > 0.99  # a tie between modes may fall otherwise


@given(SCENES)
@settings(deadline=None, max_examples=20)
def test_identical_experts_give_back_the_pose_with_full_confidence(scene: tuple[int, ...]) -> None:
    people, frames, count, seed = scene
    view = experts(people, frames, 1, seed)[0]
    got = ALL.aggregate([view] * count)
    np.testing.assert_allclose(got.keypoints, view.keypoints, atol=1e-3)
    assert got.confidence[view.present()] == pytest.approx(1, abs=1e-3)


@given(SCENES, st.sampled_from([0.5, 2.0]), st.integers(-64, 64))
@settings(deadline=None, max_examples=20)
def test_moves_and_scales_with_the_picture(scene: tuple[int, ...], scale: float, shift: int) -> None:
    views = experts(*scene)
    moved = [replace(v, keypoints=v.keypoints * np.float32(scale) + np.float32(shift)) for v in views]
    one, other = ALL.aggregate(views), ALL.aggregate(moved)
    near = np.isclose(one.keypoints * scale + shift, other.keypoints, atol=0.1, equal_nan=True)
    assert near.mean() > 0.99


def test_learns_who_is_good_without_labels() -> None:
    _, views = graded(400, [0.9, 0.6, 0.35])  # by their scores alone, 0.6, 0.53 and 0.46
    known = learn([views], joints=None)
    assert known.overall[0] > 0.67 and known.overall[2] < 0.45
    assert known.strength[0] > 0.63
    assert 0.55 > known.strength[1] > known.strength[2]
    assert (np.diff(known.by_score[:, 2:-1]) > 0).all()  # higher scores are righter
    again = Reliability.from_dict(json.loads(json.dumps(known.to_dict())))
    assert np.array_equal(again.by_score, known.by_score) and again.experts == known.experts


def calibrated(shares: list[float], alike: float = 0.0) -> tuple[np.ndarray, list[SkeletonSequence]]:
    """Truth, and experts whose scores are the probability of being right, in unrelated pictures.

    The last one says exactly what the last but one says in this share of cases.
    """
    rng = np.random.default_rng(0)
    truth = walk(1, 600)
    copied = rng.random(truth.shape[:3]) < alike
    said: list[tuple[np.ndarray, np.ndarray]] = []
    for number, share in enumerate(shares):
        p = rng.beta(4 * share, 4 - 4 * share, truth.shape[:3])
        right = rng.random(p.shape) < p
        off = np.where(right[..., None], rng.normal(0, 2, truth.shape), rng.normal(0, 40, truth.shape))
        k = truth + off
        if number and number == len(shares) - 1:
            k, p = np.where(copied[..., None], said[-1][0], k), np.where(copied, said[-1][1], p)
        said.append((k, p))
    pts_s = np.arange(600) * 10.0
    return truth, [sequence(k, scores=p, pts_s=pts_s, source=f"e{i}") for i, (k, p) in enumerate(said)]


def test_calibrated_scores_are_believed() -> None:
    _, views = calibrated([0.8, 0.5, 0.3])
    known = learn([views], joints=None)
    assert known.overall == pytest.approx([0.8, 0.5, 0.3], abs=0.05)
    assert known.strength == pytest.approx([0.8, 0.5, 0.3], abs=0.05)


def test_two_experts_that_share_mistakes_do_not_outvote_a_better_one() -> None:
    truth, views = calibrated([0.65, 0.4, 0.4], alike=0.8)
    known = learn([views], joints=None)
    assert known.overall == pytest.approx([0.65, 0.4, 0.4], abs=0.08)
    assert known.votes == pytest.approx([1, 0.65, 0.65], abs=0.1)
    got = Consensus(joints=None, reliability=known).aggregate(views)
    assert error(got, truth) < error(views[0], truth)


def test_who_finds_only_easy_people_is_judged_by_them() -> None:
    rng = np.random.default_rng(0)
    truth = walk(1, 600)
    easy = np.arange(600)[None, :, None] % 2 == 0

    def expert(p: np.ndarray, source: str) -> SkeletonSequence:
        p = np.broadcast_to(p, truth.shape[:3])
        k = np.where((rng.random(p.shape) < p)[..., None], truth, truth + rng.normal(0, 40, truth.shape))
        return sequence(np.where(p[..., None] > 0, k, np.nan), scores=p, source=source)

    views = [expert(np.where(easy, 0.9, 0.3), "good"), expert(np.where(easy, 0.7, 0), "picky")]
    known = learn([views], joints=None)
    good, picky = known.strength
    assert (
        views[1].scores[views[1].scores > 0].mean() > views[0].scores.mean()
    )  # better by its scores, not where both look
    assert logit(good) - logit(picky) == pytest.approx(logit(0.9) - logit(0.7), abs=0.5)


def test_without_scores_agreement_alone_decides() -> None:
    truth, views = graded(400, [0.9, 0.6, 0.35])
    views = [replace(v, scores=np.ones_like(v.scores)) for v in views]
    known = learn([views], joints=None)
    assert known.votes.tolist() == [1, 1, 1]
    assert (np.diff(known.overall) < -0.05).all()
    assert error(Consensus(joints=None, reliability=known).aggregate(views), truth) < error(views[0], truth)


def test_a_single_picture_is_judged_by_its_scores() -> None:
    _, views = calibrated([0.8, 0.5, 0.3])
    known = learn([[cut(v, 0, 1) for v in views]], joints=None)
    alone = [v.scores[0, 0].mean() for v in views]
    assert known.strength == pytest.approx(alone, abs=0.08)


def test_beats_the_best_expert_and_the_plain_rule_on_stills() -> None:
    truth, views = graded(200, [0.9, 0.6, 0.35], seed=1)
    views = [replace(v, pts_s=np.arange(200) * 10.0) for v in views]  # pictures unrelated to each other
    consensus = error(ALL.aggregate(views), truth)
    assert consensus < 0.85 * error(views[0], truth)
    assert consensus < 0.85 * error(Ssta(joints=None).aggregate(views), truth)


def test_beats_the_best_expert_in_a_clip_with_a_lagging_one() -> None:
    truth, views = graded(200, [0.9, 0.6], seed=1)
    walked = (np.float32([6, 0]) * np.arange(200)[None, :, None, None]).astype(np.float32)
    truth = truth + walked
    views = [replace(v, keypoints=v.keypoints + walked) for v in views]
    late = truth[:, np.maximum(np.arange(200) - 3, 0)]  # 18 px behind, without jitter
    views.append(sequence(late, source="lagging"))
    consensus = error(ALL.aggregate(views), truth)
    assert consensus < 0.85 * error(views[0], truth)
    assert consensus < 0.5 * error(Ssta(joints=None).aggregate(views), truth)


def test_time_decides_between_two_experts() -> None:
    truth = np.repeat(walk(1, 1), 40, axis=1)
    views = [sequence(truth, source="a"), sequence(truth + np.float32(1), source="b")]
    for frame, view in ((10, 0), (11, 0), (20, 1), (39, 1)):
        views[view].keypoints[:, frame] += np.float32([60, 0])  # now one runs away, now the other
    known = learn([views], joints=None)
    assert error(Consensus(joints=None, reliability=known).aggregate(views), truth) == 0


def test_a_stream_gives_the_whole_where_nothing_is_in_doubt() -> None:
    _, views = graded(60, [0.95, 0.95, 0.95])
    known = Consensus(joints=None, reliability=learn([views], joints=None))
    pieces = [[cut(v, a, a + 20) for v in views] for a in (0, 20, 40)]
    streamed = np.concatenate([s.keypoints for s in known.stream(pieces)], axis=1)
    near = np.isclose(streamed, known.aggregate(views).keypoints, atol=0.1)
    assert near.mean() > 0.98


def test_refuses_what_does_not_fit() -> None:
    views = experts(1, 5, 2, 0)
    with pytest.raises(ConfigError, match="got none"):
        learn([])
    with pytest.raises(ConfigError, match="same experts"):
        learn([views, views[::-1]])
    with pytest.raises(ConfigError, match="got None"):
        list(ALL.stream([views]))
    known = learn([views], joints=None)
    with pytest.raises(ConfigError, match="every chunk"):
        two = experts(2, 5, 2, 0)
        list(Consensus(joints=None, reliability=known).stream([views, two]))
    with pytest.raises(ConfigError, match="learnt"):
        Consensus(joints=None, reliability=known).aggregate(views[::-1])
    with pytest.raises(ConfigError, match="to_dict"):
        Reliability.from_dict({"experts": 3})
    with pytest.raises(ConfigError, match="shape"):
        replace(known, overall=known.overall[:1])
    assert isinstance(ALL, Aggregator)


@pytest.mark.parametrize("frames", [0, 1])
def test_hardly_any_frames(frames: int) -> None:
    assert ALL.aggregate([sequence(walk(1, frames))] * 3).num_frames == frames
    assert ALL.aggregate([sequence(np.empty((0, frames, 17, 2)))] * 2).num_people == 0


def test_a_whole_pose_that_leaves_is_not_followed_but_lowers_c() -> None:
    truth = walk(1, 30, 5)
    noise = np.random.default_rng(1).normal(0, 1, (3, *truth.shape))
    lost = truth + noise[2]
    lost[:, 10:20] += 400.0  # it looks at somebody else
    views = [
        sequence(k, source=name)
        for name, k in (("a", truth + noise[0]), ("b", truth + noise[1]), ("c", lost))
    ]
    got = ALL.aggregate(views)
    assert np.abs(got.keypoints - truth).max() < 20
    assert got.confidence[:, 10:20].max() < 0.1 < got.confidence[:, :10].min()


def test_two_experts_at_the_same_wrong_place_for_a_moment_do_not_move_the_body() -> None:
    truth = walk(1, 60, 6)
    away = truth.copy()
    away[:, 30:34] += 400.0
    views = [sequence(k, source=name) for name, k in (("a", away + 0.5), ("b", away - 0.5), ("c", truth))]
    for chunks in ([views], [[cut(v, i, i + 32) for v in views] for i in (0, 32)]):
        known = learn(chunks, None)
        got = np.concatenate(
            [s.keypoints for s in Consensus(joints=None, reliability=known).stream(chunks)], 1
        )
        assert np.abs(got - truth).max() < 20


def test_a_joint_that_only_a_stray_sees_is_missing() -> None:
    truth = walk(1, 8, 7)
    partial = truth.copy()
    partial[:, :, 0] = np.nan
    lost = truth.copy()
    lost[:, 4:] += 500.0
    views = [sequence(k, source=n) for n, k in (("a", partial), ("b", partial), ("c", lost))]
    assert np.isnan(ALL.aggregate(views).keypoints[0, :, 0, 0]).tolist() == [False] * 4 + [True] * 4
