from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.video.clock import timed


@dataclass
class Frame:
    pts: int | None


def stamps(pts: list[int | None], *, window: int = 0, fps: float = 10.0) -> list[float]:
    frames = [Frame(p) for p in pts]
    out = list(timed(frames, time_base=Fraction(1, 10), fps=fps, window=window))
    assert [t.picture for t in out] == frames  # the order of display is the decoder's
    assert [t.index for t in out] == list(range(len(pts)))
    return [t.pts_s for t in out]


def test_good_stamps_are_kept_with_their_gaps() -> None:
    assert stamps([5, 6, 9, 30]) == pytest.approx([0.0, 0.1, 0.4, 2.5])


def test_first_frame_is_zero_even_below_it() -> None:
    assert stamps([-7, -6, 0]) == pytest.approx([0.0, 0.1, 0.7])


def test_no_stamps_count_frames() -> None:
    assert stamps([None] * 4, fps=4.0) == pytest.approx([0.0, 0.25, 0.5, 0.75])


def test_a_missing_stamp_follows_the_one_before() -> None:
    assert stamps([0, None, 5, 6], fps=10.0) == pytest.approx([0.0, 0.1, 0.5, 0.6])


def test_a_repeated_or_falling_stamp_follows_the_one_before() -> None:
    assert stamps([0, 1, 1, 2, 9]) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.9])
    assert stamps([100, 101, 0, 1]) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_stamps_in_the_wrong_order_are_dealt_out_anew() -> None:
    assert stamps([1, 2, 4, 3, 6, 5, 9, 7], window=2) == pytest.approx(
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]
    )


@given(
    st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), max_size=60),
    st.integers(0, 20),
    st.floats(0.5, 240.0),
)
def test_always_strictly_increasing_from_zero(pts: list[int | None], window: int, fps: float) -> None:
    times = stamps(pts, window=window, fps=fps)
    assert not times or times[0] == 0.0
    assert np.all(np.diff(times) > 0)


@given(st.permutations(range(12)), st.integers(0, 1000))
def test_a_window_as_wide_as_the_disorder_restores_order(order: list[int], first: int) -> None:
    times = stamps([first + 3 * i for i in order], window=12)
    assert times == pytest.approx([0.3 * i for i in range(12)])
