"""Training of a network in which no clip depends on another, by `fit`.

As a script, ``python plain_training.py FOLDER DEVICES BATCH_SIZE``: Lightning starts it once more for each
further process.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_training import CLASSES, tiny_clips, tiny_recipe
from torch import Tensor, nn

from skelkit.training import Hardware, fit


class PlainNetwork(nn.Module):
    """What it makes of a clip depends on no other clip."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 8), nn.ReLU())
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, keypoints: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.body(keypoints.flatten(3).mean(dim=(1, 2))))
        return out


def train(folder: Path, *, devices: int = 1, batch_size: int = 8, accumulate: int = 1) -> PlainNetwork | None:
    """Three epochs of 24 clips; None in all processes but the first."""
    torch.manual_seed(0)
    network = PlainNetwork()
    done = fit(
        network,
        network.classifier,
        tiny_recipe(training={"epochs": 3, "accumulate": accumulate}),
        folder,
        train=replace(tiny_clips(count=24), batch_size=batch_size),
        validation=tiny_clips(count=9),
        hardware=Hardware(accelerator="cpu", devices=devices),
    )
    return network if done else None


if __name__ == "__main__":
    torch.set_num_threads(1)
    to = Path(sys.argv[1])
    trained = train(to, devices=int(sys.argv[2]), batch_size=int(sys.argv[3]))
    if trained is not None:
        save_file(trained.state_dict(), to / "weights.safetensors")
