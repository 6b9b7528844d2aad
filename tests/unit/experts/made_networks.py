"""Small ONNX networks that really see: they find coloured discs and bars, so whole paths can be proven.

Joint k is a disc of colour `COLOURS`[k]; a network's heatmap k answers to that colour alone. Persons for
detectors are bars in pure red, green or blue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skelkit.experts.cards import Card
from skelkit.experts.engine import Device
from skelkit.experts.onnx import OnnxDetector, TopDownExpert, WholeFrameExpert, build
from skelkit.structures import Detections, FrameBatch

CPU = Device(kind="cpu", threads=2)


def octant(count: int) -> np.ndarray:
    """(count, 3) unit vectors of positive numbers, far from each other (Fibonacci points of an octant)."""
    many = np.arange(8 * count) + 0.5
    z = 1 - 2 * many / (8 * count)
    angle = np.pi * (1 + 5**0.5) * many
    points = np.stack([np.cos(angle) * np.sqrt(1 - z**2), np.sin(angle) * np.sqrt(1 - z**2), z], axis=1)
    inside = points[(points > 0).all(axis=1)]
    return inside[:count] if len(inside) >= count else octant(count + 1)[:count]


DIRECTIONS = octant(20)
COLOURS = np.round(250 * DIRECTIONS / DIRECTIONS.max(axis=1, keepdims=True)).astype(np.uint8)


class Graph:
    """A network under construction: every method adds a node and gives the name of its result."""

    def __init__(self, shape: list[int | str], dtype: type = np.float32) -> None:
        kind = TensorProto.UINT8 if dtype is np.uint8 else TensorProto.FLOAT
        self.input = helper.make_tensor_value_info("picture", kind, shape)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(self, kind: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        names = [i if isinstance(i, str) else self.const(i) for i in inputs]
        out = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [out], **attributes))
        return out

    def const(self, value: np.ndarray) -> str:
        name = f"const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def save(self, path: Path, *outputs: str) -> Path:
        results = [helper.make_empty_tensor_value_info(o) for o in outputs]
        graph = helper.make_graph(self.nodes, "made", [self.input], results, initializer=self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, str(path))
        return path


def f32(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def i64(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def pixels(graph: Graph, card: Card) -> str:
    """The input as RGB, NCHW, 0..1, whatever the card says: undoes layout, order and normalisation."""
    x = graph.op("Cast", "picture", to=TensorProto.FLOAT)
    if card.input.layout == "NHWC":
        x = graph.op("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.op("Mul", x, f32(*card.input.std).reshape(1, 3, 1, 1))
    x = graph.op("Add", x, f32(*card.input.mean).reshape(1, 3, 1, 1))
    if card.input.channels == "BGR":
        x = graph.op("Gather", x, i64(2, 1, 0), axis=1)
    return graph.op("Mul", x, f32(1 / 255))


def disc_maps(graph: Graph, rgb: str, joints: int, sigma: float = 2.0) -> str:
    """(B, joints, h, w): a smooth hill on the disc of each joint's colour, 0 elsewhere."""
    directions = DIRECTIONS[:joints].astype(np.float32)
    # cosine to each joint's colour, for pixels of some brightness; black stays at 0
    squares = graph.op("ReduceSum", graph.op("Mul", rgb, rgb), i64(1), keepdims=1)
    along = graph.op("Conv", rgb, directions.reshape(joints, 3, 1, 1))
    cosine = graph.op("Div", along, graph.op("Add", graph.op("Sqrt", squares), f32(0.02)))
    nearest = np.sort(directions @ directions.T, axis=1)[:, -2].max()
    limit = float(nearest + 1) / 2 - 0.012  # half-way to the most similar colour; rounding to bytes
    near = graph.op(
        "Clip", graph.op("Mul", graph.op("Sub", cosine, f32(limit)), f32(1e3)), f32(0)[0], f32(1)[0]
    )
    radius = round(3 * sigma)
    t = np.arange(-radius, radius + 1)
    bell = np.exp(-(t**2) / (2 * sigma**2))
    kernel = np.outer(bell, bell) / bell.sum() ** 2
    kernel = np.tile(kernel[None, None], (joints, 1, 1, 1)).astype(np.float32)
    return graph.op("Conv", near, kernel, group=joints, pads=[radius] * 4)


