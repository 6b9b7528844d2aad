"""Every task ends once, whatever workers do; on workers that exist in a simulation only."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cluster import MadeCluster, Play

from skelkit.errors import OutputError, SkelkitError, WeightsError
from skelkit.pipelines.scheduling import Scheduling
from skelkit.pipelines.workers import Event

DIED = "its worker process was lost"


def run(
    cluster: MadeCluster, tasks: int, costs: list[float] | None = None
) -> tuple[list[Event[str]], list[tuple[str, dict[str, Any]]]]:
    """All events, and everything that was observed."""
    seen: list[tuple[str, dict[str, Any]]] = []
    scheduling = Scheduling(
        executor=cluster,
        tasks=[f"t{i}" for i in range(tasks)],
        costs=costs or [],
        observe=lambda event, **facts: seen.append((event, facts)),
        clock=cluster.clock,
    )
    return list(scheduling.run()), seen


def does(seconds: float = 1.0) -> Play:
    return lambda worker, number, times: [(seconds, "done", {"n": number})]


def test_all_in_order_one_at_a_time() -> None:
    cluster = MadeCluster(3, does())
    events, seen = run(cluster, 10)
    assert [n for _, n in cluster.given] == list(range(10))
    assert Counter(e.task for e in events) == Counter(f"t{i}" for i in range(10))
    assert {e.kind for e in events} == {"done"} and events[0].data == {"n": 0}
    assert cluster.most_at_once == 3
    assert cluster.wanted[0] == 10
    assert [e for e, _ in seen].count("done") == [e for e, _ in seen].count("started") == 10


def test_twenty_thousand_tasks_are_never_with_the_engine_at_once() -> None:
    cluster = MadeCluster(8, does())
    events, _ = run(cluster, 20_000)
    assert len(events) == 20_000
    assert cluster.most_at_once == 8


@given(data=st.data(), workers=st.integers(1, 5), tasks=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_every_task_ends_once_whatever_happens(data: st.DataObject, workers: int, tasks: int) -> None:
    chance = random.Random(data.draw(st.integers(0, 10**6)))
    deaths: Counter[int] = Counter()

    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        seconds = chance.uniform(0, 100)
        kind = chance.choice(["done", "done", "left", "sent away", "crashed"])
        deaths[number] += kind in {"left", "crashed"}
        return [(seconds / 2, "progress", (1, 1)), (seconds, kind, {})]

    events, _ = run(MadeCluster(workers, play), tasks)
    ends = Counter(e.task for e in events if e.kind != "progress")
    assert ends == Counter(f"t{i}" for i in range(tasks))
    for event in events:
        if event.kind == "done":
            assert deaths[int(event.task[1:])] < 2
        if event.kind == "lost":
            assert deaths[int(event.task[1:])] == 2 or "walltime" in event.data


def test_a_task_that_kills_its_worker_twice_is_set_aside() -> None:
    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        return [(1, "left", DIED)] if number == 2 else [(1, "done", {})]

    events, seen = run(MadeCluster(2, play), 5)
    assert {e.task: e.kind for e in events} == {
        "t0": "done",
        "t1": "done",
        "t2": "lost",
        "t3": "done",
        "t4": "done",
    }
    (lost,) = [e.data for e in events if e.kind == "lost"]
    assert "died 2 times" in lost and DIED in lost
    assert [f["task"] for e, f in seen if e == "again"] == ["t2"]


def test_a_worker_lost_once_is_nobodys_fault() -> None:
    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        return [(1, "left", DIED)] if times == 1 else [(1, "done", {})]

    events, _ = run(MadeCluster(2, play), 5)
    assert [e.kind for e in events] == ["done"] * 5


def test_workers_whose_time_is_up_accuse_nobody_but_not_for_ever() -> None:
    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        return [(9, "sent away", "told to leave")] if number or times < 4 else [(1, "done", {})]

    events, _ = run(MadeCluster(2, play), 2)
    assert [(e.task, e.kind) for e in events] == [("t0", "done"), ("t1", "lost")]
    assert "walltime" in events[1].data


def test_a_worker_with_a_full_disk_gets_nothing_more() -> None:
    full = OutputError("the disk is full")

    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        return [(0.1, "failed", full)] if worker == "w1" else [(1, "done", {})]

    cluster = MadeCluster(3, play)
    events, seen = run(cluster, 20)
    assert len(events) == 20 and {e.kind for e in events} == {"done"}
    assert [w for w, _ in cluster.given].count("w1") == 1
    assert [f for e, f in seen if e == "benched"] == [{"worker": "w1", "why": "the disk is full"}]


def test_a_full_disk_that_all_share_ends_the_run() -> None:
    full = OutputError("the disk is full")
    with pytest.raises(OutputError, match="full"):
        run(MadeCluster(3, lambda worker, number, times: [(0.1, "failed", full)]), 20)


def test_the_first_worker_is_of_no_use_and_the_next_comes_late() -> None:
    full = OutputError("the disk is full")

    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        return [(0.1, "failed", full)] if worker == "w0" else [(1, "done", {})]

    cluster = MadeCluster(1, play)
    cluster.arrive(40)
    assert len(run(cluster, 4)[0]) == 4
    cluster = MadeCluster(1, play)
    with pytest.raises(OutputError, match="full"):
        run(cluster, 4)
    assert 60 < cluster.now < 120


def test_workers_that_cannot_load() -> None:
    lost = WeightsError("no weights")
    cluster = MadeCluster(
        2, does(), load=lambda w: (0.1, "failed", lost) if w == "w0" else (5, "ready", None)
    )
    assert len(run(cluster, 4)[0]) == 4
    with pytest.raises(WeightsError):
        run(MadeCluster(2, does(), load=lambda worker: (0.1, "failed", lost)), 4)
    with pytest.raises(SkelkitError, match="died 2 times before they began"):
        run(MadeCluster(2, does(), load=lambda worker: (0.1, "left", DIED)), 4)


def test_one_worker_that_dies_loading_again_and_again_does_not_end_a_run() -> None:
    born = Counter[str]()

    def load(worker: str) -> tuple[float, str, Any]:
        born[worker] += 1
        return (0.2, "ready", None) if worker == "w0" else (0.1, "left", DIED)

    assert len(run(MadeCluster(2, does(), load=load), 20)[0]) == 20
    assert sum(born.values()) > 5


def test_workers_that_die_loading_while_others_load_do_not_end_a_run() -> None:
    def load(worker: str) -> tuple[float, str, Any]:
        return (0.1, "left", DIED) if worker in {"w0", "w1"} else (5, "ready", None)

    assert len(run(MadeCluster(4, does(), load=load), 4)[0]) == 4


def test_stragglers_are_reported_once_and_finish() -> None:
    def play(worker: str, number: int, times: int) -> list[tuple[float, str, Any]]:
        return [(3000 if number == 7 else 10 * (number + 1), "done", {})]

    events, seen = run(MadeCluster(2, play), 20, costs=[float(i + 1) for i in range(20)])
    assert len(events) == 20
    assert [f["task"] for e, f in seen if e == "straggler"] == ["t7"]


def test_idle_workers_are_given_back_but_one() -> None:
    cluster = MadeCluster(4, lambda worker, number, times: [(1000 if number == 0 else 1, "done", {})])
    run(cluster, 4)
    assert len(cluster.released) == 2
    assert cluster.wanted[-1] == 1
