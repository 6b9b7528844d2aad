"""What Lightning trains: a network, its loss, its optimizer, its figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from skelkit.structures import ClipBatch
from skelkit.training.batches import mixed_seed
from skelkit.training.recipe import Recipe
from skelkit.training.schedule import rate


class Sums:
    """Loss and hits over an epoch; survives a resume."""

    def __init__(self) -> None:
        self.values = torch.zeros(3, dtype=torch.float64)
        """Sum of the loss, hits, clips."""

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch; waits for no device."""
        count = len(labels)
        hits = (logits.detach().argmax(dim=1) == labels).sum().double()
        counts = torch.stack([loss.detach().double() * count, hits, torch.full_like(hits, count)])
        self.values = self.values.to(counts.device) + counts

    def means(self, reduce: Any) -> tuple[float, float]:
        """Loss and top-1 over all processes; counting starts anew."""
        loss, hits, clips = reduce(self.values).tolist()
        self.values = torch.zeros_like(self.values)
        return (loss / clips, hits / clips) if clips else (float("nan"), float("nan"))


class ActionClassifier(pl.LightningModule):
    """A network that learns to tell actions by a recipe.

    Figures of an epoch are in `figures` once it has ended: ``train_loss``, ``train_top1``, and ``val_loss``,
    ``val_top1`` where there is a validation part.

    Args:
        network: ``network(keypoints)`` gives logits (B, classes).
        recipe: How.
        head: The classifier within `network`: all that learns in a linear evaluation.
        steps_per_epoch: Steps of the optimizer.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, *, head: nn.Module, steps_per_epoch: int) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.figures: dict[str, float] = {}
        self._sums = {"train": Sums(), "val": Sums()}
        self._head = [head]  # in a list, so that it is not registered twice
        if recipe.start.linear:
            network.requires_grad_(False)
            head.requires_grad_(True)

    def train(self, mode: bool = True) -> ActionClassifier:
        """As of any module; in a linear evaluation all but the classifier stays in evaluation mode."""
        super().train(mode)
        if mode and self.recipe.start.linear:
            self.network.eval()
            self._head[0].train()
        return self

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits (B, classes)."""
        logits: Tensor = self.network(batch.keypoints)  # 0 where there is no joint; filled-in joints count
        return logits

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        if not (alpha := self.recipe.augment.mixup):
            return self._loss("train", batch)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        share = max(share, 1 - share)  # so that the labels of the batch are those that count as hits
        other = torch.randperm(len(batch.labels)).to(batch.labels.device)
        mixed = torch.lerp(batch.keypoints[other], batch.keypoints, share)
        return self._loss("train", replace(batch, keypoints=mixed), (share, batch.labels[other]))

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Count a batch."""
        self._loss("val", batch)

    def configure_optimizers(self) -> Any:
        """SGD; the rate follows `schedule.rate`, step by step."""
        settings = self.recipe.optimizer
        optimizer = torch.optim.SGD(
            [p for p in self.parameters() if p.requires_grad],
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: rate(
                settings, step=step, steps_per_epoch=self.steps_per_epoch, epochs=self.recipe.training.epochs
            ),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Lightning sets every module to train mode before this in its own way."""
        self.train()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Every batch draws from a seed of its own, so that a resumed run draws the same."""
        torch.manual_seed(
            mixed_seed(self.recipe.training.seed, self.current_epoch, batch_idx, self.global_rank)
        )

    def close_epoch(self) -> None:
        """Work out the figures of the epoch. (Lightning's own hook comes after those of the callbacks.)"""
        loss, top1 = self._sums["train"].means(self._over_processes)
        self.figures |= {"train_loss": loss, "train_top1": top1}

    def on_validation_epoch_end(self) -> None:
        """Figures of the epoch."""
        loss, top1 = self._sums["val"].means(self._over_processes)
        self.figures |= {"val_loss": loss, "val_top1": top1}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What an epoch has counted so far."""
        checkpoint["sums"] = self._over_processes(self._sums["train"].values).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Inverse of `on_save_checkpoint`."""
        if self.global_rank == 0:  # the sum over all processes
            self._sums["train"].values = checkpoint["sums"]

    def transfer_batch_to_device(
        self, batch: ClipBatch, device: torch.device, dataloader_idx: int
    ) -> ClipBatch:
        """Lightning cannot move frozen dataclasses by itself."""
        return batch.to(device, non_blocking=True)

    def _loss(self, part: str, batch: ClipBatch, mixed: tuple[float, Tensor] | None = None) -> Tensor:
        """Of a batch; `mixed`: the share that it has in its clips, and the labels of the rest."""
        logits = self(batch)
        smoothing = self.recipe.optimizer.label_smoothing if part == "train" else 0.0
        loss = functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        if mixed is not None:
            rest = functional.cross_entropy(logits, mixed[1], label_smoothing=smoothing)
            loss = torch.lerp(rest, loss, mixed[0])
        self._sums[part].add(loss, logits, batch.labels)
        return loss

    def _over_processes(self, values: Tensor) -> Tensor:
        reduced = self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum")
        return torch.as_tensor(reduced)
