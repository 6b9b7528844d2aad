"""Worker processes that survive what videos do to them.

Each worker holds its experts in memory and takes one task (a video) after the other. One that dies (a crash
in a decoder, the kernel's out-of-memory killer) is replaced and its task tried once more; if that kills a
worker again, the task is set aside. Workers end with their parent, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Generic, TypeVar

from skelkit.errors import SkelkitError

Task = TypeVar("Task")

TRIES = 2
"""Workers a task, or loading, may kill before it is given up."""


_LOADING = -1
"""Stands for a task's number while a worker has none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[Task]):
    """Something a worker reports."""

    task: Task
    kind: str
    """``progress``, ``done``, or ``lost`` (the task killed its workers)."""
    data: Any
    """What the job sent; for ``lost`` why the worker died."""


@dataclass(slots=True)
class Worker:
    """A process, and the way to it."""

    process: SpawnProcess
    pipe: connection.Connection
    task: Any = None
    """Number and task it is at work on."""

    def cause_of_death(self) -> str:
        """How a process that has ended did so."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


Job = Callable[[Any, Callable[[Any], None]], Any]
"""What a worker does with a task: called with the task and a function that sends progress."""


def run(
    make_job: Callable[..., Job], arguments: tuple[Any, ...], tasks: Sequence[Task], count: int
) -> Generator[Event[Task], None, None]:
    """Do all tasks in `count` processes.

    Args:
        make_job: Called once in every worker; a module-level function.
        arguments: Its arguments; pickled.
        tasks: What to do; pickled one by one.
        count: Number of processes.

    Yields:
        Progress and results as they come. Closing the iterator ends the workers.

    Raises:
        SkelkitError: what `make_job` or a task raised on purpose; the other workers are ended.
    """
    waiting = deque(enumerate(tasks))
    deaths: Counter[int] = Counter()
    workers: list[Worker] = []
    try:
        workers += [start(make_job, arguments) for _ in range(min(count, len(tasks)))]
        while workers:
            for ready in connection.wait([w.pipe for w in workers]):
                worker = next(w for w in workers if w.pipe is ready)
                try:
                    kind, data = worker.pipe.recv()
                except (EOFError, OSError):  # it died, perhaps in the middle of a message
                    event = _buried(worker, waiting, deaths)
                    workers.remove(worker)
                    if event is not None:
                        yield event
                    if waiting:
                        workers.append(start(make_job, arguments))
                    continue
                if kind == "error":
                    raise data
                if kind != "ready":
                    yield Event(task=worker.task[1], kind=kind, data=data)
                if kind in {"ready", "done"}:
                    deaths[_LOADING] = 0
                    worker.task = waiting.popleft() if waiting else None
                    with suppress(OSError):  # it died just now: its pipe will say so
                        worker.pipe.send(worker.task and worker.task[1])
                    if worker.task is None:
                        worker.process.join()
                        workers.remove(worker)
    finally:
        end(workers)


def end(workers: Iterable[Worker]) -> None:
    """End processes, and wait until they have."""
    ending = list(workers)
    for worker in ending:
        worker.process.terminate()
    for worker in ending:
        worker.process.join()


def start(make_job: Callable[..., Job], arguments: tuple[Any, ...]) -> Worker:
    """A new worker process, which says ``ready`` once it has made its job."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make_job, arguments), daemon=True)
    # Ctrl-C goes to the whole group, but the parent decides: workers inherit that they do not hear it.
    resource_tracker.ensure_running()  # else the first start does it, and hears Ctrl-C again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()  # so that the worker's death ends the pipe
    return Worker(process, mine)


def _buried(worker: Worker, waiting: deque[tuple[int, Task]], deaths: Counter[int]) -> Event[Task] | None:
    """What to make of a worker's death: its task goes back to the front, or is set aside."""
    why = worker.cause_of_death()
    number = _LOADING if worker.task is None else worker.task[0]
    deaths[number] += 1
    if deaths[number] < TRIES:
        if worker.task is not None:
            waiting.appendleft(worker.task)
        return None
    if worker.task is None:
        raise SkelkitError(
            f"worker processes died {TRIES} times before they began ({why}); is there enough memory? "
            'try fewer --workers; a script that calls skelkit does so under `if __name__ == "__main__":`'
        )
    lost = f"the process at work on it died {TRIES} times ({why}); is there enough memory? run again to retry"
    return Event(task=worker.task[1], kind="lost", data=lost)


def _work(pipe: connection.Connection, make_job: Callable[..., Job], arguments: tuple[Any, ...]) -> None:
    """A worker's life."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job = make_job(*arguments)
        pipe.send(("ready", None))
        while (task := pipe.recv()) is not None:
            pipe.send(("done", job(task, lambda data: pipe.send(("progress", data)))))
    except SkelkitError as error:
        pipe.send(("error", error))
    except (EOFError, ConnectionError):
        pass  # the parent is gone


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: workers stopped, what is finished kept."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
