"""One process on each of several devices of a machine; each takes the next video as soon as it is free.

A device whose process dies hands its video to another device and gets a new process. If that dies as well,
of another video or while it loads, the device is lost: the others do its part.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from skelkit.errors import ConfigError, DeviceLostError
from skelkit.experts import choose_device
from skelkit.pipelines.workers import TRIES, Event, Job, Task, Worker, end, start


def parse(text: str) -> tuple[str, ...]:
    """``0,1,2`` or ``cuda:0,cuda:1`` -> names of devices, each of which is to be had.

    Raises:
        ConfigError: not a list of devices, or one this machine lacks.
        MissingExtraError: nothing installed can use it.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise ConfigError(f"expected devices with commas between them, such as 0,1,2,3; got {text!r}")
    return tuple(str(choose_device(f"cuda:{n}" if n.isdecimal() else n)) for n in names)


@dataclass(slots=True, kw_only=True)
class _Place:
    """A device, and the process at work on it."""

    label: str
    arguments: tuple[Any, ...]
    worker: Worker | None = None
    done: int = 0
    died_of: list[int] = field(default_factory=list)
    """Tasks that killed its processes since it last finished one."""
    died_loading: int = 0
    lost: str = ""
    """Why it is no longer used."""


def run(
    make_job: Callable[..., Job],
    arguments: Sequence[tuple[Any, ...]],
    tasks: Sequence[Task],
    *,
    labels: Sequence[str],
) -> Generator[Event[Any], None, None]:
    """Do all tasks, in their order, each on the device that is free first.

    Args:
        make_job: Called once in every process; a module-level function.
        arguments: Its arguments, for each device.
        tasks: What to do.
        labels: The devices' names, for messages.

    Yields:
        What `skelkit.pipelines.workers.run` yields, and ``note`` with a sentence when a process or a device
        was lost (the task is None where none was at hand).

    Raises:
        DeviceLostError: no device is left.
        SkelkitError: what `make_job` or a task raised on purpose.
    """
    names = [f"{n} ({i})" if labels.count(n) > 1 else n for i, n in enumerate(labels)]
    places = [_Place(label=n, arguments=a) for n, a in zip(names, arguments, strict=True)]
    todo = _Todo(tasks, places)
    try:
        while True:
            for place in todo.idle():
                place.worker = start(make_job, place.arguments)
            working = {p.worker.pipe: p for p in places if p.worker is not None}
            if not working:
                break
            for pipe in connection.wait(list(working)):
                yield from todo.hear(working[pipe])  # type: ignore[index]
        if todo.waiting:
            why = "; ".join(f"{p.label}: {p.lost}" for p in places)
            raise DeviceLostError(
                f"no device is left ({why}); what is finished is kept, the same command goes on from there"
            )
    finally:
        end(p.worker for p in places if p.worker is not None)


class _Todo:
    """Which task goes where, and what became of the processes."""

    def __init__(self, tasks: Sequence[Any], places: Sequence[_Place]) -> None:
        self.waiting = deque(enumerate(tasks))
        self._tasks = tasks
        self._places = places
        self._killed: Counter[int] = Counter()
        self._tried: dict[int, set[str]] = {}
        """Devices on which a task's process died."""

    def idle(self) -> list[_Place]:
        """Devices without a process that have something to do."""
        free = [p for p in self._places if p.worker is None and not p.lost]
        return [p for p in free if any(self._suits(n, p) for n, _ in self.waiting)][: len(self.waiting)]

    def hear(self, place: _Place) -> Iterator[Event[Any]]:
        """Take a message of a device's process, or its death."""
        worker = place.worker
        if worker is None:
            return
        try:
            kind, data = worker.pipe.recv()
        except (EOFError, OSError):  # it died, perhaps in the middle of a message
            yield from self._bury(place, worker, worker.cause_of_death())
            return
        if kind == "error":
            if not isinstance(data, DeviceLostError):
                raise data
            yield from self._bury(place, worker, data.message)
            return
        if kind != "ready":
            yield Event(task=worker.task[1], kind=kind, data=data)
        if kind == "done":
            place.done += 1
            place.died_of.clear()
        if kind in {"ready", "done"}:
            place.died_loading = 0
            self._give(place, worker)

    def _give(self, place: _Place, worker: Worker) -> None:
        task = next((t for t in self.waiting if self._suits(t[0], place)), None)
        if task is not None:
            self.waiting.remove(task)
        worker.task = task
        with suppress(OSError):  # it died just now: its pipe will say so
            worker.pipe.send(task and task[1])
        if task is None:
            worker.process.join()
            place.worker = None

    def _suits(self, number: int, place: _Place) -> bool:
        """A task whose process died goes to another device, where there is one."""
        tried = self._tried.get(number, set())
        return place.label not in tried or all(p.lost or p.label in tried for p in self._places)

    def _bury(self, place: _Place, worker: Worker, why: str) -> Iterator[Event[Any]]:
        end([worker])
        place.worker = None
        if worker.task is None:
            place.died_loading += 1
            doing, task = "began", None
        else:
            number, task = worker.task
            place.died_of.append(number)
            self._killed[number] += 1
            self._tried.setdefault(number, set()).add(place.label)
            doing = "was at work"
        if place.died_loading >= TRIES or len(set(place.died_of)) >= TRIES:
            yield Event(task=task, kind="note", data=self._lose(place, why))
        else:
            text = f"{place.label}: its process died while it {doing} ({why}); it gets a new one"
            yield Event(task=task, kind="note", data=text)
        if worker.task is not None:
            if self._killed[worker.task[0]] < TRIES:
                self.waiting.appendleft(worker.task)
            else:
                lost = f"processes at work on it died {TRIES} times ({why}); run again to retry"
                yield Event(task=task, kind="lost", data=lost)

    def _lose(self, place: _Place, why: str) -> str:
        """Use a device no more; what died on it is not to be blamed."""
        place.lost = why
        for number in place.died_of:
            self._killed[number] -= 1
        left = [p.label for p in self._places if not p.lost]
        return f"{place.label} was lost after {place.done} videos ({why}); " + (
            f"{' and '.join(left)} {'does' if len(left) == 1 else 'do'} the rest" if left else "none is left"
        )
