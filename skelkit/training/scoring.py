"""A network's probabilities for clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from skelkit.errors import ConfigError
from skelkit.structures import Float32
from skelkit.training.fit import Clips


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: no such device, or not on this machine.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    kind, colon, number = name.partition(":")
    if kind not in {"cpu", "cuda"} or (colon and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(f"expected a device among auto, cpu, cuda[:N]; got {name!r}")
    if kind == "cuda" and int(number or 0) >= gpus:
        raise ConfigError(f"expected one of the {gpus} GPUs that PyTorch finds here, got {name!r}; try cpu")
    return torch.device(name)


def probabilities(
    network: nn.Module,
    clips: Clips,
    *,
    device: torch.device,
    choices: int = 1,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Float32:
    """(N, classes) softmax scores, averaged over the choices of frames of each clip.

    Args:
        network: ``network(keypoints)`` gives logits.
        clips: N clips.
        device: Where to compute.
        choices: Rows of a batch that belong to one clip, next to each other (`ClipInput.test_clips`).
        show: Called with clips done and clips in all.
    """
    network = network.to(device).eval()
    parts: list[Float32] = []
    done = 0
    with torch.inference_mode():
        for batch in clips.loader():
            scores = network(batch.to(device).keypoints).softmax(dim=1)
            parts.append(scores.unflatten(0, (-1, choices)).mean(dim=1).float().cpu().numpy())
            done += len(parts[-1])
            show(done, len(clips.numbers))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
