"""LCR-Net++ (Rogez, Weinzaepfel and Schmid 2019) in 2-D: the student of SSTA-PRS (thesis, section 3.3.3).

lcrnet:work/student.safetensors    a network that `skelkit self-train` wrote
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from skelkit.experts.engine import Device
from skelkit.protocols import PoseExpert

_CPU_FRAMES = 2
"""Frames per run on a CPU."""


def describe(name: str, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What shapes this network's results, ready for JSON.

    Raises:
        WeightsError: no such file, or none of ours.
    """
    from skelkit.experts.lcrnet.files import load_network

    path = _path(name, weights)
    network, skeleton, facts = load_network(path)
    return {
        "name": path.stem,
        "kind": "one-stage",
        "joints": skeleton.name,
        "anchor_poses": network.num_anchors,
        "backbone": network.backbone_name,
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "facts": facts,
    }


def build(name: str, weights: str | os.PathLike[str] | None, device: Device, batch_size: int) -> PoseExpert:
    """The network, loaded and ready.

    Args:
        name: Path of its file.
        weights: Folder in which to look for it first.
        device: Where it runs.
        batch_size: Frames per run on a GPU.

    Raises:
        WeightsError: no such file, or none of ours.
    """
    from skelkit.experts.device_frames import runners, torch_device
    from skelkit.experts.lcrnet.expert import LCRNetExpert
    from skelkit.experts.lcrnet.files import load_network

    path = _path(name, weights)
    network, skeleton, facts = load_network(path)
    where = torch_device(device)
    return LCRNetExpert(
        path.stem,
        network,
        skeleton,
        side=facts["side"],
        device=where,
        pool=runners(device),
        batch_size=_CPU_FRAMES if where.type == "cpu" else batch_size,
    )


def _path(name: str, weights: str | os.PathLike[str] | None) -> Path:
    inside = Path(weights) / name if weights is not None else Path(name)
    return inside if inside.is_file() else Path(name)
