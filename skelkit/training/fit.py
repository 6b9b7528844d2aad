"""One training run in a folder: begin, go on where it stopped, end."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from skelkit.training.batches import EpochBatches
from skelkit.training.curves import Curves, Listener
from skelkit.training.module import ActionClassifier, Batch
from skelkit.training.recipe import Recipe
from skelkit.training.snapshots import CHECKPOINT_FILE, Snapshots

Collate = Callable[[list[Any]], Batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """On what; no part of the recipe."""

    accelerator: str = "auto"
    devices: int = 1
    """Per machine."""
    nodes: int = 1


class ClipData(pl.LightningDataModule):
    """Batches of clips, from the one that follows the last one seen.

    Args:
        train: Of items that `collate` makes batches of; ``set_epoch`` is called where it has one.
        validation: None = no validation.
        collate: Items -> `Batch`.
        recipe: Batch size, seed, workers.
        trainer: Knows which process this is, and how far the training has come.
    """

    def __init__(
        self,
        train: Dataset[Any],
        validation: Dataset[Any] | None,
        collate: Collate,
        recipe: Recipe,
        trainer: pl.Trainer,
    ) -> None:
        super().__init__()
        self._pl_trainer = trainer
        self._train = train
        self._validation = validation
        self._collate = collate
        self._training = recipe.training

    def batches(self, epoch: int = 0, skip: int = 0) -> EpochBatches:
        """The order of this process."""
        return EpochBatches(
            len(self._train),  # type: ignore[arg-type]
            self._training.batch_size,
            seed=self._training.seed,
            epoch=epoch,
            skip=skip,
            rank=self._pl_trainer.global_rank,
            world=self._pl_trainer.world_size,
        )

    def train_dataloader(self) -> Any:
        """Called once the progress of an interrupted run is known."""
        loop = self._pl_trainer.fit_loop
        seen = loop.epoch_loop.batch_progress.current.ready
        # ``current_epoch`` is set right only later, when worker processes have begun with the wrong clips.
        epoch = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return self._loader(self._train, self.batches(epoch, skip=seen % len(self.batches())))

    def val_dataloader(self) -> Any:
        """Every n-th clip for each of n processes."""
        if self._validation is None:
            return []
        count, size = len(self._validation), self._training.batch_size  # type: ignore[arg-type]
        mine = range(self._pl_trainer.global_rank, count, self._pl_trainer.world_size)
        return self._loader(self._validation, [list(mine[i : i + size]) for i in range(0, len(mine), size)])

    def _loader(self, clips: Dataset[Any], batches: Any) -> DataLoader[Any]:
        workers = self._training.workers
        return DataLoader(
            clips,
            batch_sampler=batches,
            collate_fn=self._collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )


def fit(
    network: nn.Module,
    head: nn.Module,
    recipe: Recipe,
    folder: Path,
    *,
    train: Dataset[Any],
    validation: Dataset[Any] | None,
    collate: Collate,
    hardware: Hardware = Hardware(),
    tell: Listener = lambda epoch, figures: None,
) -> bool:
    """Train a network in place, from the newest checkpoint in `folder` where there is one.

    Args:
        network: See `ActionClassifier`.
        head: See `ActionClassifier`.
        recipe: How.
        folder: Of the run: ``checkpoints/last.ckpt``, ``curves.csv``, ``tensorboard/``.
        train: See `ClipData`.
        validation: See `ClipData`.
        collate: See `ClipData`.
        hardware: On what.
        tell: Called after every epoch.

    Returns:
        Whether the training has reached its end; False where it was asked to stop before.
    """
    settings = recipe.training
    snapshots = Snapshots(folder)
    callbacks: list[pl.Callback] = [Curves(folder, every=settings.log_every, tell=tell), snapshots]
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    if settings.compile:
        network.compile()
    checkpoint = folder / CHECKPOINT_FILE
    with _quiet():
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            precision=settings.precision,
            max_epochs=settings.epochs,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=recipe.optimizer.clip_norm or None,
            deterministic="warn",
            benchmark=False,
            callbacks=callbacks,
            logger=TensorBoardLogger(folder, name="tensorboard", version=""),
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=settings.log_every,
            default_root_dir=folder,
            plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
        )
        data = ClipData(train, validation, collate, recipe, trainer)
        steps = -(-len(data.batches()) // settings.accumulate)
        module = ActionClassifier(network, recipe, head=head, steps_per_epoch=steps)
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=checkpoint if checkpoint.exists() else None,
            weights_only=True,
        )
    return not snapshots.stopped and trainer.current_epoch >= settings.epochs


class _quiet:  # noqa: N801
    """Without Lightning's advice on hardware and workers, which is not the reader's concern."""

    def __enter__(self) -> None:
        self._loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings("ignore", module=r"torch\.")

    def __exit__(self, *error: object) -> None:
        self._warnings.__exit__(None, None, None)
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
