from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skelkit.report import draw_legend
from skelkit.report.palette import LEFT, RIGHT
from skelkit.report.tags import Box, draw_tag, place_tag

PICTURE = np.zeros((240, 320, 3), np.uint8)


def place(text: str, x: float, y: float, taken: list[Box] | None = None) -> Box:
    return place_tag(PICTURE, text, above=(x, y), taken=taken or [])


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_tag_lies_inside_the_picture(x: float, y: float) -> None:
    box = place("#12  0.50", x, y)
    assert 0 <= box.left <= 320 - box.width
    assert 0 <= box.top <= 240 - box.height


def test_a_tag_stands_over_its_point() -> None:
    box = place("#1  0.50", 100, 120)
    assert abs(box.left + box.width / 2 - 100) <= 1
    assert box.top + box.height == 120


@given(st.lists(st.tuples(st.floats(0, 320), st.floats(0, 240)), min_size=2, max_size=5))
def test_tags_do_not_cover_each_other_where_there_is_room(points: list[tuple[float, float]]) -> None:
    taken: list[Box] = []
    for x, y in points:
        taken.append(place("#1  0.50", x, y, taken))
    assert not any(a.overlaps(b) for i, a in enumerate(taken) for b in taken[:i])


def test_a_tag_without_room_above_goes_below() -> None:
    taken = [place("#1  0.50", 100, 0)]
    box = place("#2  0.50", 100, 0, taken)
    assert box.top == taken[0].height


def test_a_tag_without_room_anywhere_stays_in_sight() -> None:
    taken = [Box(left=0, top=0, width=320, height=240)]
    assert 0 <= place("#2  0.50", 100, 100, taken).top < 240


def test_plain_text_fills_its_corner_and_is_legible() -> None:
    for corner, rows in (("top", slice(0, 10)), ("bottom", slice(230, 240))):
        image = np.full((240, 320, 3), 128, np.uint8)
        draw_tag(image, "movenet", corner)
        assert image[rows, :30].max() > 200  # letters
        assert image[rows, :30].min() < 50  # their ground
        assert (image[100:140] == 128).all()


def test_the_legend_shows_both_sides_once() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    draw_legend(image)
    left, right = (np.nonzero((image == colour).all(-1)) for colour in (LEFT, RIGHT))
    assert left[1].max() < right[1].min()
    assert min(left[0].min(), right[0].min()) > 200
    assert min(left[1].min(), right[1].min()) > 200


def test_a_picture_smaller_than_its_text_is_no_failure() -> None:
    image = np.zeros((3, 2, 3), np.uint8)
    draw_tag(image, "movenet", "bottom")
    draw_legend(image)
    assert place_tag(image, "#1", above=(1, 1), taken=[]).top == 0
