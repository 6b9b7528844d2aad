"""Networks and clips small enough to be trained in a blink; no dataset on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skelkit.structures import ClipBatch
from skelkit.training import Clips, Recipe, read_recipe

CLASSES = 3


class TinyDataset:
    """Noise around one pose per class, another noise in every epoch."""

    def __init__(self, count: int = 22, joints: int = 5) -> None:
        self._count = count
        self._joints = joints
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = torch.Generator().manual_seed(1000 * int(self._epoch) + index)
        pose = torch.Generator().manual_seed(index % CLASSES)
        shape = self._joints, 2
        clip = torch.randn(1, 1, *shape, generator=pose) + torch.randn(1, 4, *shape, generator=noise)
        return clip, index % CLASSES


def collate(items: Sequence[tuple[Tensor, int]]) -> ClipBatch:
    keypoints = torch.stack([clip for clip, _ in items])
    labels = torch.tensor([label for _, label in items])
    return ClipBatch(
        keypoints=keypoints, visible=torch.ones(keypoints.shape[:-1], dtype=torch.bool), labels=labels
    )


def tiny_clips(*, workers: int = 0, count: int = 22, joints: int = 5) -> Clips:
    dataset = TinyDataset(count, joints)
    return Clips(dataset=dataset, numbers=range(count), collate=collate, batch_size=4, workers=workers)


class TinyNetwork(nn.Module):
    """With all that remembers or draws: batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, keypoints: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.body(keypoints.flatten(3).mean(dim=(1, 2))))
        return out


def fresh() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork()


def tiny_recipe(**parts: dict[str, Any]) -> Recipe:
    training = {"epochs": 4, "batch_size": 4, "log_every": 1} | parts.pop("training", {})
    optimizer = {"milestones": [2], "warmup_epochs": 1} | parts.pop("optimizer", {})
    recipe, problems = read_recipe({"training": training, "optimizer": optimizer, **parts})
    assert not problems, problems
    return recipe
