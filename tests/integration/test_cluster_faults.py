"""A real Dask cluster that loses its parts, with work that costs nothing: every task ends once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import wait_until
from dask_here import Dask, dask_here, real_cluster
from made_jobs import make_writing

from skelkit.errors import ClusterError
from skelkit.pipelines.cluster import Cluster
from skelkit.pipelines.event_log import State, read_state
from skelkit.pipelines.workers import Event

pytest.importorskip("distributed")
KILLS = 20


def do(
    dask: Dask,
    folder: Path,
    tasks: Sequence[str],
    meanwhile: Callable[[Event[str]], None] = lambda event: None,
) -> tuple[dict[str, Event[str]], State]:
    """Every task's end, and the state that the log tells."""
    folder.mkdir(exist_ok=True)
    (folder / "begun").touch()
    ends: dict[str, Event[str]] = {}
    cluster = Cluster(address=dask.address)
    with cluster.recording("test", folder / "out"):
        running = cluster.run(
            "testing",
            make_writing,
            (folder, folder / "full"),
            tasks,
            makes=lambda task: folder / "begun",
            measure=lambda tasks: [float(task.partition(":")[2]) for task in tasks],
            name=str,
        )
        with closing(running) as events:
            for event in events:
                if event.kind in {"done", "lost"}:
                    assert event.task not in ends, "ended twice"
                    ends[event.task] = event
                meanwhile(event)
    assert ends.keys() == set(tasks)
    return ends, read_state(folder / "out")


def begun(folder: Path) -> Counter[str]:
    return Counter((folder / "begun").read_text().split())


@pytest.mark.slow
@real_cluster
def test_workers_killed_twenty_times(tmp_path: Path) -> None:
    tasks = [f"t{n}:{0.1 + n % 5 / 5}" for n in range(60)]
    chance, kills, over = random.Random(8), 0, threading.Event()
    with dask_here(tmp_path / "dask", 3) as dask:

        def kill() -> None:
            nonlocal kills
            while kills < KILLS and not over.wait(chance.uniform(0, 1)):
                # Those that have begun: one that dies while it starts takes the one who looks after it along.
                at_work = {int(path.name[3:]) for path in tmp_path.glob("*/by-*")}
                if victims := [pid for pid in dask.worker_processes() if pid in at_work]:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    kills += 1

        killer = threading.Thread(target=kill)
        killer.start()
        done: set[str] = set()
        lost: set[str] = set()
        for attempt in range(100):
            rest = [task for task in tasks if task not in done] or tasks
            ends, state = do(dask, tmp_path / str(attempt), rest)
            done |= {task for task, event in ends.items() if event.kind == "done"}
            lost |= {task for task, event in ends.items() if event.kind == "lost"}
            assert all("died 2 times" in event.data for event in ends.values() if event.kind == "lost")
            assert all(times <= 2 for times in begun(tmp_path / str(attempt)).values())
            for task, event in ends.items():
                name = task.partition(":")[0]
                assert event.kind == "lost" or (tmp_path / str(attempt) / name).read_text() == name
            assert state.done == len(rest) and state.end == "finished"
            if kills >= KILLS and done == set(tasks):
                break
        over.set()
        killer.join()
    assert kills == KILLS and done == set(tasks)


@pytest.mark.slow
@real_cluster
def test_poison_and_a_worker_without_disk(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    with dask_here(tmp_path / "dask", 2) as dask:
        wait_until(lambda: len(dask.worker_processes()) == 2, "the workers")
        (folder / "full").write_text(str(dask.worker_processes()[0]))
        tasks = ["poison:0.2", *(f"t{n}:0.1" for n in range(10))]
        ends, state = do(dask, folder, tasks)
    assert {task for task, event in ends.items() if event.kind == "lost"} == {"poison:0.2"}
    assert begun(folder)["poison"] in {2, 3}  # once more where the first to have it had no disk
    assert all(times <= 2 for name, times in begun(folder).items() if name != "poison")
    assert state.problems.keys() == {"poison:0.2"}


@real_cluster
def test_the_scheduler_killed(tmp_path: Path) -> None:
    tasks = [f"t{n}:0.3" for n in range(20)]
    with dask_here(tmp_path / "dask", 1) as dask:

        def kill(event: Event[Any]) -> None:
            if event.kind == "done":
                dask.kill_scheduler()

        begin = time.monotonic()
        with pytest.raises(ClusterError, match="lost the scheduler"):
            do(dask, tmp_path / "work", tasks, kill)
        assert time.monotonic() - begin < 60
    state = read_state(tmp_path / "work" / "out")
    assert state.end == "failed" and "lost the scheduler" in state.why and state.done >= 1


@real_cluster
def test_nobody_waits_any_more(tmp_path: Path) -> None:
    """Workers of somebody else's cluster are free for others soon after the run that had them ended."""
    folder = tmp_path / "work"
    with dask_here(tmp_path / "dask", 1) as dask:

        def stop(event: Event[Any]) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            do(dask, folder, [f"t{n}:0.2" for n in range(10)], stop)
        assert read_state(folder / "out").end == "interrupted"
        ends, _ = do(dask, tmp_path / "next", ["a:0", "b:0"])
    assert {event.kind for event in ends.values()} == {"done"}
