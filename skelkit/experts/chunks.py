"""Many items through one network, chunk by chunk, with several chunks in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from skelkit.experts.batches import Batches

if TYPE_CHECKING:
    from skelkit.experts.engine import Device

Result = TypeVar("Result")


class ChunkedNetwork:
    """One network in memory, and the threads that feed it.

    Args:
        name: For messages.
        threads: Chunks in flight at once.
        chunk: Items per run: what suits a CPU's caches is small, a GPU wants many.
    """

    device: Device
    """Where it runs."""
    takes_tensors: bool
    """Whether chunks are prepared as tensors where the network is, not as arrays."""

    def __init__(self, name: str, *, threads: int, chunk: int) -> None:
        self.chunk = chunk
        self._batches = Batches(name, chunk)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"engine-{name}")

    def run(self, batch: Any) -> list[npt.NDArray[Any]]:
        """The network's outputs for one batch that is prepared."""
        raise NotImplementedError

    def run_all(self, batches: Sequence[Any]) -> None:
        """Run batches that are prepared, with as many in flight as `map` has."""
        list(self._pool.map(self.run, batches))

    def map(
        self,
        count: int,
        prepare: Callable[[slice], Any],
        finish: Callable[[slice, Sequence[npt.NDArray[Any]]], Result],
    ) -> list[Result]:
        """Run `count` items through the network.

        Args:
            count: Number of items.
            prepare: Input tensor for the items of a slice.
            finish: What to make of the outputs for a slice.

        Returns:
            The results of `finish`, in the order of the items. Chunks are cut the same way whatever the
            number of threads, so results do not depend on it. Those that do not fit the memory are halved.
        """

        def work(part: slice) -> list[Result]:
            def smaller(within: slice) -> Result:
                items = slice(part.start + within.start, part.start + within.stop)
                return finish(items, self.run(prepare(items)))

            return self._batches.map(part.stop - part.start, smaller)

        parts = [slice(i, min(i + self.chunk, count)) for i in range(0, count, self.chunk)]
        return [result for results in self._pool.map(work, parts) for result in results]
