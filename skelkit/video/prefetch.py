"""Let an iterator run ahead in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from queue import Empty, Queue
from typing import TypeVar

from skelkit.errors import ConfigError

T = TypeVar("T")

Slot = tuple[T] | BaseException | None
"""An item, or how it ended: an exception, or None where the iterator was exhausted."""


def prefetch(iterable: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items of ``iterable``, produced ahead of their use.

    The thread starts with the first item asked for. It holds at most ``depth`` finished items and works on
    one more. What the iterable raises is raised here, after the items before it. Closing this generator
    (breaking out of a ``for`` loop over it does) stops the thread, closes the iterable, and waits for both.

    Args:
        iterable: Used in the other thread only; closed there where it has a ``close`` method.
        depth: Finished items to hold.

    Raises:
        ConfigError: ``depth`` below 1.
    """
    if depth < 1:
        raise ConfigError(f"prefetch depth: expected at least 1, got {depth}", expected=1, got=depth)
    return _consume(iterable, Queue(maxsize=depth))


def _consume(iterable: Iterable[T], queue: Queue[Slot[T]]) -> Generator[T, None, None]:
    stop = threading.Event()
    # A daemon: a consumer that died with an exception must not keep the interpreter from leaving.
    thread = threading.Thread(target=_produce, args=(iterable, queue, stop), name="prefetch", daemon=True)
    thread.start()
    try:
        while isinstance(slot := queue.get(), tuple):
            yield slot[0]
            del slot  # a batch of frames is large: let go of it before waiting for the next
        if slot is not None:
            raise slot
    finally:
        # Once the flag is up at most one more put is on its way: emptying the queue makes room for it.
        stop.set()
        _empty(queue)
        thread.join()


def _produce(iterable: Iterable[T], queue: Queue[Slot[T]], stop: threading.Event) -> None:
    end: BaseException | None = None
    try:
        with ExitStack() as stack:
            if hasattr(iterable, "close"):
                stack.callback(iterable.close)
            for item in iterable:
                if stop.is_set():
                    return
                queue.put((item,))
                del item
    except BaseException as error:  # noqa: BLE001 - not swallowed: raised on the other side
        end = error
    if not stop.is_set():
        queue.put(end)


def _empty(queue: Queue[Slot[T]]) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return
