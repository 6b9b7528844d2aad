"""FrameBatch -> Poses: detectors and pose experts.

An expert is named ``family:name``; without a family it is a card (``skelkit.experts.cards``) run in ONNX
Runtime. A family is a module with `describe` and `build`, as in ``skelkit.experts.onnx``; other packages
add theirs through entry points in the group ``skelkit.experts``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from skelkit.errors import ConfigError
from skelkit.experts.engine import Device, choose_device
from skelkit.protocols import Detector, PoseExpert
from skelkit.registry import Registry
from skelkit.structures import FrameBatch

FAMILIES = Registry(
    "experts",
    {
        "builtin": "skelkit.experts.builtin",
        "lcrnet": "skelkit.experts.lcrnet",
        "onnx": "skelkit.experts.onnx",
        "mmpose": "skelkit.experts.openmmlab.poses",
        "mmdet": "skelkit.experts.openmmlab.detectors",
        "torchvision": "skelkit.experts.torchvision_models",
    },
)

__all__ = [
    "FAMILIES",
    "Device",
    "build_detector",
    "build_expert",
    "choose_device",
    "describe",
    "on_their_way",
]


def describe(name: str, weights: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What shapes this expert's or detector's results, ready for JSON, without loading the network.

    Raises:
        ConfigError: unknown name.
        WeightsError: its weights are not to be had.
    """
    family, own_name = _family(name)
    return dict(family.describe(own_name, weights))


def build_detector(
    name: str, *, device: Device, weights: str | os.PathLike[str] | None = None, batch_size: int = 16
) -> Detector:
    """A person detector by name.

    Raises:
        ConfigError: unknown name, or the name of a pose expert.
    """
    built = _build(name, weights, device, batch_size)
    if not isinstance(built, Detector):
        raise ConfigError(f"expected a detector, {name!r} is a pose expert; see `skelkit experts list`")
    return built


def build_expert(
    name: str, *, device: Device, weights: str | os.PathLike[str] | None = None, batch_size: int = 16
) -> PoseExpert:
    """A pose expert by name.

    Args:
        name: Card name, path of a card (``.toml``), or ``family:name``.
        device: Where it runs.
        weights: Folder (or file) to look for its weights in first.
        batch_size: Items per run on a GPU.

    Raises:
        ConfigError: unknown name, or the name of a detector.
        WeightsError: its weights are not to be had.
        ExpertError: the network does not load.
    """
    built = _build(name, weights, device, batch_size)
    if not isinstance(built, PoseExpert):
        raise ConfigError(f"expected a pose expert, {name!r} is a detector: name it with --detector")
    return built


def on_their_way(batches: Iterator[FrameBatch], device: Device) -> Iterator[FrameBatch]:
    """Decoded batches, whose copy to the device begins as they pass: networks find them there."""
    if device.kind == "cpu":
        yield from batches
        return
    from skelkit.experts.device_frames import stage, torch_device

    for batch in batches:
        stage(batch.images, torch_device(device))
        yield batch


def _build(name: str, weights: str | os.PathLike[str] | None, device: Device, batch_size: int) -> Any:
    family, own_name = _family(name)
    return family.build(own_name, weights, device, batch_size)


def _family(name: str) -> tuple[Any, str]:
    family, colon, own_name = name.partition(":")
    if not colon or (name.endswith(".toml") and family not in FAMILIES.names()):  # a path with a colon
        family, own_name = "onnx", name
    return FAMILIES.load(family), own_name
