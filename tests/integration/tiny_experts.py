"""Networks small enough to make in a test, that really look at the picture: they find bright blobs.

Each is an ONNX file with a card beside it, so that `skelkit extract --experts CARD.toml` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SIDE, _POOL, _STEP = 64, 16, 4
"""Input of the networks that see whole frames; every blob is `_POOL` pixels wide there."""
_CROP, _MAP = 32, 15
"""Input and heatmaps of the top-down networks."""
TOO_BRIGHT = 255
"""A blob of this brightness makes the network `fragile` fail; the others are of 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """Paths of cards, for the command line."""

    blobs: str
    """Detector: a box around every blob."""
    heat: str
    """Top-down, 17 joints as heatmaps."""
    grid: str
    """One-stage, 18 joints; needs no detector."""
    fragile: str
    """`heat`, but it fails on a blob that is `TOO_BRIGHT`."""


def make_cards(folder: Path) -> Cards:
    """Write all networks and their cards."""
    return Cards(
        blobs=_blobs(folder), heat=_heat(folder, "heat"), grid=_grid(folder), fragile=_heat(folder, "fragile")
    )


def _blobs(folder: Path) -> str:
    centres = _centres()
    rows = np.concatenate([centres, np.full_like(centres, _POOL)], axis=1)[None]  # (1, N, 4) x, y, w, h
    nodes = [*_brightness(), *_spread("rows", "boxes"), _node("Concat", ["boxes", "score"], "out", axis=2)]
    _save(folder / "blobs.onnx", nodes, {"rows": rows}, [("out", 2)], side=_SIDE)
    decoder = 'type = "yolo"\nobjectness = false\nmin_score = 0.3\nnms_iou = 0.1'
    return _card(folder, "blobs", "detector", decoder, fit="letterbox", side=_SIDE)


def _grid(folder: Path) -> str:
    centres = _centres()
    corners = np.concatenate([centres - _POOL / 2, centres + _POOL / 2], axis=1)[None]
    joints = centres[None, :, None] + 5 * _directions(18)[None, None]  # (1, N, 18, 2)
    nodes = [
        *_brightness(),
        *_spread("corners", "boxes"),
        _node("Concat", ["boxes", "score"], "out", axis=2),
        _node("Unsqueeze", ["score", "last"], "joint_score"),  # (B, N, 1, 1)
        _node("Mul", ["joint_score", "zero"], "nothing_here"),
        _node("Add", ["nothing_here", "joints"], "places"),
        _node("Add", ["joint_score", "zeros18"], "scores18"),
        _node("Concat", ["places", "scores18"], "people", axis=3),
    ]
    constants = {
        "corners": corners,
        "joints": joints,
        "zeros18": np.zeros((1, 1, 18, 1)),
        "last": np.array([3], np.int64),
    }
    _save(folder / "grid.onnx", nodes, constants, [("out", 2), ("people", 3)], side=_SIDE)
    decoder = 'type = "one-stage"\nmin_score = 0.3\nnms_iou = 0.1'
    return _card(folder, "grid", "one-stage", decoder, fit="letterbox", side=_SIDE, joints="openpose18")


def _heat(folder: Path, name: str) -> str:
    y, x = np.mgrid[:_MAP, :_MAP]
    peaks = (_MAP - 1) / 2 + 4 * _directions(17)
    distance = (x - peaks[:, 0, None, None]) ** 2 + (y - peaks[:, 1, None, None]) ** 2
    constants = {"template": np.exp(-distance / 4)[None]}  # (1, 17, h, w)
    nodes = [
        _node("ReduceMean", ["input"], "grey", axes=[1], keepdims=1),
        _node("AveragePool", ["grey"], "pooled", kernel_shape=[4, 4], strides=[2, 2]),
        _node("Mul", ["pooled", "byte"], "light"),
        _node("Mul", ["light", "template"], "maps"),
    ]
    if name == "fragile":  # looks its factor up under index 1 where the picture is too bright: there is none
        constants |= {"limit": np.array(1 / 240), "factors": np.ones(1)}
        nodes += [
            _node("ReduceMax", ["input"], "brightest", keepdims=0),
            _node("Mul", ["brightest", "limit"], "part"),
            _node("Cast", ["part"], "index", to=TensorProto.INT64),
            _node("Gather", ["factors", "index"], "factor"),
            _node("Mul", ["maps", "factor"], "out"),
        ]
    else:
        nodes.append(_node("Identity", ["maps"], "out"))
    _save(folder / f"{name}.onnx", nodes, constants, [("out", 3)], side=_CROP)
    decoder = 'type = "heatmap"\nlayout = "NCHW"\noffset = 0.5'
    return _card(folder, name, "top-down", decoder, fit="crop", side=_CROP, joints="coco17")


def _centres() -> np.ndarray:
    """(N, 2) centres of the pooling windows, row by row."""
    steps = np.arange(0, _SIDE - _POOL + 1, _STEP) + _POOL / 2
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _directions(count: int) -> np.ndarray:
    """(count, 2) points on the unit circle."""
    angle = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _brightness() -> list[onnx.NodeProto]:
    """input (B, 3, side, side) -> score (B, N, 1) in [0, 1]: the mean brightness of every window."""
    return [
        _node("ReduceMean", ["input"], "grey", axes=[1], keepdims=1),
        _node("AveragePool", ["grey"], "pooled", kernel_shape=[_POOL] * 2, strides=[_STEP] * 2),
        _node("Mul", ["pooled", "byte"], "light"),
        _node("Reshape", ["light", "as_rows"], "score"),
    ]


def _spread(constant: str, name: str) -> list[onnx.NodeProto]:
    """A constant (1, N, C) once for every picture of the batch."""
    return [_node("Mul", ["score", "zero"], "nothing"), _node("Add", ["nothing", constant], name)]


def _node(kind: str, inputs: list[str], output: str, **options: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **options)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    outputs: list[tuple[str, int]],
    *,
    side: int,
) -> None:
    known = {"byte": np.array(1 / 255), "zero": np.array(0.0), "as_rows": np.array([0, -1, 1], np.int64)}
    used = {name for node in nodes for name in node.input}
    tensors = [
        numpy_helper.from_array(v if v.dtype == np.int64 else v.astype(np.float32), n)
        for n, v in (known | constants).items()
        if n in used
    ]
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, side, side])],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *"abc"[:rank]])
            for n, rank in outputs
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _card(
    folder: Path, name: str, kind: str, decoder: str, *, fit: str, side: int, joints: str | None = None
) -> str:
    path = folder / f"{name}.toml"
    path.write_text(
        f"""
name = "{name}"
kind = "{kind}"
summary = "made by a test"
licence = "Apache-2.0"
source = "made by a test"
verified = false
{f'joints = "{joints}"' if joints else ""}

[weights]
file = "{name}.onnx"

[input]
width = {side}
height = {side}
layout = "NCHW"
channels = "RGB"
fit = "{fit}"

[decoder]
{decoder}
"""
    )
    return str(path)
