"""A card's pictures made by tensor operations, against those made by OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_networks import make_card

from skelkit.experts import device_frames, device_pictures, preprocess
from skelkit.experts.engine import Device
from skelkit.structures import Float32, UInt8

CPU = torch.device("cpu")


def photo(count: int = 2, height: int = 180, width: int = 240) -> UInt8:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 18, 24)))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    noise = torch.from_numpy(rng.uniform(-20, 20, fine.shape))
    pictures = (fine + noise).clamp(0, 255).permute(0, 2, 3, 1)
    return np.ascontiguousarray(pictures.numpy().astype(np.uint8))


def people(sizes: list[float]) -> Float32:
    rng = np.random.default_rng(1)
    corners = rng.uniform(-20, 120, (len(sizes), 2))
    sides = np.asarray(sizes)[:, None] * [[0.6, 1]]
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def test_people_of_all_sizes_are_cut_out_alike() -> None:
    spec, images = make_card().input, photo()
    boxes = people([10, 40, 70, 130, 250, 500])  # crops enlarged, and shrunk by 2, 4 and 8 before
    views = preprocess.crop_frames(boxes, spec)
    assert np.ptp(np.log2(views[:, 2])) > 4
    rows = np.asarray([0, 1, 0, 1, 0, 1])
    wanted = preprocess.crops(images, rows, views, spec).astype(int)
    frames = device_frames.on_device(images, CPU)
    got = device_pictures.crops(frames, torch.from_numpy(rows), views, spec)
    apart = np.abs(got.permute(0, 2, 3, 1).numpy() - wanted)
    assert apart.max() <= 2
    assert apart.mean() < 0.5


def test_a_view_beside_the_picture_is_empty() -> None:
    spec = make_card().input
    views = preprocess.crop_frames(np.asarray([[900, 900, 990, 1100]], np.float32), spec)
    frames = device_frames.on_device(photo(1), CPU)
    got = device_pictures.crops(frames, torch.zeros(1, dtype=torch.int64), views, spec)
    assert (got == spec.fill).all()


@pytest.mark.parametrize("fit", ["letterbox", "height"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_whole_frames_become_the_same_tensor(fit: str, layout: str, channels: str) -> None:
    spec = make_card().input.model_copy(
        update={"fit": fit, "layout": layout, "channels": channels, "width": 96, "height": 64,
                "mean": (1.0, 2.0, 3.0), "std": (2.0, 3.0, 4.0), "fill": 114}
    )  # fmt: skip
    images = photo()
    wanted = preprocess.to_tensor(preprocess.whole_frames(images, spec), spec)
    frames = device_frames.on_device(images, CPU)
    got = device_pictures.to_tensor(device_pictures.whole_frames(frames, spec), spec)
    assert got.is_contiguous()
    np.testing.assert_allclose(got.numpy(), wanted, atol=0.51)
    assert np.abs(got.numpy() - wanted).mean() < 0.01


def test_bytes_stay_bytes() -> None:
    spec = make_card().input.model_copy(update={"dtype": "uint8", "mean": (0, 0, 0), "std": (1, 1, 1)})
    assert device_pictures.to_tensor(device_frames.on_device(photo(), CPU), spec).dtype == torch.uint8


def test_frames_in_the_memory_of_a_cpu_are_not_copied() -> None:
    images = photo()
    assert device_frames.torch_device(Device(kind="cpu", threads=torch.get_num_threads())) == CPU
    frames = device_frames.on_device(images, CPU)
    images[0, 0, 0] = 7
    assert frames[0, :, 0, 0].tolist() == [7, 7, 7]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here")
def test_frames_are_copied_to_a_gpu_once_and_forgotten_with_the_batch() -> None:
    images, place = photo(), torch.device("cuda", 0)
    device_frames.stage(images, place)
    frames = device_frames.on_device(images, place)
    assert frames.data_ptr() == device_frames.on_device(images, place).data_ptr()
    assert np.array_equal(frames.cpu().permute(0, 2, 3, 1).numpy(), images)
    del images
    assert not device_frames._STAGED
