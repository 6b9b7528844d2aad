"""The training loop of both networks: AdamW under a cosine, an average of the weights, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skelkit.errors import CheckpointError

_WARM_UP = 300
"""Steps over which the rate rises."""
_AVERAGE = 0.998
"""Decay of the average of the weights, once it has run in."""
_LAST_RATE = 0.01
"""Of the rate at the beginning."""
_MOST_GRADIENT = 5.0
"""Norm above which gradients are shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How long, how fast, and where the state is kept."""

    steps: int
    checkpoint: Path
    minutes: float = math.inf
    """Of training: where they do not suffice for the steps, the schedule is run through all the same."""
    rate: float = 2e-3
    weight_decay: float = 0.02
    every: int = 100
    """Steps between checkpoints, which is also how often progress is told."""

    def progress(self, step: int, seconds: float) -> float:
        """How much of the training is done; 1 or more: all of it."""
        return max(step / self.steps, seconds / 60 / self.minutes)

    def rate_at(self, step: int, progress: float) -> float:
        """Rises over the first steps, then falls along half a cosine."""
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.rate * min(1, (step + 1) / _WARM_UP) * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


Losses = Callable[[nn.Module, int, float], Mapping[str, Tensor]]
"""The parts of the loss of a network on the batch of a step, at which so much of the training is done."""
Told = Callable[[int, dict[str, float]], None]
"""Told the step and the means of the losses since the last time."""


def fit(network: nn.Module, losses: Losses, settings: Fit, told: Told) -> tuple[nn.Module, int]:
    """Train a network, or go on where its checkpoint stopped.

    Returns:
        The network with the average of its weights over the last steps, and how many there were.

    Raises:
        CheckpointError: the checkpoint is of another network.
    """
    network = network.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.weight_decay)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    step, before = _resume(settings.checkpoint, parts)
    averaged, trained = _floats(average), _floats(network)
    begin, sums, count = time.perf_counter(), dict[str, float](), 0
    while (done := settings.progress(step, before + time.perf_counter() - begin)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step, done)
        found = losses(network, step, done)
        optimizer.zero_grad()
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), _MOST_GRADIENT)
        optimizer.step()
        step, count = step + 1, count + 1
        with torch.no_grad():
            torch._foreach_lerp_(averaged, trained, 1 - min(_AVERAGE, step / (step + 29)))
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if count == settings.every:
            _keep(settings.checkpoint, parts, step, before + time.perf_counter() - begin)
            told(step, {"done": done} | {name: total / count for name, total in sums.items()})
            sums, count = {}, 0
    _keep(settings.checkpoint, parts, step, before + time.perf_counter() - begin)
    return average.eval(), step


def _floats(network: nn.Module) -> list[Tensor]:
    return [value for value in network.state_dict().values() if value.is_floating_point()]


def _keep(path: Path, parts: Mapping[str, Any], step: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    states = {name: thing.state_dict() for name, thing in parts.items()}
    torch.save(states | {"step": step, "seconds": seconds}, part)
    part.replace(path)


def _resume(path: Path, parts: Mapping[str, Any]) -> tuple[int, float]:
    """Steps and seconds done already."""
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, thing in parts.items():
            thing.load_state_dict(state[name])
        return int(state["step"]), float(state["seconds"])
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"expected the state of this training in {path}: {str(error).splitlines()[0]}; to begin anew, "
            "delete it",
            path=path,
        ) from error
