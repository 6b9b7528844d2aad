from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import ConfigError
from skelkit.report import Grid

HD = (1080, 1920)


@given(st.integers(1, 12), st.tuples(st.integers(200, 4000), st.integers(200, 4000)))
def test_all_panels_fit_and_keep_their_shape(count: int, size: tuple[int, int]) -> None:
    grid = Grid.fit(count, size, HD)
    assert grid.rows * grid.columns >= count
    assert grid.size[0] <= HD[0]
    assert grid.size[1] <= HD[1]
    assert (grid.height, grid.width) <= size
    scale = grid.width / size[1]
    assert grid.height == pytest.approx(size[0] * scale, abs=1 + 2 * size[0] / size[1])


def test_panels_are_as_large_as_can_be() -> None:
    four = Grid.fit(4, HD, HD)
    assert (four.columns, four.rows) == (2, 2)
    assert Grid.fit(2, (1000, 400), HD).columns == 2
    assert Grid.fit(2, (300, 1900), HD).rows == 2
    assert Grid.fit(3, (180, 240), HD).columns == 3  # room enough for any grid: closest to a screen's shape
    alone = Grid.fit(1, (240, 320), HD)
    assert alone.size == (240, 320)  # never enlarged


def test_columns_can_be_asked_for() -> None:
    grid = Grid.fit(18, HD, HD, columns=3)
    assert (grid.columns, grid.rows) == (3, 6)


def test_panels_lie_in_rows_on_a_dark_ground() -> None:
    grid = Grid(height=20, width=30, columns=2, rows=2)
    whole = grid.compose([np.full((20, 30, 3), level, np.uint8) for level in (100, 150, 200)])
    assert whole.shape[:2] == grid.size
    assert (whole[:20, :30] == 100).all()
    assert (whole[:20, -30:] == 150).all()
    assert (whole[-20:, :30] == 200).all()
    assert whole[-20:, -30:].max() < 50
    assert whole[:20, 31:33].max() < 50


@pytest.mark.parametrize("height", [-5, 0, 10])
def test_a_size_in_which_nothing_could_be_seen_is_refused(height: int) -> None:
    with pytest.raises(ConfigError, match="larger"):
        Grid.fit(4, HD, (height, height * 16 // 9))


def test_a_tiny_picture_is_shown_as_it_is() -> None:
    assert Grid.fit(1, (1, 1), HD).size == (1, 1)
