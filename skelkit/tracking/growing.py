"""An array that grows at its end: the rows of a clip whose length nobody knows yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_FIRST = 1024
_AT_ONCE = 4096  # rows moved in one go: well below a megabyte of poses


class Growing:
    """Rows appended one batch after the other, in one piece of memory.

    A growing array asks for a quarter more than it has. Memory never touched costs nothing, so it stands
    for little more than the rows, where a list of batches would be joined into a second copy at the end.

    Args:
        dtype: Of the rows.
        tail: Shape of one row.
    """

    def __init__(self, dtype: npt.DTypeLike, tail: tuple[int, ...] = ()) -> None:
        self._array: npt.NDArray[Any] = np.empty((_FIRST, *tail), dtype)
        self._count = 0

    @property
    def rows(self) -> npt.NDArray[Any]:
        """What there is so far, as a view."""
        return self._array[: self._count]

    def extend(self, rows: npt.NDArray[Any]) -> None:
        """Add rows at the end."""
        need = self._count + len(rows)
        if need > len(self._array):
            larger = np.empty((need + need // 4, *self._array.shape[1:]), self._array.dtype)
            larger[: self._count] = self.rows
            self._array = larger
        self._array[self._count : need] = rows
        self._count = need

    def keep(self, chosen: npt.NDArray[np.bool_]) -> None:
        """Drop all other rows, in place."""
        count = 0
        for start in range(0, self._count, _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            kept = self.rows[here][chosen[here]]
            self._array[count : count + len(kept)] = kept
            count += len(kept)
        self._count = count
