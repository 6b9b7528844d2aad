"""Who does what next: tasks for workers that come, go, die and dawdle. Knows nothing of any engine.

Every worker has one task at a time, so that it is known whose fault a worker's death is, and what is with
the engine never exceeds the number of workers, however many tasks wait here.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Generic, Protocol, TypeVar

from skelkit.errors import SkelkitError
from skelkit.pipelines.workers import TRIES, Event

Task = TypeVar("Task")

_DEPARTURES = 5
"""Workers that may leave a task unfinished because their time was up, until it is given up."""
_ALIVE_S = 30.0
"""A sign of life, and a look around, at least this often."""
_LEARN_FROM = 5
"""Finished tasks that tell how long one takes."""
_STRAGGLES = 4.0
"""A task that takes this many times as long as its length lets expect is reported ..."""
_STRAGGLES_S = 60.0
"""... if it takes this many seconds at all."""
_RELEASE_S = 60.0
"""A worker without work for so long is given back."""
_HOPE_S = 60.0
"""How long a run waits for others where all workers there are have proved to be of no use."""
_REMEMBERED = 1000
"""Finished tasks that the expectation comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What an executor reports."""

    kind: str
    """``joined`` (a worker is there), ``ready`` (it has loaded), ``progress``, ``done``, ``failed`` (data: a
    SkelkitError: this worker cannot do it), ``crashed`` (data: what the task raised that nobody expected) or
    ``left`` (data: why)."""
    worker: str
    data: Any = None
    number: int | None = None
    """Of the task; None while loading."""
    expected: bool = False
    """A worker that left was told to (its time was up): not its task's fault."""


class Executor(Protocol):
    """Where tasks are done."""

    def want(self, count: int) -> None:
        """Have up to so many workers, as far as it is allowed to; called again and again."""

    def prepare(self, worker: str) -> None:
        """Let a worker that joined load what it needs; ends with ``ready``, ``failed`` or ``left``."""

    def submit(self, worker: str, number: int, task: Any) -> None:
        """Give a task to a worker that has none; ends with ``done``, ``failed``, ``crashed`` or ``left``."""

    def release(self, worker: str) -> None:
        """A worker is not needed any more; ends with ``left`` if it goes."""

    def wait(self, patience_s: float) -> list[News]:
        """What happened; waits for something to, but not longer than this."""


Observer = Callable[..., None]
"""Called as ``observe(event, **facts)`` with everything that happens, for logs and displays."""


