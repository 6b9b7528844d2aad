"""Work for processes on devices that fail in one way or another; on its own, so that they load fast."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skelkit.errors import DeviceLostError, ExpertError

KILLER = 77
"""A task that kills whoever works on it."""


def make_job(device: str, fault: str) -> Callable[[int, Callable[[Any], None]], Any]:
    """A worker; `fault` says what is wrong with its device, or is a file it waits for."""
    if fault == "dead":
        os.kill(os.getpid(), signal.SIGKILL)

    def job(task: int, send: Callable[[Any], None]) -> tuple[str, int]:
        if fault == "raises" or (fault == "late" and task >= 3):
            raise DeviceLostError("CUDA error: unspecified launch failure")
        if fault == "killed" or task == KILLER:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "wrong":
            raise ExpertError("no such expert")
        while fault.startswith("/") and not Path(fault).exists():
            time.sleep(0.01)
        return device, task

    return job
