"""One training run in a folder: begin, go on where it stopped, end."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from skelkit.errors import ConfigError
from skelkit.structures import ClipBatch
from skelkit.training.batches import EpochBatches
from skelkit.training.curves import Curves, Listener
from skelkit.training.module import ActionClassifier
from skelkit.training.recipe import Recipe
from skelkit.training.shared_norm import share_statistics
from skelkit.training.snapshots import CHECKPOINT_FILE, Snapshots, handlers_put_back

Collate = Callable[[list[Any]], ClipBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """On what; no part of the recipe."""

    accelerator: str = "auto"
    devices: int = 1
    """Per machine."""
    nodes: int = 1


ONE_DEVICE = Hardware()
"""A GPU where there is one, else the processor."""


class ClipDataset(Protocol):
    """`skelkit.data.SkeletonDataset`."""

    def __len__(self) -> int:
        """Clips."""
        ...

    def __getitem__(self, index: int) -> Any:
        """What `Collate` makes batches of."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Clips from now on are those of this epoch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """Some clips of a dataset, in batches."""

    dataset: ClipDataset
    numbers: Sequence[int]
    """Which of the dataset's clips."""
    collate: Collate
    batch_size: int
    workers: int = 0
    """Processes that prepare batches; 0 = this one."""

    def loader(self, batches: Iterable[list[int]] | None = None) -> DataLoader[Any]:
        """Batches of these numbers; None = all clips in their order."""
        if batches is None:
            at = range(0, len(self.numbers), self.batch_size)
            batches = [list(self.numbers[i : i + self.batch_size]) for i in at]
        return DataLoader(
            cast("Dataset[Any]", self.dataset),
            batch_sampler=cast("Sampler[list[int]]", batches),
            collate_fn=self.collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class ClipData(pl.LightningDataModule):
    """Batches of clips, from the one that follows the last one seen.

    Args:
        train: To learn from.
        validation: None = no validation.
        seed: Of the order.
        trainer: Knows which process this is, and how far the training has come.
    """

    def __init__(self, train: Clips, validation: Clips | None, *, seed: int, trainer: pl.Trainer) -> None:
        super().__init__()
        self._train = train
        self._validation = validation
        self._seed = seed
        self._of = trainer

    def batches(self, epoch: int = 0, skip: int = 0) -> EpochBatches:
        """The order of this process."""
        return EpochBatches(
            self._train.numbers,
            self._train.batch_size,
            seed=self._seed,
            epoch=epoch,
            skip=skip,
            rank=self._of.global_rank,
            world=self._of.world_size,
            begin=self._train.dataset.set_epoch,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Called once the progress of an interrupted run is known."""
        loop = self._of.fit_loop
        seen = loop.epoch_loop.batch_progress.current.ready
        # ``current_epoch`` is set right only later, when worker processes have begun with the wrong clips.
        epoch = loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return self._train.loader(self.batches(epoch, skip=seen % len(self.batches())))

    def val_dataloader(self) -> Any:
        """Every n-th clip for each of n processes."""
        if self._validation is None:
            return []
        mine = self._validation.numbers[self._of.global_rank :: self._of.world_size]
        return replace(self._validation, numbers=mine).loader()


def fit(
    network: nn.Module,
    head: nn.Module,
    recipe: Recipe,
    folder: Path,
    *,
    train: Clips,
    validation: Clips | None,
    hardware: Hardware = ONE_DEVICE,
    tell: Listener = lambda epoch, figures: None,
) -> bool | None:
    """Train a network in place, from the newest checkpoint in `folder` where there is one.

    Args:
        network: See `ActionClassifier`.
        head: See `ActionClassifier`.
        recipe: How.
        folder: Of the run: ``checkpoints/last.ckpt``, ``curves.csv``, ``tensorboard/``.
        train: See `ClipData`.
        validation: See `ClipData`.
        hardware: On what.
        tell: Called after every epoch.

    Returns:
        Whether the training has reached its end; False where it was asked to stop before; None in all
        processes but the first.
    """
    settings = recipe.training
    snapshots = Snapshots(folder)
    callbacks: list[pl.Callback] = [Curves(folder, every=settings.log_every, tell=tell), snapshots]
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    if settings.compile:
        network.compile()
    checkpoint = folder / CHECKPOINT_FILE
    with _quiet(), handlers_put_back():
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
            logger=TensorBoardLogger(
                folder, name="tensorboard", version="", purge_step=_steps(checkpoint) + 1
            ),
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=settings.log_every,
            default_root_dir=folder,
            plugins=_slurm(hardware),
        )
        if trainer.world_size > 1:
            share_statistics(network)
        data = ClipData(train, validation, seed=settings.seed, trainer=trainer)
        steps = -(-len(data.batches()) // settings.accumulate)
        module = ActionClassifier(network, recipe, head=head, steps_per_epoch=steps)
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=checkpoint if checkpoint.exists() else None,
            weights_only=True,
        )
    if not trainer.is_global_zero:
        return None
    return not snapshots.stopped and trainer.current_epoch >= settings.epochs


def _slurm(hardware: Hardware) -> list[Any] | None:
    """What tells processes that srun started of each other; None outside of Slurm.

    Raises:
        ConfigError: there are not as many as are wanted.
    """
    if not SLURMEnvironment.detect():
        return None
    tasks, wanted = os.environ["SLURM_NTASKS"], hardware.devices * hardware.nodes
    per_node = os.environ.get("SLURM_NTASKS_PER_NODE", "1" if tasks == "1" else "none")
    if (tasks, per_node) != (str(wanted), str(hardware.devices)):
        raise ConfigError(
            f"expected a Slurm job of {hardware.nodes} x {hardware.devices} tasks, as --nodes and --devices "
            f"say, got {tasks} in all and {per_node} per node; give sbatch and srun --nodes={hardware.nodes} "
            f"--ntasks-per-node={hardware.devices}"
        )
    return [SLURMEnvironment(auto_requeue=False)]


def _steps(checkpoint: Path) -> int:
    """Steps taken before it; what a killed run has told TensorBoard of later ones will come again."""
    if not checkpoint.exists():
        return -1
    return int(torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["global_step"])


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
