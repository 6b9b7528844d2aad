"""The networks there are, how large and how fast; public checkpoints as ours."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skelkit.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


BATCH = 8
"""Clips at once where speed is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One network."""

    name: str
    parameters: int
    gflops: float
    """10^9 floating-point operations of a clip."""
    clips_per_second: float | None
    """Measured in inference, batches of `BATCH`; None where it was not asked for."""
    measured_on: str
    """Device; empty where it was not asked for."""


def list_models(
    *, joints: str, frames: int, people: int, classes: int, device: str = "auto", measure: bool = False
) -> list[ModelRow]:
    """What a clip costs each network.

    Args:
        joints: Joint set.
        frames: T.
        people: M.
        classes: Of the classifier.
        device: Where speed is measured.
        measure: Whether to measure it.

    Raises:
        ConfigError: unknown joint set or size out of range.
    """
    import torch

    from skelkit.models import MODELS, build, cost
    from skelkit.training import choose_device

    if min(frames, people, classes) < 1:
        raise ConfigError(f"expected at least 1 frame, person, class, got {frames}, {people}, {classes}")
    rows = []
    for name in MODELS.names():
        model = build(name, {"skeleton": joints, "num_classes": classes, "num_people": people}).eval()
        found = cost(model, frames=frames)
        speed, place = None, ""
        if measure:
            where = choose_device(device)
            place = _place(where)
            clips = torch.zeros(
                BATCH,
                people,
                frames,
                model.config.skeleton.num_joints,
                model.config.in_channels,
                device=where,
            )
            model.to(where)
            speed = len(clips) / _seconds(model, clips)
        rows.append(
            ModelRow(
                name=name,
                parameters=found.parameters,
                gflops=found.gflops,
                clips_per_second=speed,
                measured_on=place,
            )
        )
    return rows


def import_model(
    kind: str, file: Path, output: Path, *, joints: str, people: int, classes: Path | None, overwrite: bool
) -> ModelRow:
    """A public checkpoint as a model's folder.

    Args:
        kind: Of `skelkit.models.IMPORTERS`.
        file: As ``torch.save`` wrote it.
        output: Folder to make.
        joints: Joint set it was trained on.
        people: M, where the weights do not tell.
        classes: A text file with a class name per line, in the order of the logits; None = not known.
        overwrite: Replace a model that is there.

    Raises:
        ConfigError: something is at `output`, or not as many names as classes.
        CheckpointError: not such a checkpoint.
    """
    from skelkit.models import cost, import_checkpoint, save

    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
    names: list[str] = []
    if classes is not None:
        try:
            lines = classes.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read class names from {classes}: {error}") from error
        names = [line.strip() for line in lines if line.strip()]
    model = import_checkpoint(kind, file, skeleton=joints, num_people=people)
    save(output, model, classes=names, recipe={"imported": kind, "file": file.name})
    found = cost(model)
    return ModelRow(
        name=model.name,
        parameters=found.parameters,
        gflops=found.gflops,
        clips_per_second=None,
        measured_on="",
    )


def _place(device: torch.device) -> str:
    """A device in words."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"the processor with {threads} thread{'' if threads == 1 else 's'}"


def _seconds(model: nn.Module, clips: Tensor) -> float:
    """Median time of a batch."""
    import torch

    times = []
    with torch.inference_mode():
        for _ in range(4):
            begin = time.perf_counter()
            model(clips).sum().item()  # waits for the device
            times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])
