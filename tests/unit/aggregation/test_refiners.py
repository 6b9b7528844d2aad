from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sequences import experts, sequence, walk

from skelkit.aggregation import refiners
from skelkit.aggregation.confidence import GAMMA
from skelkit.errors import ConfigError

ALL = {
    "one_euro": refiners.one_euro(),
    "savitzky_golay": refiners.savitzky_golay(),
    "butterworth": refiners.butterworth(3.0),
    "remove_outliers": refiners.remove_outliers(),
    "bridge_gaps": refiners.bridge_gaps(),
}
SMOOTHERS = ("one_euro", "savitzky_golay", "butterworth")


def jerk(keypoints: np.ndarray) -> float:
    return float(np.nanmean(np.abs(np.diff(keypoints, 2, axis=1))))


@pytest.mark.parametrize("name", ALL)
@given(st.integers(0, 2), st.integers(0, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_maps_to_the_same_shape_and_invents_nothing(name: str, people: int, frames: int, seed: int) -> None:
    before = experts(people, frames, 1, seed)[0] if people and frames else sequence(walk(people, frames))
    copy = before.keypoints.copy()
    after = ALL[name](before)
    assert np.array_equal(before.keypoints, copy, equal_nan=True)
    assert after.keypoints.shape == before.keypoints.shape and after.keypoints.dtype == np.float32
    had, has = (np.isfinite(s.keypoints).all(axis=-1) for s in (before, after))
    if name in SMOOTHERS:
        assert np.array_equal(had, has)
    elif name == "remove_outliers":
        assert not (has & ~had).any()
        assert (after.scores[~has] == 0).all()
        assert np.array_equal(after.keypoints[has], before.keypoints[has])
    else:
        assert not (had & ~has).any()
        assert np.array_equal(after.keypoints[had], before.keypoints[had])
        assert (after.scores[has] > 0).sum() >= (before.scores > 0).sum()


@pytest.mark.parametrize("name", SMOOTHERS)
def test_smoothers_take_noise_away_and_leave_straight_motion(name: str) -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(walk(1, 1), 100, axis=1)
    still = sequence(truth + rng.normal(0, 3, truth.shape))
    assert jerk(ALL[name](still).keypoints) < 0.5 * jerk(still.keypoints)
    assert np.abs(ALL[name](still).keypoints - truth).mean() < 0.75 * np.abs(still.keypoints - truth).mean()
    moving = sequence(truth + np.float32([2, -1]) * np.arange(100)[None, :, None, None])
    off = np.abs(ALL[name](moving).keypoints - moving.keypoints)[:, 20:-20].max()
    assert off < (8 if name == "one_euro" else 0.05)  # a causal filter lags


def test_savitzky_golay_equals_scipy_on_even_frames() -> None:
    view = sequence(walk(2, 60) + np.random.default_rng(0).normal(0, 5, (2, 60, 17, 2)), fps=25)
    got = refiners.savitzky_golay(window_s=10 / 25, degree=3)(view)  # 5 frames before, 5 after
    want = scipy.signal.savgol_filter(view.keypoints, 11, 3, axis=1)
    np.testing.assert_allclose(got.keypoints[:, 5:-5], want[:, 5:-5], atol=1e-2)


def test_savitzky_golay_follows_uneven_time_stamps_exactly() -> None:
    rng = np.random.default_rng(1)
    pts_s = np.cumsum(rng.uniform(0.01, 0.08, 80))
    parabola = (100 + 30 * pts_s - 8 * pts_s**2)[None, :, None, None] * np.ones((1, 80, 17, 2))
    parabola[:, rng.random(80) < 0.2] = np.nan
    view = sequence(parabola, pts_s=pts_s)
    np.testing.assert_allclose(
        refiners.savitzky_golay(0.4, 2)(view).keypoints, view.keypoints, atol=1e-3, equal_nan=True
    )


def test_savitzky_golay_in_pieces_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    view = experts(1, 300, 1, 3)[0]
    whole = [ALL[n](view).keypoints for n in ("savitzky_golay", "remove_outliers")]
    monkeypatch.setattr(refiners, "_PIECE", 17)
    pieces = [ALL[n](view).keypoints for n in ("savitzky_golay", "remove_outliers")]
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_butterworth_equals_scipy_on_each_gap_free_run() -> None:
    keypoints = walk(1, 90) + np.random.default_rng(0).normal(0, 5, (1, 90, 17, 2))
    keypoints[:, 40, 3] = np.nan
    view = sequence(keypoints, fps=30)
    got = refiners.butterworth(5.0, 2)(view).keypoints
    sos = scipy.signal.butter(2, 5.0, fs=30, output="sos")
    for run in (slice(0, 40), slice(41, 90)):
        want = scipy.signal.sosfiltfilt(sos, view.keypoints[0, run, 3], axis=0)
        np.testing.assert_allclose(got[0, run, 3], want, atol=2e-2)


def test_one_euro_starts_afresh_after_a_gap() -> None:
    keypoints = np.repeat(walk(1, 1), 40, axis=1)
    keypoints[:, 10:30] = np.nan
    keypoints[:, 30:] += np.float32(200)
    got = refiners.one_euro(max_gap_s=0.5)(sequence(keypoints)).keypoints
    np.testing.assert_allclose(got[:, 30:], keypoints[:, 30:], atol=1e-3)


def test_outliers_go_and_nothing_else() -> None:
    keypoints = walk(1, 60)
    keypoints[0, 20, 5] += 90
    keypoints[0, 40:42, 9] -= 120
    got = refiners.remove_outliers()(sequence(keypoints))
    gone = np.argwhere(np.isnan(got.keypoints[..., 0]))
    assert gone.tolist() == [[0, 20, 5], [0, 40, 9], [0, 41, 9]]


def test_gaps_are_bridged_in_seconds_not_frames() -> None:
    pts_s = np.asarray([0, 0.1, 0.4, 0.5, 1.0, 2.0, 2.1])
    keypoints = (100 * pts_s)[None, :, None, None] * np.ones((1, 7, 17, 2))
    keypoints[:, [1, 2, 5]] = np.nan
    view = sequence(keypoints, pts_s=pts_s, scores=np.full((1, 7, 17), 0.5))
    got = refiners.bridge_gaps(0.5)(view)
    np.testing.assert_allclose(got.keypoints[0, 1:3, 0, 0], [10, 40], rtol=1e-5)
    assert np.isnan(got.keypoints[0, 5]).all()
    assert (got.scores[0, 1:3] == 0.5).all() and np.isfinite(got.confidence[0, 1:3]).all()
    assert np.isfinite(refiners.bridge_gaps(1.2)(view).keypoints).all()


def test_discarded_poses_are_bridged_or_kept() -> None:
    keypoints = np.repeat(walk(1, 1), 9, axis=1)
    wild = keypoints.copy()
    wild[:, [2, 6, 7, 8]] += 50
    confidence = [[0.9, 0.8, 0.1, 0.7, 0.9, 0.9, 0.1, 0.1, 0.1]]
    got = refiners.bridge_gaps(0.5, gamma=GAMMA)(sequence(wild, confidence=confidence))
    np.testing.assert_allclose(got.keypoints[:, 2], keypoints[:, 2], rtol=1e-5)
    assert got.confidence[0, 2] == np.float32(0.7)
    np.testing.assert_array_equal(got.keypoints[:, 6:], np.float32(wild[:, 6:]))
    assert (got.confidence[0, 6:] < GAMMA).all()


def test_refiners_compose_and_refuse_nonsense() -> None:
    view = experts(1, 30, 1, 0)[0]
    both = refiners.chain(ALL["remove_outliers"], ALL["bridge_gaps"])(view)
    one_by_one = ALL["bridge_gaps"](ALL["remove_outliers"](view))
    np.testing.assert_array_equal(both.keypoints, one_by_one.keypoints)
    for make in (
        lambda: refiners.one_euro(min_cutoff_hz=0),
        lambda: refiners.savitzky_golay(window_s=-1),
        lambda: refiners.savitzky_golay(degree=9),
        lambda: refiners.butterworth(cutoff_hz=float("nan")),
        lambda: refiners.bridge_gaps(max_gap_s=0),
        lambda: refiners.remove_outliers(deviations=0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            make()


def test_uneven_rates_reach_butterworth() -> None:
    rng = np.random.default_rng(2)
    pts_s = np.cumsum(rng.uniform(0.01, 0.05, 200))
    slow = 200 + 50 * np.sin(2 * np.pi * 0.5 * pts_s)
    view = sequence(slow[None, :, None, None] + np.zeros((1, 200, 17, 2)), pts_s=pts_s)
    noisy = replace(
        view, keypoints=view.keypoints + rng.normal(0, 4, view.keypoints.shape).astype(np.float32)
    )
    off = np.abs(refiners.butterworth(4.0)(noisy).keypoints - view.keypoints)[:, 10:-10].mean()
    assert off < 0.6 * np.abs(noisy.keypoints - view.keypoints).mean()
