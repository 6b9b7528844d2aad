"""Workers that exist in a simulation only, with a clock of its own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from skelkit.pipelines.scheduling import News

Play = Callable[[str, int, int], list[tuple[float, str, Any]]]
"""What a worker (its name, the task's number, the how many-th time) does: (seconds from now, kind, data)."""


class MadeCluster:
    """An executor of workers that do as they are told.

    Args:
        workers: How many come at once.
        play: What becomes of a task.
        load: What becomes of a worker that loads: (seconds, kind, data).
        reborn_s: A worker that left comes back so many seconds later, under a new name; None = never.
    """

    def __init__(
        self,
        workers: int,
        play: Play,
        *,
        load: Callable[[str], tuple[float, str, Any]] = lambda worker: (0.5, "ready", None),
        reborn_s: float | None = 1.0,
    ) -> None:
        self.now = 0.0
        self.wanted: list[int] = []
        self.released: list[str] = []
        self.given: list[tuple[str, int]] = []
        self.most_at_once = 0
        self._play, self._load, self._reborn_s = play, load, reborn_s
        self._times: dict[int, int] = {}
        self._at_work: dict[str, int] = {}
        self._future: list[tuple[float, int, News]] = []
        self._order = itertools.count()
        self._names = itertools.count()
        for _ in range(workers):
            self.arrive(0.0)

    def arrive(self, after_s: float) -> None:
        self._tell(after_s, News(kind="joined", worker=f"w{next(self._names)}"))

    def clock(self) -> float:
        return self.now

    def want(self, count: int) -> None:
        self.wanted.append(count)

    def prepare(self, worker: str) -> None:
        seconds, kind, data = self._load(worker)
        self._tell(seconds, News(kind=kind, worker=worker, data=data))

    def submit(self, worker: str, number: int, task: Any) -> None:
        assert worker not in self._at_work, "one task at a time"
        assert number not in self._at_work.values(), "on one worker at a time"
        self._at_work[worker] = number
        self.most_at_once = max(self.most_at_once, len(self._at_work))
        self.given.append((worker, number))
        self._times[number] = self._times.get(number, 0) + 1
        for seconds, what, data in self._play(worker, number, self._times[number]):
            expected = what == "sent away"
            kind = "left" if expected else what
            news = News(
                kind=kind,
                worker=worker,
                number=None if kind == "left" else number,
                data=data,
                expected=expected,
            )
            self._tell(seconds, news)

    def release(self, worker: str) -> None:
        self.released.append(worker)
        self._tell(0.1, News(kind="left", worker=worker, data="released", expected=True), reborn=False)

    def wait(self, patience_s: float) -> list[News]:
        end = self.now + patience_s
        if not self._future or self._future[0][0] > end:
            self.now = end
            return []
        self.now, _, news = heapq.heappop(self._future)
        if news.kind in {"left", "done", "crashed", "failed"}:
            self._at_work.pop(news.worker, None)
        return [news]

    def _tell(self, after_s: float, news: News, *, reborn: bool = True) -> None:
        heapq.heappush(self._future, (self.now + after_s, next(self._order), news))
        if news.kind == "left" and reborn and self._reborn_s is not None:
            self.arrive(after_s + self._reborn_s)
