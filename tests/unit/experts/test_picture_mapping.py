"""Pictures into the network's input and points back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.experts.cards import Input
from skelkit.experts.preprocess import (
    crop_frames,
    crops,
    from_whole_frame,
    to_tensor,
    whole_frame_size,
    whole_frames,
)


def spec(**changes: object) -> Input:
    values: dict[str, object] = {
        "width": 48,
        "height": 64,
        "layout": "NCHW",
        "channels": "RGB",
        "fit": "crop",
    }
    return Input.model_validate({**values, **changes})


LETTERBOX = spec(width=416, height=416, fit="letterbox", fill=114)
FIT_HEIGHT = spec(width=1312, height=368, fit="height")
sides = st.integers(1, 5000)


@given(sides, sides)
def test_letterbox_fills_one_side_and_keeps_proportions(height: int, width: int) -> None:
    tensor, scale = whole_frame_size(LETTERBOX, height, width)
    assert tensor == (416, 416)
    inner = scale * [width, height]
    np.testing.assert_allclose(inner, np.round(inner), atol=1e-3)
    assert np.isclose(inner.max(), 416) and (inner >= 1 - 1e-5).all()
    exact = min(416 / height, 416 / width)
    assert (np.abs(inner - exact * np.asarray([width, height])) < 1 + 1e-4).all()


@given(st.integers(16, 3000), st.integers(16, 3000))
def test_fit_height_is_in_steps_of_8_and_within_4_pixels(height: int, width: int) -> None:
    (h, w), scale = whole_frame_size(FIT_HEIGHT, height, width)
    assert h % 8 == 0 and w % 8 == 0 and 0 < h <= 368 and 0 < w <= 1312
    exact = min(368 / height, 1312 / width)
    wanted = np.asarray([max(exact * width, 8), max(exact * height, 8)])
    assert (np.abs(scale * [width, height] - wanted) <= 4.001).all()


@given(sides, sides, st.sampled_from([LETTERBOX, FIT_HEIGHT]), st.floats(0, 1), st.floats(0, 1))
def test_there_and_back(height: int, width: int, net: Input, fx: float, fy: float) -> None:
    _, scale = whole_frame_size(net, height, width)
    point = np.asarray([fx * (width - 1), fy * (height - 1)], np.float32)
    there = (point + 0.5) * scale - 0.5
    np.testing.assert_allclose(from_whole_frame(there, scale), point, atol=2e-3)


@settings(max_examples=40)
@given(st.integers(20, 700), st.integers(20, 700), st.sampled_from([LETTERBOX, FIT_HEIGHT]), st.data())
def test_the_picture_lies_where_the_mapping_says(
    height: int, width: int, net: Input, data: st.DataObject
) -> None:
    """A ramp's value tells each input pixel's place in the frame."""
    along_x = data.draw(st.booleans())
    ramp = np.linspace(20, 235, width if along_x else height)
    image = np.empty((1, height, width, 3), np.uint8)
    image[:] = np.round(ramp)[
        None, None if along_x else slice(None), slice(None) if along_x else None, None
    ].reshape((1, 1, width, 1) if along_x else (1, height, 1, 1))
    out = whole_frames(image, net)[0, ..., 0].astype(float)
    tensor, scale = whole_frame_size(net, height, width)
    assert out.shape == tensor
    inner = np.round(scale * [width, height]).astype(int)
    n = inner[0 if along_x else 1]
    places = np.stack([np.arange(n)] * 2, axis=1).astype(np.float32)
    at = from_whole_frame(places, scale)[:, 0 if along_x else 1]
    wanted = np.interp(at, np.arange(len(ramp)), ramp)
    got = out[inner[1] // 2, :n] if along_x else out[:n, inner[0] // 2]
    slope = 215 / (len(ramp) - 1)
    np.testing.assert_allclose(got, wanted, atol=1.5 + slope * max(1, 0.5 / scale.min()))
    if net is LETTERBOX:
        assert (out[inner[1] :] == 114).all() and (out[:, inner[0] :] == 114).all()


boxes_xyxy = st.tuples(st.floats(-500, 500), st.floats(-500, 500), st.floats(0, 900), st.floats(0, 900))


@given(st.lists(boxes_xyxy, min_size=1, max_size=5), st.sampled_from([(192, 256), (192, 192), (48, 64)]))
def test_crops_hold_the_box_around_its_centre(boxes: list[tuple[float, ...]], size: tuple[int, int]) -> None:
    net = spec(width=size[0], height=size[1])
    rows = np.asarray(boxes, np.float32)
    rows[:, 2:] += rows[:, :2]
    views = crop_frames(rows, net)
    extent = views[:, 2:] * size
    box_size = np.maximum(rows[:, 2:] - rows[:, :2], 1)
    np.testing.assert_allclose(views[:, :2] + extent / 2, (rows[:, :2] + rows[:, 2:]) / 2, atol=2e-3)
    # the tighter side is 1.25 times the box
    np.testing.assert_allclose((extent / box_size).min(axis=1), 1.25, rtol=1e-4)


def blob_at(size: tuple[int, int], x: float, y: float, spread: float) -> np.ndarray:
    gy, gx = np.mgrid[: size[0], : size[1]]
    hill = 255 * np.exp(-((gx - x) ** 2 + (gy - y) ** 2) / (2 * spread**2))
    return np.repeat(np.round(hill).astype(np.uint8)[..., None], 3, axis=2)


def centre_of(picture: np.ndarray) -> np.ndarray:
    weight = picture[..., 0].astype(float)
    gy, gx = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.asarray([(gx * weight).sum(), (gy * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("step", [0.4, 1.0, 1.9, 2.0, 2.7, 3.4, 5.1, 8.0])
@pytest.mark.parametrize("corner", [(30.3, 50.6), (-10.4, -13.7), (100.5, 90.2)])
def test_a_blob_is_seen_where_the_view_says(step: float, corner: tuple[float, float]) -> None:
    net = spec()
    inside = np.asarray([22.0, 35.0])  # input pixels
    left, top = np.asarray(corner) * (step if corner[0] < 0 else 1)
    x, y = np.asarray([left, top]) + step * inside
    size = (int(y + 20 * step) + 3, int(x + 20 * step) + 2)  # the picture may end inside the view
    image = blob_at(size, x, y, max(1.0, 2.5 * step))
    views = np.asarray([[left, top, step]], np.float32)
    out = crops(image[None], np.zeros(1, np.intp), views, net)
    np.testing.assert_allclose(centre_of(out[0]), inside, atol=0.12)


def test_shrinking_keeps_the_mean_of_what_it_skips() -> None:
    """A chessboard five times finer than the input comes out grey, not black or white."""
    board = (np.indices((640, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, axis=2)[None]
    views = np.asarray([[100, 100, 6.0]], np.float32)
    out = crops(image, np.zeros(1, np.intp), views, spec())
    assert abs(out.astype(float).mean() - 127.5) < 3 and out.std() < 10


@pytest.mark.parametrize("step", [0.5, 2.0, 3.3])
def test_outside_the_picture_is_fill(step: float) -> None:
    net = spec(fill=7)
    image = np.full((1, 100, 100, 3), 200, np.uint8)
    views = np.asarray(
        [[-1000, 10, step], [1000, 10, step], [10, -9000, step], [-10 * step, 0, step]], np.float32
    )
    out = crops(image, np.zeros(4, np.intp), views, net)
    assert (out[:3] == 7).all()
    assert (out[3, 2:20, :8] == 7).all() and (out[3, 2:20, 12:20] == 200).all()


def test_each_person_comes_from_its_own_picture() -> None:
    images = np.stack([np.full((80, 80, 3), v, np.uint8) for v in (10, 20, 30)])
    out = crops(images, np.asarray([2, 0, 1, 2]), np.asarray([[0, 0, 1.0]] * 4, np.float32), spec())
    assert out[:, 0, 0, 0].tolist() == [30, 10, 20, 30]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_tensors_follow_the_card(layout: str, channels: str) -> None:
    net = spec(layout=layout, channels=channels, mean=(10, 20, 30), std=(2, 4, 5))
    pictures = np.random.default_rng(3).integers(0, 256, (2, 4, 5, 3), np.uint8)
    original = pictures.copy()
    tensor = to_tensor(pictures, net)
    wanted = pictures.astype(np.float64)[..., ::-1] if channels == "BGR" else pictures.astype(np.float64)
    wanted = (wanted - [10, 20, 30]) / [2, 4, 5]
    if layout == "NCHW":
        wanted = wanted.transpose(0, 3, 1, 2)
    assert tensor.dtype == np.float32 and tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(pictures, original)
    raw = to_tensor(pictures, spec(layout=layout, channels=channels, dtype="uint8"))
    assert raw.dtype == np.uint8 and raw.shape == tensor.shape


def test_frames_of_one_colour_stay_so_and_wide_ones_fit() -> None:
    image = np.full((1, 12, 40_000, 3), 50, np.uint8)
    assert (whole_frames(image, LETTERBOX)[0, 0] == 50).all()
    out = crops(image, np.zeros(1, np.intp), np.asarray([[39_000, -20, 1.0]], np.float32), spec())
    assert (out[0, 21:31] == 50).all()
