from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import ConfigError
from skelkit.video.selection import Selection, Timed


def frames(times: list[float]) -> list[Timed]:
    return [Timed(picture=None, index=i, pts_s=t) for i, t in enumerate(times)]


def chosen(times: list[float], **options: Any) -> list[int]:
    return [f.index for f in Selection(**options).of(frames(times))]


def test_everything_by_default() -> None:
    assert chosen([0.0, 0.1, 0.5]) == [0, 1, 2]


def test_stride_counts_from_the_start() -> None:
    times = [i / 10 for i in range(10)]
    assert chosen(times, stride=3) == [0, 3, 6, 9]
    assert chosen(times, stride=3, start_s=0.2, end_s=0.9) == [2, 5, 8]


def test_start_is_included_and_end_is_not() -> None:
    assert chosen([0.0, 0.1, 0.2, 0.3], start_s=0.1, end_s=0.3) == [1, 2]


def test_decoding_stops_at_the_end() -> None:
    source = iter(frames([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert len(list(Selection(end_s=2.0).of(source))) == 2
    assert [f.index for f in source] == [3, 4]  # 2 was needed to see that the end has come


@pytest.mark.parametrize(("fps", "source"), [(30, 30), (25, 25), (29.97, 29.97), (60, 30), (1000, 24)])
def test_target_rate_at_or_above_the_source_takes_every_frame_once(fps: float, source: float) -> None:
    assert chosen([i / source for i in range(100)], target_fps=fps) == list(range(100))


def test_half_and_a_third_of_the_rate() -> None:
    times = [i / 30 for i in range(31)]
    assert chosen(times, target_fps=15) == list(range(0, 31, 2))
    assert chosen(times, target_fps=10) == list(range(0, 31, 3))


def test_variable_rate_takes_the_nearest_and_none_twice() -> None:
    # ticks at 0, 1, 2, 3 ...: nothing near 2 and 3, so the frame before the gap serves for them, once
    assert chosen([0.0, 0.9, 1.2, 5.1, 6.0], target_fps=1) == [0, 1, 2, 3, 4]
    assert chosen([0.0, 0.4, 0.8, 1.1, 1.5], target_fps=1) == [0, 3]


def test_the_earlier_of_two_equally_near_frames() -> None:
    assert chosen([0.0, 0.25, 0.75, 1.0], target_fps=2) == [0, 1, 3]


def test_clock_starts_with_the_first_frame_wanted() -> None:
    assert chosen([0.0, 0.3, 0.8, 1.3, 1.8, 2.3], target_fps=1, start_s=0.2) == [1, 3, 5]


def test_one_frame_and_none() -> None:
    assert chosen([0.0], target_fps=0.001) == [0]
    assert chosen([7.5], target_fps=5.0) == [0]
    assert chosen([], target_fps=5.0) == []


@given(
    gaps=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=40),
    fps=st.floats(0.05, 200.0),
)
def test_every_tick_gets_its_nearest_frame(gaps: list[float], fps: float) -> None:
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    picked = chosen(times.tolist(), target_fps=fps)
    assert all(a < b for a, b in pairwise(picked))
    ticks = np.arange(math.floor(times[-1] * fps) + 1) / fps
    distance = np.abs(times[None, :] - ticks[:, None])
    clear = np.sort(distance, axis=1)
    unambiguous = clear[:, 1] - clear[:, 0] > 1e-6
    assert set(distance.argmin(axis=1)[unambiguous].tolist()) <= set(picked)
    assert len(picked) <= len(ticks) + 1


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 0},
        {"stride": -2},
        {"target_fps": 0.0},
        {"target_fps": math.inf},
        {"target_fps": math.nan},
        {"start_s": -1.0},
        {"start_s": math.nan},
        {"end_s": 0.0},
        {"start_s": 2.0, "end_s": 2.0},
        {"end_s": math.nan},
        {"stride": 2, "target_fps": 5.0},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Selection(**options)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"stride: .*; start_s: "):
        Selection(stride=0, start_s=-1.0)
