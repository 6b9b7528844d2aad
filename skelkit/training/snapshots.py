"""Checkpoints of a training: whole or not there, after every epoch and before the machine is taken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl

CHECKPOINT_FILE = "checkpoints/last.ckpt"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Snapshots(pl.Callback):
    """Keeps the newest checkpoint of a run, and stops it cleanly.

    On SIGINT, SIGTERM and SIGUSR1 the step at hand is finished, a checkpoint is written, and the run stops; a
    second SIGINT interrupts at once. On SIGUSR1, which Slurm sends some time before a job's end
    (``sbatch --signal=SIGUSR1@90``), the job is put back into the queue besides. (Lightning's own handler
    writes its checkpoint in the middle of whatever runs at that moment.)

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CHECKPOINT_FILE
        self._asked: int | None = None
        self.stopped = False
        """Whether the run has stopped before its end, on request."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, now that Lightning has set handlers of its own."""
        if _in_main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._hear)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a whole step where asked to."""
        if trainer.fit_loop._should_accumulate() or trainer.is_last_batch:  # then the epoch's end is near
            return
        if trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        if self.stopped:
            return
        if trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False):
            self._stop(trainer)
        else:
            self._save(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        self._save(trainer)
        self.stopped = True
        trainer.should_stop = True
        if trainer.is_global_zero and self._asked == signal.SIGUSR1:
            requeue(os.environ)

    def _save(self, trainer: pl.Trainer) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self._path)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def handlers_put_back() -> Iterator[None]:
    """After this, signals are handled as before, whatever Lightning and `Snapshots` have set."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def requeue(environment: Mapping[str, str]) -> bool:
    """Put the Slurm job that this is back into the queue; False where this is none."""
    job = environment.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"\d+(_\d+)?", job):
        return False
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
