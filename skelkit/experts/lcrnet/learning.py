"""Training of LCR-Net++: from labels, or from pseudo ground truth (thesis, equations 3.5 to 3.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from skelkit.errors import ConfigError
from skelkit.experts.lcrnet.network import LCRNet
from skelkit.experts.lcrnet.pictures import Pictures, together

LOSSES = ("localisation", "classification", "regression")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """How a student learns.

    Raises:
        ConfigError: a value outside its range.
    """

    weak: bool = False
    """Pseudo ground truth is too inexact for the regression: its loss is left out and its layer does not
    change, nor do the statistics of batch norms (equation 3.5)."""
    epochs: int = 12
    batch_size: int = 4
    lr: float = 1e-3
    """Highest learning rate of AdamW; it grows over the first twentieth and falls to 0 as a cosine."""
    weight_decay: float = 1e-4
    backbone: float = 1.0
    """Learning rate of the backbone as a share of that of the rest, for one that has learnt before. Below 1
    the statistics of its batch norms do not change; at 0 nothing of it does."""
    clip_norm: float = 5.0
    """Gradients longer than this are shortened to it."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check."""
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ConfigError(
                f"expected epochs and a batch size of at least 1 and a positive learning rate, got "
                f"{self.epochs}, {self.batch_size} and {self.lr}"
            )
        if not 0 <= self.backbone <= 1:
            raise ConfigError(f"backbone: expected a share of the learning rate, 0 to 1, got {self.backbone}")


def learn(
    network: LCRNet, pictures: Pictures, settings: LearningSettings, device: torch.device
) -> Iterator[dict[str, float]]:
    """Train a network in place.

    Args:
        network: A new one, or one to refine.
        pictures: What to learn from.
        settings: How.
        device: Where.

    Yields:
        After every epoch the mean of each loss, by name.
    """
    torch.manual_seed(settings.seed)
    network.to(device).requires_grad_(True)
    network.backbone.requires_grad_(settings.backbone > 0)
    network.regression.requires_grad_(not settings.weak)
    groups = _weights(network, settings)
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    chance = torch.Generator().manual_seed(settings.seed)
    loader = DataLoader(
        pictures,
        settings.batch_size,
        sampler=RandomSampler(pictures, generator=chance),
        collate_fn=together,
        drop_last=len(pictures) > settings.batch_size,
    )
    steps = settings.epochs * len(loader)
    highest = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, highest, total_steps=steps + 1, pct_start=0.05, cycle_momentum=False
    )
    names = LOSSES[:2] if settings.weak else LOSSES
    for epoch in range(settings.epochs):
        pictures.epoch = epoch
        network.train()
        if settings.weak or settings.backbone < 1:
            _keep_statistics(network)
        total = dict.fromkeys(names, 0.0)
        for batch, people in loader:
            on_it = [p.to(device) for p in people]
            losses = network.losses(batch.to(device, memory_format=torch.channels_last), on_it, chance)
            loss: Tensor = torch.stack([losses[name] for name in names]).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizer.step()
            schedule.step()
            for name in names:
                total[name] += losses[name].item() / len(loader)
        yield total
    network.eval()


def _weights(network: LCRNet, settings: LearningSettings) -> list[dict[str, Any]]:
    """What learns, and how fast."""
    groups: list[dict[str, Any]] = []
    for name, part in network.named_children():
        weights = [p for p in part.parameters() if p.requires_grad]
        share = settings.backbone if name == "backbone" else 1.0
        if weights:
            groups.append({"params": weights, "lr": settings.lr * share})
    return groups


def _keep_statistics(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
