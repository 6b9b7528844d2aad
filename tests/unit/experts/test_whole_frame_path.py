"""Letterbox -> run -> decode -> frame pixels, with networks that see bars of pure colour.

The person of row 0 is the red bar, of row 1 the green one, of row 2 the blue one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_networks import CPU, Graph, bar_boxes, batch, built, f32, i64, make_card, pixels

from skelkit.errors import ConfigError, ExpertError
from skelkit.experts import build_detector, build_expert
from skelkit.experts.cards import Card, load_card
from skelkit.experts.engine import Device
from skelkit.experts.onnx import OnnxDetector, WholeFrameExpert

SIZES = [(416, 416), (480, 640), (333, 500), (640, 360), (47, 61), (1080, 1920), (23, 400)]


def letterbox(card: Card, size: int | str = "batch") -> tuple[Graph, str, str]:
    h, w = card.input.height, card.input.width
    graph = Graph([size, 3, h, w])
    box, there = bar_boxes(graph, pixels(graph, card), card)
    return graph, box, there


def score(graph: Graph, there: str) -> str:
    """(B, 3, 1): 0.8, 0.7, 0.6 for the bars that are there."""
    return graph.op("Mul", there, f32(0.8, 0.7, 0.6).reshape(1, 3, 1))


def corners(graph: Graph, box: str) -> str:
    to_corners = f32(1, 0, 1, 0, 0, 1, 0, 1, -0.5, 0, 0.5, 0, 0, -0.5, 0, 0.5).reshape(4, 4)
    return graph.op("MatMul", box, to_corners)


def decoded(card: Card, path: Path, size: int | str = "batch") -> None:
    """YOLO rows: box, objectness (unless the card has none), 2 classes of which the second is the person."""
    graph, box, there = letterbox(card, size)
    sure = score(graph, there)
    other = graph.op("Mul", sure, f32(0.1))
    assert card.decoder.type == "yolo"
    columns = [box, there, other, sure] if card.decoder.objectness else [box, other, sure]
    rows = graph.op("Concat", *columns, axis=2)
    if card.decoder.transposed:
        rows = graph.op("Transpose", rows, perm=[0, 2, 1])
    graph.save(path, rows)


def undecoded(card: Card, path: Path) -> None:
    """YOLOX rows of strides 8, 16, 32: the red bar in a row of level 8, green of 16, blue of 32."""
    graph, box, there = letterbox(card)
    sizes = [(card.input.height // s) * (card.input.width // s) for s in (8, 16, 32)]
    levels = []
    for person, (stride, count) in enumerate(zip((8, 16, 32), sizes, strict=True)):
        per_row = card.input.width // stride
        at = 2 * per_row + 5 + person  # cell x = 5 + person, y = 2
        one = graph.op("Gather", box, i64(person), axis=1)
        centre = graph.op("Mul", graph.op("Gather", one, i64(0, 1), axis=2), f32(1 / stride))
        offset = graph.op("Sub", centre, f32(5 + person, 2).reshape(1, 1, 2))
        side = graph.op("Mul", graph.op("Gather", one, i64(2, 3), axis=2), f32(1 / stride))
        log = graph.op("Log", graph.op("Max", side, f32(1e-6)))
        seen = graph.op("Gather", there, i64(person), axis=1)
        row = graph.op("Concat", offset, log, seen, graph.op("Mul", seen, f32(0.8 - 0.1 * person)), axis=2)
        levels.append(graph.op("Pad", row, i64(0, at, 0, 0, count - at - 1, 0)))
    graph.save(path, graph.op("Concat", *levels, axis=1))


def end_to_end(card: Card, path: Path) -> None:
    """dets (B, 5, 5), labels (B, 5): the three bars, then padding with score 0 and label -1."""
    graph, box, there = letterbox(card)
    dets = graph.op("Concat", corners(graph, box), score(graph, there), axis=2)
    labels = graph.op("Cast", graph.op("Squeeze", graph.op("Mul", there, f32(0)), i64(2)), to=7)
    graph.save(
        path,
        graph.op("Pad", dets, i64(0, 0, 0, 0, 2, 0)),
        graph.op("Pad", labels, i64(0, 0, 0, 2), graph.const(np.asarray(-1, np.int64))),
    )


FRACTIONS = np.stack([np.linspace(0.1, 0.9, 17), np.linspace(0.9, 0.3, 17)], axis=1).astype(np.float32)


def one_stage(card: Card, path: Path) -> None:
    """dets (B, 3, 5), keypoints (B, 3, 17, 3): joints at `FRACTIONS` of each bar, the last one unseen."""
    graph, box, there = letterbox(card)
    xyxy = corners(graph, box)
    dets = graph.op("Concat", xyxy, score(graph, there), axis=2)
    corner = graph.op("Unsqueeze", graph.op("Slice", xyxy, i64(0), i64(2), i64(2)), i64(2))
    side = graph.op("Unsqueeze", graph.op("Slice", box, i64(2), i64(4), i64(2)), i64(2))
    joints = graph.op("Add", corner, graph.op("Mul", side, FRACTIONS[None, None]))
    sure = graph.op("Mul", graph.op("Unsqueeze", there, i64(2)), np.full((1, 1, 17, 1), 0.9, np.float32))
    sure = graph.op("Mul", sure, (np.arange(17) < 16).astype(np.float32).reshape(1, 1, 17, 1))
    graph.save(path, dets, graph.op("Concat", joints, sure, axis=3))


def yolo(**decoder: object) -> Card:
    return make_card(
        kind="detector",
        joints=None,
        input={"width": 416, "height": 416, "fit": "letterbox", "fill": 114, "channels": "BGR"},
        decoder={"type": "yolo", "person_class": 1, **decoder},
    )


DETECTORS: dict[str, tuple[Callable[[], Card], Callable[[Card, Path], None]]] = {
    "yolo decoded": (yolo, decoded),
    "yolo without objectness": (lambda: yolo(objectness=False), decoded),
    "yolov8": (lambda: yolo(objectness=False, transposed=True), decoded),
    "yolox": (lambda: yolo(strides=[8, 16, 32], person_class=0), undecoded),
    "rtmdet": (lambda: load_card("rtmdet_nano_person"), end_to_end),
    "yolox end to end": (lambda: load_card("yolox_tiny_person"), end_to_end),
}


def bars(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a red, a green and a blue bar, and their boxes (edges of pixels)."""
    h, w = size
    image = np.zeros((h, w, 3), np.uint8)
    boxes = []
    for k, (x, y, right, low) in enumerate(
        ((0.05, 0.1, 0.3, 0.6), (0.35, 0.4, 0.55, 0.97), (0.7, 0, 1, 0.8))
    ):
        x0, x1, y0, y1 = round(x * w), round(right * w), round(y * h), round(low * h)
        image[y0:y1, x0:x1, k] = 255
        boxes.append((x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5))  # pixel centres are whole numbers
    return image, np.asarray(boxes)


