"""Workers of a Dask cluster, as the scheduling sees them."""

from __future__ import annotations

import pickle
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from skelkit.errors import ClusterError
from skelkit.pipelines import cluster_worker
from skelkit.pipelines.cluster_worker import Order
from skelkit.pipelines.scheduling import News

if TYPE_CHECKING:
    from distributed import Client, Future

_ALL = "all"
"""Dask's topic where workers that come and go are announced."""
_LOOK_S = 1.0
"""How often the connection is looked at while nothing happens."""


class Farm(Protocol):
    """What starts and ends workers, where that is up to us."""

    def want(self, count: int) -> None:
        """Have up to so many workers, as far as allowed; replaces those that were lost."""

    def release(self, name: str) -> None:
        """End the worker of this name."""


@dataclass(slots=True, kw_only=True, eq=False)
class DaskExecutor:
    """Does one stage of a run on the workers of a Dask cluster; a context manager.

    Args:
        client: Connected.
        order: What every worker gets ready for.
        farm: Starts workers; None = they are somebody else's.
    """

    client: Client
    order: Order
    farm: Farm | None = None
    _news: queue.SimpleQueue[News] = field(init=False, default_factory=queue.SimpleQueue)
    _present: set[str] = field(init=False, default_factory=set)
    _futures: dict[str, Future] = field(init=False, default_factory=dict)
    _link: Any = field(init=False, default=None)

    def __enter__(self) -> DaskExecutor:
        self._link = self.client.scheduler_comm
        self.client.subscribe_topic(self.order.run, self._hear)
        self.client.subscribe_topic(_ALL, self._hear_of_workers)
        for address in self._there():
            self._news.put(News(kind="joined", worker=address))
        return self

    def __exit__(self, *error: object) -> None:
        if not self._connected():
            return
        self.client.unsubscribe_topic(_ALL)
        self.client.unsubscribe_topic(self.order.run)
        self.client.cancel(list(self._futures.values()))
        self._futures.clear()
        if self.farm is None:  # workers that stay
            self.client.run(cluster_worker.forget, self.order.run, on_error="ignore")

    def want(self, count: int) -> None:
        """See `Executor`."""
        if self.farm is not None:
            self.farm.want(count)

    def prepare(self, worker: str) -> None:
        """See `Executor`."""
        self._begin(worker, None, cluster_worker.load, self.order)

    def submit(self, worker: str, number: int, task: Any) -> None:
        """See `Executor`."""
        self._begin(worker, number, cluster_worker.work, self.order.run, number, task)

    def release(self, worker: str) -> None:
        """See `Executor`."""
        if self.farm is not None and (name := self._there().get(worker)) is not None:
            self.client.retire_workers([worker])
            self.farm.release(name)

    def wait(self, patience_s: float) -> list[News]:
        """See `Executor`.

        Raises:
            ClusterError: the scheduler is gone.
        """
        end = time.monotonic() + patience_s
        while True:
            if not self._connected():
                raise ClusterError(
                    "lost the scheduler of the cluster; finished work is kept, the same command goes on from "
                    "here once there is one"
                )
            try:
                news = [self._news.get(timeout=min(_LOOK_S, patience_s))]
            except queue.Empty:
                if time.monotonic() >= end:
                    return []
                continue
            while not self._news.empty():
                news.append(self._news.get())
            return [n for n in map(self._known, news) if n is not None]

    def _known(self, news: News) -> News | None:
        """Each arrival and each departure once."""
        if news.kind == "joined":
            if news.worker in self._present:
                return None
            self._present.add(news.worker)
        elif news.kind == "left":
            if news.worker not in self._present:
                return None
            self._present.remove(news.worker)
            future = self._futures.pop(news.worker, None)
            if future is not None:  # Dask would wait for its worker to come back
                self.client.cancel([future])
        return news

    def _begin(self, worker: str, number: int | None, function: Callable[..., None], *arguments: Any) -> None:
        future = self.client.submit(
            function, *arguments, workers=[worker], allow_other_workers=False, pure=False, retries=0
        )
        future.add_done_callback(lambda ended: self._ended(ended, worker, number))
        self._futures[worker] = future

    def _ended(self, future: Future, worker: str, number: int | None) -> None:
        """Only what could not even begin ends in error here: the rest is told by events."""
        if future.status == "error":
            error = future.exception()
            if type(error).__name__ != "KilledWorker":  # its departure is announced, too
                problem = ClusterError(f"the worker {worker} cannot work for skelkit: {error}")
                self._news.put(News(kind="failed", worker=worker, number=number, data=problem))

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        self._news.put(
            News(
                kind=message["kind"],
                worker=message["worker"],
                number=message["number"],
                data=pickle.loads(message["data"]),
            )
        )

    def _hear_of_workers(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        if message["action"] == "add-worker":
            self._news.put(News(kind="joined", worker=message["worker"]))
        elif message["action"] == "remove-worker":
            expected = bool(message.get("expected"))
            why = "told to leave" if expected else "its worker process was lost"
            self._news.put(News(kind="left", worker=message["worker"], data=why, expected=expected))

    def _there(self) -> dict[str, str]:
        """Addresses and names of the workers there are."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return {address: str(facts["name"]) for address, facts in workers.items()}

    def _connected(self) -> bool:
        return self.client.status == "running" and self.client.scheduler_comm is self._link
