from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_networks import make_card

from skelkit.errors import ExpertError
from skelkit.experts.cards import Calibration, Coordinates, Heatmaps, SimCC
from skelkit.experts.decode_joints import decode_joints
from skelkit.experts.onnx import calibrate

NET = make_card(input={"width": 96, "height": 64}).input  # 24 x 16 cells of 4 pixels


def hills(centres: np.ndarray, sigma: float, shape: tuple[int, int] = (16, 24)) -> np.ndarray:
    """(1, K, h, w) Gaussians of height 0.9 around centres (K, 2) in cells."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    squares = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    return (0.9 * np.exp(-squares / (2 * sigma**2)))[None].astype(np.float32)


@given(
    st.floats(3, 20),
    st.floats(3, 12),
    st.floats(1.0, 2.5),
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from([0.0, 0.25, 0.5]),
)
def test_peaks_are_found_below_a_cell(x: float, y: float, sigma: float, layout: str, offset: float) -> None:
    maps = hills(np.asarray([[x, y]]), sigma)
    if layout == "NHWC":
        maps = maps.transpose(0, 2, 3, 1)
    spec = Heatmaps(type="heatmap", layout=layout, offset=offset)  # type: ignore[arg-type]
    points, raw = decode_joints([maps], spec, NET, 1)
    np.testing.assert_allclose(points[0, 0] / 4 - offset, [x, y], atol=0.005)
    assert 0.69 < raw[0, 0] <= 0.9  # half a cell off the grid along both axes


@given(st.floats(4, 19), st.floats(4, 11), st.floats(1.0, 2.0), st.sampled_from([0.7, 1.2]))
def test_blur_moves_no_peak(x: float, y: float, sigma: float, blur: float) -> None:
    spec = Heatmaps(type="heatmap", layout="NCHW", blur=blur)
    points, _ = decode_joints([hills(np.asarray([[x, y]]), sigma)], spec, NET, 1)
    np.testing.assert_allclose(points[0, 0] / 4, [x, y], atol=0.1)


@pytest.mark.parametrize("corner", [(0, 0), (23, 0), (0, 15), (23, 15)])
def test_peaks_at_the_border_stay_there(corner: tuple[int, int]) -> None:
    spec = Heatmaps(type="heatmap", layout="NCHW")
    points, _ = decode_joints([hills(np.asarray([corner]), 1.5)], spec, NET, 1)
    np.testing.assert_allclose(points[0, 0] / 4, corner, atol=1e-6)


def test_every_joint_of_every_crop_has_its_own_peak() -> None:
    rng = np.random.default_rng(1)
    centres = rng.uniform(3, 12, (5, 17, 2))
    maps = np.concatenate([hills(c, 1.5) for c in centres])
    points, _ = decode_joints([maps], Heatmaps(type="heatmap", layout="NCHW"), NET, 17)
    np.testing.assert_allclose(points / 4, centres, atol=0.05)


def test_extra_maps_are_background_and_missing_ones_an_error() -> None:
    spec = Heatmaps(type="heatmap", layout="NCHW")
    maps = hills(np.full((18, 2), 5.0), 1.5)
    assert decode_joints([maps], spec, NET, 17)[0].shape == (1, 17, 2)
    with pytest.raises(ExpertError, match="expected at least 19 maps, got 18; is the layout NCHW"):
        decode_joints([maps], spec, NET, 19)
    with pytest.raises(ExpertError, match="expected maps of 4 dimensions"):
        decode_joints([maps[0]], spec, NET, 17)


def test_a_flat_map_is_a_joint_not_found() -> None:
    for value in (0.0, -0.3):
        maps = np.full((1, 17, 16, 24), value, np.float32)
        points, raw = decode_joints([maps], Heatmaps(type="heatmap", layout="NCHW"), NET, 17)
        points, scores = calibrate(points, raw, Calibration())
        assert np.isnan(points).all() and (scores == 0).all()


def test_simcc_takes_the_surest_bins_and_the_lower_score() -> None:
    along_x, along_y = np.zeros((2, 17, 192), np.float32), np.zeros((2, 17, 128), np.float32)
    along_x[1, 3, 101], along_y[1, 3, 64] = 0.7, 0.4
    points, raw = decode_joints([along_x, along_y], SimCC(type="simcc"), NET, 17)
    np.testing.assert_allclose(points[1, 3], [50.5, 32])
    assert raw[1, 3] == np.float32(0.4) and raw.sum() == raw[1, 3]
    for wrong in ([along_x], [along_x, along_y[:, :5]], [along_x[0], along_y[0]]):
        with pytest.raises(ExpertError, match="expected SimCC outputs"):
            decode_joints(wrong, SimCC(type="simcc"), NET, 17)


@pytest.mark.parametrize("shape", [(2, 17, 3), (2, 1, 17, 3), (2, 1, 1, 51)])
def test_coordinates_are_fractions_of_the_input(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).random(shape, np.float32)
    flat = values.reshape(2, 17, 3)
    points, raw = decode_joints([values], Coordinates(type="coordinates", order="yxs"), NET, 17)
    np.testing.assert_allclose(points, flat[..., [1, 0]] * [96, 64], rtol=1e-6)
    np.testing.assert_array_equal(raw, flat[..., 2])
    points, _ = decode_joints([values], Coordinates(type="coordinates"), NET, 17)
    np.testing.assert_allclose(points, flat[..., :2] * [96, 64], rtol=1e-6)
    with pytest.raises(ExpertError, match="expected 16 joints of 3 numbers"):
        decode_joints([values], Coordinates(type="coordinates"), NET, 16)


CURVE = Calibration(raw=(-1, 0.2, 0.6, 3), score=(0, 0.1, 0.8, 0.9), not_found_below=0.1)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=20))
def test_calibrated_scores_never_fall_and_stay_in_bounds(values: list[float]) -> None:
    raw = np.sort(np.asarray(values, np.float32))
    points, scores = calibrate(np.ones((len(raw), 2), np.float32), raw, CURVE)
    assert (np.diff(scores) >= 0).all() and (scores >= 0).all() and (scores <= 1).all()
    found = np.isfinite(points).all(axis=-1)
    np.testing.assert_array_equal(found, raw > CURVE.not_found_below)
    assert (scores[~found] == 0).all() and np.isnan(points[~found]).all()


def test_the_curve_is_piecewise_linear_and_ends_level() -> None:
    raw = np.asarray([0.2, 0.4, 0.6, 1.8, 3, 90], np.float32)
    _, scores = calibrate(np.zeros((6, 2), np.float32), raw, CURVE)
    np.testing.assert_allclose(scores, [0.1, 0.45, 0.8, 0.85, 0.9, 0.9], rtol=1e-6)


def test_what_is_not_a_number_is_not_found() -> None:
    points = np.asarray([[1, 2], [np.nan, 2], [3, np.inf], [4, 5]], np.float32)
    raw = np.asarray([np.nan, 0.9, 0.9, 0.9], np.float32)
    points, scores = calibrate(points, raw, CURVE)
    assert np.isnan(points[:3]).all() and (scores[:3] == 0).all()
    np.testing.assert_array_equal(points[3], [4, 5])
