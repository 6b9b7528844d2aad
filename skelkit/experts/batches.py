"""Many items through a network, as many at a time as the device's memory holds."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from skelkit.errors import DeviceLostError, ExpertError

Item = TypeVar("Item")
Result = TypeVar("Result")

_MEMORY_WORDS = (
    "out of memory",  # PyTorch, the CUDA runtime
    "failed to allocate memory",  # ONNX Runtime's arena
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "bad allocation",
    "std::bad_alloc",
)


_DEVICE_WORDS = (
    "cuda error",
    "cuda failure",
    "cuda driver",
    "cudnn failure",
    "cudnn_status",
    "cublas_status",
)


class Notices:
    """Things a user should hear once, kept until somebody who can say them fetches them."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._waiting: list[str] = []
        self._lock = Lock()

    def add(self, text: str) -> None:
        """Keep a sentence, unless it was said before."""
        with self._lock:
            if text not in self._said:
                self._said.add(text)
                self._waiting.append(text)

    def fetch(self) -> list[str]:
        """What has come up since the last call."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return waiting


NOTICES = Notices()
"""Of this process."""


class Batches:
    """Cuts items into batches, and into smaller ones where memory does not suffice.

    Args:
        name: Of the network, for messages.
        size: Items in a batch to begin with.
        pool: What has several batches in flight; None = one after the other, in the caller's thread.
        notices: Who is told that batches were made smaller.
    """

    def __init__(
        self, name: str, size: int, pool: Executor | None = None, *, notices: Notices = NOTICES
    ) -> None:
        self.name = name
        self.size = size
        self._pool = pool
        self._notices = notices
        self._halved = False

    def each(self, items: Iterable[Item], work: Callable[[Item], Result]) -> list[Result]:
        """Do `work` on every item, with as many in flight as there are threads; results in order."""
        return list(self._pool.map(work, items) if self._pool else map(work, items))

    def map(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """Do `work` on slices that cover `count` items; results in order.

        Slices are cut the same way whatever the number of threads, so results do not depend on it. One that
        does not fit the memory is halved, and later ones are no larger.

        Raises:
            ExpertError: the memory does not suffice for a single item.
        """
        parts = [slice(i, min(i + self.size, count)) for i in range(0, count, self.size)]
        return [done for some in self.each(parts, lambda part: self._within(part, work)) for done in some]

    def _within(self, whole: slice, work: Callable[[slice], Result]) -> list[Result]:
        results: list[Result] = []
        begin = whole.start
        while begin < whole.stop:
            part = slice(begin, min(begin + self.size, whole.stop))
            failure: str | None = None
            try:
                results.append(work(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                failure = (str(error) or type(error).__name__).splitlines()[0]
            # outside the handler: the traceback held the tensors of the failed run
            if failure is None:
                begin = part.stop
            else:
                self._halve(part.stop - part.start, failure)
        return results

    def _halve(self, failed: int, why: str) -> None:
        if failed == 1:
            raise ExpertError(
                f"{self.name}: the device's memory does not suffice for a single item ({why}); try a "
                "smaller network, another device, or end what else runs on this one"
            )
        self.size = min(self.size, (failed + 1) // 2)
        if not self._halved:
            self._halved = True
            self._notices.add(
                f"{self.name}: memory does not suffice for batches of {failed}, going on with smaller ones"
            )
        release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a run failed for want of memory, in the words of PyTorch, ONNX Runtime or the CUDA runtime."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in _MEMORY_WORDS)


@contextmanager
def whole_devices() -> Iterator[None]:
    """What says that a GPU, or this process's access to it, is gone becomes a `DeviceLostError`.

    After such an error nothing more can be done on the device in this process.
    """
    try:
        yield
    except (RuntimeError, ExpertError) as error:
        told = str(error)
        if is_out_of_memory(error) or not any(word in told.lower() for word in _DEVICE_WORDS):
            raise
        raise DeviceLostError(told.splitlines()[0]) from error


def release_memory() -> None:
    """Give back what PyTorch's cache holds on a GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
