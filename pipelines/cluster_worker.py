"""What runs in a worker process of a cluster: it loads a job once, and keeps it for one task after another.

News goes to the conductor as events, not as results of futures: an event is with the scheduler or it is not,
while a result may be lost with its worker after it was announced.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skelkit._version import __version__
from skelkit.errors import ClusterError, SkelkitError
from skelkit.pipelines.workers import Job

_PROGRESS_S = 1.0
"""Progress is sent no more often: the scheduler has other things to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is to be ready for."""

    run: str
    """Name of the run; also of the topic that news goes to."""
    make_job: Callable[..., Job]
    arguments: tuple[Any, ...]
    folder: Path
    """Where relative paths start."""
    sees: Path
    """A file of the run on the shared file system."""
    environment: dict[str, str]
    version: str = __version__

    @classmethod
    def of(cls, run: str, make_job: Callable[..., Job], arguments: tuple[Any, ...], sees: Path) -> Order:
        """As seen from here."""
        mine = {name: value for name, value in os.environ.items() if name.startswith("SKELKIT_")}
        return cls(
            run=run,
            make_job=make_job,
            arguments=arguments,
            folder=Path.cwd(),
            sees=sees.absolute(),
            environment=mine,
        )


class _Stopped(BaseException):
    """Nobody waits for this task any more. No error: nothing on the way may take it for one."""


_jobs: dict[tuple[str, str], Job] = {}
"""By run and by the worker's address: a process may be several workers, as in tests."""


def load(order: Order) -> None:
    """Get ready: load the experts, for instance."""
    try:
        _check_surroundings(order)
        os.chdir(order.folder)
        os.environ.update(order.environment)
        me = _address()
        for old in [key for key in _jobs if key[1] == me]:  # of earlier runs: memory is for this one
            del _jobs[old]
        _jobs[order.run, me] = order.make_job(*order.arguments)
    except SkelkitError as error:
        _send(order.run, "failed", None, error)
    else:
        _send(order.run, "ready", None, None)


def work(run: str, number: int, task: Any) -> None:
    """Do a task."""
    told, me = 0.0, _address()

    def send(data: Any) -> None:
        nonlocal told
        if (run, me) not in _jobs:
            raise _Stopped
        if isinstance(data, str) or time.monotonic() - told >= _PROGRESS_S:  # words are rare
            told = time.monotonic()
            _send(run, "progress", number, data)

    try:
        data = _jobs[run, me](task, send)
    except SkelkitError as error:
        _send(run, "failed", number, error)
    except _Stopped:
        return
    except Exception as error:  # noqa: BLE001 - a bug: told to whoever conducts, who goes on with the rest
        _send(run, "crashed", number, f"{type(error).__name__}: {error}")
    else:
        _send(run, "done", number, data)


def forget(run: str) -> None:
    """The run is over: stop what is at work for it at the next batch of frames, and give back the memory."""
    for key in [key for key in _jobs if key[0] == run]:
        del _jobs[key]


def cores() -> int:
    """Cores that this worker may use."""
    from distributed import get_worker

    return int(get_worker().state.nthreads)


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)


def _check_surroundings(order: Order) -> None:
    """Raise ClusterError where this machine is none for this run."""
    here = f"the worker on {os.uname().nodename}"
    if order.version != __version__:
        raise ClusterError(
            f"{here} has skelkit {__version__}, this is {order.version}; install the same there"
        )
    for path in (order.folder, order.sees):
        if not path.exists():
            raise ClusterError(
                f"{here} does not see {path}; inputs, outputs and the folder you are in must be on a file "
                "system that all machines share, under the same path",
                path=path,
            )


def _send(run: str, kind: str, number: int | None, data: Any) -> None:
    from distributed import get_worker

    worker = get_worker()
    message = {"worker": worker.address, "kind": kind, "number": number, "data": pickle.dumps(data)}
    worker.log_event(run, message)
