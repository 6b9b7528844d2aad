"""The curves of a run: points of the loss by step, figures by epoch, as a table and to the loggers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

CURVES_FILE = "curves.csv"
COLUMNS = ("epoch", "step", "lr", "loss", "train_loss", "train_top1", "val_loss", "val_top1")
"""One row per point: ``loss`` and ``lr`` of one step, or the other figures of a whole epoch."""


Listener = Callable[[int, dict[str, float]], None]
"""Told of every finished epoch: its number from 0, and its figures by the names of `COLUMNS`."""


class Curves(pl.Callback):
    """Keeps the points, writes ``curves.csv`` after every epoch, passes figures on.

    The points are part of every checkpoint, so that a resumed run has the curve of an uninterrupted one.

    Args:
        folder: Of the run.
        every: Steps between points of the loss.
        tell: Called in the main process after every epoch.
    """

    def __init__(self, folder: Path, *, every: int, tell: Listener) -> None:
        self._path = folder / CURVES_FILE
        self._every = every
        self._tell = tell
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The points so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from these points."""
        self.rows = list(state_dict["rows"])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What the checkpoint knows, the loggers have on disk: a kill after this leaves no gap."""
        for logger in trainer.loggers:
            logger.save()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A point of the loss; a step is told by its last pass."""
        if trainer.fit_loop._should_accumulate() or (trainer.global_step - 1) % self._every:
            return
        loss = trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean").item()
        self._add(trainer, {"lr": self._lr, "loss": loss * trainer.accumulate_grad_batches})

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        """The rate of this step, before the schedule moves on."""
        self._lr = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Figures of the epoch, which the module has worked out; none of one that was stopped within."""
        if not trainer.is_last_batch:
            if trainer.is_global_zero:
                self._write()
            return
        pl_module.close_epoch()
        figures: dict[str, float] = pl_module.figures
        self._add(trainer, figures)
        if trainer.is_global_zero:
            self._write()
            self._tell(trainer.current_epoch, {"lr": self._lr, **figures})

    def _add(self, trainer: pl.Trainer, figures: dict[str, float]) -> None:
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **figures})
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(text.getvalue(), encoding="utf-8")
        temporary.replace(self._path)


def read_curves(folder: Path) -> list[dict[str, float]]:
    """The points of a run, without the empty cells."""
    with (folder / CURVES_FILE).open(encoding="utf-8", newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
