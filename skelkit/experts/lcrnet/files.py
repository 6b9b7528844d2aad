"""A trained network as one file: safetensors, with what it was made with in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skelkit.errors import ConfigError, WeightsError
from skelkit.experts.lcrnet.network import LCRNet, settings, with_settings
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton

_FORMAT = "skelkit-lcrnet-1"


def save_network(path: Path, network: LCRNet, skeleton: Skeleton, facts: dict[str, Any]) -> None:
    """Write a network; the file is there whole, or not at all.

    Args:
        path: Ends in ``.safetensors``.
        network: On any device.
        skeleton: Of its poses.
        facts: What else is worth knowing of it: picture side, how it was trained. JSON.
    """
    about = {"format": _FORMAT, "skeleton": skeleton.to_dict(), "network": settings(network), "facts": facts}
    tensors = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(save(tensors, {"skelkit": json.dumps(about)}))
    unfinished.replace(path)


def load_network(path: Path) -> tuple[LCRNet, Skeleton, dict[str, Any]]:
    """The network, its joint set and the facts.

    Raises:
        WeightsError: the file is not there, or is none of ours.
    """
    if not path.is_file():
        raise WeightsError(
            f"expected weights of LCR-Net++ at {path}, found nothing; `skelkit self-train` writes them",
            path=path,
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["skelkit"])
            if about["format"] != _FORMAT:
                raise KeyError(about["format"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        skeleton = Skeleton.from_dict(about["skeleton"])
        network = with_settings(tensors["anchors"], about["network"])
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} is no LCR-Net++ that `skelkit self-train` wrote: {why}; public checkpoints are imported "
            "with `skelkit experts import`",
            path=path,
        ) from error
    return network, get_skeleton(skeleton.name) if _known(skeleton) else skeleton, dict(about["facts"])


def _known(skeleton: Skeleton) -> bool:
    try:
        return get_skeleton(skeleton.name) == skeleton
    except ConfigError:
        return False