@dataclass(slots=True, kw_only=True)
class _Engaged:
    """A worker with a task."""

    number: int
    since: float
    reported: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Scheduling(Generic[Task]):
    """All tasks of a run, and the workers on them.

    Args:
        executor: Where they are done.
        tasks: In the order in which they begin.
        costs: How long each takes, in any unit; empty = nobody knows.
        name: What a task is called in reports.
        outcome: What of a task's result is worth a place in the log.
        observe: Told everything.
        clock: Seconds.
    """

    executor: Executor
    tasks: Sequence[Task]
    costs: Sequence[float] = ()
    name: Callable[[Task], str] = str
    outcome: Callable[[Any], dict[str, Any]] = lambda data: {}
    observe: Observer = lambda event, **facts: None
    clock: Callable[[], float] = time.monotonic
    _waiting: deque[int] = field(init=False)
    _loading: set[str] = field(init=False, default_factory=set)
    _idle: dict[str, float] = field(init=False, default_factory=dict)
    _engaged: dict[str, _Engaged] = field(init=False, default_factory=dict)
    _benched: set[str] = field(init=False, default_factory=set)
    _deaths: Counter[int] = field(init=False, default_factory=Counter)
    _departures: Counter[int] = field(init=False, default_factory=Counter)
    _refusals: Counter[int] = field(init=False, default_factory=Counter)
    _refusal: SkelkitError | None = field(init=False, default=None)
    _seen: float = field(init=False, default=0.0)
    _still_born: int = field(init=False, default=0)
    _rates: deque[float] = field(init=False, default_factory=lambda: deque(maxlen=_REMEMBERED))
    _looked: float = field(init=False, default=0.0)

    def run(self) -> Generator[Event[Task], None, None]:
        """Do all tasks.

        Yields:
            Progress and results as they come; ``lost`` for a task that is given up.

        Raises:
            SkelkitError: no worker can do it: what the last one said.
        """
        self._waiting = deque(range(len(self.tasks)))
        self._seen = self.clock()
        self._look_around()
        while self._waiting or self._engaged:
            for news in self.executor.wait(_ALIVE_S / 3):
                event = self._take(news)
                if event is not None:
                    yield event
            self._hand_out()
            if self.clock() - self._looked >= _ALIVE_S:
                self._look_around()

    def _take(self, news: News) -> Event[Task] | None:
        """Whatever it is, the books are right afterwards."""
        engaged = self._engaged.get(news.worker)
        if news.number is not None and (engaged is None or engaged.number != news.number):
            return None  # of a worker that was given up, or of a task that it no longer has
        event: Event[Task] | None = None
        match news.kind:
            case "joined":
                self._loading.add(news.worker)
                self.observe("joined", worker=news.worker)
                self.executor.prepare(news.worker)
            case "ready" if news.worker in self._loading:
                self._loading.remove(news.worker)
                self._idle[news.worker] = self.clock()
                self._still_born = 0
                self.observe("ready", worker=news.worker)
            case "failed":
                self._bench(news, engaged)
            case "left":
                event = self._left(news, engaged)
            case "progress" if engaged:
                event = Event(task=self.tasks[engaged.number], kind="progress", data=news.data)
            case "crashed" if engaged:
                self._free(news.worker)
                event = self._accuse(engaged.number, str(news.data))
            case "done" if engaged:
                self._free(news.worker)
                event = self._done(news, engaged)
        return event

    def _done(self, news: News, engaged: _Engaged) -> Event[Task]:
        task, seconds = self.tasks[engaged.number], self.clock() - engaged.since
        if self.costs and self.costs[engaged.number] > 0:
            self._rates.append(seconds / self.costs[engaged.number])
        self.observe(
            "done",
            task=self.name(task),
            worker=news.worker,
            seconds=round(seconds, 3),
            **self.outcome(news.data),
        )
        return Event(task=task, kind="done", data=news.data)

    def _free(self, worker: str) -> None:
        del self._engaged[worker]
        self._idle[worker] = self.clock()

    def _left(self, news: News, engaged: _Engaged | None) -> Event[Task] | None:
        self.observe("left", worker=news.worker, why=str(news.data), expected=news.expected)
        self._idle.pop(news.worker, None)
        self._engaged.pop(news.worker, None)
        self._benched.discard(news.worker)
        if news.worker in self._loading:
            self._loading.remove(news.worker)
            self._bury_the_still_born(news)
        if engaged is None:
            return None
        if not news.expected:
            return self._accuse(engaged.number, str(news.data))
        self._departures[engaged.number] += 1
        if self._departures[engaged.number] < _DEPARTURES:
            self._again(engaged.number, str(news.data))
            return None
        return self._lose(
            engaged.number,
            f"{_DEPARTURES} workers came to the end of their time before it was done ({news.data}); give "
            "them more walltime, and run again to retry",
        )

    def _accuse(self, number: int, why: str) -> Event[Task] | None:
        """A worker did not survive this task."""
        self._deaths[number] += 1
        if self._deaths[number] < TRIES:
            self._again(number, why)
            return None
        return self._lose(
            number,
            f"the process at work on it died {TRIES} times ({why}); is there enough memory? run again to "
            "retry",
        )

    def _again(self, number: int, why: str) -> None:
        self._waiting.appendleft(number)
        self.observe("again", task=self.name(self.tasks[number]), why=why)

    def _lose(self, number: int, why: str) -> Event[Task]:
        task = self.tasks[number]
        self.observe("lost", task=self.name(task), why=why)
        return Event(task=task, kind="lost", data=why)

    def _bench(self, news: News, engaged: _Engaged | None) -> None:
        """A worker that cannot do what is asked (a full disk, no weights) gets nothing more to do.

        Raises:
            SkelkitError: what it said, where it is the second to say so of this task.
        """
        self._loading.discard(news.worker)
        self._engaged.pop(news.worker, None)
        self._benched.add(news.worker)
        self.observe("benched", worker=news.worker, why=str(news.data))
        if engaged is not None:
            self._refusals[engaged.number] += 1
            self._waiting.appendleft(engaged.number)
            if self._refusals[engaged.number] >= TRIES:
                raise news.data
        self._refusal = news.data

    def _bury_the_still_born(self, news: News) -> None:
        self._still_born += 1
        tries = TRIES * (1 + len(self._loading))  # others that load may fare better
        if self._still_born >= tries and not (self._engaged or self._idle):
            raise SkelkitError(
                f"workers died {self._still_born} times before they began ({news.data}); is there enough "
                "memory? look at their logs, and try `skelkit cluster check`"
            )

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            worker = next(iter(self._idle))
            del self._idle[worker]
            number = self._waiting.popleft()
            self._engaged[worker] = _Engaged(number=number, since=self.clock())
            self.observe("started", task=self.name(self.tasks[number]), worker=worker)
            self.executor.submit(worker, number, self.tasks[number])

    def _look_around(self) -> None:
        now = self._looked = self.clock()
        self.executor.want(len(self._waiting) + len(self._engaged))
        self.observe(
            "alive",
            waiting=len(self._waiting),
            engaged=len(self._engaged),
            idle=len(self._idle),
            loading=len(self._loading),
        )
        if self._engaged or self._idle or self._loading:
            self._seen = now
        elif self._refusal and now - self._seen > _HOPE_S:
            raise self._refusal
        for worker, engaged in self._engaged.items():
            expected = self._expected_s(engaged.number)
            seconds = now - engaged.since
            if not engaged.reported and expected is not None and seconds > expected:
                engaged.reported = True
                self.observe(
                    "straggler",
                    task=self.name(self.tasks[engaged.number]),
                    worker=worker,
                    seconds=round(seconds, 1),
                )
        for worker, since in list(self._idle.items())[1:]:  # one stays, for what may come back
            if now - since > _RELEASE_S:
                self.executor.release(worker)

    def _expected_s(self, number: int) -> float | None:
        """Seconds after which a task straggles; None while nobody can know."""
        if len(self._rates) < _LEARN_FROM or not self.costs[number]:
            return None
        return max(_STRAGGLES * median(self._rates) * self.costs[number], _STRAGGLES_S)
