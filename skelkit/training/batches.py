"""Which clips stand in which batch: a function of seed, epoch and process, so that a run can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[int]]):
    """Batches of a shuffled epoch, the same for the same seed and epoch.

    With several processes each gets every n-th clip of the same order; some clips come twice where they do
    not divide evenly, so that all processes have the same number of batches.

    Args:
        clips: Numbers of the clips.
        batch_size: Per process; the last batch may be smaller.
        seed: Another seed is another order.
        epoch: The epoch that the first pass is about; `set_epoch` moves on.
        skip: Batches of the first pass that have been seen before an interruption.
        rank: Number of this process.
        world: Number of processes.
        begin: Told of every epoch before its first batch is drawn.
    """

    def __init__(
        self,
        clips: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        epoch: int = 0,
        skip: int = 0,
        rank: int = 0,
        world: int = 1,
        begin: Callable[[int], None] = lambda epoch: None,
    ) -> None:
        self._clips = clips
        self._per_process = math.ceil(len(clips) / world)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch
        self._skip = (epoch, skip)
        self._rank = rank
        self._world = world
        self._begin = begin

    @property
    def sampler(self) -> EpochBatches:
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Passes from now on are about this epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._per_process / self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        self._begin(self._epoch)
        generator = torch.Generator().manual_seed(mixed_seed(self._seed, self._epoch))
        order = torch.randperm(len(self._clips), generator=generator)
        order = order.repeat(self._world)[: self._per_process * self._world]
        mine = order[self._rank :: self._world].tolist()
        epoch, skip = self._skip
        for batch in range(skip if self._epoch == epoch else 0, len(self)):
            part = mine[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield [self._clips[i] for i in part]


def mixed_seed(*numbers: int) -> int:
    """One seed of several numbers, spread over 63 bits (the finaliser of splitmix64 after each)."""
    mask, value = 2**64 - 1, 0
    for number in numbers:
        value = (value + number + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        value ^= value >> 31
    return value >> 1
