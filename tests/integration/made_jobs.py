"""Work that costs nothing, for workers of a cluster: each task ends as a file."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skelkit.errors import OutputError
from skelkit.pipelines.workers import Job


def make_writing(folder: Path, full: Path) -> Job:
    """Sleeps, then writes; ``poison`` kills its process; workers whose process `full` names have no disk."""

    def job(task: str, send: Callable[[Any], None]) -> dict[str, Any]:
        name, _, seconds = task.partition(":")
        with (folder / "begun").open("a") as file:
            file.write(f"{name}\n")
        (folder / f"by-{os.getpid()}").touch()
        send((1, 1))
        if full.exists() and str(os.getpid()) in full.read_text().split():
            raise OutputError(f"cannot write {folder / name}: the disk is full")
        time.sleep(float(seconds))
        if name.startswith("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        temporary = folder / f".{name}-{secrets.token_hex(4)}"
        temporary.write_text(name)
        temporary.replace(folder / name)
        return {"name": name, "pid": os.getpid()}

    return job
