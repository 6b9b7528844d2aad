"""Many items through one network, chunk by chunk, with several chunks in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from skelkit.experts.batches import Batches

if TYPE_CHECKING:
    from skelkit.experts.engine import Device

Result = TypeVar("Result")


class ChunkedNetwork:
    """One network in memory, and what feeds it.

    Args:
        batches: Cuts items into chunks (what suits a CPU's caches is small, a GPU wants many), and has
            several in flight.
    """

    device: Device
    """Where it runs."""
    takes_tensors: bool
    """Whether chunks are prepared as tensors where the network is, not as arrays."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def run(self, batch: Any) -> list[npt.NDArray[Any]]:
        """The network's outputs for one batch that is prepared."""
        raise NotImplementedError

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
            The results of `finish`, in the order of the items.
        """
        return self.batches.map(count, lambda part: finish(part, self.run(prepare(part))))