def tolerance(card: Card, size: tuple[int, int]) -> float:
    """One and a half pixels of the input, in frame pixels."""
    return 1.5 * max(1, size[0] / card.input.height, size[1] / card.input.width)


def detector(folder: Path, card: Card, device: Device = CPU) -> OnnxDetector:
    expert = built(folder, card, device)
    assert isinstance(expert, OnnxDetector)
    return expert


def whole_frame(folder: Path, card: Card) -> WholeFrameExpert:
    expert = built(folder, card)
    assert isinstance(expert, WholeFrameExpert)
    return expert


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DETECTORS)
def test_boxes_land_on_the_bars(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    make, network = DETECTORS[name]
    card = make()
    network(card, tmp_path / card.weights.file)
    image, truth = bars(size)
    found = detector(tmp_path, card).detect(batch(image))
    np.testing.assert_allclose(found.box_scores, [0.8, 0.7, 0.6], atol=1e-4)
    limit = np.asarray([size[1] - 1, size[0] - 1] * 2)
    error = np.abs(found.boxes_xyxy - np.clip(truth, 0, limit)).max()
    assert error < tolerance(card, size)
    assert (found.boxes_xyxy >= 0).all() and (found.boxes_xyxy <= limit).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_frames_with_some_one_and_nobody(tmp_path: Path, name: str) -> None:
    make, network = DETECTORS[name]
    card = make()
    network(card, tmp_path / card.weights.file)
    full, _ = bars((200, 300))
    green = full * np.asarray([0, 1, 0], np.uint8)
    found = detector(tmp_path, card).detect(
        batch(np.zeros_like(full), full, np.zeros_like(full), green, first=5)
    )
    assert found.frame_indices.tolist() == [8, 8, 8, 14]
    np.testing.assert_allclose(found.boxes_xyxy[3], found.boxes_xyxy[1], atol=1e-3)
    nobody = detector(tmp_path, card).detect(batch(np.zeros_like(full)))
    assert nobody.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("size", [1, 4])
def test_a_fixed_batch_is_padded(tmp_path: Path, size: int) -> None:
    card = yolo()
    decoded(card, tmp_path / "made.onnx", size)
    full, _ = bars((200, 300))
    images = [full * np.asarray([i & 1, i & 2, i & 4], bool) for i in range(7)]
    found = detector(tmp_path, card).detect(batch(*images))
    assert found.frame_indices.tolist() == [3 * i for i in range(7) for bit in (1, 2, 4) if i & bit]


@pytest.mark.parametrize("size", SIZES)
def test_one_stage_people_keep_the_box_of_the_network(tmp_path: Path, size: tuple[int, int]) -> None:
    card = load_card("rtmo_t")
    one_stage(card, tmp_path / card.weights.file)
    image, truth = bars(size)
    expert = build_expert("rtmo_t", device=CPU, weights=tmp_path)
    assert expert.kind == "one-stage"
    poses = expert.predict(batch(image, np.zeros_like(image), image))
    assert poses.frame_indices.tolist() == [0, 0, 0, 6, 6, 6]
    np.testing.assert_allclose(poses.box_scores[:3], [0.8, 0.7, 0.6], atol=1e-4)
    limit = np.asarray([size[1] - 1, size[0] - 1] * 2)
    assert np.abs(poses.boxes_xyxy[:3] - np.clip(truth, 0, limit)).max() < tolerance(card, size)
    wanted = truth[:, None, :2] + (truth[:, None, 2:] - truth[:, None, :2]) * FRACTIONS
    error = np.abs(poses.keypoints[:3] - wanted)
    assert np.nanmax(error) < tolerance(card, size)
    assert np.isnan(poses.keypoints[:, 16]).all() and np.isfinite(poses.keypoints[:, :16]).all()
    assert (poses.scores[:, 16] == 0).all()


def test_a_person_without_any_joint_is_nobody(tmp_path: Path) -> None:
    card = load_card("rtmo_t").model_copy(
        update={"calibration": load_card("rtmo_t").calibration.model_copy(update={"not_found_below": 0.95})}
    )
    one_stage(card, tmp_path / card.weights.file)
    poses = whole_frame(tmp_path, card).predict(batch(bars((200, 300))[0]))
    assert len(poses) == 0 and poses.keypoints.shape == (0, 17, 2)


def test_no_frames_at_all(tmp_path: Path) -> None:
    empty = batch(np.zeros((9, 9, 3), np.uint8))
    empty = type(empty)(images=empty.images[:0], indices=empty.indices[:0], pts_s=empty.pts_s[:0])
    card = load_card("rtmo_t")
    one_stage(card, tmp_path / card.weights.file)
    assert len(whole_frame(tmp_path, card).predict(empty)) == 0
    decoded(yolo(), tmp_path / "made.onnx")
    assert len(detector(tmp_path, yolo()).detect(empty)) == 0


def test_wrong_kinds_are_refused(tmp_path: Path) -> None:
    card = load_card("rtmo_t")
    one_stage(card, tmp_path / card.weights.file)
    with pytest.raises(ConfigError, match="expected a detector, 'rtmo_t' is a pose expert"):
        build_detector("rtmo_t", device=CPU, weights=tmp_path)
    card = load_card("rtmdet_nano_person")
    end_to_end(card, tmp_path / card.weights.file)
    with pytest.raises(ConfigError, match="expected a pose expert, 'rtmdet_nano_person' is a detector"):
        build_expert("rtmdet_nano_person", device=CPU, weights=tmp_path)


def paf_card(**changes: object) -> Card:
    """Joints nose (red disc) and left_eye (green disc), joined by a blue bar that runs along x."""
    decoder = {
        "type": "paf",
        "layout": "NHWC",
        "offset": 0.4375,  # cell i of an average pool over 8 pixels is centred on pixel 8 i + 3.5
        "min_joints": 2,
        "min_peak": 0.1,
        "limbs": [{"joints": ["nose", "left_eye"], "channels": [17, 18]}],
    }
    return make_card(
        kind="bottom-up",
        input={"width": 640, "height": 160, "layout": "NHWC", "channels": "BGR", "fit": "height"},
        decoder={**decoder, **changes},
    )


def paf_network(card: Card, path: Path) -> None:
    """(B, h/8, w/8, 19): red and green as heatmaps of joints 0 and 1, blue as a field along +x."""
    graph = Graph(["batch", "height", "width", 3])
    rgb = graph.op("AveragePool", pixels(graph, card), kernel_shape=[8, 8], strides=[8, 8])
    red, green, blue = (graph.op("Gather", rgb, i64(c), axis=1) for c in range(3))
    none = graph.op("Mul", red, f32(0))
    maps = graph.op("Concat", red, green, *[none] * 15, blue, none, axis=1)
    graph.save(path, graph.op("Transpose", maps, perm=[0, 2, 3, 1]))


@pytest.mark.parametrize("size", [(160, 320), (320, 480), (201, 333), (480, 1000)])
def test_pairs_joined_by_a_field_land_on_their_discs(tmp_path: Path, size: tuple[int, int]) -> None:
    card = paf_card()
    paf_network(card, tmp_path / "made.onnx")
    h, w = size
    image = np.zeros((h, w, 3), np.uint8)
    spot = h / 160 * 6
    truth = []
    y, x = np.mgrid[:h, :w]
    for row, (a, b) in zip((0.2, 0.5, 0.8), ((0.15, 0.6), (0.4, 0.85), (0.1, 0.35)), strict=True):
        ends = np.asarray([(a * w, row * h), (b * w, row * h)])
        truth.append(ends)
        for channel, (cx, cy) in enumerate(ends):
            hill = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * spot**2))
            image[..., channel] = np.maximum(image[..., channel], 255 * hill)
        image[(abs(y - row * h) < spot) & (x > ends[0, 0]) & (x < ends[1, 0]), 2] = 200
    poses = whole_frame(tmp_path, card).predict(batch(np.zeros_like(image), image))
    assert poses.frame_indices.tolist() == [3, 3, 3]
    order = np.argsort(poses.keypoints[:, 0, 1])
    np.testing.assert_allclose(poses.keypoints[order, :2], truth, atol=1.5 * h / 160)
    assert np.isnan(poses.keypoints[:, 2:]).all() and (poses.scores[:, 2:] == 0).all()
    np.testing.assert_allclose(  # the extent of the joints
        poses.boxes_xyxy,
        np.concatenate([poses.keypoints[:, 0], poses.keypoints[:, 1]], axis=1),
        atol=h / 160 * 3,
    )


