from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from skelkit.errors import ConfigError, VideoError
from skelkit.video import prefetch


def threads() -> int:
    return sum(t.name == "prefetch" for t in threading.enumerate())


class Source:
    """Counts what was produced, notes that it was closed."""

    def __init__(self, n: int, error: BaseException | None = None, pause: float = 0.0) -> None:
        self.n, self.error, self.pause = n, error, pause
        self.produced = 0
        self.closed = False

    def __call__(self) -> Iterator[int]:
        try:
            for i in range(self.n):
                time.sleep(self.pause)
                self.produced += 1
                yield i
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


@pytest.mark.parametrize("depth", [1, 2, 50])
@pytest.mark.parametrize(("produce_s", "consume_s"), [(0.0, 0.0), (0.002, 0.0), (0.0, 0.002)])
def test_all_items_in_order_and_no_thread_left(depth: int, produce_s: float, consume_s: float) -> None:
    source = Source(20, pause=produce_s)
    got = []
    for item in prefetch(source(), depth):
        time.sleep(consume_s)
        got.append(item)
    assert got == list(range(20))
    assert source.closed
    assert threads() == 0


def test_error_comes_after_the_items_before_it() -> None:
    source = Source(3, VideoError("broken", path="x", frames_decoded=3))
    got = []
    with pytest.raises(VideoError, match="broken"):
        for item in prefetch(source(), 1):
            time.sleep(0.005)
            got.append(item)
    assert got == [0, 1, 2]
    assert threads() == 0


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("taken", [1, 2, 7])
def test_leaving_early_stops_the_thread_and_closes_the_source(depth: int, taken: int) -> None:
    source = Source(10**9)
    for seen, _ in enumerate(prefetch(source(), depth), start=1):
        if seen == taken:
            time.sleep(0.02)  # by now the thread waits for room
            break
    assert threads() == 0
    assert source.closed
    assert source.produced <= taken + depth + 2


def test_error_in_the_consumer_stops_the_thread() -> None:
    source = Source(10**9)
    items = prefetch(source(), 2)
    with pytest.raises(ZeroDivisionError):
        for item in items:
            1 / item
    items.close()  # type: ignore[attr-defined]
    assert threads() == 0
    assert source.closed


def test_holds_no_more_than_its_depth() -> None:
    source = Source(100)
    items = prefetch(source(), 3)
    next(items)
    time.sleep(0.1)
    assert source.produced == 1 + 3 + 1  # taken, held, waiting for room
    assert list(items) == list(range(1, 100))


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    source = Source(5)
    prefetch(source(), 1)
    assert source.produced == 0
    assert threads() == 0


def test_plain_iterables_and_none_and_exceptions_are_items_too() -> None:
    assert list(prefetch([None, 1, ValueError], 1)) == [None, 1, ValueError]
    assert list(prefetch([], 1)) == []


def test_failing_close_is_reported_and_does_not_hang() -> None:
    class Nasty:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

        def close(self) -> None:
            raise OSError("close failed")

    with pytest.raises(OSError, match="close failed"):
        list(prefetch(Nasty(), 1))
    assert threads() == 0


def test_depth_is_checked_at_once() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        prefetch([1], 0)
