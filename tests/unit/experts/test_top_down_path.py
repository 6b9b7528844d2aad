"""Crop -> normalise -> run -> decode -> frame pixels, with networks that see coloured discs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_networks import (
    CPU,
    Graph,
    batch,
    built,
    disc_maps,
    draw_disc,
    f32,
    i64,
    make_card,
    people,
    pixels,
)

from skelkit.errors import ConfigError
from skelkit.experts import build_expert
from skelkit.experts.cards import Card, load_card
from skelkit.experts.engine import Device
from skelkit.experts.preprocess import crop_frames
from skelkit.structures import Detections, Poses


def shape(card: Card, size: int | str = "batch") -> list[int | str]:
    h, w = card.input.height, card.input.width
    return [size, 3, h, w] if card.input.layout == "NCHW" else [size, h, w, 3]


def hills(card: Card, size: int | str = "batch") -> tuple[Graph, str]:
    graph = Graph(shape(card, size), np.uint8 if card.input.dtype == "uint8" else np.float32)
    return graph, disc_maps(graph, pixels(graph, card), card.skeleton.num_joints)


def simcc_network(card: Card, path: Path) -> None:
    """simcc_x (B, 17, 2 w), simcc_y (B, 17, 2 h): bins 2 j and 2 j + 1 belong to pixel j."""
    graph, maps = hills(card)
    along = []
    for axis, length in ((2, card.input.width), (3, card.input.height)):
        profile = graph.op("ReduceMax", maps, axes=[axis], keepdims=0)
        along.append(graph.op("Gather", profile, np.arange(2 * length) // 2, axis=2))
    graph.save(path, *along)


def heatmap_network(card: Card, path: Path, stride: int = 1, size: int | str = "batch") -> None:
    graph, maps = hills(card, size)
    if stride > 1:
        maps = graph.op("AveragePool", maps, kernel_shape=[stride] * 2, strides=[stride] * 2)
    if card.decoder.type == "heatmap" and card.decoder.layout == "NHWC":
        maps = graph.op("Transpose", maps, perm=[0, 2, 3, 1])
    graph.save(path, maps)


def coordinates_network(card: Card, path: Path) -> None:
    """(B, 1, 17, 3): centre of gravity as fractions of the input, score 1 where there is a disc."""
    graph, maps = hills(card)
    total = graph.op("ReduceSum", maps, i64(2, 3), keepdims=0)
    columns = []
    for other, length in ((2, card.input.width), (3, card.input.height)):
        profile = graph.op("ReduceSum", maps, i64(other), keepdims=0)
        ramp = np.arange(length, dtype=np.float32).reshape(length, 1) / length
        moment = graph.op("Squeeze", graph.op("MatMul", profile, ramp), i64(2))
        columns.append(graph.op("Div", moment, graph.op("Max", total, f32(1e-6))))
    score = graph.op("Clip", total, f32(0)[0], f32(1)[0])
    order = [1, 0] if card.decoder.type == "coordinates" and card.decoder.order == "yxs" else [0, 1]
    three = [graph.op("Unsqueeze", v, i64(1, 3)) for v in (columns[order[0]], columns[order[1]], score)]
    graph.save(path, graph.op("Concat", *three, axis=3))


IMAGENET = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
SQUARE = {"width": 192, "height": 192, "layout": "NHWC"}
EXPERTS: dict[str, tuple[Callable[[], Card], Callable[[Card, Path], None]]] = {
    "rtmpose": (lambda: load_card("rtmpose_t"), simcc_network),
    "movenet": (
        lambda: make_card(
            input={**SQUARE, "dtype": "uint8"},
            decoder={"type": "coordinates", "order": "yxs"},
        ),
        coordinates_network,
    ),
    "xys": (lambda: make_card(decoder={"type": "coordinates"}, input=IMAGENET), coordinates_network),
    "edvard": (
        lambda: make_card(
            joints="edvard14",
            input={**SQUARE, "channels": "BGR", "crop_scale": 1.6},
            decoder={"type": "heatmap", "layout": "NHWC", "offset": 0.25, "blur": 1.0},
        ),
        lambda card, path: heatmap_network(card, path, stride=2),
    ),
    "hrnet": (
        lambda: make_card(
            input={"width": 192, "height": 256, **IMAGENET},
            decoder={"type": "heatmap", "layout": "NCHW", "offset": 0.375},
        ),
        lambda card, path: heatmap_network(card, path, stride=4),
    ),
}


def scene(
    card: Card, size: tuple[int, int], boxes: list[tuple[float, float, float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a person's discs in each box's crop, and where they are; discs outside it are left out."""
    image = np.zeros((*size, 3), np.uint8)
    net, count = card.input, card.skeleton.num_joints
    truth = np.full((len(boxes), count, 2), np.nan)
    for person, (left, top, step) in enumerate(
        crop_frames(np.asarray(boxes, np.float32).reshape(-1, 4), net)
    ):
        for k in range(count):
            x = round(left + step * net.width * (0.14 + 0.24 * (k % 4) + 0.01 * (k % 3)))
            y = round(top + step * net.height * (0.1 + 0.19 * (k // 4)))
            margin = 4 * step + 2
            if margin <= x < size[1] - margin and margin <= y < size[0] - margin:
                draw_disc(image, k, x, y, 3 * step)
                truth[person, k] = x, y
    return image, truth


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((480, 640), (200, 100, 330, 320)),  # about the input's size
        ((481, 333), (140.5, 210.25, 210.75, 330.5)),  # smaller than the input, odd frame
        ((240, 320), (-40, -30, 160, 180)),  # over the top left corner
        ((300, 400), (250, 170, 520, 420)),  # over the bottom right corner
        ((1000, 1400), (300, 80, 1050, 950)),  # over three times larger than the input: the shrink path
        ((900, 700), (-150, -100, 800, 1000)),  # larger than the frame
    ],
)
def test_joints_land_on_the_discs(
    tmp_path: Path, name: str, size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    make, network = EXPERTS[name]
    card = make()
    network(card, tmp_path / card.weights.file)
    image, truth = scene(card, size, [box])
    poses = built(tmp_path, card).predict(batch(image), people([0], [box]))
    step = float(crop_frames(np.asarray([box], np.float32), card.input)[0, 2])
    drawn = np.isfinite(truth[..., 0])
    assert drawn.sum() >= 3
    error = np.abs(poses.keypoints - truth)[drawn]
    assert error.max() < 1.2 * step + 0.1  # a pixel of the input
    assert abs(np.median(poses.keypoints[drawn] - truth[drawn])) < 0.35 * step  # and no shift of all
    assert np.isnan(poses.keypoints[~drawn]).all()
    assert (poses.scores[~drawn] == 0).all() and (poses.scores[drawn] > 0).all()
    np.testing.assert_array_equal(poses.boxes_xyxy, np.asarray([box], np.float32))


def test_people_of_several_frames_do_not_mix(tmp_path: Path) -> None:
    card = load_card("rtmpose_t")
    simcc_network(card, tmp_path / card.weights.file)
    boxes = [
        (40, 30, 140, 220),
        (200, 20, 300, 210),
        (60, 35, 160, 225),
        (90, 15, 190, 205),
        (230, 40, 320, 215),
    ]
    at = [0, 0, 3, 9, 9]
    images, truth = [], []
    for frame in (0, 3, 6, 9):
        image, found = scene(card, (260, 400), [b for b, f in zip(boxes, at, strict=True) if f == frame])
        images.append(image)
        truth.append(found)
    expert = build_expert("rtmpose_t", device=CPU, weights=tmp_path)
    poses = expert.predict(batch(*images), people(at, boxes))
    assert poses.frame_indices.tolist() == at
    truth_all = np.concatenate(truth)
    drawn = np.isfinite(truth_all[..., 0]) & np.isfinite(poses.keypoints[..., 0])
    assert drawn.sum() > 60
    assert np.median(np.abs(poses.keypoints - truth_all)[drawn]) < 1
    # one at a time gives the same
    for i, (frame, box) in enumerate(zip(at, boxes, strict=True)):
        alone = expert.predict(batch(images[frame // 3], first=frame), people([frame], [box]))
        np.testing.assert_allclose(alone.keypoints[0], poses.keypoints[i], atol=1e-3)


@pytest.mark.parametrize("size", [1, 4, "batch"])
def test_neither_threads_nor_chunks_nor_the_fixed_batch_change_results(
    tmp_path: Path, size: int | str
) -> None:
    card = make_card()
    heatmap_network(card, tmp_path / "made.onnx", size=size)
    boxes = [(10.0 + 7 * i, 20, 50.0 + 8 * i, 80.0 + i) for i in range(11)]  # 11: no multiple of 4
    image, _ = scene(card, (120, 160), boxes)
    given = people([0] * 11, boxes)
    results: list[Poses] = []
    for threads in (1, 3):
        device = Device(kind="cpu", threads=threads)
        expert = built(tmp_path, card, device)
        for chunk in (1, 3, 16):
            if expert.engine.fixed_batch is None:
                expert.engine.batches.size = chunk
            assert expert.engine.batches.size == (chunk if size == "batch" else size)
            results.append(expert.predict(batch(image), given))
    assert np.isfinite(results[0].keypoints).any()
    for other in results[1:]:
        np.testing.assert_allclose(other.keypoints, results[0].keypoints, atol=1e-3)
        np.testing.assert_allclose(other.scores, results[0].scores, atol=1e-5)


def test_nobody_to_look_at(tmp_path: Path) -> None:
    card = make_card()
    heatmap_network(card, tmp_path / "made.onnx")
    expert = built(tmp_path, card)
    black = np.zeros((90, 70, 3), np.uint8)
    poses = expert.predict(batch(black), people([], []))
    assert poses.keypoints.shape == (0, 17, 2) and poses.scores.shape == (0, 17)


@pytest.mark.parametrize(
    "box",
    [(30, 40, 31, 41), (30, 40, 30, 40), (0, 0, 69, 89), (-500, -500, -400, -300), (4000, 30, 9000, 60)],
)
def test_a_black_picture_has_no_joints_not_joints_at_zero(
    tmp_path: Path, box: tuple[float, float, float, float]
) -> None:
    for name, (make, network) in EXPERTS.items():
        card = make().model_copy(update={"name": name})
        network(card, tmp_path / card.weights.file)
        poses = built(tmp_path, card).predict(batch(np.zeros((90, 70, 3), np.uint8)), people([0], [box]))
        assert np.isnan(poses.keypoints).all(), name
        assert (poses.scores == 0).all(), name


def test_a_person_of_one_pixel(tmp_path: Path) -> None:
    card = make_card()
    heatmap_network(card, tmp_path / "made.onnx")
    image = np.zeros((90, 70, 3), np.uint8)
    draw_disc(image, 0, 30, 40, 0)
    poses = built(tmp_path, card).predict(batch(image), people([0], [(29.5, 39.5, 30.5, 40.5)]))
    np.testing.assert_allclose(poses.keypoints[0, 0], [30, 40], atol=0.1)
    assert np.isnan(poses.keypoints[0, 1:]).all()


def test_boxes_are_required_and_must_belong_to_the_frames(tmp_path: Path) -> None:
    card = make_card()
    heatmap_network(card, tmp_path / "made.onnx")
    expert = built(tmp_path, card)
    frames = batch(np.zeros((90, 70, 3), np.uint8))
    with pytest.raises(ConfigError, match="expected person boxes from a detector"):
        expert.predict(frames)
    stray: Detections = people([0, 7], [(0, 0, 9, 9), (0, 0, 9, 9)])
    with pytest.raises(ConfigError, match=r"expected boxes in the frames \[0\]"):
        expert.predict(frames, stray)
