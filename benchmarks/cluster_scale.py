"""How far the scheduling reaches: 100,000 videos that are slept through instead of looked at.

Lengths are drawn from a log-normal distribution (median 10 s, a quarter beyond 17 s, at most 10 min) and
scaled down, so that a table for 2, 8 and 64 workers takes minutes. Two parts:

- the scheduling alone, on workers that exist in a simulation with a clock of its own: what it costs and how
  well it packs;
- the whole chain with a real Dask scheduler in this process, as with --cluster slurm, and real Dask workers,
  all of them in one other process. All tasks wait here from the beginning, but only so many are done as end
  in the seconds given: what is measured is what each of them costs.

    python -m benchmarks.cluster_scale [--tasks 100000] [--workers 2,8,64] [--rate 200] [--seconds 90]

`--seconds 1000` does all 100,000.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.pipelines.cluster import Cluster
from skelkit.pipelines.event_log import log_path
from skelkit.pipelines.scheduling import News, Scheduling
from skelkit.pipelines.workers import Job

PER_VIDEO_S = 3.0
"""What a video of 10 s takes on a worker with a GPU: what a rate of dispatch means for a cluster."""


def lengths(count: int) -> np.ndarray:
    """Seconds of videos."""
    return np.minimum(np.random.default_rng(8).lognormal(np.log(10), 0.8, count), 600)


class Simulated:
    """Workers with a clock of their own, on which a task takes what it says."""

    def __init__(self, workers: int) -> None:
        self.now = 0.0
        self.most = 0
        self._order = itertools.count()
        self._future: list[tuple[float, int, News]] = []
        for number in range(workers):
            self._tell(0, "joined", str(number))

    def _tell(self, after: float, kind: str, worker: str, number: int | None = None) -> None:
        news = News(kind=kind, worker=worker, number=number)
        heapq.heappush(self._future, (self.now + after, next(self._order), news))

    def want(self, count: int) -> None:
        pass

    def prepare(self, worker: str) -> None:
        self._tell(0, "ready", worker)

    def submit(self, worker: str, number: int, task: Any) -> None:
        self._tell(task, "done", worker, number)
        self.most = max(self.most, len(self._future))

    def release(self, worker: str) -> None:
        pass

    def wait(self, patience_s: float) -> list[News]:
        self.now, _, news = heapq.heappop(self._future)
        return [news]


def alone(tasks: int, workers: int) -> dict[str, float]:
    """The scheduling without an engine."""
    seconds = np.sort(lengths(tasks))[::-1].tolist()
    cluster = Simulated(workers)
    begin = time.process_time()
    scheduling = Scheduling(executor=cluster, tasks=seconds, costs=seconds, clock=lambda: cluster.now)
    assert sum(1 for _ in scheduling.run()) == tasks
    return {
        "us_per_task": 1e6 * (time.process_time() - begin) / tasks,
        "idle": 1 - sum(seconds) / (workers * cluster.now),
        "most": cluster.most,
    }


def make_sleeping() -> Job:
    def job(seconds: float, send: Callable[[Any], None]) -> dict[str, Any]:
        time.sleep(seconds)
        return {"status": "ok", "detail": "", "frames": 300, "people": 2, "seconds": seconds}

    return job


def with_dask(tasks: int, workers: int, rate: float, at_most_s: float) -> dict[str, float]:
    """The whole chain; tasks are so short that `rate` of them end in a second if nobody waits."""
    from distributed import LocalCluster

    from benchmarks.cluster_scale import make_sleeping as job  # by its name, not as part of a script

    seconds = lengths(tasks)
    seconds *= workers / rate / seconds.mean()
    command = [sys.executable, "-m", "benchmarks.cluster_scale", "--host"]
    quiet = os.environ | {"DASK_LOGGING__DISTRIBUTED": "error"}
    alone: dict[str, Any] = {"n_workers": 0, "processes": False, "dashboard_address": None}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(host="127.0.0.1", protocol="tcp", **alone) as local,
        subprocess.Popen([*command, local.scheduler_address, str(workers)], env=quiet) as host,
    ):
        while len(local.scheduler.workers) < workers:
            time.sleep(0.1)
        output = Path(folder) / "out"
        began: list[float] = []
        cluster = Cluster(
            address=local.scheduler_address,
            watch=lambda event, **facts: began.append(time.monotonic()) if event == "started" else None,
        )
        before, cpu = _rss_mib(), time.process_time()
        most, done, busy = before, 0, 0.0
        with cluster.recording("sleep", output):
            running = cluster.run(
                "sleeping",
                job,
                (),
                seconds.tolist(),
                makes=lambda task: Path(folder),
                measure=lambda chosen: [1.0] * len(chosen),  # in the order drawn, as only some are done
                name=lambda task: f"{task:.6f}",
                outcome=lambda row: {"status": row["status"]},
            )
            with closing(running) as events:
                for event in events:
                    if event.kind == "done":
                        done, busy = done + 1, busy + event.task
                        if done % 1000 == 0:
                            most = max(most, _rss_mib())
                        if time.monotonic() - began[0] > at_most_s:
                            break
            most, wall = max(most, _rss_mib()), time.monotonic() - began[0]
            cpu = time.process_time() - cpu
            log = log_path(output).stat().st_size
        host.terminate()
    return {
        "done": done,
        "rate": done / wall,
        "cpu_ms": 1e3 * cpu / done,
        "idle": 1 - busy / (workers * wall),
        "mib": most - before,
        "log_bytes": log / done,
        "mean_ms": 1e3 * busy / done,
    }


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def host_workers(address: str, count: int) -> None:
    """Real Dask workers, all in this process."""
    import asyncio

    from distributed import Worker

    async def serve() -> None:
        workers = [
            Worker(address, nthreads=1, dashboard=False, memory_limit=0, name=str(n)) for n in range(count)
        ]
        await asyncio.gather(*workers)
        await asyncio.gather(*(worker.finished() for worker in workers))

    asyncio.run(serve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--workers", default="2,8,64")
    parser.add_argument("--rate", type=float, default=200.0, help="tasks in a second if nobody waits")
    parser.add_argument("--seconds", type=float, default=90.0, help="at most, with Dask, for each number")
    parser.add_argument("--host", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.host:
        host_workers(given.host[0], int(given.host[1]))
        return
    counts = [int(text) for text in given.workers.split(",")]
    print(f"{given.tasks} tasks, {len(os.sched_getaffinity(0))} cores\n")
    print("| workers | scheduling alone, us per task | idle share | tasks with the engine at most |")
    print("|--:|--:|--:|--:|")
    for count in counts:
        row = alone(given.tasks, count)
        cells = f"{row['us_per_task']:.0f} | {100 * row['idle']:.2f} % | {row['most']:.0f}"
        print(f"| {count} | {cells} |", flush=True)
    print(
        "\n| workers | done | task, ms | tasks/s | this process, ms of CPU per task | its memory, MiB more | "
        "idle share | log, bytes per task | workers kept busy if a video takes 3 s |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for count in counts:
        row = with_dask(given.tasks, count, given.rate, given.seconds)
        cells = " | ".join(
            (
                f"{row['done']:.0f} | {row['mean_ms']:.0f} | {row['rate']:.0f} | {row['cpu_ms']:.2f}",
                f"{row['mib']:.0f}",
                f"{100 * row['idle']:.1f} % | {row['log_bytes']:.0f} | {PER_VIDEO_S * row['rate']:.0f}",
            )
        )
        print(f"| {count} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
