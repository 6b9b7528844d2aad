"""A Dask cluster on this machine, piece by piece, so that pieces can be broken."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from command_line import environment, wait_until

real_cluster = pytest.mark.skipif(
    not os.environ.get("SKELKIT_TEST_CLUSTER"), reason="starts a real Dask cluster: make test-cluster"
)


@dataclass(slots=True)
class Dask:
    """A scheduler and its workers, each a process with a nanny."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_scheduler(self, port: int = 0) -> None:
        """Begin, or begin again."""
        found = self.folder / "scheduler.json"
        found.unlink(missing_ok=True)
        self._start(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
            "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(found),
        )  # fmt: skip
        wait_until(lambda: found.exists() and b'"address": "tcp' in found.read_bytes(), "the scheduler")
        self.address = next(
            line.split('"')[3] for line in found.read_text().splitlines() if '"address": "tcp' in line
        )

    def start_worker(self, prefix: Sequence[str] = ()) -> int:
        """A worker, one video at a time; the process that looks after it."""
        return self._start(
            "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-dashboard",
            "--memory-limit", "0", "--local-directory", str(self.folder), prefix=prefix,
        )  # fmt: skip

    def kill_scheduler(self) -> None:
        """At once."""
        self.processes[0].kill()
        self.processes.pop(0).wait()

    def worker_processes(self) -> list[int]:
        """Those that do the work."""
        groups = {process.pid for process in self.processes}
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and _group(entry) in groups and b"spawn_main" in _command(entry)
        ]

    def _start(self, module: str, *arguments: str, prefix: Sequence[str] = ()) -> int:
        with (self.folder / "dask.log").open("ab") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", module, *arguments],
                env=environment(PYTHONPATH=str(Path(__file__).parent)),  # of made_jobs
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process.pid

    def stop(self) -> None:
        """Everything, at once."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def dask_here(folder: Path, workers: int) -> Iterator[Dask]:
    """A cluster with so many workers, for as long as the block lasts."""
    folder.mkdir(exist_ok=True)
    dask = Dask(folder)
    try:
        dask.start_scheduler()
        for _ in range(workers):
            dask.start_worker()
        yield dask
    finally:
        dask.stop()


def holders(path: Path, among: Sequence[int]) -> list[int]:
    """Processes that have a file open, or one in this folder."""
    found = []
    for process in among:
        with contextlib.suppress(OSError):
            links = [entry.readlink() for entry in Path(f"/proc/{process}/fd").iterdir()]
            if any(path in (link, link.parent) for link in links):
                found.append(process)
    return found


def _group(entry: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((entry / "stat").read_text().rpartition(")")[2].split()[2])
    return -1


def _command(entry: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (entry / "cmdline").read_bytes()
    return b""