def bar_boxes(graph: Graph, rgb: str, card: Card) -> tuple[str, str]:
    """(B, 3, 4) centre and size in pixels of the red, green and blue bar; (B, 3, 1) whether it is there."""
    mask = graph.op("Clip", graph.op("Mul", graph.op("Sub", rgb, f32(0.6)), f32(1e3)), f32(0)[0], f32(1)[0])
    # 0.6: the grey of a letterbox's border (114) is below it
    parts = []
    for axis, length in ((2, card.input.width), (3, card.input.height)):
        profile = graph.op("ReduceMax", mask, axes=[axis], keepdims=0)  # (B, 3, length)
        size = graph.op("ReduceSum", profile, i64(2), keepdims=1)
        ramp = np.arange(length, dtype=np.float32).reshape(length, 1)
        total = graph.op("MatMul", profile, ramp)
        centre = graph.op("Div", total, graph.op("Max", size, f32(1e-3)))
        parts.append((centre, size))
    (cx, w), (cy, h) = parts
    there = graph.op("Clip", w, f32(0)[0], f32(1)[0])
    return graph.op("Concat", cx, cy, w, h, axis=2), there


def make_card(**changes: Any) -> Card:
    """A card for a made network; `changes` by section, merged into the defaults."""
    data: dict[str, Any] = {
        "name": "made",
        "kind": "top-down",
        "summary": "made by a test",
        "licence": "none",
        "source": "the tests",
        "verified": True,
        "joints": "coco17",
        "weights": {"file": "made.onnx"},
        "input": {"width": 48, "height": 64, "layout": "NCHW", "channels": "RGB", "fit": "crop"},
        "decoder": {"type": "heatmap", "layout": "NCHW"},
    }
    for key, value in changes.items():
        if key == "decoder":
            data[key] = value
        elif isinstance(value, dict):
            data[key] = {**data.get(key, {}), **value}
        elif value is None:
            data.pop(key)
        else:
            data[key] = value
    return Card.model_validate(data)


def write_card(folder: Path, card: Card) -> Path:
    """The card as a TOML file."""

    def toml(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items() if v is not None) + " }"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(toml(v) for v in value) + "]"
        if isinstance(value, bool):
            return str(value).lower()
        return repr(value) if isinstance(value, int | float) else f'"{value}"'

    lines = [f"{k} = {toml(v)}" for k, v in card.model_dump().items() if v is not None]
    path = folder / f"{card.name}.toml"
    path.write_text("\n".join(lines))
    return path


def built(
    folder: Path, card: Card, device: Device = CPU, batch_size: int = 16
) -> OnnxDetector | TopDownExpert | WholeFrameExpert:
    """The expert or detector of a card whose network lies in the folder."""
    expert = build(str(write_card(folder, card)), folder, device, batch_size)
    assert isinstance(expert, OnnxDetector | TopDownExpert | WholeFrameExpert)
    return expert


def batch(*images: np.ndarray, first: int = 0) -> FrameBatch:
    """Frames numbered from `first` in steps of 3."""
    count = len(images)
    return FrameBatch(
        images=np.stack(images),
        indices=first + 3 * np.arange(count, dtype=np.int64),
        pts_s=np.arange(count, dtype=np.float64),
    )


def people(frame_indices: list[int], boxes: list[tuple[float, float, float, float]]) -> Detections:
    return Detections(
        frame_indices=np.asarray(frame_indices, np.int64),
        boxes_xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
        box_scores=np.full(len(boxes), 0.9, np.float32),
    )


def draw_disc(image: np.ndarray, joint: int, x: float, y: float, radius: float) -> None:
    cv2.circle(image, (round(x), round(y)), round(radius), COLOURS[joint].tolist(), thickness=-1)
