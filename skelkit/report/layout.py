"""Panels side by side in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skelkit.errors import ConfigError
from skelkit.report.palette import DARK
from skelkit.structures import UInt8

_GAP = 4
"""Pixels between panels."""
_SMALLEST = 16
"""Pixels of a panel's side below which nothing can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Panels of one size in rows, filled from the left and from the top."""

    height: int
    """Of a panel, pixels."""
    width: int
    """Of a panel, pixels."""
    columns: int
    rows: int

    @classmethod
    def fit(
        cls, count: int, image_size: tuple[int, int], max_size: tuple[int, int], *, columns: int | None = None
    ) -> Grid:
        """The grid that shows panels largest.

        Args:
            count: Panels.
            image_size: (H, W) of what they show; never enlarged.
            max_size: (H, W) that the whole may have.
            columns: Panels in a row; None = whatever is best.

        Raises:
            ConfigError: so small that nothing could be seen.
        """
        choices = [columns] if columns else range(1, count + 1)
        grids = [cls._of(count, image_size, max_size, n) for n in choices]
        best = max(grids, key=lambda g: (g.width, -g.columns * g.rows, -g._strangeness()))
        if min(best.height, best.width) < min(_SMALLEST, *image_size):
            raise ConfigError(
                f"expected room for {count} pictures of {image_size[1]}x{image_size[0]}, got "
                f"{max_size[1]}x{max_size[0]} for all of them; try a larger size, or fewer experts",
                got=max_size,
            )
        return best

    @classmethod
    def _of(cls, count: int, image_size: tuple[int, int], max_size: tuple[int, int], columns: int) -> Grid:
        rows = math.ceil(count / columns)
        room = [(most - _GAP * (n - 1)) / n for most, n in zip(max_size, (rows, columns), strict=True)]
        scale = min(1.0, *(have / want for have, want in zip(room, image_size, strict=True)))
        height, width = (max(1, int(side * scale)) for side in image_size)
        return cls(height=height, width=width, columns=columns, rows=rows)

    def _strangeness(self) -> float:
        """How far the whole is from the shape of a screen; twice as wide is as far as twice as high."""
        height, width = self.size
        return abs(math.log(width / height * 9 / 16))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the whole."""
        return (self.height + _GAP) * self.rows - _GAP, (self.width + _GAP) * self.columns - _GAP

    def compose(self, panels: Sequence[UInt8]) -> UInt8:
        """One picture of up to ``rows * columns`` panels (height, width, 3); a single one is itself."""
        if self.rows * self.columns == 1:
            return panels[0]
        whole = np.empty((*self.size, 3), np.uint8)
        whole[...] = DARK
        for i, panel in enumerate(panels):
            y, x = i // self.columns * (self.height + _GAP), i % self.columns * (self.width + _GAP)
            whole[y : y + self.height, x : x + self.width] = panel
        return whole
