"""Tensor operations against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.experts import device_ops

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here")
    ),
]
GPU = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def pictures(n: int, h: int, w: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, 3), dtype=np.uint8)


def tensor(images: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    return device_ops.to_device(torch.from_numpy(images), device)


def images_of(frames: torch.Tensor) -> npt.NDArray[np.int64]:
    return frames.cpu().permute(0, 2, 3, 1).numpy().astype(np.int64)


def maps(count: int, reach: float, seed: int) -> npt.NDArray[np.float64]:
    """Turns, scales, mirrors and shifts."""
    rng = np.random.default_rng(seed)
    angle, size = rng.uniform(-np.pi, np.pi, count), np.exp(rng.uniform(-2, 2, count))
    c, s = size * np.cos(angle), size * np.sin(angle)
    mirror = rng.choice([-1, 1], count)
    x, y = rng.uniform(-reach, reach, (2, count))
    return np.stack([np.stack([c * mirror, -s, x], 1), np.stack([s * mirror, c, y], 1)], 1)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    inverse=st.booleans(),
    fill=st.integers(0, 255),
    seed=st.integers(0, 2**32 - 1),
)
def test_crops_are_those_of_opencv(
    shape: tuple[int, int, int], size: tuple[int, int], inverse: bool, fill: int, seed: int
) -> None:
    frames = pictures(*shape, seed)
    matrices = maps(5, 60, seed)
    rows = np.random.default_rng(seed).integers(0, shape[0], 5)
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse else 0)
    wanted = [
        cv2.warpAffine(frames[r], m, size[::-1], flags=flags, borderValue=(fill,) * 3)
        for r, m in zip(rows, matrices, strict=True)
    ]
    got = device_ops.warp(
        tensor(frames, GPU),
        torch.from_numpy(rows),
        torch.from_numpy(matrices),
        size,
        fill=fill,
        inverse_map=inverse,
        fixed_point=device_ops.FIXED_POINT_WARP,
    )
    apart = np.abs(images_of(got) - np.stack(wanted))
    assert apart.max() <= 1


def test_crops_are_exact_but_for_one_pixel_in_a_thousand() -> None:
    frame, matrices = pictures(1, 200, 300, 8), maps(6, 100, 8)
    wanted = [cv2.warpAffine(frame[0], m, (96, 128), flags=cv2.INTER_LINEAR) for m in matrices]
    got = device_ops.warp(
        tensor(frame, GPU), torch.zeros(6, dtype=torch.int64), torch.from_numpy(matrices), (128, 96),
        fill=0, inverse_map=False, fixed_point=device_ops.FIXED_POINT_WARP,
    )  # fmt: skip
    assert (images_of(got) != np.stack(wanted)).mean() < 0.001


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inverse", [False, True])
def test_the_public_crop_takes_every_person_from_their_frame(device: str, inverse: bool) -> None:
    frames, matrices, rows = pictures(3, 40, 30, 1), maps(7, 20, 1), np.asarray([2, 0, 1, 1, 2, 0, 0])
    got = device_ops.affine_crops(
        tensor(frames, device), torch.from_numpy(rows), torch.from_numpy(matrices), (16, 12),
        fill=9, inverse_map=inverse,
    )  # fmt: skip
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse else 0)
    wanted = [
        cv2.warpAffine(frames[r], m, (12, 16), flags=flags, borderValue=(9, 9, 9))
        for r, m in zip(rows, matrices, strict=True)
    ]
    assert got.dtype == torch.uint8
    assert np.abs(images_of(got) - np.stack(wanted)).max() <= 1


def test_opencv_4_samples_at_steps_of_a_thirty_second_pixel() -> None:
    frames = tensor(pictures(1, 20, 20, 2))
    steps = np.arange(33)
    shifts = np.zeros((33, 2, 3))
    shifts[:, 0, 0] = shifts[:, 1, 1] = 1

    def sampled(at: npt.NDArray[np.float64], fixed_point: bool) -> npt.NDArray[np.int64]:
        shifts[:, 0, 2] = at
        rows = torch.zeros(33, dtype=torch.int64)
        crop = device_ops.warp(
            frames, rows, torch.from_numpy(shifts), (8, 8), fill=0, inverse_map=True, fixed_point=fixed_point
        )
        return images_of(crop)

    exact = sampled(steps / 32, False)
    assert np.array_equal(sampled(steps / 32, True), exact)
    assert np.array_equal(sampled((steps + 0.48) / 32, True), exact)
    assert not np.array_equal(sampled((steps + 0.48) / 32, False), exact)


def test_floats_are_cropped_without_rounding() -> None:
    frames = tensor(pictures(1, 9, 9, 3)).float() / 255
    half = torch.tensor([[[1.0, 0, 0.5], [0, 1, 0.25]]])
    got = device_ops.affine_crops(frames, torch.tensor([0]), half, (4, 4), inverse_map=True)
    left = 0.75 * frames[0, :, :4, :5] + 0.25 * frames[0, :, 1:5, :5]
    assert torch.allclose(got[0], (left[..., :4] + left[..., 1:]) / 2, atol=1e-6)


def test_nobody_to_crop() -> None:
    none = torch.empty(0, dtype=torch.int64)
    for crop in (device_ops.affine_crops, device_ops.warp):
        options = {"fill": 0, "inverse_map": False, "fixed_point": False}
        got = crop(tensor(pictures(1, 4, 4, 0)), none, torch.empty(0, 2, 3), (8, 6), **options)
        assert got.shape == (0, 3, 8, 6)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90)),
    size=st.one_of(st.tuples(st.integers(1, 120), st.integers(1, 120)), st.sampled_from(["half", "double"])),
    seed=st.integers(0, 2**32 - 1),
)
def test_resizing_is_that_of_opencv(
    shape: tuple[int, int, int], size: tuple[int, int] | str, seed: int
) -> None:
    _, h, w = shape
    if size == "half":
        shape = (shape[0], 2 * h, 2 * w)
    wanted_size = (h, w) if size == "half" else (2 * h, 2 * w) if size == "double" else size
    assert not isinstance(wanted_size, str)
    frames = pictures(*shape, seed)
    wanted = [cv2.resize(f, wanted_size[::-1], interpolation=cv2.INTER_LINEAR) for f in frames]
    got = device_ops.scale(tensor(frames, GPU), wanted_size)
    apart = np.abs(images_of(got) - np.stack(wanted))
    assert apart.max() <= 1


def test_resizing_is_exact_but_for_one_pixel_in_a_hundred() -> None:
    frames = pictures(1, 180, 320, 6)
    for size in ((96, 170), (90, 160), (360, 640), (123, 456)):
        wanted = cv2.resize(frames[0], size[::-1], interpolation=cv2.INTER_LINEAR)
        assert (images_of(device_ops.scale(tensor(frames, GPU), size))[0] != wanted).mean() < 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_letterbox_places_the_resized_frame(device: str) -> None:
    frames = pictures(2, 30, 50, 4)
    got = device_ops.letterbox(tensor(frames, device), (12, 20), (32, 24), fill=114, corner=(3, 2))
    wanted = np.full((2, 32, 24, 3), 114)
    wanted[:, 3:15, 2:22] = [cv2.resize(f, (20, 12), interpolation=cv2.INTER_LINEAR) for f in frames]
    assert got.dtype == torch.uint8
    assert np.abs(images_of(got) - wanted).max() <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_normalisation_follows_the_order_of_the_result(device: str) -> None:
    frames = pictures(2, 4, 5, 5)
    mean, std = (103.5, 116.3, 123.7), (57.4, 57.1, 58.4)
    got = device_ops.normalise(tensor(frames, device), mean, std, swap_channels=True)
    wanted = (frames[..., ::-1].astype(np.float32) - np.float32(mean)) / np.float32(std)
    assert got.is_contiguous()
    assert np.allclose(got.cpu().permute(0, 2, 3, 1).numpy(), wanted, atol=1e-5)
    plain = device_ops.normalise(tensor(frames, device))
    assert np.array_equal(images_of(plain), frames)
    assert device_ops.normalise(tensor(frames, device), dtype=torch.float16).dtype == torch.float16
