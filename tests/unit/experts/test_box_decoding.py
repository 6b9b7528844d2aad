from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_networks import make_card

from skelkit.errors import ExpertError
from skelkit.experts.cards import EndToEndBoxes, YoloBoxes
from skelkit.experts.decode_boxes import decode_boxes, nms
from skelkit.experts.decode_joints import one_stage

NET = make_card(
    kind="detector",
    joints=None,
    input={"width": 64, "height": 32, "fit": "letterbox"},
    decoder={"type": "yolo"},
).input


def slow_nms(boxes: np.ndarray, max_iou: float) -> list[int]:
    """The definition: a box is kept unless it overlaps one kept before it."""
    kept: list[int] = []
    for i, a in enumerate(boxes.astype(float)):
        for j in kept:
            b = boxes[j].astype(float)
            w = min(a[2], b[2]) - max(a[0], b[0])
            h = min(a[3], b[3]) - max(a[1], b[1])
            inner = max(w, 0) * max(h, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
            if inner > max_iou * union:
                break
        else:
            kept.append(i)
    return kept


@given(
    arrays(np.int64, st.tuples(st.integers(0, 25), st.just(4)), elements=st.integers(0, 12)),
    st.sampled_from([0.05, 0.25, 0.45, 0.5, 0.75, 0.97]),
)
def test_nms_is_the_slow_one(corner_and_size: np.ndarray, max_iou: float) -> None:
    boxes = corner_and_size.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    assert nms(boxes, max_iou).tolist() == slow_nms(boxes, max_iou)


def test_thousands_of_boxes_need_no_square_table() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.random((20_000, 4), np.float32) * 0.1  # a table of pairs would take 3 GB
    boxes[:, 2:] += 1
    assert nms(boxes, 0.45).tolist() == [0]


def rows(*people: tuple[float, ...]) -> np.ndarray:
    return np.asarray(people, np.float32)[None]


def test_best_first_duplicates_and_faint_ones_dropped() -> None:
    spec = YoloBoxes(type="yolo", nms_iou=0.5, min_score=0.3)
    out = rows(
        (10, 10, 8, 8, 0.5, 0.8),  # 0.4, a duplicate
        (11, 10, 8, 8, 1.0, 0.9),  # 0.9
        (40, 12, 6, 10, 0.7, 0.7),  # 0.49
        (30, 12, 6, 10, 0.5, 0.5),  # 0.25: faint
    )
    ((boxes, scores),) = decode_boxes([out], spec, NET)
    np.testing.assert_allclose(scores, [0.9, 0.49], rtol=1e-6)
    np.testing.assert_allclose(boxes, [[7, 6, 15, 14], [37, 7, 43, 17]])


def test_the_class_of_the_person_alone_counts() -> None:
    spec = YoloBoxes(type="yolo", objectness=False, person_class=2)
    out = rows((10, 10, 8, 8, 0.9, 0.9, 0.2), (30, 10, 8, 8, 0.1, 0.1, 0.6))
    ((_, scores),) = decode_boxes([out], spec, NET)
    np.testing.assert_allclose(scores, [0.6, 0.2])
    transposed = spec.model_copy(update={"transposed": True})
    ((_, again),) = decode_boxes([out.transpose(0, 2, 1)], transposed, NET)
    np.testing.assert_array_equal(again, scores)


@pytest.mark.parametrize("row", [0, 7, 8, 31, 32, 35, 39])
def test_undecoded_rows_know_their_cell(row: int) -> None:
    """64 x 32 has 8 x 4 cells of 8 pixels, then 4 x 2 of 16; row-major."""
    spec = YoloBoxes(type="yolo", strides=(8, 16))
    out = np.zeros((2, 40, 6), np.float32)
    out[1, row] = 0.25, -0.5, np.log(2), np.log(3), 1, 1
    nothing, (boxes, _) = decode_boxes([out], spec, NET)
    stride, x, y = (8, row % 8, row // 8) if row < 32 else (16, (row - 32) % 4, (row - 32) // 4)
    cx, cy, w, h = (x + 0.25) * stride, (y - 0.5) * stride, 2 * stride, 3 * stride
    np.testing.assert_allclose(boxes, [[cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]], rtol=1e-5)
    assert nothing[0].shape == (0, 4) and nothing[1].shape == (0,)


def test_end_to_end_padding_and_other_classes_are_left_out() -> None:
    dets = rows((1, 2, 3, 4, 0.5), (5, 6, 7, 8, 0.9), (5, 6, 7, 9, 0.8), (0, 0, 0, 0, 0))
    labels = np.asarray([[0, 0, 3, -1]])
    ((boxes, scores),) = decode_boxes([dets, labels], EndToEndBoxes(type="end2end"), NET)
    np.testing.assert_allclose(scores, [0.9, 0.5])
    np.testing.assert_allclose(boxes, [[5, 6, 7, 8], [1, 2, 3, 4]])


@pytest.mark.parametrize(
    "outputs",
    [
        [np.zeros((1, 4, 5))],
        [np.zeros((1, 4, 5)), np.zeros((1, 4, 1, 1))],
        [np.zeros((1, 4, 5)), np.zeros((1, 3))],
        [np.zeros((1, 4, 6)), np.zeros((1, 4))],
        [np.zeros((1, 4)), np.zeros((1, 4, 5))],
    ],
)
def test_end_to_end_outputs_of_other_shapes(outputs: list[np.ndarray]) -> None:
    with pytest.raises(ExpertError, match=r"expected boxes \(B, N, 5\) and labels \(B, N\), got"):
        decode_boxes(outputs, EndToEndBoxes(type="end2end"), NET)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(1, 84), (1, 3, 4), (1, 3, 9, 9)])
def test_yolo_outputs_of_other_shapes(shape: tuple[int, ...], transposed: bool) -> None:
    spec = YoloBoxes(type="yolo", person_class=4, transposed=transposed)
    with pytest.raises(ExpertError, match="expected YOLO rows"):
        decode_boxes([np.zeros(shape)], spec, NET)


def test_one_stage_people_best_first_without_duplicates() -> None:
    card = make_card(kind="one-stage", input={"fit": "letterbox"}, decoder={"type": "one-stage"})
    assert card.decoder.type == "one-stage"
    dets = rows((0, 0, 10, 10, 0.4), (0, 0, 10, 11, 0.8), (20, 0, 30, 10, 0.6), (50, 50, 60, 60, 0.1))
    joints = np.arange(4 * 17 * 3, dtype=np.float32).reshape(1, 4, 17, 3)
    ((boxes, scores, points, raw),) = one_stage([dets, joints], card.decoder, 17)
    np.testing.assert_allclose(scores, [0.8, 0.6])
    np.testing.assert_array_equal(boxes, dets[0, [1, 2], :4])
    np.testing.assert_array_equal(points, joints[0, [1, 2], :, :2])
    np.testing.assert_array_equal(raw, joints[0, [1, 2], :, 2])
    with pytest.raises(ExpertError, match="expected boxes"):
        one_stage([dets, joints[:, :3]], card.decoder, 17)
