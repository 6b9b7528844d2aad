from __future__ import annotations

import numpy as np
import pytest
from people import sequence_of

from skelkit.errors import ConfigError
from skelkit.report import Panel, resized
from skelkit.report.palette import LEFT, colour_of

HANDS = [[[(200, 100), (300, 200), (100, 200)]]]


@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_people_stay_where_they_are_in_a_resized_picture(scale: float) -> None:
    picture = np.zeros((round(300 * scale), round(400 * scale), 3), np.uint8)
    drawn = Panel(sequence_of(HANDS, image_size=(300, 400))).draw(picture, 0)
    assert np.abs(drawn[round(200 * scale), round(300 * scale)].astype(int) - LEFT).max() <= 40
    assert not picture.any()  # drawn on a copy


def test_each_step_has_its_own_people() -> None:
    keypoints = np.full((1, 2, 3, 2), np.nan)
    keypoints[:, 1] = HANDS[0]
    panel = Panel(sequence_of(keypoints, image_size=(300, 400)))
    empty, full = (panel.draw(np.zeros((300, 400, 3), np.uint8), step) for step in (0, 1))
    assert not empty[50:250].any()
    assert full[50:250].any()


def test_the_title_is_written_where_there_is_one() -> None:
    sequence = sequence_of(HANDS, image_size=(300, 400))
    plain, titled = (
        Panel(sequence, title=t).draw(np.zeros((300, 400, 3), np.uint8), 0) for t in ("", "movenet")
    )
    assert not plain[:12, :40].any()
    assert titled[:12, :40].max() > 200


@pytest.mark.parametrize(("dimensions", "image_size"), [(3, (300, 400)), (2, (0, 0))])
def test_what_does_not_lie_in_a_picture_is_refused(dimensions: int, image_size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="cannot be drawn"):
        Panel(sequence_of(np.zeros((1, 1, 3, dimensions)), image_size=image_size))


def test_resizing_to_the_same_size_is_no_copy() -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    assert resized(picture, 30, 40) is picture
    assert resized(picture, 15, 20).shape == (15, 20, 3)


def test_labels_make_way_for_the_title() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    at_the_title = sequence_of([[[(20, 5), (80, 100), (10, 100)]]], image_size=(300, 400))
    nobody = sequence_of(np.full((0, 1, 3, 2), 0), image_size=(300, 400))
    drawn, title = (Panel(s, title="movenet").draw(picture, 0) for s in (at_the_title, nobody))
    ground = (drawn == colour_of(0)).all(-1)
    assert ground.any()
    assert not ground[title[:100].any((1, 2)).nonzero()[0]].any()