@pytest.mark.parametrize(
    ("make", "network", "sentence"),
    [
        (lambda: yolo(strides=[8, 16]), decoded, "expected 3380 rows for strides .*the network gave 3"),
        (lambda: yolo(person_class=4), decoded, r"expected YOLO rows \(B, N, 4 \+ classes\)"),
        (
            lambda: yolo().model_copy(update={"decoder": load_card("rtmdet_nano_person").decoder}),
            lambda _, path: decoded(yolo(), path),
            r"expected boxes \(B, N, 5\) and labels",
        ),
        (
            lambda: load_card("rtmo_t").model_copy(update={"joints": "halpe26"}),
            one_stage,
            r"expected boxes \(B, N, 5\) and joints \(B, N, 26, 3\)",
        ),
        (
            lambda: paf_card(limbs=[{"joints": ["nose", "left_eye"], "channels": [30, 31]}]),
            paf_network,
            "expected at least 32 maps, got 19",
        ),
    ],
)
def test_outputs_that_are_not_what_the_card_says(
    tmp_path: Path, make: Callable[[], Card], network: Callable[[Card, Path], None], sentence: str
) -> None:
    card = make()
    network(card, tmp_path / card.weights.file)
    expert = built(tmp_path, card)
    frames = batch(bars((200, 300))[0])
    with pytest.raises(ExpertError, match=sentence):
        expert.detect(frames) if isinstance(expert, OnnxDetector) else expert.predict(frames)
