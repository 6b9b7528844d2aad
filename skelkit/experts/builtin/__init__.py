"""Experts that work with nothing downloaded: small networks of our own, their weights in the package.

    builtin:pose     poses in person crops (top-down)
    builtin:people   people and their poses in whole frames (one-stage); also serves as the person detector

Beside each ``weights/NAME.safetensors`` lies ``NAME.json``: the card it runs by, how it was trained, and what
was measured. `skelkit.pipelines.train_builtin` makes both.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skelkit.errors import ConfigError
from skelkit.experts.cards import Card
from skelkit.experts.engine import Device
from skelkit.experts.onnx import TopDownExpert, WholeFrameExpert
from skelkit.experts.weights import Progress, WeightsFile, ensure_weights
from skelkit.protocols import PoseExpert
from skelkit.registry import unknown
from skelkit.structures import Detections, FrameBatch

if TYPE_CHECKING:  # importing torch takes seconds
    from torch import Tensor

FOLDER = Path(str(files("skelkit.experts.builtin") / "weights"))
_CPU_CROPS, _CPU_FRAMES = 8, 1
"""Items per run on the CPU."""


def describe(name: str, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What shapes this network's results, ready for JSON: its card and the sha256 of its weights."""
    card = card_of(name)
    return {
        "name": card.name,
        "kind": card.kind,
        "weights_sha256": ensure_weights(card, weights).sha256,
        "card": card.model_dump(mode="json"),
    }


def build(name: str, weights: str | os.PathLike[str] | None, device: Device, batch_size: int) -> PoseExpert:
    """The network of this name, loaded and ready.

    Args:
        name: One of `names`.
        weights: Where to look for its file before the package.
        device: Where it runs.
        batch_size: Items per run on a GPU.
    """
    return build_from(card_of(name), device, weights, batch_size)


def build_from(
    card: Card,
    device: Device,
    weights: str | os.PathLike[str] | None = None,
    batch_size: int = 16,
) -> TopDownExpert | PeopleExpert:
    """The network of a card, which need not be one of the package's."""
    from skelkit.experts.builtin.engine import TorchEngine
    from skelkit.experts.builtin.networks import PeopleNet, PoseNet

    joints = card.skeleton.num_joints
    top_down = card.kind == "top-down"
    on_cpu = _CPU_CROPS if top_down else _CPU_FRAMES
    engine = TorchEngine(
        ensure_weights(card, weights).path,
        PoseNet(joints) if top_down else PeopleNet(joints),
        device,
        skeleton=card.skeleton,
        chunk=on_cpu if device.kind == "cpu" else batch_size,
    )
    return TopDownExpert(card, engine) if top_down else PeopleExpert(card, engine)


def names() -> list[str]:
    """The experts whose weights are in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def show(name: str) -> dict[str, Any]:
    """All that is written about an expert: its card, how it was trained, what was measured.

    Raises:
        ConfigError: no expert of this name.
    """
    if name not in names():
        raise ConfigError(unknown("built-in expert", name, names()))
    return dict(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def fetch(name: str, progress: Progress | None = None) -> WeightsFile:
    """Where an expert's weights are: nothing is downloaded."""
    return ensure_weights(card_of(name), progress=progress)


def weights_of(network: str, *, within: str) -> dict[str, Tensor]:
    """A part of a built-in network, for networks that begin with it, by parameter.

    Raises:
        ConfigError: no expert of this name.
    """
    from safetensors.torch import load_file

    every = load_file(fetch(network).path)
    return {name: value.float() for name, value in every.items() if name.startswith(f"{within}.")}


def card_of(name: str) -> Card:
    """The card of a built-in expert.

    Raises:
        ConfigError: no expert of this name.
    """
    return Card.model_validate(show(name)["card"]).beside(FOLDER)


class PeopleExpert(WholeFrameExpert):
    """Poses of everybody in the picture; their boxes alone make it a detector."""

    def detect(self, frames: FrameBatch) -> Detections:
        """Person boxes of all frames."""
        found = self.predict(frames)
        return Detections(
            frame_indices=found.frame_indices, boxes_xyxy=found.boxes_xyxy, box_scores=found.box_scores
        )
